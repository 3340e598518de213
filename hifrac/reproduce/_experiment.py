"""What an experiment is, and what it may take from the data directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from astropy.table import Table

from hifrac.catalogs import CATALOGS, _files
from hifrac.catalogs.labels import SAMPLES
from hifrac.core.files import file_sha256
from hifrac.models import ModelCard
from hifrac.models.cards import FILE_NAME
from hifrac.models.registry import bundled_models

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TIERS", "Experiment", "Setting", "sha256"]

#: How far the data of an experiment are those of the paper.
TIERS = {
    "full": "the surveys",
    "sample": "the labelled real cutouts of the data directory",
    "simulated": "pictures rendered from catalogue photometry",
}

#: Optional packages that an experiment may need, and the extra that brings them.
_EXTRAS = {"train": "sklearn"}
#: What every experiment lacks in a setting without a data directory.
_NO_FOLDER = "the data directory (set HIFRAC_DATA_DIR or conf.data_dir, or give --data)"

_PAPER = "Wu 2020, ApJ 900, 142"
_LABELS = "cutouts/hi_labels.ecsv"
#: What to cite for the files of the data directory that are no catalogues.
_REFERENCES = {
    _LABELS: ("Haynes et al. 2018, ApJ 861, 49", "Durbala et al. 2020, AJ 160, 271"),
    "cutouts/resolve_labels.ecsv": ("Eckert et al. 2015, ApJ 810, 166", "Stark et al. 2016, ApJ 832, 126"),
    "cutouts/sdss_cutouts.zip": ("Ahumada et al. 2020, ApJS 249, 3",),
    "catalogs/sdss_dr7_volume_limited.fits": ("Abazajian et al. 2009, ApJS 182, 543",),
}


@dataclass(frozen=True)
class Setting:
    """Where an experiment is run, and with what.

    Parameters
    ----------
    folder : path or None
        The data directory: ``catalogs/`` and ``cutouts/``. None if there is none: then every experiment
        lacks it, and can be listed but not run.
    model : path
        Folder of a model with its held-out answers, ``out_of_fold.ecsv``.
    seed : int, optional
        Of everything random.
    draws : int, optional
        Samples of the bootstrap behind each error.
    """

    folder: Path | None
    model: Path
    seed: int = 12345
    draws: int = 1000


@dataclass(frozen=True)
class Experiment:
    """A figure or a table of the paper, or one that goes beyond it.

    Parameters
    ----------
    name : str
        As the paper numbers it: "fig1" to "fig13", "table1" to "table4"; a word for one beyond it.
    title : str
        What it shows.
    tier : str
        One of `TIERS`.
    compute : callable
        Takes a `Setting`, returns the result: a `~astropy.table.Table`. Its ``meta["numbers"]`` maps
        what is compared to (ours, published), where published may be None; ``meta["notes"]`` says how the
        data differ from the paper's.
    inputs : tuple of str
        What it reads: names of `hifrac.catalogs.CATALOGS`, files of the data directory ("cutouts/..."),
        files of the model ("model/..."), "bundled:NAME" for a bundled model, or "extra:train" for the
        packages of an extra.
    draw : callable, optional
        Takes that table and the `Setting`, returns a `~matplotlib.figure.Figure`.
    without : str, optional
        What of the paper's own data it does not use.
    """

    name: str
    title: str
    tier: str
    compute: Callable[[Setting], Table]
    inputs: tuple[str, ...] = ()
    draw: Callable[[Table, Setting], Figure] | None = None
    without: str = ""

    def __post_init__(self) -> None:
        if self.tier not in TIERS:
            raise ValueError(f"tier must be one of {', '.join(TIERS)}, got {self.tier!r}")

    def tier_in(self, setting: Setting) -> str:
        """`tier`; but "full" where the labelled galaxies at hand are a whole sample of the paper.

        `hifrac.catalogs.directory.write_directory` writes its name into their ``meta``.
        """
        if self.tier != "sample" or _LABELS not in self.inputs or setting.folder is None:
            return self.tier
        path = setting.folder / _LABELS
        if not path.is_file():
            return self.tier
        known = Table.read(path, format="ascii.ecsv").meta.get("sample")
        return "full" if known in SAMPLES.values() else self.tier

    def data_line(self, setting: Setting) -> str:
        """How far the data at hand are the paper's, in a line: what stands under a figure."""
        tier = self.tier_in(setting)
        return f"Data: {tier} ({TIERS[tier]})"

    def references(self, setting: Setting) -> list[str]:
        """What to cite for a result: the paper, and the sources of the inputs."""
        found = [_PAPER]
        for name in self.inputs:
            kind, _, rest = name.partition(":")
            if name in CATALOGS:
                found.append(CATALOGS[name].reference)
            elif kind == "bundled":
                found += ModelCard.read(bundled_models()[rest]).references
            elif name.startswith("model/") and (setting.model / FILE_NAME).is_file():
                found += ModelCard.read(setting.model).references
            else:
                found += _REFERENCES.get(name, ())
        # A card adds in brackets what a paper is cited for.
        return list(dict.fromkeys(one.partition(" (")[0] for one in found))

    def files(self, setting: Setting) -> tuple[list[Path], list[str]]:
        """The files that it reads, and what of its inputs is missing, as sentences.

        `hifrac.core.config.data_dir` must be the folder of the setting.
        """
        found: list[Path] = []
        missing = [] if setting.folder is not None else [_NO_FOLDER]
        for name in self.inputs:
            paths, lacking = _located(name, setting)
            found += paths
            missing += [lacking] if lacking else []
        return found, missing


def _located(name: str, setting: Setting) -> tuple[list[Path], str]:
    kind, _, rest = name.partition(":")
    if kind == "extra":
        lacking = find_spec(_EXTRAS[rest]) is None
        return [], f"the packages of the extra hifrac[{rest}]" if lacking else ""
    if kind == "bundled":
        folder = bundled_models().get(rest)
        return ([], f"the bundled model {rest}") if folder is None else ([folder / "weights.safetensors"], "")
    if name in CATALOGS:
        catalog = CATALOGS[name]
        paths = _files.local_files(catalog) or _files.kept_files(catalog)
        where = catalog.command if catalog.service else f"from {catalog.address}"
        return paths, "" if paths else f"the catalogue {name}, {catalog.title} ({where})"
    first, _, rest = name.partition("/")
    if first != "model" and setting.folder is None:
        return [], ""  # said once, of the folder
    path = setting.model / rest if first == "model" else setting.folder / name
    return ([path], "") if path.is_file() else ([], f"the file {path}")


def sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal; computed once for a file that does not change meanwhile."""
    there = path.stat()
    return _sha256(path, there.st_size, there.st_mtime_ns)


@cache
def _sha256(path: Path, _size: int, _time: int) -> str:
    return file_sha256(path)
