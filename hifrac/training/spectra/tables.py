"""Figures of merit of galaxies that were held out, beside simple models."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.table import Table
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hifrac.metrics import bootstrap_errors, coverage
from hifrac.models.calibration import LEVELS
from hifrac.models.photometry import PHOTOMETRIC
from hifrac.models.spectrum_table import LATENTS, LINE_UNIT, RATIOS
from hifrac.training.measuring.evidence import EVIDENCE
from hifrac.training.measuring.linear import PENALTIES
from hifrac.training.measuring.measurements import radial_colours
from hifrac.training.spectra.cross_validation import OutOfFold
from hifrac.training.spectra.sample import MEASURED, with_lines, with_template
from hifrac.training.tables import (
    MOST_EVIDENCE,
    N_BOOTSTRAP,
    formatted,
    nmad,
    percentile_columns,
    rmse,
    shares_with_errors,
)

_SHARE = ("coverage_68", 0.62, 0.74)
#: What was asked for: table, first column, figure, its range.
TARGETS = (
    ("template", "picture", "relative_rms", 0.0, 0.032),
    ("template", "picture", *_SHARE),
    ("template", MOST_EVIDENCE, "relative_rms", 0.0, 0.032),
    ("template", MOST_EVIDENCE, *_SHARE),
    ("lines", "h_alpha", "spearman", 0.83, 1.0),
    ("lines", "h_alpha", *_SHARE),
    ("lines", "continuum_3900_6500", "rmse", 0.0, 0.080),
    ("lines", "continuum_3900_6500", *_SHARE),
    ("lines", "continuum_4340_5877", "rmse", 0.0, 0.033),
    ("lines", "continuum_4340_5877", *_SHARE),
)
#: The rows of the table of lines that are judged.
JUDGED = "picture"
#: What is known of galaxies with photometry, in that table.
LINE_EVIDENCE = ("picture", "picture+z", "picture+photometry", MOST_EVIDENCE)
_BY_COLOURS = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))


def template_table(answers: OutOfFold) -> Table:
    """Tabulate how far predicted template spectra, by what is known, are from those fitted to magnitudes.

    ``relative_rms`` is the median of the root of the sum of squared differences of spectra of norm 1;
    ``coverage_68`` the mean share of pixels within the band, its error that of samples of galaxies.
    """
    rows = np.flatnonzero(with_template(answers.galaxies))
    truth = answers.space.decode(np.asarray(answers.galaxies["latents"])[rows])
    mean = np.linalg.norm(truth - truth.mean(axis=0), axis=1)
    table = [_template_row("mean spectrum", mean, np.full(len(rows), np.nan))]
    for name in EVIDENCE:
        low, flux, high = answers.flux(rows, name)
        share = np.mean((truth >= low) & (truth <= high), axis=1)
        table.append(_template_row(name, np.linalg.norm(flux - truth, axis=1), share))
    return formatted(Table(rows=table), first=2)


def _template_row(name: str, missed: np.ndarray, share: np.ndarray) -> dict[str, Any]:
    row: dict[str, Any] = {"evidence": name, "n": len(missed)}
    errors = bootstrap_errors(_template_figures, missed, share, draws=N_BOOTSTRAP)
    for figure, value in _template_figures(missed, share).items():
        row |= {figure: value, f"{figure}_error": errors[figure]}
    return row


def _template_figures(missed: np.ndarray, share: np.ndarray) -> dict[str, float]:
    return {
        "relative_rms": float(np.median(missed)),
        "mean_relative_rms": float(missed.mean()),
        "coverage_68": float(share.mean()),
    }


def lines_table(answers: OutOfFold, features: np.ndarray) -> Table:
    """Tabulate what is told of lines and continua of real spectra, by catalogue and evidence.

    Beside them stands a simple model. Evidence is used where it is known, and judged on these galaxies.
    The estimate is the median; of H-alpha asinh(EW / 3 Angstrom) is judged. Values of Thomas et al. (2013)
    are on the scale of MPA-JHU but in the row that says so.
    """
    galaxies, table = answers.galaxies, []
    portsmouth = np.asarray(galaxies["portsmouth"]) == 1
    raw = np.asarray(galaxies["lines"])
    colours = radial_colours(features)
    for column, name in enumerate(MEASURED):
        truth = answers.truth[:, column]
        rows = np.flatnonzero(np.isfinite(truth))
        for model, values, part in (
            (JUDGED, truth, rows),
            (f"{JUDGED}, MPA-JHU", truth, rows[~portsmouth[rows]]),
            (f"{JUDGED}, Thomas et al. (2013)", truth, rows[portsmouth[rows]]),
            (f"{JUDGED}, Thomas et al. (2013), as published", raw[:, column], rows[portsmouth[rows]]),
        ):
            if len(part) > 2:
                quantiles = _in_label(name, answers.line_quantiles(part, name))
                row = _line_row(values[part], quantiles[:, LEVELS.index(0.5)], quantiles)
                table.append({"quantity": name, "model": model, **row})
        part = rows[np.isfinite(answers.galaxies["photometry"][rows]).all(axis=1)]
        for evidence in LINE_EVIDENCE if len(part) > 2 else ():
            quantiles = _in_label(name, answers.line_quantiles(part, name, evidence))
            row = _line_row(truth[part], quantiles[:, LEVELS.index(0.5)], quantiles)
            table.append({"quantity": name, "model": f"{evidence}, of those with photometry", **row})
        split = PredefinedSplit(answers.fold[rows])
        simple = cross_val_predict(_BY_COLOURS, colours[rows], truth[rows], cv=split)
        row = _line_row(truth[rows], simple, None)
        table.append({"quantity": name, "model": "ridge on radial colours", **row})
    return formatted(Table(rows=table), first=3)


def _in_label(name: str, quantiles: np.ndarray) -> np.ndarray:
    """Return quantiles in the unit of `MEASURED`."""
    return np.arcsinh(quantiles / LINE_UNIT) if name == "h_alpha" else quantiles


def _line_row(truth: np.ndarray, estimate: np.ndarray, quantiles: np.ndarray | None) -> dict[str, Any]:
    row: dict[str, Any] = {"n": len(truth)}
    errors = bootstrap_errors(_line_figures, truth, estimate, draws=N_BOOTSTRAP)
    for figure, value in _line_figures(truth, estimate).items():
        row |= {figure: value, f"{figure}_error": errors[figure]}
    residual = estimate - truth
    row |= {"offset": residual.mean(), "nmad": nmad(residual), "standard_deviation": truth.std()}
    if quantiles is None:
        return row | {"coverage_68": np.nan, "coverage_68_error": np.nan}
    low, high = (quantiles[:, LEVELS.index(level)] for level in (0.16, 0.84))
    return row | shares_with_errors({"coverage_68": coverage(truth, low, high)}, len(truth))


def _line_figures(truth: np.ndarray, estimate: np.ndarray) -> dict[str, float]:
    return {"spearman": float(spearmanr(truth, estimate).statistic), "rmse": rmse(estimate - truth)}


def card_figures(tables: dict[str, Table]) -> dict[str, float]:
    """Return the figures that the card shows: of the picture alone, and the spectrum with most evidence."""
    template = {row["evidence"]: row for row in tables["template"]}
    lines = {row["quantity"]: row for row in tables["lines"] if row["model"] == JUDGED}
    figures = {
        "relative_rms": template["picture"]["relative_rms"],
        "relative_rms_z_photometry": template[MOST_EVIDENCE]["relative_rms"],
        "relative_rms_mean_spectrum": template["mean spectrum"]["relative_rms"],
        "spearman_h_alpha": lines["h_alpha"]["spearman"],
        "rmse_continuum_3900_6500": lines["continuum_3900_6500"]["rmse"],
        "rmse_continuum_4340_5877": lines["continuum_4340_5877"]["rmse"],
        "coverage_68": template["picture"]["coverage_68"],
        "coverage_68_h_alpha": lines["h_alpha"]["coverage_68"],
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


def readings_table(answers: OutOfFold) -> Table:
    """Tabulate how well photometry, redshift, mass and latents are read off pictures."""
    outputs, rows = answers.outputs, with_template(answers.galaxies)
    photometry = np.asarray(answers.galaxies["photometry"])[rows]
    u, g, r, i, z = (outputs[f"mag_{band}"][rows] for band in "ugriz")
    shown = [g - i, i, u - g, g - r, r - i, i - z, outputs["log_cz"][rows], outputs["log_mstar"][rows]]
    truth = np.column_stack([photometry, np.asarray(answers.galaxies["latents"])[rows]])
    names, table = (*PHOTOMETRIC, *LATENTS), []
    for name, read, true in zip(
        names, [*shown, *(outputs[name][rows] for name in LATENTS)], truth.T, strict=True
    ):
        residual = read - true
        row = {"quantity": name, "n": len(true), "offset": residual.mean(), "sigma": residual.std()}
        table.append({**row, "nmad": nmad(residual), "standard_deviation": true.std()})
    return formatted(Table(rows=table), first=2)


def out_of_fold_table(answers: OutOfFold) -> Table:
    """Tabulate the held-out answers, a row a galaxy, of the picture alone; what is not known is NaN.

    ``measured_h_alpha_ew`` and the like are of real spectra, on the scale of MPA-JHU; ``template_latent_1``
    and the like of the template spectrum fitted to magnitudes.
    """
    galaxies, rows = answers.galaxies, np.arange(len(answers.fold))
    table = Table({"objid": galaxies["objid"], "fold": answers.fold})
    table["distance"] = answers.outputs["distance"].round(4)
    names = ("h_alpha_ew", *RATIOS)
    measured = answers.truth.copy()
    measured[:, 0] = LINE_UNIT * np.sinh(measured[:, 0])
    for name, quantity, values in zip(names, MEASURED, measured.T, strict=True):
        table[f"measured_{name}"] = values.round(4)
        quantiles = answers.line_quantiles(rows, quantity)
        for column, values_of in zip(percentile_columns(name, LEVELS), quantiles.T, strict=True):
            table[column] = values_of.round(4)
    for name, true in zip(LATENTS, np.asarray(galaxies["latents"]).T, strict=True):
        table[f"template_{name}"] = true.round(5)
        table[name] = answers.outputs[name].round(5)
    table["has_lines"] = with_lines(galaxies)
    return table
