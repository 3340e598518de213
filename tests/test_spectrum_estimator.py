"""The estimator of spectra: columns of many numbers, files that hold them, and what goes with them."""

import dataclasses

import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, QTable
from commands import call
from contract import assert_column_of, assert_same_estimates, assert_same_intervals, values_of

import hifrac
from hifrac import (
    Flag,
    HIFractionEstimator,
    LocalCutouts,
    MetallicityEstimator,
    SpectrumEstimator,
    conf,
    load_model,
    plot_overview,
    plot_result,
    plot_spectrum,
)
from hifrac.core.columns import RESULT_COLUMNS, columns_of
from hifrac.core.evidence import Evidence
from hifrac.core.exceptions import HifracWarning
from hifrac.core.measurements import plain_floats
from hifrac.core.reddening import galactic_ebv
from hifrac.core.tables import read_table, require_vectors, write_table
from hifrac.demo import PICTURES, sample_table
from hifrac.images import decode
from hifrac.spectra import rest_wavelength, result_spectrum
from hifrac.visualization.result_page import write_result_page

pytestmark = pytest.mark.numeric

ELLIPTICALS, SPIRALS = slice(0, 3), slice(8, 18)
RATIOS = ("log_continuum_3900_6500", "log_continuum_4340_5877")
VECTORS = {"flux": 1000, "flux_p16": 1000, "flux_p84": 1000, "latents": 5}


@pytest.fixture(scope="module")
def model():
    return load_model("spectra", device="cpu")


@pytest.fixture(scope="module")
def result(model):
    with pytest.warns(HifracWarning, match="1 of 27 rows have no estimate"):
        return predict(model, sample_table())


def galaxies(n=4, **columns):
    """Spirals of the demonstration, with other columns."""
    table = sample_table()["name", "ra", "dec"][SPIRALS][:n]
    for name, values in columns.items():
        table[name] = values
    return table


def predict(model, table, **options):
    return SpectrumEstimator(model, cutouts=LocalCutouts(PICTURES, name="name")).predict(table, **options)


# The result


def test_the_columns_are_those_of_the_registry(result):
    assert type(result) is QTable
    expected = columns_of("h_alpha_ew", "")
    assert result.colnames == [*sample_table().colnames, *expected]
    for name in expected:
        assert_column_of(RESULT_COLUMNS[name], result[name])
        size = RESULT_COLUMNS[name].size
        assert result[name].shape == ((27, size) if size else (27,)), name
    assert {name: result[name].shape[1] for name in expected if result[name].ndim > 1} == VECTORS
    assert {result[name].dtype for name in VECTORS} == {np.dtype(np.float32)}
    assert result["h_alpha_ew"].unit == u.AA


def test_every_number_is_that_of_the_model(result, model):
    pixels = np.stack([decode((PICTURES / f"{name}.jpg").read_bytes()) for name in result["name"][:26]])
    log_mstar, dec = (plain_floats(result[name])[:26] for name in ("log_mstar", "dec"))
    evidence = dataclasses.replace(Evidence.none(26), log_mstar=log_mstar, dec=dec)
    answer = model.answer(pixels, galactic_ebv(result["ra"][:26], result["dec"][:26]), evidence=evidence)
    assert_same_estimates(result["h_alpha_ew"][:26], answer.estimate)
    for name, level in (("p05", 0.05), ("p16", 0.16), ("p84", 0.84), ("p95", 0.95)):
        assert_same_intervals(result[f"h_alpha_ew_{name}"][:26], answer.quantiles[level])
    assert {*VECTORS, *RATIOS} < set(answer.more)
    for name, values in answer.more.items():
        np.testing.assert_allclose(values_of(result[name])[:26], values, atol=2e-5, err_msg=name)
    assert result["flags"][:26].tolist() == answer.flags.tolist()


def test_the_row_without_a_picture_is_masked_in_every_column(result):
    assert result["flags"][26] == Flag.OUT_OF_FOOTPRINT
    for name in columns_of("h_alpha_ew", ""):
        if name != "flags":
            assert np.all(np.asarray(result[name].mask)[26]), name
    for name in VECTORS:
        assert not np.asarray(result[name].mask)[:26].any(), name


def test_the_values_make_sense(result):
    flux, low, high = (values_of(result[name])[:24] for name in ("flux", "flux_p16", "flux_p84"))
    assert ((low < flux) & (flux < high)).mean() > 0.99
    np.testing.assert_allclose(np.linalg.norm(flux, axis=1), 1, atol=0.05)
    # The light of spirals is bluer than that of ellipticals, and their H-alpha stronger.
    wavelength = rest_wavelength().value
    blue = flux[:, wavelength < 4500].mean(1) / flux[:, wavelength > 6000].mean(1)
    assert blue[ELLIPTICALS].max() < np.median(blue[SPIRALS])
    line = values_of(result["h_alpha_ew"])
    assert line[ELLIPTICALS].max() < np.median(line[SPIRALS])
    for name in RATIOS:
        ratio = values_of(result[name])
        assert ratio[ELLIPTICALS].max() < np.median(ratio[SPIRALS])
        assert (values_of(result[f"{name}_p16"])[:26] < ratio[:26]).all()


