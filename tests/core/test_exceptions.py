"""Warnings, where several threads give them."""

import ast
import threading
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from astropy import units as u
from astropy.table import Column, MaskedColumn

import hifrac
from hifrac import HIFractionEstimator, LocalCutouts, predict_parts
from hifrac.core.exceptions import (
    HifracWarning,
    _filters_lock,
    silenced,
    warn_caller,
    warnings_to,
    without_warnings,
)
from hifrac.demo import PICTURES, sample_table

PACKAGE = Path(hifrac.__file__).parent
# What a command does is done by its process alone; training sets more than filters for all of a process.
ALONE = {"core/exceptions.py", "cli/_shared.py", "cli/doctor.py", "training/cnn/trainer.py"}


def test_warnings_go_to_whoever_listens_in_this_thread():
    heard = []

    def receive(message, category):
        heard.append((message, category))

    with warnings_to(receive):
        warn_caller("heard")
        with without_warnings("un"):
            warn_caller("unheard")
            warn_caller("also heard", UserWarning)
        with ThreadPoolExecutor(1) as thread, pytest.warns(HifracWarning, match="of another thread"):
            thread.submit(warn_caller, "of another thread").result()
    assert heard == [("heard", HifracWarning), ("also heard", UserWarning)]
    with pytest.warns(HifracWarning, match="^after$") as caught, without_warnings("before"):
        warn_caller("after")
    assert caught[0].filename == __file__


def test_threads_that_silence_libraries_leave_the_filters_as_they_were():
    before = list(warnings.filters)
    inside, leave = threading.Event(), threading.Event()

    def first():
        with silenced():
            inside.set()
            leave.wait(10)

    def second():
        inside.wait(10)
        with silenced("nothing"):
            return len(warnings.filters)

    with ThreadPoolExecutor(2) as threads:
        threads.submit(first)
        other = threads.submit(second)
        inside.wait(10)
        leave.set()
        assert other.result() == len(before) + 1
    assert warnings.filters == before


def test_filters_are_changed_in_one_place():
    places = set()
    for path in PACKAGE.rglob("*.py"):
        names = {getattr(node, "attr", "") for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))}
        if "catch_warnings" in names:
            places.add(path.relative_to(PACKAGE).as_posix())
    assert places == ALONE


def test_neither_estimates_nor_maps_change_filters(monkeypatch):
    """Not even by way of a library, which would not ask for our lock."""
    estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
    table = sample_table()[:3]
    table["magnitude"] = MaskedColumn([17.0, 16.0, 15.0], unit=u.mag, mask=[False, True, False])
    table["text"] = Column(["a", "b", "c"], unit="m")

    def work():
        result = estimator.predict(table)
        estimator.explain(table)[0].map.wcs.to_header()
        return result

    work()  # what is imported on the way may
    changes = []
    enter = warnings.catch_warnings.__enter__

    def note(catching):
        if not _filters_lock._is_owned():
            changes.append("".join(traceback.format_stack()))
        return enter(catching)

    monkeypatch.setattr(warnings.catch_warnings, "__enter__", note)
    result = work()
    assert not changes, changes[0]
    assert (result["text"].unit, result["text"].tolist()) == (u.m, ["a", "b", "c"])


def test_calls_at_the_same_time_keep_their_warnings_apart(tmp_path):
    """One call begins within another, and ends after it: the filters are those of before, and all is said."""
    table = sample_table()[["name", "ra", "dec"]][:4]
    for axis in ("ra", "dec"):
        table[axis].unit = None
    table["name"][2] = "nothing"
    began, ended = threading.Event(), threading.Event()

    class Waiting(LocalCutouts):
        def __init__(self, before, after=None):
            super().__init__(PICTURES, name="name")
            self.before, self.after = before, after

        def fetch(self, *args, **options):
            if self.after is not None:
                self.after.set()
            assert self.before.wait(10)
            return super().fetch(*args, **options)

    def call(name, cutouts):
        estimator = HIFractionEstimator(cutouts=cutouts)
        predict_parts(table, tmp_path / name, estimator=estimator, rows_per_part=2)
        ended.set()

    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(2) as threads:
        warnings.simplefilter("always")
        within = list(warnings.filters)
        calls = [
            threads.submit(call, "first", Waiting(began)),
            threads.submit(call, "second", Waiting(ended, began)),
        ]
        for running in calls:
            running.result()
        assert warnings.filters == within
        warnings.warn("later", HifracWarning, stacklevel=1)
    assert warnings.filters == before
    texts = [str(warning.message).split(",")[0].split(":")[0] for warning in caught]
    assert sorted(texts) == sorted(
        2 * ["ra and dec have no unit", "1 of 4 rows have no estimate"] + ["later"]
    )
