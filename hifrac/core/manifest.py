"""What a run that is made in pieces rests on: facts in a file, compared before it goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from astropy.table import Table

from hifrac.core.arrow import to_arrow
from hifrac.core.files import file_sha256, write_whole

#: Name of the file. Readers of folders of Parquet files, as pandas and pyarrow, pass over such names.
MANIFEST = "_manifest.json"

# What may differ between two parts of one result: it changes estimates by less than 1e-5 dex.
_PASSING = ("date", "runtime", "packages", "input", "environment", "part")

# Files up to this size have the sha256 of all their bytes; of larger ones it is that of samples.
_MOST_BYTES = 1 << 30
_N_SAMPLES, _SAMPLE_BYTES = 256, 1 << 20


def lasting_facts(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of the ``meta["hifrac"]`` of a result is true of all parts of a run."""
    facts = {name: value for name, value in provenance.items() if name not in _PASSING}
    arguments = facts.get("arguments", {})
    facts["arguments"] = {name: value for name, value in arguments.items() if name != "batch_size"}
    return facts


def file_facts(*paths: Path) -> dict[str, Any]:
    """Return name, size and sha256 of a file, or of the files of one folder.

    Of files beyond 1 GiB the sha256 is that of 256 MiB at even distances, the two ends among them: an array
    of jobs must not read 100 GB each before it begins.
    """
    size = sum(path.stat().st_size for path in paths)
    name = paths[0].name if len(paths) == 1 else paths[0].parent.name
    if size <= _MOST_BYTES:
        digests = [file_sha256(path) for path in paths]
        digest = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
        return {"name": name, "size": size, "sha256": digest}
    samples = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            last = max(path.stat().st_size - _SAMPLE_BYTES, 0)
            n_samples = max(_N_SAMPLES // len(paths), 2)
            for number in range(n_samples):
                file.seek(last * number // (n_samples - 1))
                samples.update(file.read(_SAMPLE_BYTES))
    return {"name": name, "size": size, "sha256_of_samples": samples.hexdigest()}


def table_facts(table: Table, rows: int = 20_000) -> dict[str, Any]:
    """Return the sha256 of the columns of a table in memory, of so many rows at a time."""
    digest = hashlib.sha256()
    for start in range(0, max(len(table), 1), rows):
        arrow = to_arrow(table[start : start + rows])
        if not start:
            digest.update(str(arrow.schema.remove_metadata()).encode())
        for batch in arrow.to_batches():
            digest.update(batch.serialize())
    return {"name": "", "sha256": digest.hexdigest()}


def run_of(facts: Mapping[str, Any]) -> str:
    """Return the sha256 of facts, by which a part is known to be of their run."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def write_manifest(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write facts (plain types) to the manifest of a folder."""
    write_whole(folder / MANIFEST, json.dumps(facts, indent=1) + "\n", sync=True)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the facts in the manifest of a folder; None if it has none.

    Raises
    ------
    ValueError
        If that file is no manifest.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        facts = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(facts, dict):
        raise ValueError(f"{path} cannot be read: it is no manifest")
    return facts


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return what is not equal in two manifests: the name of each fact, and its two values."""
    before, now = dict(_leaves(old)), dict(_leaves(new))
    names = dict.fromkeys((*before, *now))
    return [
        f"{name} was {_brief(before.get(name))}, and is {_brief(now.get(name))}"
        for name in names
        if before.get(name) != now.get(name)
    ]


def _leaves(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _brief(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def plain_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts as they come back from their file, so that they can be compared."""
    return json.loads(json.dumps(facts, default=os.fspath))
