"""Folds that never split a group, fits and what they refuse, answers that are really held out."""

import dataclasses

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import norm, spearmanr
from sklearn.linear_model import Ridge

from hifrac.metrics import detection_auc
from hifrac.models.structure import StructureNet
from hifrac.training.splits import assign_folds, sky_groups
from hifrac.training.structure.cross_validation import OutOfFold, balanced, cross_validate, set_edges
from hifrac.training.structure.heads import EDGE_PERCENTILES, censored_ridge, fit_distances, fit_heads
from hifrac.training.structure.measurements import augmented_features, measure
from hifrac.training.structure.ood import AUGMENTATIONS_OOD, as_read
from hifrac.training.structure.sample import DeepSample, Labels, TrainingSample, combine

pytestmark = pytest.mark.numeric

# Measuring


@pytest.mark.parametrize("batch_size", [1, 5, 16])
def test_measurements_do_not_depend_on_the_batch(sample, features, batch_size):
    part = measure(StructureNet(128), sample.pixels[:16], batch_size)
    assert part.dtype == np.float64
    np.testing.assert_allclose(part, features[:16, :-1], rtol=1e-4, atol=1e-5)


def test_read_only_pixels_are_measured(sample, features):
    locked = sample.pixels[:4].copy()
    locked.setflags(write=False)
    np.testing.assert_allclose(measure(StructureNet(128), locked), features[:4, :-1], rtol=1e-4, atol=1e-5)


def test_altered_pictures_are_measured_in_the_order_of_the_alterations(everything, augmented):
    pixels, *_ = everything
    assert augmented.features.shape[:2] == (len(AUGMENTATIONS_OOD), len(augmented.rows))
    assert len(AUGMENTATIONS_OOD) == StructureNet.N_ALTERATIONS
    swapped = as_read(pixels[augmented.rows[:3], ..., ::-1])
    expected = measure(StructureNet(128), swapped)
    np.testing.assert_allclose(augmented.features[0, :3], expected, rtol=1e-4, atol=1e-5)


def test_altered_pictures_of_a_fold_know_nothing_of_the_other_folds(everything, augmented):
    pixels, _, fold = everything
    part = np.flatnonzero(fold[augmented.rows] == 1)
    alone = augmented_features(StructureNet(128), pixels, augmented.rows[part], fold)
    np.testing.assert_allclose(alone, augmented.features[:, part], rtol=1e-4, atol=1e-5)


# Folds


@given(
    seed=st.integers(0, 2**32 - 1),
    n_groups=st.integers(40, 120),
    share=st.floats(0.3, 0.7),
    n_folds=st.integers(2, 6),
)
@settings(max_examples=25)
def test_folds_never_split_a_group_and_hold_every_row(seed, n_groups, share, n_folds):
    rng = np.random.default_rng(seed)
    group = rng.integers(0, n_groups, 120)
    detected = rng.permutation(np.arange(120) < 120 * share)
    fold = assign_folds(detected, group, n_folds, seed % 1000)
    assert set(fold) == set(range(n_folds))
    for label in np.unique(group):
        assert len(set(fold[group == label])) == 1


def test_folds_are_fixed_by_the_seed(sample):
    first = assign_folds(sample.detected, sample.group, 5, 1)
    np.testing.assert_array_equal(assign_folds(sample.detected, sample.group, 5, 1), first)
    assert np.any(assign_folds(sample.detected, sample.group, 5, 2) != first)


def test_folds_have_their_share_of_detections(sample):
    fold = assign_folds(sample.detected, sample.group, 4, 3)
    for number in range(4):
        inside = fold == number
        assert inside.sum() == pytest.approx(len(fold) / 4, abs=4)
        assert sample.detected[inside].mean() == pytest.approx(sample.detected.mean(), abs=0.1)


# Two lists of galaxies as one


