"""Spectra of the SDSS for the rows of a table: fetched once, kept as files, brought to the rest frame."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.table import Column, MaskedColumn, QTable, Table

from hifrac._fits import open_fits
from hifrac.core.config import conf
from hifrac.core.exceptions import BadImageError, FetchError, warn_caller
from hifrac.core.files import write_whole
from hifrac.core.measurements import find_column
from hifrac.cutouts._answers import Answer, refused
from hifrac.cutouts._http import CONNECTIONS, Client, CutoutRequests
from hifrac.spectra.flags import WITHOUT_SPECTRUM, SpectrumFlag
from hifrac.spectra.rest_frame import N_PIXELS, normalise
from hifrac.spectra.sdss import FLUX_UNIT, BadSpectrumError, ObservedSpectrum, read_sdss_spectrum

#: The release that is asked: it has the spectra of SDSS-I to -IV, those of SDSS-I and -II since DR8.
DATA_RELEASE = 17

# What reduced the spectra, by plate: SDSS-I and -II, some of whose special plates were reduced apart, and
# BOSS and eBOSS from plate 3510 on. It is a part of their address.
_FIRST_BOSS_PLATE = 3510
_OF_LEGACY, _OF_BOSS = ("26", "103", "104"), ("v5_13_2",)

# The names of a spectrum, and names that tables have for these columns.
_NAMES = {"plate": ("plate",), "mjd": ("mjd",), "fiber": ("fiberid", "fiber")}
_FARTHEST = 99999  # of plates and of days, as file names have them
_MOST_BYTES = 2**26  # of one file, that has every exposure


class _Name(NamedTuple):
    """What a spectrum of the SDSS is called."""

    plate: int
    mjd: int
    fiber: int

    def file(self, folder: Path) -> Path:
        """Return the place of its file, as the archive has them."""
        plate = f"{self.plate:04d}"
        return folder / plate / f"spec-{plate}-{self.mjd}-{self.fiber:04d}.fits"


@dataclass(frozen=True)
class _Row:
    """What became of one spectrum; ``flux`` and ``ivar`` are None where there is none."""

    flags: int
    reason: str = ""
    flux: np.ndarray | None = None
    ivar: np.ndarray | None = None
    norm: float = np.nan
    redshift: float = np.nan
    spectral_class: str = ""


def fetch_spectra(
    table: Table,
    folder: str | Path,
    *,
    offline: bool | None = None,
    progress: Callable[[int], object] | None = None,
) -> QTable:
    """Fetch spectra by plate, MJD and fiber, and bring them to the rest frame, on its grid, and to one norm.

    What is in the folder is not asked for again, so that an interrupted or partly failed run is finished by
    calling it again. No row stops the others, and none is dropped.

    Parameters
    ----------
    table : `~astropy.table.Table`
        With the columns ``plate``, ``mjd`` and ``fiberid`` (or ``fiber``), in any case. A column ``run2d``
        says which reduction is meant; without it, that of the plate in data release 17.
    folder : path-like
        Where the files are kept, as the archive has them: ``0266/spec-0266-51630-0215.fits``. What was
        copied from there in bulk is taken as it is. Of what is fetched, the spectrum and its facts are kept,
        without the single exposures.
    offline : bool, optional
        Whether the network is never touched; ``conf.offline`` by default.
    progress : callable, optional
        Called with 1 after each spectrum.

    Returns
    -------
    spectra : `~astropy.table.QTable`
        One row per input row, in their order: its columns, and

        * ``flux`` and ``ivar``, float32 (n, 1000): on the grid of `hifrac.spectra.rest_wavelength`, divided
          by the norm (see `hifrac.spectra.normalise`); NaN and 0 in gaps, and everywhere without a spectrum;
        * ``flux_norm``: what the flux was divided by, in 1e-17 erg / (s cm2 Angstrom);
        * ``spectrum_redshift`` and ``spectrum_class``: by the fit of the survey;
        * ``spectrum_flags``, of `hifrac.spectra.SpectrumFlag`, and ``spectrum_reason``, in words; a row
          without flags is a galaxy whose spectrum can be learned from.

    Raises
    ------
    ValueError
        If the table lacks a column of the names, or has one of the result.
    OSError
        If the folder cannot be written to.

    Warns
    -----
    ~hifrac.core.HifracWarning
        Once, if rows have no spectrum: how many, and why the first.

    Notes
    -----
    Addresses are those of ``astroquery.sdss``, whose ``conf.sas_baseurl`` is the archive. It is asked by four
    connections, ``conf.max_rate`` times a second at most, and left alone when it asks for that. Pixels
    without inverse variance do not count, nor do those that ``and_mask`` calls unusable
    (`ObservedSpectrum.mask <hifrac.spectra.ObservedSpectrum>`).

    Examples
    --------
    >>> from astropy.table import Table
    >>> from hifrac.spectra import fetch_spectra
    >>> table = Table({"plate": [266], "mjd": [51630], "fiberid": [215]})
    >>> spectra = fetch_spectra(table, "spectra")  # doctest: +SKIP
    >>> usable = spectra[spectra["spectrum_flags"] == 0]  # doctest: +SKIP
    """
    folder = Path(folder)
    names, reductions = _parse(table)
    result = QTable(table, copy=True)
    columns = _empty_columns(len(table))
    if taken := [name for name in columns if name in result.colnames]:
        raise ValueError(f"table has a column {taken[0]!r} already; rename it")
    folder.mkdir(parents=True, exist_ok=True)
    rows_of: dict[tuple[_Name, str | None], list[int]] = {}
    for row, (name, reduction) in enumerate(zip(names, reductions, strict=True)):
        if name is None:
            message = "plate, mjd and fiber must be positive integers; one is masked, or is none"
            _fill(columns, row, _Row(int(SpectrumFlag.BAD_NAME), message))
        else:
            rows_of.setdefault((name, reduction), []).append(row)
    is_offline = bool(conf.offline) if offline is None else offline
    with _archive(folder, is_offline) as archive:
        for rows, outcome in zip(rows_of.values(), archive.map(list(rows_of)), strict=True):
            for row in rows:
                _fill(columns, row, outcome)
            if progress is not None:
                progress(1)
    _warn(columns)
    for title, values in columns.items():
        result[title] = values << FLUX_UNIT if title == "flux_norm" else _column(title, values)
    result.meta["rest_frame"] = "log10(wavelength / Angstrom) = 3.53 + 0.00039 i, vacuum"
    return result


def _empty_columns(n: int) -> dict[str, np.ndarray]:
    return {
        "flux": np.full((n, N_PIXELS), np.nan, dtype=np.float32),
        "ivar": np.zeros((n, N_PIXELS), dtype=np.float32),
        "flux_norm": np.full(n, np.nan),
        "spectrum_redshift": np.full(n, np.nan),
        "spectrum_class": np.full(n, "", dtype="U6"),
        "spectrum_flags": np.zeros(n, dtype=np.int32),
        "spectrum_reason": np.full(n, "", dtype=object),
    }


def _fill(columns: dict[str, np.ndarray], row: int, outcome: _Row) -> None:
    if outcome.flux is not None:
        columns["flux"][row], columns["ivar"][row] = outcome.flux, outcome.ivar
    columns["flux_norm"][row] = outcome.norm
    columns["spectrum_redshift"][row] = outcome.redshift
    columns["spectrum_class"][row] = outcome.spectral_class
    columns["spectrum_flags"][row] = outcome.flags
    columns["spectrum_reason"][row] = outcome.reason


def _column(name: str, values: np.ndarray) -> Column | MaskedColumn:
    if name == "spectrum_reason":
        return Column(values.astype(str))
    if name == "spectrum_redshift":
        return MaskedColumn(values, mask=np.isnan(values))
    return Column(values)


def _warn(columns: dict[str, np.ndarray]) -> None:
    flags = columns["spectrum_flags"]
    without = np.flatnonzero(flags & int(WITHOUT_SPECTRUM))
    if not without.size:
        return
    counts = {flag: int(np.sum(flags & int(flag) != 0)) for flag in SpectrumFlag if flag & WITHOUT_SPECTRUM}
    lines = [
        f"{without.size} of {len(flags)} rows have no spectrum, the first is row {without[0]}: "
        f"{columns['spectrum_reason'][without[0]]}",
        *(f"  {count} {flag.name}: {flag.summary}" for flag, count in counts.items() if count),
    ]
    warn_caller("\n".join(lines))


def _parse(table: Table) -> tuple[list[_Name | None], list[str | None]]:
    """Return the name of each row's spectrum, None where it has no possible one, and its reduction."""
    numbers = []
    for title, aliases in _NAMES.items():
        column = next(filter(None, (find_column(table, alias) for alias in aliases)), None)
        if column is None:
            raise ValueError(
                f"table has no column {' or '.join(aliases)}, the {title} of each spectrum; its columns are "
                f"{', '.join(table.colnames) or '(none)'}"
            )
        numbers.append([_whole_number(value) for value in table[column]])
    names = [None if 0 in values else _Name(*values) for values in zip(*numbers, strict=True)]
    column = find_column(table, "run2d")
    if column is None:
        return names, [None] * len(names)
    texts = ["" if np.any(getattr(value, "mask", False)) else _text(value).strip() for value in table[column]]
    return names, [text or None for text in texts]


