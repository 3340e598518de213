import io
import pickle
import stat
import tarfile
import tempfile
import threading
import unicodedata
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Column, MaskedColumn, Table
from astropy.utils.masked import Masked
from hypothesis import given
from hypothesis import strategies as st
from pictures import encode, galaxy

from hifrac import Flag, HIFractionEstimator, images
from hifrac.core.exceptions import BadImageError, FetchError
from hifrac.cutouts import SDSS_RECIPE, LocalCutouts

OBJID = 1237648720693755918
FILES = {
    f"{OBJID}.jpg": b"jpg of objid",
    "1237648720693755919.JPEG": b"jpeg in capitals",
    "galaxy.v2.png": b"png with a dot",
    "NGC 1.fits": b"fits with a blank",
    "notes.txt": b"no picture",
    ".hidden.jpg": b"hidden",
}


def in_folder(path: Path, files) -> Path:
    folder = path / "pictures"
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


def in_zip(path: Path, files, compression=zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path / "pictures.zip", "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path / "pictures.zip"


def in_tar(path: Path, files, mode="") -> Path:
    file = path / f"pictures.tar.{mode}"
    with tarfile.open(file, f"w:{mode}") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file


KINDS = {
    "folder": in_folder,
    "zip": in_zip,
    "deflated": lambda path, files: in_zip(path, files, zipfile.ZIP_DEFLATED),
    "tar": in_tar,
    "tar.gz": lambda path, files: in_tar(path, files, "gz"),
    "tar.bz2": lambda path, files: in_tar(path, files, "bz2"),
    "tar.xz": lambda path, files: in_tar(path, files, "xz"),
}
ARCHIVES = [kind for kind in KINDS if kind != "folder"]


def fetch(source, names):
    zeros = np.zeros(len(names))
    return list(source.fetch(zeros, zeros, names))


def one(source, name):
    (cutout,) = fetch(source, [name])
    return cutout


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_found_by_name_in_any_order(tmp_path, kind):
    names = ["NGC 1", OBJID, "missing", "galaxy.v2", "1237648720693755919", OBJID]
    with LocalCutouts(KINDS[kind](tmp_path, FILES)) as source:
        found = fetch(source, names)
    assert [cutout.data for cutout in found] == [
        b"fits with a blank",
        b"jpg of objid",
        None,
        b"png with a dot",
        b"jpeg in capitals",
        b"jpg of objid",
    ]
    assert isinstance(found[2].error, FetchError)
    assert "'missing'" in str(found[2].error)
    assert "pictures" in str(found[2].error)


@pytest.mark.parametrize("kind", KINDS)
def test_other_files_are_ignored(tmp_path, kind):
    with LocalCutouts(KINDS[kind](tmp_path, FILES)) as source:
        assert all(cutout.error for cutout in fetch(source, ["notes", "notes.txt", ".hidden", "hidden"]))


@pytest.mark.parametrize("kind", ARCHIVES)
def test_folders_within_an_archive_do_not_matter(tmp_path, kind):
    files = {"a/b/1.jpg": b"one", "./2.jpg": b"two", "__MACOSX/a/b/._1.jpg": b"junk"}
    with LocalCutouts(KINDS[kind](tmp_path, files)) as source:
        assert [cutout.data for cutout in fetch(source, [1, 2])] == [b"one", b"two"]


@pytest.mark.parametrize("kind", KINDS)
def test_formats_have_an_order(tmp_path, kind):
    files = {"1.fits": b"fits", "1.png": b"png", "1.jpg": b"jpg", "2.png": b"png", "2.fits": b"fits"}
    with LocalCutouts(KINDS[kind](tmp_path, files)) as source:
        assert [cutout.data for cutout in fetch(source, [1, 2])] == [b"jpg", b"png"]


@pytest.mark.parametrize("kind", ARCHIVES)
def test_twins_are_an_error_of_their_rows_that_names_both(tmp_path, kind):
    files = {
        "old/1.jpg": b"old",
        "new/1.jpeg": b"new",
        "2.jpg": b"two",
        "new/3.png": b"a",
        "3.PNG": b"b",
        "3.jpg": b"c",
    }
    with LocalCutouts(KINDS[kind](tmp_path, files)) as source:
        twin, single, settled = fetch(source, [1, 2, 3])
    assert isinstance(twin.error, FetchError)
    assert "old/1.jpg and new/1.jpeg" in str(twin.error)
    assert single.data == b"two"
    assert settled.data == b"c"


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_member_appended_again_replaces_the_first(tmp_path):
    path = in_zip(tmp_path, {"1.jpg": b"old"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("1.jpg", b"new")
    with LocalCutouts(path) as source:
        assert one(source, 1).data == b"new"


@pytest.mark.parametrize(
    "value",
    [
        OBJID,
        np.int64(OBJID),
        np.uint64(OBJID),
        str(OBJID),
        f" {OBJID}\n",
        np.str_(OBJID),
        str(OBJID).encode(),
    ],
    ids=repr,
)
def test_values_that_are_names(tmp_path, value):
    with LocalCutouts(in_folder(tmp_path, FILES)) as source:
        assert one(source, value).data == b"jpg of objid"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ma.masked, "objid is masked"),
        (None, "objid is masked"),
        (Masked(7, mask=True), "objid is masked"),
        (True, "objid must be an integer or text"),
        (np.True_, "objid must be an integer or text"),
        ([1], "objid must be an integer or text"),
        (b"\xff\xfe", "objid is not text"),
        ("", "objid is no plain file name"),
        ("  ", "objid is no plain file name"),
        ("..", "objid is no plain file name"),
        ("../secret", "objid is no plain file name"),
        ("a\\b", "objid is no plain file name"),
        ("/etc/passwd", "objid is no plain file name"),
        ("a\0b", "objid is no plain file name"),
    ],
    ids=repr,
)
def test_values_that_are_no_names(tmp_path, value, message):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    with LocalCutouts(in_folder(tmp_path, FILES)) as source:
        cutout = one(source, value)
    assert isinstance(cutout.error, FetchError)
    with pytest.raises(FetchError, match=message):
        raise cutout.error


