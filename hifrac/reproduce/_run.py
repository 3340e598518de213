"""Running experiments: each is computed once for the same inputs and the same version, and written."""

from __future__ import annotations

import json
import logging
import platform
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import MaskedColumn, Table, vstack
from joblib import Memory

import hifrac
from hifrac.core.config import cache_dir, conf
from hifrac.core.exceptions import warn_caller
from hifrac.core.files import file_sha256, write_whole
from hifrac.core.plain_columns import plain_table
from hifrac.core.tables import read_table, write_table

# Each module registers its experiments.
from hifrac.reproduce import (  # noqa: F401
    environment,
    mass_metallicity,
    metallicity,
    networks,
    probabilities,
    regression,
    resolution,
    samples,
    simulated,
    spectra,
    spectral_lines,
)
from hifrac.reproduce._experiment import COMPUTED, FACTS, TIERS, Experiment, Setting, setting

#: Every experiment by its name in the paper, and those that go beyond it; paper by paper.
EXPERIMENTS = {name: COMPUTED[name] for name in FACTS["name"].tolist()}
_PACKAGES = ("numpy", "scipy", "astropy", "matplotlib", "torch")
_log = logging.getLogger("hifrac.reproduce")


def reproduce(
    experiments: str | Iterable[str | Experiment],
    where: Setting,
    output: str | Path,
    *,
    redo: bool = False,
    report: Callable[[dict[str, Any]], object] | None = None,
) -> dict[str, dict[str, Any]]:
    """Run experiments, and write what they find.

    What was computed from the same inputs by the same version is taken from the folder ``reproduce`` in
    `hifrac.core.cache_dir`. Nothing is fetched.

    Parameters
    ----------
    experiments : str or iterable of str or Experiment
        Keys of `EXPERIMENTS`, or "all".
    where : Setting
        The data directory, the model and the seed: see `setting`.
    output : path-like
        Folder, made if need be, for the results ``NAME.ecsv``, ``NAME.pdf`` and ``NAME.png``,
        ``summary.ecsv`` (our numbers beside the published ones) and ``manifest.json`` (the entries).
    redo : bool, optional
        Compute again what was computed from the same inputs by the same version.
    report : callable, optional
        Called with the entry and the name of each experiment when it has ended.

    Returns
    -------
    entries : dict of str to dict
        By name: ``status`` ("done", "kept" from an earlier run, "missing" inputs, or "failed"), ``tier``,
        ``inputs`` with their sha256, ``versions``, ``seconds``, ``peak_memory_mb`` of the process so far,
        ``numbers``, ``notes``, and ``missing`` or ``error``.

    Raises
    ------
    ValueError
        If there is no experiment of a name.

    Warns
    -----
    ~hifrac.core.HifracWarning
        If the summary of the folder cannot be read; it is then that of this run alone.

    Examples
    --------
    With a data directory:

    >>> from hifrac.reproduce import reproduce, setting
    >>> entries = reproduce(["fig1", "table1"], setting(), "figures")  # doctest: +SKIP
    >>> {name: entry["status"] for name, entry in entries.items()}  # doctest: +SKIP
    """
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    entries: dict[str, dict[str, Any]] = {}
    for experiment in select(experiments):
        entry, files = _attempt(experiment, where, redo)
        for name, content in files.items():
            if not ((output / name).is_file() and (output / name).read_bytes() == content):
                write_whole(output / name, content)
        entries[experiment.name] = entry
        write_whole(output / "manifest.json", json.dumps(entries, indent=1, sort_keys=True) + "\n")
        if report is not None:
            report({"name": experiment.name, **entry})
    _write_summary(entries, output / "summary.ecsv")
    return entries


def result(name: str, *, where: Setting | None = None, redo: bool = False) -> Table:
    """Return the table of an experiment, computed now or by an earlier run (see `reproduce`).

    Parameters
    ----------
    name : str
        A key of `EXPERIMENTS`.
    where : Setting, optional
        The data directory and the model; ``setting()`` by default.
    redo : bool, optional
        Compute it again.

    Returns
    -------
    table : `~astropy.table.Table`
        ``meta["hifrac"]`` has its inputs with their sha256, versions, seed and seconds.

    Raises
    ------
    ValueError
        If there is no experiment of the name, or no data directory is configured.
    FileNotFoundError
        If some of what it reads is missing.
    RuntimeError
        If it fails.

    Examples
    --------
    With a data directory:

    >>> from hifrac.reproduce import numbers_table, result
    >>> print(numbers_table(result("table1")))  # doctest: +SKIP
    """
    (experiment,) = select([name])
    entry, files = _attempt(experiment, where or setting(), redo)
    if entry["status"] == "missing":
        raise FileNotFoundError(f"{name} needs {'; '.join(entry['missing'])}")
    if entry["status"] == "failed":
        raise RuntimeError(f"{name} failed: {entry['error']}")
    return Table.read(files[f"{name}.ecsv"].decode(), format="ascii.ecsv")


def numbers_table(table: Table) -> Table:
    """Return our numbers beside the published ones.

    Parameters
    ----------
    table : `~astropy.table.Table`
        What the function of an experiment returned, or what `reproduce` wrote of it.

    Returns
    -------
    numbers : `~astropy.table.Table`
        ``quantity``, ``ours``, ``published`` (masked where the paper says none).

    Examples
    --------
    >>> from astropy.table import Table
    >>> from hifrac.reproduce import numbers_table
    >>> print(numbers_table(Table(meta={"numbers": {"rmse": (0.234, 0.23), "n": (400, None)}})))
    quantity   ours  published
    -------- ------- ---------
        rmse   0.234     0.230
           n 400.000        --
    """
    numbers = table.meta.get("numbers") or table.meta.get("hifrac", {}).get("numbers", {})
    published = np.array([pair[1] for pair in numbers.values()], dtype=float)  # None is NaN
    result = Table({"quantity": list(numbers), "ours": [float(pair[0]) for pair in numbers.values()]})
    result["published"] = MaskedColumn(published, mask=~np.isfinite(published))
    result["ours"].info.format = result["published"].info.format = ".3f"
    return result


