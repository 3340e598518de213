import os
import pickle
import shutil
import tempfile
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from forked import Child
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from sdss_frames import (
    PIXEL_SCALE,
    field_centres,
    frame_file,
    frame_header,
    frame_path,
    frame_pixels,
    write,
    write_field,
)

from hifrac import HIFractionEstimator, images
from hifrac.core.exceptions import (
    BadCoordinateError,
    BadImageError,
    FetchError,
    HifracWarning,
    OutOfFootprintError,
)
from hifrac.cutouts import SDSS_RECIPE, CutoutSource, _frames
from hifrac.cutouts.frames import FrameCutouts

#: Much smaller than a genuine frame, and larger than a cutout: 103 by 119 arcsec.
SMALL = (260, 300)


def one(source, ra, dec):
    (cutout,) = source.fetch([ra], [dec])
    return cutout


def planes_of(source, ra, dec):
    """Fluxes of a cutout before the stretch, in the order of the recipe's bands."""
    index = source._open()
    (fields,) = source._plan(index, np.array([ra]), np.array([dec]), [source.recipe])
    with np.errstate(all="ignore"):
        return [source._plane(index, fields, band) for band in range(3)]


def offset(ra, dec, east, north):
    """The position some arcsec away."""
    wcs = SDSS_RECIPE.wcs(ra, dec)
    return tuple(map(float, wcs.wcs_pix2world(63.5 - east / 0.4, 63.5 - north / 0.4, 0)))


def header_text(header):
    return header.tostring().encode("ascii")


def centroid(plane):
    row, column = np.indices(plane.shape)
    return (column * plane).sum() / plane.sum(), (row * plane).sum() / plane.sum()


PLACES = [
    (185.0, 5.0, 20.0),
    (0.001, -1.2, 90.0),
    (359.995, 60.0, 200.0),
    (47.0, 84.0, -35.0),
    (10.0, 89.99, 5.0),
]


@pytest.mark.parametrize(("ra", "dec", "angle"), PLACES)
def test_a_star_is_where_the_world_coordinates_say_in_all_bands_and_keeps_its_flux(tmp_path, ra, dec, angle):
    star = offset(ra, dec, 6.3, -9.1)
    target = offset(ra, dec, -1.7, 2.9)
    write_field(tmp_path, ra, dec, [(*star, 50.0)], angle=angle, shape=SMALL, colours=(1.0, 2.0, 3.0))
    with FrameCutouts(tmp_path) as source:
        cutout = one(source, *target)
        expected = cutout.wcs.world_to_pixel_values(*star)
        for plane, flux in zip(planes_of(source, *target), (150.0, 100.0, 50.0), strict=True):
            assert np.hypot(*np.subtract(centroid(plane), expected)) < 0.1
            assert plane.sum() * (0.4 / PIXEL_SCALE) ** 2 == pytest.approx(flux, rel=0.01)
    pixels = images.decode(cutout.data, width=128)
    row, column = np.unravel_index(pixels[..., 1].argmax(), (128, 128))
    assert np.hypot(column - expected[0], row - expected[1]) < 1.5
    assert cutout.recipe is SDSS_RECIPE
    assert cutout.pixels is None


DISTORTION = {"A_ORDER": 2, "A_2_0": 3e-6, "A_0_2": -2e-6, "B_ORDER": 2, "B_1_1": 4e-6, "B_2_0": -3e-6}


def distorted(header):
    """The header with a distortion of some pixels at the corners, and another pole of the projection."""
    header = header.copy()
    header["CTYPE1"], header["CTYPE2"], header["LONPOLE"] = "RA---TAN-SIP", "DEC--TAN-SIP", 170.0
    header.update(DISTORTION)
    return header


