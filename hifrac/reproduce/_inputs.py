"""Galaxies with measured values, the held-out answers of a model, and pictures, joined by identifier."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from hifrac.catalogs import match_ids
from hifrac.core.measurements import plain_floats
from hifrac.core.reddening import galactic_ebv
from hifrac.cutouts import SDSS_RECIPE
from hifrac.models import ModelCard, PosteriorTable
from hifrac.reproduce._experiment import (
    ARCHIVE,
    DEEP,
    INDEX,
    LABELS,
    LINES,
    METALLICITIES,
    PHOTOMETRY,
    Setting,
)

WIDTH = SDSS_RECIPE.width  # pixels, of the archive
#: What the network of Wu & Boada (2019) says of pictures of so many pixels, in `METALLICITIES`.
PUBLISHED = {
    128: "wu_boada_2019_prediction",
    **{width: f"wu_boada_2019_prediction_{width}" for width in (64, 32, 16)},
}
#: Held-out estimates of the metallicity with more than a picture, where a model has them: what it was given.
EVIDENCE = {
    "oh_z": "redshift",
    "oh_photometry": "magnitudes",
    "oh_z_photometry": "redshift and magnitudes",
    "oh_mstar": "mass",
    "oh_z_photometry_mstar": "redshift, magnitudes and mass",
}
#: The lines beside which MPA-JHU measured the continuum: wavelengths in vacuum, Angstrom.
CONTINUA = {
    "oii_3726": 3727.1,
    "oii_3729": 3729.9,
    "neiii_3869": 3869.9,
    "h_delta": 4102.9,
    "h_gamma": 4341.7,
    "oiii_4363": 4364.4,
    "h_beta": 4862.7,
    "oiii_4959": 4960.3,
    "oiii_5007": 5008.2,
    "hei_5876": 5877.2,
    "oi_6300": 6302.0,
    "nii_6548": 6549.9,
    "h_alpha": 6564.6,
    "nii_6584": 6585.3,
    "sii_6717": 6718.3,
    "sii_6731": 6732.7,
}
_ANSWERS = "out_of_fold.ecsv"


def labels(setting: Setting) -> Table:
    """Read the labelled galaxies that ALFALFA detected, with objid as text."""
    return _read(setting.root / LABELS, ("ra", "dec", "v_helio", "log_hi_fraction_true"))


def answers(model: Path) -> Table:
    """Read what a model said of its training galaxies while it had not learned from them."""
    return _read(
        model / _ANSWERS,
        ("detected", "undetected", "gas_poor", "is_limit", "fold", "log_hi_fraction", "p_detect"),
    )


def held_out(setting: Setting) -> Table:
    """Return the galaxies that ALFALFA detected, with held-out ``estimate``, ``p_detect`` and ``fold``."""
    return _fractions(labels(setting), setting.model)


def deep_sample(setting: Setting) -> Table:
    """Return the RESOLVE galaxies that ALFALFA did not detect, as `held_out`; with ``is_limit``."""
    table = _read(setting.root / DEEP, ("log_hi_fraction_true", "is_limit", "alfalfa_detected"))
    return _fractions(table[~np.asarray(table["alfalfa_detected"], bool)], setting.model)


def metallicities(setting: Setting) -> Table:
    """Return the galaxies with a metallicity, with held-out ``estimate`` and ``fold``.

    And those columns of `EVIDENCE` that there are, and the columns `PUBLISHED`.
    """
    answered = _read(_model_of(setting, "metallicity") / _ANSWERS, ("oh", "fold"))
    table = _read(setting.root / METALLICITIES, ("oh_p50", *PUBLISHED.values()))
    evidence = {name: name for name in EVIDENCE if name in answered.colnames}
    return _join(table, answered, {"estimate": "oh", "fold": "fold", **evidence}, truth="oh_p50")


def with_photometry(table: Table, setting: Setting) -> Table:
    """Return the galaxies of a table that have SDSS photometry and a stellar mass, with these columns."""
    photometry = photometry_of(setting)
    row = match_ids(table["objid"], photometry["objid"])["row"]
    has_mass = ~np.asarray(row.mask)
    result = table[has_mass]
    for name in photometry.colnames[1:]:
        result[name] = photometry[name][np.asarray(row[has_mass])]
    if not len(result):
        raise ValueError("table: none of its galaxies has photometry in the data directory")
    return result


def photometry_of(setting: Setting) -> Table:
    """Read the galaxies with SDSS photometry: ``objid``, magnitudes, ``redshift`` and ``log_mstar``."""
    bands = [f"{prefix}_{band}" for prefix in ("modelmag", "M") for band in "ugriz"]
    names = (*bands, "redshift", "log_mstar_taylor")
    table = _read(setting.root / PHOTOMETRY, names)["objid", *names]
    table.rename_column("log_mstar_taylor", "log_mstar")
    good = np.all([np.isfinite(plain_floats(table[name])) for name in table.colnames[1:]], axis=0)
    return table[good]


def metallicity_note(setting: Setting) -> str:
    """Return which model told the metallicity, for the notes of a result."""
    return model_note(_model_of(setting, "metallicity"))


def spectra(setting: Setting) -> Table:
    """Return what the model of spectra said of its training galaxies while it had not learned from them.

    Columns are those of ``out_of_fold.ecsv`` of `hifrac.training.train_spectra`.
    """
    return _read(
        spectrum_model(setting) / _ANSWERS, ("fold", "h_alpha_ew", "measured_h_alpha_ew", "has_lines")
    )


def spectrum_model(setting: Setting) -> Path:
    """Return the folder of the model of spectra; a ValueError if there is none."""
    return _model_of(setting, "spectrum")


def continua(setting: Setting) -> Table:
    """Return ``objid`` and ``continuum``, (n, 16), at `CONTINUA`, of spectra of MPA-JHU; NaN if unknown."""
    table = _read(setting.root / LINES, tuple(f"{name}_cont" for name in CONTINUA))
    values = np.stack([plain_floats(table[f"{name}_cont"]) for name in CONTINUA], axis=1)
    return Table({"objid": table["objid"], "continuum": np.where(values > 0, values, np.nan)})


def index(setting: Setting) -> np.ndarray:
    """Return the identifiers of all pictures of the archive, as text."""
    return np.asarray(_read(setting.root / INDEX, ())["objid"])


def limits_of(table: Table) -> np.ndarray:
    """Return where the measured values are upper limits: nowhere without a column ``is_limit``."""
    if "is_limit" not in table.colnames:
        return np.zeros(len(table), bool)
    return np.asarray(table["is_limit"], bool)


def selection_of(card: ModelCard) -> str | None:
    """Return the selection of the paper, galaxies that ALFALFA detects, of a model that knows any."""
    return "alfalfa" if isinstance(card.calibration, PosteriorTable) else None


def model_note(model: Path) -> str:
    """Return which model answered, for the notes of a result."""
    command = _read(model / _ANSWERS, ()).meta.get("command", "unknown")
    return f"held-out answers of the model {model.name!r}, trained by {command}"


def pictures(objid: Iterable[str], setting: Setting) -> np.ndarray:
    """Read the cutouts of galaxies, uint8 of shape (n, 128, 128, 3); a missing one is an error."""
    from hifrac.training.data import decode_all

    return decode_all(np.asarray(objid).astype(str), setting.root / ARCHIVE, SDSS_RECIPE)


def measurements(pixels: np.ndarray) -> np.ndarray:
    """Measure pictures as the structure network does, float64 of shape (n, measurements)."""
    from hifrac.models.structure import StructureNet
    from hifrac.training.measuring.measurements import measure

    return measure(StructureNet(WIDTH).eval(), pixels)


def reddening(table: Table) -> np.ndarray:
    """Return Galactic E(B-V) in mag at ``ra`` and ``dec``."""
    return galactic_ebv(plain_floats(table["ra"]), plain_floats(table["dec"]))


def fraction_features(table: Table, setting: Setting) -> np.ndarray:
    """Return what the default model reads the HI fraction from: measurements of pictures, and reddening."""
    from hifrac.models.structure import StructureNet
    from hifrac.training.measuring.measurements import with_ebv
    from hifrac.training.structure.heads import FRACTION_GROUPS

    features = with_ebv(measurements(pictures(table["objid"], setting)), reddening(table))
    return features[:, StructureNet.columns(FRACTION_GROUPS)]


def ridge() -> Any:
    """Return a ridge regression of the HI fraction, without a prior, on `fraction_features`, to be fitted."""
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # The error is the same to 1% with penalties from 6 to 40.
    return make_pipeline(StandardScaler(), Ridge(12.0))


def _model_of(setting: Setting, name: str) -> Path:
    path = getattr(setting, name)
    if path is None:
        raise ValueError(f"setting: it has no model of the {name}")
    return path


def _fractions(table: Table, model: Path) -> Table:
    columns = {"estimate": "log_hi_fraction", "p_detect": "p_detect", "fold": "fold"}
    return _join(table, answers(model), columns, truth="log_hi_fraction_true")


def _join(table: Table, answered: Table, columns: dict[str, str], *, truth: str) -> Table:
    """Return the rows that a model answered for; how many it did not is in ``meta``."""
    row = match_ids(table["objid"], answered["objid"])["row"]
    has_answer = ~np.asarray(row.mask)
    result = table[has_answer]
    row = np.asarray(row[has_answer])
    for name, column in columns.items():
        values = answered[column]
        # An answer that there is none of is masked.
        result[name] = (plain_floats(values) if values.dtype.kind == "f" else np.asarray(values))[row]
    result["truth"] = plain_floats(result[truth])
    result.meta = {"unanswered": int(np.sum(~has_answer))}
    if not len(result):
        raise ValueError("model: none of its held-out answers is of a labelled galaxy of the data directory")
    return result


def _read(path: Path, columns: tuple[str, ...]) -> Table:
    table = Table.read(path, format="ascii.ecsv")
    if missing := [name for name in ("objid", *columns) if name not in table.colnames]:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}")
    table["objid"] = np.char.strip(np.asarray(table["objid"]).astype(str))
    return table
