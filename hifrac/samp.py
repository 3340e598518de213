"""Results to other programs: TOPCAT, Aladin and DS9 by SAMP, and Aladin Lite in a notebook."""

from __future__ import annotations

import tempfile
import uuid
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table

from hifrac.core.exceptions import ServiceError, warn_caller
from hifrac.core.plain_columns import suited_table
from hifrac.core.tables import write_table
from hifrac.visualization._rows import CLEAN, FLAGGED, estimates_of, places_of

__all__ = ["send", "to_aladin"]

_MTYPE = "table.load.votable"

# Names that VizieR gives to positions it worked out, which no table of a user has.
_RA, _DEC = "_RAJ2000", "_DEJ2000"


def send(
    result: Table, recipient: str | None = None, *, name: str = "hifrac", timeout: float = 60.0
) -> list[str]:
    """Send a result to the programs that are open, such as TOPCAT, by the SAMP hub of one of them.

    Parameters
    ----------
    result : `~astropy.table.Table`
        What `~hifrac.HIFractionEstimator.predict` returned, or any other table.
    recipient : str, optional
        Only to the program of that name, in any case, as ``"topcat"``; by default to all that load tables.
    name : str, optional
        What the programs call the table.
    timeout : float, optional
        Seconds for each program to load it; positive.

    Returns
    -------
    programs : list of str
        Names of the programs that loaded the table.

    Raises
    ------
    ImportError
        If pyvo 1.9 or later is not installed: the extra ``samp``.
    TypeError
        If ``result`` is no table.
    ValueError
        If ``timeout`` is not positive, or the table cannot be a VOTable.
    ~hifrac.core.HifracError
        If there is no hub, no such program, or none of them loaded the table.

    Warns
    -----
    ~hifrac.core.HifracWarning
        If some of the programs did not load it.

    Examples
    --------
    With TOPCAT open:

    >>> from hifrac import samp
    >>> samp.send(result, "topcat")  # doctest: +SKIP
    ['topcat']
    """
    if not isinstance(result, Table):
        raise TypeError(f"result must be a table, got {type(result).__name__}")
    if not timeout > 0:
        raise ValueError(f"timeout must be positive, got {timeout}")
    pyvo = _import("pyvo.samp", "samp", "pyvo 1.9")
    # Of this computer only; pyvo signs off no client that cannot be called.
    client = pyvo.SAMPIntegratedClient(name="hifrac", addr="127.0.0.1")
    try:
        client.connect(pool_size=1)
    except (pyvo.SAMPHubError, OSError) as error:
        raise ServiceError(f"no SAMP hub is running: open TOPCAT or Aladin first ({error})") from error
    try:
        programs = _programs(client, recipient)
        # The programs read the file before they answer, and not after.
        with tempfile.TemporaryDirectory(prefix="hifrac-samp-") as folder:
            path = Path(folder) / "result.vot"
            write_table(result, path)
            message = {
                "samp.mtype": _MTYPE,
                "samp.params": {"url": path.as_uri(), "name": name, "table-id": f"hifrac-{uuid.uuid4()}"},
            }
            troubles = [
                (program, _call(client, identifier, message, timeout, pyvo.SAMPProxyError))
                for identifier, program in programs.items()
            ]
    finally:
        with suppress(OSError):  # the hub may be gone, and with it what it knew of this client
            client.disconnect()
    return _loaded(troubles)


def _programs(client: Any, recipient: str | None) -> dict[str, str]:
    """Return the programs that load tables, their names by their identifiers at the hub."""
    identifiers = client.get_subscribed_clients(_MTYPE)
    programs = {
        identifier: str(client.get_metadata(identifier).get("samp.name", identifier))
        for identifier in identifiers
    }
    if not programs:
        raise ServiceError("no program that loads tables is at the SAMP hub: open TOPCAT or Aladin")
    wanted = {
        identifier: program
        for identifier, program in programs.items()
        if recipient is None or program.lower() == recipient.lower()
    }
    if not wanted:
        names = ", ".join(programs.values())
        raise ServiceError(f"recipient: {recipient!r} is none of the programs: {names}")
    return wanted


