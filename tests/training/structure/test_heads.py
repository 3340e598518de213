"""Fits and what they refuse, readings and answers that are really held out."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from hifrac.metrics import detection_auc
from hifrac.models.photometry import PhotometryHead
from hifrac.models.structure import NetworkOutput, StructureNet
from hifrac.training.measuring.distances import EDGE_PERCENTILES, balanced, fit_distances
from hifrac.training.measuring.measurements import augmented_features, measure
from hifrac.training.measuring.ood import AUGMENTATIONS_OOD, HARMLESS, as_read
from hifrac.training.measuring.photometry import fit_photometry
from hifrac.training.splits import assign_folds
from hifrac.training.structure.cross_validation import cross_validate, learning_curve, set_edges
from hifrac.training.structure.heads import (
    cross_readings,
    fit_detection_head,
    fit_heads,
    fit_readings,
    readings,
)
from hifrac.training.structure.priors import fit_catalogs

pytestmark = pytest.mark.numeric

# Measuring


@pytest.mark.parametrize("batch_size", [1, 5, 16])
def test_measurements_do_not_depend_on_the_batch(sample, measured, batch_size):
    part = measure(StructureNet(128), sample.pixels[:16], batch_size)
    assert part.dtype == np.float64
    np.testing.assert_allclose(part, measured.features[:16, :-1], rtol=1e-4, atol=1e-5)


def test_read_only_pixels_are_measured(sample, measured):
    locked = sample.pixels[:4].copy()
    locked.setflags(write=False)
    again = measure(StructureNet(128), locked)
    np.testing.assert_allclose(again, measured.features[:4, :-1], rtol=1e-4, atol=1e-5)


def test_altered_pictures_are_measured_by_the_name_of_the_alteration(sample, measured):
    assert set(measured.augmented) == {*AUGMENTATIONS_OOD, *HARMLESS}
    assert len(AUGMENTATIONS_OOD) == StructureNet.N_ALTERATIONS
    swapped = as_read(sample.pixels[measured.augmented_rows[:3], ..., ::-1])
    expected = measure(StructureNet(128), swapped)
    found = measured.augmented["red and blue swapped"][:3]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_altered_pictures_of_a_fold_know_nothing_of_the_other_folds(sample, measured, fold):
    part = np.flatnonzero(fold[measured.augmented_rows] == 1)
    rows = measured.augmented_rows[part]
    alone = augmented_features(StructureNet(128), sample.pixels, rows, fold)
    for name, values in alone.items():
        np.testing.assert_allclose(values, measured.augmented[name][part], rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(measured.augmented_of(fold == 1)[name], measured.augmented[name][part])


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


def test_folds_are_fixed_by_the_seed(galaxies):
    kind, group = np.asarray(galaxies["detected"]), np.asarray(galaxies["group"])
    first = assign_folds(kind, group, 5, 1)
    np.testing.assert_array_equal(assign_folds(kind, group, 5, 1), first)
    assert np.any(assign_folds(kind, group, 5, 2) != first)


def test_folds_have_their_share_of_detections(galaxies):
    detected = np.asarray(galaxies["detected"])
    fold = assign_folds(detected, np.asarray(galaxies["group"]), 4, 3)
    for number in range(4):
        inside = fold == number
        assert inside.sum() == pytest.approx(len(fold) / 4, abs=4)
        assert detected[inside].mean() == pytest.approx(detected.mean(), abs=0.1)


# Photometry


def test_the_photometry_is_learned_where_it_is_known():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 12))
    targets = features[:, :8] @ rng.normal(size=(8, 8)) + 0.3 * np.tanh(3 * features[:, :1])
    known = targets.copy()
    known[::10, 3] = np.nan
    head = PhotometryHead(12)
    fit_photometry(head, features[:200], known[:200])
    with torch.inference_mode():
        answers = head(torch.from_numpy(features[200:]).float()).numpy()
    for found, expected in zip(answers.T, targets[200:].T, strict=True):
        assert np.corrcoef(found, expected)[0, 1] > 0.9
    assert not head.training


def test_the_steps_are_fixed_by_their_seed_and_leave_the_generator_alone():
    rng = np.random.default_rng(1)
    features, targets = rng.normal(size=(60, 5)), rng.normal(size=(60, 8))
    states = []
    for seed in (0, 0, 1):
        head = PhotometryHead(5)
        torch.manual_seed(7)
        fit_photometry(head, features, targets, seed)
        states.append(torch.cat([part.flatten() for part in head.state_dict().values()]))
        drawn = torch.rand(1)
        torch.manual_seed(7)
        assert drawn == torch.rand(1)
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_a_galaxy_with_absurd_magnitudes_does_not_rule_the_units():
    rng = np.random.default_rng(2)
    features, targets = rng.normal(size=(2000, 5)), rng.normal(size=(2000, 8))
    targets[5, 0] = -9999.0
    head = PhotometryHead(5)
    fit_photometry(head, features, targets)
    assert head.scale[0].item() == pytest.approx(1, abs=0.2)


# Fitting


@pytest.fixture(scope="module")
def prepared(catalogs):
    """Makes networks that know what the catalogues teach."""
    network = StructureNet(128)
    fit_catalogs(network, catalogs)
    state = network.state_dict()

    def make():
        copy = StructureNet(128)
        copy.load_state_dict(state)
        return copy

    return make


@pytest.fixture(scope="module")
def crossed(prepared, measured, galaxies, fold):
    return cross_readings(prepared(), measured.features, galaxies, fold)


@pytest.fixture(scope="module")
def fit(prepared, measured, crossed):
    def make(galaxies):
        network = prepared()
        fit_readings(network, measured.features, galaxies)
        fit_heads(network, measured.features, galaxies, crossed.values[-1])
        fit_detection_head(network, measured.features, galaxies, np.zeros(len(galaxies)))
        return network

    return make


@pytest.fixture(scope="module")
def fitted(fit, galaxies):
    return fit(galaxies)


def answers(network, features):
    with torch.inference_mode():
        output = network.forward_head(torch.from_numpy(features).float())
    return {name: part.numpy() for name, part in output._asdict().items()}


def test_the_fit_finds_the_relation(galaxies, measured, fitted):
    found = answers(fitted, measured.features)
    seen, truth = np.asarray(galaxies["detected"]), np.asarray(galaxies["log_hi_fraction"])
    error = found["estimate"][seen] - truth[seen]
    assert np.std(error) < 0.5 * np.std(truth[seen])
    assert abs(np.median(error)) < 0.1
    kinds = seen | galaxies["undetected"]
    assert detection_auc(seen[kinds], found["detection_logit"][kinds]) > 0.75
    for name in ("g_minus_i", "i"):
        known = np.isfinite(galaxies[name])
        assert spearmanr(found[name][known], galaxies[name][known]).statistic > 0.9
    known = np.isfinite(galaxies["axis_ratio"])
    assert spearmanr(found["axis_ratio"][known], galaxies["axis_ratio"][known]).statistic > 0.8


def test_the_offset_of_the_stellar_masses_is_learned_where_it_is_known(galaxies, measured, fitted):
    offset = galaxies["log_mstar"] - galaxies["log_mstar_gswlc"]
    known = np.isfinite(offset)
    assert 20 <= known.sum() < galaxies["detected"].sum()
    found = answers(fitted, measured.features)["gswlc_offset"]
    assert spearmanr(found[known], offset[known]).statistic > 0.9
    assert found.std() < 0.3


def test_too_few_masses_of_gswlc_say_nothing(galaxies, measured, fit):
    few = galaxies.copy()
    few["log_mstar_gswlc"][np.flatnonzero(np.isfinite(few["log_mstar_gswlc"]))[19:]] = np.nan
    assert np.all(answers(fit(few), measured.features)["gswlc_offset"] == 0)


def test_a_detection_without_a_catalogue_is_learned_from_by_its_picture(galaxies, measured, fit, fitted):
    unknown = galaxies.copy()
    for name in ("g_minus_i", "i"):
        unknown[name][2] = np.nan
    found = answers(fit(unknown), measured.features)["residual_photometry"]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(
        found, answers(fitted, measured.features)["residual_photometry"], atol=0.2
    )  # one of 46


def test_what_the_posterior_says_of_a_detection_has_its_own_weight(galaxies, measured, fitted):
    detected, kinds = np.asarray(galaxies["detected"]), galaxies["detected"] | galaxies["undetected"]
    noise = np.random.default_rng(0).normal(size=len(galaxies))
    telling = np.where(detected, 3.0, -3.0) + noise
    weights = [fit_detection_head(fitted, measured.features, galaxies, odds) for odds in (telling, noise)]
    assert weights[0] > 0.15 > abs(weights[1])
    alone = answers(fitted, measured.features)["detection_logit"]
    fit_detection_head(fitted, measured.features, galaxies, telling)
    beside = answers(fitted, measured.features)["detection_logit"]
    assert np.ptp(beside[kinds]) < np.ptp(alone[kinds])


def test_texture_tells_nothing_of_the_galaxy(fitted):
    texture = StructureNet.columns(("texture",))
    for head in (fitted.detection, *fitted.residual.children()):
        assert torch.all(head.weight[0, texture] == 0)


def test_a_measurement_without_spread_does_no_harm(prepared, galaxies, measured, crossed):
    flat = measured.features.copy()
    flat[:, 3] = 0.5
    network = prepared()
    fit_readings(network, flat, galaxies)
    fit_heads(network, flat, galaxies, crossed.values[-1])
    for part in answers(network, flat).values():
        assert np.all(np.isfinite(part))


@pytest.mark.parametrize(("n_detected", "n_undetected"), [(19, 40), (40, 19), (0, 40), (40, 0)])
def test_too_few_galaxies_of_a_kind(prepared, galaxies, measured, crossed, n_detected, n_undetected):
    few = np.r_[
        np.flatnonzero(galaxies["detected"])[:n_detected],
        np.flatnonzero(galaxies["undetected"])[:n_undetected],
    ]
    with pytest.raises(ValueError, match=r"^detected must hold at least 20 detections and 20 non-detections"):
        fit_heads(prepared(), measured.features[few], galaxies[few], crossed.values[-1][few])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.3])
def test_targets_that_are_no_numbers_or_all_the_same(prepared, galaxies, measured, crossed, bad):
    wrong = galaxies.copy()
    wrong["log_hi_fraction"][4 if bad != 0.3 else slice(None)] = bad
    with pytest.raises(ValueError, match=r"^target must be finite and not constant"):
        fit_heads(prepared(), measured.features, wrong, crossed.values[-1])


# The distances


def test_held_out_pictures_are_near_and_their_augmentations_far(galaxies, measured):
    rest = np.arange(len(galaxies)) % 2 == 0
    network = StructureNet(128)
    detected = np.asarray(galaxies["detected"])
    fit_distances(network, measured, detected, rest)
    false = np.concatenate([measured.augmented_of(~rest)[name] for name in AUGMENTATIONS_OOD])
    with torch.inference_mode():
        real, false = (
            network.distances(torch.from_numpy(part).float()).numpy()
            for part in (measured.features[~rest], false)
        )
    assert np.mean((false / real.max(0)).max(1) > 1) > 0.9
    # What is real has odds of less than one to be any alteration.
    assert np.all(np.median(real[:, 2:], axis=0) < np.log(2))


def test_both_kinds_count_alike_however_many_there_are(galaxies):
    values = np.where(galaxies["detected"], 1.0, 0.0)
    rows = np.r_[np.flatnonzero(galaxies["detected"])[:5], np.flatnonzero(galaxies["undetected"])]
    kinds = [np.asarray(galaxies[name])[rows] for name in ("detected", "undetected")]
    assert balanced(values[rows], *kinds).mean() == 0.5


# Cross-validation


@pytest.fixture(scope="module")
def cross(prepared, measured, fold, catalogs):
    """Cross-validates with other labels, or other measurements of a row."""

    def run(galaxies, row=None):
        changed = measured
        if row is not None:
            features = measured.features.copy()
            features[row] = 1.5 * features[row] + 0.5
            augmented = {name: values.copy() for name, values in measured.augmented.items()}
            for values in augmented.values():
                values[measured.augmented_rows == row] *= 2
            changed = dataclasses.replace(measured, features=features, augmented=augmented)
        return cross_validate(prepared(), galaxies, fold, changed, catalogs)

    return run


@pytest.fixture(scope="module")
def out_of_fold(cross, galaxies):
    return cross(galaxies)


def test_every_galaxy_has_an_answer_of_a_network_that_did_not_see_it(
    galaxies, prepared, measured, fold, crossed, out_of_fold
):
    np.testing.assert_array_equal(out_of_fold.fold, fold)
    assert set(out_of_fold.outputs) == set(NetworkOutput._fields)
    number, rest = 1, fold != 1
    network = prepared()
    fit_readings(network, measured.features[rest], galaxies[rest])
    fit_heads(network, measured.features[rest], galaxies[rest], crossed.values[number][rest])
    for name, expected in answers(network, measured.features[~rest]).items():
        if name not in ("distance", "detection_logit"):
            np.testing.assert_allclose(out_of_fold.outputs[name][~rest], expected, rtol=1e-5, atol=1e-5)


def test_readings_of_a_fold_that_are_learned_from_know_neither_it_nor_the_one_held_out(
    galaxies, prepared, measured, fold, crossed
):
    rest = (fold != 0) & (fold != 2)
    network = prepared()
    fit_readings(network, measured.features[rest], galaxies[rest])
    for held_out, without in ((0, 2), (2, 0)):
        rows = fold == held_out
        expected = readings(network, measured.features[rows])
        np.testing.assert_allclose(crossed.values[without][rows], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(crossed.values[-1][fold == 2], crossed.values[2][fold == 2])
    assert np.isfinite(crossed.values).all()


def test_the_labels_of_a_fold_do_not_reach_its_own_answers(galaxies, fold, cross, out_of_fold):
    inside = fold == 0
    order = np.arange(len(galaxies))
    order[inside] = np.random.default_rng(0).permutation(order[inside])
    wrong = galaxies[order]
    for name in ("log_hi_fraction", "resolve", "g_minus_i", "i", "log_cz", "axis_ratio", "log_mstar_gswlc"):
        wrong[name][inside] = 3 - 0.5 * wrong[name][inside]
    wrong["photometry"][inside] = 3 - wrong["photometry"][inside]
    for name in ("ebv", "group", "dec_nearby"):
        wrong[name] = galaxies[name]
    changed = cross(wrong)
    np.testing.assert_array_equal(changed.distances[inside], out_of_fold.distances[inside])
    for name, before in out_of_fold.outputs.items():
        after = changed.outputs[name]
        np.testing.assert_array_equal(after[inside], before[inside])
        if name != "distance":
            assert np.any(np.abs(after[~inside] - before[~inside]) > 1e-3)
    np.testing.assert_array_equal(changed.read[inside], out_of_fold.read[inside])
    for before, after in zip(out_of_fold.models, changed.models, strict=True):
        same = torch.equal(before.population.mode, after.population.mode)
        assert same == (before is out_of_fold.models[0])


def test_the_measurements_of_a_galaxy_do_not_reach_the_others_of_its_fold(
    measured, fold, galaxies, cross, out_of_fold
):
    row = measured.augmented_rows[fold[measured.augmented_rows] == 1][0]
    changed = cross(galaxies, row)
    same = (fold == 1) & (np.arange(len(fold)) != row)
    for name, before in out_of_fold.outputs.items():
        after = changed.outputs[name]
        np.testing.assert_array_equal(after[same], before[same])
        assert after[row] != before[row]
    np.testing.assert_array_equal(changed.distances[same], out_of_fold.distances[same])


def test_an_edge_is_where_few_pictures_lie_beyond(galaxies, out_of_fold):
    network = StructureNet(128)
    rng = np.random.default_rng(0)
    distances = rng.gamma([[9.0, 16.0, *(4.0,) * 7]], 1.0, (len(galaxies), 9))
    held_out = set_edges(
        network, dataclasses.replace(out_of_fold, distances=distances, harmless=0 * distances)
    )
    edge = network.edge.numpy()
    kinds = [np.asarray(galaxies[name]) for name in ("detected", "undetected")]
    assert len(EDGE_PERCENTILES) == 2 + len(AUGMENTATIONS_OOD)
    for column, limit, percent in zip(distances.T, edge, EDGE_PERCENTILES, strict=True):
        assert limit == pytest.approx(np.percentile(balanced(column, *kinds), percent), rel=1e-6)
    np.testing.assert_allclose(held_out.outputs["distance"], (distances / edge).max(1), rtol=1e-6)
    np.testing.assert_array_equal(held_out.outputs["estimate"], out_of_fold.outputs["estimate"])


def test_an_edge_leaves_harmless_pictures_inside(out_of_fold):
    network = StructureNet(128)
    set_edges(network, dataclasses.replace(out_of_fold, harmless=out_of_fold.harmless + 100))
    assert np.all(network.edge.numpy() > 100)


def test_the_learning_curve_ends_at_the_answers(galaxies, measured, prepared, fold, out_of_fold):
    most = max(np.sum(galaxies["detected"] & (fold != number)) for number in range(3))
    curve = learning_curve(prepared(), out_of_fold, measured.features, 3, (5, most))
    rows = np.flatnonzero(galaxies["detected"])
    for name in ("picture", "picture+z+photometry"):
        located = out_of_fold.by_fold(rows, name, lambda posterior, _: posterior.location)
        expected = np.sort(located - galaxies["log_hi_fraction"][rows])
        np.testing.assert_allclose(np.sort(curve[most][name]), expected, atol=1e-4)
        assert np.abs(np.sort(curve[5][name]) - expected).max() > 0.02