def test_the_sample_comes_first_and_what_is_new_after_it(sample, deep, everything):
    pixels, labels, fold = everything
    n, new = len(sample.objid), np.flatnonzero(~np.isin(deep.objid, sample.objid))
    assert len(new) == 16
    assert len(pixels) == len(labels) == len(fold) == n + 16
    np.testing.assert_array_equal(pixels[:n], sample.pixels)
    np.testing.assert_array_equal(pixels[n:], deep.pixels[new])
    np.testing.assert_array_equal(labels.detected, np.r_[sample.detected, np.zeros(16, bool)])
    np.testing.assert_array_equal(labels.undetected, np.r_[~sample.detected, np.zeros(16, bool)])
    np.testing.assert_array_equal(labels.gswlc_offset, np.r_[sample.gswlc_offset, np.full(16, np.nan)])
    np.testing.assert_array_equal(fold[:n], assign_folds(sample.detected, sample.group, 3, 0))


def test_a_galaxy_of_both_lists_is_one_row_with_what_both_know(sample, deep, everything):
    _, labels, _ = everything
    names = [*sample.objid, *deep.objid[~np.isin(deep.objid, sample.objid)]]
    rows = [names.index(name) for name in deep.objid]
    assert sorted(rows) == list(np.flatnonzero(labels.gas_poor))
    np.testing.assert_array_equal(labels.log_hi_fraction[rows], deep.log_hi_fraction)
    np.testing.assert_array_equal(labels.is_limit[rows], deep.is_limit)
    assert labels.is_limit.sum() == deep.is_limit.sum()
    assert np.any(labels.gas_poor & labels.undetected)
    assert not np.any(labels.gas_poor & labels.detected)
    seen = sample.detected
    np.testing.assert_array_equal(labels.log_hi_fraction[: len(seen)][seen], sample.log_hi_fraction[seen])
    assert np.isnan(labels.log_hi_fraction[~labels.detected & ~labels.gas_poor]).all()


def test_what_is_new_shares_the_fold_of_its_neighbours(sample, everything):
    _, labels, fold = everything
    n = len(sample.objid)
    # The first lies 60 arcsec from detection 7, the second in the field of detection 8.
    for row, neighbour in ((n, 7), (n + 1, 8)):
        assert fold[row] == fold[neighbour]
        assert labels.group[row] == labels.group[neighbour]
    assert len(set(labels.group[n + 2 :]) | set(sample.group)) == len(set(sample.group)) + 14
    assert set(fold[n + 2 :]) == {0, 1, 2}


def a_sample(fields, places, n_folds=3):
    """Galaxies without pictures, one in ``places`` steps of 50 arcsec."""
    n = len(fields)
    ra = 10 + np.asarray(places) * 50 / 3600
    objid = np.array([str((field << 16) + row) for row, field in enumerate(fields)])
    group = sky_groups(objid, ra, np.zeros(n))
    sample = TrainingSample(
        objid=objid,
        pixels=np.zeros((n, 4, 4, 3), np.uint8),
        detected=np.ones(n, bool),
        log_hi_fraction=np.zeros(n),
        photometry=np.zeros((n, 2)),
        gswlc_offset=np.zeros(n),
        ra=ra,
        dec=np.zeros(n),
        ebv=np.full(n, 0.05),
        group=group,
    )
    return sample, group % n_folds


def deep_of(objid, ra):
    n = len(objid)
    return DeepSample(
        objid=np.asarray(objid, dtype=str),
        pixels=np.ones((n, 4, 4, 3), np.uint8),
        log_hi_fraction=np.full(n, -1.0),
        is_limit=np.zeros(n, bool),
        ra=np.asarray(ra, dtype=float),
        dec=np.zeros(n),
        ebv=np.full(n, 0.02),
    )


