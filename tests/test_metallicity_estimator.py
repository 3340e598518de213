"""The estimator of metallicities: what it adds to the pipeline that all estimators share."""

import ast
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, QTable, Table
from contract import (
    assert_column_of,
    assert_same_estimates,
    assert_same_intervals,
    assert_same_probabilities,
    assert_same_results,
    assert_same_scores,
    values_of,
)
from PIL import Image

import hifrac
from hifrac import (
    Flag,
    HIFractionEstimator,
    LocalCutouts,
    MetallicityEstimator,
    conf,
    load_model,
    plot_overview,
    plot_result,
)
from hifrac.core.columns import RESULT_COLUMNS, columns_of
from hifrac.core.evidence import Evidence
from hifrac.core.exceptions import HifracWarning
from hifrac.core.flags import UNSERVED
from hifrac.core.measurements import plain_floats
from hifrac.core.reddening import galactic_ebv
from hifrac.cutouts import SDSS_RECIPE
from hifrac.demo import PICTURES, sample_table
from hifrac.images import decode
from hifrac.models.calibration import ConformalTable
from hifrac.visualization.result_page import write_result_page

pytestmark = pytest.mark.numeric

ESTIMATES = ("oh_p05", "oh_p16", "oh", "oh_p84", "oh_p95")
ELLIPTICALS, SPIRALS = slice(0, 3), slice(8, 18)

#: Columns of each table, and what is said of that evidence.
COLUMNS = {
    "z": ({"z": 0.05}, "z"),
    "one magnitude": ({"mag_r": 16.5, "extinction_r": 0.1}, "r"),
    "three magnitudes": ({"dered_g": 17.0, "dered_r": 16.5, "dered_i": 16.2}, "gri"),
    "all magnitudes": ({f"dered_{band}": 17.0 - 0.3 * k for k, band in enumerate("ugriz")}, "ugriz"),
    "a colour": ({"g_minus_i": 0.8, "i": 16.2}, "gi"),
    "log_mstar": ({"log_mstar": 9.5}, "log_mstar"),
}


@pytest.fixture(scope="module")
def model():
    return load_model("metallicity", device="cpu")


@pytest.fixture(scope="module")
def result(model):
    with pytest.warns(HifracWarning, match="1 of 27 rows have no estimate"):
        return predict(model, sample_table())


def galaxies(n=6, **columns):
    """Spirals of the demonstration, with other columns."""
    table = sample_table()["name", "ra", "dec"][SPIRALS][:n]
    for name, values in columns.items():
        table[name] = values
    return table


def predict(model, table, *, photometry=None, **options):
    cutouts = LocalCutouts(PICTURES, name="name")
    return MetallicityEstimator(model, photometry=photometry, cutouts=cutouts).predict(table, **options)


# The result


def test_the_columns_are_those_of_the_registry(result):
    assert type(result) is QTable
    expected = columns_of("oh", "")
    assert result.colnames == [*sample_table().colnames, *expected]
    for name in expected:
        assert_column_of(RESULT_COLUMNS[name], result[name])
    assert not any(name.startswith(("log_hi", "log_mhi", "p_detect")) for name in result.colnames)


def test_estimate_and_interval_are_those_of_the_model(result, model):
    pixels = np.stack([decode((PICTURES / f"{name}.jpg").read_bytes()) for name in result["name"][:26]])
    log_mstar, dec = (plain_floats(result[name])[:26] for name in ("log_mstar", "dec"))
    evidence = dataclasses.replace(Evidence.none(26), log_mstar=log_mstar, dec=dec)
    ebv = galactic_ebv(result["ra"][:26], result["dec"][:26])
    answer = model.answer(pixels, ebv, evidence=evidence)
    assert_same_estimates(result["oh"][:26], answer.estimate)
    for name, level in (("oh_p05", 0.05), ("oh_p16", 0.16), ("oh_p84", 0.84), ("oh_p95", 0.95)):
        assert_same_intervals(result[name][:26], answer.quantiles[level])
    assert_same_probabilities(result["p_star_forming"][:26], answer.probability)
    assert result["flags"][:26].tolist() == answer.flags.tolist()


def test_the_values_make_sense(result):
    numbers = np.stack([values_of(result[name]) for name in ESTIMATES])
    assert np.isnan(numbers[:, 26]).all()
    assert (np.diff(numbers[:, :26], axis=0) > 0).all()
    assert ((numbers[2, :24] > 7.8) & (numbers[2, :24] < 9.4)).all()
    # Dwarfs have less oxygen than spirals.
    assert numbers[2, 18:24].max() < numbers[2, 8:12].min()
    assert result["flags"][26] == Flag.OUT_OF_FOOTPRINT
    assert not np.any(result["flags"][:26] & int(UNSERVED))


