"""Fluxes of five bands: the recipe of Wu & Peek (2020), services, files, their order, what they lack."""

import io
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from commands import call
from survey_services import answering, fits_file, impatience, only_cutout

from hifrac import Flag, conf
from hifrac.core.exceptions import BadImageError, FetchError, HifracWarning, OutOfFootprintError
from hifrac.cutouts import (
    SDSS_RECIPE,
    WU_PEEK_RECIPE,
    CutoutRecipe,
    HiPSCutouts,
    LegacyCutouts,
    LocalCutouts,
    PanSTARRSCutouts,
    SkyServerCutouts,
    source_for,
)
from hifrac.cutouts.fluxes import WU_PEEK_FILES, read_fluxes, suspect_order
from hifrac.cutouts.recipe import HIPS_RECIPE, LEGACY_RECIPE

BANDS, WIDTH = "grizy", 224
# Counts of a galaxy and of the sky's noise: red, as galaxies are.
LIGHT = {"g": 500.0, "r": 900.0, "i": 1300.0, "z": 1600.0, "y": 1900.0}
NOISE = {"g": 0.4, "r": 0.5, "i": 0.6, "z": 1.0, "y": 2.0}
SECONDS = 500.0


@pytest.fixture(autouse=True)
def _impatient():
    with impatience():
        yield


def plane(band, light=None, seed=0):
    """A galaxy in one band, in counts, off the middle of the rows so that up and down differ."""
    rows, columns = np.mgrid[:WIDTH, :WIDTH] - WIDTH / 2
    profile = np.exp(-np.hypot(rows - 3, columns) / 6)
    noise = np.random.default_rng(seed + ord(band)).normal(0, NOISE[band], profile.shape)
    amount = LIGHT[band] if light is None else light
    return (amount * profile / profile.sum() + noise).astype("f4")


def cube(bands, seed=0):
    return np.stack([plane(band, seed=seed) for band in bands])


def panstarrs(lacking="", empty=""):
    """Answers of fitscut; bands may be lacking in the list, or empty."""

    def answers(path, params):
        if path.endswith("ps1filenames.py"):
            lines = ["projcell subcell filter filename"]
            lines += [f"1400 56 {b} /stk.{b}.fits" for b in params["filters"] if b not in lacking]
            return 200, "\n".join(lines).encode()
        band = params["red"].split(".")[1]
        values = plane(band) * SECONDS
        if band in empty:
            values[:] = np.nan
        else:
            values[:9, :9] = np.nan
        header = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 184.0, "CRVAL2": 5.0}
        header |= {"CRPIX1": 1.0, "CRPIX2": 1.0, "CDELT1": -0.25 / 3600, "CDELT2": 0.25 / 3600}
        return 200, fits_file(values, None, **header, EXPTIME=SECONDS)

    return answers


def npy(planes):
    file = io.BytesIO()
    np.save(file, planes)
    return file.getvalue()


def test_the_recipe_is_that_of_the_paper():
    assert WU_PEEK_RECIPE.bands == tuple(BANDS)
    assert (WU_PEEK_RECIPE.width, WU_PEEK_RECIPE.pixel_scale, WU_PEEK_RECIPE.field_of_view) == (224, 0.25, 56)
    assert not WU_PEEK_RECIPE.is_picture
    assert SDSS_RECIPE.is_picture
    assert isinstance(source_for(WU_PEEK_RECIPE), PanSTARRSCutouts)
    assert CutoutRecipe.from_dict(WU_PEEK_RECIPE.to_dict()) == WU_PEEK_RECIPE