@given(
    known=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 60)), min_size=3, max_size=12),
    new=st.tuples(st.integers(0, 12), st.integers(0, 60)),
)
@settings(max_examples=60)
def test_a_new_galaxy_is_on_the_side_of_what_is_near_it(known, new):
    sample, fold = a_sample(*zip(*known, strict=True))
    ra = 10 + new[1] * 50 / 3600
    galaxies = combine(sample, deep_of([str((new[0] << 16) + 999)], [ra]), fold)
    labels, folds = galaxies.labels, galaxies.fold
    near = (np.array([row[0] for row in known]) == new[0]) | (
        SkyCoord(sample.ra, sample.dec, unit="deg").separation(SkyCoord(ra, 0, unit="deg")) < 90 * u.arcsec
    )
    # A bridge between two groups cannot be on the side of both.
    if len(set(fold[near])) == 1:
        assert folds[-1] == fold[near][0]
    if near.any():
        assert labels.group[-1] in sample.group[near]
    else:
        assert labels.group[-1] not in sample.group
    assert 0 <= folds[-1] <= fold.max()


def test_new_galaxies_that_are_neighbours_share_a_fold():
    # Two within 60 arcsec, and two of one field; neither pair has a neighbour in the sample.
    sample, fold = a_sample([1, 2, 3], [0, 10, 20])
    objid = [str((field << 16) + 999) for field in (50, 51)] + [str((60 << 16) + row) for row in (1, 2)]
    galaxies = combine(sample, deep_of(objid, [100.0, 100.0 + 60 / 3600, 200.0, 220.0]), fold)
    labels, folds = galaxies.labels, galaxies.fold
    for one, other in ((3, 4), (5, 6)):
        assert labels.group[one] == labels.group[other]
        assert folds[one] == folds[other]


def test_the_position_of_an_undetected_galaxy_is_taken_from_the_deeper_data():
    # Its own table does not know it; the deeper one says that it is near a detection of another fold.
    sample, fold = a_sample([1, 2, 3], [0, 10, 20])
    sample = dataclasses.replace(
        sample, detected=np.array([True, True, False]), ra=np.array([*sample.ra[:2], np.nan])
    )
    ra = sample.ra[0] + 60 / 3600
    galaxies = combine(sample, deep_of(sample.objid[2:], [ra]), fold)
    labels, folds = galaxies.labels, galaxies.fold
    assert labels.group[2] == labels.group[0]
    assert folds[2] == folds[0]


def test_without_deeper_data_the_sample_stays_as_it_is(sample):
    fold = assign_folds(sample.detected, sample.group, 2, 0)
    galaxies = combine(sample, None, fold)
    pixels, labels, folds = galaxies.pixels, galaxies.labels, galaxies.fold
    assert pixels is sample.pixels
    np.testing.assert_array_equal(folds, fold)
    np.testing.assert_array_equal(labels.group, sample.group)
    np.testing.assert_array_equal(labels.undetected, ~sample.detected)
    assert not labels.gas_poor.any()
    assert not labels.is_limit.any()


def test_a_detection_is_not_beyond_the_survey(sample, deep):
    twice = dataclasses.replace(deep, objid=np.array([sample.objid[3], *deep.objid[1:]]))
    with pytest.raises(ValueError, match=r"^deep holds galaxies that are detections of the sample"):
        combine(sample, twice, np.zeros(len(sample.objid), int))


def test_rows_of_labels_are_labels(labels):
    some = labels[labels.gas_poor]
    assert isinstance(some, Labels)
    assert len(some) == 22
    assert some.gas_poor.all()
    np.testing.assert_array_equal(some.log_hi_fraction, labels.log_hi_fraction[labels.gas_poor])


# Fitting


def fit(labels, features, augmented, network=None):
    return fit_heads(network or StructureNet(128), features, labels, augmented.features)


def change(labels, **columns):
    return dataclasses.replace(labels, **columns)


@pytest.fixture(scope="module")
def fitted(labels, features, augmented):
    return fit(labels, features, augmented)


def answers(network, features):
    with torch.inference_mode():
        output = network.forward_head(torch.from_numpy(features).float())
    return {name: part.numpy() for name, part in output._asdict().items()}


