"""What the estimator makes of evidence beside the picture, and how it answers for a sample."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn
from contract import assert_same_results, texts_of, values_of
from scipy.special import ndtri

from hifrac import Flag, HIFractionEstimator, LocalCutouts, load_model
from hifrac.core.tables import read_table, write_table
from hifrac.demo import PICTURES, sample_table

pytestmark = pytest.mark.numeric

#: Columns of each table, and the evidence that they are.
COLUMNS = {
    "z": ({"z": 0.02}, "z"),
    "photometry": ({"g_minus_i": 0.8, "i": 15.0}, "photometry"),
    "axis_ratio": ({"axis_ratio": 0.4}, "axis_ratio"),
    "log_mstar": ({"log_mstar": 9.5}, "log_mstar"),
    "log_mhi_limit": ({"log_mhi_limit": 8.5}, "log_mhi_limit"),
}


@pytest.fixture(scope="module")
def model():
    return load_model("default", device="cpu")


@pytest.fixture(scope="module")
def shallow(tmp_path_factory):
    """A model without distributions."""
    from model_files import write

    folder = tmp_path_factory.mktemp("models") / "shallow"
    write(folder, "shallow")
    return load_model(folder, device="cpu")


def galaxies(n=24, **columns):
    """The first pictures of the demonstration, with other columns."""
    table = sample_table()["name", "ra", "dec"][:n]
    for name, values in columns.items():
        table[name] = values
    return table


def predict(model, table, *, selection=None, mass_scale=None, batch_size=None, **options):
    estimator = HIFractionEstimator(
        model,
        selection=selection,
        mass_scale=mass_scale,
        batch_size=batch_size,
        cutouts=LocalCutouts(PICTURES, name="name"),
    )
    return estimator.predict(table, **options)


def medians(*arguments, **options):
    return values_of(predict(*arguments, **options)["log_hi_fraction"])


# Evidence


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("selection", ["intrinsic", "alfalfa", "undetected"])
def test_every_piece_of_evidence_counts_in_its_row_alone(model, name, selection):
    columns, text = COLUMNS[name]
    mask = np.arange(6) % 2 == 0
    some = {key: MaskedColumn(np.full(6, value), mask=mask) for key, value in columns.items()}
    result = predict(model, galaxies(6, **some), selection=selection)
    assert result["evidence"].tolist() == ["picture", f"picture+{text}"] * 3
    without = predict(model, galaxies(6), selection=selection)
    assert_same_results(result[mask], without[mask])
    changed = values_of(result["log_hi_fraction"]) != values_of(without["log_hi_fraction"])
    # Of detected galaxies the mass tells the width alone.
    if (name, selection) != ("log_mstar", "alfalfa"):
        assert changed[~mask].all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -99.0])
@pytest.mark.parametrize("name", ["z", "g_minus_i", "i", "axis_ratio", "log_mhi_limit"])
@pytest.mark.filterwarnings("ignore::hifrac.core.HifracWarning")
def test_what_cannot_be_is_not_used(model, name, bad):
    columns = {"z": 0.02, "g_minus_i": 0.8, "i": 15.0, "axis_ratio": 0.4, "log_mhi_limit": 9.0}
    columns[name] = bad
    result = predict(model, galaxies(2, **columns))
    del columns[name]
    assert_same_results(result, predict(model, galaxies(2, **columns)))


def test_a_redshift_and_magnitudes_are_used_together(model):
    result = predict(model, galaxies(2, redshift=0.02, mag_g=16.0, mag_i=15.2, ebv=0.1))
    assert result["evidence"].tolist() == ["picture+z+photometry"] * 2
    corrected = galaxies(2, z=0.02, g_minus_i=0.8 - 1.605 * 0.1, i=15.2 - 1.698 * 0.1, ebv=0.1)
    assert_same_results(result, predict(model, corrected))


def test_redder_and_fainter_limits_lower_the_estimate(model):
    blue, red = (medians(model, galaxies(5, z=0.02, g_minus_i=colour, i=15.0)) for colour in (0.5, 1.1))
    assert (blue > red + 0.5).all()
    free = medians(model, galaxies(5, log_mstar=10.0))
    for limit in (10.5, 9.5, 8.5):
        cut = predict(model, galaxies(5, log_mstar=10.0, log_mhi_limit=limit))
        assert (values_of(cut["log_hi_fraction_p95"]) < limit - 10.0).all()
        assert (values_of(cut["log_hi_fraction"]) <= free + 1e-9).all()
        free = values_of(cut["log_hi_fraction"])


def test_rows_without_a_picture_have_no_evidence(model):
    result = predict(model, sample_table()[-2:])
    assert np.asarray(result["evidence"].mask).tolist() == [False, True]


# Masses


def test_the_error_of_the_stellar_mass_is_in_the_interval_of_the_hi_mass(model):
    errors = MaskedColumn([0.3, 0.1, 0.0], mask=[False, False, True]) * u.dex
    result = predict(model, galaxies(3, log_mstar=9.5, log_mstar_err=errors))
    estimate, mass = (values_of(result[name]) for name in ("log_hi_fraction", "log_mhi"))
    np.testing.assert_allclose(mass, estimate + 9.5)
    for name, level in (("p05", 0.05), ("p16", 0.16), ("p84", 0.84), ("p95", 0.95)):
        offset = values_of(result[f"log_hi_fraction_{name}"]) - estimate
        expected = np.sign(level - 0.5) * np.hypot(offset, np.array([0.3, 0.1, 0.0]) * ndtri(level))
        np.testing.assert_allclose(values_of(result[f"log_mhi_{name}"]) - mass, expected, atol=1e-9)


@pytest.mark.parametrize("scale", ["taylor", "gswlc"])
def test_the_error_of_the_stellar_mass_does_not_blur_a_limit(model, scale):
    free = predict(model, galaxies(6, log_mstar=9.5), mass_scale=scale)
    limits = MaskedColumn(values_of(free["log_mhi"]) - 0.1, mask=[False] * 5 + [True])
    table = galaxies(6, log_mstar=9.5, log_mstar_err=0.3, log_mhi_limit=limits)
    result = predict(model, table, mass_scale=scale)
    names = [f"log_mhi{end}" for end in ("_p05", "_p16", "", "_p84", "_p95")]
    quantiles = np.stack([values_of(result[name]) for name in names])
    assert (quantiles[:, :5] <= values_of(free["log_mhi"])[:5] - 0.1 + 1e-9).all()
    assert (np.diff(quantiles, axis=0) >= 0).all()
    assert quantiles[-1, 5] > values_of(free["log_mhi_p95"])[5]


def test_the_masses_of_gswlc_have_estimates_and_intervals_of_their_own(model):
    taylor, gswlc = (predict(model, galaxies(), mass_scale=scale) for scale in ("taylor", "gswlc"))
    offset = values_of(gswlc["log_hi_fraction"]) - values_of(taylor["log_hi_fraction"])
    # Masses of GSWLC-2 are larger by 0.14 dex in the median (Durbala et al. 2020): less HI per star.
    assert -0.3 < np.median(offset) < 0
    for result in (taylor, gswlc):
        names = [f"log_hi_fraction{end}" for end in ("_p05", "_p16", "", "_p84", "_p95")]
        assert (np.diff([values_of(result[name]) for name in names], axis=0) > 0).all()
    assert gswlc.meta["hifrac"]["mass_scale"] == "GSWLC-2 (Salim et al. 2018)"
    assert "Taylor" in taylor.meta["hifrac"]["mass_scale"]


# Selections


def test_the_selection_is_said_and_ordered(model):
    results = {
        selection: predict(model, galaxies(), selection=selection)
        for selection in ("undetected", "intrinsic", "alfalfa")
    }
    for selection, result in results.items():
        assert result.meta["hifrac"]["selection"] == selection
    assert predict(model, galaxies()).meta["hifrac"]["selection"] == "intrinsic"
    undetected, intrinsic, alfalfa = (values_of(one["log_hi_fraction"]) for one in results.values())
    assert (undetected <= intrinsic).all()
    assert np.mean(intrinsic < alfalfa) > 0.7
    # What a survey detects does not depend on what is asked.
    for result in results.values():
        np.testing.assert_array_equal(
            values_of(result["p_detect"]), values_of(results["intrinsic"]["p_detect"])
        )


def test_nothing_is_detected_beyond_the_band_of_the_survey_or_far_below_its_limit(model):
    near, far, poor = (
        predict(model, galaxies(**columns)) for columns in ({"z": 0.02}, {"z": 0.09}, {"log_mhi_limit": 5.0})
    )
    assert np.median(values_of(near["p_detect"])) > 0.5
    for result in (far, poor):
        assert values_of(result["p_detect"]).max() < 1e-6
        assert (np.asarray(result["flags"]) & int(Flag.UNLIKELY_DETECTION) != 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"selection": "HI"}, "^selection must be one of intrinsic, alfalfa, undetected, got 'HI'"),
        ({"mass_scale": "Taylor"}, "^mass_scale must be one of taylor, gswlc, got 'Taylor'"),
    ],
)
def test_unknown_choices_are_refused_at_once(model, options, message):
    with pytest.raises(ValueError, match=message):
        HIFractionEstimator(model, **options, cutouts=LocalCutouts(PICTURES, name="name"))


@pytest.mark.parametrize("options", [{"selection": "alfalfa"}, {"mass_scale": "gswlc"}])
def test_a_model_with_one_answer_has_no_choices(shallow, options):
    with pytest.raises(ValueError, match=rf"^{next(iter(options))}: the model 'mine' has one answer"):
        HIFractionEstimator(shallow, **options)


# Draws


def test_draws_are_those_of_the_distributions(model):
    result = predict(model, galaxies(), samples=2000)
    draws = values_of(result["log_hi_fraction_samples"])
    assert draws.shape == (24, 2000)
    for name, level in (("_p05", 0.05), ("_p16", 0.16), ("", 0.5), ("_p84", 0.84), ("_p95", 0.95)):
        share = np.mean(draws < values_of(result[f"log_hi_fraction{name}"])[:, None])
        assert share == pytest.approx(level, abs=0.01)
    assert predict(model, galaxies()).colnames == [
        name for name in result.colnames if name != "log_hi_fraction_samples"
    ]


@pytest.mark.parametrize("size", [1, 5])
def test_draws_do_not_depend_on_the_batches(model, size):
    table = galaxies(12, log_mstar=9.5)
    expected = predict(model, table, samples=7)
    assert_same_results(predict(model, table, samples=7, batch_size=size), expected)
    assert expected.meta["hifrac"]["arguments"]["samples"] == 7


def test_draws_are_the_galaxy_s_wherever_its_row_stands(model):
    table = galaxies(8)
    whole = values_of(predict(model, table, samples=64)["log_hi_fraction_samples"])
    parts = [predict(model, table[rows], samples=64) for rows in (slice(5, 8), slice(5))]
    draws = np.concatenate([values_of(part["log_hi_fraction_samples"]) for part in parts[::-1]])
    np.testing.assert_allclose(draws, whole, atol=1e-5)
    # So the errors of parts do not go up and down together.
    ranks = whole.argsort(axis=1).argsort(axis=1)
    correlation = np.corrcoef(ranks) - np.eye(8)
    assert np.abs(correlation).max() < 0.5


def test_draws_go_through_files(model, tmp_path):
    result = predict(model, sample_table()[-3:], samples=4)
    assert np.asarray(result["log_hi_fraction_samples"].mask).tolist() == [[False] * 4] * 2 + [[True] * 4]
    for name in ("result.ecsv", "result.fits"):
        write_table(result, tmp_path / name)
        back = read_table(tmp_path / name)
        np.testing.assert_allclose(
            values_of(back["log_hi_fraction_samples"]), values_of(result["log_hi_fraction_samples"])
        )
        assert texts_of(back["evidence"]) == ["picture", "picture", ""]


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        (0, ValueError, "^samples must be at least 1, got 0"),
        (2.5, TypeError, "^samples must be an integer, got 2.5"),
        (True, TypeError, "^samples must be an integer, got True"),
        (10**30, MemoryError, "^samples: 10{30} draws of 1 rows do not fit into memory"),
    ],
)
def test_the_number_of_draws_is_a_count_that_fits_into_memory(model, samples, error, message):
    with pytest.raises(error, match=message):
        predict(model, galaxies(1), samples=samples)


def test_a_model_without_distributions_draws_nothing(shallow):
    estimator = HIFractionEstimator(shallow)
    with pytest.raises(ValueError, match=r"^samples: the model 'mine' has one answer"):
        estimator.predict(galaxies(1), samples=3)


# Explanations


def test_explanations_give_the_answers_of_the_table(model):
    table = galaxies(2, z=0.02, log_mstar=9.5)
    estimator = HIFractionEstimator(model, selection="alfalfa", cutouts=LocalCutouts(PICTURES, name="name"))
    result = estimator.predict(table)
    for row, explanation in zip(result, estimator.explain(table), strict=True):
        assert explanation.answers["estimate"] == pytest.approx(row["log_hi_fraction"], abs=1e-5)
        assert explanation.answers["p_detect"] == pytest.approx(row["p_detect"], abs=1e-5)