def test_the_service_gives_fluxes_by_band_and_the_store_keeps_them():
    with answering(panstarrs()) as service:
        source = PanSTARRSCutouts(WU_PEEK_RECIPE, base_url=service.url)
        fluxes, flags = read_fluxes(source, [184.0, 184.1], [5.0, 5.1])
        assert service.asked[0][1]["filters"] == "grizy"
        assert len(service.asked) == 2 * 6
        again, _ = read_fluxes(PanSTARRSCutouts(WU_PEEK_RECIPE, base_url=service.url), [184.0], [5.0])
        assert len(service.asked) == 2 * 6
    assert flags.tolist() == [0, 0]
    assert (fluxes.shape, fluxes.dtype) == ((2, 5, 224, 224), np.float32)
    expected = np.nan_to_num(cube(BANDS)) * 10 ** (0.4 * (22.5 - 25))
    expected[:, :9, :9] = 0
    np.testing.assert_allclose(fluxes[1], expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(again[0], fluxes[0])


@pytest.mark.parametrize("bands", ["grizy", "yzirg", "izgyr"])
def test_any_order_is_that_of_the_recipe(bands):
    recipe = replace(WU_PEEK_RECIPE, bands=tuple(bands))
    with answering(panstarrs()) as service:
        cutout = only_cutout(PanSTARRSCutouts(recipe, base_url=service.url), 184.0, 5.0)
    brightness = cutout.pixels.sum(axis=(0, 1))
    assert [bands[k] for k in np.argsort(brightness)] == list(BANDS)
    # The same file, read by a recipe of another order.
    there = WU_PEEK_RECIPE.decode(cutout.data)
    np.testing.assert_array_equal(there, cutout.pixels[..., [bands.index(band) for band in BANDS]])


def test_a_survey_that_lacks_two_of_the_bands_is_named_and_stops_no_other():
    with answering(panstarrs(lacking="zy")) as service:
        source = PanSTARRSCutouts(WU_PEEK_RECIPE, base_url=service.url)
        error = only_cutout(source, 184.0, 5.0).error
        assert isinstance(error, OutOfFootprintError)
        assert "Pan-STARRS1 has no stack in z, y there" in str(error)
        with pytest.warns(HifracWarning, match=r"^2 of 2 rows have no fluxes, the first is row 0: "):
            fluxes, flags = read_fluxes(source, [184.0, np.nan], [5.0, 5.0])
    assert flags.tolist() == [int(Flag.OUT_OF_FOOTPRINT), int(Flag.BAD_COORDINATE)]
    assert np.isnan(fluxes).all()


def test_a_plane_without_a_pixel_is_outside():
    with answering(panstarrs(empty="z")) as service:
        source = PanSTARRSCutouts(WU_PEEK_RECIPE, base_url=service.url)
        assert isinstance(only_cutout(source, 184.0, 5.0).error, OutOfFootprintError)


@pytest.mark.parametrize(
    ("source", "recipe"),
    [(SkyServerCutouts, SDSS_RECIPE), (HiPSCutouts, HIPS_RECIPE), (LegacyCutouts, LEGACY_RECIPE)],
)
def test_services_of_pictures_have_no_fluxes(source, recipe):
    with pytest.raises(ValueError, match=r"^recipe must have .*bands"):
        source(replace(recipe, bands=tuple(BANDS)))


@pytest.mark.parametrize("bands", ["gr", "grizg"])
def test_bands_of_no_recipe(bands):
    with pytest.raises(ValueError, match=r"^bands must name three filters"):
        replace(WU_PEEK_RECIPE, bands=tuple(bands))


def write_paper(folder, names, order="yzirg"):
    for seed, name in enumerate(names):
        (folder / f"{name}.npy").write_bytes(npy(cube(order, seed).astype(float)))
    return folder


def local(folder, bands=WU_PEEK_FILES):
    return LocalCutouts(folder, name="specobjid", bands=bands, recipe=WU_PEEK_RECIPE)


def rows(n):
    return np.zeros(n), np.zeros(n)


def test_files_of_the_paper_are_read_by_the_bands_that_they_have(tmp_path):
    write_paper(tmp_path, ["1", "2"])
    fluxes, flags = read_fluxes(local(tmp_path), *rows(2), ["2", "1"])
    assert flags.tolist() == [0, 0]
    np.testing.assert_array_equal(fluxes, [cube(BANDS, 1), cube(BANDS, 0)])


def test_files_read_in_the_wrong_order_are_doubted(tmp_path):
    names = [str(number) for number in range(5)]
    write_paper(tmp_path, names)
    with pytest.warns(HifracWarning, match=r"^5 of 5 galaxies are brighter in bluer bands: .* g, r, i, z, y"):
        fluxes, flags = read_fluxes(local(tmp_path, bands=BANDS), *rows(5), names)
    assert flags.tolist() == [int(Flag.SUSPECT_BANDS)] * 5
    assert suspect_order(fluxes, BANDS).all()
    assert not suspect_order(fluxes, WU_PEEK_FILES).any()


def test_one_blue_galaxy_among_others_raises_no_alarm(tmp_path):
    write_paper(tmp_path, ["1", "2"])
    write_paper(tmp_path, ["3"], order="grizy")
    fluxes, flags = read_fluxes(local(tmp_path), *rows(3), ["1", "2", "3"])
    assert flags.tolist() == [0, 0, int(Flag.SUSPECT_BANDS)]
    assert suspect_order(fluxes, BANDS).tolist() == [False, False, True]


def test_noise_and_empty_planes_say_nothing_of_the_order():
    noise = np.random.default_rng(1).normal(size=(200, 5, 32, 32))
    assert not suspect_order(noise, BANDS).any()
    assert not suspect_order(np.full((1, 5, 32, 32), np.nan), BANDS).any()
    blue = cube("yzirg")[None].copy()
    blue[:, :3] = np.nan
    assert not suspect_order(blue, BANDS).any()
    blue[:, 2] = plane("i")
    assert suspect_order(blue, BANDS).all()


@pytest.mark.parametrize(
    ("bands", "message"), [("gri", "one a plane"), ("grizq", "nothing is known of .*'q'")]
)
def test_an_order_of_what(bands, message):
    with pytest.raises(ValueError, match=f"^bands.*{message}"):
        suspect_order(np.zeros((1, 5, 8, 8)), bands)


@pytest.mark.slow
@pytest.mark.real_data
def test_real_galaxies_are_brighter_in_redder_bands(real_data):
    labels = Table.read(real_data / "cutouts" / "photometry_labels.ecsv")
    magnitudes = np.array([labels[f"modelmag_{band}"] for band in "griz"], dtype=float).T
    fluxes = np.zeros((len(labels), 4, 16, 16))
    fluxes[:, :, 7:9, 7:9] = 10 ** (0.4 * (22.5 - magnitudes))[..., None, None] / 4
    assert suspect_order(fluxes, "griz").sum() <= 4
    assert suspect_order(fluxes, "zirg").sum() >= len(labels) - 4


BAD = {
    "four planes": (lambda: npy(cube("zirg")), BadImageError, "5 planes of numbers .* got shape"),
    "another size": (
        lambda: npy(cube(BANDS)[:, :200, :200]),
        BadImageError,
        "200 x 200 pixels instead of 224",
    ),
    "cut off": (lambda: npy(cube(BANDS))[:5000], BadImageError, r"damaged or cut-off \.npy"),
    "objects": (lambda: npy(np.array([{}] * 5, dtype=object)), BadImageError, r"damaged or cut-off \.npy"),
    "NaN": (
        lambda: npy(cube(BANDS) * np.array([1, np.nan, 1, 1, 1])[:, None, None]),
        OutOfFootprintError,
        "in z",
    ),
    "zero": (
        lambda: npy(cube(BANDS) * np.array([0, 1, 1, 1, 0])[:, None, None]),
        OutOfFootprintError,
        "in g, y",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_files_that_are_none_flag_their_row(tmp_path, what):
    make, kind, message = BAD[what]
    write_paper(tmp_path, ["1"])
    (tmp_path / "2.npy").write_bytes(make())
    with pytest.warns(HifracWarning, match=f"^1 of 2 rows have no fluxes, the first is row 1: .*{message}"):
        fluxes, flags = read_fluxes(local(tmp_path), *rows(2), ["1", "2"])
    assert flags.tolist() == [0, int(kind.flag)]
    assert np.isnan(fluxes[1]).all()
    assert np.isfinite(fluxes[0]).all()


def test_files_of_one_band_each(tmp_path):
    for band in BANDS:
        (tmp_path / f"1-{band}.fits").write_bytes(fits_file(plane(band), None))
        if band in "gri":
            (tmp_path / f"2-{band}.fits").write_bytes(fits_file(plane(band), None))
    source = local(tmp_path)
    with pytest.warns(HifracWarning, match="1 of 2 rows have no fluxes"):
        fluxes, flags = read_fluxes(source, *rows(2), ["1", "2"])
    np.testing.assert_array_equal(fluxes[0], cube(BANDS))
    assert flags.tolist() == [0, int(FetchError.flag)]


def test_a_cube_must_say_its_bands():
    planes = cube(BANDS)
    with pytest.raises(BadImageError, match="nothing says which plane is which of the bands g, r, i, z, y"):
        WU_PEEK_RECIPE.decode(fits_file(planes, None))
    cards = {f"BAND{index}": band for index, band in enumerate("grizu")}
    with pytest.raises(BadImageError, match="it has the bands g, r, i, z, u, and lacks y"):
        WU_PEEK_RECIPE.decode(fits_file(planes, None, **cards))
    with pytest.raises(BadImageError, match="fluxes of g, r, i, z, y are wanted: not a picture"):
        WU_PEEK_RECIPE.decode(b"<html>")
    with pytest.raises(BadImageError, match="not resampled"):
        WU_PEEK_RECIPE.decode(fits_file(planes, None), pixel_scale=0.5)


def test_where_the_fluxes_go(tmp_path):
    write_paper(tmp_path, ["1"])
    out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", np.float32, (1, 5, 224, 224))
    fluxes, _ = read_fluxes(local(tmp_path), *rows(1), ["1"], out=out)
    assert fluxes is out
    with pytest.raises(ValueError, match=r"^out must be float32 of shape"):
        read_fluxes(local(tmp_path), *rows(1), ["1"], out=np.empty((1, 5, 224, 224)))
    with pytest.raises(ValueError, match=r"^source must have a recipe of more than three bands, got None"):
        read_fluxes(LocalCutouts(tmp_path), *rows(1), ["1"])


def test_the_command_line_fetches_five_bands(tmp_path):
    path = tmp_path / "galaxies.ecsv"
    Table({"ra": [184.0], "dec": [5.0]}, units={"ra": "deg", "dec": "deg"}).write(path)
    options = ["--survey", "panstarrs", "--bands", "grizy", "--width", "224", "--max-rate", "0"]
    with answering(panstarrs()) as service:
        result = call("fetch", path, *options, "--base-url", service.url)
        assert result.exit_code == 0, result.output
        with conf.set_temp("offline", True):
            _, flags = read_fluxes(PanSTARRSCutouts(WU_PEEK_RECIPE), [184.0], [5.0])
    assert flags.tolist() == [0]
    refused = call("fetch", path, "--survey", "sdss", "--bands", "grizy")
    assert "Error: recipe must have three bands, got g, r, i, z, y" in refused.output


def test_cubes_that_are_written_say_their_bands(tmp_path):
    write_paper(tmp_path, ["1"])
    (cutout,) = local(tmp_path).fetch(*rows(1), ["1"])
    header = fits.getheader(io.BytesIO(cutout.data))
    assert [header[f"BAND{index}"] for index in range(5)] == list(BANDS)