@settings(max_examples=60)
@given(
    ra=st.floats(0, 360),
    dec=st.floats(-89.8, 89.8),
    angle=st.floats(-180, 180),
    band=st.sampled_from("gri"),
    where=st.tuples(st.floats(-150, 2200), st.floats(-150, 1650)),
    picture=st.sampled_from([(128, 0.4), (64, 0.8), (750, 0.8), (1500, 0.4), (1, 0.4), (2, 0.4)]),
    change=st.sampled_from([lambda header: header, distorted]),
)
def test_the_mapping_is_that_of_the_world_coordinates(ra, dec, angle, band, where, picture, change):
    header = change(frame_header(ra, dec, angle, band))
    frame = WCS(header)
    target = frame.all_pix2world([where], 0)[0]
    width, scale = picture
    recipe = replace(SDSS_RECIPE, width=width, pixel_scale=scale)
    with tempfile.TemporaryDirectory() as folder:
        for other in "gri":  # no more than headers is read
            write(frame_path(Path(folder), other, 1), header_text(header))
        source = FrameCutouts(folder, recipe=recipe)
        (fields,) = source._plan(source._open(), *target[:, np.newaxis], [source.recipe])
    at = np.linspace(0, width - 1, 5).astype(int)
    column, row = (values.ravel() for values in np.meshgrid(at, at))
    sky = recipe.wcs(*target).wcs_pix2world(column, row, 0)
    expected = np.array(frame.all_world2pix(*sky, 0, quiet=True))
    if not fields:
        assert ((expected < 0) | (expected > [[2047], [1488]])).any(axis=0).all()
        return
    (show,) = fields
    found = source._weights @ show.nodes[1] @ source._weights.T + show.first[1][:, np.newaxis, np.newaxis]
    assert np.abs(found[::-1, row, column] - expected).max() < 0.02


class Image:
    """An index of one image."""

    def __init__(self, pixels):
        self._pixels = pixels

    def shape(self, field, band):
        return np.array(self._pixels.shape)

    def pixels(self, field, band):
        return self._pixels


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    turn=st.floats(0, 2 * np.pi),
    scale=st.floats(0.25, 2.0),
    centre=st.tuples(st.floats(-5, 85), st.floats(-5, 65)),
)
def test_values_between_pixels_are_those_of_scipy(seed, turn, scale, centre):
    pixels = np.random.default_rng(seed).normal(0, 1, (60, 80)).astype(">f4")
    matrix = scale * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    start = np.array(centre) - matrix @ [15.5, 15.5]
    grid = np.indices((32, 32))
    x, y = start[:, None, None] + np.tensordot(matrix, grid[::-1], 1)
    expected = map_coordinates(pixels.astype(float), [y, x], order=1, cval=np.nan)
    source = FrameCutouts(Path(__file__).parent, recipe=replace(SDSS_RECIPE, width=32))
    at = np.array([0, 15.5, 31])
    nodes = start[:, None, None] + np.tensordot(matrix, np.array(np.meshgrid(at, at)), 1)
    nodes = np.broadcast_to(nodes[::-1], (1, 3, 2, 3, 3))
    fields = filter(None, _frames.shows_of(0, nodes, np.broadcast_to(pixels.shape, (3, 2))))
    found = source._plane(Image(pixels), list(fields), 0)
    both = np.isfinite(found) & np.isfinite(expected)
    np.testing.assert_allclose(found[both], expected[both], atol=2e-3)
    # A thousandth of a pixel before the edge is left out.
    near = (np.minimum(x, 79 - x) < 0.002) | (np.minimum(y, 59 - y) < 0.002)
    assert (np.isfinite(found) == np.isfinite(expected))[~near].all()


def cut_rows(header, pixels, rows):
    """A frame that is some rows of another one."""
    header = header.copy()
    header["CRPIX2"] -= rows.start
    header["NAXIS2"] = rows.stop - rows.start
    return frame_file(header, pixels[rows])


def test_a_cutout_over_the_edge_of_two_fields_is_seamless(tmp_path):
    rng = np.random.default_rng(3)
    for band in "gri":
        header = frame_header(185.0, 5.0, 33.0, band, (500, 300))
        pixels = rng.normal(0, 0.02, (500, 300)).astype(np.float32) + frame_pixels(
            header, [(185.0, 5.0, 30.0)]
        )
        write(frame_path(tmp_path / "whole", band, 11), frame_file(header, pixels))
        for field, rows in ((11, slice(0, 270)), (12, slice(230, 500))):
            write(frame_path(tmp_path / "parts", band, field), cut_rows(header, pixels, rows))
    with FrameCutouts(tmp_path / "whole") as whole, FrameCutouts(tmp_path / "parts") as parts:
        for dx, dy in ((0, 0), (8, -5), (-3, 12)):
            target = offset(185.0, 5.0, dx, dy)
            expected, found = planes_of(whole, *target), planes_of(parts, *target)
            assert np.isfinite(found).all()
            np.testing.assert_allclose(found, expected, atol=2e-3)
            pictures = [images.decode(one(source, *target).data).astype(int) for source in (whole, parts)]
            assert np.abs(pictures[0] - pictures[1]).max() <= 4
        # Neither part covers it alone.
        counts = [np.isfinite(plane).sum() for plane in planes_of(parts, 185.0, 5.0)]
        assert counts == [128 * 128] * 3
        (tmp_path / "parts").joinpath("756", "3").joinpath("frame-r-000756-3-0012.fits").unlink()
    with FrameCutouts(tmp_path / "parts") as parts:
        error = one(parts, 185.0, 5.0).error
    assert isinstance(error, FetchError)
    assert "frame-r-000756-3-0012.fits" in str(error)


