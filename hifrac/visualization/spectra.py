"""One figure of a galaxy and its spectrum, with the lines named."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
from astropy import units as u
from astropy.nddata import StdDevUncertainty

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase
    from specutils import Spectrum

__doctest_requires__ = {"plot_spectrum": ["specutils"]}

#: Lines of galaxies by their names: wavelength in vacuum, Angstrom, as the SDSS lists them; doublets once.
LINES = {
    r"[O$\,$II]": 3728.5,
    "K": 3934.8,
    "H": 3969.6,
    r"H$\delta$": 4102.9,
    "G": 4305.6,
    r"H$\gamma$": 4341.7,
    r"H$\beta$": 4862.7,
    r"[O$\,$III]": 5008.2,
    "Mg": 5176.6,
    "Na": 5895.6,
    r"H$\alpha$": 6564.6,
    r"[S$\,$II]": 6725.5,
}

_COLORS = ("#D55E00", "#009E73", "#CC79A7", "#56B4E9")  # Okabe & Ito (2008)


def plot_spectrum(
    picture: np.ndarray | None,
    spectrum: Spectrum,
    *,
    others: Mapping[str, Spectrum] | None = None,
    label: str | None = None,
    title: str | None = None,
) -> Figure:
    """Draw a galaxy beside its spectrum, as the figure of Wu & Peek (2020), with the lines named.

    Below a predicted spectrum stands what it is: a photometric template spectrum, no measured one.

    Parameters
    ----------
    picture : `~numpy.ndarray` or None
        Of the galaxy, (h, w, 3) uint8 or float in [0, 1]; None leaves its place empty.
    spectrum : specutils.Spectrum
        In the rest frame, wavelengths in vacuum, such as `~hifrac.spectra.result_spectrum` returns. Its
        uncertainty is a band around it.
    others : mapping of str to specutils.Spectrum, optional
        Further spectra by the names that the legend has, such as the observed one. They are drawn behind the
        first, and each on its scale: their median is 1 where both have pixels.
    label : str, optional
        Name of the first; by default "from the picture" if it was predicted, else "spectrum".
    title : str, optional
        Above the figure.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
        A new one, independent of pyplot.

    Raises
    ------
    TypeError
        If a spectrum is none of specutils, or ``others`` no mapping.
    ValueError
        If ``picture`` is none in colour, or a spectrum is not one, or has no light in the range of the first.

    Examples
    --------
    >>> import numpy as np
    >>> from hifrac import plot_spectrum
    >>> from hifrac.spectra import result_spectrum
    >>> from astropy.table import Table
    >>> spectra = Table({"flux": np.full((1, 1000), 0.03)})
    >>> figure = plot_spectrum(None, result_spectrum(spectra, 0))
    >>> figure.savefig("spectrum.png")  # doctest: +SKIP
    """
    from hifrac.core.figures import NotebookFigure

    if others is not None and not isinstance(others, Mapping):
        raise TypeError(f"others must be spectra by name, a dict, got {type(others).__name__}")
    made_by = (getattr(spectrum, "meta", None) or {}).get("hifrac")
    meaning = made_by.get("flux") if isinstance(made_by, Mapping) else None
    if label is None:
        label = "from the picture" if meaning else "spectrum"
    figure = NotebookFigure(figsize=(10, 3), layout="constrained")
    draw_spectrum(figure, picture, spectrum, others=others, label=label)
    if title is not None:
        figure.suptitle(title)
    if meaning:
        figure.supxlabel(fill(f"{label}: {meaning}", 150), fontsize=7)
    return figure


def draw_spectrum(
    figure: FigureBase,
    picture: np.ndarray | None,
    spectrum: Spectrum,
    *,
    others: Mapping[str, Spectrum] | None = None,
    label: str,
) -> Axes:
    """Draw what `plot_spectrum` does into a figure, or a part of one; return the axes of the spectrum."""
    wavelength, flux = _numbers("spectrum", spectrum)
    low, high = wavelength.min(), wavelength.max()
    error = _error(spectrum)
    left, axes = figure.subplots(1, 2, width_ratios=[1, 3.2])
    _draw_picture(left, picture)
    for number, (name, other) in enumerate((others or {}).items()):
        where, values = _numbers(f"others: {name!r}", other)
        is_common = (where >= low) & (where <= high)
        scale = _median(f"others: {name!r}", values[is_common])
        axes.plot(where, values / scale, color=_COLORS[number % len(_COLORS)], linewidth=0.7, label=name)
    scale = _median("spectrum", flux)
    axes.plot(wavelength, flux / scale, color="black", linewidth=1.2, label=label)
    if error is not None:
        band = (flux - error) / scale, (flux + error) / scale  # none where masked
        axes.fill_between(wavelength, *band, color="black", alpha=0.2, linewidth=0)
    axes.set(
        xlim=(low, high),
        xlabel=r"wavelength in the rest frame, vacuum [$\mathrm{\AA}$]",
        ylabel="flux density / median",
    )
    _name_lines(axes)
    axes.legend(loc="best", fontsize=8, frameon=False)
    return axes


def _numbers(name: str, spectrum: Spectrum) -> tuple[np.ndarray, np.ndarray]:
    """Return wavelengths in Angstrom, and flux, NaN where masked."""
    if not (hasattr(spectrum, "flux") and hasattr(spectrum, "spectral_axis")):
        raise TypeError(
            f"{name} must be a spectrum of specutils, such as hifrac.spectra.result_spectrum makes of a row, "
            f"got {type(spectrum).__name__}"
        )
    flux = np.array(spectrum.flux.value, dtype=float)
    if flux.ndim != 1:
        raise ValueError(f"{name} must be one spectrum, got shape {flux.shape}")
    if spectrum.mask is not None:
        flux[spectrum.mask] = np.nan
    return spectrum.spectral_axis.to_value(u.AA), flux


def _error(spectrum: Spectrum) -> np.ndarray | None:
    """Return the standard error of each pixel, infinite in a gap; None if nothing is known of it."""
    if spectrum.uncertainty is None:
        return None
    with np.errstate(divide="ignore"):  # of no inverse variance
        return np.asarray(spectrum.uncertainty.represent_as(StdDevUncertainty).array)


def _median(name: str, flux: np.ndarray) -> float:
    """Return the median of the pixels that are there; a ValueError if there are none, or no light."""
    is_there = np.isfinite(flux)
    median = float(np.median(flux[is_there])) if is_there.any() else 0.0
    if not median > 0:
        raise ValueError(f"{name} has no light in the range of wavelengths that is drawn")
    return median


def _draw_picture(axes: Axes, picture: np.ndarray | None) -> None:
    axes.set_axis_off()
    if picture is None:
        return
    picture = np.asarray(picture)
    if picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(f"picture must be of the shape (h, w, 3), got {picture.shape}")
    if picture.dtype != np.uint8:
        if picture.dtype.kind != "f" or picture.min() < 0 or picture.max() > 1:
            raise ValueError(f"picture must be uint8, or float from 0 to 1, got {picture.dtype}")
        picture = np.nan_to_num(picture)
    axes.imshow(picture, interpolation="nearest")


def _name_lines(axes: Axes) -> None:
    """Mark the lines within the axis, names above it, by turns in two heights."""
    low, high = axes.get_xlim()
    inside = [(name, place) for name, place in LINES.items() if low < place < high]
    for number, (name, place) in enumerate(inside):
        axes.axvline(place, color="0.8", linewidth=0.8, zorder=0)
        height = 1.01 + 0.07 * (number % 2)
        axes.text(
            place, height, name, transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=8
        )
