"""Running experiments: results, figures, and a manifest from which a run is resumed."""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256 as digest
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import MaskedColumn, Table

import hifrac
from hifrac.core.config import conf
from hifrac.core.exceptions import HifracWarning
from hifrac.core.files import write_whole
from hifrac.core.tables import write_table
from hifrac.reproduce._experiment import TIERS, Experiment, Setting, sha256

__all__ = ["MANIFEST", "SUMMARY", "numbers_table", "reproduce", "result", "status_table"]

MANIFEST = "manifest.json"
SUMMARY = "summary.ecsv"
_PACKAGES = ("numpy", "scipy", "astropy", "matplotlib", "torch")
_log = logging.getLogger("hifrac.reproduce")


@contextmanager
def _at(folder: Path | None) -> Iterator[None]:
    """The data directory of everything inside, and no network: an experiment reads what is at hand."""
    before = os.environ.get("HIFRAC_DATA_DIR")
    if folder is not None:
        os.environ["HIFRAC_DATA_DIR"] = str(folder)
    try:
        with conf.set_temp("offline", True):
            yield
    finally:
        if before is None:
            os.environ.pop("HIFRAC_DATA_DIR", None)
        else:
            os.environ["HIFRAC_DATA_DIR"] = before


def status_table(experiments: Iterable[Experiment], setting: Setting) -> Table:
    """What can be run, and what is missing.

    Parameters
    ----------
    experiments : iterable of Experiment
        Which ones.
    setting : Setting
        Where. Without a data directory all are listed, as missing it.

    Returns
    -------
    table : `~astropy.table.Table`
        ``name``, ``tier``, ``title``, and ``status``: "ready", or "missing: " and what; and
        what of the paper's own data it is made without.
    """
    rows = []
    with _at(setting.folder):
        for one in experiments:
            missing = one.files(setting)[1]
            status = f"missing: {'; '.join(missing)}" if missing else "ready"
            status += f" (without {one.without})" if one.without else ""
            rows.append((one.name, one.tier_in(setting), one.title, status))
    return Table(rows=rows or None, names=("name", "tier", "title", "status"), dtype=4 * [str])


def reproduce(
    experiments: Iterable[Experiment],
    setting: Setting,
    output: str | Path,
    *,
    redo: bool = False,
    report: Callable[[dict[str, Any]], object] | None = None,
) -> dict[str, dict[str, Any]]:
    """Run experiments, and write what they find.

    Parameters
    ----------
    experiments : iterable of Experiment
        Which ones.
    setting : Setting
        The data directory, the model and the seed.
    output : path-like
        Folder, made if need be, for ``NAME.ecsv``, ``NAME.pdf`` and ``NAME.png``, ``summary.ecsv`` (our
        numbers beside the published ones) and ``manifest.json``.
    redo : bool, optional
        Compute again what is there and was made from the same inputs by the same version.
    report : callable, optional
        Called with the manifest's entry of each experiment when it has ended.

    Returns
    -------
    entries : dict of str to dict
        By name: ``status`` ("done", "kept" from an earlier run, "missing" inputs, or "failed"), ``tier``,
        ``inputs`` with their sha256, ``versions``, ``seconds``, ``peak_memory_mb`` of the process so far,
        ``numbers``, and ``missing`` or ``error``. The manifest has the same, where "kept" is "done".

    Warns
    -----
    ~hifrac.core.exceptions.HifracWarning
        If the manifest of the folder cannot be read; everything is then computed anew.
    """
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    manifest = _read_manifest(output / MANIFEST)
    results: dict[str, dict[str, Any]] = {}
    with _at(setting.folder):
        for one in experiments:
            entry = _run(one, setting, output, None if redo else manifest.get(one.name))
            results[one.name] = entry
            manifest[one.name] = {**entry, "status": "done"} if entry["status"] == "kept" else entry
            write_whole(output / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True) + "\n")
            if report is not None:
                report({"name": one.name, **entry})
    write_table(_summary(manifest), output / SUMMARY, overwrite=True)
    return results


def result(one: Experiment, setting: Setting, output: str | Path, *, redo: bool = False) -> Table:
    """The table of an experiment: read where an earlier run has left it, or else computed.

    Parameters
    ----------
    one : Experiment
        Which one.
    setting : Setting
        The data directory, the model and the seed.
    output : path-like
        The folder, as of `reproduce`.
    redo : bool, optional
        Compute it again.

    Returns
    -------
    table : `~astropy.table.Table`

    Raises
    ------
    FileNotFoundError
        If some of what it reads is missing.
    RuntimeError
        If it fails.
    """
    entry = reproduce([one], setting, output, redo=redo)[one.name]
    if entry["status"] == "missing":
        raise FileNotFoundError(f"{one.name} needs {'; '.join(entry['missing'])}")
    if entry["status"] == "failed":
        raise RuntimeError(f"{one.name} failed: {entry['error']}")
    return Table.read(Path(output) / f"{one.name}.ecsv", format="ascii.ecsv")