def _whole_number(value: Any) -> int:
    """Return a number that is part of a name, 0 for anything else."""
    if np.any(getattr(value, "mask", False)):
        return 0
    try:
        number = float(_text(value))
    except ValueError:
        return 0
    return int(number) if 0 < number <= _FARTHEST and number == int(number) else 0


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


@contextmanager
def _archive(folder: Path, offline: bool) -> Iterator[_Archive]:
    """Give the archive of a folder; at the end, however it comes, no request goes on."""
    client = Client(most_bytes=_MOST_BYTES)
    threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="hifrac-spectra")
    try:
        yield _Archive(folder, offline, client, threads)
    finally:
        client.stop.set()
        threads.shutdown(wait=True, cancel_futures=True)
        client.close()


@dataclass(frozen=True)
class _Archive:
    """Spectra of a folder, and of the service behind it."""

    folder: Path
    offline: bool
    client: Client
    threads: ThreadPoolExecutor

    def map(self, wanted: list[tuple[_Name, str | None]]) -> Iterator[_Row]:
        """Yield what becomes of each spectrum, in their order."""
        return self.threads.map(lambda pair: self._row(*pair), wanted)

    def _row(self, name: _Name, reduction: str | None) -> _Row:
        try:
            return _prepare(self._read(name, reduction))
        except (BadSpectrumError, BadImageError) as error:
            return _Row(int(SpectrumFlag.BAD_FILE), str(error))
        except FetchError as error:
            flag = SpectrumFlag.NOT_FOUND if error.status == 404 else SpectrumFlag.FETCH_FAILED
            return _Row(int(flag), str(error))
        except OSError:  # of the folder, which no row is to blame for
            raise
        except Exception as error:  # what nobody foresaw stops its own row, not a million others
            return _Row(int(SpectrumFlag.BAD_FILE), f"not understood: {type(error).__name__}: {error}")

    def _read(self, name: _Name, reduction: str | None) -> ObservedSpectrum:
        """Return a spectrum from its file, or else from the service, whose file is then kept."""
        path = name.file(self.folder)
        if path.is_file():
            try:
                return _read_as(name, path.read_bytes())
            except BadSpectrumError:
                if self.offline:
                    raise
        if self.offline:
            raise FetchError(f"the spectrum is not in {self.folder}, and offline mode is on")
        reductions = _reductions(name) if reduction is None else (reduction,)
        data, spectrum = self._fetch(name, reductions)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
        return spectrum

    def _fetch(self, name: _Name, reductions: tuple[str, ...]) -> tuple[bytes, ObservedSpectrum]:
        """Return the file of a spectrum, of the first of some reductions that has it, and what is in it."""

        def accept(answer: Answer) -> tuple[bytes, ObservedSpectrum]:
            if answer.status != 200:
                raise refused(answer)
            try:
                return _without_exposures(answer.body), _read_as(name, answer.body)
            except BadSpectrumError as error:
                raise BadImageError(f"{error} ({answer.url})") from error

        for reduction in reductions[:-1]:
            try:
                return CutoutRequests(self.client).get(_address(name, reduction), {}, accept)
            except FetchError as error:
                if error.status != 404:
                    raise
        return CutoutRequests(self.client).get(_address(name, reductions[-1]), {}, accept)


