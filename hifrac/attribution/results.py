"""Explanations of the rows of a table: a map of each row on the sky, computed on demand."""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from astropy import units as u
from astropy.table import QTable, Table
from astropy.utils.masked import Masked

import hifrac
from hifrac.attribution.methods import heat_maps, resolve_method
from hifrac.attribution.regions import SMOOTHING
from hifrac.attribution.targets import Target, resolve_target
from hifrac.core.exceptions import BadImageError, RowError
from hifrac.core.files import new_file
from hifrac.core.flags import Flag, decode_flags
from hifrac.core.progress import progress_reports
from hifrac.core.reprs import html_facts
from hifrac.images import flip_wcs, resampled_wcs
from hifrac.models.answer import Answer

if TYPE_CHECKING:
    from astropy.nddata import CCDData
    from astropy.wcs import WCS
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hifrac.cutouts import Cutout, CutoutRecipe
    from hifrac.models import Model

#: The former name of `hifrac.images.flip_wcs`.
upside_down = flip_wcs

# That of the estimator: errors of rows are logged in one place.
log = logging.getLogger("hifrac.estimator")

_ON_ERROR = ("flag", "raise")
#: Pictures explained at a time: nobody wants to wait for more before the first map.
_BATCH = 64


@dataclass(frozen=True, eq=False)
class Explanation:
    """The heat map of one row, or why there is none.

    Attributes
    ----------
    row : int
        Number of the row, from 0.
    values : `~numpy.ndarray` of float32, shape (height, width)
        Contribution of each pixel, in ``unit``; the first row is the top of the picture. NaN where the row
        could not be served.
    pixels : `~numpy.ndarray` of uint8, shape (height, width, 3), or None
        The picture.
    wcs : `~astropy.wcs.WCS` or None
        World coordinates of ``pixels`` and ``values``, the first row on top.
    target : `~hifrac.attribution.Target`
        The output that is explained.
    method : str
        ``"class activation map"``, ``"Grad-CAM"``, ``"integrated gradients"`` or ``"occlusion"``.
    prediction : float
        Value of that output, before any calibration.
    offset : float
        Output to which the map adds: ``offset + values.sum()`` is the prediction. NaN where the method is not
        additive.
    answers : dict of str to float
        Results of `~hifrac.HIFractionEstimator.predict` for the row: estimate, interval, ``p_detect``,
        ``ood_score``.
    flags : int
        Quality flags, see `~hifrac.decode_flags`.
    error : `~hifrac.core.RowError` or None
        Reason why the row has no map.
    native : `~numpy.ndarray` or None
        Map at the network's own size; ``mean(native) + offset`` is the prediction.
    meta : dict
        Model, its sha256, parameters of the method.
    ra, dec : float
        ICRS position of the row, in degrees; NaN where unknown.

    Examples
    --------
    >>> from hifrac import HIFractionEstimator, LocalCutouts
    >>> from hifrac.demo import PICTURES, sample_table
    >>> estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
    >>> explanation = estimator.explain(sample_table())[0]
    >>> explanation.map.unit, explanation.map.shape
    (Unit("dex / pix"), (128, 128))
    >>> abs(round(explanation.gap, 2))
    0.0
    """

    row: int
    values: np.ndarray
    pixels: np.ndarray | None
    wcs: WCS | None
    target: Target
    method: str
    prediction: float = np.nan
    offset: float = np.nan
    answers: dict[str, float] = field(default_factory=dict)
    flags: int = 0
    error: RowError | None = None
    native: np.ndarray | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    ra: float = np.nan
    dec: float = np.nan

    def __repr__(self) -> str:
        if self.error is not None:
            return f"<Explanation of row {self.row}: {', '.join(decode_flags(self.flags))}>"
        return f"<Explanation of row {self.row}: {self.method}, {self.target.name} {self.prediction:+.2f}>"

    def _repr_html_(self) -> str:
        facts: dict[str, Any] = {"explains": self.target.name, "method": self.method}
        if self.served:
            facts["prediction"] = f"{self.prediction:+.2f}"
            facts |= {name: f"{value:.2f}" for name, value in self.answers.items()}
        else:
            facts["no map"] = self.error
        facts["flags"] = ", ".join(decode_flags(self.flags)) or "none"
        return html_facts(f"Explanation of row {self.row}", facts)

    @property
    def served(self) -> bool:
        """Whether there is a map."""
        return self.error is None

    @property
    def unit(self) -> u.UnitBase:
        """Unit of the map: that of the target per pixel."""
        return self.target.unit / u.pix

    @property
    def gap(self) -> float:
        """Prediction minus offset and sum of the map; NaN if the method is not additive."""
        return float(self.prediction - self.offset - self.values.sum(dtype=float))

    @property
    def map(self) -> CCDData:
        """The map as FITS stores images: the first row at the bottom, north up, with unit and WCS.

        A new object each time; all of it is masked for a row without a map. ``write("map.fits")`` makes a
        file that `~astropy.nddata.CCDData` reads again, and that is aligned with other images in DS9.
        """
        from astropy.nddata import CCDData

        values = self.values[::-1].copy()
        wcs = None if self.wcs is None else flip_wcs(self.wcs, self.values.shape[0])
        return CCDData(values, unit=self.unit, mask=~np.isfinite(values), wcs=wcs, meta=self._header())

    def write(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the map to a FITS file.

        Parameters
        ----------
        path : path-like
            Its name ends in ``.fits``, ``.fit`` or ``.fits.gz``.
        overwrite : bool, optional
            Whether a file of that name is replaced.

        Raises
        ------
        OSError
            If there is such a file, or it cannot be written.
        ValueError
            If the row has no map.
        """
        if not self.served:
            raise ValueError(f"row {self.row} has no map: {self.error}")
        with new_file(Path(path), overwrite=overwrite) as partial:
            self.map.write(partial, format="fits")

    def plot(
        self,
        rich: Explanation | None = None,
        *,
        ax: Axes | Sequence[Axes] | None = None,
        smoothing: float = SMOOTHING,
        limit: float | None = None,
        title: str | None = None,
    ) -> Figure:
        """Draw the picture and its heat maps as Figure 11 of Wu (2020).

        Alone, the negative contributions are the second panel (evidence for less) and the positive ones the
        third (evidence for more).

        Parameters
        ----------
        rich : `Explanation`, optional
            Another map of the same row: then the second panel is the positive part of this one (the class
            gas-poor) and the third that of ``rich`` (the class gas-rich), as in the paper.
        ax : `~matplotlib.axes.Axes` or sequence of three, optional
            Draw into one: the signed map, with contours of the picture. Or into three: the panels. A
            `~astropy.visualization.wcsaxes.WCSAxes` should have ``map.wcs`` as its projection. By
            default a figure of three panels, with coordinates if the picture has them.
        smoothing : float, optional
            Standard deviation in pixels of the Gaussian that smooths the maps; 0 for none.
        limit : float, optional
            End of the colour scale, in the unit of the map; positive. By default the largest
            absolute value of the maps shown.
        title : str, optional
            Above the figure.

        Returns
        -------
        figure : `~matplotlib.figure.Figure`
            The figure of ``ax``, or a new one, independent of pyplot.

        Raises
        ------
        TypeError
            If ``rich`` is no `Explanation`.
        ValueError
            If a row has no map, the two are not of one row and size, ``limit`` is not positive, or
            ``ax`` is one and ``rich`` is given, or is neither one nor three.
        """
        from hifrac.attribution.plotting import plot_explanation

        return plot_explanation(self, rich, ax=ax, smoothing=smoothing, limit=limit, title=title)

    def _header(self) -> dict[str, Any]:
        """Return what the map is, as FITS keywords."""
        facts = {
            "METHOD": (self.method, "what the map is"),
            "TARGET": (self.target.name, "what is explained"),
            "PREDICT": (self.prediction, "output of the network that is explained"),
            "OFFSET": (self.offset, "PREDICT = OFFSET + sum of the map"),
            "GAP": (self.gap, "what is missing from that sum"),
            "NSTEPS": (self.meta.get("steps", np.nan), "nodes of the quadrature of integrated gradients"),
            "MODEL": (self.meta.get("model", ""), "model of the package hifrac"),
            "MODELSHA": (self.meta.get("model_sha256", "")[:16], "sha256 of its file, first 16 digits"),
            "HIFRACV": (hifrac.__version__, "version of hifrac"),
            "SRCROW": (self.row, "row of the input table, from 0"),
            "QFLAGS": (self.flags, "quality flags of hifrac"),
        }
        from astropy.io import fits

        header = fits.Header()
        for key, (value, comment) in facts.items():
            if isinstance(value, str) or np.isfinite(value):  # FITS headers have no NaN
                header[key] = (value, comment)
        return header


class Explanations(Sequence):
    """Explanations of the rows of a table, in their order; made by `~hifrac.HIFractionEstimator.explain`.

    A sequence of `Explanation` that is computed on demand: iterating takes the memory of one batch, however
    many rows there are, and an index computes one row. Results are not stored; ``list(explanations)`` stores
    them. A slice is another such sequence.

    Parameters
    ----------
    model : `~hifrac.models.Model`
        Model that is explained.
    table : `~astropy.table.Table`
        Table with the rows.
    fetch : callable
        Given an array of row numbers, yields for each the row number and its `~hifrac.cutouts.Cutout`.
    decode : callable
        Returns the pixels of a cutout as a recipe has them, or raises `~hifrac.core.RowError`.
    positions : tuple of array of float, shape (n,)
        ICRS right ascension and declination in degrees; NaN where unknown.
    method, target : str
        As for `~hifrac.attribution.heat_maps`.
    ebv : array of float, shape (n,), optional
        Galactic reddening.
    pixel_scales : array of float, shape (n,), optional
        Arcsec per pixel of each row, where the model's recipe has a ``scale_column``; without it, maps have
        no world coordinates but those of the pictures' own headers.
    interpret : callable, optional
        Returns the answer for some rows, given the outputs of the network and the numbers of the rows; by
        default the model's, which knows nothing of the rows.
    on_error : {"flag", "raise"}, optional
        Whether a row without a picture has a masked map and a flag, or raises its error.
    batch_size : int, optional
        Pictures that are explained at a time, 64 by default.
    options : dict, optional
        Options of the method.
    progress : bool or callable, optional
        As for `~hifrac.HIFractionEstimator.predict`, whenever all rows are gone through.

    Raises
    ------
    ValueError
        If ``method`` or ``on_error`` is unknown, or the model does not have ``target``.
    TypeError
        If the method has no such option.
    ~hifrac.core.ModelError
        If the model does not support ``method``.

    Examples
    --------
    >>> from hifrac import HIFractionEstimator, LocalCutouts
    >>> from hifrac.demo import PICTURES, sample_table
    >>> estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
    >>> explanations = estimator.explain(sample_table()[:3], target="p_detect")
    >>> len(explanations), explanations[0].target.output
    (3, 'detection_logit')
    >>> explanations.summary().colnames[:4]
    ['name', 'ra', 'dec', 'morphology']
    """

    def __init__(
        self,
        model: Model,
        table: Table,
        fetch: Callable[[np.ndarray], Generator[tuple[int, Cutout]]],
        decode: Callable[[Cutout, CutoutRecipe], np.ndarray],
        positions: tuple[np.ndarray, np.ndarray],
        *,
        method: str = "cam",
        target: str | None = None,
        ebv: np.ndarray | None = None,
        pixel_scales: np.ndarray | None = None,
        interpret: Callable[[Mapping[str, np.ndarray], list[int]], Answer] | None = None,
        on_error: str = "flag",
        batch_size: int | None = None,
        options: dict[str, Any] | None = None,
        progress: bool | Callable[[int], object] = False,
    ) -> None:
        if on_error not in _ON_ERROR:
            raise ValueError(f"on_error must be one of {_ON_ERROR}, got {on_error!r}")
        self.model = model
        self.table = table
        self.target = resolve_target(model.card, target)
        self.method = resolve_method(model, method, options or {})
        self.rows = np.arange(len(table))
        self._arguments = {"method": method, "target": self.target.name, **(options or {})}
        self._fetch, self._decode, self._positions = fetch, decode, positions
        self._ebv, self._raises, self._batch_size = ebv, on_error == "raise", int(batch_size or _BATCH)
        self._pixel_scales, self._progress = pixel_scales, progress
        self._interpret = interpret or (lambda outputs, rows: model.interpret(outputs, self._ebv_of(rows)))

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        model = self.model.card.name
        return f"<{len(self)} explanations of {self.target.name} by {self.method}, model {model!r}>"

    def _repr_html_(self) -> str:
        return html_facts(f"{len(self)} explanations", self.meta)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            part = object.__new__(Explanations)
            part.__dict__.update(self.__dict__, rows=self.rows[index])
            return part
        return next(iter(self._stream(self.rows[operator.index(index)][None])))

    def __iter__(self) -> Iterator[Explanation]:
        with progress_reports(self._progress, len(self), "explaining") as report:
            for explanation in self._stream(self.rows):
                yield explanation
                report(1)

    def _stream(self, rows: np.ndarray) -> Iterator[Explanation]:
        """Yield explanations in order, from batches of the pictures that are there."""
        waiting: list[Explanation] = []
        n_good = 0
        with closing(self._fetch(rows)) as cutouts:
            for row, cutout in cutouts:
                started = self._start(int(row), cutout)
                waiting.append(started)
                n_good += started.served
                if n_good == self._batch_size or len(waiting) == 16 * self._batch_size:
                    yield from self._finish(waiting)
                    waiting, n_good = [], 0
        yield from self._finish(waiting)

    def _start(self, row: int, cutout: Cutout) -> Explanation:
        """Return the picture of a row, or why there is none; no map yet."""
        width = self.model.card.recipe.width
        blank = np.full((width, width), np.nan, dtype=np.float32)
        recipe, wcs, step = self.model.card.recipe, None, None
        ra, dec = (float(values[row]) for values in self._positions)
        empty = Explanation(row, blank, None, wcs, self.target, self.method, meta=self.meta, ra=ra, dec=dec)
        try:
            recipe = recipe.at(None if self._pixel_scales is None else self._pixel_scales[row])
            # A picture that says nothing of its place has the row's position in the middle.
            if recipe.pixel_scale is not None and np.isfinite(ra) and np.isfinite(dec):
                wcs = recipe.wcs(ra, dec)
                empty = replace(empty, wcs=wcs)
            step = recipe.step(cutout.pixel_scale)
            pixels = self._decode(cutout, recipe)
            if (own := cutout.wcs) is not None:
                wcs = own if step is None else resampled_wcs(own, width, step)
            if pixels.shape != (width, width, 3):
                raise BadImageError(f"a picture of shape {pixels.shape} for a model of {width} pixels")
        except RowError as error:
            if self._raises:
                error.add_note(f"in row {row} of data")
                raise
            log.info("row %d: %s", row, error, extra={"flag": error.flag})
            return replace(empty, flags=int(error.flag), error=error)
        return replace(empty, pixels=pixels, wcs=wcs, flags=0 if step is None else int(Flag.RESAMPLED))

    def _ebv_of(self, rows: list[int]) -> np.ndarray | None:
        return None if self._ebv is None else self._ebv[rows]

    def _finish(self, waiting: list[Explanation]) -> Iterator[Explanation]:
        """Yield the waiting explanations, with maps where there are pictures."""
        served = [explanation for explanation in waiting if explanation.served]
        if served:
            rows = [explanation.row for explanation in served]
            pixels = np.stack([cast(np.ndarray, explanation.pixels) for explanation in served])
            inspected = self.model.inspect(pixels)
            maps = heat_maps(self.model, inspected.pixels, ebv=self._ebv_of(rows), **self._arguments)
            # From the same pass of the network.
            answer = self._interpret(maps.outputs, rows)
        number = 0
        for explanation in waiting:
            if not explanation.served:
                yield explanation
                continue
            yield replace(
                explanation,
                # Copies: a view of one map would hold its whole batch in memory. Back to where the galaxy is.
                values=np.roll(maps.values[number], inspected.moves[number], (0, 1)),
                native=None if maps.native is None else maps.native[number].copy(),
                prediction=float(maps.prediction[number]),
                offset=float(maps.offset[number]),
                answers=_numbers(answer, number),
                flags=explanation.flags | int(answer.flags[number]) | int(inspected.flags[number]),
                meta={**explanation.meta, **maps.details},
            )
            number += 1

    @property
    def meta(self) -> dict[str, Any]:
        """Origin of the maps: version, model, method and target, in plain types."""
        card = self.model.card
        return {
            "version": hifrac.__version__,
            "model": card.name,
            "model_sha256": self.model.sha256,
            "method": self.method,
            "target": self.target.name,
            "explains": self.target.meaning,
        }

    def summary(self) -> QTable:
        """Tabulate the sums of the maps and the flags, one row per row, in order. Computes all maps once.

        Returns
        -------
        table : `~astropy.table.QTable`
            Columns of the input, then ``explained`` (the output of the network), ``offset``, ``gap``,
            ``for`` and ``against`` (sums of the positive and of the negative contributions), masked where
            there is no map; and ``flags``.
        """
        table = QTable(self.table[self.rows], copy=True)
        rows = [map_sums(explanation) for explanation in self]
        unit = self.target.unit
        for name in ("explained", "offset", "gap", "for", "against"):
            values = np.array([row[name] for row in rows], dtype=float)
            table[name] = Masked(values * unit, mask=np.isnan(values))
        table["flags"] = np.array([row["flags"] for row in rows], dtype=np.int32)
        table.meta["hifrac"] = self.meta
        return table


def map_sums(explanation: Explanation) -> dict[str, float]:
    """Return what a map explains, and the sums of its positive and negative contributions; else NaN."""
    values = explanation.values.astype(float)
    return {
        "explained": explanation.prediction,
        "offset": explanation.offset,
        "gap": explanation.gap,
        "for": values[values > 0].sum() if explanation.served else np.nan,
        "against": values[values < 0].sum() if explanation.served else np.nan,
        "flags": explanation.flags,
    }


def _numbers(answer: Answer, index: int) -> dict[str, float]:
    """Return the results of one picture that the model has."""
    numbers = {
        "estimate": answer.estimate,
        answer.probability_column: answer.probability,
        "ood_score": answer.ood_score,
    }
    numbers |= {f"p{100 * level:.0f}": answer.quantiles[level] for level in (0.16, 0.84) if answer.quantiles}
    return {name: float(values[index]) for name, values in numbers.items() if np.isfinite(values[index])}