def test_the_fit_finds_the_relation(labels, features, fitted):
    found = answers(fitted, features)
    seen = labels.detected
    error = found["estimate"][seen] - labels.log_hi_fraction[seen]
    assert np.std(error) < 0.5 * np.std(labels.log_hi_fraction[seen])
    assert abs(np.median(error)) < 0.1
    kinds = seen | labels.undetected
    assert detection_auc(seen[kinds], found["detection_logit"][kinds]) > 0.75
    both = seen | labels.gas_poor
    assert detection_auc(labels.gas_poor[both], found["gas_poor_logit"][both]) > 0.75
    assert np.all(found["distance"] > 0)


def test_the_offset_of_the_stellar_masses_is_learned_where_it_is_known(labels, features, fitted):
    known = np.isfinite(labels.gswlc_offset)
    assert 20 <= known.sum() < labels.detected.sum()
    found = answers(fitted, features)["gswlc_offset"]
    assert spearmanr(found[known], labels.gswlc_offset[known]).statistic > 0.9
    assert found.std() < 0.3


def test_the_spread_is_of_the_size_of_the_errors(labels, features, fitted):
    seen = labels.detected
    spread = np.exp(answers(fitted, features[seen])["log_spread"])
    # The scatter of the labels is 0.1 dex, and the estimate adds to it.
    assert 0.07 < np.sqrt(np.mean(spread**2)) < 0.35
    assert spread.max() / spread.min() < 20


def test_galaxies_known_less_well_have_a_larger_spread(labels, features, augmented):
    # Noise grows with a measurement that the spread is read from: size.
    size = features[:, StructureNet.columns(("ellipse",))[0]]
    rank = np.argsort(np.argsort(size)) / len(size)
    noise = np.random.default_rng(0).normal(size=len(size)) * (0.02 + 1.2 * (rank > 0.5))
    network = fit(change(labels, log_hi_fraction=labels.log_hi_fraction + noise), features, augmented)
    spread = answers(network, features)["log_spread"][labels.detected]
    assert spearmanr(spread, rank[labels.detected]).statistic > 0.3


def test_texture_serves_the_distance_alone(features, fitted):
    columns = StructureNet.columns(("texture",))
    other = features.copy()
    other[:, columns] += 3.0
    before, after = answers(fitted, features), answers(fitted, other)
    for name in before:
        if name != "distance":
            np.testing.assert_array_equal(after[name], before[name])
    assert np.all(after["distance"] > before["distance"])


def test_what_is_far_from_the_sample_has_a_large_distance(features, fitted):
    distance = answers(fitted, features)["distance"]
    far = answers(fitted, features.mean(0) + 300 * features.std(0) * [[1], [-1]])["distance"]
    assert far.min() > 2 * distance.max()


def test_nothing_far_out_moves_an_answer_without_limit(features, fitted):
    wild = [answers(fitted, features.mean(0) + size * features.std(0)[None]) for size in (1e3, 1e6)]
    for name in ("estimate", "log_spread", "detection_logit", "gas_poor_logit", "gswlc_offset"):
        np.testing.assert_allclose(wild[0][name], wild[1][name], atol=1e-3)
    assert wild[1]["distance"] > wild[0]["distance"]


def test_the_network_is_returned_ready_for_use(labels, features, augmented):
    network = StructureNet(128).train()
    assert fit(labels, features, augmented, network) is network
    assert not network.training


def test_the_fit_is_deterministic_and_ignores_what_it_must_not_know(labels, features, augmented, fitted):
    measured = labels.detected | labels.gas_poor
    nonsense = change(
        labels,
        log_hi_fraction=np.where(measured, labels.log_hi_fraction, 99.0),
        is_limit=np.where(labels.gas_poor, labels.is_limit, ~labels.is_limit),
    )
    # Nor does it matter what the network knew before.
    torch.manual_seed(5)
    network = StructureNet(128)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))
    again = fit(nonsense, features, augmented, network)
    for name, value in fitted.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)


