"""Files are whole or not there."""

import errno
import hashlib
import os

import pytest

from hifrac.core.files import file_sha256, new_file, whole_file, write_whole


def test_the_hash_is_that_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert (
        file_sha256(tmp_path / "a") == file_sha256(str(tmp_path / "a")) == hashlib.sha256(b"abc").hexdigest()
    )


def test_bytes_and_text_are_written_and_written_over(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, "é\n")
    assert path.read_bytes() == b"\xc3\xa9\n"
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_synced_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, events = tmp_path / "a.txt", []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (events.append("fsync"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (events.append("replace"), replace(*paths)))
    write_whole(path, "x", sync=True)
    assert events == ["fsync", "replace", "fsync"][: 3 if os.name == "posix" else 2]
    assert path.read_text() == "x"


def _fill_the_disk(path):
    with whole_file(path) as partial:
        assert partial.suffix == path.suffix
        assert partial.parent == path.parent
        partial.write_bytes(b"half")
        assert path.read_bytes() == b"old"
        raise OSError("the disk is full")


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.fits"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="full"):
        _fill_the_disk(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    with whole_file(path, keep=False) as partial:
        partial.write_bytes(b"tried")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_errors_name_the_file_and_not_its_partial_one(tmp_path):
    path = tmp_path / "a.fits"
    with (
        pytest.raises(OSError, match=r"a\.fits cannot be written: No space left"),
        new_file(path, overwrite=False),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match=r"there.a\.fits cannot be written: No such file"):
        write_whole(tmp_path / "there" / "a.fits", b"new")
    path.write_bytes(b"old")
    with pytest.raises(FileExistsError, match=r"a\.fits exists already"), new_file(path, overwrite=False):
        pass
    assert path.read_bytes() == b"old"
