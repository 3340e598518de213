"""Lines that users write on a result: of all rows, and with rows that could not be served."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy import units as u
from contract import values_of

from hifrac import HIFractionEstimator, LocalCutouts
from hifrac.core import read_table, write_table
from hifrac.demo import PICTURES, sample_table


def predict(rows, overwrite=False):
    with LocalCutouts(PICTURES, name="name") as cutouts:
        return HIFractionEstimator(cutouts=cutouts).predict(rows, overwrite=overwrite)


@pytest.fixture(scope="module")
def results():
    whole = sample_table()[3:12]
    failed = sample_table()[3:15]
    failed["name"][4] = "no-such-picture"
    failed["ra"][7] = np.nan  # a mass without a fraction
    failed["log_mstar"][9] = np.nan  # a fraction without a mass
    return {"whole": predict(whole), "failed": predict(failed)}


@pytest.fixture(params=["whole", "failed"])
def result(request, results):
    return results[request.param]


@pytest.fixture
def plot():
    yield plt
    plt.close("all")


def test_a_histogram(result, plot):
    counts, _, _ = plot.hist(result["log_hi_fraction"])
    assert counts.sum() == np.isfinite(values_of(result["log_hi_fraction"])).sum() >= 9


def test_a_comparison(result):
    is_poor = result["log_hi_fraction"] < -0.5
    values = values_of(result["log_hi_fraction"])
    assert is_poor.sum() == (values < -0.5).sum() > 0
    assert len(result[is_poor]) == is_poor.sum()


def test_a_fraction_that_is_no_logarithm(result):
    np.testing.assert_allclose(
        values_of(10 ** result["log_hi_fraction"]), 10 ** values_of(result["log_hi_fraction"])
    )


def test_a_sum(result):
    total = result["log_hi_fraction"] + result["log_mstar"]
    np.testing.assert_array_equal(values_of(total), values_of(result["log_mhi"]))
    assert np.isfinite(values_of(total)).sum() >= 9


def test_a_selection(result):
    heavy = result[result["log_mhi"] > 9]
    assert len(heavy) == (values_of(result["log_mhi"]) > 9).sum() > 0
    assert np.all(values_of(heavy["log_mhi"]) > 9)


def test_a_scatter_plot(result, plot):
    points = plot.scatter(result["log_mstar"], result["log_hi_fraction"]).get_offsets()
    is_drawn = np.isfinite(np.ma.filled(points, np.nan)).all(axis=1)
    np.testing.assert_array_equal(is_drawn, np.isfinite(values_of(result["log_mhi"])))
    plot.savefig(io.BytesIO(), format="png")


def test_a_data_frame(result):
    pytest.importorskip("pandas")
    frame = result.to_pandas()
    assert list(frame.columns) == result.colnames
    for name in ("log_hi_fraction", "log_mstar", "log_mhi", "p_detect"):
        np.testing.assert_array_equal(frame[name].to_numpy(float), values_of(result[name]))
    assert frame["flags"].tolist() == result["flags"].tolist()


def test_the_residual_of_a_catalogue_with_units():
    rows = sample_table()[:3]
    rows["log_hi_fraction_measured"] = [-1.0, -0.9, -0.8] * u.dex
    result = predict(rows)
    residual = result["log_hi_fraction"] - result["log_hi_fraction_measured"]
    expected = values_of(result["log_hi_fraction"]) - values_of(rows["log_hi_fraction_measured"])
    np.testing.assert_allclose(values_of(residual), expected)
    assert result["log_hi_fraction_measured"].description == "[dex]"
    assert rows["log_hi_fraction_measured"].unit == u.dex


def test_logarithms_are_printed_to_two_decimals_and_written_whole(results, tmp_path):
    result = results["failed"]
    values = values_of(result["log_hi_fraction"])
    printed = str(result["log_hi_fraction"]).split()
    assert [text for text in printed if text[-1].isdigit()] == [
        f"{v:.2f}" for v in values[np.isfinite(values)]
    ]
    for extension in ("ecsv", "csv", "fits", "vot"):
        path = tmp_path / f"result.{extension}"
        write_table(result, path)
        np.testing.assert_array_equal(values_of(read_table(path)["log_mhi"]), values_of(result["log_mhi"]))


def test_a_result_read_from_a_file_is_estimated_again(results, tmp_path):
    write_table(results["failed"], tmp_path / "first.fits")
    first = read_table(tmp_path / "first.fits")
    again = predict(first, overwrite=True)
    np.testing.assert_array_equal(values_of(again["log_mhi"]), values_of(first["log_mhi"]))
    assert again["log_mhi"].description == "HI mass, log_hi_fraction + log_mstar [dex(solMass)]"
    assert again["log_mstar"].description.count("[dex(solMass)]") == 1
