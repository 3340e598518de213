"""Catalogues of the training: their scale, and the sky that nothing may be learned from."""

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from hifrac.models.selection import distance_modulus, taylor_mass
from hifrac.training.structure.catalogs import add_photometry, in_held_out_sky, read_alfalfa_sdss, read_xgass


@pytest.mark.parametrize(
    ("ra", "dec", "inside"),
    [
        (120, 0, True),
        (249.9, 1.29, True),
        (118.9, 0, False),
        (180, 1.31, False),
        (180, -1.31, False),
        (20, 14, True),
        (20, 11.9, False),
        (37, 14, False),
        (350, 0, False),
        (np.nan, np.nan, False),
    ],
)
def test_the_held_out_sky_is_two_strips(ra, dec, inside):
    assert in_held_out_sky([ra], [dec]).tolist() == [inside]


@given(run=st.integers(0, 2**16 - 1), rest=st.integers(0, 2**32 - 1), version=st.sampled_from([1, 2]))
def test_the_held_out_runs_are_read_from_the_name(run, rest, version):
    name = str(version << 59 | run << 32 | rest)
    assert in_held_out_sky([0.0], [50.0], [name]).tolist() == [run in (745, 752, 756, 1035)]


@pytest.mark.parametrize("name", ["", "--", "1237"])
def test_a_gap_is_of_no_run(name):
    assert not in_held_out_sky([0.0], [50.0], [name]).any()


def test_nothing_of_the_sky_of_the_pictures_is_learned_from(catalogs, galaxies):
    alfalfa = catalogs.alfalfa
    is_ours = np.isin(alfalfa["objid"], galaxies["objid"])
    assert is_ours.sum() == galaxies["detected"].sum()
    assert alfalfa["held_out"][is_ours].all()
    detections, xgass = catalogs.samples
    assert len(detections.value) == 200
    free = alfalfa[~alfalfa["held_out"]]
    assert np.isin(detections.value, free["log_hi_fraction"]).all()
    learned = ~catalogs.xgass["held_out"] & ~catalogs.xgass["confused"]
    assert catalogs.xgass["held_out"].sum() == 4
    np.testing.assert_array_equal(xgass.value, catalogs.xgass["log_hi_fraction"][learned])


def test_galaxies_with_doubtful_photometry_are_left_out(small_catalogs):
    table = read_alfalfa_sdss(None)
    assert len(table) == 445  # of 446 the last is flagged, and has no radio data
    assert np.isfinite(table["w50"]).all()


def test_magnitudes_of_xgass_are_those_of_the_other_catalogue(catalogs):
    xgass, alfalfa = catalogs.xgass, catalogs.alfalfa
    # Galaxies of one place; every third is not matched by its number.
    place = {ra: row for row, ra in enumerate(alfalfa["ra"])}
    same = np.array([place.get(ra, -1) for ra in xgass["ra"]])
    both = same >= 0
    assert both.sum() >= 119
    difference = np.abs(xgass["g_minus_i"][both] - alfalfa["g_minus_i"][same[both]])
    assert np.median(difference) < 1e-9
    assert np.quantile(difference, 0.95) < 0.05
    modulus, log_axes = distance_modulus(xgass["log_cz"]), -np.log10(xgass["axis_ratio"])
    mass = taylor_mass(xgass["g_minus_i"], xgass["i"], modulus, log_axes).numpy()
    np.testing.assert_allclose(xgass["log_mstar"], mass)


def test_a_magnitude_of_a_fragment_is_not_believed(small_catalogs, catalogs):
    alfalfa = catalogs.alfalfa.copy()
    rows = slice(46 + 1, 46 + 20, 3)
    alfalfa["i"][rows] += 2.0
    again = read_xgass(None, alfalfa)
    # It follows from r instead, as that of galaxies that are not in the other catalogue.
    np.testing.assert_allclose(again["i"], catalogs.xgass["i"], atol=0.1)


def test_detections_get_the_photometry_of_the_catalogue_and_others_keep_theirs():
    galaxies = Table(
        {
            "objid": ["1", "2", "3"],
            "detected": [True, False, True],
            "g_minus_i": [0.1, 0.2, 0.3],
            "i": [14.0, np.nan, 16.0],
        }
    )
    alfalfa = Table({"objid": ["2", "1", ""], "g_minus_i": [0.9, 0.8, 0.7], "i": [15.0, 15.5, 15.7]})
    add_photometry(galaxies, alfalfa)
    assert list(galaxies["g_minus_i"]) == [0.8, 0.2, 0.3]
    np.testing.assert_array_equal(galaxies["i"], [15.5, np.nan, 16.0])
