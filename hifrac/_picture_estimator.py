"""What estimators share: the way from positions to a model's answers, fetched, decoded and answered."""

from __future__ import annotations

import hashlib
import logging
import sys
import warnings
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import astropy
import numpy as np
from astropy.table import Table

import hifrac
from hifrac.core.config import conf
from hifrac.core.evidence import Evidence, parse_evidence
from hifrac.core.exceptions import BadCoordinateError, FetchError, HifracWarning, RowError
from hifrac.core.failures import Failures
from hifrac.core.flags import Flag
from hifrac.core.input import Positions
from hifrac.core.measurements import find_column
from hifrac.core.reddening import EBV_SOURCE, galactic_ebv
from hifrac.core.reprs import html_facts
from hifrac.cutouts import Cutout, CutoutSource, source_for
from hifrac.models import Model, load_model
from hifrac.models.answer import ANSWER_COLUMNS, Answer, evidence_text
from hifrac.models.calibration import GSWLC, SELECTIONS

log = logging.getLogger("hifrac.estimator")


@dataclass(frozen=True, eq=False)
class Request:
    """What one call asks for: n rows."""

    positions: Positions
    names: Any  # of the pictures, where the source wants them
    ebv: np.ndarray  # NaN where unknown
    evidence: Evidence
    shares: np.ndarray | None = None  # (n, k): of the distributions, for draws