def test_the_frame_in_which_the_target_is_farthest_from_the_edge_is_taken(tmp_path):
    near, far = offset(185.0, 5.0, 30, 0), offset(185.0, 5.0, 8, 0)
    write_field(tmp_path, *near, field=1, shape=SMALL, background=lambda ra, dec: 0 * ra + 0.1)
    write_field(tmp_path, *far, field=2, shape=SMALL, background=lambda ra, dec: 0 * ra + 0.2)
    with FrameCutouts(tmp_path) as source:
        plane = planes_of(source, 185.0, 5.0)[0]
    assert plane[64, 64] == np.float32(0.2)
    assert (
        set(np.unique(plane.round(4))) == {np.float32(0.1), np.float32(0.2)}
        or (plane == np.float32(0.2)).all()
    )


def test_pixels_that_are_not_numbers_come_from_the_next_frame(tmp_path):
    paths = write_field(tmp_path, 185.0, 5.0, field=1, shape=SMALL, background=lambda ra, dec: 0 * ra + 0.1)
    write_field(
        tmp_path, *offset(185, 5, 3, 3), field=2, shape=SMALL, background=lambda ra, dec: 0 * ra + 0.2
    )
    with fits.open(paths[1], mode="update") as hdus:
        hdus[0].data[120:140, 140:160] = np.nan
        hdus[0].data[100, 150] = np.inf
    with FrameCutouts(tmp_path) as source:
        red, green, blue = planes_of(source, 185.0, 5.0)
        assert one(source, 185.0, 5.0).error is None
    assert (red == np.float32(0.1)).all()
    assert set(np.unique(green.round(4))) == {np.float32(0.1), np.float32(0.2)}
    assert 300 < (green == np.float32(0.2)).sum() < 600
    assert (blue == np.float32(0.1)).all()


def test_what_no_frame_covers_is_black(tmp_path):
    write_field(tmp_path, 185.0, 5.0, angle=90.0, shape=SMALL, background=lambda ra, dec: 0 * ra + 0.2)
    with FrameCutouts(tmp_path) as source:
        # Rows run to the south, columns to the east: 300 columns end 59 arcsec east of the middle.
        cutout = one(source, *offset(185.0, 5.0, 45.0, 0.0))
        pixels = images.decode(cutout.data)
        assert (pixels[:, :20] == 0).all()
        assert (pixels[:, 45:] > 50).all()
        # The offsets of the bands leave no coloured fringe: all end together.
        fringe = (pixels > 12).any(axis=2).argmax(axis=1)
        assert np.ptp(fringe) <= 8
        gone = one(source, *offset(185.0, 5.0, 62.0, 0.0))
    assert isinstance(gone.error, OutOfFootprintError)


def test_rows_keep_their_order_whatever_becomes_of_them(tmp_path):
    centres = field_centres(185.0, 5.0, 20.0, 3, 400)
    for field, centre in enumerate(centres):
        star = (centre.ra.deg, centre.dec.deg, 10.0 * 4**field)
        write_field(tmp_path, *star[:2], [star], field=field, shape=SMALL)
    ra = np.array([*centres.ra.deg, 20.0, np.nan, 185.0, 400.0, centres.ra.deg[0]])[[6, 2, 3, 0, 4, 1, 7, 2]]
    dec = np.array([*centres.dec.deg, 20.0, 5.0, 91.0, 5.0, centres.dec.deg[0]])[[6, 2, 3, 0, 4, 1, 7, 2]]
    with FrameCutouts(tmp_path) as source:
        found = list(source.fetch(ra, dec, ["name"] * 8))
        alone = [one(source, *position) for position in zip(ra, dec, strict=True)]
        assert list(source.fetch([], [])) == []
    kinds = [type(cutout.error) for cutout in found]
    ok = type(None)
    assert kinds == [BadCoordinateError, ok, OutOfFootprintError, ok, BadCoordinateError, ok, ok, ok]
    assert [cutout.data for cutout in found] == [cutout.data for cutout in alone]
    assert found[1].data == found[7].data != found[3].data == found[6].data
    assert found[1].position == (ra[1], dec[1])


