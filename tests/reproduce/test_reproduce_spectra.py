"""Spectra from pictures: figures computed otherwise, on galaxies and spectra that are made."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from reproduce_data import PAIRS, SEEN, WITH_CONTINUA, WITH_LINES, N
from scipy.stats import spearmanr
from spec_files import H_ALPHA

from hifrac.models import load_model
from hifrac.models.spectrum_table import LATENTS, RATIOS
from hifrac.reproduce import EXPERIMENTS, setting, spectra, spectral_lines
from hifrac.reproduce._experiment import PAIRS as FOLDER
from hifrac.reproduce._inputs import continua
from hifrac.spectra import LinearLatents, rest_wavelength

pytestmark = pytest.mark.numeric


def drawn(name, here, table):
    """The figure of an experiment, drawn and closed."""
    figure = EXPERIMENTS[name].draw(table, here)
    figure.canvas.draw()
    plt.close(figure)
    return figure


def numbers_of(table):
    return {name: pair[0] for name, pair in table.meta["numbers"].items()}


def test_distances_of_spectra_mind_shape_alone_and_no_gaps():
    flux = np.array([[1.0, 2.0, np.nan, 2.0], [3.0, 0.0, 4.0, 0.0]])
    model = np.array([[5.0, 10.0, 7.0, 10.0], [1.0, 1.0, 0.0, 1.0]])
    own = spectra.relative_rms(flux, model)
    # The second is best at the scale 1: what is left is (2, -1, 4, -1), of a norm of 5.
    np.testing.assert_allclose(own, [0, np.sqrt(22) / 5], atol=1e-12)
    np.testing.assert_allclose(spectra.shape_error(np.array([[1, 10, np.nan]]), np.ones((1, 3))), [0.5])


def test_rows_at_even_ranks_are_the_extremes_and_between():
    values = np.array([5.0, 1.0, 4.0, 2.0, 3.0])
    np.testing.assert_array_equal(values[spectra.even_ranks(values, 3)], [1, 3, 5])


def test_continua_are_joined_by_identifier_and_none_below_zero_counts(made_spectra):
    here, _, lines = made_spectra
    own = continua(here)
    assert np.isnan(own["continuum"]).sum() == 1
    table = spectra.with_continua(here)
    assert len(table) == WITH_CONTINUA
    place = {name: row for row, name in enumerate(lines["objid"])}
    rows = [place[name] for name in table["objid"]]
    np.testing.assert_array_equal(table["continuum"][:, 0], lines["oii_3726_cont"][rows])


def test_held_out_spectra_are_those_of_the_held_out_latents(made_spectra):
    here, answers, _ = made_spectra
    flux, fitted = spectra.held_out_flux(answers, here)
    space = load_model(here.spectrum, device="cpu").latent_space
    latents = np.stack([answers[f"template_{name}"] for name in LATENTS], axis=1)
    np.testing.assert_allclose(fitted, space.mean + latents @ space.basis)
    assert flux.shape == (3, SEEN, 1000)
    assert (flux[0] <= flux[1]).all()
    assert (flux[1] <= flux[2]).all()


def test_a_setting_without_a_model_of_spectra_is_told_so(made_spectra):
    here = replace(made_spectra[0], spectrum=None)
    with pytest.raises(ValueError, match="setting: it has no model of the spectrum"):
        spectra.with_continua(here)
    for name in ("wupeek2020-lines", "wupeek2020-bases"):
        assert EXPERIMENTS[name].files(here)[1] == ["a model of the spectrum"]


def test_the_model_of_spectra_is_told_by_its_card(made_spectra):
    here = made_spectra[0]
    own = setting(here.folder, model=here.spectrum)
    assert own.spectrum == here.spectrum.resolve()
    assert own.model == setting(here.folder).model


def test_ten_galaxies_go_from_weak_to_strong(made_spectra):
    pytest.importorskip("specutils")
    here = made_spectra[0]
    table = EXPERIMENTS["wupeek2020-examples"].compute(here)
    assert len(table) == 10
    assert (np.diff(table["measured_h_alpha_ew"]) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(table["template"], axis=1), 1, atol=0.2)
    numbers = numbers_of(table)
    assert numbers["galaxies with measured continua"] == WITH_CONTINUA
    flux, fitted = spectra.held_out_flux(spectra.with_continua(here), here)
    missed = np.median(np.linalg.norm(flux[1] - fitted, axis=1))
    assert numbers["predicted less template fit: median relative rms"] == pytest.approx(missed)
    assert missed < numbers["mean spectrum less template fit: median relative rms"]
    assert any("no measured spectrum" in note for note in table.meta["notes"])
    figure = drawn("wupeek2020-examples", here, table)
    assert sum(len(part.axes) for part in figure.subfigs) == 20


def test_pictures_of_another_survey_are_brought_to_scale_and_flagged(made_spectra):
    pytest.importorskip("specutils")
    here = made_spectra[0]
    names, pixels = spectra.legacy_pixels(here.folder / FOLDER)
    assert len(names) == PAIRS
    assert pixels.shape == (PAIRS, 128, 128, 3)
    assert (pixels[:, :32] == pixels[:, :1, :1]).all(), "sky, flat"
    assert pixels[:, 64, 64].mean() > pixels[:, 0, 0].mean() + 50
    table = EXPERIMENTS["wupeek2020-legacy"].compute(here)
    np.testing.assert_allclose(table["measured_h_alpha_ew"], H_ALPHA)
    answer = load_model(here.spectrum, device="cpu").answer(pixels)
    np.testing.assert_allclose(table["h_alpha_ew"], answer.estimate)
    np.testing.assert_allclose(
        table["relative_rms"],
        spectra.relative_rms(np.asarray(table["measured"]), answer.more["flux"]),
        rtol=1e-4,
    )
    numbers = numbers_of(table)
    assert numbers["flagged OUT_OF_DISTRIBUTION"] == table["out_of_distribution"].sum()
    assert np.isnan(numbers["H-alpha: Spearman"]), "all measured values are one"
    figure = drawn("wupeek2020-legacy", here, table)
    titles = [part.get_suptitle() for part in figure.subfigs[:PAIRS]]
    assert ["OUT_OF_DISTRIBUTION" in title for title in titles] == table["out_of_distribution"].tolist()


def test_a_folder_without_pictures_is_told_so(tmp_path):
    with pytest.raises(ValueError, match="has no pictures"):
        spectra.legacy_pixels(tmp_path)


def test_bases_that_span_the_spectra_leave_their_noise(made_spectra):
    here = made_spectra[0]
    table = EXPERIMENTS["wupeek2020-bases"].compute(here)
    rms = dict(zip(table["basis"], table["relative_rms"], strict=True))
    # Spectra are lines with noise, and polynomials say lines.
    for name in ("kcorrect", "SDSS eigenspectra, 53724"):
        assert rms[name] == pytest.approx(rms[spectra.NOISE], rel=0.1)
    assert rms["mean of template spectra"] > 3 * rms["kcorrect"]
    with np.load(here.folder / "spectra" / "real_sdss_galaxy_spectra.npz") as file:
        flux = file["flux"][:5, 10:]  # without the gap
    basis = (rest_wavelength().value / 6000) ** np.arange(5)[:, None]
    space = LinearLatents(basis[:, 10:])
    each = spectra.relative_rms(flux, space.decode(space.encode(flux)))
    (row,) = table[table["basis"] == "redrock"]
    np.testing.assert_allclose(row["each"][:5], each, rtol=1e-6)
    assert drawn("wupeek2020-bases", here, table).axes


def test_components_of_the_others_have_not_seen_the_spectrum():
    rng = np.random.default_rng(2)
    wave = np.linspace(0, 1, 40)
    flux = 1 + rng.uniform(size=(12, 1)) * wave + rng.normal(0, 0.01, (12, 40))
    flux[0] = np.sin(20 * wave) + 2
    missed = spectra.relative_rms(flux, spectra.learned_from_others(flux, np.ones_like(flux)))
    assert missed[0] > 5 * missed[1:].max()


def test_lines_are_scored_by_quantity(made_spectra):
    here, answers, _ = made_spectra
    table = EXPERIMENTS["wupeek2020-lines"].compute(here)
    assert len(table) == 3 * WITH_LINES
    numbers = numbers_of(table)
    rows = answers[answers["has_lines"]]
    truth, own = (np.arcsinh(rows[name] / 3) for name in ("measured_h_alpha_ew", "h_alpha_ew"))
    name = f"h_alpha_ew, {spectral_lines.OURS}"
    assert numbers[f"{name}: spearman"] == pytest.approx(spearmanr(truth, own).statistic)
    assert numbers[f"{name}: bias"] == pytest.approx(np.mean(own - truth))
    assert numbers[f"{name}: rms, error"] > 0
    scores = spectral_lines.line_scores(table, draws=20)
    assert len(scores) == 2 + 4 + 4, "a template says nothing of the width of H-alpha"
    medians = scores[scores["estimator"] == "median of the others"]
    assert np.isnan(medians["spearman"]).all()
    assert (medians["rms"] > 2 * scores[scores["estimator"] == spectral_lines.OURS]["rms"]).all()
    assert drawn("wupeek2020-lines", here, table).axes


def test_a_ratio_of_continua_is_that_of_the_spectrum():
    wave = rest_wavelength().value
    flux = np.stack([wave**-2.0, wave**1.0])
    flux[:, np.abs(wave - 6565) < 10] *= 5  # a line is no continuum
    np.testing.assert_allclose(
        spectral_lines.log_ratio(flux, RATIOS[0]), np.array([2, -1]) * np.log10(6565 / 3870), atol=5e-3
    )


def test_colour_is_taken_from_an_annulus_alone():
    pixels = np.random.default_rng(0).integers(0, 255, (2, 128, 128, 3)).astype(np.uint8)
    grey = spectral_lines.without_colour(pixels, 10, 20)
    row, column = np.mgrid[:128, :128] - 63.5
    radius = np.hypot(row, column)
    is_in = (radius >= 10) & (radius < 20)
    assert np.ptp(grey[:, is_in], axis=-1).max() == 0
    np.testing.assert_array_equal(grey[:, ~is_in], pixels[:, ~is_in])
    np.testing.assert_allclose(grey.mean(axis=-1), pixels.mean(axis=-1), atol=0.51)


def test_what_is_explained_the_model_never_saw(made_spectra, monkeypatch):
    here, answers, _ = made_spectra
    with pytest.raises(ValueError, match="pictures: 24 that the model never saw are needed, there are 20"):
        spectral_lines.unseen_galaxies(here)
    monkeypatch.setattr(spectral_lines, "_N_MAPS", 2)
    assert set(spectral_lines.unseen_galaxies(here)["objid"]).isdisjoint(answers["objid"])
    table = EXPERIMENTS["wupeek2020-explain"].compute(here)
    assert len(table) == 2
    numbers = numbers_of(table)
    assert 2 <= numbers["pictures tried"] <= N - SEEN
    # Maps add up to how much the estimate is above that of the mean galaxy, as far as their error says.
    above = np.asarray(table["h_alpha_ew"], float) - np.asarray(table["map"]).sum(axis=(1, 2))
    assert np.ptp(above) <= 2 * numbers["largest error of a map's sum (Angstrom)"] + 0.5  # they are rounded
    for name in ("measured", "held-out estimate", "change"):
        assert len(table.meta["annuli"][name]) == len(spectral_lines.annuli()) - 1
    assert table.meta["change_everywhere"] > 0
    figure = drawn("wupeek2020-explain", here, table)
    assert [len(part.axes) for part in figure.subfigs] == [13, 3]