class PictureEstimator:
    """The way from positions to a model's answers: fetch, decode, answer.

    What becomes of the answers is a subclass's; its documentation has the parameters.
    """

    def __init__(
        self,
        model: str | Path | Model | None = None,
        *,
        selection: str | None = None,
        mass_scale: str | None = None,
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
            self.model = load_model(model, device=device)
        self.model.require(selection=selection, mass_scale=mass_scale, photometry=photometry)
        self.selection, self.mass_scale, self.photometry = selection, mass_scale, photometry
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
            warnings.warn(
                f"pictures of {theirs.data_release} for a model trained on {mine.data_release}",
                HifracWarning,
                stacklevel=3,
            )

    def _names(self, table: Table) -> Any:
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
        stop: bool,
        progress: Callable[[int], object],
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return estimates (NaN where not served) and flags of all rows.

        One batch is decoded while the network works on the one before: memory
        is for two batches of pictures, however many rows there are.
        """
        n, recipe = len(request.positions), self.model.card.recipe
        values = {name: np.full(n, np.nan) for name in ANSWER_COLUMNS}
        if request.shares is not None:
            values["log_hi_fraction_samples"] = np.full(request.shares.shape, np.nan)
        flags = np.zeros(n, dtype=np.int32)
        size = int(self.batch_size or conf.batch_size)
        shape = (min(size, max(n, 1)), recipe.width, recipe.width, 3)
        pixels, spare = np.empty(shape, dtype=np.uint8), np.empty(shape, dtype=np.uint8)
        batch: list[int] = []
        failures = Failures(log)
        running: Future[None] | None = None
        reported = 0
        with (
            closing(self._cutouts(request.positions, request.names)) as cutouts,
            ThreadPoolExecutor(1, thread_name_prefix="hifrac-network") as network,
        ):
            for row, cutout in cutouts:
                try:
                    pixels[len(batch)] = self._pixels(cutout)
                    if recipe.step(cutout.pixel_scale) is not None:
                        flags[row] |= int(Flag.RESAMPLED)
                except RowError as error:
                    if stop:
                        error.add_note(f"in row {row} of data")
                        raise
                    failures.add(row, error)
                    flags[row] |= int(error.flag)
                else:
                    batch.append(row)
                if len(batch) == len(pixels):
                    if running is not None:
                        running.result()
                    running = network.submit(self._run, request, batch, pixels, values, flags)
                    batch, pixels, spare = [], spare, pixels
                if row + 1 - reported >= 32 or row + 1 == n:
                    progress(row + 1 - reported)
                    reported = row + 1
            if running is not None:
                running.result()
            if batch:
                self._run(request, batch, pixels, values, flags)
        failures.warn(n)
        return values, flags

    def _request(self, positions: Positions, samples: int | None = None) -> Request:
        """Gather what the model is told of each row: the Galactic reddening, and other evidence."""
        n = len(positions)
        ebv, shares = np.full(n, np.nan), None
        if "ebv" in self.model.card.inputs:  # the table's own, else the map's
            ebv = galactic_ebv(positions.ra, positions.dec, positions.ebv)
        evidence = parse_evidence(positions.table, ebv, positions.dec)
        if self.photometry is not None:
            from hifrac.catalogs.photometry import with_sdss_photometry

            evidence = with_sdss_photometry(evidence, positions, ebv)
        names = self._names(positions.table)
        if samples is not None:
            shares = _random_shares(positions, names, samples)
        return Request(positions, names, ebv, evidence, shares)

    def _evidence_text(self, evidence: Evidence) -> np.ndarray:
        """Say of each row what the model uses of it."""
        used = evidence if self.model.posterior_model is not None else Evidence.none(len(evidence))
        return evidence_text(used)

    def _options(self, request: Request, rows: list[int] | np.ndarray) -> dict[str, Any]:
        """Return what the model is told of some rows beside their pictures and reddening."""
        return {
            "evidence": request.evidence[rows],
            "selection": self.selection,
            "mass_scale": self.mass_scale,
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
        fetched = iter(self.cutouts.fetch(positions.ra[good], positions.dec[good], wanted))
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

    def _pixels(self, cutout: Cutout) -> np.ndarray:
        """Return the picture of a cutout, or raise what stopped it."""
        if cutout.pixels is not None:  # a service's picture was decoded when it was verified
            return cutout.pixels
        if cutout.data is None:
            raise cutout.error or FetchError("the source gave neither a picture nor an error")
        return self.model.card.recipe.decode(cutout.data, cutout.pixel_scale)

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
        answer = self.model.answer(pixels[: len(rows)], request.ebv[rows], in_place=True, **options)
        for name, column in answer.columns().items():
            values[name][rows] = column
        flags[rows] |= answer.flags

    def _photometry_facts(self) -> dict[str, str]:
        """Say where magnitudes and redshifts come from that the table does not have."""
        if self.photometry is None:
            return {}
        from hifrac.catalogs.photometry import SDSS_PHOTOMETRY

        return {"photometry": SDSS_PHOTOMETRY}

    def _provenance(self, **arguments: Any) -> dict[str, Any]:
        """Return what made a result, in plain types; of the arguments those that were given."""
        import torch

        card = self.model.card
        return {
            "version": hifrac.__version__,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": card.name,
            "model_sha256": self.model.sha256,
            "target": card.target,
            "mass_scale": GSWLC if self.mass_scale == "gswlc" else card.mass_scale,
            **({} if self.model.posterior_model is None else {"selection": self.selection or SELECTIONS[0]}),
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


def _random_shares(positions: Positions, names: Any, samples: int) -> np.ndarray:
    """Return uniform random numbers (n, samples) that follow from the position and name of each row.

    One stream for a table would give the first rows of all tables the same numbers, and the errors of a
    sample that is estimated in parts would not average out.
    """
    try:
        shares = np.empty((len(positions), samples))
    except (MemoryError, OverflowError, ValueError) as error:
        raise MemoryError(
            f"samples: {samples} draws of {len(positions)} rows do not fit into memory"
        ) from error
    for row, (ra, dec) in enumerate(zip(positions.ra, positions.dec, strict=True)):
        galaxy = f"{ra:.6f} {dec:.6f} {'' if names is None else names[row]}"
        seed = hashlib.blake2b(galaxy.encode(), digest_size=16).digest()
        shares[row] = np.random.default_rng(int.from_bytes(seed, "little")).random(samples)
    return shares


def require_count(name: str, value: Any) -> None:
    """Refuse what is no positive integer, with an error that names the parameter."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