def test_passive_galaxies_have_no_label_and_are_flagged(result):
    is_passive = np.asarray(result["flags"]) & int(Flag.NOT_STAR_FORMING) > 0
    assert is_passive[ELLIPTICALS].all()
    assert not is_passive[SPIRALS].any()
    threshold = load_model("metallicity").card.detection.threshold
    np.testing.assert_array_equal(is_passive[:26], values_of(result["p_star_forming"])[:26] < threshold)
    assert np.isfinite(values_of(result["oh"])[ELLIPTICALS]).all()


@pytest.mark.real_data
def test_red_galaxies_of_sdss_are_flagged_and_those_with_a_label_are_not(model, real_data):
    folder = real_data / "cutouts"
    galaxies = Table.read(folder / "photometry_labels.ecsv")
    colour = galaxies["modelmag_u"] - galaxies["extinction_u"]
    colour -= galaxies["modelmag_r"] - galaxies["extinction_r"]
    red = galaxies[(colour > 2.7) & (galaxies["redshift"] > 0.02)]["objid",][:60]
    labelled = Table.read(folder / "metallicity_labels.ecsv")["objid",][:60]
    cutouts = LocalCutouts(folder / "sdss_cutouts.zip", name="objid")
    shares = []
    for rows in (red, labelled):
        with pytest.warns(HifracWarning, match="found by name"):
            flags = MetallicityEstimator(model, cutouts=cutouts).predict(rows)["flags"]
        shares.append(np.mean(np.asarray(flags) & int(Flag.NOT_STAR_FORMING) > 0))
    assert shares[0] > 0.8
    assert shares[1] < 0.2


def test_the_provenance_says_model_scale_and_references(result, model):
    made_by = result.meta["hifrac"]
    assert (made_by["model"], made_by["column"]) == ("metallicity", "oh")
    assert made_by["model_sha256"] == model.sha256
    assert made_by["oh_scale"] == "Tremonti et al. (2004), oh_p50 of MPA-JHU"
    assert any("Tremonti" in reference for reference in made_by["references"])
    assert any(reference.startswith("Wu & Boada 2019") for reference in made_by["references"])
    assert "mass_scale" not in made_by
    assert "selection" not in made_by


def test_the_default_model_is_that_of_the_configuration(model):
    assert MetallicityEstimator().model.card == model.card
    with conf.set_temp("metallicity_model", "nothing"), pytest.raises(hifrac.core.UnknownModelError):
        MetallicityEstimator()
    with conf.set_temp("model", "nothing"):
        assert MetallicityEstimator().model.card == model.card


def test_draws_have_the_quantiles_of_their_row(model):
    table = galaxies(3, z=[0.03, 0.1, np.nan])
    result = predict(model, table, samples=2000)
    draws = np.asarray(result["oh_samples"])
    assert draws.shape == (3, 2000)
    for name, level in (("oh_p16", 0.16), ("oh", 0.5), ("oh_p84", 0.84)):
        np.testing.assert_allclose(np.quantile(draws, level, axis=1), values_of(result[name]), atol=0.02)
    parts = [predict(model, table[rows], samples=2000)["oh_samples"] for rows in (slice(0, 1), slice(1, 3))]
    np.testing.assert_allclose(np.concatenate([np.asarray(part) for part in parts]), draws, atol=1e-5)


def test_the_environment_is_measured_as_for_gas(model):
    rows, rng = galaxies(1, z=0.03), np.random.default_rng(1)
    place = np.array([[rows["ra"][0]], [rows["dec"][0]]])
    near = place + rng.uniform(-10, 10, (2, 4000))
    reference = Table({"ra": near[0], "dec": near[1], "z": rng.uniform(0.02, 0.04, 4000)})
    reference["ra"].unit = reference["dec"].unit = "deg"
    result = predict(model, rows, environment=reference)
    assert result.colnames[-2:] == ["log_overdensity", "environment_flags"]
    assert result.meta["hifrac"]["environment"]["n"] == 5


# Evidence


@pytest.mark.parametrize("name", COLUMNS)
def test_every_piece_of_evidence_counts_in_its_row_alone(model, name):
    columns, text = COLUMNS[name]
    mask = np.arange(6) % 2 == 0
    some = {key: MaskedColumn(np.full(6, value), mask=mask) for key, value in columns.items()}
    plain, result = predict(model, galaxies()), predict(model, galaxies(**some))
    assert plain["evidence"].tolist() == ["picture"] * 6
    assert result["evidence"].tolist() == ["picture", f"picture+{text}"] * 3
    same = values_of(result["oh"]) == pytest.approx(values_of(plain["oh"]), abs=1e-6)
    assert not same
    np.testing.assert_allclose(values_of(result["oh"])[mask], values_of(plain["oh"])[mask], atol=1e-6)
    assert (np.abs(values_of(result["oh"]) - values_of(plain["oh"]))[~mask] > 1e-6).all()
    wide, narrow = (values_of(one["oh_p84"]) - values_of(one["oh_p16"]) for one in (plain, result))
    assert (narrow <= wide + 1e-6).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -99.0, -9999.0])
