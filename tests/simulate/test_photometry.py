"""From catalogue photometry to pictures: relations, tables, and GalSim as the independent renderer."""

import tracemalloc

import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, Table
from galsim_renderer import galsim_flux
from hypothesis import given, settings
from hypothesis import strategies as st

from hifrac.cutouts import SDSS_RECIPE
from hifrac.simulate import (
    SimulatedGalaxy,
    galaxy_from_photometry,
    model_flux,
    observed_colour,
    pictures,
    render_table,
)
from hifrac.simulate._look import MOFFAT_BETA, SEEING_FWHM, blur
from hifrac.simulate.photometry import (
    COLOUR_SCATTER,
    SIZE_SCATTER,
    half_light_radius,
    split_colour,
    taylor2011_colour,
)

LIGHT = {"i_mag": 15.0, "g_minus_r": 0.5, "r_minus_i": 0.2}


@pytest.fixture
def catalog():
    """Three galaxies; the last without a radius of its own."""
    table = Table({"objid": ["11", "12", "13"]})
    table["i_mag"], table["g_minus_i"] = [14.5, 15.5, 16.5] * u.mag, [0.5, 0.9, 1.1]
    table["axial_ratio"] = [0.4, 0.7, 0.95]
    table["r50"] = MaskedColumn([6.0, 4.0, 0.0], mask=[False, False, True], unit=u.arcsec)
    table["abs_i"], table["distance"] = [-20.0, -20.5, -21.0], [80.0, 120.0, 200.0] * u.Mpc
    return table


# The relations.


@given(st.floats(-0.5, 1.6))
def test_the_parts_of_a_colour_add_up(colour):
    g_minus_r, r_minus_i = split_colour(colour)
    assert g_minus_r + r_minus_i == pytest.approx(colour, abs=1e-12)


def test_a_face_on_galaxy_without_dust_in_front_is_seen_as_it_is():
    seen = observed_colour([0.7, 0.7], abs_i=[-21.0, -15.0], axial_ratio=[1.0, 0.2], ebv=[0.0, 0.0])
    np.testing.assert_allclose(seen, 0.7)  # dwarfs are taken to have no dust, however inclined


def test_dust_reddens_and_what_is_unknown_stays_so():
    seen = observed_colour([0.7] * 4, abs_i=[-21.0] * 4, axial_ratio=[1, 0.5, 0.2, np.nan], ebv=[0.1] * 4)
    assert seen[0] == pytest.approx(0.7 + 0.1605)
    assert 0.7 < seen[0] < seen[1] < seen[2] < 1.3
    assert np.isnan(seen[3])


def test_luminous_galaxies_are_larger_and_distant_ones_look_smaller():
    near, luminous, far = half_light_radius([-20, -22, -20], [100, 100, 200])
    assert luminous > near
    assert far == pytest.approx(near / 2)
    assert near * 100e3 / 206264.806 == pytest.approx(10**0.604)


@pytest.mark.real_data
def test_locus_and_sizes_are_the_fits_that_they_are_said_to_be(real_data):
    table = Table.read(real_data / "cutouts" / "resolve_labels.ecsv")
    g_minus_i, g_minus_r = np.array(table["g_minus_i"]), np.array(table["g_minus_r"])
    np.testing.assert_allclose(np.polyfit(g_minus_i, g_minus_r, 1), [0.698, -0.020], atol=1e-3)
    assert np.std(g_minus_r - split_colour(g_minus_i)[0]) == pytest.approx(COLOUR_SCATTER, abs=5e-4)
    found = np.array(table["alfalfa_detected"], bool)
    distance = np.array(table["cz"]) / 70
    abs_i = np.array(table["i_mag"]) - 5 * np.log10(distance * 1e5)
    excess = np.log10(np.array(table["r50"]) / half_light_radius(abs_i, distance))
    np.testing.assert_allclose(np.polyfit(abs_i[found] + 20, excess[found], 1), 0, atol=2e-3)
    assert np.std(excess[found], ddof=2) == pytest.approx(SIZE_SCATTER, abs=5e-3)
    assert np.mean(excess[found]) - np.mean(excess[~found]) == pytest.approx(0.15, abs=0.01)


