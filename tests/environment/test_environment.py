"""Projected densities: the same as by brute force, whatever comes in."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord, match_coordinates_sky
from astropy.cosmology import FlatLambdaCDM, LambdaCDM, Planck18
from astropy.table import MaskedColumn, QTable, Table
from contract import assert_column_of
from hypothesis import given, settings
from hypothesis import strategies as st

from hifrac.core.angles import unit_vectors
from hifrac.core.exceptions import HifracWarning
from hifrac.environment import (
    AS_CODED,
    AS_PRINTED,
    ENVIRONMENT_COLUMNS,
    EnvironmentFlag,
    RandomPoints,
    Region,
    overdensity,
    surface_density,
)
from hifrac.environment._median import sliding_median
from hifrac.environment._neighbours import nearest_in_window
from hifrac.environment._parse import transverse_distance

C = 299792.458
WINDOW = 1000 / C
WU = FlatLambdaCDM(H0=70, Om0=0.3)


def sky(n, seed=0, *, ra=(150, 210), dec=(0, 40), z=(0.01, 0.06), clusters=0):
    """Positions and redshifts, some of them in clumps."""
    rng = np.random.default_rng(seed)
    lon = rng.uniform(*ra, n)
    lat = np.degrees(np.arcsin(rng.uniform(*np.sin(np.radians(dec)), n)))
    redshift = rng.uniform(*z, n)
    for _ in range(clusters):
        members = rng.choice(n, n // 20, replace=False)
        lon[members] = lon[members[0]] + rng.normal(0, 0.3, len(members))
        lat[members] = np.clip(lat[members[0]] + rng.normal(0, 0.3, len(members)), -90, 90)
        redshift[members] = np.abs(redshift[members[0]] + rng.normal(0, 0.002, len(members))) + 1e-4
    return SkyCoord(lon, lat, unit="deg"), redshift


def plain(column):
    return column.filled(np.nan).value


def has(table, flag):
    return (np.asarray(table["environment_flags"]) & int(flag)) != 0


def distances_by_brute_force(coords, z, reference, reference_z, n, window=1000.0, cosmology=WU):
    """Every pair, with the formulas of Astropy; NaN where there are fewer than n."""
    result = np.full(len(z), np.nan)
    for i in range(len(z)):
        inside = np.ones(len(reference_z), bool)
        if window is not None:
            inside = np.abs(reference_z - z[i]) <= window / C
        angle = np.sort(coords[i].separation(reference[inside]).rad)
        if len(angle) >= n:
            result[i] = angle[n - 1] * cosmology.angular_diameter_distance(z[i]).value
    return result


# ---------------------------------------------------------------- the density


@pytest.mark.parametrize("window", [1000.0, 300.0, None])
@pytest.mark.parametrize("n", [1, 5, 10])
def test_distances_are_those_of_brute_force(window, n):
    reference, reference_z = sky(2000, 1, clusters=8)
    coords, z = sky(60, 2)
    speed = None if window is None else window * u.km / u.s
    table = surface_density(coords, z, (reference, reference_z), n=n, velocity_window=speed, footprint=None)
    expected = distances_by_brute_force(coords, z, reference, reference_z, n, window)
    np.testing.assert_allclose(plain(table["neighbour_distance"]), expected, rtol=1e-9)
    np.testing.assert_allclose(plain(table["surface_density"]), 3 / (np.pi * expected**2), rtol=1e-9)


@pytest.mark.parametrize("ra", [(340, 380), (0, 360)], ids=["over RA 0", "all around"])
@pytest.mark.parametrize(
    "dec", [(-90, -80), (80, 90), (-10, 10)], ids=["south pole", "north pole", "equator"]
)
def test_distances_are_right_at_the_poles_and_over_the_zero_of_right_ascension(ra, dec):
    reference, reference_z = sky(600, 3, ra=ra, dec=dec, z=(0.02, 0.03))
    table = surface_density(reference[:40], reference_z[:40], (reference, reference_z), footprint=None)
    expected = distances_by_brute_force(reference[:40], reference_z[:40], reference, reference_z, 5)
    np.testing.assert_allclose(plain(table["neighbour_distance"]), expected, rtol=1e-9)


def chords_by_brute_force(vectors, z, reference, reference_z, n, half_width):
    chord = np.linalg.norm(vectors[:, None] - reference[None], axis=2)
    if half_width is not None:
        chord[np.abs(reference_z[None] - z[:, None]) > half_width[:, None]] = np.inf
    chord = np.concatenate([np.sort(chord, axis=1), np.full((len(z), n), np.inf)], axis=1)
    return chord[:, :n]


@settings(max_examples=150)
@given(
    seed=st.integers(0, 10_000),
    galaxies=st.integers(1, 40),
    reference=st.integers(1, 300),
    n=st.integers(1, 12),
    kinds=st.integers(1, 300),
    window=st.sampled_from([1e-5, 1e-3, 0.0033, 0.05, 10.0, None]),
    rounding=st.sampled_from([None, 2, 3]),
)
def test_the_search_equals_brute_force_for_any_sky(seed, galaxies, reference, n, kinds, window, rounding):
    """Duplicates, ties in redshift and windows of all widths included."""
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(kinds, 3))
    places /= np.linalg.norm(places, axis=1)[:, None]
    z = rng.gamma(2, 0.02, galaxies)
    reference_z = rng.gamma(2, 0.02, reference)
    if rounding is not None:
        z, reference_z = np.round(z, rounding), np.round(reference_z, rounding)
    vectors = places[rng.integers(0, kinds, galaxies)]
    others = places[rng.integers(0, kinds, reference)]
    half_width = None if window is None else np.full(galaxies, window) * rng.uniform(0.5, 1, galaxies)
    got = nearest_in_window(vectors, z, others, reference_z, n, half_width)
    expected = chords_by_brute_force(vectors, z, others, reference_z, n, half_width)
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_a_crowd_just_outside_the_window_does_not_hide_those_inside():
    """The slab is full of galaxies next on the sky that are not in the window."""
    rng = np.random.default_rng(5)
    crowd, crowd_z = sky(20_000, 5, ra=(10, 11), dec=(0, 1), z=(0.0300, 0.0301))
    far, far_z = sky(30, 6, ra=(100, 200), dec=(0, 40), z=(0.0345, 0.0346))
    reference = unit_vectors(np.r_[crowd.ra.deg, far.ra.deg], np.r_[crowd.dec.deg, far.dec.deg])
    reference_z = np.r_[crowd_z, far_z]
    z = rng.uniform(0.0335, 0.0347, 200)
    vectors = unit_vectors(np.full(200, 10.5), np.full(200, 0.5))
    half_width = np.full(200, WINDOW)
    got = nearest_in_window(vectors, z, reference, reference_z, 5, half_width)
    expected = chords_by_brute_force(vectors, z, reference, reference_z, 5, half_width)
    np.testing.assert_allclose(got, expected, atol=1e-12)
    assert np.isfinite(got).all()


def test_the_window_is_inclusive():
    row = SkyCoord([10.0, 10.1], [0.0, 0.0], unit="deg")
    z = np.array([0.0, 0.25])  # exact in binary, as is their difference
    edge = 0.25 * C * u.km / u.s
    pair = (row, z)
    target = (row[1:], z[1:])
    assert not has(surface_density(*target, pair, n=2, velocity_window=edge, footprint=None), 4).any()
    narrow = surface_density(*target, pair, n=2, velocity_window=edge * (1 - 1e-9), footprint=None)
    assert has(narrow, EnvironmentFlag.TOO_FEW_NEIGHBOURS).all()


def test_a_window_in_the_rest_frame_is_wider_in_redshift():
    row = SkyCoord([10.0, 10.1], [0.0, 0.0], unit="deg")
    z = np.array([0.5, 0.5045])  # 1349 km/s in cz, 900 km/s in the rest frame
    options = {"n": 2, "footprint": None}
    observed = surface_density(row[:1], z[:1], (row, z), **options)
    rest = surface_density(row[:1], z[:1], (row, z), rest_frame=True, **options)
    assert has(observed, EnvironmentFlag.TOO_FEW_NEIGHBOURS).all()
    assert not has(rest, EnvironmentFlag.TOO_FEW_NEIGHBOURS).any()


def test_the_distance_is_the_angle_and_not_the_chord():
    row = SkyCoord([0.0, 60.0], [0.0, 0.0], unit="deg")
    table = surface_density(row[:1], [0.02], (row, [0.02, 0.02]), n=2, footprint=None)
    expected = np.radians(60) * WU.angular_diameter_distance(0.02).to_value(u.Mpc)
    assert plain(table["neighbour_distance"])[0] == pytest.approx(expected, rel=1e-12)


def test_the_galaxy_itself_counts_or_does_not():
    reference, reference_z = sky(400, 7, z=(0.02, 0.03))
    pair = (reference, reference_z)
    counted = surface_density(reference, reference_z, pair, n=6, footprint=None)
    others = surface_density(reference, reference_z, pair, n=5, include_self=False, footprint=None)
    np.testing.assert_allclose(plain(others["neighbour_distance"]), plain(counted["neighbour_distance"]))
    assert not has(others, EnvironmentFlag.NO_COUNTERPART).any()


def test_a_galaxy_that_the_reference_lacks_is_flagged_and_has_all_its_neighbours():
    reference, reference_z = sky(400, 7, z=(0.02, 0.03))
    coords, z = sky(30, 8, z=(0.022, 0.028))
    pair = (reference, reference_z)
    one = surface_density(coords, z, pair, include_self=False, footprint=None)
    two = surface_density(coords, z, pair, include_self=True, footprint=None)
    np.testing.assert_array_equal(plain(one["neighbour_distance"]), plain(two["neighbour_distance"]))
    assert has(one, EnvironmentFlag.NO_COUNTERPART).all()


def test_a_counterpart_a_little_off_is_found_within_the_match_radius():
    reference, reference_z = sky(300, 9, z=(0.02, 0.03))
    shifted = reference.directional_offset_by(40 * u.deg, 3 * u.arcsec)
    pair = (reference, reference_z)
    near = surface_density(shifted, reference_z, pair, footprint=None)
    assert not has(near, EnvironmentFlag.NO_COUNTERPART).any()
    strict = surface_density(shifted, reference_z, pair, match_radius=1 * u.arcsec, footprint=None)
    assert has(strict, EnvironmentFlag.NO_COUNTERPART).all()


def test_duplicates_are_flagged_and_an_infinite_density_is_masked():
    reference, reference_z = sky(300, 10, z=(0.02, 0.03))
    doubled = SkyCoord(np.r_[reference.ra, reference.ra[:1]], np.r_[reference.dec, reference.dec[:1]])
    pair = (doubled, np.r_[reference_z, reference_z[:1]])
    table = surface_density(reference[:5], reference_z[:5], pair, n=2, footprint=None)
    assert list(has(table, EnvironmentFlag.POSSIBLE_DUPLICATE)) == [True, False, False, False, False]
    assert list(has(table, EnvironmentFlag.COINCIDENT)) == [True, False, False, False, False]
    assert list(table["surface_density"].mask) == [True, False, False, False, False]


def test_the_answer_does_not_depend_on_order_company_or_frame():
    reference, reference_z = sky(1500, 11, clusters=4)
    pair = (reference, reference_z)
    coords, z = sky(200, 12)
    whole = plain(surface_density(coords, z, pair, footprint=None)["neighbour_distance"])
    order = np.random.default_rng(0).permutation(200)
    shuffled = surface_density(coords[order], z[order], pair, footprint=None)
    np.testing.assert_array_equal(plain(shuffled["neighbour_distance"]), whole[order])
    alone = [
        plain(surface_density(coords[i], z[i], pair, footprint=None)["neighbour_distance"])[0] for i in (0, 9)
    ]
    assert alone == [whole[0], whole[9]]
    galactic = surface_density(coords.galactic, z, (reference.galactic, reference_z), footprint=None)
    np.testing.assert_allclose(plain(galactic["neighbour_distance"]), whole, rtol=1e-7)
    turned = SkyCoord(reference.ra + 193 * u.deg, reference.dec)
    mine = SkyCoord(coords.ra + 193 * u.deg, coords.dec)
    around = surface_density(mine, z, (turned, reference_z), footprint=None)
    np.testing.assert_allclose(plain(around["neighbour_distance"]), whole, rtol=1e-7)


def test_any_cosmology_sets_the_scale():
    reference, reference_z = sky(500, 13, z=(0.02, 0.03))
    pair = (reference, reference_z)
    base = surface_density(reference, reference_z, pair, footprint=None)
    near = surface_density(reference, reference_z, pair, cosmology=FlatLambdaCDM(140, 0.3), footprint=None)
    np.testing.assert_allclose(plain(near["surface_density"]), 4 * plain(base["surface_density"]), rtol=1e-12)
    other = surface_density(reference, reference_z, pair, cosmology=Planck18, footprint=None)
    ratio = plain(other["neighbour_distance"]) / plain(base["neighbour_distance"])
    expected = Planck18.angular_diameter_distance(reference_z) / WU.angular_diameter_distance(reference_z)
    np.testing.assert_allclose(ratio, expected.value, rtol=1e-9)


@pytest.mark.parametrize(
    "cosmology", [WU, Planck18, LambdaCDM(70, 0.3, 0.9)], ids=["flat", "Planck", "closed"]
)
@pytest.mark.parametrize("most", [0.15, 3.0])
def test_distances_of_many_redshifts_are_interpolated_to_better_than_a_billionth(cosmology, most):
    z = np.random.default_rng(0).uniform(1e-4, most, 5000)
    fast = transverse_distance(cosmology, z)
    exact = cosmology.comoving_transverse_distance(z[:300]).to_value(u.Mpc)
    np.testing.assert_allclose(fast[:300], exact, rtol=1e-9)


def test_the_numerator_is_a_factor():
    reference, reference_z = sky(300, 14, z=(0.02, 0.03))
    pair = (reference, reference_z)
    paper = surface_density(reference, reference_z, pair, footprint=None)
    mean = surface_density(reference, reference_z, pair, numerator=5, footprint=None)
    np.testing.assert_allclose(plain(mean["surface_density"]), plain(paper["surface_density"]) * 5 / 3)


# ---------------------------------------------------------------- bad input


def test_unusable_rows_are_masked_and_flagged_and_the_others_served():
    reference, reference_z = sky(500, 15, z=(0.02, 0.03))
    coords = Table({"ra": [180.0, np.nan, 180.0, 180.0, 180.0, 180.0, 400.0], "dec": [20.0] * 7})
    coords["ra"].unit = coords["dec"].unit = u.deg
    z = MaskedColumn([0.025, 0.025, 0.0, -0.001, np.nan, 0.025, 0.025], mask=[0, 0, 0, 0, 0, 1, 0])
    table = surface_density(coords, z, (reference, reference_z))
    position, redshift = EnvironmentFlag.BAD_POSITION, EnvironmentFlag.BAD_REDSHIFT
    assert list(has(table, position)) == [False, True, False, False, False, False, True]
    assert list(has(table, redshift)) == [False, False, True, True, True, True, False]
    assert list(table["surface_density"].mask) == [False, True, True, True, True, True, True]
    assert list(np.isnan(table["neighbour_distance"].unmasked.value)) == list(
        table["neighbour_distance"].mask
    )


def test_fewer_than_n_neighbours_are_masked_and_flagged():
    reference, reference_z = sky(6, 16, z=(0.02, 0.0201))
    coords, z = sky(3, 17, z=(0.02, 0.0201))
    pair = (reference, reference_z)
    assert not surface_density(coords, z, pair, n=6, footprint=None)["surface_density"].mask.any()
    table = surface_density(coords, z, pair, n=7, footprint=None)
    assert table["surface_density"].mask.all()
    assert has(table, EnvironmentFlag.TOO_FEW_NEIGHBOURS).all()
    beyond = surface_density(coords, z + 0.1, pair, n=1, footprint=None)
    assert has(beyond, EnvironmentFlag.TOO_FEW_NEIGHBOURS).all()
    assert has(beyond, EnvironmentFlag.REDSHIFT_EDGE).all()


def test_reference_rows_without_position_or_redshift_are_left_out_and_counted():
    reference, reference_z = sky(300, 18, z=(0.02, 0.03))
    bad_z = np.r_[reference_z, np.nan, -9999.0]
    bad = SkyCoord(np.r_[reference.ra, [1, 2] * u.deg], np.r_[reference.dec, [1, 2] * u.deg])
    with pytest.warns(HifracWarning, match="reference: 2 of 302 rows left out"):
        table = surface_density(reference, reference_z, (bad, bad_z), footprint=None)
    assert table.meta["hifrac"]["reference_left_out"] == 2
    clean = surface_density(reference, reference_z, (reference, reference_z), footprint=None)
    np.testing.assert_array_equal(plain(table["neighbour_distance"]), plain(clean["neighbour_distance"]))


@pytest.mark.parametrize("name", ["z", "Z", "redshift"])
def test_a_reference_may_be_a_table(name):
    reference, reference_z = sky(300, 18, z=(0.02, 0.03))
    expected = surface_density(reference, reference_z, (reference, reference_z), footprint=None)
    table = QTable({"RA": reference.ra, "DEC": reference.dec, name: reference_z, "other": ["x"] * 300})
    got = surface_density(table, reference_z, table, footprint=None)
    np.testing.assert_array_equal(plain(got["neighbour_distance"]), plain(expected["neighbour_distance"]))


def call(**changes):
    reference, reference_z = sky(50, 19, z=(0.02, 0.03))
    arguments = {
        "coords": reference,
        "z": reference_z,
        "reference": (reference, reference_z),
        "footprint": None,
    }
    return overdensity(**(arguments | changes))


HERE, HERE_Z = sky(50, 19)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"coords": [1, 2]}, TypeError, "coords: data must be pairs"),
        ({"coords": HERE.reshape(5, 10)}, ValueError, "coords: data must be one-dimensional"),
        ({"z": HERE_Z[:-1]}, ValueError, "z must have one redshift for each of 50 positions"),
        ({"z": HERE_Z * C}, ValueError, "z must be redshifts, got .*cz in km/s"),
        ({"z": HERE_Z * u.km / u.s}, u.UnitConversionError, "z must be redshifts without a unit"),
        ({"z": ["a"] * 50}, TypeError, "z must hold numbers"),
        ({"reference": HERE}, TypeError, "reference must be a table with ra, dec and z, or a pair"),
        ({"reference": (HERE, HERE_Z[1:])}, ValueError, "reference z must have one redshift"),
        ({"reference": (HERE, HERE_Z * C)}, ValueError, "reference z must be redshifts"),
        ({"reference": (HERE, np.full(50, np.nan))}, ValueError, "reference has no row with a position"),
        ({"reference": Table({"z": HERE_Z})}, ValueError, "reference: data has no ra and no dec"),
        ({"reference": Table({"ra": [1.0], "dec": [1.0]})}, ValueError, "reference has no column z"),
        ({"n": 0}, ValueError, "n must be at least 1"),
        ({"n": 2.5}, TypeError, "n must be an integer"),
        ({"numerator": 0}, ValueError, "numerator must be positive"),
        ({"velocity_window": 1000}, TypeError, "velocity_window must be a velocity with its unit"),
        ({"velocity_window": 1000 * u.km}, u.UnitConversionError, "velocity_window must be a velocity"),
        ({"velocity_window": -1 * u.km / u.s}, ValueError, "velocity_window must be one positive velocity"),
        ({"match_radius": 5}, TypeError, "match_radius must be a quantity"),
        ({"match_radius": 5 * u.Mpc}, u.UnitConversionError, "match_radius must be convertible to rad"),
        ({"min_distance": -1 * u.Mpc}, ValueError, "min_distance must be one number, not negative"),
        ({"min_coverage": 2}, ValueError, "min_coverage must be from 0 to 1"),
        ({"footprint": "sdss"}, ValueError, "footprint must be 'reference', None or a footprint"),
        ({"footprint": 7}, TypeError, "footprint must be 'reference', None, random points"),
        ({"cosmology": 70}, TypeError, "cosmology must be an Astropy cosmology"),
        ({"median": "mean"}, ValueError, "median must be 'exact' or 'grid'"),
        ({"boxcar_width": 0}, ValueError, "boxcar_width must be positive"),
        ({"population": "all"}, ValueError, "population must be 'targets', 'reference' or"),
        ({"population": [1]}, TypeError, "population must be 'targets', 'reference' or a pair"),
        (
            {"population": ([0.02], [1] * u.Mpc)},
            u.UnitConversionError,
            "population: densities must be per Mpc",
        ),
    ],
)
def test_bad_input_is_refused_with_the_parameter_named(changes, error, message):
    with pytest.raises(error, match=message):
        call(**changes)


# ---------------------------------------------------------------- where the reference has looked


def uniform(n, seed, ra, dec):
    return sky(n, seed, ra=ra, dec=dec)[0]


def test_targets_that_the_reference_does_not_cover_are_masked_with_a_warning():
    reference, reference_z = sky(20_000, 20, ra=(150, 210), dec=(0, 40))
    coords = SkyCoord([180.0, 20.0, 180.0], [20.0, 20.0, -60.0], unit="deg")
    with pytest.warns(HifracWarning, match="does not cover 2 of 3 galaxies"):
        table = surface_density(coords, np.full(3, 0.03), (reference, reference_z))
    assert list(has(table, EnvironmentFlag.OUTSIDE_REFERENCE)) == [False, True, True]
    assert list(table["surface_density"].mask) == [False, True, True]
    unchecked = surface_density(coords, np.full(3, 0.03), (reference, reference_z), footprint=None)
    assert not unchecked["surface_density"].mask.any()


def test_a_sparse_reference_covers_nothing_less_than_all():
    reference, reference_z = sky(100, 21, ra=(0, 360), dec=(-90, 90), z=(0.02, 0.03))
    coords, z = sky(300, 22, ra=(0, 360), dec=(-90, 90), z=(0.02, 0.03))
    assert not has(
        surface_density(coords, z, (reference, reference_z)), EnvironmentFlag.OUTSIDE_REFERENCE
    ).any()


class Box:
    """RA 150 to 210, Dec 0 to 40, as a function."""

    def __call__(self, ra, dec):
        return (ra > 150) & (ra < 210) & (dec > 0) & (dec < 40)


BOX = Box()


def moc_of_box():
    """The box as a coverage map."""
    mocpy = pytest.importorskip("mocpy")
    # Parallels are no great circles: many corners.
    lon, lat = np.linspace(150, 210, 61), np.linspace(0.5, 39.5, 40)
    edge = [(one, 0) for one in lon] + [(210, one) for one in lat] + [(one, 40) for one in lon[::-1]]
    edge += [(150, one) for one in lat[::-1]]
    corners = SkyCoord(edge, unit="deg")
    return mocpy.MOC.from_polygon_skycoord(corners, max_depth=9)


@pytest.mark.parametrize(
    "footprint",
    [
        pytest.param(Region(BOX), id="function"),
        pytest.param(RandomPoints(uniform(200_000, 23, (150, 210), (0, 40))), id="random points"),
    ],
)
def test_a_footprint_measures_the_covered_share_of_a_circle(footprint):
    ra = np.array([180.0, 150.0, 210.0, 180.0, 150.0, 20.0])
    dec = np.array([20.0, 20.0, 20.0, 0.0, 0.0, 20.0])
    share = footprint.coverage(ra, dec, np.radians(np.full(6, 5.0)))
    np.testing.assert_allclose(share, [1, 0.5, 0.5, 0.5, 0.25, 0], atol=0.05)


def test_points_of_a_probed_circle_lie_in_the_circle_and_fill_it():
    seen = {}

    def everywhere(ra, dec):
        seen["points"] = SkyCoord(ra, dec, unit="deg")
        return np.ones(len(ra), bool)

    for place in (SkyCoord(0, 90, unit="deg"), SkyCoord(359.9, -30, unit="deg")):
        radius = np.radians([20.0])
        assert Region(everywhere).coverage(np.array([place.ra.deg]), np.array([place.dec.deg]), radius) == 1
        distance = seen["points"].separation(place).rad
        assert distance.max() <= radius[0] + 1e-9
        inner = np.mean(1 - np.cos(distance) < (1 - np.cos(radius[0])) / 4)
        assert inner == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("kind", ["random points", "table of random points", "function", "MOC"])
def test_galaxies_at_the_edge_are_flagged_and_those_inside_are_not(kind):
    reference, reference_z = sky(6000, 24)
    coords = SkyCoord([180.0, 150.05, 149.0, 100.0], [20.0, 20.0, 20.0, 20.0], unit="deg")
    points = uniform(100_000, 25, (150, 210), (0, 40))
    footprint = {
        "random points": lambda: points,
        "table of random points": lambda: QTable({"ra": points.ra, "dec": points.dec}),
        "function": lambda: BOX,
        "MOC": moc_of_box,
    }[kind]()
    with pytest.warns(HifracWarning, match="does not cover"):
        table = surface_density(coords, np.full(4, 0.03), (reference, reference_z), footprint=footprint)
    assert list(has(table, EnvironmentFlag.EDGE))[:2] == [False, True]
    assert list(has(table, EnvironmentFlag.OUTSIDE_REFERENCE))[3]
    assert table["coverage"][0] > 0.9
    assert table["coverage"][1] == pytest.approx(0.5, abs=0.15)
    assert list(table["surface_density"].mask)[:2] == [False, False]


def test_a_map_of_mocpy_is_a_footprint():
    mocpy = pytest.importorskip("mocpy")
    moc = mocpy.MOC.from_cone(lon=180 * u.deg, lat=20 * u.deg, radius=10 * u.deg, max_depth=8)
    share = Region(moc).coverage(
        np.array([180.0, 180.0, 180.0]), np.array([20.0, 30.0, 60.0]), np.full(3, 0.05)
    )
    np.testing.assert_allclose(share, [1, 0.45, 0], atol=0.06)


def test_an_object_like_such_a_map_will_do():
    class Moc:
        def contains_lonlat(self, lon, lat):
            return BOX(lon.to_value(u.deg), lat.to_value(u.deg))

    share = Region(Moc()).coverage(np.array([180.0, 0.0]), np.array([20.0, 0.0]), np.full(2, 0.02))
    assert list(share) == [1, 0]
    with pytest.raises(TypeError, match="region must be a MOC or a function"):
        Region(3)


def test_random_points_must_be_many_and_know_their_density():
    with pytest.raises(ValueError, match="points must be at least 2000"):
        RandomPoints(uniform(100, 1, (0, 10), (0, 10)))
    points = uniform(50_000, 26, (150, 210), (0, 40))
    area = np.degrees(np.radians(60) * np.sin(np.radians(40))) * np.degrees(1)
    assert RandomPoints(points).density.to_value(u.deg**-2) == pytest.approx(50_000 / area, rel=0.05)
    given_one = RandomPoints(points, density=20 / u.deg**2)
    assert given_one.density.value == pytest.approx(20)
    assert "50000 points" in repr(given_one)
    with pytest.raises(ValueError, match="density must be positive"):
        RandomPoints(points, density=0 / u.deg**2)


def test_windows_beyond_the_redshifts_of_the_reference_are_flagged():
    reference, reference_z = sky(3000, 27, z=(0.02, 0.05))
    coords, _ = sky(5, 28)
    z = np.array([0.021, 0.03, 0.045, 0.049, 0.051])
    table = surface_density(coords, z, (reference, reference_z), footprint=None)
    assert list(has(table, EnvironmentFlag.REDSHIFT_EDGE)) == [True, False, False, True, True]


def test_nearby_galaxies_are_flagged_and_have_no_overdensity():
    reference, reference_z = sky(3000, 29, z=(0.001, 0.02))
    coords, _ = sky(3, 30)
    z = np.array([0.002, 0.003, 0.01])  # 8.6, 12.9 and 42.8 Mpc
    table = overdensity(coords, z, (reference, reference_z), footprint=None)
    assert list(has(table, EnvironmentFlag.NEARBY)) == [True, False, False]
    assert list(table["surface_density"].mask) == [False, False, False]
    assert list(table["log_overdensity"].mask) == [True, False, False]


# ---------------------------------------------------------------- the overdensity


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(0, 60),
    places=st.integers(1, 30),
    kinds=st.integers(1, 60),
    width=st.sampled_from([1e-9, 0.1, 0.5, 3.0]),
)
def test_sliding_medians_equal_those_of_numpy(seed, n, places, kinds, width):
    rng = np.random.default_rng(seed)
    x, at = np.round(rng.random(n), 2), np.round(rng.uniform(-0.2, 1.2, places), 2)
    values = rng.lognormal(size=kinds)[rng.integers(0, kinds, n)]
    median, count = sliding_median(x, values, at, width)
    for i, middle in enumerate(at):
        inside = values[(x > middle - width / 2) & (x < middle + width / 2)]
        assert count[i] == len(inside)
        np.testing.assert_allclose(median[i], np.median(inside) if len(inside) else np.nan)


def test_the_overdensity_is_the_density_over_its_median_at_the_redshift():
    reference, reference_z = sky(3000, 31, clusters=5)
    coords, z = sky(500, 32)
    table = overdensity(coords, z, (reference, reference_z), footprint=None)
    sigma = plain(table["surface_density"])
    expected = [s / np.median(sigma[np.abs(z - here) < 0.01]) for s, here in zip(sigma, z, strict=True)]
    np.testing.assert_allclose(table["overdensity"].filled(np.nan), expected, rtol=1e-12)
    np.testing.assert_allclose(plain(table["log_overdensity"]), np.log10(expected), atol=1e-12)
    assert np.median(expected) == pytest.approx(1, abs=0.1)


def naive_as_coded(coords, z, reference):
    """What the published notebook computes: no window, medians on a grid, interpolated."""
    angle = match_coordinates_sky(coords, reference, nthneighbor=5)[1].rad
    sigma = 3 / (np.pi * (WU.angular_diameter_distance(z).value * angle) ** 2)
    grid = np.arange(0, 0.07, 0.002)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        median = [np.nanmedian(sigma[(z > g - 0.01) & (z < g + 0.01)]) for g in grid]
    return sigma, sigma / np.interp(z, grid, median)


def test_the_option_as_coded_is_what_the_notebook_computes():
    reference, reference_z = sky(4000, 33, clusters=5)
    coords, z = sky(600, 34, z=(0.003, 0.06))
    table = overdensity(coords, z, (reference, reference_z), **AS_CODED)
    sigma, ratio = naive_as_coded(coords, z, reference)
    np.testing.assert_allclose(plain(table["surface_density"]), sigma, rtol=1e-9)
    np.testing.assert_allclose(table["overdensity"].filled(np.nan), ratio, rtol=1e-9)


def test_as_printed_has_the_window_that_the_code_lacks():
    reference, reference_z = sky(4000, 33, clusters=5)
    pair = (reference, reference_z)
    coords, z = sky(100, 34, z=(0.003, 0.06))
    printed, coded = overdensity(coords, z, pair, **AS_PRINTED), overdensity(coords, z, pair, **AS_CODED)
    assert printed.meta["hifrac"]["velocity_window_km_s"] == 1000
    assert coded.meta["hifrac"]["velocity_window_km_s"] is None
    windowed = plain(printed["neighbour_distance"])
    there = np.isfinite(windowed)
    assert there.sum() > 90
    assert np.all(windowed[there] >= plain(coded["neighbour_distance"])[there])


def test_neither_the_numerator_nor_the_hubble_constant_changes_the_overdensity():
    base = call()["overdensity"].filled(np.nan)
    for changes in ({"numerator": 5}, {"cosmology": FlatLambdaCDM(100, 0.3)}):
        np.testing.assert_allclose(call(**changes)["overdensity"].filled(np.nan), base, rtol=1e-9)


def test_a_few_galaxies_are_compared_with_the_reference():
    reference, reference_z = sky(3000, 35, clusters=5)
    pair = (reference, reference_z)
    few = overdensity(reference[:4], reference_z[:4], pair, population="reference", footprint=None)
    all_of_them = overdensity(reference, reference_z, pair, footprint=None)
    expected = all_of_them["overdensity"].filled(np.nan)[:4]
    np.testing.assert_allclose(few["overdensity"].filled(np.nan), expected, rtol=1e-12)
    assert not has(few, EnvironmentFlag.SPARSE_MEDIAN).any()
    alone = overdensity(reference[:4], reference_z[:4], pair, footprint=None)
    assert has(alone, EnvironmentFlag.SPARSE_MEDIAN).all()


def test_a_population_of_your_own_sets_the_median():
    reference, reference_z = sky(3000, 35, clusters=5)
    pair = (reference, reference_z)
    sample = surface_density(reference, reference_z, pair, footprint=None)
    own = (reference_z, sample["surface_density"].to(u.kpc**-2))
    got = overdensity(reference[:4], reference_z[:4], pair, population=own, footprint=None)
    same = overdensity(reference[:4], reference_z[:4], pair, population="reference", footprint=None)
    np.testing.assert_allclose(got["overdensity"].filled(np.nan), same["overdensity"].filled(np.nan))
    far = overdensity(reference[:4], reference_z[:4], pair, population=([0.5], [1.0]), footprint=None)
    assert far["overdensity"].mask.all()
    assert not far["surface_density"].mask.any()


def test_galaxies_at_the_edge_do_not_enter_the_median():
    reference, reference_z = sky(6000, 36)
    coords, z = sky(300, 37)
    table = overdensity(coords, z, (reference, reference_z), footprint=BOX)
    edge = has(table, EnvironmentFlag.EDGE)
    assert edge.any()
    sigma = np.where(edge, np.nan, plain(table["surface_density"]))
    i = np.flatnonzero(edge)[0]
    expected = plain(table["surface_density"])[i] / np.nanmedian(sigma[np.abs(z - z[i]) < 0.01])
    assert table["overdensity"][i] == pytest.approx(expected)


# ---------------------------------------------------------------- the table


def test_columns_have_the_units_and_descriptions_of_the_registry():
    table = call(footprint=BOX)
    assert set(table.colnames) == set(ENVIRONMENT_COLUMNS)
    for name in table.colnames:
        assert_column_of(ENVIRONMENT_COLUMNS[name], table[name])
    assert table.meta["hifrac"]["references"]


@pytest.mark.parametrize("options", [{}, {"n": 3}, {"numerator": 5}])
def test_the_density_is_what_the_description_of_its_column_says(options):
    symbol, formula = ENVIRONMENT_COLUMNS["surface_density"].description.split(", where ")[0].split(" = ")
    assert symbol == "Sigma_n"
    assert "numerator is 3 by default" in ENVIRONMENT_COLUMNS["surface_density"].description
    table = call(**options)
    names = {"numerator": options.get("numerator", 3), "pi": np.pi, "D_n": plain(table["neighbour_distance"])}
    # The formula as it stands: numerator / (pi D_n^2).
    expected = eval(formula.replace("pi ", "pi * ").replace("^", "**"), {"__builtins__": {}}, names)
    np.testing.assert_allclose(plain(table["surface_density"]), expected, rtol=1e-12)


def test_what_the_population_rests_on_is_cited():
    population = Table({"ra": [10.0, 11, 12, 13, 14, 15], "dec": np.zeros(6), "z": np.full(6, 0.02)})
    population["ra"].unit = population["dec"].unit = "deg"
    population.meta["hifrac"] = {"references": ["Huchra et al. 2012, ApJS 199, 26"]}
    galaxies = SkyCoord([12.0], [0.1], unit="deg")
    table = overdensity(galaxies, [0.02], population, population="reference")
    assert table.meta["hifrac"]["references"][-1] == "Huchra et al. 2012, ApJS 199, 26"


def test_a_result_survives_a_file(tmp_path):
    from hifrac.core.tables import read_table, write_table

    table = call()
    for name in ("environment.ecsv", "environment.fits"):
        write_table(table, tmp_path / name)
        back = read_table(tmp_path / name)
        assert back.colnames == table.colnames
        np.testing.assert_allclose(np.asarray(back["overdensity"]), table["overdensity"].filled(np.nan))


def test_no_galaxies_make_an_empty_table():
    reference, reference_z = sky(100, 38)
    table = overdensity(reference[:0], reference_z[:0], (reference, reference_z))
    assert len(table) == 0
    assert len(overdensity(reference[:0], [], (reference, reference_z), population="reference")) == 0


def test_flags_decode_to_their_names():
    assert EnvironmentFlag.decode(0) == []
    assert EnvironmentFlag.decode(36) == ["TOO_FEW_NEIGHBOURS", "EDGE"]
    assert all(flag.summary for flag in EnvironmentFlag)


# ---------------------------------------------------------------- real galaxies


@pytest.mark.real_data
def test_real_alfalfa_galaxies_have_the_densities_of_brute_force(real_data):
    catalogue = Table.read(real_data / "catalogs" / "sdss_dr7_volume_limited.fits")
    ra, dec, redshift = (np.asarray(catalogue[name], float) for name in ("ra", "dec", "z"))
    near = redshift < 0.07
    reference, reference_z = SkyCoord(ra[near], dec[near], unit="deg"), redshift[near]
    alfalfa = Table.read(real_data / "catalogs" / "alfalfa_a100_190808.csv")
    rows = np.random.default_rng(12345).choice(len(alfalfa), 300, replace=False)
    alfalfa = alfalfa[rows]
    coords = SkyCoord(
        np.ma.filled(alfalfa["RAdeg_OC"].astype(float), np.nan),
        np.ma.filled(alfalfa["DECdeg_OC"].astype(float), np.nan),
        unit="deg",
    )
    z = np.asarray(alfalfa["Vhelio"], float) / C
    with pytest.warns(HifracWarning, match="does not cover"):
        table = surface_density(coords, z, (reference, reference_z))
    served = np.flatnonzero(~table["surface_density"].mask)
    assert len(served) > 150
    expected = distances_by_brute_force(coords[served], z[served], reference, reference_z, 5)
    np.testing.assert_allclose(plain(table["neighbour_distance"])[served], expected, rtol=1e-8)
