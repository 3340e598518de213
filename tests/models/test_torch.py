"""What a process has set for all of PyTorch changes nothing in the answers."""

import gc
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress

import numpy as np
import pytest
import torch
from forked import Child

from hifrac import HIFractionEstimator, LocalCutouts, conf
from hifrac.demo import PICTURES, sample_table
from hifrac.models._passes import _pool, side_by_side
from hifrac.models._torch import n_threads, plain_torch

TABLE = sample_table()[[3, 9]]


@contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device():
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)
        # PyTorch 2.8 and 2.9 keep its place, over which get_default_device falls.
        vars(torch._GLOBAL_DEVICE_CONTEXT).pop("device_context", None)


@contextmanager
def products_in_less():
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


STATES = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "products": products_in_less,
    "device": default_device,
    "device context": lambda: torch.device("meta"),
    "inference": torch.inference_mode,
    "no gradients": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


def estimator(model):
    return HIFractionEstimator(model, cutouts=LocalCutouts(PICTURES, name="name"), device="cpu")


def columns(result):
    names = [name for name in result.colnames if name.startswith(("log_hi", "p_detect", "ood"))]
    return np.array([np.ma.filled(np.ma.asarray(result[name].filled(np.nan).value)) for name in names])


@pytest.fixture(scope="module", params=["default", "gas-classes"])
def plain(request):
    loaded = estimator(request.param)
    method = "cam" if request.param == "default" else "gradcam"
    target = "log_hi_fraction" if request.param == "default" else "gas-rich"
    explain = {"method": method, "target": target}
    first = loaded.explain(TABLE, **explain)[1]
    return request.param, loaded, explain, columns(loaded.predict(TABLE)), first.values, first.prediction


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("is_loaded_within", [False, True])
def test_states_change_nothing(plain, state, is_loaded_within):
    model, loaded, explain, numbers, values, prediction = plain
    with STATES[state]():
        tested = estimator(model) if is_loaded_within else loaded
        result, explanation = tested.predict(TABLE), tested.explain(TABLE, **explain)[1]
    np.testing.assert_allclose(columns(result), numbers, atol=1e-5)
    np.testing.assert_allclose(explanation.values, values, atol=1e-5)
    assert explanation.prediction == pytest.approx(prediction, abs=1e-5)
    if is_loaded_within:  # and the model is as good outside
        np.testing.assert_allclose(columns(tested.predict(TABLE)), numbers, atol=1e-5)
        np.testing.assert_allclose(tested.explain(TABLE, **explain)[1].values, values, atol=1e-5)


def test_the_state_is_found_again():
    with default_dtype(torch.float64), torch.autocast("cpu", dtype=torch.bfloat16):
        with suppress(RuntimeError), plain_torch():
            within = torch.zeros(1).dtype, torch.is_autocast_enabled("cpu")
            raise RuntimeError
        assert within == (torch.float32, False)
        assert torch.zeros(1).dtype == torch.float64
        assert torch.is_autocast_enabled("cpu")


def test_what_is_new_stays_new_for_the_collection_of_garbage():
    gc.collect()
    new = [[]]
    with plain_torch():
        pass
    assert not any(thing is new for thing in gc.get_objects(generation=2))


def test_products_are_in_full_within():
    matmul = getattr(torch.backends.mkldnn, "matmul", None)  # PyTorch 2.9
    with products_in_less():
        with plain_torch():
            within = torch.get_float32_matmul_precision() if matmul is None else matmul.fp32_precision
        assert within in ("highest", "ieee")
        assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.parametrize("more", [0, 1])
def test_the_threads_are_those_of_the_configuration_within(more):
    before = torch.get_num_threads()
    with conf.set_temp("threads", more * (before + 1)), plain_torch():
        assert torch.get_num_threads() == before + more
    assert torch.get_num_threads() == before


def test_the_default_type_comes_back_after_the_last_thread():
    entered, leave = threading.Event(), threading.Event()

    def compute():
        with plain_torch():
            entered.set()
            leave.wait(30)

    with default_dtype(torch.float64):
        other = threading.Thread(target=compute)
        with plain_torch():
            other.start()
            assert entered.wait(30)
        assert torch.get_default_dtype() == torch.float32  # the other still needs it
        leave.set()
        other.join()
        assert torch.get_default_dtype() == torch.float64