@pytest.mark.real_data
def test_taylor_s_relation_gives_the_catalogue_s_masses_and_back(real_data):
    table = Table.read(real_data / "cutouts" / "hi_labels.ecsv")
    colour, abs_i = np.array(table["g_minus_i"]), np.array(table["abs_i"])
    mass = 1.15 + 0.70 * colour - 0.4 * abs_i
    np.testing.assert_allclose(mass, table["log_mstar_taylor"], atol=0.011)
    abs_r = abs_i + split_colour(colour)[1]
    np.testing.assert_allclose(taylor2011_colour(mass, abs_r=abs_r), colour, atol=1e-12)


@pytest.mark.real_data
def test_the_dust_that_is_put_back_is_that_which_the_catalogue_took_away(real_data):
    import gzip

    def numbers(line, *places):
        return [float(line[start:end].strip() or "nan") for start, end in places]

    with gzip.open(real_data / "catalogs" / "durbala2020_table2.dat.gz", "rt") as file:
        factors = np.array([numbers(line, (7, 11), (12, 16), (17, 23)) for line in file])
    factors = factors[np.isfinite(factors).all(axis=1)]
    ratio = 0.5
    theirs = (factors[:, 0] - factors[:, 1]) * -np.log10(ratio)
    nothing = np.zeros(len(factors))
    ours = observed_colour(nothing, abs_i=factors[:, 2], axial_ratio=nothing + ratio, ebv=nothing)
    assert abs(np.median(ours - theirs)) < 0.01
    assert np.std(ours - theirs) < 0.03


# Galaxies.


@settings(max_examples=8)
@given(g_minus_i=st.floats(0.2, 1.4), r50=st.floats(5.0, 8.0))
def test_half_the_light_of_the_whole_galaxy_lies_within_its_radius(g_minus_i, r50):
    galaxy = galaxy_from_photometry(i_mag=15.0, g_minus_i=g_minus_i, r50=r50, axial_ratio=1.0, rng=0)
    flux = model_flux(galaxy, rng=0)[..., 0]
    y, x = np.indices(flux.shape) - (flux.shape[0] - 1) / 2
    inside = flux[np.hypot(y, x) * SDSS_RECIPE.pixel_scale < r50].sum()
    assert inside / 10 ** (0.4 * (22.5 - 15.0)) == pytest.approx(0.5, abs=0.06)  # 20 clumps, and the seeing


def test_red_galaxies_have_more_bulge_and_fewer_clumps():
    blue, red = (
        galaxy_from_photometry(i_mag=15.0, g_minus_i=colour, r50=5.0, axial_ratio=0.5, rng=0)
        for colour in (0.5, 1.2)
    )
    assert red.bulge_fraction > blue.bulge_fraction
    assert red.clump_fraction < blue.clump_fraction


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_galaxy_needs_a_colour(value):
    with pytest.raises(ValueError, match=r"^g_minus_i "):
        galaxy_from_photometry(i_mag=15.0, g_minus_i=value, r50=5.0, axial_ratio=0.5, rng=0)


# Tables.


def test_a_row_has_the_same_picture_in_every_table(catalog):
    pictures = list(render_table(catalog))
    assert [one.shape for one in pictures] == [(128, 128, 3)] * 3
    assert all(one.dtype == np.uint8 for one in pictures)
    for row, picture in zip([2, 0], render_table(catalog[[2, 0]]), strict=True):
        np.testing.assert_array_equal(picture, pictures[row])
    catalog["objid"] = ["11", "12", "other"]
    again = list(render_table(catalog, seed=0))
    np.testing.assert_array_equal(again[1], pictures[1])
    assert np.any(again[2] != pictures[2])
    assert np.any(next(render_table(catalog, seed=1)) != pictures[0])


def test_numbers_and_texts_are_the_same_identifier(catalog):
    first = next(render_table(catalog))
    catalog["objid"] = [11, 12, 13]
    np.testing.assert_array_equal(next(render_table(catalog)), first)


