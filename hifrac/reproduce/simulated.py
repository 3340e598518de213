"""Figure 4 and Table 2 of Wu (2020) with simulated pictures, where the real ones are not at hand.

The pictures are rendered from catalogue photometry by `hifrac.simulate`. They tell of gas only what that
photometry does: what is found here shows how the estimator carries over from sample to sample as far as
brightness, colour, size and shape go, and what rendering costs. It is no result about galaxies.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from astropy import units as u
from astropy.table import Table, vstack

from hifrac.catalogs import CatalogWarning, durbala2020, match_positions
from hifrac.catalogs.samples import paper_samples
from hifrac.core.input import plain_floats
from hifrac.core.reddening import galactic_ebv
from hifrac.metrics import published_metrics, regression_metrics
from hifrac.reproduce._experiment import Setting, sha256
from hifrac.reproduce._inputs import answers, beyond, held_out, labels
from hifrac.reproduce._pictures import ARCHIVE, pictures
from hifrac.reproduce.photometry import (
    LABELLED_SAMPLE,
    SAME_GALAXY,
    alfalfa_photometry,
    labelled_photometry,
    nibles_photometry,
    xgass_photometry,
)
from hifrac.reproduce.regression import cut_metrics
from hifrac.simulate import render_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hifrac.models import Model

__all__ = [
    "INPUTS",
    "LABELLED",
    "LARGEST",
    "SAMPLES",
    "draw_simulated",
    "estimate_simulated",
    "fig4",
    "table2",
]

#: Galaxies of each survey at most; drawn at random.
LARGEST = 150
#: Labelled galaxies at most: all of them.
LABELLED = 300
#: Galaxies rendered in one go, for the network.
_BATCH = 64

_OWN = LABELLED_SAMPLE
_REAL = "labelled, real cutouts, held out"
_KNOWN = "labelled, real cutouts, learned from"
_LIMITS = "xGASS, limits as values"
#: The samples of simulated pictures, and what each is called in Table 2 of the paper.
SAMPLES = {_OWN: None, "alpha.100": "alpha.100", "NIBLES": "NIBLES", "xGASS": "xGASS"}
_FIGURES = ("rmse", "offset", "sigma", "slope", "slope_inverse")

#: What both experiments read: catalogues, the labelled cutouts, and the model.
INPUTS = (
    *("alfalfa_a40", "alfalfa_a100", "durbala2020", "xgass", "nibles", "tmrs"),
    *("cutouts/hi_labels.ecsv", "cutouts/resolve_labels.ecsv", ARCHIVE),
    *("model/out_of_fold.ecsv", "model/weights.safetensors"),
)


def estimate_simulated(table: Table, model: Model, *, seed: int = 0) -> Table:
    """What a model says of pictures rendered from photometry.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Of one of the functions of photometry.
    model : `~hifrac.models.Model`
        A loaded model.
    seed : int, optional
        Of `hifrac.simulate.render_table`.

    Returns
    -------
    table : `~astropy.table.Table`
        A copy with ``estimate`` (dex), ``p_detect`` and ``ood_score``.
    """
    rendered = render_table(table, name="name", seed=seed, recipe=model.card.recipe)
    ebv = np.asarray(table["ebv"], float)
    parts = []
    for start in range(0, len(table), _BATCH):
        own = ebv[start : start + _BATCH]
        pixels = np.stack([next(rendered) for _ in own])
        parts.append(_said(model, pixels, own))
    result = table.copy()
    for name in ("estimate", "p_detect", "ood_score"):
        result[name] = np.concatenate([one[name] for one in parts]) if parts else np.empty(0)
    return result


def _said(model: Model, pixels: np.ndarray, ebv: np.ndarray) -> dict[str, np.ndarray]:
    outputs, card = model.run(pixels, ebv), model.card
    calibrated = card.calibration.estimate(outputs) if card.calibration else outputs["estimate"]
    return {
        "estimate": np.asarray(calibrated),
        "p_detect": card.detection.p_detect(outputs["detection_logit"]),
        "ood_score": card.detection.ood_score(outputs["distance"]),
    }


def _drawn(table: Table, largest: int, seed: int) -> Table:
    """Rows at random, whatever their order."""
    table = table[np.argsort(table["name"], kind="stable")]
    chosen = np.random.default_rng(seed).permutation(len(table))[:largest]
    return table[np.sort(chosen)]


def _without(table: Table, known: Table) -> Table:
    """The rows of a sample that the model had no label of."""
    return table[np.asarray(match_positions(table, known, SAME_GALAXY)["row"].mask)]


def _samples(setting: Setting) -> list[Table]:
    photometry = durbala2020()
    with warnings.catch_warnings():
        # Of declinations of unknown sign: those that meet a galaxy of ALFALFA are right.
        warnings.filterwarnings("ignore", "nibles: ", CatalogWarning)
        paper = paper_samples()
    own, trained = labels(setting.folder), answers(setting.model)
    complete = paper["alpha.100"].table
    row = np.asarray(complete["mass_row"])
    labelled = vstack([own["ra", "dec"], beyond(setting)["ra", "dec"]], metadata_conflicts="silent")
    known = Table({name: plain_floats(labelled[name]) * u.deg for name in ("ra", "dec")})
    surveys = [
        alfalfa_photometry(complete, photometry, row, "alpha.100"),
        nibles_photometry(paper["NIBLES"].table, photometry),
        xgass_photometry(_without(paper["xGASS"].table, known)),  # it has no objid
    ]
    new = [one[~np.isin(np.asarray(one["name"]), np.asarray(trained["objid"]))] for one in surveys]
    return [
        _drawn(labelled_photometry(own), LABELLED, setting.seed),
        *(_drawn(one, LARGEST, setting.seed) for one in new),
    ]


@lru_cache(maxsize=2)
def _estimates(setting: Setting, _inputs: tuple[str, ...], _sizes: tuple[int, int]) -> Table:
    """All samples with their estimates, once for the figure and the table."""
    from hifrac.models import load_model

    model = load_model(setting.model)
    return vstack([estimate_simulated(one, model, seed=setting.seed) for one in _samples(setting)])


def _all(setting: Setting) -> Table:
    files = [setting.folder / "cutouts" / f"{one}_labels.ecsv" for one in ("hi", "resolve")]
    files += sorted(setting.model.iterdir())
    files += sorted((setting.folder / "catalogs").glob("*"))
    inputs = tuple(sha256(one) for one in files if one.is_file())
    return _estimates(setting, inputs, (LARGEST, LABELLED)).copy()


def _real(setting: Setting, rendered: Table) -> dict[str, Table]:
    """Estimates of the real cutouts of the labelled galaxies that were rendered, held out and not."""
    from hifrac.models import load_model

    model, table = load_model(setting.model), held_out(setting)
    chosen = rendered["name"][rendered["sample"] == _OWN]
    table = table[np.isin(np.asarray(table["objid"]), np.asarray(chosen))]
    ebv = galactic_ebv(plain_floats(table["ra"]), plain_floats(table["dec"]))
    said = Table({**_said(model, pictures(table["objid"], setting), ebv), "truth": table["truth"]})
    return {_REAL: table["truth", "estimate", "p_detect"], _KNOWN: said["truth", "estimate", "p_detect"]}


def _paper(sample: str | None, cut: str = "all") -> dict[str, float]:
    if sample is None:
        return {}
    table = published_metrics()
    (row,) = table[(table["table"] == 2) & (table["sample"] == sample) & (table["cut"] == cut)]
    return {name: float(row[name]) for name in ("n", "rmse", "slope", "sigma", "offset")}


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


def _measured(table: Table, sample: str, *, limits: bool = False) -> Table:
    rows = table[table["sample"] == sample]
    return rows if limits else rows[~np.asarray(rows["is_limit"], bool)]


def _numbers(parts: Mapping[str, tuple[Table, str | None]]) -> dict[str, tuple[float, float | None]]:
    numbers: dict[str, tuple[float, float | None]] = {}
    for name, (rows, paper) in parts.items():
        if len(rows) < 3:
            continue
        ours, theirs = regression_metrics(rows["truth"], rows["estimate"]), _paper(paper)
        numbers |= {f"{name}, {one}": (float(ours[one]), theirs.get(one)) for one in _FIGURES}
    return numbers


def fig4(setting: Setting) -> Table:
    """Figure 4 with simulated pictures: a row a galaxy of alpha.100, NIBLES, xGASS, and the labelled ones."""
    table = _all(setting)
    real = _real(setting, table)
    parts = {name: (rows, None) for name, rows in real.items()}
    parts |= {
        f"{name}, simulated pictures" if paper else name: (_measured(table, name), paper)
        for name, paper in SAMPLES.items()
        if name != "xGASS"
    }
    parts["xGASS, simulated pictures, detections"] = (_measured(table, "xGASS"), None)
    parts[f"{_LIMITS}, simulated pictures"] = (_measured(table, "xGASS", limits=True), "xGASS")
    numbers = _numbers(parts)
    for name in SAMPLES:
        rows = table[table["sample"] == name]
        if len(rows):
            share = float(np.mean(rows["ood_score"] >= _threshold(setting)))
            numbers[f"{name}, share flagged as unlike the training set"] = (share, None)
    table.meta = {"numbers": numbers, "notes": _notes(setting, table)}
    return table


def _threshold(setting: Setting) -> float:
    from hifrac.models import load_model

    return load_model(setting.model).card.detection.ood_threshold


def table2(setting: Setting) -> Table:
    """Table 2 with simulated pictures, beside real cutouts of labelled galaxies and the published rows."""
    table = _all(setting)
    parts = [("real cutouts", name, rows, None, None) for name, rows in _real(setting, table).items()]
    for name, paper in SAMPLES.items():
        rows = _measured(table, name, limits=True)
        if len(rows) and name == "xGASS":
            parts.append(("simulated", name, rows, rows["is_limit"], None))
            parts.append(("simulated", _LIMITS, rows, None, paper))
        elif len(rows):
            parts.append(("simulated", name, rows, None, paper))
    judged, numbers = [], {}
    for origin, name, rows, is_limit, paper in parts:
        options = {"is_limit": is_limit, "draws": setting.draws, "seed": setting.seed}
        found = cut_metrics(rows["truth"], rows["estimate"], rows["p_detect"], **options)
        found.add_column(np.full(len(found), name), 0, "sample")
        found.add_column(np.full(len(found), origin), 0, "origin")
        judged.append(found)
        for row in found:
            theirs = _paper(paper, row["cut"])
            for figure in ("n", *_FIGURES):
                if np.isfinite(row[figure]):
                    key = f"{origin}, {name}, {row['cut']}, {figure}"
                    numbers[key] = (float(row[figure]), theirs.get(figure))
    published = published_metrics()
    named = [one for one in SAMPLES.values() if one]
    chosen = (published["table"] == 2) & np.isin(published["sample"], named)
    published = published["sample", "cut", "n", "rmse", "slope", "sigma", "offset"][chosen]
    published.add_column(np.full(len(published), "published"), 0, "origin")
    for column in published.itercols():
        column.unit = None  # the figures of the judge carry their units in their descriptions
    result = vstack([*judged, published], metadata_conflicts="silent")
    result.meta = {"numbers": numbers, "notes": _notes(setting, table)}
    return result


def draw_simulated(table: Table) -> Figure:
    """Figure 4 with simulated pictures: a panel for each sample, upper limits as arrows.

    Parameters
    ----------
    table : `~astropy.table.Table`
        Of `fig4`.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    """
    import matplotlib.pyplot as plt

    names = [one for one in SAMPLES if np.any(table["sample"] == one)]
    lines = (len(names) + 1) // 2
    figure, axes = plt.subplots(
        lines, 2, figsize=(7.6, 3.4 * lines), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    truth, estimate, p_detect = (np.asarray(table[one], float) for one in ("truth", "estimate", "p_detect"))
    limit = np.asarray(table["is_limit"], bool)
    span = np.array([min(truth.min(), estimate.min()) - 0.1, max(truth.max(), estimate.max()) + 0.1])
    for name, axis in zip(names, axes.flat, strict=False):
        own = np.asarray(table["sample"] == name)
        kept, upper = own & ~limit, own & limit
        axis.plot(span, span, color="0.6", lw=1)
        shown = axis.scatter(truth[kept], estimate[kept], c=p_detect[kept], s=9, vmin=0, vmax=1)
        if upper.any():
            axis.scatter(truth[upper], estimate[upper], marker=r"$\leftarrow$", s=30, color="C3", lw=0.3)
        ours = regression_metrics(truth[kept], estimate[kept])
        text = f"{name.partition(',')[0]}: {kept.sum()} measured"
        text += f", {upper.sum()} limits" if upper.any() else ""
        axis.set_title(f"{text}\nRMSE {ours['rmse']:.2f} dex, offset {ours['offset']:+.2f}", fontsize="small")
        axis.set(xlim=span, ylim=span, aspect="equal")
    for axis in axes[-1]:
        axis.set_xlabel(r"measured $\log_{10}(M_\mathrm{HI}/M_*)$")
    for axis in axes[:, 0]:
        axis.set_ylabel("estimate of a simulated picture")
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    figure.colorbar(shown, ax=axes.ravel().tolist(), label="probability of detection")
    figure.suptitle("Simulated pictures, rendered from catalogue photometry", fontsize="medium")
    return figure
