"""Detection probability and distance from the training set: calibration, limits, flags."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import percentileofscore

from hifrac.core.flags import Flag
from hifrac.models.detection import DetectionTable

TABLE = DetectionTable(
    slope=0.8,
    intercept=-0.3,
    threshold=0.25,
    percentiles=(0, 50, 90, 100),
    distances=(2.0, 10.0, 14.0, 30.0),
    ood_threshold=98.0,
)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=20))
def test_the_probability_is_the_logistic_function(logits):
    expected = expit(TABLE.slope * np.array(logits) + TABLE.intercept)
    np.testing.assert_allclose(TABLE.probability(np.array(logits)), expected, rtol=0, atol=1e-15)


@given(st.floats(allow_nan=False, allow_infinity=True))
def test_no_logit_overflows(logit):
    probability = TABLE.probability(np.array([logit]))
    assert probability.dtype == float
    assert 0 <= probability[0] <= 1
    if abs(logit) > 100:
        assert probability[0] == (logit > 0)


@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=20))
def test_the_probability_never_decreases_with_the_logit(logits):
    assert np.all(np.diff(TABLE.probability(np.sort(logits))) >= 0)


def test_single_precision_logits_are_taken():
    probability = TABLE.probability(np.array([0.375], dtype=np.float32))
    assert probability.dtype == np.float64
    np.testing.assert_allclose(probability, 0.5)


@given(st.integers(0, 2**32 - 1), st.integers(200, 300), st.floats(0, 100))
def test_the_score_is_the_percentile_among_the_training_distances(seed, n, distance):
    distances = np.random.default_rng(seed).gamma(4, 5, n)
    percentiles = tuple(np.linspace(0, 100, 101))
    table = dataclasses.replace(
        TABLE, percentiles=percentiles, distances=tuple(np.percentile(distances, percentiles))
    )
    # The table has steps of one percent, so it agrees with all the distances to that.
    expected = percentileofscore(distances, distance)
    assert table.ood_score(np.array([distance]))[0] == pytest.approx(expected, abs=1.5)


@given(st.lists(st.floats(0, 1e30), min_size=2, max_size=20))
def test_the_score_lies_between_0_and_100_and_never_decreases(distances):
    scores = TABLE.ood_score(np.sort(distances))
    assert np.all((scores >= 0) & (scores <= 100))
    assert np.all(np.diff(scores) >= 0)


def test_known_distances():
    np.testing.assert_array_equal(
        TABLE.ood_score(np.array([0.0, 2.0, 6.0, 10.0, 12.0, 22.0, 30.0, 31.0])),
        [0, 0, 25, 50, 70, 95, 100, 100],
    )


@pytest.mark.parametrize("distance", [np.nan, np.inf, -np.inf])
def test_a_distance_that_is_no_number_is_the_farthest(distance):
    np.testing.assert_array_equal(TABLE.ood_score(np.array([distance, 10.0])), [100, 50])


def test_flags_follow_from_the_thresholds():
    flags = TABLE.flags(
        np.array([0.9, 0.25, 0.2499, 0.1, 0.9, 0.9]), np.array([50.0, 50.0, 50.0, 98.0, 98.0, 97.999])
    )
    both = Flag.UNLIKELY_DETECTION | Flag.OUT_OF_DISTRIBUTION
    assert np.issubdtype(flags.dtype, np.integer)
    assert list(flags) == [0, 0, Flag.UNLIKELY_DETECTION, both, Flag.OUT_OF_DISTRIBUTION, 0]


def test_no_rows():
    nothing = np.array([])
    assert TABLE.probability(nothing).shape == (0,)
    assert TABLE.ood_score(nothing).shape == (0,)
    assert TABLE.flags(nothing, nothing).shape == (0,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distances": (1.0, 2.0)}, "differ in length"),
        ({"percentiles": (0, 50, 50, 100)}, "increasing"),
        ({"percentiles": (0, 90, 50, 100)}, "increasing"),
        ({"distances": (2.0, 14.0, 10.0, 30.0)}, "increasing"),
        ({"percentiles": (5, 50, 90, 100)}, "from 0 to 100"),
        ({"percentiles": (0, 50, 90, 99)}, "from 0 to 100"),
        ({"percentiles": (), "distances": ()}, "from 0 to 100"),
        ({"distances": (2.0, 10.0, 14.0, math.inf)}, "finite"),
        ({"distances": (2.0, 10.0, math.nan, 30.0)}, "finite"),
        ({"slope": math.nan}, "finite"),
        ({"intercept": math.inf}, "finite"),
        ({"threshold": math.nan}, "finite"),
        ({"ood_threshold": math.nan}, "finite"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TABLE, **changes)


def test_a_reddening_beyond_the_training_set_is_flagged():
    table = dataclasses.replace(TABLE, largest_ebv=0.2)
    sure, near, ebv = np.ones(4), np.zeros(4), np.array([0.2, 0.2001, np.nan, 5.0])
    high = int(Flag.HIGH_REDDENING)
    assert table.flags(sure, near, ebv).tolist() == [0, high, 0, high]
    assert table.flags(sure, near).tolist() == [0] * 4
    assert TABLE.flags(sure, near, ebv).tolist() == [0] * 4  # a model that knows no reddening
    assert table.flags(np.zeros(4), near, ebv)[1] == high | int(Flag.UNLIKELY_DETECTION)
    with pytest.raises(ValueError, match="largest_ebv must be finite"):
        dataclasses.replace(TABLE, largest_ebv=math.nan)
