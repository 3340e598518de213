"""Regions of maps: contours and blobs, as DS9 and CASA read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units as u
from astropy.nddata import NDData
from astropy.table import QTable

from hifrac.core.files import new_file

if TYPE_CHECKING:
    from regions import Region, Regions

# Names that both DS9 and CASA know.
_REGION_COLOURS = {1: "blue", -1: "red"}

#: Default smoothing in pixels: about the seeing of SDSS at 0.4 arcsec per pixel (1.3 arcsec FWHM).
SMOOTHING = 1.5

_FORMATS = {".reg": "ds9", ".crtf": "crtf"}


def smoothed(values: np.ndarray, sigma: float) -> np.ndarray:
    """Convolve a map with a Gaussian of ``sigma`` pixels; its sum stays, for the borders reflect."""
    from scipy.ndimage import gaussian_filter

    if not 0 <= sigma < np.inf:
        raise ValueError(f"sigma must be a number of pixels, not negative, got {sigma}")
    return gaussian_filter(np.asarray(values, dtype=float), sigma, mode="reflect")


def contours(
    image: NDData, levels: Sequence[float] | None = None, *, smoothing: float = SMOOTHING
) -> Regions:
    """Draw contours of a map as polygons.

    Parameters
    ----------
    image : `~astropy.nddata.NDData` or `~astropy.nddata.CCDData`
        A map, such as ``explanation.map``; polygons are on the sky if it has a WCS, else in its pixels.
    levels : sequence of float, optional
        In the unit of the map, not zero; a level below zero encloses what is lower. By default a
        quarter, half and three quarters of the largest absolute value of the smoothed map, either sign.
    smoothing : float, optional
        Standard deviation in pixels of the Gaussian that smooths the map first; 0 for none.

    Returns
    -------
    regions : ``regions.Regions``
        Closed polygons, also at the border. Each has its level as ``text``, and a colour: blue for
        positive levels, red for negative ones. Empty for a map that is masked, or flat.

    Raises
    ------
    TypeError
        If ``image`` is no `~astropy.nddata.NDData`.
    ValueError
        If ``image`` is not two-dimensional, a level is zero or not finite, or ``smoothing`` is negative.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import NDData
    >>> from hifrac.attribution import contours
    >>> y, x = np.mgrid[:64, :64]
    >>> blob = NDData(np.exp(-((x - 40) ** 2 + (y - 20) ** 2) / 50), unit="dex")
    >>> [region.meta["text"] for region in contours(blob, [0.2, 0.5])]
    ['+0.2', '+0.5']
    """
    from regions import PixCoord, PolygonPixelRegion, Regions
    from skimage.measure import find_contours

    values = _map_values(image, smoothing)
    if levels is None:
        top = np.abs(values).max(initial=0.0)
        levels = [sign * share * top for sign in (1, -1) for share in (0.25, 0.5, 0.75)] if top else []
    if not all(np.isfinite(level) and level != 0 for level in levels):
        raise ValueError(f"levels must be finite and not zero, got {list(levels)}")
    framed = np.pad(values, 1)  # with zeros, so that contours close at the border
    polygons = []
    for level in levels:
        sign = 1 if level > 0 else -1
        for path in find_contours(framed, level):
            if len(path) < 4:
                continue
            polygon = PolygonPixelRegion(PixCoord(path[:-1, 1] - 1, path[:-1, 0] - 1))
            polygons.append(_on_sky(polygon, image, f"{level:+.2g}", sign))
    return Regions(polygons)


def evidence_blobs(
    image: NDData, *, threshold: float = 0.5, smoothing: float = SMOOTHING, min_pixels: int = 9
) -> tuple[QTable, Regions]:
    """Find the brightest blobs of a map, of either sign, each with its share.

    Parameters
    ----------
    image : `~astropy.nddata.NDData` or `~astropy.nddata.CCDData`
        A map, such as ``explanation.map``.
    threshold : float, optional
        Share of the largest absolute value of the smoothed map above which a pixel belongs to a
        blob; between 0 and 1.
    smoothing : float, optional
        Standard deviation in pixels of the Gaussian that smooths the map in which blobs are found.
    min_pixels : int, optional
        Smaller blobs are left out.

    Returns
    -------
    table : `~astropy.table.QTable`
        One row per blob, the largest contribution first: ``contribution`` (sum of the map itself over its
        pixels, in the unit of the map times pixel), ``share`` (of the sum of the absolute values of the whole
        map), ``n_pixels``, ``x``, ``y`` (centre, in pixels of the map from 0), and ``coord``
        (`~astropy.coordinates.SkyCoord`) if the map has a WCS.
    regions : ``regions.Regions``
        One ellipse per blob, of its second moments, in the same order; its contribution is its ``text``.

    Raises
    ------
    TypeError
        If ``image`` is no `~astropy.nddata.NDData`.
    ValueError
        If ``threshold`` is not between 0 and 1, ``smoothing`` negative, or ``min_pixels`` below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import NDData
    >>> from hifrac.attribution import evidence_blobs
    >>> y, x = np.mgrid[:64, :64]
    >>> blob = NDData(np.exp(-((x - 40) ** 2 + (y - 20) ** 2) / 50), unit="dex")
    >>> table, regions = evidence_blobs(blob)
    >>> table["x"].round(1).tolist(), table["y"].round(1).tolist(), table["share"].round(2).tolist()
    ([40.0], [20.0], [0.54])
    """
    from regions import EllipsePixelRegion, PixCoord, Regions
    from skimage.measure import label, regionprops

    if not 0 < threshold < 1:
        raise ValueError(f"threshold must lie between 0 and 1, got {threshold}")
    if min_pixels < 1:
        raise ValueError(f"min_pixels must be at least 1, got {min_pixels}")
    values = _map_values(image, smoothing)
    raw = _map_values(image, 0.0)
    top, total = np.abs(values).max(initial=0.0), np.abs(raw).sum()
    rows: list[dict[str, Any]] = []
    ellipses = []
    for sign in (1, -1):
        above = sign * values > max(threshold * top, np.finfo(float).tiny)
        for blob in regionprops(label(above)):
            if blob.area < min_pixels:
                continue
            inside = tuple(blob.coords.T)
            y, x = blob.centroid
            row = {"contribution": raw[inside].sum(), "share": np.abs(raw[inside]).sum() / total}
            rows.append({**row, "n_pixels": int(blob.area), "x": x, "y": y, "sign": sign})
            # The orientation is measured from the first axis, the columns of the picture.
            axes = max(blob.axis_major_length, 1.0), max(blob.axis_minor_length, 1.0)
            ellipses.append(
                EllipsePixelRegion(PixCoord(x, y), *axes, angle=(np.pi / 2 - blob.orientation) * u.rad)
            )
    order = np.argsort([-abs(row["contribution"]) for row in rows], kind="stable")
    return (
        _blob_table([rows[i] for i in order], image),
        Regions(
            [_on_sky(ellipses[i], image, f"{rows[i]['contribution']:+.2g}", rows[i]["sign"]) for i in order]
        ),
    )


def write_regions(regions: Regions, path: str | Path, *, overwrite: bool = False) -> None:
    """Write regions for DS9 or CASA.

    Parameters
    ----------
    regions : ``regions.Regions``
        Output of `contours` or `evidence_blobs`.
    path : path-like
        Its name ends in ``.reg`` (DS9) or ``.crtf`` (CASA).
    overwrite : bool, optional
        Whether a file of that name is replaced.

    Raises
    ------
    OSError
        If there is such a file, or it cannot be written.
    ValueError
        If the name ends otherwise.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from regions import CirclePixelRegion, PixCoord, Regions
    >>> from hifrac.attribution import write_regions
    >>> blob = CirclePixelRegion(PixCoord(40, 20), radius=5)
    >>> with TemporaryDirectory() as folder:
    ...     write_regions(Regions([blob]), f"{folder}/blob.reg")
    ...     Regions.read(f"{folder}/blob.reg")[0].radius
    5.0
    """
    path = Path(path)
    if path.suffix not in _FORMATS:
        raise ValueError(f"path must end in {' or '.join(_FORMATS)}, got {path.name}")
    with new_file(path, overwrite=overwrite) as partial:
        regions.write(partial, format=_FORMATS[path.suffix])


def _map_values(image: NDData, smoothing: float) -> np.ndarray:
    """Return the values of a map, smoothed; zero where it is masked."""
    if not isinstance(image, NDData):
        raise TypeError(f"image must be NDData, such as explanation.map, got {type(image).__name__}")
    values = np.asarray(image.data, dtype=float)
    if values.ndim != 2:
        raise ValueError(f"image must be two-dimensional, got the shape {values.shape}")
    is_masked = ~np.isfinite(values)
    if image.mask is not None:
        is_masked |= image.mask
    return smoothed(np.where(is_masked, 0.0, values), smoothing)


def _on_sky(region: Any, image: NDData, text: str, sign: int) -> Region:
    """Return the region with label and colour, on the sky if the map has a WCS."""
    placed = region if image.wcs is None else region.to_sky(image.wcs)
    placed.meta["text"] = placed.meta["label"] = text  # DS9, CASA
    placed.visual["color"] = _REGION_COLOURS[sign]
    return placed


def _blob_table(rows: list[dict[str, Any]], image: NDData) -> QTable:
    unit = u.dimensionless_unscaled if image.unit is None else image.unit * u.pix
    table = QTable()
    table["contribution"] = np.array([row["contribution"] for row in rows]) * unit
    for name, dtype in (("share", float), ("n_pixels", int), ("x", float), ("y", float)):
        table[name] = np.array([row[name] for row in rows], dtype=dtype)
    if image.wcs is not None:
        table["coord"] = image.wcs.pixel_to_world(table["x"], table["y"])
    return table
