"""What an experiment is, where it runs, and what it may take from the data directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from astropy.table import Table
from matplotlib.figure import Figure

from hifrac.catalogs import CATALOGS, _files
from hifrac.catalogs.labels import SAMPLES
from hifrac.core.config import conf, data_dir
from hifrac.core.exceptions import UnknownModelError
from hifrac.models import ModelCard
from hifrac.models.cards import FILE_NAME
from hifrac.models.registry import bundled_models

#: How far the data of an experiment are those of the paper.
TIERS = {
    "full": "the surveys",
    "sample": "the real cutouts and spectra of the data directory",
    "simulated": "pictures rendered from catalogue photometry",
}

#: The files that experiments read from the data directory and from the folder of the model.
LABELS = "cutouts/hi_labels.ecsv"
DEEP = "cutouts/resolve_labels.ecsv"
METALLICITIES = "cutouts/metallicity_labels.ecsv"
PHOTOMETRY = "cutouts/photometry_labels.ecsv"
ARCHIVE = "cutouts/sdss_cutouts.zip"
DENSITY_FILE = "catalogs/sdss_dr7_volume_limited.fits"
INDEX = "cutouts/index.ecsv"
LINES = "cutouts/line_labels.ecsv"
BASES = "spectra/galaxy_spectral_bases.npz"
SPECTRA = "spectra/real_sdss_galaxy_spectra.npz"
#: A folder: pictures of the Legacy Surveys, ``OBJID.jpeg``, and the SDSS spectra of the same galaxies.
PAIRS = "spectra/legacy_pairs"
_NO_FOLDER = "the data directory (set HIFRAC_DATA_DIR or conf.data_dir, or give --data)"

#: The papers whose figures are made again, by the column ``paper`` of the registry.
PAPERS = {
    "wu2020": "Wu 2020, ApJ 900, 142",
    "wu2019": "Wu & Boada 2019, MNRAS 484, 4683",
    "wupeek2020": "Wu & Peek 2020, arXiv:2009.12318",
}
#: By the target column of a model: the first part of the names of its files, and its attribute of `Setting`.
_MODELS = {"log_hi_fraction": "model", "oh": "metallicity", "h_alpha_ew": "spectrum"}
#: What each extra is for; one of its packages.
_EXTRAS = {"train": "sklearn", "spectra": "specutils"}
#: What to cite for the files of the data directory that are no catalogues.
_REFERENCES = {
    LABELS: ("Haynes et al. 2018, ApJ 861, 49", "Durbala et al. 2020, AJ 160, 271"),
    DEEP: ("Eckert et al. 2015, ApJ 810, 166", "Stark et al. 2016, ApJ 832, 126"),
    METALLICITIES: ("Tremonti et al. 2004, ApJ 613, 898",),
    PHOTOMETRY: ("Blanton & Roweis 2007, AJ 133, 734", "Taylor et al. 2011, MNRAS 418, 1587"),
    ARCHIVE: ("Ahumada et al. 2020, ApJS 249, 3",),
    DENSITY_FILE: ("Abazajian et al. 2009, ApJS 182, 543",),
    LINES: ("Tremonti et al. 2004, ApJ 613, 898", "Brinchmann et al. 2004, MNRAS 351, 1151"),
    BASES: (
        "Blanton & Roweis 2007, AJ 133, 734",
        "Bolton et al. 2012, AJ 144, 144",
        "Guy et al. 2023, AJ 165, 144",
    ),
    SPECTRA: ("Ahumada et al. 2020, ApJS 249, 3",),
    PAIRS: ("Dey et al. 2019, AJ 157, 168", "Ahumada et al. 2020, ApJS 249, 3"),
}


@dataclass(frozen=True)
class Setting:
    """Where an experiment is run, and with what: see `setting`."""

    folder: Path | None
    model: Path  # of the HI mass fraction
    seed: int = 12345
    draws: int = 1000
    metallicity: Path | None = None  # the model of the metallicity
    spectrum: Path | None = None  # the model of spectra

    @property
    def root(self) -> Path:
        """The data directory; it is an error if there is none."""
        if self.folder is None:
            raise ValueError("data_dir: none is configured; set HIFRAC_DATA_DIR or conf.data_dir")
        return self.folder

    @property
    def bootstrap(self) -> dict[str, int]:
        """The options ``draws`` and ``seed`` of what computes errors."""
        return {"draws": self.draws, "seed": self.seed}


def setting(
    folder=None, *, model=None, seed: int = 12345, draws: int = 1000, needs_folder: bool = True
) -> Setting:
    """Return where experiments run: a data directory and a model.

    Parameters
    ----------
    folder : path-like, optional
        The data directory; ``HIFRAC_DATA_DIR`` or ``conf.data_dir`` by default.
    model : str or path-like, optional
        Name of a bundled model, or folder of a model with its held-out answers, ``out_of_fold.ecsv``: of
        the HI mass fraction, ``conf.model`` by default, of the metallicity, ``conf.metallicity_model``, or
        of spectra, ``conf.spectrum_model``. Its card says which; the others are the default.
    seed : int, optional
        Of everything random.
    draws : int, optional
        Samples of the bootstrap behind each error; at least 2.
    needs_folder : bool, optional
        Whether it is an error if no data directory is configured; else experiments can be listed, not run.

    Returns
    -------
    setting : Setting
        With the attributes ``folder``, ``model``, ``metallicity``, ``spectrum`` (paths), ``seed`` and
        ``draws``.

    Raises
    ------
    ValueError
        If no data directory is configured and ``needs_folder``, or ``draws`` is below 2.
    FileNotFoundError
        If it does not exist.
    ~hifrac.core.UnknownModelError
        If there is no such model.

    Examples
    --------
    >>> from hifrac.reproduce import setting
    >>> where = setting(needs_folder=False, draws=200)
    >>> where.model.name, where.seed, where.draws
    ('default', 12345, 200)
    """
    if draws < 2:
        raise ValueError(f"draws must be at least 2, got {draws}")
    folder = data_dir() if folder is None else Path(folder)
    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(f"data_dir: no such folder: {folder}")
    names = {"model": conf.model, "metallicity": conf.metallicity_model, "spectrum": conf.spectrum_model}
    models = {attribute: _model(str(name)) for attribute, name in names.items()}
    if model is not None:
        given = _model(str(model))
        models[_attribute_of(given)] = given
    folder = None if folder is None else folder.resolve()
    result = Setting(folder, seed=seed, draws=draws, **models)
    if needs_folder:
        _ = result.root
    return result


def _model(name: str) -> Path:
    path = Path(name) if Path(name).is_dir() else bundled_models().get(name)
    if path is None:
        raise UnknownModelError(f"model: there is none called {name!r}, and no such folder")
    return Path(path).resolve()


def _attribute_of(model: Path) -> str:
    """Return the attribute of `Setting` that a model is for; one without a card is of the HI fraction."""
    target = ModelCard.read(model).target_column if (model / FILE_NAME).is_file() else ""
    return _MODELS.get(target, "model")


@dataclass(frozen=True)
class Experiment:
    """A figure or a table of a paper, or one that goes beyond it.

    ``compute`` takes a `Setting` and returns a table. Its ``meta["numbers"]`` maps what is compared to (ours,
    published), where published may be None; ``meta["notes"]`` says how the data differ from the paper's.
    """

    name: str  # as the paper numbers it, or a word for one beyond it; after the paper, but for Wu (2020)
    title: str
    tier: str  # one of `TIERS`
    compute: Callable[[Setting], Table]
    #: Catalogues, files and folders ("cutouts/...", "model/...", "metallicity/...", "spectrum/..."),
    #: "bundled:MODEL" or "extra:train".
    inputs: tuple[str, ...] = ()
    plot: Callable[..., Figure] | None = None  # takes that table, and the setting if it shows pictures
    without: str = ""  # what of the paper's own data it does not use
    shows_pictures: bool = False
    paper: str = "wu2020"  # one of `PAPERS`

    def __post_init__(self) -> None:
        if self.tier not in TIERS:
            raise ValueError(f"tier must be one of {', '.join(TIERS)}, got {self.tier!r}")

    def tier_in(self, setting: Setting) -> str:
        """Return `tier`; but "full" where the labelled galaxies at hand are a whole sample of the paper."""
        if self.tier != "sample" or LABELS not in self.inputs or setting.folder is None:
            return self.tier
        path = setting.folder / LABELS
        if not path.is_file():
            return self.tier
        sample = Table.read(path, format="ascii.ecsv").meta.get("sample")  # as write_directory wrote it
        return "full" if sample in SAMPLES.values() else self.tier

    def data_line(self, setting: Setting) -> str:
        """Return in a line how far the data at hand are the paper's."""
        return f"Data: {(tier := self.tier_in(setting))} ({TIERS[tier]})"

    def draw(self, table: Table, setting: Setting) -> Figure:
        """Draw the figure of a result, with its title and `data_line` below."""
        if self.plot is None:
            raise ValueError(f"{self.name} is a table: it has no figure")
        figure = self.plot(table, setting) if self.shows_pictures else self.plot(table)
        figure.supxlabel(f"{self.title}.\n{self.data_line(setting)}", fontsize="x-small", color="0.4")
        return figure

    def references(self, setting: Setting) -> list[str]:
        """Return what to cite for a result: the paper, and the sources of the inputs."""
        sources = [PAPERS[self.paper]]
        for name in self.inputs:
            scheme, _, rest = name.partition(":")
            if name in CATALOGS:
                sources.append(CATALOGS[name].reference)
            elif scheme == "bundled":
                sources += ModelCard.read(bundled_models()[rest]).references
            elif (model := _model_of(name, setting)) is not None and (model / FILE_NAME).is_file():
                sources += ModelCard.read(model).references
            else:
                sources += _REFERENCES.get(name, ())
        # A card adds in brackets what a paper is cited for.
        return list(dict.fromkeys(source.partition(" (")[0] for source in sources))

    def files(self, setting: Setting) -> tuple[list[Path], list[str]]:
        """Return the files that it reads, and what of its inputs is missing, as sentences."""
        located = [_locate(name, setting) for name in self.inputs]
        missing = list(dict.fromkeys(lacking for _, lacking in located if lacking))
        missing = missing if setting.folder is not None else [_NO_FOLDER, *missing]
        return [path for paths, _ in located for path in paths], missing