@pytest.mark.parametrize("name", ["z", "dered_u", "dered_r", "log_mstar"])
@pytest.mark.filterwarnings("ignore:.*rows are taken to be unknown:hifrac.core.HifracWarning")
def test_what_cannot_be_is_not_used(model, name, bad):
    columns = {"z": 0.05, "dered_u": 18.0, "dered_r": 16.5, "log_mstar": 9.5}
    columns[name] = bad
    result = predict(model, galaxies(2, **columns))
    del columns[name]
    assert_same_results(result, predict(model, galaxies(2, **columns)))


def test_numbers_of_no_galaxy_are_said_once_with_their_column(model):
    with pytest.warns(HifracWarning, match=r"^dered_u must be the magnitude in u, .*: 1 of 2 .* -9999"):
        predict(model, galaxies(2, dered_u=[18.0, -9999.0]))
    with pytest.raises(ValueError, match=r"^log_mstar must be log10.*is it the mass itself\?"):
        predict(model, galaxies(2, log_mstar=[3e9, 5e9]))


def test_a_mass_that_is_absent_is_read_off_the_picture(result, model):
    table = sample_table()[:24]
    without = predict(model, table["name", "ra", "dec"])
    difference = values_of(without["oh"]) - values_of(result["oh"])[:24]
    assert 0 < np.abs(difference).max() < 0.3
    assert set(without["evidence"]) == {"picture"}
    assert set(result["evidence"][:24]) == {"picture+log_mstar"}


def test_what_gas_alone_uses_is_not_said_to_be_used(model):
    rows = galaxies(2, axis_ratio=0.5, log_mhi_limit=9.0)
    assert predict(model, rows)["evidence"].tolist() == ["picture"] * 2
    assert_same_results(predict(model, rows), predict(model, galaxies(2)))


# What goes wrong


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("default", r"^model: 'default' estimates log_hi_fraction \(.*\), for HIFractionEstimator; "),
        (
            "gas-classes",
            r"^model: 'gas-classes' estimates gas_rich_logit \(.*\); MetallicityEstimator takes ",
        ),
    ],
)
def test_a_model_of_another_quantity_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        MetallicityEstimator(name)
    with pytest.raises(ValueError, match=message):
        MetallicityEstimator(load_model(name, device="cpu"))


def test_the_estimator_of_gas_refuses_metallicities(model):
    message = (
        r"^model: 'metallicity' estimates oh \(.*\), for MetallicityEstimator; HIFractionEstimator takes"
    )
    with pytest.raises(ValueError, match=message):
        HIFractionEstimator(model)


def test_another_scale_of_abundances_is_refused(model):
    assert MetallicityEstimator(model, oh_scale="tremonti2004").model is model
    for scale in ("pp04", "kewley2008", 3):
        with pytest.raises(
            ValueError, match=rf"^oh_scale must be 'tremonti2004', got {scale!r}: .*hifrac.relations"
        ):
            MetallicityEstimator(model, oh_scale=scale)


@pytest.mark.parametrize("option", ["selection", "mass_scale"])
def test_options_of_gas_are_none_of_metallicities(model, option):
    with pytest.raises(TypeError, match=option):
        MetallicityEstimator(model, **{option: "alfalfa"})
    value = {"selection": "alfalfa", "mass_scale": "gswlc"}[option]
    with pytest.raises(ValueError, match=rf"^{option}: the model 'metallicity' has one answer"):
        model.interpret({"estimate": np.zeros(1)}, **{option: value})


def test_photometry_of_another_survey_is_refused(model):
    with pytest.raises(ValueError, match=r"^photometry must be one of sdss, got 'gaia'"):
        MetallicityEstimator(model, photometry="gaia")


def test_pictures_of_another_scale_are_resampled_and_flagged(model, tmp_path):
    rows, fine = galaxies(3), tmp_path / "fine"
    fine.mkdir()
    for name in rows["name"]:
        pixels = decode((PICTURES / f"{name}.jpg").read_bytes())
        Image.fromarray(pixels).resize((256, 256), Image.Resampling.BICUBIC).save(fine / f"{name}.png")
    cutouts = LocalCutouts(fine, name="name", pixel_scale=0.2)
    result = MetallicityEstimator(model, cutouts=cutouts).predict(rows)
    assert (np.asarray(result["flags"]) & int(Flag.RESAMPLED) > 0).all()
    np.testing.assert_allclose(values_of(result["oh"]), values_of(predict(model, rows)["oh"]), atol=0.15)
    with pytest.warns(HifracWarning, match="3 of 3 rows have no estimate"):
        undeclared = MetallicityEstimator(model, cutouts=LocalCutouts(fine, name="name")).predict(rows)
    assert undeclared["flags"].tolist() == [Flag.BAD_IMAGE] * 3
    assert np.ma.getmaskarray(undeclared["oh"]).all()


