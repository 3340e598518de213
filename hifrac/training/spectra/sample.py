"""The galaxies of the model of spectra: a row a picture, with all that the label files say of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.table import Table

from hifrac.models.photometry import PHOTOMETRIC
from hifrac.models.spectrum_table import LATENTS, LINE_UNIT
from hifrac.spectra import LinearLatents
from hifrac.spectra.rest_frame import N_PIXELS
from hifrac.training.data import data_folder, numbers_of, read_data_table
from hifrac.training.latents import fit_pca
from hifrac.training.measuring.galaxies import PHOTOMETRY, Galaxies, joined, read_photometry, with_pictures

#: Where the templates are, beside the folder of the pictures: an array ``kcorrect5`` of 5 by 1000 pixels.
TEMPLATES = Path("spectra") / "galaxy_spectral_bases.npz"
#: The files with real lines, of MPA-JHU and of Thomas et al. (2013); a data directory may lack the second.
LINES, PORTSMOUTH = "line_labels.ecsv", "portsmouth_labels.ecsv"
#: What is measured on real spectra: asinh(EW / 3 Angstrom) of H-alpha, and log10 of ratios of continua.
MEASURED = ("h_alpha", "continuum_3900_6500", "continuum_4340_5877")
# Columns of both: equivalent width, and the continua at 3869, 6563, 4340 and 5876 Angstrom.
_MPA_JHU = ("h_alpha_eqw", "neiii_3869_cont", "h_alpha_cont", "h_gamma_cont", "hei_5876_cont")
_THOMAS = (
    *("EW_Ha_6562", "Flux_Cont_NeIII_3868", "Flux_Cont_Ha_6562"),
    *("Flux_Cont_Hg_4340", "Flux_Cont_HeI_5875"),
)
#: Fewer galaxies teach nothing.
FEWEST = 40
_COEFFICIENTS = tuple(f"kc_c{number}" for number in range(len(LATENTS)))


def read_sample(folder: str | Path | None = None, *, width: int = 128) -> tuple[Galaxies, LinearLatents]:
    """Read the pictures that the label files of a data directory tell of, and the space of their templates.

    Parameters
    ----------
    folder : path-like, optional
        The data directory; `~hifrac.core.data_dir` by default.
    width : int, optional
        Side of the pictures in pixels.

    Returns
    -------
    galaxies : Galaxies
        ``table``, with a row for each galaxy: ``objid``; ``photometry``, (n, 8), `PHOTOMETRIC` as observed;
        ``latents``, (n, 5), of the template spectrum fitted to magnitudes and redshift, of norm 1;
        ``lines``, (n, 3), `MEASURED` on real spectra; ``portsmouth``, 1 where these are of Thomas et al.
        (2013), else 0; ``ra``, ``dec`` and ``ebv``; NaN where unknown. Those of one ``group`` share a fold.
        ``pixels``, (n, width, width, 3).
    space : LinearLatents
        The principal components of the template spectra: as many as templates, so nothing is lost.

    Raises
    ------
    ValueError
        If no data directory is configured, or a table lacks a column.
    FileNotFoundError
        If ``photometry_labels.ecsv``, ``line_labels.ecsv``, ``index.ecsv``, the templates or pictures are
        missing.
    ~hifrac.core.RowError
        If a picture is missing or damaged: training takes all or nothing.
    """
    cutouts = data_folder(folder)
    photometry, space = _read_templates(cutouts)
    tables = [photometry, _read_lines(cutouts, LINES, _MPA_JHU, -1.0)]
    if (cutouts / PORTSMOUTH).is_file():
        tables.append(_read_lines(cutouts, PORTSMOUTH, _THOMAS, 1.0))
    vectors = {"photometry": len(PHOTOMETRIC), "latents": len(LATENTS), "lines": len(MEASURED)}
    table = joined(tables, ("ra", "dec", "portsmouth"), vectors)
    return with_pictures(table, cutouts, width), space


def _read_templates(cutouts: Path) -> tuple[Table, LinearLatents]:
    """Read photometry and template spectra; and find the principal components of these."""
    table = Table(read_photometry(cutouts))["objid", "ra", "dec", "photometry"]
    fitted = read_data_table(cutouts, PHOTOMETRY, _COEFFICIENTS)
    coefficients = np.stack([numbers_of(fitted, name) for name in _COEFFICIENTS], axis=1)
    path = cutouts.parent / TEMPLATES
    if not path.is_file():
        raise FileNotFoundError(f"data_dir: {path} is missing (set HIFRAC_DATA_DIR or conf.data_dir)")
    with np.load(path) as bases:
        templates = np.asarray(bases["kcorrect5"], dtype=float)
    if templates.shape != (len(LATENTS), N_PIXELS):
        raise ValueError(
            f"data_dir: {path}: kcorrect5 must be {len(LATENTS)} by {N_PIXELS}, got {templates.shape}"
        )
    spectra = coefficients @ templates
    norm = np.linalg.norm(spectra, axis=1)
    has = np.isfinite(norm) & (norm > 0)
    spectra = spectra[has] / norm[has, None]
    space = fit_pca(spectra, n_latents=len(LATENTS))
    table["latents"] = np.full((len(table), len(LATENTS)), np.nan)
    table["latents"][has] = space.encode(spectra)
    return table, space


def _read_lines(cutouts: Path, name: str, columns: tuple[str, ...], sign: float) -> Table:
    """Read what was measured on real spectra; ``sign`` makes emission positive."""
    is_thomas = name == PORTSMOUTH  # whose file has positions, too
    table = read_data_table(cutouts, name, ["objid", *columns, *(("ra", "dec") if is_thomas else ())])
    width, *continua = (numbers_of(table, column) for column in columns)
    at_3900, at_6500, at_4340, at_5877 = (np.where(values > 0, values, np.nan) for values in continua)
    lines = [np.arcsinh(sign * width / LINE_UNIT), np.log10(at_3900 / at_6500), np.log10(at_4340 / at_5877)]
    positions = {place: numbers_of(table, place) for place in ("ra", "dec") if is_thomas}
    return Table(
        {
            "objid": np.asarray(table["objid"], dtype=str),
            "lines": np.stack(lines, axis=1),
            "portsmouth": np.full(len(table), float(is_thomas)),
            **positions,
        }
    )


def with_lines(galaxies: Table) -> np.ndarray:
    """Tell which galaxies have something measured on a real spectrum."""
    return np.isfinite(galaxies["lines"]).any(axis=1)


def with_template(galaxies: Table) -> np.ndarray:
    """Tell which galaxies have photometry, redshift, mass and so a template spectrum."""
    return np.isfinite(galaxies["photometry"]).all(axis=1) & np.isfinite(galaxies["latents"]).all(axis=1)


def require_labels(galaxies: Table) -> None:
    """Refuse what nothing can be learned from: too few galaxies."""
    counts = {"template spectra of galaxies without lines": with_template(galaxies) & ~with_lines(galaxies)}
    counts |= dict(zip(MEASURED, np.isfinite(galaxies["lines"]).T, strict=True))
    for name, has in counts.items():
        if has.sum() < FEWEST:
            raise ValueError(f"{name}: {FEWEST} or more must be known to learn from, got {has.sum()}")