def _call(client: Any, identifier: str, message: dict, timeout: float, failure: type[Exception]) -> str:
    """Have one program load the table; return what went wrong, nothing if all is well."""
    try:
        answer = client.call_and_wait(identifier, message, str(int(np.ceil(timeout))))
    except (failure, OSError) as error:
        return str(error) or type(error).__name__
    # A warning comes with a table that was loaded.
    if answer.get("samp.status") in ("samp.ok", "samp.warning"):
        return ""
    return str(answer.get("samp.error", {}).get("samp.errortxt", "")) or "it says no more than that it failed"


def _loaded(troubles: list[tuple[str, str]]) -> list[str]:
    """Return the programs without trouble; raise if there is none, and warn of the others."""
    loaded = [program for program, trouble in troubles if not trouble]
    failed = "; ".join(f"{program}: {trouble}" for program, trouble in troubles if trouble)
    if not loaded:
        raise ServiceError(f"no program loaded the table: {failed}")
    if failed:
        warn_caller(f"not all programs loaded the table: {failed}")
    return loaded


def to_aladin(result: Table, aladin: Any = None, **options: Any) -> Any:
    """Show the rows of a result on the sky in a notebook, by the widget of ipyaladin.

    Parameters
    ----------
    result : `~astropy.table.Table`
        What `~hifrac.HIFractionEstimator.predict` returned. Rows without a flag become blue circles, those
        with one orange squares; a click shows their columns. Rows without a position cannot be shown.
    aladin : `~ipyaladin.Aladin`, optional
        Widget to add to; by default a new one that has all rows in view.
    **options
        For a new widget, such as ``survey="CDS/P/SDSS9/color"``.

    Returns
    -------
    aladin : `~ipyaladin.Aladin`
        The widget, which a cell of a notebook shows if it ends with it.

    Raises
    ------
    ImportError
        If ipyaladin is not installed: the extra ``aladin``.
    TypeError
        If ``result`` is no table, or ``options`` are given with ``aladin``.
    ValueError
        If ``result`` lacks a column of the estimates, or no row has a position.

    Examples
    --------
    >>> from hifrac import samp
    >>> samp.to_aladin(result)  # doctest: +SKIP
    """
    if aladin is not None and options:
        raise TypeError(f"options are for a new widget, and aladin is given: {', '.join(options)}")
    flags = estimates_of(result).flags
    ra, dec = places_of(result)
    has_place = np.isfinite(ra)
    if not has_place.any():
        raise ValueError("result has no row with a position")
    if aladin is None:
        ipyaladin = _import("ipyaladin", "aladin", "ipyaladin")
        centre, width = _view(SkyCoord(ra[has_place], dec[has_place], unit="deg"))
        place = f"{centre.ra.deg:.6f} {centre.dec.deg:.6f}"
        aladin = ipyaladin.Aladin(**{"target": place, "fov": width, **options})
    table = suited_table(result, "votable")
    table[_RA], table[_DEC] = ra * u.deg, dec * u.deg
    for rows, label, shape, color in (
        (has_place & (flags == 0), "hifrac: no flag", "circle", CLEAN),
        (has_place & (flags != 0), "hifrac: flagged", "square", FLAGGED),
    ):
        if rows.any():
            aladin.add_table(table[rows], shape=shape, color=color, name=label, ra_field=_RA, dec_field=_DEC)
    return aladin


def _view(coords: SkyCoord) -> tuple[SkyCoord, float]:
    """Return the middle of positions, and the width in degrees of a field that has them all."""
    mean = coords.cartesian.mean()
    middle = coords[0] if mean.norm() < 1e-6 else SkyCoord(mean, frame="icrs")
    width = 2.2 * coords.separation(middle).deg.max()
    return middle, float(np.clip(width, 0.05, 180.0))


def _import(module: str, extra: str, what: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"{what} is needed here: pip install 'hifrac[{extra}]' ({error})") from error
