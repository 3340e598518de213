"""Rows of tables as spectra of specutils."""

import builtins

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import InverseVariance, StdDevUncertainty
from astropy.table import MaskedColumn, QTable, Table

from hifrac.spectra import rest_wavelength, result_spectrum

FLUX = np.array([np.linspace(0.02, 0.04, 1000), np.full(1000, 0.03)])


@pytest.fixture(scope="module", autouse=True)
def specutils():
    return pytest.importorskip("specutils")


def test_a_row_is_a_spectrum_in_the_rest_frame():
    spectrum = result_spectrum(Table({"name": ["a", "b"], "flux": FLUX}, meta={"made": "here"}), 1)
    np.testing.assert_array_equal(spectrum.flux.value, FLUX[1])
    assert spectrum.flux.unit == u.dimensionless_unscaled
    np.testing.assert_allclose(spectrum.spectral_axis.to_value(u.AA), rest_wavelength().value)
    assert spectrum.uncertainty is None
    assert not spectrum.mask.any()
    assert (spectrum.meta["name"], spectrum.meta["made"]) == ("b", "here")
    last = result_spectrum(Table({"flux": FLUX}), -1)
    np.testing.assert_array_equal(last.flux.value, FLUX[1])


def test_inverse_variances_are_errors_and_gaps_are_masked():
    table = QTable({"flux": FLUX.astype(np.float32), "ivar": np.full((2, 1000), 25.0)})
    table["flux"][0, :10] = np.nan
    table["ivar"][0, :10] = 0
    spectrum = result_spectrum(table)
    assert isinstance(spectrum.uncertainty, InverseVariance)
    np.testing.assert_array_equal(spectrum.uncertainty.array[:12], [0.0] * 10 + [25.0] * 2)
    assert spectrum.mask.tolist() == [True] * 10 + [False] * 990


def test_a_variance_below_0_is_none():
    spectrum = result_spectrum(Table({"flux": FLUX, "ivar": -FLUX}))
    assert not spectrum.uncertainty.array.any()


def test_the_unit_of_the_column_is_kept():
    assert result_spectrum(QTable({"flux": FLUX * u.Jy})).flux.unit == u.Jy


def test_percentiles_come_before_the_errors_of_what_was_observed():
    table = Table({"flux": FLUX, "flux_p16": 0.9 * FLUX, "flux_p84": 1.2 * FLUX, "ivar": FLUX})
    spectrum = result_spectrum(table)
    assert isinstance(spectrum.uncertainty, StdDevUncertainty)
    np.testing.assert_allclose(spectrum.uncertainty.array, 0.15 * FLUX[0])


@pytest.mark.parametrize("extension", ["ecsv", "fits", "vot"])
def test_a_row_without_a_spectrum_is_masked_also_after_a_file(extension, tmp_path):
    from hifrac.core.tables import read_table, write_table

    mask = np.zeros(FLUX.shape, bool)
    mask[1] = True
    table = Table({"flux": MaskedColumn(np.where(mask, np.nan, FLUX), mask=mask)})
    write_table(table, tmp_path / f"t.{extension}")
    table = read_table(tmp_path / f"t.{extension}")
    assert result_spectrum(table, 1).mask.all()
    np.testing.assert_allclose(result_spectrum(table, 0).flux.value, FLUX[0])


@pytest.mark.parametrize(
    ("table", "row", "error", "message"),
    [
        (FLUX, 0, TypeError, "result must be a table with a column flux, got ndarray"),
        (Table({"oh": [8.7]}), 0, ValueError, "result has no column flux of 1000 pixels"),
        (Table({"flux": [8.7]}), 0, ValueError, "result has no column flux of 1000 pixels"),
        (Table({"flux": FLUX}), 2, ValueError, "row must be one of the 2 rows, got 2"),
        (Table({"flux": FLUX}), -3, ValueError, "row must be one of the 2 rows, got -3"),
        (Table({"flux": FLUX}), 0.5, TypeError, "row must be an integer, got 0.5"),
        (Table({"flux": FLUX}), "a", TypeError, "row must be an integer, got 'a'"),
        (Table({"flux": FLUX}), True, TypeError, "row must be an integer, got True"),
        (Table({"flux": np.full(FLUX.shape, "a")}), 0, TypeError, "result: flux must hold numbers"),
        (Table({"flux": FLUX, "ivar": FLUX[:, :5]}), 0, ValueError, "result: ivar must have 1000 pixels"),
        (
            Table({"flux": FLUX, "flux_p16": [1, 2], "flux_p84": [1, 2]}),
            *(0, ValueError, r"result: flux_p16 must have 1000 pixels a row, got \(\)"),
        ),
    ],
)
def test_bad_input_is_named(table, row, error, message):
    with pytest.raises(error, match=message):
        result_spectrum(table, row)


def test_without_specutils_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **options):
        if name == "specutils":
            raise ImportError("No module named 'specutils'")
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'pip install "hifrac\[spectra\]"'):
        result_spectrum(Table({"flux": FLUX}))
