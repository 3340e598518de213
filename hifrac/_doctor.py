"""What is installed, whether it works, and whether the services on the network answer."""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hifrac

if TYPE_CHECKING:
    from packaging.requirements import Requirement

#: A galaxy that every survey shows: objID 1237648672919519703 of SDSS, and its spectrum.
GALAXY = {"ra": 239.3606352, "dec": -0.916689727, "plate": 343, "mjd": 51692, "fiberid": 129}
REDSHIFT = 0.0397

OK, ABSENT, BROKEN = "ok", "absent", "BROKEN"

#: Extras for developers, whom pip tells.
_DEVELOPERS = ("docs", "test", "test-base")


@dataclass(frozen=True)
class Finding:
    """What was looked at, its state (`OK`, `ABSENT`, or `BROKEN`, which is a fault), and facts."""

    what: str
    state: str
    facts: str


def _judged(what: str, look: Callable[[], str]) -> Finding:
    """Return what a look at something says; whatever it raises is a fault of that thing."""
    try:
        return Finding(what, OK, look())
    except Exception as error:
        text = " ".join(str(error).split())
        return Finding(what, BROKEN, f"{type(error).__name__}: {text}" if text else type(error).__name__)


def examine(*, network: bool = False) -> Iterator[Finding]:
    """Look at one thing after the other.

    Parameters
    ----------
    network : bool, optional
        Whether each service is asked for one galaxy. Nothing is kept of the answers.

    Yields
    ------
    finding : Finding
        In the order in which an installation can fail.
    """
    yield Finding("hifrac", OK, f"{hifrac.__version__}, in {Path(hifrac.__file__).parent}")
    yield Finding("Python", OK, f"{sys.version.split()[0]} on {platform.platform()}")
    yield from _requirements()
    yield _judged("device", _device)
    yield _judged("local store", _store)
    yield _data()
    from hifrac.core.config import conf
    from hifrac.models.registry import bundled_models

    for name, folder in bundled_models().items():
        yield _judged(f"model {name}", partial(_model, folder))
    yield _judged("an estimate", _estimate)
    if not network:
        yield Finding("services", ABSENT, "not asked; --network asks each for one galaxy")
    elif conf.offline:
        yield Finding("services", ABSENT, "not asked: conf.offline is set")
    else:
        for name, ask in SERVICES.items():
            yield _judged(name, partial(_asked, ask))


def _requirements() -> Iterator[Finding]:
    """Compare what is installed with what the package asks for, and each extra."""
    from packaging.requirements import Requirement

    try:
        facts = metadata.metadata("hifrac")
    except metadata.PackageNotFoundError:
        yield Finding("packages", BROKEN, "hifrac was not installed, and what it needs is not known")
        return
    requirements = [Requirement(line) for line in facts.get_all("Requires-Dist") or []]
    for extra in ["", *(facts.get_all("Provides-Extra") or [])]:
        if extra in _DEVELOPERS:
            continue
        needed = [one for one in requirements if _is_of(one, extra)]
        yield _installed(f"extra {extra}" if extra else "packages", needed, extra)


def _is_of(requirement: Requirement, extra: str) -> bool:
    """Return whether something is required with an extra and not without; here, on this Python."""
    marker = requirement.marker
    if marker is None or not extra:
        return not extra and (marker is None or marker.evaluate({"extra": ""}))
    return marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _installed(what: str, needed: list[Requirement], extra: str) -> Finding:
    versions, faults, lacking = [], [], []
    for requirement in needed:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            lacking.append(requirement.name)
            continue
        versions.append(f"{requirement.name} {version}")
        if not requirement.specifier.contains(version, prereleases=True):
            faults.append(f"{requirement.name} {version}, but {requirement.specifier} is needed")
    if lacking and not extra:
        faults += [f"{name} is missing" for name in lacking]
    if faults:
        return Finding(what, BROKEN, "; ".join(faults))
    if lacking:
        return Finding(what, ABSENT, f"without {', '.join(lacking)}: pip install 'hifrac[{extra}]'")
    return Finding(what, OK, ", ".join(versions))


def _device() -> str:
    import torch
    import torchvision  # noqa: F401 (one that fits another torch fails here)

    from hifrac.core.config import conf
    from hifrac.models.registry import _resolve_device

    device = _resolve_device(conf.device)
    if device.startswith("cuda"):
        return f"{device}: {torch.cuda.get_device_name(device)}"
    return f"{device}, {conf.threads or torch.get_num_threads()} threads"


def _store() -> str:
    from hifrac.core.config import cache_dir
    from hifrac.cutouts._store import Outcome, stores

    folder = cache_dir()
    legible, illegible = stores()
    pictures = n_bytes = 0
    for store in legible:
        with store:
            pictures += store.counts()[Outcome.STORED]
            n_bytes += store.size()[0]
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    with tempfile.TemporaryFile(dir=existing):  # a PermissionError names the folder
        pass
    damaged = f", {len(illegible)} that cannot be read (hifrac cache info)" if illegible else ""
    return f"{folder}: {len(legible)} stores{damaged}, {pictures} pictures, {n_bytes / 1e6:.1f} MB"