@pytest.mark.parametrize("suffix", [".gz", ".bz2"])
def test_compressed_frames_give_the_same_pictures(tmp_path, suffix):
    stars = [(185.0, 5.0, 40.0), (*offset(185.0, 5.0, 9, 9), 5.0)]
    write_field(tmp_path / "plain", 185.0, 5.0, stars, shape=SMALL)
    write_field(tmp_path / "packed" / "301", 185.0, 5.0, stars, shape=SMALL, suffix=suffix)
    with FrameCutouts(tmp_path / "plain") as plain, FrameCutouts(tmp_path / "packed") as packed:
        assert one(plain, 185.0, 5.0).data == one(packed, 185.0, 5.0).data is not None


def test_the_uncompressed_file_and_the_latest_rerun_are_preferred(tmp_path):
    for rerun, level in (("137", 0.1), ("301", 0.3)):
        background = lambda ra, dec, level=level: 0 * ra + level  # noqa: E731
        write_field(tmp_path / rerun, 185.0, 5.0, shape=SMALL, background=background)
    for path in write_field(tmp_path / "301", 185.0, 5.0, shape=SMALL, suffix=".gz"):
        path.write_bytes(b"never read")
    with FrameCutouts(tmp_path) as source:
        assert planes_of(source, 185.0, 5.0)[0][64, 64] == np.float32(0.3)


def damage(path, how):
    content = path.read_bytes()
    if how == "cut off":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "HTML":
        path.write_bytes(b"<html>404 Not Found</html>" * 500)
    elif how == "garbage":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes(200) + content[middle + 200 :])
    elif how == "gone":
        path.unlink()


@pytest.fixture(scope="module")
def noisy_fields(tmp_path_factory):
    """Copy two fields of noise, which are written once, into a folder; return the files of the first."""
    written = {}

    def copy(folder, suffix):
        if suffix not in written:
            root, rng = tmp_path_factory.mktemp("fields"), np.random.default_rng(1)
            options = {
                "shape": SMALL,
                "suffix": suffix,
                "background": lambda ra, _: rng.normal(0, 0.02, ra.shape),
            }
            first = write_field(root, 185.0, 5.0, field=1, **options)
            write_field(root, 186.0, 5.0, field=2, **options)
            written[suffix] = root, [path.relative_to(root) for path in first]
        root, first = written[suffix]
        shutil.copytree(root, folder, dirs_exist_ok=True)
        return [folder / path for path in first]

    return copy


@pytest.mark.parametrize(
    ("suffix", "how"),
    [
        ("", "cut off"),
        ("", "empty"),
        ("", "HTML"),
        ("", "gone"),
        *[
            (suffix, how)
            for suffix in (".gz", ".bz2")
            for how in ("cut off", "empty", "HTML", "garbage", "gone")
        ],
    ],
)
@pytest.mark.parametrize("after_the_index", [False, True])
def test_a_damaged_file_is_an_error_of_its_rows_that_names_it(
    noisy_fields, tmp_path, suffix, how, after_the_index
):
    bad = noisy_fields(tmp_path, suffix)
    with FrameCutouts(tmp_path) as source:
        if after_the_index:
            source._open()
        damage(bad[0], how)
        found = list(source.fetch([185.0, 186.0, 185.0], [5.0] * 3))
    assert found[1].error is None
    for cutout in (found[0], found[2]):
        assert isinstance(cutout.error, FetchError if how == "gone" else BadImageError)
        assert bad[0].name in str(cutout.error)


