"""One partition: the same answers as of a table, in the columns that were announced."""

import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from contract import assert_same_results, values_of
from hats_catalogs import estimates

import hifrac
from hifrac import HIFractionEstimator, LocalCutouts, MetallicityEstimator, SpectrumEstimator, conf
from hifrac.core.shapes import as_table
from hifrac.demo import PICTURES
from hifrac.hats import predict_partition, result_meta
from hifrac.hats._shipped import ShippedEstimator, shipping
from hifrac.models.calibration import ConformalTable, ConformalTables


@pytest.mark.numeric
def test_a_partition_has_the_answers_of_a_table(frame, estimator, at_once):
    moved = frame.set_index(pd.Index(np.arange(36)[::-1], name="_healpix_29"))
    with pytest.warns(hifrac.core.HifracWarning, match="2 of 36 rows have no estimate"):
        result = predict_partition(moved, estimator)
    pd.testing.assert_frame_equal(result[list(moved.columns)], moved)
    assert list(result.columns) == at_once.colnames
    assert_same_results(as_table(result.reset_index(drop=True)), at_once)
    meta = result_meta(estimator.model.card, moved)
    pd.testing.assert_series_equal(result.dtypes, meta.dtypes)
    assert result["log_hi_fraction"].isna().sum() == result["evidence"].isna().sum() == 2


@pytest.mark.numeric
@pytest.mark.parametrize("estimator_class", [MetallicityEstimator, SpectrumEstimator])
def test_other_quantities(frame, estimator_class):
    estimator = estimator_class(cutouts=LocalCutouts(PICTURES, name="name"))
    rows = frame.iloc[:5]
    result, expected = predict_partition(rows, estimator), estimates(estimator, rows)
    assert np.count_nonzero(expected["flags"] == hifrac.Flag.FETCH_FAILED) == 1
    assert list(result.columns) == expected.colnames
    for name in expected.colnames[len(rows.columns) :]:
        if name != "evidence":
            actual = np.array([np.nan if value is pd.NA else value for value in result[name]], dtype=object)
            actual = np.array([np.broadcast_to(value, expected[name].shape[1:]) for value in actual], float)
            np.testing.assert_allclose(actual, values_of(expected[name]), rtol=1e-5, atol=1e-5, err_msg=name)


def test_a_partition_without_rows_has_all_columns(frame, estimator):
    result = predict_partition(frame.iloc[:0], estimator, samples=3)
    pd.testing.assert_frame_equal(result, result_meta(estimator.model.card, frame, samples=3))
    assert str(result.dtypes["log_hi_fraction_samples"]) == "list<item: double>[pyarrow]"
    assert "log_mhi" in result
    assert "log_mhi" not in result_meta(estimator.model.card, frame.drop(columns="log_mstar"))


def test_draws_and_what_has_lists_already(frame, estimator):
    spectra = pd.arrays.ArrowExtensionArray(pytest.importorskip("pyarrow").array([[1.0, 2.0]] * 2))
    rows = frame.iloc[:2].assign(flux=spectra)
    result = predict_partition(rows, estimator, samples=4)
    assert np.shape(result["log_hi_fraction_samples"].tolist()) == (2, 4)
    assert result["flux"].tolist() == rows["flux"].tolist()


def test_a_second_quantity_keeps_the_flags_of_the_first(frame, estimator):
    metallicity = MetallicityEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
    first = predict_partition(frame.iloc[:2], estimator)
    with pytest.raises(ValueError, match="result columns evidence, ood_score, flags already"):
        predict_partition(first, metallicity)
    anew = predict_partition(first.assign(log_hi_fraction=1.0), estimator, replace_columns=True)
    pd.testing.assert_frame_equal(anew, first, rtol=0, atol=1e-5)
    second = predict_partition(first, metallicity, replace_columns=True)
    assert second["log_hi_fraction_flags"].tolist() == first["flags"].tolist()
    assert {"log_hi_fraction", "oh", "flags"} <= set(second.columns)
    pd.testing.assert_series_equal(
        second.dtypes, result_meta(metallicity.model.card, first, replace_columns=True).dtypes
    )


