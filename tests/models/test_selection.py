"""The limit of ALFALFA: against the published relation, its noise, and what galaxies it lets through."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hifrac.models.selection import (
    ANY_CODE_SHIFT,
    RMS_TYPICAL,
    Selection,
    detection_score,
    distance_modulus,
    log_flux_limit,
    reach,
    relative_noise,
    taylor_mass,
)


def test_the_flux_limit_is_that_of_haynes_and_continuous():
    np.testing.assert_allclose(log_flux_limit([2.0, 2.7]), [-0.207, 0.243])
    np.testing.assert_allclose(*log_flux_limit([2.5 - 1e-9, 2.5 + 1e-9]), atol=1e-8)


def test_the_distance_is_that_of_the_hubble_flow():
    np.testing.assert_allclose(distance_modulus(np.log10([70.0, 7000.0])), [25, 35])


def test_the_noise_is_higher_at_the_edges_of_the_survey_only():
    noise = relative_noise([0.0, 3.0, 15.0, 30.0, 36.2, np.nan])
    assert noise[0] == pytest.approx(0.108)
    assert noise[0] > noise[1] > noise[2] == noise[3] == noise[5] == 0
    assert 0 < noise[4] < noise[0]
    assert 10 ** noise[0] * RMS_TYPICAL == pytest.approx(3.0, abs=0.01)  # mJy, at the equator


def test_the_mass_is_that_of_taylor_where_no_dust_is_corrected_for():
    # Face-on, no internal extinction is corrected for: Taylor et al. (2011), equation 8.
    mass = taylor_mass([0.8], [14.0], [34.0], [0.0])
    np.testing.assert_allclose(mass, 1.15 + 0.70 * 0.8 - 0.4 * (14.0 - 34.0))
    assert taylor_mass([0.8], [14.0], [34.0], [0.5]) != mass


@given(log_cz=st.floats(3.0, 4.25), shift=st.floats(-0.2, 0.2))
def test_the_limit_in_mass_follows_the_flux(log_cz, shift):
    selection = Selection()
    i, axes, mass = torch.tensor([15.0]).double(), torch.tensor([0.2]).double(), torch.tensor([9.5]).double()
    modulus = distance_modulus([log_cz])
    limit = selection.mass_limit(i, modulus, axes, mass, [15.0])
    # The same light from twice as far: brighter, thus wider, and four times the mass for the same flux.
    np.testing.assert_allclose(selection.mass_limit(i, modulus, axes, mass + shift, [15.0]), limit - shift)
    np.testing.assert_allclose(selection.mass_limit(i, modulus, axes, mass, [0.0]), limit + 0.108)
    flux = limit + mass - 0.4 * (modulus - 25) - np.log10(2.356e5)
    np.testing.assert_allclose(flux, log_flux_limit(selection.log_width(i, modulus, axes)))


def test_half_of_the_galaxies_at_the_limit_are_detected():
    limit = torch.tensor([-0.3]).double()
    np.testing.assert_allclose(detection_score(limit + ANY_CODE_SHIFT, limit), 0.0, atol=1e-12)
    assert torch.special.ndtr(detection_score(limit + 1, limit)) > 0.999
    assert torch.special.ndtr(detection_score(limit - 1.2, limit)) < 0.001


def test_nothing_is_detected_beyond_the_band_of_the_survey():
    log_cz = torch.log10(torch.tensor([6000.0, 18000.0, 30000.0])).double()
    np.testing.assert_allclose(reach(log_cz, torch.tensor(0.01)), [1, 0.5, 0], atol=1e-5)