@pytest.mark.parametrize(
    ("card", "value"),
    [
        ("BITPIX", 16),
        ("CTYPE1", "GLON-TAN"),
        ("CD1_1", None),
        ("CRVAL1", "north"),
        ("BSCALE", 2.0),
        ("CD2_2", 1e400),
        ("CRVAL2", float("nan")),
        ("NAXIS1", 1),
    ],
)
def test_a_header_that_is_not_that_of_a_frame_is_refused(tmp_path, card, value):
    bad = write_field(tmp_path, 185.0, 5.0, shape=SMALL)[2]
    content = bad.read_bytes()
    # The file has no card for BSCALE, which must be minded all the same: another one gives its place.
    at = content.index(b"TELESCOP" if card == "BSCALE" else card.ljust(8).encode())
    card = b"COMMENT".ljust(80) if value is None else f"{card:8}= {value!r:>20}".encode().ljust(80)
    bad.write_bytes(content[:at] + card + content[at + 80 :])
    with FrameCutouts(tmp_path) as source:
        error = one(source, 185.0, 5.0).error
    assert isinstance(error, BadImageError)
    assert bad.name in str(error)


def test_damage_does_not_matter_where_another_frame_shows_the_same_sky(tmp_path):
    bad = write_field(tmp_path, 185.0, 5.0, field=1, shape=SMALL)
    write_field(tmp_path, *offset(185.0, 5.0, 5, 5), [(185.0, 5.0, 40.0)], field=2, shape=SMALL)
    damage(bad[0], "cut off")
    damage(bad[2], "gone")
    with FrameCutouts(tmp_path) as source:
        assert one(source, 185.0, 5.0).error is None