def test_a_service_is_asked_only_where_that_is_allowed(frame):
    with pytest.raises(ValueError, match=r"asks a survey service \(SDSS SkyServer.*allow_fetch=True"):
        predict_partition(frame, HIFractionEstimator())
    with pytest.raises(ValueError, match="photometry='sdss'"):
        predict_partition(
            frame, HIFractionEstimator(photometry="sdss", cutouts=LocalCutouts(PICTURES, name="name"))
        )
    with conf.set_temp("offline", True), pytest.warns(hifrac.core.HifracWarning, match="2 of 2 rows"):
        result = predict_partition(frame.iloc[:2], HIFractionEstimator())  # from the store alone
    assert result["flags"].tolist() == [hifrac.Flag.FETCH_FAILED] * 2


def test_columns_are_told_without_pytorch():
    script = """
import sys, pandas
from hifrac import list_models
from hifrac.hats import result_meta
for card in list_models():
    assert result_meta(card, pandas.DataFrame({"ra": [1.0], "dec": [2.0]}))[card.target_column].empty
assert "torch" not in sys.modules and "dask" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)


@pytest.mark.parametrize("estimator_class", [HIFractionEstimator, MetallicityEstimator, SpectrumEstimator])
def test_an_estimator_travels_as_a_name_and_parameters(estimator_class):
    estimator = estimator_class(cutouts=LocalCutouts(PICTURES, name="name"), batch_size=7)
    data = pickle.dumps(ShippedEstimator.of(estimator))
    assert len(data) < 2000  # bytes
    assert str(estimator.model.folder).encode() not in data  # another computer has it elsewhere
    arrived = pickle.loads(data)._estimator()
    assert repr(arrived) == repr(estimator)
    assert arrived.batch_size == 7
    assert pickle.loads(data)._estimator() is arrived  # made once
    with shipping(estimator) as shipped:
        assert pickle.loads(pickle.dumps(shipped))._estimator() is estimator  # in the same process


def test_settings_are_in_force_until_the_last_thread_is_done(frame, estimator):
    """One partition begins within another, and ends after it."""
    began, ended = threading.Event(), threading.Event()
    settings = []

    class Waiting(LocalCutouts):
        def fetch(self, ra, *args, **options):
            if len(ra) == 1:
                began.set()
                assert ended.wait(10)
            assert began.wait(10)
            settings.append((conf.offline, conf.max_rate))
            return super().fetch(ra, *args, **options)

    waiting = HIFractionEstimator(estimator.model, cutouts=Waiting(PICTURES, name="name"))
    before = conf.offline, conf.max_rate
    with shipping(waiting, offline=True, max_rate=3.0) as shipped, ThreadPoolExecutor(2) as threads:
        first = threads.submit(shipped.predict, frame.iloc[:2])
        second = threads.submit(shipped.predict, frame.iloc[:1])
        assert len(first.result()) == 2
        ended.set()
        assert len(second.result()) == 1
    assert settings == [(True, 3.0)] * 2
    assert (conf.offline, conf.max_rate) == before


def test_the_model_of_a_folder_travels_as_its_path(tmp_path, monkeypatch, estimator):
    (tmp_path / "mine").symlink_to(estimator.model.folder)
    monkeypatch.chdir(tmp_path)
    model = hifrac.load_model("mine")
    shipped = ShippedEstimator.of(HIFractionEstimator(model, selection="alfalfa", cutouts=estimator.cutouts))
    monkeypatch.chdir("/")
    assert shipped._estimator().model.folder == tmp_path / "mine"
    assert shipped._estimator().selection == "alfalfa"
    with pytest.raises(hifrac.core.ModelError, match="is another one in this worker"):
        replace(shipped, token="other", sha256="0" * 64)._estimator()


def test_a_model_of_several_targets_has_the_columns_of_each():
    table = ConformalTable.from_residuals(np.linspace(-1, 1, 100))
    tables = ConformalTables(
        columns=("age", "dust"), n=(table.n, table.n), levels=table.levels, values=(table.values,) * 2
    )
    card = replace(
        hifrac.list_models()[0],
        architecture="shallow",
        inputs=("pixels",),
        outputs=("estimate", "estimate_2"),
        target_column="age",
        calibration=tables,
        detection=None,
    )
    meta = result_meta(card, pd.DataFrame({"ra": [1.0], "dec": [2.0]}))
    assert {"age", "age_p16", "dust", "dust_p16", "dust_p95"} < set(meta.columns)
