"""Files of SDSS spectra: made here, damaged, and real."""

import numpy as np
import pytest
from astropy import units as u
from spec_files import LOGLAM, spec_file

from hifrac.core import HifracError
from hifrac.spectra import BadSpectrumError, read_sdss_spectrum, rest_wavelength


def spec_path(path, flux, ivar, **facts):
    path.write_bytes(spec_file(flux, ivar, **{"ZWARNING": 4, **facts}))
    return path


def test_a_file_is_read_and_brought_to_the_rest_frame(tmp_path):
    flux, ivar = np.linspace(1, 3, LOGLAM.size), np.full(LOGLAM.size, 4.0)
    ivar[:3] = [0, np.nan, -1]
    path = spec_path(tmp_path / "spec.fits", flux, ivar)
    spectrum = read_sdss_spectrum(path)
    np.testing.assert_allclose(spectrum.wavelength.to_value(u.AA), 10**LOGLAM, rtol=1e-6)
    np.testing.assert_allclose(spectrum.flux.to_value("1e-17 erg / (s cm2 Angstrom)"), flux, rtol=1e-6)
    np.testing.assert_allclose(spectrum.ivar, [0, 0, 0, *ivar[3:]])
    assert (spectrum.redshift, spectrum.redshift_warning, spectrum.spectral_class) == (0.1, 4, "GALAXY")
    assert (spectrum.plate, spectrum.mjd, spectrum.fiber) == (266, 51630, 7)
    assert (spectrum.ra, spectrum.dec) == (150.5, -0.25)
    rest, inverse = spectrum.to_rest_frame()
    good = np.isfinite(rest)
    expected = 1.1 * np.interp(rest_wavelength().value * 1.1, 10**LOGLAM, flux)
    np.testing.assert_allclose(rest[good][1:-1], expected[good][1:-1], rtol=1e-3)
    # 3.9 observed pixels fall on one of the grid.
    np.testing.assert_allclose(np.median(inverse[good]), 3.9 * 4 / 1.1**2, rtol=0.01)
    again = read_sdss_spectrum(path.read_bytes())
    assert np.array_equal(again.flux, spectrum.flux)


@pytest.mark.parametrize("name", ["Z", "CLASS"])
def test_files_that_lack_something(tmp_path, name):
    flux = np.ones(LOGLAM.size)
    data = spec_path(tmp_path / "spec.fits", flux, flux).read_bytes()
    with pytest.raises(BadSpectrumError, match=r"^file: the file is no SDSS spectrum that can be read"):
        read_sdss_spectrum(data.replace(f"'{name}".ljust(9).encode(), b"'LACKS   ", 1))


@pytest.mark.parametrize("data", [b"", b"<html>not here</html>", "half"])
def test_damaged_files(tmp_path, data):
    path = tmp_path / "spec.fits"
    if data == "half":
        flux = np.ones(LOGLAM.size)
        whole = spec_path(tmp_path / "whole.fits", flux, flux).read_bytes()
        data = whole[: len(whole) // 2]
    path.write_bytes(data)
    with pytest.raises(BadSpectrumError, match=r"^file: .*spec\.fits is no SDSS spectrum"):
        read_sdss_spectrum(path)
    assert issubclass(BadSpectrumError, HifracError)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_sdss_spectrum(tmp_path / "spec.fits")


def test_pixels_that_no_exposure_has_are_masked_and_those_of_some_are_not(tmp_path):
    flux, bits = np.ones(LOGLAM.size), np.zeros(LOGLAM.size, dtype=int)
    bits[100:2000] = 1 << 23  # BRIGHTSKY
    bits[3000:] = 1 << 19 | 1 << 16  # PARTIALREJECT, NEARBADPIXEL
    flux[100:2000] = 1000
    spectrum = read_sdss_spectrum(spec_file(flux, mask=bits))
    assert np.flatnonzero(spectrum.mask).tolist() == list(range(100, 2000))
    rest, ivar = spectrum.to_rest_frame(masked=True)
    assert np.nanmax(rest) == pytest.approx(1.1)
    assert 480 < ((ivar > 0) ^ (spectrum.to_rest_frame()[1] > 0)).sum() < 490


@pytest.mark.real_data
def test_real_files_come_to_the_grid_as_others_brought_them(real_data):
    spectra = np.load(real_data / "spectra" / "real_sdss_galaxy_spectra.npz")
    np.testing.assert_allclose(rest_wavelength().value, spectra["wave"], rtol=1e-9)
    rows = {str(objid): row for row, objid in enumerate(spectra["objid"])}
    paths = sorted((real_data / "spectra" / "legacy_pairs").glob("*.fits"))
    assert len(paths) == 14
    for path in paths:
        spectrum = read_sdss_spectrum(path)
        row = rows[path.stem]
        assert spectrum.spectral_class == "GALAXY"
        assert spectrum.redshift == pytest.approx(spectra["z"][row], abs=1e-6)
        rest, ivar = spectrum.to_rest_frame()
        theirs = spectra["flux"][row]
        assert abs((ivar > 0).sum() - (spectra["ivar"][row] > 0).sum()) <= 2
        both = np.isfinite(rest) & np.isfinite(theirs)
        ratio = rest[both] / theirs[both] / (1 + spectrum.redshift)
        assert np.median(ratio) == pytest.approx(1, abs=0.002)
        assert np.subtract(*np.percentile(ratio, [84, 16])) < 0.05


@pytest.mark.real_data
def test_masks_of_real_files_are_lines_of_the_night_sky(real_data):
    shares = []
    for path in sorted((real_data / "spectra" / "legacy_pairs").glob("*.fits")):
        spectrum = read_sdss_spectrum(path)
        shares.append(spectrum.mask.mean())
        assert np.median(spectrum.wavelength[spectrum.mask].value) > 5500
    assert (min(shares), np.median(shares), max(shares)) == pytest.approx((0.002, 0.023, 0.066), abs=0.002)