def test_the_latents_are_those_of_the_flux(result, model):
    latents = values_of(result["latents"])[:26].astype(float)
    decoded = model.latent_space.decode(latents)
    np.testing.assert_allclose(values_of(result["flux"])[:26], decoded, atol=2e-5)


def test_the_provenance_says_what_the_flux_is_and_where_its_pixels_are(result):
    made_by = result.meta["hifrac"]
    assert (made_by["model"], made_by["column"]) == ("spectra", "h_alpha_ew")
    assert made_by["flux"].startswith("photometric template spectrum: ")
    assert "no spectrum was measured" in made_by["flux"]
    first, step = 3.53, 0.00039
    assert f"{first} + {step} i, i = 0..999" in made_by["wavelength"]
    np.testing.assert_allclose(rest_wavelength().value, 10 ** (first + step * np.arange(1000)))
    assert "mass_scale" not in made_by


def test_the_default_model_is_that_of_the_configuration(model):
    assert SpectrumEstimator().model.card == model.card
    with conf.set_temp("spectrum_model", "nothing"), pytest.raises(hifrac.core.UnknownModelError):
        SpectrumEstimator()


def test_batches_and_order_change_nothing(result, model):
    rows = sample_table()[[9, 2, 20]]
    cutouts = LocalCutouts(PICTURES, name="name")
    others = SpectrumEstimator(model, cutouts=cutouts, batch_size=2).predict(rows)
    np.testing.assert_allclose(values_of(others["flux"]), values_of(result["flux"])[[9, 2, 20]], atol=1e-6)


def test_draws_are_of_the_line(model):
    result = predict(model, galaxies(2), samples=2000)
    draws = values_of(result["h_alpha_ew_samples"])
    assert draws.shape == (2, 2000)
    middle, width = (values_of(result[name]) for name in ("h_alpha_ew", "h_alpha_ew_p84"))
    np.testing.assert_allclose(np.median(draws, axis=1), middle, atol=0.1 * np.max(width - middle))


def test_evidence_moves_the_spectrum_of_its_row(model):
    redshift = MaskedColumn([0.03, 0.0, 0.2, 0.0], mask=[False, True, False, True])
    plain, result = predict(model, galaxies()), predict(model, galaxies(z=redshift))
    assert result["evidence"].tolist() == ["picture+z", "picture"] * 2
    for name in ("flux", "h_alpha_ew", *RATIOS):
        moved = np.abs(values_of(result[name]) - values_of(plain[name])).reshape(4, -1).max(1)
        assert (moved[[0, 2]] > 1e-5).all(), name
        assert (moved[[1, 3]] < 1e-6).all(), name


def test_a_spectrum_that_does_not_fit_into_memory_is_an_error(monkeypatch, model):
    full = np.full

    def small(shape, *args, **options):
        if np.ndim(shape) and shape[-1] == 1000:
            raise MemoryError
        return full(shape, *args, **options)

    monkeypatch.setattr(np, "full", small)
    with pytest.raises(MemoryError, match=r"^flux: 1000 numbers of 4 rows do not fit .*parts of the table"):
        predict(model, galaxies())


# Files


@pytest.mark.parametrize("extension", ["ecsv", "fits", "vot", "parquet", "hdf5"])
def test_files_give_vectors_back_with_their_masks(result, extension, tmp_path):
    pytest.importorskip({"parquet": "pyarrow", "hdf5": "h5py"}.get(extension, "astropy"))
    path = tmp_path / f"t.{extension}"
    write_table(result[22:], path)
    again = read_table(path)
    for name, size in VECTORS.items():
        assert again[name].shape == (5, size)
        np.testing.assert_array_equal(values_of(again[name]), values_of(result[name])[22:], err_msg=name)
    assert np.isnan(values_of(again["flux"])[4]).all()
    assert_same_estimates(again["h_alpha_ew"], result["h_alpha_ew"][22:])


@pytest.mark.parametrize(
    ("extension", "name"), [("csv", "csv"), ("tsv", "tab"), ("tex", "latex"), ("html", "html")]
)
def test_formats_of_one_number_in_a_cell_are_refused(result, extension, name, tmp_path):
    path = tmp_path / f"t.{extension}"
    message = (
        rf"t\.{extension} cannot be written: {name} has one value in a cell, and flux has 1000; write \.ecsv"
    )
    with pytest.raises(ValueError, match=message):
        write_table(result, path)
    with pytest.raises(ValueError, match=message):
        require_vectors(path, result.colnames)
    assert not path.exists()
    rest = result[[name for name in result.colnames if name not in VECTORS]]
    write_table(rest, path)
    assert path.stat().st_size


# Other estimators, figures, explanations


