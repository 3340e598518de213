"""The seam between a network's outputs and what a user is told."""

from types import SimpleNamespace

import numpy as np
import pytest

from hifrac import load_model
from hifrac.core.flags import Flag
from hifrac.demo import PICTURES, sample_table
from hifrac.models.answer import ANSWER_COLUMNS, INTERVAL_LEVELS, Answer
from hifrac.models.calibration import ConformalTable
from hifrac.models.detection import DetectionTable

pytestmark = pytest.mark.numeric

CALIBRATION = ConformalTable(99, (0.05, 0.16, 0.5, 0.84, 0.95), (-0.5, -0.3, 0.0, 0.3, 0.6))
DETECTION = DetectionTable(2.0, 0.5, 0.4, (0.0, 50.0, 100.0), (0.0, 1.0, 2.0), 90.0, largest_ebv=0.2)
OUTPUTS = {
    "estimate": np.array([-1.0, 0.5]),
    "detection_logit": np.array([-3.0, 3.0]),
    "gswlc_offset": np.array([0.1, 0.2]),
    "distance": np.array([3.0, 0.5]),
}


def card(calibration=None, detection=None):
    return SimpleNamespace(calibration=calibration, detection=detection)


def test_the_outputs_are_calibrated_and_flagged():
    answer = Answer.from_outputs(card(CALIBRATION, DETECTION), OUTPUTS, np.array([np.nan, 0.3]))
    np.testing.assert_array_equal(answer.estimate, OUTPUTS["estimate"])
    np.testing.assert_allclose(answer.gswlc, [-0.9, 0.7])
    assert sorted(answer.quantiles) == [0.05, 0.16, 0.84, 0.95]
    np.testing.assert_allclose(answer.quantiles[0.16], [-1.3, 0.2])
    np.testing.assert_allclose(answer.p_detect, 1 / (1 + np.exp([5.5, -6.5])))
    np.testing.assert_allclose(answer.ood_score, [100, 25])
    assert answer.flags.dtype == np.int32
    assert answer.flags.tolist() == [
        Flag.UNLIKELY_DETECTION | Flag.OUT_OF_DISTRIBUTION,
        Flag.HIGH_REDDENING,
    ]
    assert tuple(answer.columns()) == ANSWER_COLUMNS
    for name, level in INTERVAL_LEVELS.items():
        assert answer.columns()[f"log_hi_fraction_{name}"] is answer.quantiles[level]


def test_what_a_model_does_not_say_is_nan_and_flags_nothing():
    raw = Answer.from_outputs(card(), {"estimate": OUTPUTS["estimate"]})
    np.testing.assert_array_equal(raw.estimate, OUTPUTS["estimate"])
    assert raw.quantiles == {}
    classes = Answer.from_outputs(
        card(detection=DETECTION), {"detection_logit": OUTPUTS["detection_logit"]}, np.array([0.3, 0.1])
    )
    assert np.isfinite(classes.p_detect).all()
    for missing in (raw.gswlc, raw.p_detect, raw.ood_score, classes.estimate, classes.ood_score):
        assert np.isnan(missing).all()
    assert np.isnan(raw.columns()["log_hi_fraction_p16"]).all()
    assert raw.flags.tolist() == [0, 0]
    assert classes.flags.tolist() == [Flag.UNLIKELY_DETECTION | Flag.HIGH_REDDENING, 0]


def test_a_model_answers_as_its_card_calibrates():
    model = load_model("default", device="cpu")
    names = sample_table()["name"][:3]
    pixels = np.stack([model.card.recipe.decode((PICTURES / f"{name}.jpg").read_bytes()) for name in names])
    ebv = np.array([0.02, np.nan, 9.0])
    answer, outputs = model.answer(pixels, ebv), model.run(pixels, ebv)
    np.testing.assert_array_equal(answer.estimate, model.card.calibration.estimate(outputs))
    for level in INTERVAL_LEVELS.values():
        np.testing.assert_array_equal(
            answer.quantiles[level], model.card.calibration.quantile(outputs, level)
        )
    assert (answer.flags & Flag.HIGH_REDDENING > 0).tolist() == [False, False, True]
    with pytest.raises(ValueError, match="pixels must be uint8"):
        model.answer(pixels[0])