def numbers_table(table: Table) -> Table:
    """Our numbers beside the published ones, of a result.

    Parameters
    ----------
    table : `~astropy.table.Table`
        What the function of an experiment returned, or what `reproduce` wrote of it.

    Returns
    -------
    numbers : `~astropy.table.Table`
        ``quantity``, ``ours``, ``published`` (masked where the paper says none).
    """
    numbers = table.meta.get("numbers") or table.meta.get("hifrac", {}).get("numbers", {})
    published = [pair[1] for pair in numbers.values()]
    return Table(
        {
            "quantity": list(numbers),
            "ours": [float(pair[0]) for pair in numbers.values()],
            "published": MaskedColumn(
                [np.nan if one is None else one for one in published],
                mask=[one is None or not np.isfinite(one) for one in published],
                dtype=float,
            ),
        }
    )


def _run(one: Experiment, setting: Setting, output: Path, before: dict[str, Any] | None) -> dict[str, Any]:
    found, missing = one.files(setting)
    tier = one.tier_in(setting)
    entry: dict[str, Any] = {"title": one.title, "tier": tier, "tier_means": TIERS[tier]}
    if one.without:
        entry["without"] = one.without
    if missing:
        return entry | {"status": "missing", "missing": missing}
    entry["inputs"] = {str(path): sha256(path) for path in found}
    entry["versions"] = _versions()
    entry |= {"seed": setting.seed, "draws": setting.draws}
    entry["key"] = _key(entry)
    if before is not None and _is_kept(before, entry["key"], output):
        return before | {"status": "kept"}
    start = time.perf_counter()
    try:
        table = one.compute(setting)
        numbers = table.meta.pop("numbers", {})
        table.meta["hifrac"] = {
            "experiment": one.name,
            "title": one.title,
            "tier": f"{tier}: {TIERS[tier]}",
            "without": one.without,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - start, 3),
            "numbers": {name: list(pair) for name, pair in numbers.items()},
            **{name: entry[name] for name in ("inputs", "versions", "seed", "draws")},
            "references": one.references(setting),
        }
        write_table(table, output / f"{one.name}.ecsv", overwrite=True)
        paths = [output / f"{one.name}.ecsv", *_draw(one, table, setting, output)]
    except Exception as error:  # one that fails must not stop the others; the manifest says why
        _log.debug("%s failed", one.name, exc_info=True)
        text = " ".join(str(error).split())
        return entry | {"status": "failed", "error": f"{type(error).__name__}: {text}"}
    return entry | {
        "status": "done",
        "numbers": table.meta["hifrac"]["numbers"],
        "notes": list(table.meta.get("notes", [])),
        "seconds": round(time.perf_counter() - start, 3),
        "peak_memory_mb": _peak_memory(),
        "files": {path.name: sha256(path) for path in paths},
    }


def _draw(one: Experiment, table: Table, setting: Setting, output: Path) -> list[Path]:
    if one.draw is None:
        return []
    import matplotlib as mpl

    paths = []
    # Off screen whatever the user's settings are, and the same file at each run.
    with mpl.rc_context({"svg.hashsalt": "hifrac", "figure.max_open_warning": 0}):
        import matplotlib.pyplot as plt

        plt.switch_backend("agg")
        figure = one.draw(table, setting)
        figure.supxlabel(f"{one.title}.\n{one.data_line(setting)}", fontsize="x-small", color="0.4")
        for ending, extra in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
            paths.append(output / f"{one.name}.{ending}")
            figure.savefig(paths[-1], dpi=150, metadata=extra)
        plt.close(figure)
    return paths


def _versions() -> dict[str, str]:
    return {
        "hifrac": hifrac.__version__,
        "code": _code(),
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def _code() -> str:
    """A digest of the experiments' own code and of the renderer: a development version has many states."""
    total = digest()
    here = Path(__file__).parent
    for path in sorted([*here.glob("*.py"), *here.with_name("simulate").glob("*.py")]):
        total.update(path.read_bytes())
    return total.hexdigest()[:16]


def _key(entry: dict[str, Any]) -> str:
    """What a result depends on. Where the inputs lie does not matter."""
    parts = {**entry, "inputs": sorted(entry["inputs"].values())}
    return digest(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _is_kept(before: dict[str, Any], key: str, output: Path) -> bool:
    if before.get("status") != "done" or before.get("key") != key:
        return False
    return all(
        (output / name).is_file() and sha256(output / name) == known
        for name, known in before.get("files", {}).items()
    )


def _read_manifest(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not all(isinstance(one, dict) for one in content.values()):
            raise ValueError("it is no manifest")
    except (OSError, ValueError) as error:
        warnings.warn(f"{path} cannot be read ({error}): nothing is kept", HifracWarning, stacklevel=3)
        return {}
    return content


def _summary(manifest: dict[str, dict[str, Any]]) -> Table:
    rows = [
        (name, quantity, float(ours), float("nan") if published is None else float(published), entry["tier"])
        for name, entry in manifest.items()
        for quantity, (ours, published) in entry.get("numbers", {}).items()
    ]
    return Table(
        rows=rows or None,
        names=("experiment", "quantity", "ours", "published", "tier"),
        dtype=["U16", "U128", float, float, "U16"],
    )


def _peak_memory() -> float | None:
    """Of this process so far, in MB; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)
