"""Figure 4 and Table 2 of Wu (2020) with simulated pictures, where the real ones are not at hand.

The pictures tell of gas only what the photometry does that they are rendered from: how the estimator carries
over from sample to sample as far as brightness, colour, size and shape go. It is no result about galaxies.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Table, vstack
from matplotlib.figure import Figure

from hifrac.catalogs import durbala2020, match_positions
from hifrac.catalogs.samples import paper_samples
from hifrac.core.exceptions import without_warnings
from hifrac.core.files import file_sha256
from hifrac.core.measurements import plain_floats
from hifrac.metrics import regression_metrics
from hifrac.models import Model, load_model
from hifrac.reproduce import regression, samples
from hifrac.reproduce._experiment import COMPUTED, Setting, experiment, panels
from hifrac.reproduce._inputs import (
    answers,
    deep_sample,
    held_out,
    labels,
    limits_of,
    pictures,
    reddening,
    selection_of,
)
from hifrac.simulate import render_table

#: Galaxies of each survey at most, drawn at random; and labelled galaxies at most: all of them.
LARGEST = 150
LABELLED = 300
#: Galaxies rendered in one go, for the network.
_BATCH = 64

_LIMITS = "xGASS, limits as values"
#: The samples of simulated pictures, and what each is called in Table 2 of the paper, limits apart.
SAMPLES = {samples.LABELLED_SAMPLE: None, "alpha.100": "alpha.100", "NIBLES": "NIBLES", "xGASS": None}
_SCORES = ("rmse", "offset", "sigma", "slope", "slope_inverse")


def estimate_simulated(table: Table, model: Model, *, seed: int = 0) -> Table:
    """Estimate pictures rendered from photometry of `hifrac.reproduce.samples`.

    The result is a copy with ``estimate`` (dex), ``p_detect`` and ``ood_score``.
    """
    rendered = render_table(table, name="name", seed=seed, recipe=model.card.recipe)
    ebv, selection = np.asarray(table["ebv"], float), selection_of(model.card)
    parts = []
    for start in range(0, len(table), _BATCH):
        batch_ebv = ebv[start : start + _BATCH]
        pixels = np.stack([next(rendered) for _ in batch_ebv])
        parts.append(model.answer(pixels, batch_ebv, selection=selection))
    result = table.copy()
    for name, attribute in (("estimate",) * 2, ("p_detect", "probability"), ("ood_score",) * 2):
        result[name] = np.concatenate([getattr(part, attribute) for part in parts]) if parts else np.empty(0)
    return result


def _draw_rows(table: Table, largest: int, seed: int) -> Table:
    """Draw rows at random, whatever their order."""
    table = table[np.argsort(table["name"], kind="stable")]
    chosen = np.random.default_rng(seed).permutation(len(table))[:largest]
    return table[np.sort(chosen)]


def _samples(setting: Setting) -> list[Table]:
    """Return the photometry of galaxies that the model had no label of, after that of the labelled ones."""
    photometry = durbala2020(setting.root)
    # Of declinations of unknown sign: those that meet a galaxy of ALFALFA are right.
    with without_warnings("nibles: "):
        paper = {name: selection.table for name, selection in paper_samples(folder=setting.root).items()}
    own, trained = labels(setting), answers(setting.model)
    with_label = vstack([own["ra", "dec"], deep_sample(setting)["ra", "dec"]], metadata_conflicts="silent")
    coords = Table({name: plain_floats(with_label[name]) * u.deg for name in ("ra", "dec")})
    # xGASS has no objid to tell the training set by.
    new_xgass = np.asarray(match_positions(paper["xGASS"], coords, samples.SAME_GALAXY)["row"].mask)
    mass_row = np.asarray(paper["alpha.100"]["mass_row"])
    surveys = [
        samples.alfalfa_photometry(paper["alpha.100"], photometry, mass_row, "alpha.100"),
        samples.nibles_photometry(paper["NIBLES"], photometry),
        samples.xgass_photometry(paper["xGASS"][new_xgass]),
    ]
    new = [table[~np.isin(np.asarray(table["name"]), np.asarray(trained["objid"]))] for table in surveys]
    return [
        _draw_rows(samples.labelled_photometry(own), LABELLED, setting.seed),
        *(_draw_rows(table, LARGEST, setting.seed) for table in new),
    ]


@lru_cache(maxsize=2)
def _estimates(setting: Setting, _inputs: tuple[str, ...], _sizes: tuple[int, int]) -> Table:
    model = load_model(setting.model)
    return vstack([estimate_simulated(table, model, seed=setting.seed) for table in _samples(setting)])


def _all(setting: Setting) -> Table:
    """Return all samples with their estimates, computed once for the figure and the table."""
    paths = [*COMPUTED["fig4-simulated"].files(setting)[0], setting.model / "card.json"]
    inputs = tuple(file_sha256(path) for path in paths)
    return _estimates(setting, inputs, (LARGEST, LABELLED)).copy()


def _parts(setting: Setting, table: Table) -> list[tuple[str, str, Table, str | None]]:
    """Return what is scored: origin of the pictures, sample, rows, and its name in Table 2 of the paper.

    Real cutouts are those of the labelled galaxies that were rendered, held out and not.
    """
    by_sample = {name: table[table["sample"] == name] for name in SAMPLES}
    real = held_out(setting)
    real = real[np.isin(np.asarray(real["objid"]), np.asarray(by_sample[samples.LABELLED_SAMPLE]["name"]))]
    model = load_model(setting.model)
    answer = model.answer(
        pictures(real["objid"], setting), reddening(real), selection=selection_of(model.card)
    )
    learned = Table({"truth": real["truth"], "estimate": answer.estimate, "p_detect": answer.probability})
    as_values = by_sample["xGASS"]["truth", "estimate", "p_detect"]
    parts: list[tuple[str, str, Table, str | None]] = [
        ("real cutouts", "labelled, real cutouts, held out", real["truth", "estimate", "p_detect"], None),
        ("real cutouts", "labelled, real cutouts, learned from", learned, None),
        *(("simulated", name, by_sample[name], paper) for name, paper in SAMPLES.items()),
        ("simulated", _LIMITS, as_values, "xGASS"),
    ]
    return [part for part in parts if len(part[2])]


def _notes(setting: Setting, table: Table) -> list[str]:
    numbers = ", ".join(f"{name}: {np.sum(table['sample'] == name)}" for name in SAMPLES)
    return [
        "simulated pictures, rendered from catalogue photometry: no result about galaxies; "
        f"at most {LARGEST} drawn of a survey ({numbers})",
        f"estimates of the model {setting.model.name!r}, which learned from real cutouts of the labelled "
        "galaxies, not from the others; rendering was adjusted to the mean colours, curves of growth and "
        "clumpiness of the same cutouts",
        "alpha.100: sizes drawn about the size-luminosity relation of RESOLVE; masses of Durbala+2020",
        "NIBLES: only those that ALFALFA-SDSS has photometry of, all detected by ALFALFA; limits unmarked",
        "xGASS: colours from the stellar masses by Taylor+2011, so that the mass enters the pictures",
    ]


def plot_simulated(table: Table) -> Figure:
    """Plot Figure 4 with simulated pictures: a panel for each sample, upper limits as arrows."""
    names = [name for name in SAMPLES if np.any(table["sample"] == name)]
    lines = (len(names) + 1) // 2
    figure, axes = panels(lines, 2, 7.6, 3.4 * lines, sharex=True, sharey=True)
    for name, axis in zip(names, axes.flat, strict=False):
        rows = table[table["sample"] == name]
        points, ours = regression.scatter_panel(axis, rows, regression.span_of(table), size=9)
        n_limits = int(limits_of(rows).sum())
        text = f"{name.partition(',')[0]}: {len(rows) - n_limits} measured"
        text += f", {n_limits} limits" if n_limits else ""
        axis.set_title(f"{text}\nRMSE {ours['rmse']:.2f} dex, offset {ours['offset']:+.2f}", fontsize="small")
        axis.set(aspect="equal", xlabel=regression.MEASURED, ylabel="estimate of a simulated picture")
        axis.label_outer()
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    figure.colorbar(points, ax=axes.ravel().tolist(), label="probability of detection")
    figure.suptitle("Simulated pictures, rendered from catalogue photometry", fontsize="medium")
    return figure


@experiment(plot_simulated, name="fig4-simulated")
def fig4(setting: Setting) -> Table:
    """Make Figure 4 with simulated pictures: a row a galaxy of alpha.100, NIBLES, xGASS, and the labelled."""
    table = _all(setting)
    numbers: dict[str, Any] = {}
    for _, name, rows, paper in _parts(setting, table):
        text = name if name.startswith("labelled") else f"{name}, simulated pictures"
        text += ", detections" if name == "xGASS" else ""
        rows = rows[~limits_of(rows)]
        if len(rows) >= 3:
            ours = regression_metrics(rows["truth"], rows["estimate"])
            published = regression.published_row(paper)
            numbers |= {f"{text}, {score}": (ours[score], published.get(score)) for score in _SCORES}
    detection = load_model(setting.model).card.detection
    for name in SAMPLES:
        scores = table["ood_score"][table["sample"] == name]
        if len(scores) and detection is not None:
            share = np.mean(scores >= detection.ood_threshold)
            numbers[f"{name}, share flagged as unlike the training set"] = share
    table.meta = {"numbers": numbers, "notes": _notes(setting, table)}
    return table


@experiment(name="table2-simulated")
def table2(setting: Setting) -> Table:
    """Make Table 2 with simulated pictures, beside real cutouts of labelled galaxies, and as published."""
    table = _all(setting)
    cuts, numbers = [], {}
    for origin, name, rows, paper in _parts(setting, table):
        cuts.append(regression.label(regression.sample_cuts(rows, setting), origin=origin, sample=name))
        for row in cuts[-1]:
            published = regression.published_row(paper, row["cut"])
            for score in ("n", *_SCORES):
                if np.isfinite(row[score]):
                    key = f"{origin}, {name}, {row['cut']}, {score}"
                    numbers[key] = (float(row[score]), published.get(score))
    published = regression.published_rows(2)
    published = published[np.isin(published["sample"], list(SAMPLES))]
    result = vstack([*cuts, published], metadata_conflicts="silent")
    result.meta = {"numbers": numbers, "notes": _notes(setting, table)}
    return result