def test_the_number_of_threads_is_the_users_whatever_other_threads_do():
    before = torch.get_num_threads()
    entered, leave, seen = threading.Event(), threading.Event(), []

    def compute():
        with plain_torch(threads=before + 2):
            seen.append(n_threads())
            entered.set()
            leave.wait(30)

    other = threading.Thread(target=compute)
    with plain_torch(threads=before + 1):
        assert n_threads() == before
        other.start()
        assert entered.wait(30)
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    leave.set()
    other.join()
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [before, before]


def passes_of(count, threads, size=16):
    """What the passes of so many rows are, each with what is set in it; two of them wait for each other."""
    meeting = threading.Barrier(min(2, threads))

    def work(rows):
        if rows.start < 2 * (rows.stop - rows.start):
            meeting.wait(30)
        return rows, torch.get_num_threads(), torch.is_inference_mode_enabled(), torch.zeros(1).dtype

    with conf.set_temp("threads", threads), plain_torch():
        return side_by_side(work, count, size)


@pytest.mark.parametrize(
    ("count", "threads", "sizes"),
    [
        (40, 1, [16, 16, 8]),
        (40, 2, [16, 16, 8]),
        (40, 3, [14, 14, 12]),
        (40, 9, [8, 8, 8, 8, 8]),  # no smaller ones, though there are threads for them
        (1, 1, [1]),
        (0, 1, [0]),
    ],
)
def test_passes_are_side_by_side_and_alike(count, threads, sizes):
    before = torch.get_num_threads()
    with default_dtype(torch.float64):
        parts = passes_of(count, threads)
    rows = np.arange(count)
    assert [len(rows[part]) for part, *_ in parts] == sizes
    np.testing.assert_array_equal(np.concatenate([rows[part] for part, *_ in parts]), rows)
    assert {tuple(settings) for _, *settings in parts} == {(1, True, torch.float32)}
    assert torch.get_num_threads() == before


def test_the_error_of_a_pass_is_the_error_of_all():
    def work(rows):
        raise ValueError(f"pass from {rows.start}")

    with conf.set_temp("threads", 2), pytest.raises(ValueError, match=r"^pass from 0$"):
        side_by_side(work, 40, 16)
    assert len(passes_of(40, 2)) == 3  # and the threads are still there


def test_threads_for_another_number_end():
    for threads in (2, 3, 4, 2):
        assert len(passes_of(40, threads)) >= 3
    for thread in threading.enumerate():
        if thread.name.startswith("hifrac-pass") and thread not in _pool(2)._threads:
            thread.join(30)
    assert sum(thread.name.startswith("hifrac-pass") for thread in threading.enumerate()) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="no forks here")
def test_there_are_passes_after_a_fork():
    passes_of(40, 2)
    assert len(Child(lambda: passes_of(40, 2)).result()) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="no forks here")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_process_answers_as_its_parent(threads):
    tested, table = estimator("default"), sample_table()
    with conf.set_temp("threads", threads):
        expected = columns(tested.predict(table))  # OpenMP has threads from here on

        np.testing.assert_allclose(
            Child(lambda: columns(tested.predict(table))).result(), expected, atol=1e-5
        )


_EXPLAINED = """
import os
import numpy as np
from hifrac import HIFractionEstimator, LocalCutouts
from hifrac.demo import PICTURES, sample_table
estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
estimator.predict(sample_table())
child = os.fork()
if not child:
    (explanation,) = estimator.explain(sample_table()[:1])
    os._exit(0 if np.isfinite(explanation.values).all() else 1)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="no forks here")
def test_a_forked_process_explains():
    # Of a new process: PyTorch has no derivatives in a child whose parent ever had any.
    subprocess.run([sys.executable, "-W", "ignore", "-c", _EXPLAINED], check=True, timeout=120)


@pytest.mark.skipif(sys.platform != "linux", reason="no forks here")
def test_a_forked_process_has_the_settings_of_the_user():
    entered, leave = threading.Event(), threading.Event()

    def compute():
        with plain_torch(threads=3):
            entered.set()
            leave.wait(30)

    def look():
        torch.set_num_threads(5)
        return torch.get_default_dtype(), n_threads()

    with default_dtype(torch.float64):
        other = threading.Thread(target=compute)
        other.start()
        assert entered.wait(30)
        assert Child(look).result() == (torch.float64, 5)
        leave.set()
        other.join()