def test_a_column_with_another_unit_is_converted(catalog):
    first = next(render_table(catalog))
    catalog["r50"] = catalog["r50"].filled(4.0) / 60
    catalog["r50"].unit = u.arcmin
    catalog["distance"].unit = None
    np.testing.assert_array_equal(next(render_table(catalog)), first)


def test_sizes_are_drawn_where_there_are_none(catalog):
    own = catalog[[2]]
    smooth = [next(render_table(own, seed=seed, size_scatter=0.0)).sum(dtype=int) for seed in range(4)]
    drawn = [next(render_table(own, seed=seed, size_scatter=0.4)).sum(dtype=int) for seed in range(4)]
    assert np.std(drawn) > 2 * np.std(smooth)


def test_memory_does_not_grow_with_the_table(catalog):
    def peak(table):
        tracemalloc.start()
        for _ in render_table(table):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    many = catalog[[0] * 12]
    list(render_table(catalog))  # what is loaded at the first call does not count
    assert peak(many) < 1.1 * peak(many[:2])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"i_mag": [15.0, np.nan, 16.0]},
            ValueError,
            "i_mag must be known: it is not in 1 row.*first is 1",
        ),
        ({"axial_ratio": [0.5, 0.6, 0.0]}, ValueError, r"axial_ratio must be in \(0, 1\]"),
        ({"r50": [5.0, -1.0, 3.0]}, ValueError, "r50 must be positive"),
        ({"r50": [5.0, 4.0, 3.0] * u.kpc}, ValueError, "r50 must be in arcsec, got kpc"),
        ({"distance": [80.0, 90.0, np.nan]}, ValueError, "r50 must be known"),
        ({"objid": ["1", " ", "3"]}, ValueError, "objid must be known"),
    ],
)
def test_a_bad_row_is_named_before_anything_is_drawn(catalog, change, error, message):
    for name, values in change.items():
        catalog[name] = values
    with pytest.raises(error, match=message):
        render_table(catalog)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed must be"),
        ({"seed": 1.5}, "seed must be"),
        ({"size_scatter": -0.1}, "size_scatter must"),
        ({"size_scatter": np.nan}, "size_scatter must"),
    ],
)
def test_bad_options_are_named(catalog, options, message):
    with pytest.raises(ValueError, match=message):
        render_table(catalog, **options)


@pytest.mark.parametrize("column", ["objid", "i_mag", "g_minus_i", "axial_ratio"])
def test_a_missing_column_is_named(catalog, column):
    catalog.remove_column(column)
    with pytest.raises(KeyError, match=column):
        render_table(catalog)


def test_without_radii_the_table_must_have_what_they_are_drawn_from(catalog):
    catalog.remove_columns(["r50", "abs_i"])
    with pytest.raises(KeyError, match="no r50 in every row, and instead: table has no column abs_i"):
        render_table(catalog)


def test_an_empty_table_has_no_pictures(catalog):
    assert list(render_table(catalog[:0])) == []


@pytest.mark.slow
@pytest.mark.real_data
def test_rendered_galaxies_measure_as_their_real_cutouts_do(real_data):
    from hifrac.core.reddening import galactic_ebv
    from hifrac.models.structure import StructureNet
    from hifrac.reproduce import setting
    from hifrac.reproduce._inputs import measurements, pictures

    table = Table.read(real_data / "cutouts" / "hi_labels.ecsv")[::4]
    table["i_mag"] = table["i_cmodel"]
    shape = {"abs_i": table["abs_i"], "axial_ratio": table["axial_ratio"]}
    ebv = galactic_ebv(np.array(table["ra"]), np.array(table["dec"]))
    table["g_minus_i"] = observed_colour(table["g_minus_i"], **shape, ebv=ebv)
    real = measurements(pictures(table["objid"], setting(real_data)))
    ours = measurements(np.stack(list(render_table(table))))
    excess = (ours - real) / real.std(axis=0)
    for group, most in (("circles", 0.3), ("growth", 0.4), ("aperture_colours", 0.3), ("clumpiness", 0.4)):
        chosen = StructureNet.columns((group,))
        assert np.abs(excess[:, chosen].mean(axis=0)).mean() < most
    colours = StructureNet.columns(("aperture_colours",))[:2]
    for column in colours:
        assert np.corrcoef(ours[:, column], real[:, column])[0, 1] > 0.8