def test_each_estimator_refuses_the_models_of_the_others(model):
    for estimator, name in ((HIFractionEstimator, "spectra"), (MetallicityEstimator, "spectra")):
        with pytest.raises(ValueError, match=r"^model: 'spectra' estimates h_alpha_ew .*SpectrumEstimator"):
            estimator(name)
    with pytest.raises(ValueError, match=r"^model: 'default' .*; SpectrumEstimator takes models of h_alpha"):
        SpectrumEstimator("default")


def test_a_model_without_a_calibration_of_spectra_is_refused(model):
    without = dataclasses.replace(model, card=dataclasses.replace(model.card, calibration=None))
    with pytest.raises(ValueError, match=r"^model: 'spectra' makes no spectra: its card has no calibration"):
        SpectrumEstimator(without)


@pytest.mark.parametrize("option", ["selection", "mass_scale", "oh_scale"])
def test_options_of_other_estimators_are_none_of_spectra(model, option):
    with pytest.raises(TypeError, match=option):
        SpectrumEstimator(model, **{option: "taylor"})


def test_a_result_may_be_the_input_of_the_next(model, result):
    gas = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name")).predict(sample_table()[:3])
    both = predict(model, gas, overwrite=True)
    assert {"log_hi_fraction", "flux"} <= set(both.colnames)
    with pytest.raises(ValueError, match=r"^data has the result columns .*flux"):
        predict(model, both)


def test_a_row_is_drawn_with_its_lines(result):
    pytest.importorskip("specutils")
    spectrum = result_spectrum(result, 9)
    flux, low, high = (values_of(result[name])[9] for name in ("flux", "flux_p16", "flux_p84"))
    np.testing.assert_array_equal(spectrum.flux.value, flux.astype(float))
    np.testing.assert_allclose(spectrum.uncertainty.array, (high - low) / 2, rtol=1e-3, atol=1e-7)
    assert spectrum.meta["name"] == result["name"][9]
    assert spectrum.meta["hifrac"]["flux"].startswith("photometric template")
    picture = decode((PICTURES / f"{result['name'][9]}.jpg").read_bytes())
    texts = {text.get_text() for text in plot_spectrum(picture, spectrum).axes[1].texts}
    assert r"H$\alpha$" in texts
    assert result_spectrum(result, 26).mask.all()
    with pytest.raises(ValueError, match="spectrum has no light"):
        plot_spectrum(picture, result_spectrum(result, 26))


def test_figures_and_pages_show_the_line(result, tmp_path):
    assert "EW" in plot_result(result).axes[0].get_xlabel()
    figure = plot_overview(result[:9], LocalCutouts(PICTURES, name="name"))
    assert any(text.get_text() == "Equivalent widths of H-alpha" for text in figure.texts)
    page = tmp_path / "page.html"
    write_result_page(result, LocalCutouts(PICTURES, name="name"), page)
    text = page.read_text(encoding="utf-8")
    assert "EW(H-alpha)" in text
    assert "photometric template spectrum" in text
    assert len(text) < 1e6  # no page has a thousand numbers a row


@pytest.mark.parametrize("method", ["cam", "occlusion"])
def test_what_makes_the_line_is_explained(model, method):
    estimator = SpectrumEstimator(model, cutouts=LocalCutouts(PICTURES, name="name"))
    explanation = estimator.explain(galaxies(1), method=method)[0]
    assert (explanation.target.name, explanation.target.unit) == ("h_alpha_ew", u.AA)
    assert explanation.map.unit == u.AA / u.pix
    assert np.abs(explanation.values).max() > 0
    assert "evidence for more H-alpha" in [axes.get_title() for axes in explanation.plot().axes]


def test_what_makes_the_continuum_is_explained(model):
    estimator = SpectrumEstimator(model, cutouts=LocalCutouts(PICTURES, name="name"))
    explanation = estimator.explain(galaxies(1), target="log_continuum_3900_6500")[0]
    assert (explanation.target.name, explanation.map.unit) == ("log_continuum_3900_6500", u.dex / u.pix)
    assert np.abs(explanation.values).max() > 0
    with pytest.raises(ValueError, match=r"^target: .* has no 'flux'; it has h_alpha_ew, log_cont"):
        estimator.explain(galaxies(1), target="flux")


# The command line


def test_the_command_line_writes_spectra(result, tmp_path):
    table, output = tmp_path / "t.ecsv", tmp_path / "out.fits"
    sample_table()[:3].write(table)
    options = ("--cutouts", PICTURES, "--name", "name", "--quantity", "spectrum")
    said = call("predict", table, "-o", output, *options)
    assert said.exit_code == 0, said.output
    again = read_table(output)
    np.testing.assert_allclose(values_of(again["flux"]), values_of(result["flux"])[:3], atol=1e-6)
    refused = call("predict", table, "-o", tmp_path / "out.csv", *options, "--model", "no such model")
    assert refused.exit_code == 1
    assert "csv has one value in a cell, and flux has 1000" in refused.output  # before any work
    gas = call("predict", table, "-o", tmp_path / "out.csv", *options, "--selection", "alfalfa")
    assert "--selection goes with --quantity hi, not with spectrum" in gas.output
