"""Processes that were forked: what the parent has open is not shared, and no lock is held for ever."""

import os
import tarfile
import threading
import time
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from forked import Child

from hifrac import LocalCutouts
from hifrac.core.exceptions import silenced
from hifrac.cutouts._database import Database
from hifrac.cutouts._turns import Turns
from hifrac.demo import PICTURES, sample_table

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
_COUNTING = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400000) SELECT MAX(i) FROM n"
)


def archive(path):
    files = sorted(PICTURES.glob("*.jpg"))
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as collection:
            for file in files:
                collection.write(file, file.name)
    else:
        with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as collection:
            for file in files:
                collection.add(file, file.name)
    return path


@pytest.mark.parametrize("name", ["pictures.zip", "pictures.tar", "pictures.tar.gz"])
def test_an_archive_is_read_by_both_processes(tmp_path, name):
    names = sample_table()["name"][:20]
    nowhere = [0.0] * len(names)
    source = LocalCutouts(archive(tmp_path / name), name="name")

    def read(repeats=20):
        return [cutout.data for _ in range(repeats) for cutout in source.fetch(nowhere, nowhere, names)]

    expected = read(1)
    child = Child(lambda: read() == 20 * expected)
    assert read() == 20 * expected
    source.close()
    assert child.result()


def test_a_database_is_let_go_of_before_a_fork(tmp_path):
    """A connection, and a lock that another thread has at the moment, would be the child's for ever."""
    database = Database(tmp_path / "file.sqlite", "CREATE TABLE IF NOT EXISTS t (i INTEGER PRIMARY KEY);")
    database.write([("INSERT INTO t VALUES (?)", (1,))])
    connection = database._connection
    with ThreadPoolExecutor(1) as thread:
        counted = thread.submit(database.read, _COUNTING)
        time.sleep(0.02)

        def work():
            database.write([("INSERT INTO t VALUES (?)", (2,))])
            return database._connection is connection

        child = Child(work)
        assert counted.result() == [(400000,)]
    database.write([("INSERT INTO t VALUES (?)", (3,))])
    assert child.result() is False
    assert database.read("SELECT i FROM t ORDER BY i") == [(1,), (2,), (3,)]
    assert database.read("PRAGMA integrity_check") == [("ok",)]


def test_turns_are_shared_with_a_child(tmp_path):
    turns = Turns("example.org", tmp_path / "turns.sqlite")
    assert turns.reserve(0.01) == 0
    child = Child(lambda: turns.reserve(0.01))
    assert 90 < child.result() < 110
    assert 190 < turns.reserve(0.01) < 220
    in_memory = Turns("example.org")
    in_memory.pause(50)
    child = Child(in_memory.paused)
    assert 40 < child.result() <= 50
    assert 40 < in_memory.paused() <= 50


def test_filters_of_warnings_are_not_those_of_a_thread_of_the_parent():
    inside = threading.Event()

    def silence():
        with silenced():
            inside.set()
            time.sleep(0.2)

    def work():
        with silenced("other"):
            return len(warnings.filters) - len(before)

    before = list(warnings.filters)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(silence)
        inside.wait(10)
        child = Child(work)
    assert child.result() == 1
