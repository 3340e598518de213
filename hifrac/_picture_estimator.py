"""What estimators share: the way from positions to a table, pictures fetched, decoded and answered for."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astropy
import numpy as np
from astropy.table import QTable, Table

import hifrac
from hifrac.core.columns import make_column, make_room, unknown_values
from hifrac.core.config import conf
from hifrac.core.counts import require_count
from hifrac.core.draws import random_shares
from hifrac.core.evidence import Evidence, parse_evidence
from hifrac.core.exceptions import BadCoordinateError, FetchError, RowError, warn_caller
from hifrac.core.failures import Failures
from hifrac.core.flags import UNSERVED, Flag
from hifrac.core.input import Positions, parse
from hifrac.core.measurements import find_column
from hifrac.core.progress import progress_reports
from hifrac.core.quantities import QUANTITIES
from hifrac.core.reddening import EBV_SOURCE, galactic_ebv
from hifrac.core.reprs import html_facts
from hifrac.cutouts import Cutout, CutoutRecipe, CutoutSource, source_for
from hifrac.cutouts._decoding import decoded
from hifrac.cutouts._scales import scales_of_model, scales_of_source
from hifrac.models import Model, load_model
from hifrac.models._torch import n_threads
from hifrac.models.answer import Answer, evidence_text

if TYPE_CHECKING:
    from hifrac.attribution import Explanations

log = logging.getLogger("hifrac.estimator")

_ON_ERROR = ("flag", "raise")


@dataclass(frozen=True, eq=False)
class Request:
    """What one call asks for: n rows."""

    positions: Positions
    names: Any  # of the pictures, where the source wants them
    ebv: np.ndarray  # NaN where unknown
    evidence: Evidence
    shares: np.ndarray | None = None  # (n, k): of the distributions, for draws
    pixel_scales: np.ndarray | None = None  # of the model's pictures, where each has its own


class PictureEstimator:
    """The way from positions to a table of estimates: parse, fetch, decode, answer.

    A subclass says which quantity it is, and has the parameters of its own; its documentation has all.
    """

    #: Which quantity the estimator is for, as ``hifrac predict --quantity`` names it.
    quantity: str
    #: The setting of ``hifrac.conf`` that names its model where none is given.
    model_setting: str
    #: Whether it also takes models of quantities that have no estimator.
    _takes_others = False
    #: What its models can use of the evidence.
    _uses: tuple[str, ...]

    def __init__(
        self,
        model: str | Path | Model | None = None,
        *,
        photometry: str | None = None,
        cutouts: CutoutSource | None = None,
        device: str | None = None,
        batch_size: int | None = None,
    ) -> None:
        if isinstance(model, Model):
            if device is not None:
                raise TypeError("device must not be given with a loaded model: it has one")
            self.model = model
        else:
            self.model = load_model(
                getattr(conf, self.model_setting) if model is None else model, device=device
            )
        self._require_quantity()
        self.model.require(photometry=photometry)
        self.photometry = photometry
        if batch_size is not None:
            require_count("batch_size", batch_size)
        self.batch_size = batch_size
        if cutouts is None:
            cutouts = source_for(self.model.card.recipe)
        if isinstance(cutouts, type) or not isinstance(cutouts, CutoutSource):
            raise TypeError(
                f"cutouts must be a source of cutouts, such as LocalCutouts(path, name=...), got {cutouts!r}"
            )
        self.cutouts = cutouts
        self._check_recipe()

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__}: model {self.model.card.name!r} ({self.model.runtime}, "
            f"{self.model.device}), {self.cutouts.describe()}>"
        )

    def _repr_html_(self) -> str:
        facts = {
            "model": f"{self.model.card.name} ({self.model.runtime}, {self.model.device})",
            "estimates": self.model.card.target,
            "pictures": self.model.card.recipe,
            "source": self.cutouts.describe(),
        }
        return html_facts(type(self).__name__, facts)

    def predict(
        self,
        data: Any,
        *,
        ra: str | None = None,
        dec: str | None = None,
        environment: Any = None,
        samples: int | None = None,
        on_error: str = "flag",
        overwrite: bool = False,
        progress: bool | Callable[[int], object] = False,
    ) -> QTable:
        """Estimate the quantity of each row.

        Parameters
        ----------
        data : `~astropy.coordinates.SkyCoord`, `~astropy.table.Table`, DataFrame, dict, list, path or text
            Positions, in any of the shapes that the documentation lists. A table has ``ra`` and ``dec``
            (aliases such as RAJ2000 and DEJ2000 in any case), or one SkyCoord column; their units are
            honoured, and without units they are degrees, with a warning. Sexagesimal text is read. A source
            that finds pictures by name, as `~hifrac.cutouts.LocalCutouts` does, needs no positions.
            RA may run from -180 to 360. What is known of the galaxies (``z``, magnitudes, ``log_mstar``) is
            evidence; numbers that cannot be such are taken to be unknown. A column ``ebv`` (mag) is
            the Galactic reddening E(B-V) on the scale of Schlegel et al. (1998); without it, and where it is
            masked or negative, `~hifrac.core.galactic_ebv` takes its place. These names
            are found in any case. All columns are carried through.
        ra, dec : str, optional
            Columns of the positions, if they have other names.
        environment : `~astropy.table.Table` or (`~astropy.coordinates.SkyCoord`, array) pair, optional
            A reference catalogue of positions and redshifts: with it, and a column ``z`` of ``data``,
            the result has ``log_overdensity``, ``environment_flags`` and the flag HIGH_DENSITY: the
            density of the five nearest, relative to that of the reference, see
            `hifrac.environment.overdensity`. Near the edge of the survey it is too low; only that
            function can be told the footprint.
        samples : int, optional
            Draws from the distribution of each row, a column ``_samples`` of as many numbers a
            row: sums and distributions of samples of galaxies are made of them, not of medians. A galaxy
            (position and name of its picture) gets the same draws in every table, and others than its
            neighbours, so that a sample may be estimated in parts.
        on_error : {"flag", "raise"}, optional
            What to do with a row that cannot be served: mask and flag it, or
            raise its error.
        overwrite : bool, optional
            Whether input columns with the name of a result column are
            replaced; otherwise they are refused. What belonged to such a column (its ``_err``,
            ``_limit``, ``_samples``) goes with it. Of an estimate of another quantity, ``evidence``,
            ``ood_score`` and ``flags`` are kept with its name in front: ``log_hi_fraction_flags``.
        progress : bool or callable, optional
            True for a progress bar, also in notebooks; or a function, which is called now and then with the
            number of rows finished since the last call.

        Returns
        -------
        result : `~astropy.table.QTable`
            One row per input row, in order: the input columns, then those of
            `hifrac.core.RESULT_COLUMNS`. Estimates are masked where
            nothing could be served, and ``flags`` says why (`~hifrac.decode_flags`).
            ``meta["hifrac"]`` says what made it; what the input's said of itself is in
            ``meta["hifrac"]["input"]``.

        Raises
        ------
        TypeError
            If ``data`` is of another type, or a position column does not hold numbers.
        ValueError
            If ``data`` has no positions, has the column of a result already,
            lacks the column of file names, or ``on_error`` is unknown; or if
            ``environment`` is given and ``data`` has no ``z``.
        ~astropy.units.UnitConversionError
            If a unit is wrong.
        ~hifrac.core.RowError
            With ``on_error="raise"``, what stopped the first row that failed.

        Warns
        -----
        ~hifrac.core.HifracWarning
            If rows have no estimate: once, with how many, why the first, and what to do. If positions have no
            unit, or values of evidence cannot be such.
        """
        if on_error not in _ON_ERROR:
            raise ValueError(f"on_error must be one of {_ON_ERROR}, got {on_error!r}")
        if samples is not None:
            require_count("samples", samples)
            self.model.require(samples=samples)
        self._check_recipe()
        self._warn_of_release()
        measurements = ("ebv", *([] if environment is None else ["z"]))
        positions = parse(data, *measurements, ra=ra, dec=dec, name=self.cutouts.name_column)
        request = self._request(positions, samples)
        result = positions.table
        columns = self.model.card.columns_for(
            result, with_environment=environment is not None, with_samples=samples is not None
        )
        make_room(result, list(columns), overwrite)
        # First, for a reference that cannot be used is better known before the pictures are fetched.
        density = None if environment is None else _density(positions, environment)

        values = {name: unknown_values(column, len(positions)) for name, column in columns.items()}
        if request.shares is not None:
            values[f"{self.model.card.target_column}_samples"] = np.full(request.shares.shape, np.nan)
        with progress_reports(progress, len(positions), "estimating") as report:
            flags = self._estimate(request, values, on_error == "raise", report)
        served = flags & int(UNSERVED) == 0
        values["evidence"] = self._evidence_text(request.evidence)
        self._derive(values, request.evidence)
        if density is not None:
            flags |= _fill_density(values, density)
        values["flags"] = flags
        for name, column in columns.items():
            mask = np.isnan(values[name]) if values[name].dtype.kind == "f" else None
            made = make_column(column, values[name], ~served if name == "evidence" else mask)
            result.add_column(made, name=name, copy=False)
        result.meta["hifrac"] = {
            **self.provenance(on_error=on_error, overwrite=overwrite, samples=samples, ra=ra, dec=dec),
            **({"input": result.meta["hifrac"]} if "hifrac" in result.meta else {}),
        }
        if density is not None:
            _say_environment(result.meta["hifrac"], density.meta["hifrac"])
        return result

    def explain(
        self,
        data: Any,
        *,
        ra: str | None = None,
        dec: str | None = None,
        method: str = "cam",
        target: str | None = None,
        steps: int | None = None,
        on_error: str = "flag",
        progress: bool | Callable[[int], object] = False,
    ) -> Explanations:
        """Show for each row which pixels make the estimate, and which way.

        Parameters
        ----------
        data : object
            Positions, as of `predict`.
        ra, dec : str, optional
            Columns of the positions, if they have other names.
        method : {"cam", "gradcam", "occlusion"}, optional
            ``"cam"`` is the additive map that the network allows: the class-activation map of those that end
            in a mean over positions, integrated gradients for the others, among them the default model. The
            result says which.
        target : str, optional
            What is explained: an output of the network before its calibration, by the name of its result
            column, see `~hifrac.attribution.resolve_target`; the estimate by default.
        steps : int, optional
            Nodes of the quadrature of integrated gradients, at least 1; 16 by default. Time grows with their
            number, and the error of a map falls: the documentation has figures. No other method has them.
        on_error : {"flag", "raise"}, optional
            What becomes of a row that cannot be served: a masked map and a flag, or its error, once its turn
            comes.
        progress : bool or callable, optional
            As of `predict`, for whoever goes through the rows.

        Returns
        -------
        explanations : `~hifrac.attribution.Explanations`
            One `~hifrac.attribution.Explanation` per row, in order, worked out when it is asked for. The
            ``map`` of each is a `~astropy.nddata.CCDData` with WCS, in dex per pixel (for log odds, per
            pixel). Pictures without WCS of their own are taken to be of the model's recipe, centred on the
            position of the row.

        Raises
        ------
        TypeError
            If ``data`` is of another type, ``steps`` is no integer, or the method has none.
        ValueError
            If ``data`` has no positions or lacks the column of file names, ``method`` or ``on_error`` is
            unknown, the model does not have ``target``, or ``steps`` is below 1.
        ~hifrac.core.ModelError
            If the model cannot do ``method``.

        Examples
        --------
        >>> from hifrac import HIFractionEstimator, LocalCutouts
        >>> from hifrac.demo import PICTURES, sample_table
        >>> estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
        >>> explanation = estimator.explain(sample_table())[0]
        >>> explanation.method, explanation.map.unit
        ('integrated gradients', Unit("dex / pix"))
        """
        from hifrac.attribution import Explanations

        if steps is not None:
            require_count("steps", steps)
        self._check_recipe()
        self._warn_of_release()
        positions = parse(data, "ebv", ra=ra, dec=dec, name=self.cutouts.name_column)
        request = self._request(positions)

        def fetch(rows: np.ndarray) -> Generator[tuple[int, Cutout]]:
            names = None if request.names is None else request.names[rows]
            cutouts = self._cutouts(positions[rows], names)
            with closing(cutouts):
                for row, (_, cutout) in zip(rows, cutouts, strict=True):
                    yield int(row), cutout

        return Explanations(
            self.model,
            positions.table,
            fetch,
            self._pixels,
            (positions.ra, positions.dec),
            method=method,
            target=target,
            ebv=request.ebv,
            pixel_scales=request.pixel_scales,
            interpret=partial(self._interpret, request),
            on_error=on_error,
            batch_size=self.batch_size,
            options={} if steps is None else {"steps": steps},
            progress=progress,
        )

    def _derive(self, values: dict[str, np.ndarray], evidence: Evidence) -> None:
        """Fill in columns that follow from others; the evidence is that of the rows."""

    def _require_quantity(self) -> None:
        """Refuse a model of another quantity."""
        card, mine = self.model.card, QUANTITIES[self.quantity]
        column = card.target_column
        others = {quantity.column: quantity.estimator for quantity in QUANTITIES.values()}
        if column == mine.column or (self._takes_others and column not in others):
            return
        owner = f", for {others[column]}" if column in others else ""
        raise ValueError(
            f"model: {card.name!r} estimates {column} ({card.target}){owner}; {type(self).__name__} takes "
            f"models of {mine.column}"
        )

    def _check_recipe(self) -> None:
        """Refuse a source of another recipe: a model is only ever fed pixels of its own."""
        mine, theirs = self.model.card.recipe, self.cutouts.recipe
        if theirs is not None and replace(theirs, data_release=mine.data_release) != mine:
            raise ValueError(f"cutouts gives {theirs}, but the model was trained on {mine}")
        bands = getattr(self.cutouts, "bands", None)
        if bands is not None and tuple(bands) != mine.bands:
            raise ValueError(
                f"cutouts gives the bands {', '.join(bands)}, but the model reads {', '.join(mine.bands)}"
            )

    def _warn_of_release(self) -> None:
        """Warn of another data release: the same sky and stretch, but not the same reduction."""
        mine, theirs = self.model.card.recipe, self.cutouts.recipe
        if theirs is not None and theirs.data_release != mine.data_release:
            warn_caller(f"pictures of {theirs.data_release} for a model trained on {mine.data_release}")

    def names_of(self, table: Table) -> Any:
        """Return the column that names each row's picture, where the source wants one."""
        if self.cutouts.name_column is None:
            return None
        column = find_column(table, self.cutouts.name_column)
        if column is None:
            raise ValueError(
                f"data has no column {self.cutouts.name_column!r}, which names the pictures; "
                f"its columns are {', '.join(table.colnames)}"
            )
        return table[column]

    def _estimate(
        self,
        request: Request,
        values: dict[str, np.ndarray],
        stop: bool,
        progress: Callable[[int], object],
    ) -> np.ndarray:
        """Fill in the estimates of all rows that can be served, and return the flags of all.

        One batch is decoded, in as many threads as the network has, while the network works on the one
        before: memory is for two batches of pictures, and some, however many rows there are.
        """

        def decode(row: int, cutout: Cutout) -> np.ndarray:
            return self._pixels(cutout, self._recipe_of_row(request, row))

        n, recipe = len(request.positions), self.model.card.recipe
        flags = np.zeros(n, dtype=np.int32)
        size = int(self.batch_size or conf.batch_size)
        pixels, spare = (recipe.empty(min(size, max(n, 1))) for _ in range(2))
        batch: list[int] = []
        failures = Failures(log)
        running: Future[None] | None = None
        reported = 0
        with (
            closing(self._cutouts(request.positions, request.names)) as cutouts,
            closing(decoded(cutouts, decode, n_threads())) as pictures,
            ThreadPoolExecutor(1, thread_name_prefix="hifrac-network") as network,
        ):
            for row, cutout, picture in pictures:
                if isinstance(picture, RowError):
                    if stop:
                        picture.add_note(f"in row {row} of data")
                        raise picture
                    failures.add(row, picture)
                    flags[row] |= int(picture.flag)
                else:
                    pixels[len(batch)] = picture
                    if self._recipe_of_row(request, row).step(cutout.pixel_scale) is not None:
                        flags[row] |= int(Flag.RESAMPLED)
                    batch.append(row)
                if len(batch) == len(pixels) and row + 1 < n:  # the last one needs no thread
                    if running is not None:
                        running.result()
                    run = partial(self._run, request, batch, pixels, values, flags)
                    running = network.submit(copy_context().run, run)  # which says where warnings go
                    batch, pixels, spare = [], spare, pixels
                if row + 1 - reported >= 32 or row + 1 == n:
                    progress(row + 1 - reported)
                    reported = row + 1
            if running is not None:
                running.result()
            if batch:
                self._run(request, batch, pixels, values, flags)
        failures.warn(n)
        return flags

    def _request(self, positions: Positions, samples: int | None = None) -> Request:
        """Gather what the model is told of each row: the Galactic reddening, and other evidence."""
        n = len(positions)
        ebv, shares = np.full(n, np.nan), None
        if "ebv" in self.model.card.inputs:  # the table's own, else the map's
            ebv = galactic_ebv(positions.ra, positions.dec, positions.ebv)
        evidence = parse_evidence(positions.table, ebv, positions.dec)
        if self.photometry is not None:
            from hifrac.catalogs.photometry import with_sdss_photometry

            evidence = with_sdss_photometry(evidence, positions, ebv, self._uses)
        names = self.names_of(positions.table)
        if samples is not None:
            shares = random_shares(positions, names, samples)
        scales = scales_of_model(self.model.card.recipe, self.cutouts, positions.table)
        return Request(positions, names, ebv, evidence, shares, scales)

    def _evidence_text(self, evidence: Evidence) -> np.ndarray:
        """Say of each row what the model uses of it."""
        return evidence_text(evidence, self._uses if self.model.uses_evidence else ())

    def _options(self, request: Request, rows: list[int] | np.ndarray) -> dict[str, Any]:
        """Return what the model is told of some rows beside their pictures and reddening."""
        return {
            "evidence": request.evidence[rows],
            "shares": None if request.shares is None else request.shares[rows],
        }

    def _interpret(self, request: Request, outputs: dict[str, np.ndarray], rows: np.ndarray) -> Answer:
        """Return the model's answer for some rows, from what its network gave."""
        return self.model.interpret(outputs, request.ebv[rows], **self._options(request, rows))

    def _cutouts(self, positions: Positions, names: Any) -> Generator[tuple[int, Cutout]]:
        """Fetch each row's cutout, in order; rows without a position are not asked for."""
        usable = positions.usable
        good = np.flatnonzero(usable)
        wanted = None if names is None else names[good]
        scales = scales_of_source(self.cutouts, positions.table, good)
        fetched = iter(self.cutouts.fetch(positions.ra[good], positions.dec[good], wanted, **scales))
        try:
            for row in range(len(positions.ra)):
                if not usable[row]:
                    what = "the position is masked, not finite or not on the sphere"
                    yield row, Cutout(error=BadCoordinateError(what))
                    continue
                if (cutout := next(fetched, None)) is None:
                    what = f"the source ended before row {row}: {self.cutouts.describe()}"
                    cutout = Cutout(error=FetchError(what))
                yield row, cutout
        finally:
            # A generator's connections end here, not when an error's traceback is forgotten.
            if hasattr(fetched, "close"):
                fetched.close()

    def _recipe_of_row(self, request: Request, row: int) -> CutoutRecipe:
        """Return how the network wants the picture of a row."""
        recipe, scales = self.model.card.recipe, request.pixel_scales
        return recipe if scales is None else recipe.at(scales[row])

    def _pixels(self, cutout: Cutout, recipe: CutoutRecipe) -> np.ndarray:
        """Return the picture of a cutout as a recipe, the row's, has it, or raise what stopped it."""
        if cutout.pixels is not None:  # a service's picture was decoded when it was verified
            return cutout.pixels
        if cutout.data is None:
            raise cutout.error or FetchError("the source gave neither a picture nor an error")
        return recipe.decode(cutout.data, cutout.pixel_scale)

    def _run(
        self,
        request: Request,
        rows: list[int],
        pixels: np.ndarray,
        values: dict[str, np.ndarray],
        flags: np.ndarray,
    ) -> None:
        """Write the model's answer to one batch to its rows."""
        options = self._options(request, rows)
        try:
            answer = self.model.answer(pixels[: len(rows)], request.ebv[rows], in_place=True, **options)
        except Exception as error:
            error.add_note(f"in a batch of rows {rows[0]} to {rows[-1]} of data")
            raise
        for name, column in answer.columns(self.model.card.target_column).items():
            if name in values:
                values[name][rows] = column
        flags[rows] |= answer.flags

    def _scales(self) -> dict[str, str]:
        """Say on which scale the estimates are, and for which galaxies."""
        return {"mass_scale": self.model.card.mass_scale}

    def _photometry_facts(self) -> dict[str, str]:
        """Say where magnitudes and redshifts come from that the table does not have."""
        if self.photometry is None:
            return {}
        from hifrac.catalogs.photometry import SDSS_PHOTOMETRY

        return {"photometry": SDSS_PHOTOMETRY}

    def provenance(self, **arguments: Any) -> dict[str, Any]:
        """Return what made a result, in plain types; of the arguments those that were given."""
        import torch

        card = self.model.card
        return {
            "version": hifrac.__version__,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": card.name,
            "model_sha256": self.model.sha256,
            "target": card.target,
            "column": card.target_column,
            **self._scales(),
            "recipe": str(card.recipe),
            "pictures": str(self.cutouts.recipe or "as the files are"),
            "source": self.cutouts.describe(),
            **({"reddening": f"column ebv, else {EBV_SOURCE}"} if "ebv" in card.inputs else {}),
            **self._photometry_facts(),
            "runtime": f"{self.model.runtime} on {self.model.device}",
            "arguments": {
                **{name: value for name, value in arguments.items() if value is not None},
                "batch_size": int(self.batch_size or conf.batch_size),
            },
            "packages": {
                "python": sys.version.split()[0],
                "numpy": np.__version__,
                "astropy": astropy.__version__,
                "torch": str(torch.__version__),
            },
            "references": list(card.references),
        }


def _density(positions: Positions, reference: Any) -> QTable:
    """Measure the density around each row."""
    from astropy.coordinates import SkyCoord

    from hifrac.environment import overdensity

    if positions.z is None:
        raise ValueError("data has no column z, the redshift, which environment needs")
    coords = SkyCoord(positions.ra, positions.dec, unit="deg")
    return overdensity(coords, positions.z, reference, population="reference")


def _fill_density(values: dict[str, np.ndarray], density: QTable) -> np.ndarray:
    """Fill in the columns of the density; return the flags that follow from it."""
    from hifrac.environment import HIGH_DENSITY

    values["log_overdensity"] = density["log_overdensity"].filled(np.nan).value
    values["environment_flags"] = np.asarray(density["environment_flags"])
    is_high = values["log_overdensity"] >= HIGH_DENSITY
    return np.where(is_high, np.int32(Flag.HIGH_DENSITY), np.int32(0))


def _say_environment(meta: dict[str, Any], density: dict[str, Any]) -> None:
    """Add what made a density to what made a result, each reference once."""
    meta["environment"] = {name: value for name, value in density.items() if name != "references"}
    meta["references"] += [text for text in density["references"] if text not in meta["references"]]
