"""A SQLite file that threads and processes make, damage and write at once."""

import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from hifrac.cutouts._database import Database

SCHEMA = "CREATE TABLE IF NOT EXISTS kept (number INTEGER PRIMARY KEY);"
PROCESSES, ROUNDS, EACH = 4, 8, 3

# Its processes wait for each other by the clock, and then all begin within a millisecond.
WRITER = f"""
import sys, time
from pathlib import Path
from hifrac.cutouts._database import Database

folder, number = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
start = float(sys.stdin.readline())
for turn, path in enumerate(sys.argv[3:]):
    time.sleep(max(0.0, start + turn / 20 - time.time()))
    database = Database(folder / path, {SCHEMA!r})
    for step in range({EACH}):
        database.write([("INSERT INTO kept VALUES (?)", ({EACH} * number + step,))])
        assert (({EACH} * number + step,)) in database.read("SELECT number FROM kept")
    database.close()
"""

DAMAGE = {
    "new": None,
    "empty": b"",
    "text": b"garbage" * 500,
    "header": b"SQLite format 3\0" + b"\xff" * 5000,
}


def numbers(path):
    database = Database(path, SCHEMA)
    found = [number for (number,) in database.read("SELECT number FROM kept ORDER BY number")]
    database.close()
    return found


@pytest.fixture(scope="module")
def written_by_processes(tmp_path_factory):
    """A folder of files that processes began to write at once, for each damage that was there before."""
    folder = tmp_path_factory.mktemp("processes")
    names = [f"{damage}-{turn}.sqlite" for damage in DAMAGE for turn in range(ROUNDS)]
    for name in names:
        content = DAMAGE[name.partition("-")[0]]
        if content is not None:
            (folder / name).write_bytes(content)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), str(number), *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    start = time.time() + 0.1
    for writer in writers:
        writer.stdin.write(f"{start}\n")
        writer.stdin.flush()
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert (writer.returncode, errors) == (0, "")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
def test_processes_that_begin_at_once_lose_nothing(written_by_processes, damage):
    for turn in range(ROUNDS):
        path = written_by_processes / f"{damage}-{turn}.sqlite"
        assert numbers(path) == [*range(PROCESSES * EACH)]
        aside = len([*written_by_processes.glob(f"{path.name}.damaged-*")])
        assert aside == (1 if DAMAGE[damage] else 0)


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
def test_threads_that_begin_at_once_lose_nothing(tmp_path, content):
    for turn in range(20):
        path = tmp_path / f"{turn}.sqlite"
        if content is not None:
            path.write_bytes(content)
        databases = [Database(path, SCHEMA) for _ in range(8)]
        barrier = threading.Barrier(len(databases))
        errors = []

        def write(number, databases=databases, barrier=barrier, errors=errors):
            barrier.wait()
            errors.append(databases[number].write([("INSERT INTO kept VALUES (?)", (number,))]))

        threads = [threading.Thread(target=write, args=(number,)) for number in range(len(databases))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for database in databases:
            database.close()
        assert errors == [None] * len(databases)
        assert numbers(path) == [*range(len(databases))]


def test_damage_is_put_aside_once_and_not_what_came_after(tmp_path):
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"garbage" * 500)
    first, second = Database(path, SCHEMA), Database(path, SCHEMA)
    assert first.read("SELECT number FROM kept") == []
    first.write([("INSERT INTO kept VALUES (1)", ())])
    assert second.read("SELECT number FROM kept") == [(1,)]
    assert [file.read_bytes() for file in tmp_path.glob("*.damaged-*")] == [b"garbage" * 500]


def test_an_error_of_the_statement_is_no_damage(tmp_path):
    path = tmp_path / "a.sqlite"
    database = Database(path, SCHEMA)
    database.write([("INSERT INTO kept VALUES (1)", ())])
    with pytest.raises(sqlite3.Error, match="no such table"):
        database.write([("INSERT INTO lost VALUES (1)", ())])
    with pytest.raises(sqlite3.Error, match="UNIQUE"):
        database.write([("INSERT INTO kept VALUES (2)", ()), ("INSERT INTO kept VALUES (1)", ())])
    assert database.read("SELECT number FROM lost") == []
    assert database.read("SELECT number FROM kept") == [(1,)]  # all of a transaction, or nothing
    assert not [*tmp_path.glob("*.damaged-*")]