def test_files_without_a_place_on_the_sky_are_said_once(tmp_path):
    for path in write_field(tmp_path, 185.0, 5.0, field=1, shape=SMALL):
        damage(path, "HTML")
    write_field(tmp_path, 186.0, 5.0, [(186.0, 5.0, 10.0)], field=2, shape=SMALL)
    with FrameCutouts(tmp_path) as source:
        with pytest.warns(HifracWarning, match=r"3 files in .* cannot be read.*frame-.-000756-3-0001\.fits"):
            lost = one(source, 185.0, 5.0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert one(source, 186.0, 5.0).error is None
    assert isinstance(lost.error, OutOfFootprintError)


def test_a_repaired_disk_is_tried_again(tmp_path):
    paths = write_field(tmp_path, 185.0, 5.0, [(185.0, 5.0, 10.0)], shape=SMALL)
    with FrameCutouts(tmp_path) as source:
        source._open()
        paths[0].rename(tmp_path / "away")
        assert isinstance(one(source, 185.0, 5.0).error, FetchError)
        (tmp_path / "away").rename(paths[0])
        assert one(source, 185.0, 5.0).error is None


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_more_fields_than_are_kept_open(tmp_path, suffix):
    centres = field_centres(185.0, 5.0, 20.0, 20, 300)
    ra, dec = centres.ra.deg, centres.dec.deg
    for field in range(20):
        star = (ra[field], dec[field], 3.0 + field)
        write_field(tmp_path, *star[:2], [star], field=field, shape=SMALL, suffix=suffix)
    order = np.random.default_rng(0).integers(0, 20, 120)
    with FrameCutouts(tmp_path) as source:
        found = list(source.fetch(ra[order], dec[order]))
        assert source._index._mapped.cache_info().currsize == (0 if suffix else _frames.MAPPED)
        assert source._index._unpacked.cache_info().currsize == (_frames.UNPACKED if suffix else 0)
    with FrameCutouts(tmp_path) as source:
        expected = [one(source, *position).data for position in zip(ra, dec, strict=True)]
    assert len(set(expected)) == 20
    assert [cutout.data for cutout in found] == [expected[field] for field in order]


@pytest.mark.parametrize("suffix", ["", ".bz2"])
def test_threads_agree(tmp_path, suffix):
    centres = field_centres(185.0, 5.0, 20.0, 6, 250)
    ra, dec = centres.ra.deg, centres.dec.deg
    for field in range(6):
        star = (ra[field], dec[field], 3.0 + field)
        write_field(tmp_path, *star[:2], [star], field=field, shape=SMALL, suffix=suffix)
    found = {}
    with FrameCutouts(tmp_path) as source:

        def work(seed):
            order = np.random.default_rng(seed).permutation(6)
            pictures = [cutout.data for cutout in source.fetch(ra[order], dec[order])]
            found[seed] = [pictures[at] for at in np.argsort(order)]

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 4
    assert all(found[seed] == found[0] for seed in found)
    assert None not in found[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_does_not_wait_for_threads_of_its_parent(tmp_path):
    write_field(tmp_path, 185.0, 5.0, [(185.0, 5.0, 10.0)], shape=SMALL)
    with FrameCutouts(tmp_path) as source:
        before = one(source, 185.0, 5.0)
        # As a fork finds it while another thread is reading.
        for lock in source._index._locks:
            lock.acquire()
        assert Child(lambda: one(source, 185.0, 5.0).data).result() == before.data


def test_a_source_travels_to_another_process(tmp_path):
    write_field(tmp_path, 185.0, 5.0, [(185.0, 5.0, 10.0)], shape=SMALL)
    recipe = replace(SDSS_RECIPE, width=64)
    with FrameCutouts(tmp_path, recipe=recipe) as source:
        expected = one(source, 185.0, 5.0)
        with pickle.loads(pickle.dumps(source)) as copy:
            assert copy.recipe == recipe
            assert one(copy, 185.0, 5.0).data == expected.data is not None


def test_damage_that_took_long_to_find_is_remembered(tmp_path):
    paths = write_field(tmp_path, 185.0, 5.0, [(185.0, 5.0, 10.0)], shape=SMALL, suffix=".gz")
    with FrameCutouts(tmp_path) as source:
        index = source._open()
        paths[0].write_bytes(paths[0].read_bytes()[:-20])
        errors = [one(source, 185.0, 5.0).error for _ in range(3)]
        assert {type(error) for error in errors} == {BadImageError}
        assert len({id(error) for error in errors}) == 3
        assert index._unpacked.cache_info().misses == len("gri")


@pytest.mark.parametrize("dec", [90.0, -90.0, 89.9999, -89.9999])
def test_the_poles_are_outside_and_nothing_worse(tmp_path, dec):
    write_field(tmp_path, 185.0, 5.0, shape=SMALL)
    with FrameCutouts(tmp_path) as source:
        for ra in (0.0, 123.0, 360.0, -10.0):
            assert isinstance(one(source, ra, dec).error, OutOfFootprintError)


def test_the_picture_is_the_stretch_of_the_fluxes_as_a_jpeg_of_quality_75(tmp_path):
    stars = [(185.0, 5.0, 2000.0), (*offset(185.0, 5.0, 12, 9), 5.0)]
    write_field(tmp_path, 185.0, 5.0, stars, shape=SMALL, colours=(1.0, 1.6, 2.2))
    with FrameCutouts(tmp_path) as source:
        data = one(source, 185.0, 5.0).data
        expected = images.STRETCHES["sdss"].rgb(*planes_of(source, 185.0, 5.0))
    assert data == images.to_jpeg(expected)
    assert expected.max() == 255
    assert np.abs(images.decode(data).astype(int) - expected).mean() < 3


def test_other_sizes_and_scales(tmp_path):
    star = offset(185.0, 5.0, 4.0, -6.0)
    write_field(tmp_path, 185.0, 5.0, [(*star, 50.0)], shape=SMALL)
    for width, scale in ((65, 0.8), (200, 0.2), (96, 0.396)):
        recipe = replace(SDSS_RECIPE, width=width, pixel_scale=scale)
        with FrameCutouts(tmp_path, recipe=recipe) as source:
            cutout = one(source, 185.0, 5.0)
            plane = planes_of(source, 185.0, 5.0)[1]
        assert images.decode(cutout.data, width=width).shape == (width, width, 3)
        expected = cutout.wcs.world_to_pixel_values(*star)
        assert np.hypot(*np.subtract(centroid(plane), expected)) < 0.1
        assert plane.sum() * (scale / PIXEL_SCALE) ** 2 == pytest.approx(50.0, rel=0.01)


def test_an_estimator_takes_it(tmp_path):
    from astropy.table import Table

    rng = np.random.default_rng(5)
    write_field(
        tmp_path,
        185.0,
        5.0,
        [(185.0, 5.0, 300.0)],
        shape=SMALL,
        background=lambda ra, dec: rng.normal(0, 0.02, ra.shape),
    )
    table = Table({"ra": [185.0, 20.0], "dec": [5.0, 20.0]}, units={"ra": "deg", "dec": "deg"})
    with FrameCutouts(tmp_path) as source:
        result = HIFractionEstimator(cutouts=source).predict(table)
    assert np.isfinite(result["log_hi_fraction"][0])
    assert np.asarray(result["log_hi_fraction"].mask).tolist() == [False, True]


def test_construction_refuses_what_cannot_work(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^path does not exist"):
        FrameCutouts(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"^path must be a folder"):
        FrameCutouts(tmp_path / "file")
    with pytest.raises(TypeError, match=r"^recipe must be a CutoutRecipe, got str"):
        FrameCutouts(tmp_path, recipe="sdss")
    for change, message in (
        ({"survey": "legacy"}, "be of sdss getjpeg"),
        ({"bands": ("r", "g", "u")}, "have the bands i, r, g"),
        ({"pixel_scale": 0.05}, "have a pixel_scale of 0.1 to 0.8"),
        ({"pixel_scale": 0.9}, "have a pixel_scale of 0.1 to 0.8"),
        ({"width": 1501}, "not be wider than 600 arcsec"),
    ):
        with pytest.raises(ValueError, match=rf"^recipe must {message}"):
            FrameCutouts(tmp_path, recipe=replace(SDSS_RECIPE, **change))


def test_a_folder_without_frames_is_said(tmp_path):
    (tmp_path / "frame-r-756-3-100.fits").touch()
    (tmp_path / "frame-z-000756-3-0100.fits").touch()
    source = FrameCutouts(tmp_path)
    with pytest.raises(ValueError, match=r"^path has no frames in i, r, g"):
        source.fetch([1.0], [1.0])
    (tmp_path / "frame-r-000756-3-0100.fits").touch()
    with (
        pytest.warns(HifracWarning, match="1 files"),
        pytest.raises(
            ValueError, match=r"^path has no frame that can be read: .*frame-r-000756-3-0100\.fits"
        ),
    ):
        source.fetch([1.0], [1.0])


def test_what_it_says_of_itself_and_closing(tmp_path):
    write_field(tmp_path / "frames", 185.0, 5.0, shape=SMALL)
    source = FrameCutouts(str(tmp_path / "frames"))
    assert isinstance(source, CutoutSource)
    assert source.describe() == "SDSS frames in frames, cut out here"
    assert source.name_column is None
    assert source.recipe is SDSS_RECIPE
    with pytest.raises(ValueError, match=r"^ra and dec must have the same length, got 1 and 2"):
        source.fetch([1.0], [1.0, 2.0])
    assert one(source, 185.0, 5.0).error is None
    source.close()
    source.close()
    with pytest.raises(ValueError, match="is closed"):
        source.fetch([185.0], [5.0])
    # Nothing holds the files any more.
    shutil.rmtree(tmp_path / "frames")


@settings(max_examples=50)
@given(
    st.floats(0, 360),
    st.floats(-90, 90),
    st.floats(-180, 180),
    st.sampled_from("gri"),
    st.sampled_from(["E", "D", "e"]),
)
def test_headers_are_read_as_astropy_reads_them(ra, dec, angle, band, exponent):
    header = frame_header(ra, dec, angle, band)
    header["CRVAL1"] = ra, "RA / of the reference pixel"
    header["COMMENT"] = "CRVAL1  = 17 in a comment"
    text = header_text(header)
    for name in ("CD1_1", "CD1_2"):
        at = text.index(f"{name}   =".encode())
        card = f"{name}   = {header[name]:>20.12{'E'}}".replace("E", exponent).ljust(80)
        text = text[:at] + card.encode() + text[at + 80 :]
    frame, special = _frames.parse_header(text)
    assert special is None
    wcs = WCS(header)
    np.testing.assert_array_equal(frame["numbers"][:2], wcs.wcs.crval)
    np.testing.assert_array_equal(frame["numbers"][2:4], wcs.wcs.crpix)
    np.testing.assert_allclose(frame["numbers"][4:].reshape(2, 2), wcs.wcs.cd, rtol=1e-9, atol=1e-14)
    assert frame["shape"].tolist() == [1489, 2048]
    assert frame["offset"] == len(text)


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path):
    paths = write_field(tmp_path, 185.0, 5.0, shape=SMALL)
    paths[0].chmod(0)
    with FrameCutouts(tmp_path) as source:
        assert isinstance(one(source, 185.0, 5.0).error, FetchError)


def test_a_folder_in_the_place_of_a_file_is_an_error_of_its_rows(tmp_path):
    paths = write_field(tmp_path, 185.0, 5.0, shape=SMALL)
    with FrameCutouts(tmp_path) as source:
        source._open()
        paths[0].unlink()
        paths[0].mkdir()
        error = one(source, 185.0, 5.0).error
    assert isinstance(error, (FetchError, BadImageError))
    assert paths[0].name in str(error)