def _reductions(name: _Name) -> tuple[str, ...]:
    return _OF_LEGACY if name.plate < _FIRST_BOSS_PLATE else _OF_BOSS


_ADDRESS_LOCK = threading.Lock()


def _address(name: _Name, reduction: str) -> str:
    """Return the address of a file, as astroquery makes it; nothing is fetched."""
    from astroquery.sdss import SDSSClass

    match = Table({"run2d": [reduction], "plate": [name.plate], "mjd": [name.mjd], "fiberID": [name.fiber]})
    with _ADDRESS_LOCK:  # astroquery reads its configuration, which is not made for threads
        (file,) = SDSSClass().get_spectra_async(matches=match, data_release=DATA_RELEASE, cache=False)
    return str(file._target)


def _read_as(name: _Name, data: bytes) -> ObservedSpectrum:
    """Read a file that must be of that name."""
    spectrum = read_sdss_spectrum(data)
    theirs = _Name(spectrum.plate, spectrum.mjd, spectrum.fiber)
    if theirs != name:
        raise BadSpectrumError(
            f"file: it is the spectrum {'-'.join(map(str, theirs))}, not {'-'.join(map(str, name))}"
        )
    return spectrum


def _without_exposures(data: bytes) -> bytes:
    """Return a file up to its third table: spectrum and facts of the object, byte for byte."""
    try:
        with open_fits(data) as hdus:
            return data if len(hdus) < 4 else data[: hdus[3].fileinfo()["hdrLoc"]]
    except Exception as error:  # astropy raises whatever it meets in damaged bytes
        raise BadSpectrumError(f"file: it is no FITS file: {error}") from error


