"""Folds that never split a group, fits and what they refuse, answers that are really held out."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hifrac.metrics import detection_auc
from hifrac.models.structure import StructureNet
from hifrac.training.fit import assign_folds, cross_validate, fit_heads, measure

# Measuring


@pytest.mark.parametrize("batch_size", [1, 5, 16])
def test_measurements_do_not_depend_on_the_batch(sample, features, batch_size):
    part = measure(StructureNet(128), sample.pixels[:16], batch_size)
    assert part.dtype == np.float64
    np.testing.assert_allclose(part, features[:16], rtol=1e-4, atol=1e-5)


def test_read_only_pixels_are_measured(sample, features):
    locked = sample.pixels[:4].copy()
    locked.setflags(write=False)
    np.testing.assert_allclose(measure(StructureNet(128), locked), features[:4], rtol=1e-4, atol=1e-5)


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


# Fitting


@pytest.fixture(scope="module")
def fitted(sample, features):
    return fit_heads(StructureNet(128), features, sample.detected, sample.log_hi_fraction, sample.group)


def answers(network, features):
    with torch.inference_mode():
        raw = torch.from_numpy(features).float()
        return [part.numpy() for part in network.forward_head(network.standardise(raw))]


def test_the_fit_finds_the_relation(sample, features, fitted):
    estimate, logit, distance = answers(fitted, features)
    seen = sample.detected
    error = estimate[seen] - sample.log_hi_fraction[seen]
    assert np.std(error) < 0.5 * np.std(sample.log_hi_fraction[seen])
    assert abs(np.median(error)) < 0.1
    assert detection_auc(seen, logit) > 0.75
    assert np.all(distance > 0)


def test_what_is_far_from_the_sample_has_a_large_distance(features, fitted):
    *_, distance = answers(fitted, features)
    *_, far = answers(fitted, features.mean(0) + 30 * features.std(0) * [[1], [-1]])
    assert far.min() > 2 * distance.max()


def test_nothing_far_out_moves_the_estimate_without_limit(features, fitted):
    wild = [answers(fitted, features.mean(0) + size * features.std(0)[None])[0] for size in (1e3, 1e6)]
    np.testing.assert_allclose(wild[0], wild[1], atol=1e-3)


def test_the_network_is_returned_ready_for_use(sample, features):
    network = StructureNet(128).train()
    result = fit_heads(network, features, sample.detected, sample.log_hi_fraction, sample.group)
    assert result is network
    assert not network.training


def test_the_fit_is_deterministic_and_ignores_labels_of_undetected_galaxies(sample, features, fitted):
    target = np.where(sample.detected, sample.log_hi_fraction, 99.0)
    again = fit_heads(StructureNet(128), features, sample.detected, target, sample.group)
    for name, value in fitted.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)


def test_a_measurement_without_spread_does_no_harm(sample, features):
    flat = features.copy()
    flat[:, 3] = 0.5
    network = fit_heads(StructureNet(128), flat, sample.detected, sample.log_hi_fraction, sample.group)
    for part in answers(network, flat):
        assert np.all(np.isfinite(part))


def test_one_wrong_label_does_not_steer_the_fit(sample, features, fitted):
    target = sample.log_hi_fraction.copy()
    target[2] += 5
    network = fit_heads(StructureNet(128), features, sample.detected, target, sample.group)
    others = sample.detected & (np.arange(len(target)) != 2)
    moved = answers(network, features[others])[0] - answers(fitted, features[others])[0]
    # Least squares would move the mean by a tenth of a dex, and the galaxies like this one by far more.
    assert np.sqrt(np.mean(moved**2)) < 0.1


def rows(sample, n_detected, n_undetected):
    seen = np.flatnonzero(sample.detected)[:n_detected]
    unseen = np.flatnonzero(~sample.detected)[:n_undetected]
    return np.concatenate([seen, unseen])


@pytest.mark.parametrize(("n_detected", "n_undetected"), [(19, 40), (40, 19), (0, 40), (40, 0)])
def test_too_few_galaxies_of_a_kind(sample, features, n_detected, n_undetected):
    few = rows(sample, n_detected, n_undetected)
    with pytest.raises(ValueError, match=r"^detected must hold at least 20 detections and 20 non-detections"):
        fit_heads(
            StructureNet(128),
            features[few],
            sample.detected[few],
            sample.log_hi_fraction[few],
            sample.group[few],
        )


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_target_that_is_no_number(sample, features, bad):
    target = sample.log_hi_fraction.copy()
    target[4] = bad
    with pytest.raises(ValueError, match=r"^target must be finite and not constant"):
        fit_heads(StructureNet(128), features, sample.detected, target, sample.group)


def test_a_target_without_spread(sample, features):
    target = np.full(len(sample.detected), 0.3)
    with pytest.raises(ValueError, match=r"^target must be finite and not constant"):
        fit_heads(StructureNet(128), features, sample.detected, target, sample.group)


# Cross-validation


@pytest.fixture(scope="module")
def fold(sample):
    return assign_folds(sample.detected, sample.group, 2, 0)


@pytest.fixture(scope="module")
def out_of_fold(sample, features, fold):
    return cross_validate(sample, features, fold)


def test_every_galaxy_has_an_answer_of_the_network_that_did_not_see_it(sample, features, fold, out_of_fold):
    np.testing.assert_array_equal(out_of_fold.fold, fold)
    for number in (0, 1):
        rest, held_out = fold != number, fold == number
        network = fit_heads(
            StructureNet(128),
            features[rest],
            sample.detected[rest],
            sample.log_hi_fraction[rest],
            sample.group[rest],
        )
        for found, expected in zip(
            (out_of_fold.log_hi_fraction, out_of_fold.detection_logit, out_of_fold.distance),
            answers(network, features[held_out]),
            strict=True,
        ):
            np.testing.assert_allclose(found[held_out], expected, rtol=1e-5, atol=1e-5)


def test_the_labels_of_a_fold_do_not_reach_its_own_answers(sample, features, fold, out_of_fold):
    inside = fold == 0
    target = sample.log_hi_fraction.copy()
    target[inside] = 5 - 3 * target[inside]
    detected = sample.detected.copy()
    swapped = np.flatnonzero(inside)[::4]
    detected[swapped] = ~detected[swapped]
    target[detected & ~np.isfinite(target)] = 2.0
    changed = cross_validate(
        dataclasses.replace(sample, log_hi_fraction=target, detected=detected), features, fold
    )
    for name in ("log_hi_fraction", "detection_logit", "distance"):
        before, after = getattr(out_of_fold, name), getattr(changed, name)
        np.testing.assert_array_equal(after[inside], before[inside])
        assert np.any(np.abs(after[~inside] - before[~inside]) > 1e-3)


def test_the_measurements_of_a_galaxy_do_not_reach_the_others_of_its_fold(
    sample, features, fold, out_of_fold
):
    inside = np.flatnonzero(fold == 1)
    other = features.copy()
    other[inside[0]] = 3 * other[inside[0]] + 1
    changed = cross_validate(sample, other, fold)
    for name in ("log_hi_fraction", "detection_logit", "distance"):
        before, after = getattr(out_of_fold, name), getattr(changed, name)
        np.testing.assert_array_equal(after[inside[1:]], before[inside[1:]])
        assert after[inside[0]] != before[inside[0]]


def test_the_out_of_fold_answers_follow_the_truth(sample, out_of_fold):
    seen = sample.detected
    estimate, truth = out_of_fold.log_hi_fraction[seen], sample.log_hi_fraction[seen]
    assert np.corrcoef(estimate, truth)[0, 1] > 0.8
