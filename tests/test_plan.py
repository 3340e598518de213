"""What a large catalogue costs: the sums, the rates they rest on, and the page that shows them."""

import re
import shlex
from pathlib import Path

import pytest
from commands import call
from hypothesis import given
from hypothesis import strategies as st

from hifrac import _plan
from hifrac._plan import IMAGING, plan

DOCS = Path(__file__).parents[1] / "docs"


def test_a_million_by_hand():
    figures = plan(1e6, max_rate=20, price=0.1)
    assert figures["predict_hours"] == pytest.approx(1e6 / _plan.PREDICT_RATE / 3600)
    assert figures["service_days"] == pytest.approx(50_000 / 86_400)
    assert figures["cost"] == pytest.approx((figures["predict_hours"] + figures["cut_hours"]) * 0.1)
    assert figures["cut_hours"] == pytest.approx((figures["fields"] * 1.6 + 1e6 / 800) / 3600)


@given(st.floats(1, 1e12), st.sampled_from(sorted(IMAGING)))
def test_fields_are_no_more_than_galaxies_nor_than_the_survey_has(n, imaging):
    survey = IMAGING[imaging]
    total = survey.area / survey.field_area
    fields = plan(n, imaging=imaging)["fields"]
    assert 0 < fields <= min(n, total) * (1 + 1e-9)
    assert fields >= min(n, total) * 0.63


@pytest.mark.parametrize("name", ["galaxies", "max_rate", "price"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be a positive number"):
        plan(**{"galaxies": 10, name: value})


def test_the_command_refuses_in_one_line():
    result = call("plan", "10", "--imaging", "hst")
    assert result.exit_code == 1
    assert result.output == "Error: imaging must be one of sdss, legacy, got 'hst'\n"


def test_the_rate_is_the_one_that_is_documented():
    text = (DOCS / "models_speed.rst").read_text(encoding="utf-8")
    stages = re.findall(r"\* - (?:read from a zip|all of these but reading, .*)\n +- ([\d.]+)\n", text)
    assert len(stages) == 2
    assert pytest.approx(1000 / sum(map(float, stages)), rel=0.01) == _plan.PREDICT_RATE


def test_the_page_shows_what_the_command_prints():
    text = (DOCS / "scale.rst").read_text(encoding="utf-8")
    blocks = re.findall(r"   \$ hifrac (plan .*)\n((?:   .+\n)+)", text)
    assert len(blocks) == 2
    for command, shown in blocks:
        result = call(*shlex.split(command), catch_exceptions=False)
        assert "".join(f"   {line}\n" for line in result.output.splitlines()) == shown