def test_galaxies_that_alfalfa_missed_pull_the_estimate_down(labels, features, augmented, fitted):
    poor = labels.gas_poor
    alone = fit(change(labels, gas_poor=np.zeros_like(poor)), features, augmented)
    lower = change(labels, log_hi_fraction=labels.log_hi_fraction - np.where(poor, 2.0, 0.0))
    without, with_them, far_below = (
        answers(network, features[poor])["estimate"].mean()
        for network in (alone, fitted, fit(lower, features, augmented))
    )
    assert without > with_them > far_below


def tobit(parameters, inputs, target, is_limit, weights, penalty, scatter):
    """Minus twice the penalised logarithm of the likelihood, in units of the variance of weight 1."""
    away = target - parameters[0] - inputs @ parameters[1:]
    terms = np.where(is_limit, -2 * scatter**2 * norm.logcdf(away / scatter), away**2)
    return np.sum(weights * terms) + penalty * np.sum(parameters[1:] ** 2)


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 20.0), st.floats(0.2, 1.0))
@settings(max_examples=15, deadline=None)
def test_the_censored_regression_is_the_maximum_of_its_likelihood(seed, penalty, scatter):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(80, 3))
    target = 0.3 + inputs @ [1.0, -0.5, 0.0] + rng.normal(0, 0.4, 80)
    is_limit = rng.random(80) < 0.3
    target += np.where(is_limit, rng.exponential(0.4, 80), 0.0)
    weights = np.where(is_limit, 0.3, 1.0)
    intercept, coefficients = censored_ridge(
        inputs, target, is_limit, weights, penalty=penalty, scatter=scatter
    )
    problem = inputs, target, is_limit, weights, penalty, scatter
    best = minimize(tobit, np.zeros(4), args=problem, method="BFGS", options={"gtol": 1e-8})
    np.testing.assert_allclose([intercept, *coefficients], best.x, atol=1e-4)


def test_without_limits_the_censored_regression_is_that_of_ridge():
    rng = np.random.default_rng(1)
    inputs, target, weights = rng.normal(size=(50, 4)), rng.normal(size=50), rng.uniform(0.1, 1, 50)
    expected = Ridge(3.0).fit(inputs, target, sample_weight=weights)
    found = censored_ridge(inputs, target, np.zeros(50, bool), weights, penalty=3.0, scatter=0.5)
    np.testing.assert_allclose([found[0], *found[1]], [expected.intercept_, *expected.coef_], rtol=1e-12)
    # A limit that lies far above says nothing, as if the row had no weight.
    limit, high = np.arange(50) == 7, target.copy()
    high[7] = 50.0
    found = censored_ridge(inputs, high, limit, weights, penalty=3.0, scatter=0.5)
    assert found[0] == pytest.approx(expected.intercept_, abs=0.1)
    # And one that lies far below is a value, nearly.
    low = target.copy()
    low[7] = -30.0
    as_value = censored_ridge(inputs, low, np.zeros(50, bool), weights, penalty=3.0, scatter=0.5)
    as_limit = censored_ridge(inputs, low, limit, weights, penalty=3.0, scatter=0.5)
    np.testing.assert_allclose(as_limit[1], as_value[1], atol=0.02)


def test_a_measurement_without_spread_does_no_harm(labels, features, augmented):
    flat = features.copy()
    flat[:, 3] = 0.5
    for part in answers(fit(labels, flat, augmented), flat).values():
        assert np.all(np.isfinite(part))


def test_one_wrong_label_does_not_steer_the_fit(labels, features, augmented, fitted):
    target = labels.log_hi_fraction.copy()
    target[2] += 5
    network = fit(change(labels, log_hi_fraction=target), features, augmented)
    others = labels.detected & (np.arange(len(target)) != 2)
    moved = answers(network, features[others])["estimate"] - answers(fitted, features[others])["estimate"]
    # The mean alone moves by a tenth of a dex; no galaxy may be thrown as far as the label.
    assert np.sqrt(np.mean(moved**2)) < 0.5
    assert np.abs(moved).max() < 2


