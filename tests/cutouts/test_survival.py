"""Downloads survive a bad service, its restart, sudden death, company, and Ctrl-C.

The long version, with ten thousand rows, is ``benchmarks/survival.py``.
"""

import os
import signal
import sqlite3
from collections import Counter
from contextlib import closing

import pytest
from survey_server import FAULTS, ServerLog, SurveyServer, canonical, is_outside, picture_at
from survival import CONNECTIONS, SurveyProcess, Trial, positions

from hifrac import images
from hifrac.core.exceptions import RowError

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")]


def trial_of(folder, rows, rate=80):
    """A table and a client that may ask so many times a second; the service is up to the test."""
    return Trial(folder, *positions(rows, seed=3), rate=rate)


def failed(checks):
    return [str(check) for check in checks if not check.passed]


def test_a_bad_service_its_restart_and_sudden_death_cost_no_picture(tmp_path):
    trial = trial_of(tmp_path, 250)
    with SurveyProcess(trial.log, seed=53) as trial.server:
        trial.live(kills=[0.3], restarts=[0.6])
        assert failed(trial.checks(late=CONNECTIONS)) == []
    assert trial.stored().keys() == trial.pictures
    assert len(ServerLog.read(trial.log).answers.keys() & FAULTS.keys()) >= 20
    assert [client.process.returncode for client in trial.clients][:2] == [-signal.SIGKILL, 0]


def test_each_kind_of_fault_costs_no_row(tmp_path):
    trial = trial_of(tmp_path, 60)
    with SurveyProcess(trial.log, each=1) as trial.server:
        assert trial.fetch().wait(60) == 0
        assert failed(trial.checks(late=CONNECTIONS)) == []
    assert trial.stored().keys() == trial.pictures
    assert ServerLog.read(trial.log).answers.keys() >= {"picture", *FAULTS}


def test_two_clients_at_once_share_one_store_and_one_limit(tmp_path):
    trial = trial_of(tmp_path, 600, rate=160)
    with SurveyProcess(trial.log, seed=4, faults=0.3) as trial.server:
        clients = trial.fetch(), trial.fetch()
        assert [client.wait(60) for client in clients] == [0, 0]
        assert [trial.wrong_rows(client) for client in clients] == [0, 0]
        # Two that want the same pictures meet now and then, at the end of the list above all.
        assert failed(trial.checks(asked_again=0.05, late=CONNECTIONS, connections=2 * CONNECTIONS)) == []
    assert trial.stored().keys() == trial.pictures


def test_a_client_that_is_stopped_for_a_while_starves_no_other(tmp_path):
    trial = trial_of(tmp_path, 150)
    with SurveyProcess(trial.log, faults=0) as trial.server:
        stopped = trial.fetch()
        trial.wait_for_pictures(20, stopped)
        trial.stop(stopped)
        try:
            other = trial.fetch()
            assert other.wait(30) == 0
        finally:
            stopped.process.send_signal(signal.SIGCONT)
        assert stopped.wait(30) == 0
        assert [trial.wrong_rows(client) for client in (stopped, other)] == [0, 0]


def test_an_interrupt_keeps_what_is_there_and_says_so(tmp_path):
    trial = trial_of(tmp_path, 120)
    with SurveyProcess(trial.log, faults=0) as trial.server:
        client = trial.fetch()
        trial.wait_for_pictures(30, client)
        client.interrupt()
        assert client.wait(10) == 130
        assert "Traceback" not in client.stderr
        assert len(client.stderr.splitlines()) == 1
        stored = trial.stored()
        assert 20 <= len(stored) < len(trial.pictures)
        assert trial.wrong_files() == 0
        noted = 0
        for shard in trial.cache.glob("cutouts/*/*.sqlite"):
            with closing(sqlite3.connect(shard)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                (count,) = connection.execute("SELECT COUNT(*) FROM positions WHERE outcome = 1").fetchone()
                noted += count
        assert noted == len(stored)
        again = trial.fetch()
        assert again.wait(30) == 0
        assert trial.wrong_rows(again) == 0


# The yardstick itself: what the server claims to do, it does.


def test_the_pictures_of_the_service_are_pictures_and_differ_by_position():
    here, there = picture_at(("1.000000", "2.000000")), picture_at(("1.000001", "2.000000"))
    assert here != there
    assert images.decode(here, width=128).shape == (128, 128, 3)
    with pytest.raises(RowError):
        images.decode(here[:-40], width=128)


def test_positions_are_named_as_the_client_names_them():
    assert canonical(-0.0001, -0.0) == ("359.999900", "0.000000")
    assert canonical(359.99999999, -1e-9) == ("0.000000", "0.000000")
    assert canonical(-180.0, -90.0) == ("180.000000", "-90.000000")


def test_misbehaviour_is_decided_by_seed_position_and_number_alone(tmp_path):
    places = [canonical(ra / 10, 0.0) for ra in range(1500)]
    first = SurveyServer(tmp_path / "first", seed=1)
    forward = {(place, number): first.decide(place) for place in places for number in range(2)}
    second = SurveyServer(tmp_path / "second", seed=1)
    backward = {(place, number): second.decide(place) for number in range(2) for place in reversed(places)}
    assert forward == backward
    other = SurveyServer(tmp_path / "other", seed=2)
    assert [other.decide(place) for place in places] != [forward[place, 0] for place in places]
    counts = Counter(answer for answer, _ in forward.values())
    for fault, share in FAULTS.items():
        expected = share * len(forward)
        assert counts[fault] == pytest.approx(expected, abs=4 * expected**0.5), fault
    assert all(is_outside(place) for (place, _), (answer, _) in forward.items() if answer == "outside")


def test_a_restarted_server_knows_how_often_it_was_asked(tmp_path):
    place = canonical(10.0, 20.0)
    first = SurveyServer(tmp_path / "log")
    for _ in range(3):
        first.note("asked", 1.0, *place, first.decide(place)[0], 1)
    second = SurveyServer(tmp_path / "log")
    assert [first.decide(place) for _ in range(5)] == [second.decide(place) for _ in range(5)]


def test_the_log_counts_what_matters(tmp_path):
    log, place, other = SurveyServer(tmp_path / "log"), canonical(1.0, 2.0), canonical(3.0, 4.0)
    for at, what in ((10.0, place), (10.4, other), (10.9, place), (11.05, other), (12.5, place)):
        log.note("asked", at, *what, "picture", 1)
    log.note("accepted", 10.0, 1)
    log.note("accepted", 10.1, 3)
    log.note("accepted", 10.2, 2)
    log.note("sent", 10.5, *place)
    read = ServerLog.read(tmp_path / "log")
    assert read.most_in_a_second() == 3
    assert read.most_connections == 3
    assert [(request.time, sent) for request, sent in read.asked_again()] == [(10.9, 10.5), (12.5, 10.5)]
