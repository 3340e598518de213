"""The seam between a network's outputs and what a user is told."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from contract import assert_same_estimates, assert_same_probabilities
from scipy.special import ndtri

from hifrac import load_model
from hifrac.core.columns import columns_of
from hifrac.core.evidence import Evidence
from hifrac.core.flags import Flag
from hifrac.demo import PICTURES, sample_table
from hifrac.models.answer import INTERVAL_LEVELS, Answer, evidence_text
from hifrac.models.calibration import MASS_SCALES, SELECTIONS, ConformalTable
from hifrac.models.detection import DetectionTable

pytestmark = pytest.mark.numeric

CALIBRATION = ConformalTable(99, (0.05, 0.16, 0.5, 0.84, 0.95), (-0.5, -0.3, 0.0, 0.3, 0.6))
DETECTION = DetectionTable(2.0, 0.5, 0.4, (0.0, 50.0, 100.0), (0.0, 1.0, 2.0), 90.0, largest_ebv=0.2)
OUTPUTS = {
    "estimate": np.array([-1.0, 0.5]),
    "detection_logit": np.array([-3.0, 3.0]),
    "distance": np.array([3.0, 0.5]),
}


def card(calibration=None, detection=None):
    return SimpleNamespace(calibration=calibration, detection=detection)


def test_the_outputs_are_calibrated_and_flagged():
    answer = Answer.from_outputs(card(CALIBRATION, DETECTION), OUTPUTS, np.array([np.nan, 0.3]))
    np.testing.assert_array_equal(answer.estimate, OUTPUTS["estimate"])
    assert sorted(answer.quantiles) == [0.05, 0.16, 0.84, 0.95]
    np.testing.assert_allclose(answer.quantiles[0.16], [-1.3, 0.2])
    np.testing.assert_allclose(answer.probability, 1 / (1 + np.exp([5.5, -6.5])))
    np.testing.assert_allclose(answer.ood_score, [100, 25])
    assert answer.flags.dtype == np.int32
    assert answer.flags.tolist() == [
        Flag.UNLIKELY_DETECTION | Flag.OUT_OF_DISTRIBUTION,
        Flag.HIGH_REDDENING,
    ]
    columns = answer.columns("log_hi_fraction")
    assert [*columns] == [
        name for name in columns_of("log_hi_fraction", "") if name not in ("evidence", "flags")
    ]
    for name, level in INTERVAL_LEVELS.items():
        assert columns[f"log_hi_fraction_{name}"] is answer.quantiles[level]
    assert columns["p_detect"] is answer.probability


class Halves:
    """A calibration that uses evidence: normal, as wide as the reddening says, moved by the mass."""

    def quantiles(self, outputs, ebv, evidence, levels):
        center = outputs["estimate"] + np.nan_to_num(evidence.log_mstar)
        return center[:, None] + ebv[:, None] * ndtri(levels)


def test_a_calibration_may_use_what_is_known_of_a_galaxy():
    outputs = {"estimate": np.array([8.5, 9.0]), "star_forming_logit": np.array([-3.0, 3.0])}
    ebv, evidence = np.array([0.1, 0.3]), Evidence.none(2)
    evidence.log_mstar[1] = 0.1
    shares = np.array([[0.5, 0.84], [0.16, 0.5]])
    answer = Answer.from_outputs(card(Halves(), DETECTION), outputs, ebv, evidence=evidence, shares=shares)
    np.testing.assert_allclose(answer.estimate, [8.5, 9.1])
    np.testing.assert_allclose(answer.quantiles[0.95], answer.estimate + ebv * ndtri(0.95))
    np.testing.assert_allclose(answer.samples, answer.estimate[:, None] + ebv[:, None] * ndtri(shares))
    columns = answer.columns("oh")
    assert columns["p_star_forming"] is answer.probability
    assert columns["oh_samples"] is answer.samples
    np.testing.assert_allclose(answer.probability, 1 / (1 + np.exp([5.5, -6.5])))
    assert answer.flags.tolist() == [Flag.NOT_STAR_FORMING, Flag.HIGH_REDDENING]


def test_what_a_model_does_not_say_is_nan_and_flags_nothing():
    raw = Answer.from_outputs(card(), {"estimate": OUTPUTS["estimate"]})
    np.testing.assert_array_equal(raw.estimate, OUTPUTS["estimate"])
    assert raw.quantiles == {}
    classes = Answer.from_outputs(
        card(detection=DETECTION), {"detection_logit": OUTPUTS["detection_logit"]}, np.array([0.3, 0.1])
    )
    assert np.isfinite(classes.probability).all()
    for missing in (raw.probability, raw.ood_score, classes.estimate, classes.ood_score):
        assert np.isnan(missing).all()
    assert np.isnan(raw.columns("log_hi_fraction")["log_hi_fraction_p16"]).all()
    assert raw.flags.tolist() == [0, 0]
    assert classes.flags.tolist() == [Flag.UNLIKELY_DETECTION | Flag.HIGH_REDDENING, 0]


@pytest.fixture(scope="module")
def model():
    return load_model("default", device="cpu")


@pytest.fixture(scope="module")
def pixels(model):
    """The first pictures of the demonstration."""
    names = sample_table()["name"][:24]
    return np.stack([model.card.recipe.decode((PICTURES / f"{name}.jpg").read_bytes()) for name in names])


def test_a_model_answers_by_its_posterior(model, pixels):
    ebv = np.array([0.02, np.nan, 9.0])
    outputs, evidence = model.run(pixels[:3], ebv), Evidence.none(3)
    evidence.log_cz[1] = 3.8
    shares = np.random.default_rng(0).random((3, 5))
    for selection in SELECTIONS:
        for mass_scale in MASS_SCALES:
            options = {"evidence": evidence, "selection": selection, "mass_scale": mass_scale}
            answer = model.answer(pixels[:3], ebv, **options, shares=shares)
            posterior = model.posterior_model.infer(outputs, ebv, evidence, mass_scale)
            density = posterior.density(selection)
            np.testing.assert_allclose(answer.estimate, density.quantile([0.5])[:, 0])
            for level in INTERVAL_LEVELS.values():
                np.testing.assert_allclose(answer.quantiles[level], density.quantile([level])[:, 0])
            np.testing.assert_allclose(answer.samples, density.quantile(shares))
            assert answer.columns("log_hi_fraction")["log_hi_fraction_samples"] is answer.samples
            expected = model.card.detection.probability(
                outputs["detection_logit"], posterior.detection_log_odds.numpy()
            )
            np.testing.assert_allclose(answer.probability, expected)
    assert (answer.flags & Flag.HIGH_REDDENING > 0).tolist() == [False, False, True]
    with pytest.raises(ValueError, match="pixels must be uint8"):
        model.answer(pixels[0])


def test_the_galaxies_as_they_are_are_the_default(model, pixels):
    default, other = model.answer(pixels), model.answer(pixels, selection="alfalfa", mass_scale="taylor")
    intrinsic = model.answer(pixels, evidence=Evidence.none(24), selection="intrinsic", mass_scale="taylor")
    np.testing.assert_array_equal(default.estimate, intrinsic.estimate)
    assert default.samples is None
    assert np.abs(default.estimate - other.estimate).max() > 0.1


def test_detected_galaxies_have_more_than_all_and_undetected_ones_less(model, pixels):
    detected, every, missed = (
        model.answer(pixels, selection=selection).estimate
        for selection in ("alfalfa", "intrinsic", "undetected")
    )
    assert (every >= missed).all()
    # Of one formula are the last two alone; the first is read off the picture by itself.
    assert (detected - every).mean() > 0.05
    assert (detected - every > -0.1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"selection": "hi"}, "^selection must be one of intrinsic, alfalfa, undetected, got 'hi'"),
        ({"mass_scale": "kroupa"}, "^mass_scale must be one of taylor, gswlc, got 'kroupa'"),
    ],
)
def test_unknown_choices_are_refused(model, pixels, options, message):
    with pytest.raises(ValueError, match=message):
        model.answer(pixels[:1], **options)


@pytest.mark.parametrize(
    "options", [{"selection": "alfalfa"}, {"mass_scale": "taylor"}, {"shares": np.full((1, 2), 0.5)}]
)
def test_a_model_without_distributions_has_no_choices(shallow_model, options):
    model = load_model(shallow_model, device="cpu")
    assert model.posterior_model is None
    outputs = {"estimate": np.zeros(1)}
    assert model.interpret(outputs, evidence=Evidence.none(1)).estimate.tolist() == [0]
    name = next(iter(options)).replace("shares", "samples")
    with pytest.raises(ValueError, match=rf"^{name}: the model 'mine' has one answer"):
        model.interpret(outputs, **options)


def test_the_script_and_python_answer_the_same(pixels):
    script, eager = (
        load_model("default", device="cpu", runtime=runtime) for runtime in ("torchscript", "eager")
    )
    for selection in SELECTIONS:
        expected = script.answer(pixels, selection=selection)
        answer = eager.answer(pixels, selection=selection)
        assert_same_estimates(answer.estimate, expected.estimate)
        assert_same_probabilities(answer.probability, expected.probability)


def test_a_runtime_without_weights_by_name_has_the_distributions(model, pixels):
    compiled = dataclasses.replace(model, runtime="openvino", network=torch.nn.Identity())
    outputs = model.run(pixels[:3])
    for selection in SELECTIONS:
        expected = model.interpret(outputs, selection=selection).estimate
        np.testing.assert_array_equal(compiled.interpret(outputs, selection=selection).estimate, expected)


def test_settings_of_the_process_change_nothing(model, pixels):
    expected = model.answer(pixels[:2], np.full(2, 0.03)).estimate
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            np.testing.assert_array_equal(model.answer(pixels[:2], np.full(2, 0.03)).estimate, expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_evidence_of_a_row_in_words():
    evidence = Evidence.none(5)
    evidence.log_cz[1:] = 3.8
    evidence.g_minus_i[2:] = 0.8
    evidence.i[3:] = 15.0
    evidence.axis_ratio[4], evidence.log_mstar[4], evidence.log_mhi_limit[4] = 0.5, 9.5, 9.0
    evidence.magnitudes[1, 2], evidence.magnitudes[4] = 16.0, 15.0
    uses = ("log_cz", "g_minus_i", "axis_ratio", "log_mstar", "log_mhi_limit")
    assert evidence_text(evidence, uses).tolist() == [
        "picture",
        "picture+z",
        "picture+z",
        "picture+z+photometry",
        "picture+z+photometry+axis_ratio+log_mstar+log_mhi_limit",
    ]
    assert evidence_text(evidence, ("log_cz", "magnitudes")).tolist() == [
        "picture",
        "picture+z+r",
        "picture+z",
        "picture+z",
        "picture+z+ugriz",
    ]
    assert set(evidence_text(evidence, ())) == {"picture"}