@pytest.mark.parametrize(("n_detected", "n_undetected"), [(19, 40), (40, 19), (0, 40), (40, 0)])
def test_too_few_galaxies_of_a_kind(labels, features, augmented, n_detected, n_undetected):
    few = np.r_[
        np.flatnonzero(labels.detected)[:n_detected], np.flatnonzero(labels.undetected)[:n_undetected]
    ]
    with pytest.raises(ValueError, match=r"^detected must hold at least 20 detections and 20 non-detections"):
        fit(labels[few], features[few], augmented)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_target_that_is_no_number(labels, features, augmented, bad):
    target = labels.log_hi_fraction.copy()
    target[4] = bad
    with pytest.raises(ValueError, match=r"^target must be finite and not constant"):
        fit(change(labels, log_hi_fraction=target), features, augmented)


def test_a_target_without_spread(labels, features, augmented):
    with pytest.raises(ValueError, match=r"^target must be finite and not constant"):
        fit(change(labels, log_hi_fraction=np.full(len(labels), 0.3)), features, augmented)


def test_a_head_without_galaxies_to_learn_from_says_nothing(labels, features, augmented):
    # Neither what it said before, for that may be of galaxies that are now held out, nor anything random.
    few = np.flatnonzero(labels.gas_poor)[9:]
    known = np.flatnonzero(np.isfinite(labels.gswlc_offset))[19:]
    poor = change(
        labels,
        gas_poor=labels.gas_poor & ~np.isin(np.arange(len(labels)), few),
        gswlc_offset=np.where(np.isin(np.arange(len(labels)), known), np.nan, labels.gswlc_offset),
    )
    found = answers(fit(poor, features, augmented), features)
    for name in ("gas_poor_logit", "gswlc_offset"):
        assert len(np.unique(found[name])) == 1 or np.isnan(found[name]).all()


# The distances


def test_held_out_pictures_are_near_and_their_augmentations_far(labels, features, augmented):
    rest = np.arange(len(labels)) % 2 == 0
    kept = rest[augmented.rows]
    network = StructureNet(128)
    fit_distances(network, features[rest], labels.detected[rest], augmented.features[:, kept])
    with torch.inference_mode():
        real, false = (
            network.distances(torch.from_numpy(part).float()).numpy()
            for part in (features[~rest], augmented.features[:, ~kept].reshape(-1, network.n_measured))
        )
    score = real.max(0)
    assert np.mean((false / score).max(1) > 1) > 0.9
    # What is real has odds of less than one to be any alteration.
    assert np.all(np.median(real[:, 2:], axis=0) < np.log(2))


def test_an_edge_is_where_few_pictures_lie_beyond(labels):
    network = StructureNet(128)
    fold = np.arange(len(labels)) % 2
    rng = np.random.default_rng(0)
    distances = rng.gamma([[9.0, 16.0, *(4.0,) * 7]], 1.0, (len(labels), 9))
    outputs = {"distance": np.full(len(labels), np.nan), "estimate": rng.normal(size=len(labels))}
    held_out = set_edges(network, OutOfFold(outputs, distances, fold), labels)
    edge = network.edge.numpy()
    assert len(EDGE_PERCENTILES) == 2 + len(AUGMENTATIONS_OOD)
    for column, limit, percent in zip(distances.T, edge, EDGE_PERCENTILES, strict=True):
        assert limit == pytest.approx(np.percentile(balanced(column, labels), percent), rel=1e-6)
    np.testing.assert_allclose(held_out.outputs["distance"], (distances / edge).max(1), rtol=1e-6)
    np.testing.assert_array_equal(held_out.outputs["estimate"], outputs["estimate"])
    assert np.isnan(outputs["distance"]).all()


def test_both_kinds_count_alike_however_many_there_are(labels):
    values = np.where(labels.detected, 1.0, 0.0)
    few = np.flatnonzero(labels.detected)[:5]
    rows = np.r_[few, np.flatnonzero(~labels.detected)]
    assert balanced(values[rows], labels[rows]).mean() == 0.5


