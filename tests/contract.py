"""The contract of equal answers: what batch size, kind of file, runtime and number of threads may change.

A galaxy is answered in single precision, and the matrix library adds up in an order of its own for each size
of a batch, for each number of threads, and on each processor. Answers of one machine are therefore equal to
these tolerances, not to the last bit; whatever the machine, each keeps this contract. Whoever compares
answers asks for the contract, and for no more and no less. What is no answer of a network (pixels, labels,
identifiers, files) is compared exactly.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from hifrac import Flag, list_models
from hifrac.core.columns import is_logarithm

DEX = 1e-5  # estimates, their percentiles and the overdensity, in dex
INTERVAL = 3e-5  # the ends of intervals, which are up to four dex away from the estimate
PROBABILITY = 1e-5
SCORE = 1e-3  # relative: ood_score and the distance behind it
DENSITY_EDGE = 0.5  # of log_overdensity: HIGH_DENSITY
PROBABILITIES, SCORES, FLAGS = ("p_detect", "p_star_forming"), ("ood_score",), ("flags",)


def values_of(column):
    """The numbers of a column of a table, NaN where masked."""
    values = getattr(column, "unmasked", column)
    values = np.array(np.ma.getdata(getattr(values, "value", values)), dtype=float)
    return np.where(np.broadcast_to(getattr(column, "mask", False), values.shape), np.nan, values)


def texts_of(column):
    """The texts of a column of a table, empty where masked: files may forget the mask."""
    values = np.ma.filled(column, "") if np.ma.isMaskedArray(column) else np.asarray(column)
    return values.astype(str).tolist()


def assert_column_of(entry, column):
    """Assert that a column has the unit and the description of its entry in a registry."""
    unit, description = getattr(column, "unit", None), column.info.description
    if is_logarithm(entry.unit):
        assert (unit, description) == (None, f"{entry.description} [{entry.unit}]"), entry.name
        assert column.info.format == ".2f", entry.name
    else:
        assert (unit, description) == (entry.unit, entry.description), entry.name


def assert_same_estimates(actual, expected, name="estimate"):
    """Assert that estimates in dex are equal."""
    np.testing.assert_allclose(values_of(actual), values_of(expected), rtol=0, atol=DEX, err_msg=name)


def assert_same_intervals(actual, expected, name="interval"):
    """Assert that ends of intervals are equal."""
    np.testing.assert_allclose(values_of(actual), values_of(expected), rtol=0, atol=INTERVAL, err_msg=name)


def assert_same_probabilities(actual, expected, name="probability"):
    """Assert that probabilities are equal."""
    np.testing.assert_allclose(values_of(actual), values_of(expected), rtol=0, atol=PROBABILITY, err_msg=name)


def assert_same_scores(actual, expected, name="score"):
    """Assert that scores are equal."""
    np.testing.assert_allclose(values_of(actual), values_of(expected), rtol=SCORE, atol=0, err_msg=name)


def assert_same_flags(actual, expected, detection=None):
    """Assert that the flags of two result tables are equal where the number behind a flag is not at its edge.

    ``detection`` is that of the model's card; the default model's, if it is not given.
    """
    detection = detection or list_models()[0].detection
    edges = {
        Flag.UNLIKELY_DETECTION: ("p_detect", detection.threshold, PROBABILITY),
        Flag.OUT_OF_DISTRIBUTION: ("ood_score", detection.ood_threshold, SCORE * detection.ood_threshold),
        Flag.HIGH_DENSITY: ("log_overdensity", DENSITY_EDGE, DEX),
    }
    differing = np.asarray(actual["flags"]) ^ np.asarray(expected["flags"])
    for flag, (name, edge, tolerance) in edges.items():
        if name in expected.colnames:
            at_edge = np.abs(values_of(expected[name]) - edge) <= tolerance
            differing &= np.where(at_edge, ~int(flag), -1)
    assert not differing.any(), f"flags differ in the rows {np.flatnonzero(differing).tolist()}"


def assert_same_results(actual, expected, names=None, detection=None):
    """Assert that two result tables have the same answers, row by row.

    ``names`` are the columns to compare; by default all that a result adds and that ``expected`` has.
    """
    assert len(actual) == len(expected)
    if names is None:
        added = ("log_hi_fraction", "log_mhi", "oh", "log_overdensity", "evidence")
        added += (*PROBABILITIES, *SCORES, *FLAGS)
        names = [name for name in expected.colnames if name.startswith(added)]
        assert names
    for name in names:
        if name in FLAGS:
            assert_same_flags(actual, expected, detection)
        elif name == "evidence":
            assert texts_of(actual[name]) == texts_of(expected[name]), name
        elif name in PROBABILITIES:
            assert_same_probabilities(actual[name], expected[name], name)
        elif name in SCORES:
            assert_same_scores(actual[name], expected[name], name)
        elif name.endswith(("_p05", "_p16", "_p84", "_p95")):
            assert_same_intervals(actual[name], expected[name], name)
        else:
            assert_same_estimates(actual[name], expected[name], name)


def assert_same_outputs(actual, expected):
    """Assert that what a network says of pictures (`Model.run`) is the same: log odds as probabilities."""
    assert set(actual) == set(expected)
    for name, values in expected.items():
        if name.endswith("_logit"):
            assert_same_probabilities(expit(np.asarray(actual[name])), expit(np.asarray(values)), name)
        elif name == "distance":
            np.testing.assert_allclose(actual[name], values, rtol=SCORE / 10, atol=0, err_msg=name)
        else:
            assert_same_estimates(actual[name], values, name)


def assert_same_maps(actual, expected):
    """Assert that heat maps are equal: pixels to a tenth of the contract, their sums to the contract."""
    actual, expected = np.asarray(actual, dtype=float), np.asarray(expected, dtype=float)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=DEX / 10)
    assert_same_estimates(actual.sum((-2, -1)), expected.sum((-2, -1)), "sum of the map")