def select(names: str | Iterable[str | Experiment]) -> list[Experiment]:
    """Return experiments by name, each once; "all" is all of them."""
    names = [names] if isinstance(names, str) else list(names)
    if "all" in names:
        return list(EXPERIMENTS.values())
    if unknown := [name for name in names if isinstance(name, str) and name not in EXPERIMENTS]:
        raise ValueError(f"name must be all or one of {', '.join(EXPERIMENTS)}; got {', '.join(unknown)}")
    chosen = [EXPERIMENTS[name] if isinstance(name, str) else name for name in names]
    return list({experiment.name: experiment for experiment in chosen}.values())


def _attempt(experiment: Experiment, where: Setting, redo: bool) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the entry of an experiment, and the files of its result."""
    paths, missing = experiment.files(where)
    tier = experiment.tier_in(where)
    entry: dict[str, Any] = {"title": experiment.title, "tier": tier, "tier_means": TIERS[tier]}
    if experiment.without:
        entry["without"] = experiment.without
    if missing:
        return entry | {"status": "missing", "missing": missing}, {}
    entry["inputs"] = {str(path): file_sha256(path) for path in paths}
    entry |= {"versions": _versions(), **where.bootstrap}
    # Where the inputs lie does not matter.
    key = json.dumps([experiment.name, entry | {"inputs": sorted(entry["inputs"].values())}], sort_keys=True)
    compute = Memory(cache_dir() / "reproduce", verbose=0).cache(
        _compute, ignore=["experiment", "where", "entry"]
    )
    arguments = (key, experiment, where, entry)
    status = "kept" if not redo and compute.check_call_in_cache(*arguments) else "done"
    try:
        with conf.set_temp("offline", True):
            outcome = compute.call(*arguments)[0] if redo else compute(*arguments)
    except Exception as error:  # one that fails must not stop the others; the entry says why
        _log.debug("%s failed", experiment.name, exc_info=True)
        text = " ".join(str(error).split())
        return entry | {"status": "failed", "error": f"{type(error).__name__}: {text}"}, {}
    files = outcome.pop("files")
    return entry | outcome | {"status": status}, files


def _compute(_key: str, experiment: Experiment, where: Setting, entry: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers, the notes and the files of a result."""
    start = time.perf_counter()
    table = experiment.compute(where)
    numbers = {name: list(pair) for name, pair in table.meta.pop("numbers", {}).items()}
    table.meta["hifrac"] = {
        "experiment": experiment.name,
        "title": experiment.title,
        "tier": f"{entry['tier']}: {entry['tier_means']}",
        "without": experiment.without,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - start, 3),
        "numbers": numbers,
        **{name: entry[name] for name in ("inputs", "versions", "seed", "draws")},
        "references": experiment.references(where),
    }
    text = StringIO()
    plain_table(table).write(text, format="ascii.ecsv")
    files = {f"{experiment.name}.ecsv": text.getvalue().encode(), **_figures(experiment, table, where)}
    return {
        "numbers": numbers,
        "notes": list(table.meta.get("notes", [])),
        "seconds": round(time.perf_counter() - start, 3),
        "peak_memory_mb": _peak_memory(),
        "files": files,
    }


def _figures(experiment: Experiment, table: Table, where: Setting) -> dict[str, bytes]:
    if experiment.plot is None:
        return {}
    import matplotlib as mpl

    files = {}
    # Off screen whatever the user's settings are, and the same file at each run.
    with mpl.rc_context({"svg.hashsalt": "hifrac", "figure.max_open_warning": 0}):
        import matplotlib.pyplot as plt

        plt.switch_backend("agg")
        figure = experiment.draw(table, where)
        for ending, metadata in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
            content = BytesIO()
            figure.savefig(content, format=ending, dpi=150, metadata=metadata)
            files[f"{experiment.name}.{ending}"] = content.getvalue()
        plt.close(figure)
    return files


def _write_summary(entries: dict[str, dict[str, Any]], path: Path) -> None:
    """Write our numbers beside the published ones; those of other experiments stay."""
    rows = [
        (name, quantity, float(ours), np.nan if published is None else float(published), entry["tier"])
        for name, entry in entries.items()
        for quantity, (ours, published) in entry.get("numbers", {}).items()
    ]
    names = ("experiment", "quantity", "ours", "published", "tier")
    summary = Table(rows=rows or None, names=names, dtype=["U32", "U128", float, float, "U16"])
    if path.is_file():
        try:
            earlier = read_table(path)[names]
            others = earlier[~np.isin(earlier["experiment"], list(entries))]
            summary = vstack([others, summary]) if len(others) else summary
        except (KeyError, ValueError) as error:
            warn_caller(f"{path} cannot be read, and is replaced: {error}")
    write_table(summary, path, overwrite=True)


@cache
def _versions() -> dict[str, str]:
    """Return versions, with a digest of the package's code: a development version has many states."""
    code = sha256()
    for path in sorted(Path(hifrac.__file__).parent.rglob("*.py")):
        code.update(path.read_bytes())
    own = {"hifrac": hifrac.__version__, "code": code.hexdigest()[:16], "python": platform.python_version()}
    return own | {name: version(name) for name in _PACKAGES}


def _peak_memory() -> float | None:
    """Return the largest memory of this process so far, in MB; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)
