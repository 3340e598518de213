"""Explanations of a table: one a row, worked out in batches, placed on the sky."""

import io
import tracemalloc
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import Table
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from contract import assert_same_estimates, assert_same_maps
from model_files import WIDTH
from pictures import encode, fits_cube

from hifrac import (
    Flag,
    HIFractionEstimator,
    LocalCutouts,
    MetallicityEstimator,
    SpectrumEstimator,
    load_model,
)
from hifrac.attribution.methods import heat_maps
from hifrac.core.exceptions import BadImageError, ModelError
from hifrac.core.reddening import galactic_ebv
from hifrac.demo import PICTURES, sample_table
from hifrac.images import compress, flip_wcs

pytestmark = pytest.mark.numeric


@pytest.fixture
def sky_table(tmp_path, blobs):
    """Six rows: good, damaged, good, no position, non-square, good."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in (0, 2, 3, 5):
        (folder / f"g{number}.png").write_bytes(encode(blobs[number % 5], "PNG"))
    (folder / "g1.png").write_bytes(encode(blobs[1], "PNG")[:300])
    (folder / "g4.png").write_bytes(encode(blobs[4][:, :50], "PNG"))
    ra = [10.0, 11.0, 200.25, np.nan, 12.0, 359.9999]
    table = Table(
        {"name": [f"g{n}" for n in range(6)], "ra": ra * u.deg, "dec": [0, 1, 31.5, 3, 4, -80] * u.deg}
    )
    return LocalCutouts(folder, name="name"), table


@pytest.fixture
def estimator(pooled, sky_table):
    return HIFractionEstimator(load_model(pooled), cutouts=sky_table[0], batch_size=2)


def test_there_is_one_explanation_a_row_in_order_and_failed_rows_are_masked(estimator, sky_table, blobs):
    found = list(estimator.explain(sky_table[1]))
    assert [one.row for one in found] == list(range(6))
    assert [one.served for one in found] == [True, False, True, False, False, True]
    assert [one.flags for one in found if not one.served] == [
        Flag.BAD_IMAGE, Flag.BAD_COORDINATE, Flag.BAD_IMAGE,
    ]  # fmt: skip
    for one in found:
        assert bool(one.map.mask.all()) is not one.served
        assert one.map.unit == u.dex / u.pix
        assert one.map.shape == (WIDTH, WIDTH)
    np.testing.assert_array_equal(found[2].pixels, compress(blobs[2]))
    predicted = estimator.predict(sky_table[1])["log_hi_fraction"]
    for one in found:
        if one.served:
            assert_same_estimates([one.answers["estimate"]], [predicted[one.row]])
            assert one.offset + one.values.sum() == pytest.approx(one.prediction, abs=1e-4)
    assert "BAD_IMAGE" in repr(found[1])
    assert "class activation map" in repr(found[0])


def test_notebooks_show_the_facts_of_a_map_or_why_there_is_none(estimator, sky_table):
    explanations = estimator.explain(sky_table[1])
    served, failed = explanations[0], explanations[1]
    assert "log_hi_fraction" in served._repr_html_()
    assert f"{served.prediction:+.2f}" in served._repr_html_()
    assert "BAD_IMAGE" in failed._repr_html_()
    assert str(failed.error) in failed._repr_html_()
    assert f"{len(explanations)} explanations" in explanations._repr_html_()
    assert "class activation map" in explanations._repr_html_()


def test_each_explanation_has_the_position_of_its_row(estimator, sky_table):
    table = sky_table[1]
    for explanation in estimator.explain(table):
        row = table[explanation.row]
        if np.isfinite([row["ra"], row["dec"]]).all():
            assert (explanation.ra, explanation.dec) == pytest.approx((row["ra"], row["dec"]), abs=1e-9)
        else:
            assert np.isnan([explanation.ra, explanation.dec]).all()


def test_progress_counts_the_rows_that_were_gone_through(estimator, sky_table, capsys):
    numbers = []
    explanations = estimator.explain(sky_table[1], progress=numbers.append)
    assert explanations[0].served
    assert numbers == []
    for number, _ in enumerate(explanations):
        assert sum(numbers) == number
    assert sum(numbers) == len(explanations)
    list(estimator.explain(sky_table[1], progress=True))
    assert "explaining" in capsys.readouterr().err


def test_one_bad_row_raises_only_if_asked_and_in_its_turn(estimator, sky_table):
    explanations = estimator.explain(sky_table[1], on_error="raise")
    with pytest.raises(BadImageError) as caught:
        list(explanations)
    assert "in row 1 of data" in caught.value.__notes__
    assert explanations[2].served


def test_a_batch_size_changes_nothing(pooled, sky_table):
    source, table = sky_table
    one, many = (HIFractionEstimator(load_model(pooled), cutouts=source, batch_size=n) for n in (1, 64))
    for single, together in zip(one.explain(table), many.explain(table), strict=True):
        assert_same_maps(single.values, together.values)


def test_an_index_works_out_one_row_and_a_slice_is_a_sequence(estimator, sky_table):
    explanations = estimator.explain(sky_table[1])
    every = list(explanations)
    assert len(explanations) == 6
    assert_same_maps(explanations[-1].values, every[5].values)
    assert explanations[-1].row == 5
    part = explanations[1:4]
    assert [one.row for one in part] == [1, 2, 3]
    assert [one.row for one in explanations[::-2]] == [5, 3, 1]
    assert len(explanations[6:]) == 0
    assert list(explanations[6:]) == []
    with pytest.raises(IndexError):
        explanations[6]


def test_the_summary_adds_up_and_is_masked_where_there_is_no_map(estimator, sky_table):
    summary = estimator.explain(sky_table[1]).summary()
    assert summary.colnames == [
        *sky_table[1].colnames,
        "explained",
        "offset",
        "gap",
        "for",
        "against",
        "flags",
    ]
    np.testing.assert_array_equal(summary["explained"].mask, [False, True, False, True, True, False])
    assert summary["explained"].unit == u.dex
    total = summary["offset"] + summary["for"] + summary["against"] + summary["gap"]
    np.testing.assert_allclose(total.filled(0 * u.dex).value, summary["explained"].filled(0 * u.dex).value)
    assert summary.meta["hifrac"]["method"] == "class activation map"


def test_what_cannot_be_done_is_refused_before_anything_is_fetched(estimator, sky_table):
    for arguments, error in (
        ({"method": "lime"}, ValueError),
        ({"target": "p_detect"}, ValueError),
        ({"on_error": "ignore"}, ValueError),
    ):
        with pytest.raises(error, match=next(iter(arguments))):
            estimator.explain(sky_table[1], **arguments)
    with pytest.raises(TypeError, match="data must be"):
        estimator.explain([1, 2, 3])


def test_the_default_model_has_no_grad_cam(sky_table):
    with pytest.raises(ModelError, match="gradcam"):
        HIFractionEstimator(cutouts=sky_table[0]).explain(sky_table[1], method="gradcam")


# On the sky


def offset_pixel(recipe, centre, east, north, height):
    """Where a point lies in a FITS image, north up and east to the left, without astropy.wcs."""
    a0, d0 = np.radians(centre.ra.deg), np.radians(centre.dec.deg)
    point = centre.spherical_offsets_by(east, north)
    a, d = np.radians(point.ra.deg), np.radians(point.dec.deg)
    # Gnomonic projection: Calabretta & Greisen (2002, A&A 395, 1077), section 5.1.3.
    cosine = np.sin(d0) * np.sin(d) + np.cos(d0) * np.cos(d) * np.cos(a - a0)
    xi = np.cos(d) * np.sin(a - a0) / cosine
    eta = (np.cos(d0) * np.sin(d) - np.sin(d0) * np.cos(d) * np.cos(a - a0)) / cosine
    scale = recipe.pixel_scale / 206264.80624709636
    return point, (height - 1) / 2 - xi / scale, (height - 1) / 2 + eta / scale


def test_a_fits_map_lies_at_the_right_place_to_a_tenth_of_a_pixel(estimator, sky_table, tmp_path):
    explanations = estimator.explain(sky_table[1])
    recipe = estimator.model.card.recipe
    for row in (0, 2, 5):
        one = explanations[row]
        one.write(tmp_path / f"{row}.fits")
        with fits.open(tmp_path / f"{row}.fits") as hdus:
            wcs, data = WCS(hdus[0].header), hdus[0].data
            assert hdus[0].header["METHOD"] == "class activation map"
        centre = SkyCoord(sky_table[1]["ra"][row], sky_table[1]["dec"][row], unit="deg")
        np.testing.assert_allclose(wcs.world_to_pixel(centre), [(WIDTH - 1) / 2] * 2, atol=0.1)
        for east, north in ((9, 0), (0, 9), (-7, -5)):
            point, x, y = offset_pixel(recipe, centre, east * u.arcsec, north * u.arcsec, WIDTH)
            np.testing.assert_allclose(wcs.world_to_pixel(point), [x, y], atol=0.1)
        # The first row of the picture is north, and a FITS image begins in the south.
        np.testing.assert_array_equal(data, one.values[::-1])


def test_a_map_that_is_written_is_read_again_the_same(estimator, sky_table, tmp_path):
    one = estimator.explain(sky_table[1])[2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one.write(tmp_path / "map.fits")
        again = CCDData.read(tmp_path / "map.fits")
        one.map.write(tmp_path / "other.fits")
    np.testing.assert_array_equal(again.data, one.map.data)
    assert again.unit == u.dex / u.pix
    assert again.header["TARGET"] == "log_hi_fraction"
    assert again.header["PREDICT"] == pytest.approx(one.prediction)
    x, y = np.array([0.0, 10, 63]), np.array([5.0, 0, 63])
    here, there = (image.wcs.pixel_to_world(x, y) for image in (one.map, again))
    assert here.separation(there).max() < 1e-6 * u.arcsec
    with pytest.raises(OSError, match=r"map\.fits"):
        one.write(tmp_path / "map.fits")
    one.write(tmp_path / "map.fits", overwrite=True)


def test_a_row_without_a_map_cannot_be_written(estimator, sky_table, tmp_path):
    with pytest.raises(ValueError, match="row 1 has no map"):
        estimator.explain(sky_table[1])[1].write(tmp_path / "map.fits")


def test_north_is_up_and_pixels_have_the_scale_of_the_recipe(estimator, sky_table):
    one = estimator.explain(sky_table[1])[0]
    south, north = one.map.wcs.pixel_to_world([31.5, 31.5], [0, 63])
    assert north.dec > south.dec
    east, west = one.map.wcs.pixel_to_world([0, 63], [31.5, 31.5])
    assert east.ra > west.ra
    np.testing.assert_allclose(
        proj_plane_pixel_scales(one.map.wcs) * 3600, estimator.model.card.recipe.pixel_scale
    )


def test_a_fits_picture_keeps_its_own_coordinates(pooled, tmp_path, blobs):
    planes = blobs[0].transpose(2, 0, 1)[:, ::-1]
    with fits.open(io.BytesIO(fits_cube(planes))) as hdus:
        header = hdus[0].header
        angle = np.radians(30)
        header.update(
            CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=50.0, CRVAL2=20.0, CRPIX1=10.0, CRPIX2=20.0
        )
        for key, value in zip(
            ("CD1_1", "CD1_2", "CD2_1", "CD2_2"),
            1e-4 * np.array([-np.cos(angle), np.sin(angle), np.sin(angle), np.cos(angle)]),
            strict=True,
        ):
            header[key] = value
        hdus.writeto(tmp_path / "a.fits")
    del header["NAXIS3"]
    header["NAXIS"] = 2
    own = WCS(header)
    table = Table({"name": ["a"], "ra": [50.0] * u.deg, "dec": [20.0] * u.deg})
    estimator = HIFractionEstimator(load_model(pooled), cutouts=LocalCutouts(tmp_path, name="name"))
    one = estimator.explain(table)[0]
    x, y = np.array([0, 20.0, 63]), np.array([0, 50.0, 1])
    assert one.map.wcs.pixel_to_world(x, y).separation(own.pixel_to_world(x, y)).max() < 1e-6 * u.arcsec


def test_turning_a_wcs_over_twice_gives_it_back():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ("RA---TAN", "DEC--TAN"), (10, 20), (3, 4)
    wcs.wcs.cdelt, wcs.wcs.pc = (-1e-4, 1e-4), [[0.8, -0.6], [0.6, 0.8]]
    wcs.wcs.set()
    again = flip_wcs(flip_wcs(wcs, 30), 30)
    x, y = np.array([1.0, 29]), np.array([7.0, 2])
    assert again.pixel_to_world(x, y).separation(wcs.pixel_to_world(x, y)).max() < 1e-9 * u.arcsec
    flipped = flip_wcs(wcs, 30).pixel_to_world(x, 29 - y)
    assert flipped.separation(wcs.pixel_to_world(x, y)).max() < 1e-9 * u.arcsec


def test_memory_does_not_grow_with_the_number_of_rows(pooled, tmp_path, blobs):
    (tmp_path / "g.png").write_bytes(encode(blobs[0], "PNG"))
    estimator = HIFractionEstimator(
        load_model(pooled), cutouts=LocalCutouts(tmp_path, name="name"), batch_size=8
    )
    peaks = []
    for n in (16, 160):
        table = Table({"name": ["g"] * n, "ra": np.arange(n) * u.deg, "dec": np.zeros(n) * u.deg})
        tracemalloc.start()
        for _one in estimator.explain(table):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 144 maps more would be 2.4 MB more.
    assert peaks[1] - peaks[0] < 0.4e6


def test_the_bundled_sample_is_explained_by_the_default_model():
    from hifrac.demo import PICTURES, sample_table

    estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
    table = sample_table()[[0, 20, 26]]
    result = estimator.predict(table)
    found = list(estimator.explain(table))
    assert found[2].flags == Flag.OUT_OF_FOOTPRINT
    for row in (0, 1):
        assert found[row].method == "integrated gradients"
        for key, column in (("estimate", "log_hi_fraction"), ("p16", "log_hi_fraction_p16")):
            assert found[row].answers[key] == pytest.approx(result[column][row], abs=1e-4)
        assert found[row].flags == result["flags"][row]
        assert abs(found[row].gap) < 0.05


@pytest.mark.parametrize("estimator_class", [HIFractionEstimator, MetallicityEstimator, SpectrumEstimator])
def test_more_nodes_change_the_map_and_not_the_answer(estimator_class):
    estimator = estimator_class(cutouts=LocalCutouts(PICTURES, name="name"))
    rows = sample_table()[10:11]
    usual, same, more = (estimator.explain(rows, steps=steps)[0] for steps in (None, 16, 64))
    assert (usual.meta["steps"], same.meta["steps"], more.meta["steps"]) == (16, 16, 64)
    np.testing.assert_array_equal(usual.values, same.values)
    assert usual.answers == more.answers
    change = np.abs(more.values - usual.values).sum() / np.abs(more.values).sum()
    assert 0.001 < change < 0.4
    for steps, error in ((0, ValueError), (2.5, TypeError)):
        with pytest.raises(error, match=r"^steps must be"):
            estimator.explain(rows, steps=steps)


def test_nodes_are_of_integrated_gradients_alone(estimator, sky_table):
    for method, words in (("cam", "class activation map"), ("occlusion", "occlusion")):
        with pytest.raises(TypeError, match=rf"^method '{method}' has no option 'steps' \({words} of the"):
            estimator.explain(sky_table[1], method=method, steps=32)


def test_a_picture_that_is_centred_has_its_map_where_the_galaxy_is(tmp_path):
    y, x = np.mgrid[:128, :128] - 63.5
    light = {
        name: 150 * np.exp(-np.hypot(x - right, y - 1) / 5) + 6
        for name, right in (("moved", 6), ("middle", 0))
    }
    for name, values in light.items():
        pixels = (values[..., None] * np.array([1, 0.8, 0.6])).astype(np.uint8)
        (tmp_path / f"{name}.png").write_bytes(encode(pixels, "PNG"))
    table = Table(
        {"name": list(light), "ra": [10.0, 10.0], "dec": [0.0, 0.0]}, units={"ra": "deg", "dec": "deg"}
    )
    with LocalCutouts(tmp_path, name="name") as cutouts:
        estimator = HIFractionEstimator(cutouts=cutouts)
        moved, middle = estimator.explain(table)
        estimate = estimator.predict(table)["log_hi_fraction"].value
    assert moved.flags & Flag.OFF_CENTRE
    assert not middle.flags & Flag.OFF_CENTRE
    assert moved.answers["estimate"] == pytest.approx(float(estimate[0]), abs=1e-4)
    # The map of the centred picture itself, rolled to where the galaxy was.
    inspected = estimator.model.inspect(moved.pixels[None])
    assert inspected.moves[0] == pytest.approx([0, 6], abs=1)
    reddening = galactic_ebv(np.array([10.0]), np.array([0.0]))
    maps = heat_maps(estimator.model, inspected.pixels, ebv=reddening)
    assert_same_maps(np.roll(maps.values[0], inspected.moves[0], (0, 1)), moved.values)
