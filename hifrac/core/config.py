"""The settings of the package: an Astropy configuration namespace.

Every setting is read when a function runs, never when it is defined, so that
``with conf.set_temp("timeout", 5): ...`` applies to everything inside.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from astropy.config import ConfigItem, ConfigNamespace

# So that hifrac.cfg has them as they are, without a section named after this module.
_item = partial(ConfigItem, module="hifrac")


class Conf(ConfigNamespace):
    """Configuration parameters of `hifrac`.

    Examples
    --------
    >>> from hifrac import conf
    >>> with conf.set_temp("max_rate", 2.0):  # requests per second, in this block only
    ...     print(conf.max_rate)
    2.0
    """

    data_dir = _item(
        "",
        "Folder of the training data and reference catalogues. "
        "The environment variable HIFRAC_DATA_DIR comes first.",
    )
    cache_dir = _item(
        "",
        "Folder of the downloaded cutouts. Empty: HIFRAC_CACHE_DIR if set, else hifrac/ "
        "in XDG_CACHE_HOME (~/.cache).",
    )
    model = _item("default", "Name of the model used when none is named.")
    metallicity_model = _item("metallicity", "Name of the model of metallicities used when none is named.")
    spectrum_model = _item("spectra", "Name of the model of spectra used when none is named.")
    device = _item(["auto", "cpu", "cuda"], "Where the network runs; auto takes CUDA when there is one.")
    batch_size = _item(256, "Pictures in one batch.", cfgtype="integer(min=1)")
    threads = _item(
        0,
        "Threads that a network computes with on the CPU, and that decode pictures; 0: as PyTorch has it.",
        cfgtype="integer(min=0, max=1024)",  # of a million, OpenMP ends the process
    )
    timeout = _item(
        30.0,
        "Seconds to wait for a service to connect, and for each of its answers to be complete.",
        cfgtype="float(min=0.001)",
    )
    cutout_timeout = _item(
        120.0,
        "Seconds for one cutout, all repeats and the pauses between them included (see patience).",
        cfgtype="float(min=0.001)",
    )
    retries = _item(
        4, "How often a failed request is repeated (429, 5xx, connection errors).", cfgtype="integer(min=0)"
    )
    retry_backoff = _item(
        0.5, "Seconds before the first repeat; doubled at each further one.", cfgtype="float(min=0)"
    )
    patience = _item(
        900.0,
        "Seconds for which a service that gives no answer, or asks to be left alone, is waited for "
        "before the run ends without the rest.",
        cfgtype="float(min=0)",
    )
    max_rate = _item(
        10.0,
        "Requests per second to one host, at most, by all programs of this user on this computer; "
        "0 for no limit.",
        cfgtype="float(min=0)",
    )
    offline = _item(
        False, "Never touch the network: what is not in the local store is flagged.", cfgtype="boolean"
    )
    skyserver_url = _item(
        "https://skyserver.sdss.org/{data_release}/SkyServerWS/ImgCutout/getjpeg",
        "Address of the SDSS image cutout service; {data_release} is replaced, e.g. by dr16.",
    )
    skyserver_data_release = _item(
        "", "SDSS data release asked for, e.g. DR16. Empty: the one of the model's recipe."
    )
    legacy_url = _item(
        "https://www.legacysurvey.org/viewer",
        "Address of the DESI Legacy Surveys viewer, below which cutout.jpg and cutout.fits are.",
    )
    panstarrs_url = _item(
        "https://ps1images.stsci.edu/cgi-bin",
        "Address of the Pan-STARRS image server, below which ps1filenames.py and fitscut.cgi are.",
    )
    hips2fits_url = _item(
        "https://alasky.cds.unistra.fr/hips-image-services/hips2fits", "Address of the CDS service hips2fits."
    )
    vizier_url = _item(
        "https://vizier.cds.unistra.fr",
        "Address of VizieR, or of one of its mirrors, for catalogues. "
        "(That of SkyServer's SQL is astroquery.sdss.conf.skyserver_baseurl.)",
    )
    catalog_timeout = _item(
        300.0,
        "Seconds to wait for a catalogue service to begin its answer; a large query takes minutes.",
        cfgtype="float(min=0.001)",
    )


conf = Conf()


def data_dir() -> Path | None:
    """Return the folder of the real data, or None when no folder is configured.

    Returns
    -------
    path : `pathlib.Path` or None
        ``HIFRAC_DATA_DIR``, else ``conf.data_dir``, else None.

    Examples
    --------
    >>> from hifrac.core import data_dir
    >>> print("data directory:", data_dir())
    data directory: ...
    """
    folder = os.environ.get("HIFRAC_DATA_DIR") or conf.data_dir
    return Path(folder).expanduser() if folder else None


@contextmanager
def temporary_settings(cache_dir: str | Path | None = None, **settings: Any) -> Iterator[None]:
    """Set values of ``conf`` in a block, and the folder that comes before those, if one is given."""
    previous = os.environ.get("HIFRAC_CACHE_DIR")
    with ExitStack() as stack:
        for name, value in settings.items():
            stack.enter_context(conf.set_temp(name, value))
        if cache_dir is not None:
            os.environ["HIFRAC_CACHE_DIR"] = str(cache_dir)
        try:
            yield
        finally:
            if previous is None:
                os.environ.pop("HIFRAC_CACHE_DIR", None)
            else:
                os.environ["HIFRAC_CACHE_DIR"] = previous


def cache_dir() -> Path:
    """Return the folder of the downloaded cutouts (it may not exist yet).

    Returns
    -------
    path : `pathlib.Path`
        ``HIFRAC_CACHE_DIR``, else ``conf.cache_dir``, else ``hifrac`` in the
        user's cache folder (XDG base directory specification).

    Examples
    --------
    >>> from hifrac.core import cache_dir
    >>> print("pictures are kept in", cache_dir())
    pictures are kept in ...
    """
    folder = os.environ.get("HIFRAC_CACHE_DIR") or conf.cache_dir
    if folder:
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "hifrac"