def _data() -> Finding:
    from hifrac.core.config import data_dir

    folder = data_dir()
    if folder is None:
        return Finding("data directory", ABSENT, "only training and the papers' figures need one")
    if not folder.is_dir():
        return Finding("data directory", BROKEN, f"{folder} is configured, and is no folder")
    return Finding("data directory", OK, str(folder))


def _model(folder: Path) -> str:
    from hifrac.core.files import file_sha256
    from hifrac.models.cards import ModelCard

    card = ModelCard.read(folder)
    for name, digest in card.files.items():
        if file_sha256(folder / name) != digest:
            raise ValueError(f"{folder / name} is not the file that its card describes")
    return f"{', '.join(card.files)}; weights {card.sha256[:12]}"


def _estimate() -> str:
    """Estimate a bundled picture with the model of the settings."""
    import numpy as np

    from hifrac.demo import PICTURES, sample_table

    source = hifrac.LocalCutouts(PICTURES, name="name")
    result = hifrac.HIFractionEstimator(cutouts=source).predict(sample_table()[9:10])
    (value,) = np.ma.filled(result["log_hi_fraction"].astype(float), np.nan)
    if not np.isfinite(value):
        raise ValueError(f"a bundled picture has no estimate: {hifrac.decode_flags(result['flags'][0])}")
    return f"log(M_HI/M*) = {value:.2f} for {result['name'][0]}"


# The services. Each function asks for one thing, checks what comes, and says what it was.


def _asked(ask: Callable[[], str]) -> str:
    """Ask a service, and give one that does not answer up soon."""
    from hifrac.core.config import conf, temporary_settings

    quick = {"retries": 1, "patience": 0.0, "timeout": min(conf.timeout, 20.0)}
    quick |= {"cutout_timeout": 45.0, "catalog_timeout": min(conf.catalog_timeout, 60.0)}
    with temporary_settings(**quick):
        return ask()


def _cutout(survey: str) -> str:
    from hifrac.core.config import temporary_settings
    from hifrac.cutouts import SURVEYS

    # Of a store of its own: what is asked for is the service, not what it said before.
    with tempfile.TemporaryDirectory() as folder, temporary_settings(folder):
        source: Any = SURVEYS[survey]()
        (cutout,) = source.fetch([GALAXY["ra"]], [GALAXY["dec"]])
        if cutout.error is not None:
            raise cutout.error
        pixels = source.recipe.decode(cutout.data)
    width = source.recipe.width
    if pixels.shape[:2] != (width, width):
        raise ValueError(f"a picture of {pixels.shape[:2]} pixels came, {width} x {width} were asked for")
    return f"{source.describe()}: {width} x {width} pixels, {len(cutout.data)} bytes"


def _sql() -> str:
    from hifrac.catalogs._remote import sql_table

    names = ("plate", "mjd", "fiberid")
    conditions = " AND ".join(f"{name} = {GALAXY[name]}" for name in names)
    table = sql_table(f"SELECT z FROM SpecObj WHERE {conditions}", data_release=17)
    if table.colnames != ["z"] or len(table) != 1 or not abs(table["z"][0] - REDSHIFT) < 1e-3:
        raise ValueError(f"one redshift of {REDSHIFT} was expected, and this came: {table}")
    return f"redshift {table['z'][0]:.4f}"


def _vizier() -> str:
    from hifrac.catalogs._registry import CATALOGS
    from hifrac.catalogs._remote import vizier_tables

    catalog = CATALOGS["xgass"]
    tables = vizier_tables(catalog.address)
    if catalog.rows not in (rows := [len(table) for table in tables.values()]):
        raise ValueError(f"{catalog.address} should have {catalog.rows} rows, and has {rows}")
    return f"{catalog.address}: {catalog.rows} rows"


def _spectrum() -> str:
    import numpy as np
    from astropy.table import Table

    from hifrac.spectra import fetch_spectra

    with tempfile.TemporaryDirectory() as folder:
        names = {name: [GALAXY[name]] for name in ("plate", "mjd", "fiberid")}
        spectra = fetch_spectra(Table(names), folder, offline=False)
    (row,) = spectra
    n_pixels = int(np.isfinite(row["flux"]).sum())
    if not n_pixels or not abs(row["spectrum_redshift"] - REDSHIFT) < 1e-3:
        raise ValueError(row["spectrum_reason"] or f"a galaxy at z = {row['spectrum_redshift']} came")
    return f"{n_pixels} pixels, z = {row['spectrum_redshift']:.4f}"


#: What asks each service, by the name that is shown.
SERVICES: dict[str, Callable[[], str]] = {
    "SDSS pictures": partial(_cutout, "sdss"),
    "Legacy pictures": partial(_cutout, "legacy"),
    "Pan-STARRS pictures": partial(_cutout, "panstarrs"),
    "HiPS pictures": partial(_cutout, "hips"),
    "SkyServer SQL": _sql,
    "VizieR": _vizier,
    "SDSS spectra": _spectrum,
}