def test_columns_of_tables(tmp_path):
    folder = in_folder(tmp_path, FILES)
    masked = MaskedColumn([OBJID, 5, OBJID], mask=[False, True, False])
    with LocalCutouts(folder) as source:
        for names in (masked, Masked(np.asarray(masked.data), mask=masked.mask)):
            first, second, third = fetch(source, names)
            assert first.data == third.data == b"jpg of objid"
            assert "masked" in str(second.error)
        text = Table({"objid": [str(OBJID), "x"]})["objid"]
        assert fetch(source, text)[0].data == b"jpg of objid"
        assert fetch(source, np.array([OBJID]).astype("S"))[0].data == b"jpg of objid"


@pytest.mark.parametrize(
    "names",
    [
        Column([OBJID, 5], dtype=float),
        MaskedColumn([OBJID, 5], mask=[False, True], dtype=float),
        Masked(np.array([OBJID, 5], dtype=np.float32), mask=[True, True]),
        u.Quantity([OBJID, 5]),
        [float(OBJID), np.nan],
        (np.float32(OBJID), 5.0),
    ],
    ids=["column", "masked column", "masked array", "quantity", "list", "tuple"],
)
def test_names_that_are_floating_point_are_the_mistake_of_the_caller(tmp_path, names):
    with (
        LocalCutouts(in_folder(tmp_path, FILES)) as source,
        pytest.raises(TypeError, match=r"^objid must be a column of integers or text, got floating-point"),
    ):
        source.fetch([0.0, 0.0], [0.0, 0.0], names)


