"""Explanations of the rows of a table: a map each, on the sky, worked out when it is asked for."""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units as u
from astropy.table import QTable, Table
from astropy.utils.masked import Masked

import hifrac
from hifrac.attribution.methods import heat_maps, resolve_method
from hifrac.attribution.targets import Target, resolve_target
from hifrac.core.exceptions import BadImageError, RowError
from hifrac.core.flags import decode_flags
from hifrac.images import flip_wcs
from hifrac.models.answer import Answer

if TYPE_CHECKING:
    from astropy.nddata import CCDData
    from astropy.wcs import WCS

    from hifrac.cutouts import Cutout
    from hifrac.models import Model

__all__ = ["Explanation", "Explanations"]

#: The estimator's: what stops a row is said in one place.
log = logging.getLogger("hifrac.estimator")

_ON_ERROR = ("flag", "raise")


@dataclass(frozen=True, eq=False)
class Explanation:
    """The heat map of one row, or why there is none.

    Attributes
    ----------
    row : int
        Number of the row.
    values : `~numpy.ndarray` of float32, shape (height, width)
        Contribution of each pixel, in ``unit``; the first row is the top of the picture. NaN where the row
        could not be served.
    pixels : `~numpy.ndarray` of uint8, shape (height, width, 3), or None
        The picture.
    wcs : `~astropy.wcs.WCS` or None
        Of ``pixels`` and ``values``, the first row on top.
    target : `~hifrac.attribution.Target`
        What is explained.
    method : str
        ``"class activation map"``, ``"Grad-CAM"``, ``"integrated gradients"`` or ``"occlusion"``.
    prediction : float
        The output of the network that is explained, before any calibration.
    offset : float
        What the map starts from: ``offset + values.sum()`` is the prediction. NaN where the method is not
        additive.
    answers : dict of str to float
        What `~hifrac.HIFractionEstimator.predict` says of the row: estimate, interval, ``p_detect``,
        ``ood_score``.
    flags : int
        Quality flags, see `~hifrac.core.flags.decode_flags`.
    error : `~hifrac.core.exceptions.RowError` or None
        What stopped the row.
    native : `~numpy.ndarray` or None
        The map at the network's own size, ``mean(native) + offset`` being the prediction.
    meta : dict
        Model, its sha256, parameters of the method.
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

    def __repr__(self) -> str:
        if self.error is not None:
            return f"<Explanation of row {self.row}: {', '.join(decode_flags(self.flags))}>"
        return f"<Explanation of row {self.row}: {self.method}, {self.target.name} {self.prediction:+.2f}>"

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
        """What the map misses: prediction minus offset and sum; NaN if the method is not additive."""
        return float(self.prediction - self.offset - self.values.sum(dtype=float))

    @property
    def map(self) -> CCDData:
        """The map as FITS has images: the first row at the bottom, north up, with unit and WCS.

        A new object each time. All of it is masked for a row without a map. ``write("map.fits")`` makes a
        file that `~astropy.nddata.CCDData` reads again, and that lies right over other images in DS9.
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
        self.map.write(path, format="fits", overwrite=overwrite)

    def _header(self) -> dict[str, Any]:
        """The facts as FITS keywords."""
        facts = {
            "METHOD": (self.method, "what the map is"),
            "TARGET": (self.target.name, "what is explained"),
            "PREDICT": (self.prediction, "output of the network that is explained"),
            "OFFSET": (self.offset, "PREDICT = OFFSET + sum of the map"),
            "GAP": (self.gap, "what is missing from that sum"),
            "MODEL": (self.meta.get("model", ""), "model of the package hifrac"),
            "MODELSHA": (self.meta.get("model_sha256", "")[:16], "sha256 of its weights, first 16 digits"),
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
    """The explanations of the rows of a table, in their order; made by `~hifrac.HIFractionEstimator.explain`.

    A sequence of `Explanation` that is worked out when it is asked for: to iterate takes the
    memory of one batch, however many rows there are, and an index works out one row. What has been worked out
    is not kept; ``list(explanations)`` keeps it. A slice is another such sequence.

    Parameters
    ----------
    model : `~hifrac.models.Model`
        The model explained.
    table : `~astropy.table.Table`
        The rows.
    fetch : callable
        Given an array of row numbers, yields for each the row number and its `~hifrac.cutouts.Cutout`.
    decode : callable
        Pixels of the bytes of a picture; raises `~hifrac.core.exceptions.RowError`.
    positions : tuple of array of float, shape (n,)
        ICRS right ascension and declination in degrees; NaN where unknown.
    method, target : str
        As of `~hifrac.attribution.heat_maps`.
    ebv : array of float, shape (n,), optional
        Galactic reddening.
    on_error : {"flag", "raise"}, optional
        Whether a row that cannot be served has a masked map and a flag, or raises its error.
    batch_size : int, optional
        Pictures in one pass of the network.
    options : dict, optional
        Options of the method.

    Raises
    ------
    ValueError
        If ``method`` or ``on_error`` is unknown, or the model does not have ``target``.
    ~hifrac.core.exceptions.ModelError
        If the model cannot do ``method``.
    """

    def __init__(
        self,
        model: Model,
        table: Table,
        fetch: Callable[[np.ndarray], Iterable[tuple[int, Cutout]]],
        decode: Callable[[bytes], np.ndarray],
        positions: tuple[np.ndarray, np.ndarray],
        *,
        method: str = "cam",
        target: str = "log_hi_fraction",
        ebv: np.ndarray | None = None,
        on_error: str = "flag",
        batch_size: int = 64,
        options: dict[str, Any] | None = None,
    ) -> None:
        if on_error not in _ON_ERROR:
            raise ValueError(f"on_error must be one of {_ON_ERROR}, got {on_error!r}")
        self.model = model
        self.table = table
        self.target = resolve_target(model.card, target)
        self.method = resolve_method(model, method)
        self.rows = np.arange(len(table))
        self._asked = {"method": method, "target": target, **(options or {})}
        self._fetch, self._decode, self._positions = fetch, decode, positions
        self._ebv, self._stop, self._size = ebv, on_error == "raise", int(batch_size)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        kind = f"{self.target.name} by {self.method}, model {self.model.card.name!r}"
        return f"<{len(self)} explanations of {kind}>"

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            part = object.__new__(Explanations)
            part.__dict__.update(self.__dict__, rows=self.rows[index])
            return part
        return next(iter(self._stream(self.rows[operator.index(index)][None])))

    def __iter__(self) -> Iterator[Explanation]:
        return self._stream(self.rows)

    def _stream(self, rows: np.ndarray) -> Iterator[Explanation]:
        """Explanations in order, from batches of pictures that could be had."""
        waiting: list[Explanation] = []
        n_good = 0
        with closing(self._fetch(rows)) as cutouts:
            for row, cutout in cutouts:
                started = self._start(int(row), cutout)
                waiting.append(started)
                n_good += started.served
                if n_good == self._size or len(waiting) == 16 * self._size:
                    yield from self._finish(waiting)
                    waiting, n_good = [], 0
        yield from self._finish(waiting)

    def _start(self, row: int, cutout: Cutout) -> Explanation:
        """The picture of a row, or what stopped it; no map yet."""
        width = self.model.card.recipe.width
        blank = np.full((width, width), np.nan, dtype=np.float32)
        empty = Explanation(
            row, blank, None, self._wcs(row, cutout), self.target, self.method, meta=self.meta
        )
        try:
            if cutout.error is not None:
                raise cutout.error
            pixels = self._decode(cutout.data) if cutout.pixels is None else cutout.pixels
            if pixels.shape != (width, width, 3):
                raise BadImageError(f"a picture of shape {pixels.shape} for a model of {width} pixels")
        except RowError as error:
            if self._stop:
                error.add_note(f"in row {row} of data")
                raise
            log.info("row %d: %s", row, error, extra={"flag": error.flag})
            return replace(empty, flags=int(error.flag), error=error)
        return replace(empty, pixels=pixels)

    def _wcs(self, row: int, cutout: Cutout) -> WCS | None:
        """That of the picture; where it does not say, the row's position is its centre."""
        if cutout.error is None and (wcs := cutout.wcs) is not None:
            return wcs
        ra, dec = (float(values[row]) for values in self._positions)
        return self.model.card.recipe.wcs(ra, dec) if np.isfinite(ra) and np.isfinite(dec) else None

    def _finish(self, waiting: list[Explanation]) -> Iterator[Explanation]:
        good = [one for one in waiting if one.served]
        if good:
            rows = [one.row for one in good]
            ebv = None if self._ebv is None else self._ebv[rows]
            maps = heat_maps(self.model, np.stack([one.pixels for one in good]), ebv=ebv, **self._asked)
            # From the same pass of the network.
            answer = Answer.from_outputs(self.model.card, maps.outputs, ebv)
        number = 0
        for one in waiting:
            if not one.served:
                yield one
                continue
            yield replace(
                one,
                # Copies, or one map that is kept would keep its batch.
                values=maps.values[number].copy(),
                native=None if maps.native is None else maps.native[number].copy(),
                prediction=float(maps.prediction[number]),
                offset=float(maps.offset[number]),
                answers=_numbers(answer, number),
                flags=int(answer.flags[number]),
                meta={**one.meta, **maps.details},
            )
            number += 1

    @property
    def meta(self) -> dict[str, Any]:
        """Where the maps are from, in plain types."""
        card = self.model.card
        return {
            "version": hifrac.__version__,
            "model": card.name,
            "model_sha256": card.sha256,
            "method": self.method,
            "target": self.target.name,
            "explains": self.target.meaning,
        }

    def summary(self) -> QTable:
        """One row per row, in order: what the maps sum up to, and the flags. Works all of them out, once.

        Returns
        -------
        table : `~astropy.table.QTable`
            The columns of the input, then ``explained`` (the output of the network), ``offset``, ``gap``,
            ``for`` and ``against`` (sums of the positive and of the negative contributions), masked where
            there is no map; and ``flags``.
        """
        table = QTable(self.table[self.rows], copy=True)
        rows = [summary_row(one) for one in self]
        unit = self.target.unit
        for name in ("explained", "offset", "gap", "for", "against"):
            values = np.array([row[name] for row in rows], dtype=float)
            table[name] = Masked(values * unit, mask=np.isnan(values))
        table["flags"] = np.array([row["flags"] for row in rows], dtype=np.int32)
        table.meta["hifrac"] = self.meta
        return table


def summary_row(one: Explanation) -> dict[str, float]:
    """The sums of one map."""
    values = one.values.astype(float)
    sums = {"for": values[values > 0].sum(), "against": values[values < 0].sum()} if one.served else {}
    return {
        "explained": one.prediction,
        "offset": one.offset,
        "gap": one.gap,
        "for": np.nan,
        "against": np.nan,
        **sums,
        "flags": one.flags,
    }


def _numbers(answer: Answer, index: int) -> dict[str, float]:
    """What the estimator says of one picture, as far as the model says it."""
    numbers = {"estimate": answer.estimate, "p_detect": answer.p_detect, "ood_score": answer.ood_score}
    numbers |= {f"p{100 * level:.0f}": answer.quantiles[level] for level in (0.16, 0.84) if answer.quantiles}
    return {name: float(values[index]) for name, values in numbers.items() if np.isfinite(values[index])}