# Cross-validation


@pytest.fixture(scope="module")
def out_of_fold(labels, features, augmented, everything):
    return cross_validate(
        StructureNet(128), features, labels, everything[2], augmented.features, augmented.rows
    )


def test_every_galaxy_has_an_answer_of_the_network_that_did_not_see_it(
    labels, features, augmented, everything, out_of_fold
):
    fold = everything[2]
    np.testing.assert_array_equal(out_of_fold.fold, fold)
    assert set(out_of_fold.outputs) == set(StructureNet(128)(torch.zeros(1, 3, 128, 128))._fields)
    for number in range(3):
        rest, held_out = fold != number, fold == number
        kept = rest[augmented.rows]
        network = fit_heads(
            StructureNet(128),
            features[rest],
            labels[rest],
            augmented.features[:, kept],
        )
        for name, expected in answers(network, features[held_out]).items():
            np.testing.assert_allclose(out_of_fold.outputs[name][held_out], expected, rtol=1e-5, atol=1e-5)
        with torch.inference_mode():
            distances = network.distances(torch.from_numpy(features[held_out]).float()).numpy()
        np.testing.assert_allclose(out_of_fold.distances[held_out], distances, rtol=1e-5)


def test_the_outputs_of_some_rows(labels, out_of_fold):
    some = out_of_fold[labels.gas_poor]
    for name, values in out_of_fold.outputs.items():
        np.testing.assert_array_equal(some[name], values[labels.gas_poor])


def test_the_labels_of_a_fold_do_not_reach_its_own_answers(
    labels, features, augmented, everything, out_of_fold
):
    inside = everything[2] == 0
    rng = np.random.default_rng(0)
    order = np.arange(len(labels))
    order[inside] = rng.permutation(order[inside])
    shuffled = labels[order]
    wrong = change(
        labels,
        detected=shuffled.detected,
        undetected=shuffled.undetected,
        gas_poor=shuffled.gas_poor,
        is_limit=shuffled.is_limit,
        log_hi_fraction=np.where(inside, 5 - 3 * shuffled.log_hi_fraction, labels.log_hi_fraction),
        gswlc_offset=np.where(inside, 2 - shuffled.gswlc_offset, labels.gswlc_offset),
    )
    changed = cross_validate(
        StructureNet(128), features, wrong, everything[2], augmented.features, augmented.rows
    )
    np.testing.assert_array_equal(changed.distances[inside], out_of_fold.distances[inside])
    for name, before in out_of_fold.outputs.items():
        after = changed.outputs[name]
        np.testing.assert_array_equal(after[inside], before[inside])
        if name != "distance":
            assert np.any(np.abs(after[~inside] - before[~inside]) > 1e-3)


def test_the_measurements_of_a_galaxy_do_not_reach_the_others_of_its_fold(
    labels, features, augmented, everything, out_of_fold
):
    fold = everything[2]
    inside = np.flatnonzero(fold == 1)
    one = np.flatnonzero((fold == 1)[augmented.rows])[0]
    row = augmented.rows[one]
    other, others = features.copy(), augmented.features.copy()
    other[row] = 3 * other[row] + 1
    others[:, one] = 2 * others[:, one] - 1
    changed = cross_validate(StructureNet(128), other, labels, fold, others, augmented.rows)
    same = inside[inside != row]
    for name, before in out_of_fold.outputs.items():
        after = changed.outputs[name]
        np.testing.assert_array_equal(after[same], before[same])
        assert after[row] != before[row]
    np.testing.assert_array_equal(changed.distances[same], out_of_fold.distances[same])


def test_the_out_of_fold_answers_follow_the_truth(labels, out_of_fold):
    seen = labels.detected
    assert np.corrcoef(out_of_fold.outputs["estimate"][seen], labels.log_hi_fraction[seen])[0, 1] > 0.8