def test_a_table_with_floating_point_names_gets_no_flags_but_an_error(tmp_path):
    objid = MaskedColumn([OBJID, 5], mask=[False, True], dtype=float, name="objid")
    table = Table({"ra": [150.0, 151.0] * u.deg, "dec": [2.0, 2.0] * u.deg, "objid": objid})
    with LocalCutouts(in_folder(tmp_path, FILES)) as source:
        with pytest.raises(TypeError, match=r"^objid must be a column of integers or text"):
            HIFractionEstimator(cutouts=source).predict(table)
        with pytest.raises(TypeError, match=r"^objid must be a column of integers or text"):
            list(HIFractionEstimator(cutouts=source).explain(table))


@pytest.mark.parametrize("value", [np.nan, float(OBJID)])
def test_a_floating_point_number_among_names_is_an_error_of_its_row(tmp_path, value):
    with LocalCutouts(in_folder(tmp_path, FILES)) as source:
        for names in ([OBJID, value], np.array([str(OBJID), value], dtype=object)):
            found, lost = fetch(source, names)
            assert found.data == b"jpg of objid"
            assert "objid is a floating-point number" in str(lost.error)
            assert "lost digits" in str(lost.error)


def test_no_rows_are_no_mistake_whatever_the_type_of_their_names(tmp_path):
    with LocalCutouts(in_folder(tmp_path, FILES)) as source:
        for names in ([], np.empty(0), Table(names=["objid"])["objid"]):
            assert fetch(source, names) == []


@given(st.text())
def test_no_text_leaves_the_folder_or_raises(name):
    folder = Path(__file__).parent
    with LocalCutouts(folder) as source:
        assert isinstance(one(source, name).error, FetchError)


@given(st.integers(0, 2**64 - 1))
def test_every_integer_finds_its_own_file(number):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for near in (number, number + 1):
            archive.writestr(f"{near}.jpg", str(near))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.zip")
        path.write_bytes(file.getvalue())
        with LocalCutouts(path) as source:
            assert one(source, number).data == str(number).encode()


