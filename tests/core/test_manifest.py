"""What a run in pieces rests on, and what differs."""

import pytest

from hifrac.core import manifest
from hifrac.core.manifest import (
    differences,
    file_facts,
    lasting_facts,
    plain_facts,
    read_manifest,
    run_of,
    write_manifest,
)


def test_facts_come_back_from_their_file(tmp_path):
    assert read_manifest(tmp_path) is None
    facts = plain_facts({"model": "default", "input": {"path": tmp_path, "size": 3}, "pair": (1, 2)})
    write_manifest(tmp_path, facts)
    assert read_manifest(tmp_path) == facts
    assert run_of(read_manifest(tmp_path)) == run_of(facts) != run_of({**facts, "model": "other"})
    for text in ("[]", "", "{"):
        (tmp_path / manifest.MANIFEST).write_text(text)
        with pytest.raises(ValueError, match=r"_manifest\.json cannot be read"):
            read_manifest(tmp_path)


def test_differences_name_each_fact():
    old = {"model": "a", "input": {"size": 3, "name": "t"}, "parts": 2}
    assert differences(old, old) == []
    new = {"model": "b", "input": {"size": 3, "name": "u"}, "samples": 9, "parts": 2}
    assert differences(old, new) == [
        'model was "a", and is "b"',
        'input.name was "t", and is "u"',
        "samples was null, and is 9",
    ]


def test_what_passes_is_no_lasting_fact():
    provenance = {"date": "now", "model": "a", "runtime": "cpu", "arguments": {"batch_size": 3, "samples": 2}}
    assert lasting_facts(provenance) == {"model": "a", "arguments": {"samples": 2}}


def test_samples_of_a_large_file_tell_its_ends_and_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "_MOST_BYTES", 100)
    monkeypatch.setattr(manifest, "_SAMPLE_BYTES", 10)
    monkeypatch.setattr(manifest, "_N_SAMPLES", 5)
    data = bytes(range(200))
    path = tmp_path / "large"
    seen = set()
    for place in (0, 9, 50, 100, 190, 199, None):
        changed = bytearray(data)
        if place is not None:
            changed[place] ^= 1
        path.write_bytes(changed)
        seen.add(file_facts(path)["sha256_of_samples"])
    assert len(seen) == 7
    path.write_bytes(data + b"x")
    assert file_facts(path)["size"] == 201
    path.write_bytes(data[:100])
    assert "sha256" in file_facts(path)
    assert file_facts(path, path)["name"] == tmp_path.name