def _prepare(spectrum: ObservedSpectrum) -> _Row:
    """Bring a spectrum to the rest frame, its grid and norm; say what is the matter with it."""
    flags, reasons = SpectrumFlag(0), []
    if spectrum.spectral_class != "GALAXY":
        flags |= SpectrumFlag.NOT_GALAXY
        reasons.append(f"the survey takes it for a {spectrum.spectral_class or 'nameless object'}")
    if spectrum.redshift_warning or not spectrum.redshift > -1:
        flags |= SpectrumFlag.BAD_REDSHIFT
        reasons.append(f"redshift {spectrum.redshift:g} with ZWARNING {spectrum.redshift_warning}")
    flux = ivar = None
    norm = np.array(np.nan)
    try:
        flux, ivar, norm = normalise(*spectrum.to_rest_frame(masked=True))
    except ValueError as error:
        flags |= _what_stopped(spectrum)
        reasons.append(str(error))
    else:
        n_good = int((ivar > 0).sum())
        if not n_good:
            flags |= SpectrumFlag.NO_PIXELS
            reasons.append("its flux is 0 everywhere")
        elif 2 * n_good < N_PIXELS:
            flags |= SpectrumFlag.GAPS
            reasons.append(f"{n_good} of {N_PIXELS} pixels of the grid are usable")
    return _Row(
        flags=int(flags),
        reason="; ".join(reasons),
        flux=flux,
        ivar=ivar,
        norm=float(norm),
        redshift=spectrum.redshift,
        spectral_class=spectrum.spectral_class[:6],
    )


def _what_stopped(spectrum: ObservedSpectrum) -> SpectrumFlag:
    """Return why a spectrum does not come to the rest-frame grid."""
    if not np.all(np.diff(spectrum.wavelength.value) > 0):
        return SpectrumFlag.BAD_FILE
    good = np.isfinite(spectrum.flux.value) & (spectrum.ivar > 0) & ~spectrum.mask
    return SpectrumFlag.OFF_GRID if good.any() else SpectrumFlag.NO_PIXELS