def test_construction_refuses_what_cannot_work(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^path does not exist: .*nowhere"):
        LocalCutouts(tmp_path / "nowhere")
    other = tmp_path / "table.csv"
    other.write_text("objid\n1\n")
    empty = tmp_path / "empty.zip"
    empty.touch()
    whole = in_zip(tmp_path, FILES)
    cut = tmp_path / "cut.zip"
    cut.write_bytes(whole.read_bytes()[:-30])
    for path in (other, empty, cut):
        with pytest.raises(ValueError, match=r"^path must be a folder or an intact zip or tar archive"):
            LocalCutouts(path)
    with pytest.raises(TypeError, match=r"^name must be"):
        LocalCutouts(tmp_path, name=3)
    with pytest.raises(ValueError, match=r"^name must be"):
        LocalCutouts(tmp_path, name="")


def test_a_damaged_directory_of_a_zip_is_a_value_error(tmp_path):
    path = in_zip(tmp_path, FILES)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2")] = 0
    path.write_bytes(data)
    with LocalCutouts(path) as source, pytest.raises(ValueError, match=r"^path is a damaged zip archive"):
        fetch(source, [OBJID])


@pytest.mark.parametrize("mode", ["", "gz"])
def test_a_cut_off_tar_is_a_value_error(tmp_path, mode):
    path = in_tar(tmp_path, {f"{n}.jpg": np.random.default_rng(n).bytes(5000) for n in range(4)}, mode)
    path.write_bytes(path.read_bytes()[:9000])
    with LocalCutouts(path) as source, pytest.raises(ValueError, match=r"^path is a damaged tar archive"):
        fetch(source, [1])


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_is_a_bad_image_of_its_row_only(tmp_path, compression):
    content = np.random.default_rng(0).bytes(500)
    path = in_zip(tmp_path, {"1.jpg": content, "2.jpg": b"two"}, compression)
    data = bytearray(path.read_bytes())
    data[200] ^= 255
    path.write_bytes(data)
    with LocalCutouts(path) as source:
        damaged, intact = fetch(source, [1, 2])
    assert isinstance(damaged.error, BadImageError)
    assert "1: the archive is damaged there" in str(damaged.error)
    assert intact.data == b"two"


def test_a_file_that_vanished_is_an_error_of_its_row(tmp_path):
    folder = in_folder(tmp_path, FILES)
    with LocalCutouts(folder) as source:
        assert one(source, OBJID).data
        (folder / f"{OBJID}.jpg").unlink()
        gone, there = fetch(source, [OBJID, "NGC 1"])
    assert isinstance(gone.error, FetchError)
    assert there.data


def test_rows_and_names_must_agree(tmp_path):
    with LocalCutouts(tmp_path, name="id") as source:
        with pytest.raises(ValueError, match=r"^names must be given: the values of the column 'id'"):
            source.fetch([1.0], [2.0])
        with pytest.raises(ValueError, match=r"^names must have one value per row \(1\), got 2"):
            source.fetch([1.0], [2.0], ["a", "b"])


@pytest.mark.parametrize("kind", KINDS)
def test_closing(tmp_path, kind):
    source = LocalCutouts(KINDS[kind](tmp_path, FILES))
    assert one(source, OBJID).data
    source.close()
    source.close()
    with pytest.raises(ValueError, match="is closed"):
        source.fetch([0.0], [0.0], [OBJID])


def test_what_it_says_of_itself(tmp_path):
    source = LocalCutouts(in_folder(tmp_path, FILES), name="id")
    assert source.recipe is None
    assert source.name_column == "id"
    assert source.describe() == "local files in pictures, by id"


@pytest.mark.parametrize("kind", KINDS)
def test_threads_read_what_is_there(tmp_path, kind):
    files = {f"{n}.jpg": str(n).encode() * 100 for n in range(50)}
    wrong = []
    with LocalCutouts(KINDS[kind](tmp_path, files)) as source:

        def read(seed):
            numbers = np.random.default_rng(seed).integers(0, 50, 200)
            wrong.extend(n for n in numbers if one(source, n).data != files[f"{n}.jpg"])

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


@pytest.mark.parametrize("kind", ["zip", "deflated", "tar"])
def test_backslashes_of_windows_are_folders(tmp_path, kind):
    files = {"cutouts\\a.jpg": b"a", "cutouts\\deep/b.png": b"b"}
    path = KINDS[kind](tmp_path, {})
    if kind == "tar":
        path = in_tar(tmp_path, files)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("cutouts\\", b"")
            for name, content in files.items():
                member = zipfile.ZipInfo("x")
                member.filename = name
                archive.writestr(member, content)
    with LocalCutouts(path) as source:
        assert [cutout.data for cutout in fetch(source, ["a", "b"])] == [b"a", b"b"]


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
@pytest.mark.parametrize("forms", [("NFD", "NFC"), ("NFC", "NFD")])
def test_accents_are_one_letter_however_they_are_encoded(tmp_path, kind, forms):
    there, wanted = (unicodedata.normalize(form, "V\u00e9ron \u00c5 1") for form in forms)
    path = KINDS[kind](tmp_path, {f"{there}.jpg": b"here"})
    with LocalCutouts(path) as source:
        assert one(source, wanted).data == b"here"


LINKS = [
    ("cutouts/b.jpg", "a.jpg"),
    ("c.jpg", "cutouts/b.jpg"),
    ("more/d.jpg", "../cutouts/a.jpg"),
    ("circle.jpg", "circle.jpg"),
    ("outside.jpg", "../../etc/passwd"),
    ("absolute.jpg", "/etc/passwd"),
]


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "folder"])
def test_links_lead_to_files_of_the_archive_and_to_no_others(tmp_path, kind):
    path = KINDS[kind](tmp_path, {"cutouts/a.jpg": b"here"})
    if kind == "zip":
        with zipfile.ZipFile(path, "a") as archive:
            for name, target in LINKS:
                member = zipfile.ZipInfo(name)
                member.create_system, member.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
                archive.writestr(member, target)
    elif kind == "folder":
        path = path / "cutouts"
        for name, target in [("b.jpg", "a.jpg"), ("c.jpg", "b.jpg"), ("d.jpg", "a.jpg"), *LINKS[3:4]]:
            (path / name).symlink_to(target)
    else:
        with tarfile.open(path, f"w:{kind[4:]}") as archive:
            for name, target in LINKS:  # before the file that they lead to
                member = tarfile.TarInfo(name)
                member.type, member.linkname = tarfile.SYMTYPE, target
                archive.addfile(member)
            member = tarfile.TarInfo("cutouts/a.jpg")
            member.size = 4
            archive.addfile(member, io.BytesIO(b"here"))
            member = tarfile.TarInfo("hard/e.jpg")
            member.type, member.linkname = tarfile.LNKTYPE, "cutouts/a.jpg"
            archive.addfile(member)
    with LocalCutouts(path) as source:
        names = ["a", "b", "c", "d", *(["e"] if kind.startswith("tar") else [])]
        assert [cutout.data for cutout in fetch(source, names)] == [b"here"] * len(names)
        for cutout in fetch(source, ["circle", "outside", "absolute"]):
            assert isinstance(cutout.error, FetchError)