# GalSim.


@pytest.mark.parametrize(
    ("shape", "whole", "peak"),
    [
        ({}, 0.003, 0.003),
        ({"axial_ratio": 0.4, "position_angle": 30.0}, 0.003, 0.003),
        ({"axial_ratio": 0.25, "position_angle": 140.0}, 0.004, 0.004),
        # Our grid of a quarter pixel cuts the cusp of de Vaucouleurs' law.
        ({"bulge_fraction": 1.0, "bulge_size": 1.0}, 0.005, 0.02),
        ({"bulge_fraction": 0.3, "axial_ratio": 0.6, "position_angle": 120.0}, 0.008, 0.04),
        ({"bulge_fraction": 1.0, "bulge_size": 1.0, "bulge_index": 2.0, "axial_ratio": 0.7}, 0.003, 0.004),
    ],
)
def test_galsim_draws_the_same_galaxy(shape, whole, peak):
    pytest.importorskip("galsim")
    galaxy = SimulatedGalaxy(**LIGHT, r50=4.0, **shape)
    ours, theirs = (draw(galaxy, rng=0) for draw in (model_flux, galsim_flux))
    for band in range(3):
        difference = np.abs(ours - theirs)[..., band]
        assert difference.sum() < whole * theirs[..., band].sum()
        assert difference.max() < peak * theirs[..., band].max()


@pytest.mark.parametrize(("index", "law"), [(1.0, "Exponential"), (4.0, "DeVaucouleurs")])
def test_our_profiles_are_galsim_s_own_laws(index, law):
    galsim = pytest.importorskip("galsim")
    bulge = {"bulge_fraction": 1.0, "bulge_size": 1.0, "bulge_index": index}
    ours = model_flux(SimulatedGalaxy(**LIGHT, r50=4.0, **bulge), rng=0)[..., 0]
    profile = getattr(galsim, law)(half_light_radius=4.0, flux=10 ** (0.4 * (22.5 - 15.0)))
    seen = galsim.Convolve(profile, galsim.Moffat(beta=MOFFAT_BETA, fwhm=SEEING_FWHM))
    theirs = seen.drawImage(nx=128, ny=128, scale=SDSS_RECIPE.pixel_scale, dtype=float).array[::-1]
    assert np.abs(ours - theirs).sum() < 0.005 * theirs.sum()


def test_our_seeing_is_galsim_s_moffat():
    galsim = pytest.importorskip("galsim")
    scale = SDSS_RECIPE.pixel_scale
    point = np.zeros((33, 33, 1))
    point[16, 16] = 1.0
    moffat = galsim.Moffat(beta=MOFFAT_BETA, fwhm=SEEING_FWHM)
    theirs = moffat.drawImage(nx=33, ny=33, scale=scale, dtype=float, method="no_pixel").array
    # Ours is cut at sixteen pixels and has all the light inside of them.
    np.testing.assert_allclose(blur(point, scale)[..., 0], theirs / theirs.sum(), atol=1e-5)


def test_galsim_s_clumps_have_their_share_of_the_light_and_their_colour():
    pytest.importorskip("galsim")
    galaxy = SimulatedGalaxy(**LIGHT, r50=3.0, axial_ratio=0.5, n_clumps=300, clump_fraction=0.9)
    ours, theirs = (draw(galaxy, rng=3) for draw in (model_flux, galsim_flux))
    np.testing.assert_allclose(theirs.sum((0, 1)), ours.sum((0, 1)), rtol=0.02)
    np.testing.assert_array_equal(theirs, galsim_flux(galaxy, rng=3))
    assert np.any(theirs != galsim_flux(galaxy, rng=4))


def test_a_table_is_rendered_as_by_galsim(catalog, monkeypatch):
    pytest.importorskip("galsim")
    smooth = catalog[[2]]  # red, hardly any clumps
    ours = next(render_table(smooth, field=False)).astype(float)
    monkeypatch.setattr(pictures, "model_flux", galsim_flux)
    theirs = next(render_table(smooth, field=False)).astype(float)
    assert np.abs(ours - theirs).mean() < 4.0
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9  # their noise is not the same