def panels(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, Any]:
    """Return a figure of a size in inches, and its axes, an array of shape (rows, columns)."""
    import matplotlib.pyplot as plt

    size = (width, height)
    return plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **options)


def grid(n: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, Any]:
    """Return a figure of n panels in rows of a height in inches, and its axes; places left over are empty."""
    rows = -(-n // columns)
    figure, axes = panels(rows, columns, width, height * rows, **options)
    for axis in axes.flat[n:]:
        axis.remove()
    return figure, axes


#: What each experiment is, in the order of the paper; and those whose modules have been imported.
FACTS = Table.read(resources.files("hifrac") / "data" / "experiments.ecsv").filled("")
COMPUTED: dict[str, Experiment] = {}


def experiment(plot: Callable[..., Figure] | None = None, *, name: str = "", shows_pictures: bool = False):
    """Register the decorated function as the computation of the `Experiment` of its name.

    Its ``meta["numbers"]`` may have ours alone where nothing is published.
    """

    def register(compute: Callable[[Setting], Table]) -> Callable[[Setting], Table]:
        @wraps(compute)
        def paired(setting: Setting) -> Table:
            table = compute(setting)
            table.meta["numbers"] = {
                quantity: ours if isinstance(ours, tuple) else (float(ours), None)
                for quantity, ours in table.meta["numbers"].items()
            }
            return table

        (row,) = FACTS[FACTS["name"] == (name or compute.__name__)]
        key, paper, title, tier, inputs, without = (str(value) for value in row)
        names = tuple(inputs.split())
        COMPUTED[key] = Experiment(key, title, tier, paired, names, plot, without, shows_pictures, paper)
        return paired

    return register


def _locate(name: str, setting: Setting) -> tuple[list[Path], str]:
    scheme, _, rest = name.partition(":")
    if scheme == "extra":
        return [], "" if find_spec(_EXTRAS[rest]) else f"the packages of the extra hifrac[{rest}]"
    if scheme == "bundled":
        folder = bundled_models().get(rest)
        return ([], f"the bundled model {rest}") if folder is None else ([folder / "weights.safetensors"], "")
    if name in CATALOGS:
        catalog = CATALOGS[name]
        paths = _files.local_files(catalog, setting.folder) or _files.kept_files(catalog, setting.folder)
        source = catalog.command if catalog.service else f"from {catalog.address}"
        return paths, "" if paths else f"the catalogue {name}, {catalog.title} ({source})"
    first, _, rest = name.partition("/")
    model = _model_of(name, setting)
    if model is None and first in _MODELS.values():
        return [], f"a model of the {first}"
    if model is None and setting.folder is None:
        return [], ""  # said once, of the folder
    path = setting.root / name if model is None else model / rest
    if path.is_dir():
        return sorted(path.iterdir()), ""
    return ([path], "") if path.is_file() else ([], f"the file {path}")


def _model_of(name: str, setting: Setting) -> Path | None:
    """Return the folder of the model that an input is a file of."""
    first = name.partition("/")[0]
    return getattr(setting, first) if first in _MODELS.values() else None