# Filters


PLANES = {band: np.moveaxis(galaxy(3), -1, 0)[i][::-1].astype(np.float32) for i, band in enumerate("irg")}


def band_file(plane, **cards) -> bytes:
    hdu, file = fits.PrimaryHDU(plane), io.BytesIO()
    hdu.header.update(cards)
    hdu.writeto(file)
    return file.getvalue()


PLACE = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 5.0}
PLACE |= {"CRPIX1": 64.5, "CRPIX2": 64.5, "CDELT1": -1e-4, "CDELT2": 1e-4}


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("name", ["{}-{}.fits", "{}_{}.FITS", "{}.{}.fits"])
def test_three_files_of_one_band_are_one_picture(tmp_path, kind, name):
    files = {name.format("a", band): band_file(PLANES[band], **PLACE) for band in "gri"}
    expected = np.stack([PLANES[band] for band in "irg"])
    with LocalCutouts(KINDS[kind](tmp_path, files | {"a.jpg": b"not this"}), bands="g,r,i") as source:
        cutout = one(source, "a")
        np.testing.assert_array_equal(images.decode(cutout.data), images.decode(band_file(expected)))
        assert cutout.wcs.pixel_to_world(63.5, 63.5).ra.deg == pytest.approx(150)
        assert source.bands == ("i", "r", "g")
        assert "bands g, r, i" in source.describe()
        assert pickle.loads(pickle.dumps(source)).bands == ("i", "r", "g")