def test_a_model_without_distributions_gives_what_it_has(model):
    card = dataclasses.replace(
        model.card, calibration=ConformalTable(9, (0.16, 0.84), (-0.1, 0.1)), detection=None
    )
    with pytest.raises(ValueError, match="level must be one of"):
        predict(dataclasses.replace(model, card=card), galaxies(1))
    card = dataclasses.replace(model.card, calibration=None, detection=None)
    result = predict(dataclasses.replace(model, card=card), galaxies(2, z=0.05))
    assert np.isfinite(values_of(result["oh"])).all()
    for name in ("oh_p16", "oh_p84", "p_star_forming", "ood_score"):
        assert np.ma.getmaskarray(result[name]).all(), name
    assert result["evidence"].tolist() == ["picture"] * 2


# With the other estimator


def test_both_estimates_may_stand_in_one_table(model, result):
    rows = sample_table()[:4]
    gas = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name")).predict(rows)
    with pytest.raises(ValueError, match=r"^data has the result columns evidence, ood_score, flags already"):
        predict(model, gas)
    both = predict(model, gas, overwrite=True)
    assert_same_estimates(both["log_hi_fraction"], gas["log_hi_fraction"])
    assert_same_estimates(both["oh"], result["oh"][:4])
    assert both.meta["hifrac"]["input"] == gas.meta["hifrac"]
    assert_same_scores(both["ood_score"], result["ood_score"][:4])
    for name in ("evidence", "ood_score", "flags"):
        assert both[f"log_hi_fraction_{name}"].tolist() == gas[name].tolist(), name
        if name != "ood_score":
            assert both[name].tolist() == result[name][:4].tolist(), name
    # Figures show what was estimated last.
    assert "O/H" in plot_result(both).axes[0].get_xlabel()


def test_neither_estimator_knows_the_other():
    for module, other in (("estimator", "metallicity"), ("metallicity", "estimator")):
        tree = ast.parse((Path(hifrac.__file__).parent / f"{module}.py").read_text(encoding="utf-8"))
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert f"hifrac.{other}" not in imported


# Explanations, figures, pages


@pytest.mark.parametrize("method", ["cam", "occlusion"])
def test_a_metallicity_is_explained(model, method):
    estimator = MetallicityEstimator(model, cutouts=LocalCutouts(PICTURES, name="name"))
    explanations = estimator.explain(galaxies(1), method=method)
    explanation = explanations[0]
    assert (explanation.target.name, explanation.target.unit) == ("oh", u.dex)
    assert explanation.map.unit == u.dex / u.pix
    assert set(explanation.answers) == {"estimate", "p16", "p84", "p_star_forming", "ood_score"}
    outputs = model.run(
        explanation.pixels[None], galactic_ebv(*[galaxies(1)[name] for name in ("ra", "dec")])
    )
    assert explanation.prediction == pytest.approx(outputs["estimate"][0], abs=1e-5)
    assert np.abs(explanation.values).max() > 0
    titles = [axes.get_title() for axes in explanation.plot().axes]
    assert "evidence for more oxygen" in titles
    probable = estimator.explain(galaxies(1), target="p_star_forming", method=method)[0]
    assert probable.prediction == pytest.approx(outputs["star_forming_logit"][0], abs=1e-4)
    with pytest.raises(ValueError, match=r"^target: .* has no 'p_detect'; it has oh, p_star_forming$"):
        estimator.explain(galaxies(1), target="p_detect")


def test_figures_and_pages_say_metallicity(result, tmp_path):
    figure = plot_overview(result, LocalCutouts(PICTURES, name="name"))
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert sum(text.startswith(r"$12 + \log\,\mathrm{O/H} = ") for text in texts) == 26
    assert sum(text.startswith("p_star_forming = ") for text in texts) == 26
    assert "NOT_STAR_FORMING" in texts
    assert any(text.get_text() == "Metallicities" for text in figure.texts)
    assert plot_result(result).axes[0].get_xlabel() == r"$12 + \log_{10}(\mathrm{O/H})$"
    page = tmp_path / "page.html"
    write_result_page(result, LocalCutouts(PICTURES, name="name"), page)
    text = page.read_text(encoding="utf-8")
    for words in ("<title>Metallicities", "12 + log(O/H)", "p(star-forming)", "oh_scale", "NOT_STAR_FORMING"):
        assert words in text, words
    assert "p(detect)" not in text


def test_every_picture_is_of_the_recipe_of_both(model):
    assert model.card.recipe == SDSS_RECIPE
