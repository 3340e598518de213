"""The estimator: calls the rooms in the order of the data, and assembles the table."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import QTable
from scipy.special import ndtri

from hifrac._picture_estimator import PictureEstimator, require_count
from hifrac.core.columns import columns_of, make_column
from hifrac.core.config import conf
from hifrac.core.flags import Flag
from hifrac.core.input import Positions, parse
from hifrac.core.measurements import find_measurement
from hifrac.core.progress import progress_reports
from hifrac.cutouts import Cutout
from hifrac.models.answer import INTERVAL_LEVELS

if TYPE_CHECKING:
    from hifrac.attribution import Explanations
    from hifrac.core.evidence import Evidence

__all__ = ["HIFractionEstimator"]

_ON_ERROR = ("flag", "raise")


class HIFractionEstimator(PictureEstimator):
    """HI mass fractions from pictures.

    Parameters
    ----------
    model : str, path-like or `~hifrac.models.Model`, optional
        Name of a bundled model, folder of a model, or a loaded model;
        ``conf.model``, which is ``"default"``, by default.
    selection : {"intrinsic", "alfalfa", "undetected"}, optional
        How the galaxies came into the sample. By default ``"intrinsic"``, the galaxies as they are, for
        samples that do not look at HI; ``"alfalfa"`` for galaxies that ALFALFA detects, ``"undetected"`` for
        those that it looked at in vain. Models without distributions have one answer, and take none.
    mass_scale : {"taylor", "gswlc"}, optional
        The scale of stellar masses: of Taylor et al. (2011), the default, or of GSWLC-2 (Salim et al. 2018).
        Result and ``log_mstar`` are both on it.
    photometry : {"sdss"}, optional
        Ask SkyServer for the magnitudes, axis ratios and redshifts that rows lack, by ``objid`` or position,
        sixteen rows a second, and keep them in the local store. By default a table's own are used.
    cutouts : `~hifrac.cutouts.CutoutSource`, optional
        Where pictures come from, for instance
        `~hifrac.cutouts.LocalCutouts`. By default the survey service that the
        model's recipe names, through the local store.
    device : {"auto", "cpu", "cuda"} or a torch device, optional
        Where the network runs; ``conf.device`` by default.
    batch_size : int, optional
        Pictures in one pass of the network, at least 1; ``conf.batch_size`` by
        default. The result does not depend on it.

    Raises
    ------
    TypeError
        If ``cutouts`` is no source, ``batch_size`` no integer, or ``device``
        is given together with a loaded model.
    ValueError
        If ``batch_size`` is below 1, ``selection``, ``mass_scale`` or ``photometry`` is unknown or one
        that the model has no use for, or ``cutouts`` gives pictures of another recipe than the model's. For
        ``model`` and ``device`` see `~hifrac.models.load_model`.

    Notes
    -----
    Local files do not tell their recipe: that they are of the model's is the
    caller's word, and only their size is checked.

    What stopped a row is logged at level INFO by the logger ``hifrac.estimator``.

    Examples
    --------
    >>> from hifrac import HIFractionEstimator, LocalCutouts
    >>> from hifrac.demo import PICTURES, sample_table
    >>> estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
    >>> result = estimator.predict(sample_table())
    >>> len(result)
    27
    """

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
        """Estimate the HI mass fraction of each row.

        Parameters
        ----------
        data : `~astropy.coordinates.SkyCoord`, `~astropy.table.Table`, DataFrame, dict, list, path or text
            Positions, in any of the shapes that the documentation lists. A table has ``ra`` and ``dec``
            (aliases such as RAJ2000 and DEJ2000 in any case), or one SkyCoord column; their units are
            honoured, and without units they are degrees, with a warning. Sexagesimal text is read. A source
            that finds pictures by name, as `~hifrac.cutouts.LocalCutouts` does, needs no positions.
            RA may run from -180 to 360. With ``log_mstar`` (dex of solar masses) the HI
            mass is given as well; masses outside 3 to 14 are taken to be unknown. A column ``ebv`` (mag) is
            the Galactic reddening E(B-V) on the scale of Schlegel et al. (1998); without it, and where it is
            masked or negative, `~hifrac.core.galactic_ebv` takes its place. These names, and ``z``,
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
            Draws from the distribution of each row, a column ``log_hi_fraction_samples`` of as many numbers a
            row: sums and distributions of samples of galaxies are made of them, not of medians. A galaxy
            (position and name of its picture) gets the same draws in every table, and others than its
            neighbours, so that a sample may be estimated in parts.
        on_error : {"flag", "raise"}, optional
            What to do with a row that cannot be served: mask and flag it, or
            raise its error.
        overwrite : bool, optional
            Whether input columns with the name of a result column are
            replaced; otherwise they are refused. What belonged to such a column (its ``_err``,
            ``_limit``) goes with it.
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
        with_mass = find_measurement(positions.table, "log_mstar") is not None
        request = self._request(positions, samples)
        result = positions.table
        card = self.model.card
        columns = columns_of(
            card.target_column,
            card.target,
            with_mass=with_mass,
            with_environment=environment is not None,
            with_samples=samples is not None,
        )
        _make_room(result, [column.name for column in columns.values()], overwrite)
        # First, for a reference that cannot be used is better known before the pictures are fetched.
        density = None if environment is None else _density(positions, environment)

        with progress_reports(progress, len(positions), "estimating") as report:
            values, flags = self._estimate(request, on_error == "raise", report)
        values["evidence"] = self._evidence_text(request.evidence)
        if with_mass:
            _add_masses(values, request.evidence)
        if density is not None:
            values["log_overdensity"] = density["log_overdensity"].filled(np.nan).value
            values["environment_flags"] = np.asarray(density["environment_flags"])
            flags |= _density_flags(values["log_overdensity"])
        values["flags"] = flags
        for name, column in columns.items():
            mask = np.isnan(values[name]) if values[name].dtype.kind == "f" else None
            mask = np.isnan(values["log_hi_fraction"]) if name == "evidence" else mask
            result[column.name] = make_column(column, values[name], mask)
        result.meta["hifrac"] = {
            **self._provenance(on_error=on_error, overwrite=overwrite, samples=samples, ra=ra, dec=dec),
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
        target: str = "log_hi_fraction",
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
        target : {"log_hi_fraction", "p_detect", "gas-rich", "gas-poor"}, optional
            What is explained: an output of the network before its calibration, see
            `~hifrac.attribution.resolve_target`. A model of another quantity has that by the name of its
            column.
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
            If ``data`` is of another type.
        ValueError
            If ``data`` has no positions or lacks the column of file names, ``method`` or ``on_error`` is
            unknown, or the model does not have ``target``.
        ~hifrac.core.ModelError
            If the model cannot do ``method``.
        """
        from hifrac.attribution import Explanations

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
            interpret=partial(self._interpret, request),
            on_error=on_error,
            batch_size=int(self.batch_size or conf.batch_size),
            progress=progress,
        )


def _add_masses(values: dict[str, np.ndarray], evidence: Evidence) -> None:
    """Add the HI mass; to its quantiles, in quadrature, the error of the stellar mass where it is known.

    That error does not blur an upper limit, which is one of the HI mass itself.
    """
    estimate, error = values["log_hi_fraction"], np.nan_to_num(evidence.log_mstar_err)
    limit = np.nan_to_num(evidence.log_mhi_limit, nan=np.inf)
    values["log_mhi"] = estimate + evidence.log_mstar
    for suffix, level in INTERVAL_LEVELS.items():
        offset = values[f"log_hi_fraction_{suffix}"] - estimate
        offset = np.copysign(np.hypot(offset, ndtri(level) * error), level - 0.5)
        values[f"log_mhi_{suffix}"] = np.minimum(estimate + offset + evidence.log_mstar, limit)


def _density(positions: Positions, reference: Any) -> QTable:
    """Measure the density around each row."""
    from astropy.coordinates import SkyCoord

    from hifrac.environment import overdensity

    if positions.z is None:
        raise ValueError("data has no column z, the redshift, which environment needs")
    coords = SkyCoord(positions.ra, positions.dec, unit="deg")
    return overdensity(coords, positions.z, reference, population="reference")


def _density_flags(log_overdensity: np.ndarray) -> np.ndarray:
    """Flag HIGH_DENSITY where the relation between pictures and gas breaks."""
    from hifrac.environment import HIGH_DENSITY

    return np.where(log_overdensity >= HIGH_DENSITY, np.int32(Flag.HIGH_DENSITY), np.int32(0))


def _say_environment(meta: dict[str, Any], density: dict[str, Any]) -> None:
    """Add what made a density to what made a result, each reference once."""
    meta["environment"] = {name: value for name, value in density.items() if name != "references"}
    meta["references"] += [text for text in density["references"] if text not in meta["references"]]


def _make_room(table: QTable, names: list[str], overwrite: bool) -> None:
    """Remove the columns that results take the place of, if that is allowed."""
    taken = [name for name in names if name in table.colnames]
    if taken and not overwrite:
        raise ValueError(
            f"data has the result columns {', '.join(taken)} already; "
            "rename them, or say overwrite=True (--replace-columns)"
        )
    # An estimate must not stand beside the error, or the mark of an upper limit, of what it replaces.
    theirs = {f"{name}{end}" for name in taken for end in ("_err", "_limit")}
    table.remove_columns([*taken, *(theirs & set(table.colnames))])