@pytest.mark.parametrize("bands", ["gri", "g,i,r", ["r", "g", "i"], ("i", "r", "g")])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, ">i2"])
def test_cubes_in_any_order_of_planes(tmp_path, bands, dtype):
    order = [band for band in bands if band != ","]
    cube = np.stack([PLANES[band] for band in order]).astype(dtype)
    cards = {"BLANK": -1, "BSCALE": 2.0} if dtype == ">i2" else {}
    data = band_file(cube // 2 if cards else cube, **PLACE, **cards)
    expected = np.stack([PLANES[band] for band in "irg"]).astype(dtype)
    with LocalCutouts(in_folder(tmp_path, {"a.fits": data}), bands=bands) as source:
        pixels = images.decode(one(source, "a").data)
    expected = images.decode(band_file(expected // 2 * 2 if cards else expected))
    np.testing.assert_array_equal(pixels, expected)


def test_bands_that_do_not_belong_together_are_errors_of_their_rows(tmp_path):
    whole, moved = band_file(PLANES["g"], **PLACE), band_file(PLANES["r"], **PLACE | {"CRPIX1": 60.0})
    files = {
        "moved-g.fits": whole,
        "moved-r.fits": moved,
        "moved-i.fits": whole,
        "size-g.fits": whole,
        "size-r.fits": band_file(PLANES["r"][1:]),
        "size-i.fits": whole,
        "kind-g.fits": whole,
        "kind-r.fits": band_file(np.ones((128, 128), "u1")),
        "kind-i.fits": whole,
        "cube-g.fits": whole,
        "cube-r.fits": band_file(np.ones((3, 9, 9))),
        "cube-i.fits": whole,
        "bad-g.fits": whole,
        "bad-r.fits": whole[:5000],
        "bad-i.fits": whole,
        "lacks-g.fits": whole,
        "lacks-r.fits": whole,
    }
    with LocalCutouts(in_folder(tmp_path, files), bands="gri") as source:
        cutouts = fetch(source, ["moved", "size", "kind", "cube", "bad", "lacks", "none"])
    said = ["grid of pixels", "different sizes", "integers", "one plane", "damaged", "lacks-i", "none-i.fits"]
    for cutout, words in zip(cutouts, said, strict=True):
        assert words in str(cutout.error)
    assert [type(cutout.error) for cutout in cutouts] == [BadImageError] * 5 + [FetchError] * 2


@pytest.mark.parametrize("bands", ["gr", "griz", "ggr", "g,r,", "g,r,F606W", ["g", "r"]])
def test_bands_are_three_known_filters(tmp_path, bands):
    with pytest.raises(ValueError, match="bands"):
        LocalCutouts(tmp_path, bands=bands)


def test_a_recipe_says_how_other_filters_are_shown(tmp_path):
    recipe = replace(SDSS_RECIPE, bands=("F814W", "F606W", "F435W"))
    source = LocalCutouts(tmp_path, bands="F435W,F606W,F814W", recipe=recipe)
    assert source.bands == recipe.bands
    with pytest.raises(ValueError, match="those of recipe"):
        LocalCutouts(tmp_path, bands="gri", recipe=recipe)
    with pytest.raises(TypeError, match="bands"):
        LocalCutouts(tmp_path, bands=[1, 2, 3])


def test_a_model_refuses_other_bands(tmp_path):
    HIFractionEstimator(cutouts=LocalCutouts(tmp_path, bands="gri"))
    with pytest.raises(ValueError, match="bands z, r, g, but the model reads i, r, g"):
        HIFractionEstimator(cutouts=LocalCutouts(tmp_path, bands="grz"))


# Scale


def test_pictures_of_another_scale_are_resampled_and_flagged(tmp_path):
    small = np.moveaxis(galaxy(4)[::-1], -1, 0)
    large = small.repeat(2, 1).repeat(2, 2)
    header = PLACE | {"CRPIX1": 128.5, "CRPIX2": 128.5, "CDELT1": -0.2 / 3600, "CDELT2": 0.2 / 3600}
    files = {
        "a.fits": band_file(large, **header),
        "b.jpg": encode(galaxy(5, 256)),
        "c.jpg": encode(galaxy(5)),
    }
    path = in_folder(tmp_path, files)
    table = Table({"objid": ["a", "b", "c"], "ra": [150.0] * 3 * u.deg, "dec": [5.0] * 3 * u.deg})
    estimator = HIFractionEstimator(cutouts=LocalCutouts(path, pixel_scale=0.2))
    result = estimator.predict(table)
    resampled = int(Flag.RESAMPLED)
    assert list(result["flags"] & resampled) == [resampled, resampled, 0]
    assert result["flags"][2] == int(Flag.BAD_IMAGE)  # it does not cover the field
    assert not result["log_hi_fraction"].mask[:2].any()
    assert "at 0.2 arcsec/px" in result.meta["hifrac"]["source"]
    first, second, third = estimator.explain(table, method="occlusion")
    assert [bool(one.flags & resampled) for one in (first, second, third)] == [True, True, False]
    assert first.wcs.pixel_to_world(63.5, 63.5).separation(SkyCoord(150, 5, unit="deg")).arcsec < 1e-3
    assert first.wcs.pixel_to_world(63.5, 63.5).separation(first.wcs.pixel_to_world(64.5, 63.5)).arcsec == (
        pytest.approx(0.4)
    )
    np.testing.assert_array_equal(first.pixels, SDSS_RECIPE.decode(files["a.fits"], 0.2))
    # At the scale of the recipe there is nothing to do.
    with LocalCutouts(in_folder(tmp_path / "own", {"c.jpg": encode(galaxy(5))}), pixel_scale=0.4) as source:
        own = HIFractionEstimator(estimator.model, cutouts=source).predict(table[2:])
    assert not own["flags"][0] & resampled


@pytest.mark.parametrize(
    ("scale", "error"), [("0.4", TypeError), (True, TypeError), (0, ValueError), (np.nan, ValueError)]
)
def test_scales_are_positive_numbers(tmp_path, scale, error):
    with pytest.raises(error, match="pixel_scale"):
        LocalCutouts(tmp_path, pixel_scale=scale)


def test_a_scale_does_not_contradict_a_recipe(tmp_path):
    assert LocalCutouts(tmp_path, recipe=SDSS_RECIPE, pixel_scale=0.4).pixel_scale == 0.4
    with pytest.raises(ValueError, match="that of recipe"):
        LocalCutouts(tmp_path, recipe=SDSS_RECIPE, pixel_scale=0.5)


@pytest.mark.real_data
def test_the_genuine_archive(real_data):
    table = Table.read(real_data / "cutouts" / "hi_labels.ecsv")
    with LocalCutouts(real_data / "cutouts" / "sdss_cutouts.zip") as source:
        found = list(source.fetch(table["ra"], table["dec"], table["objid"]))
    assert len(found) == 259
    for cutout in found:
        assert images.decode(cutout.data, width=128).shape == (128, 128, 3)


# What would fill a memory or a disk


def bomb(path, kind):
    """An archive with a picture, and a member a thousand times as large as the archive."""
    zeros = bytes(2**20)
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("good.jpg", encode(galaxy()))
            with archive.open("bomb.jpg", "w", force_zip64=True) as file:
                for _ in range(200):
                    file.write(zeros)
        return
    with tarfile.open(path, f"w:{kind}") as archive:
        for name, data in (("bomb.jpg", 80 * zeros), ("good.jpg", encode(galaxy()))):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("kind", ["zip", "gz", "bz2", "xz"])
def test_a_member_that_unpacks_to_more_than_a_picture_is_an_error_of_its_row(tmp_path, kind):
    path = tmp_path / "pictures"
    bomb(path, kind)
    with LocalCutouts(path) as source:
        found = list(source.fetch([0.0] * 2, [0.0] * 2, ["bomb", "good"]))
        assert isinstance(found[0].error, BadImageError)
        assert "more than the" in str(found[0].error)
        assert found[1].data == encode(galaxy())
        if kind != "zip":
            assert source._open()._file.seek(0, 2) < 2**20


def test_many_members_that_unpack_to_more_than_pictures_do_not_fill_the_disk(tmp_path):
    path = tmp_path / "pictures"
    with tarfile.open(path, "w:gz") as archive:
        for number in range(40):
            info = tarfile.TarInfo(f"{number}.jpg")
            info.size = 2**22
            archive.addfile(info, io.BytesIO(bytes(2**22)))
    with LocalCutouts(path) as source:
        found = list(source.fetch([0.0] * 40, [0.0] * 40, [str(number) for number in range(40)]))
        assert source._open()._file.seek(0, 2) <= 2**26
    assert [type(cutout.error) for cutout in found] == [type(None)] * 16 + [BadImageError] * 24


def test_a_file_larger_than_any_picture_is_an_error_of_its_row(tmp_path):
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(2**30)
    with LocalCutouts(tmp_path) as source:
        (cutout,) = source.fetch([0.0], [0.0], ["large"])
    assert isinstance(cutout.error, BadImageError)


def test_a_link_to_itself_stops_nothing(tmp_path):
    (tmp_path / "good.jpg").write_bytes(encode(galaxy()))
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    with LocalCutouts(tmp_path) as source:
        found = list(source.fetch([0.0] * 2, [0.0] * 2, ["good", "loop"]))
    assert found[0].error is None
    assert isinstance(found[1].error, FetchError)
