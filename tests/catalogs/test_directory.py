"""Data directories made from labels and a service, and read by training and by the experiments."""

import gc
import shutil
import weakref
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from catalog_tables import a100_table, xgass_table
from commands import call
from getjpeg_server import Reply, serve
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encode, galaxy, sky
from stores import stored_pictures

from hifrac.catalogs import durbala2020, labels
from hifrac.catalogs.directory import central_light, copy_catalogs, in_alfalfa, write_directory
from hifrac.core import config
from hifrac.core.exceptions import FetchError
from hifrac.cutouts import SDSS_RECIPE, Cutout, LocalCutouts, SkyServerCutouts

DEC = 5.0
FILES = {float(ra): encode(galaxy(ra)) for ra in range(150, 158)}


def objid(field: int, run: int = 756, camcol: int = 3, obj: int = 77) -> str:
    """An objID built of its bits: version 2, rerun 301."""
    return str(2 << 59 | 301 << 48 | run << 32 | camcol << 29 | field << 16 | obj)


@pytest.fixture
def getjpeg():
    """The service that `quick_service` is about: eight galaxies of ALFALFA's area."""
    with serve({(ra, DEC): data for ra, data in FILES.items()}) as server:
        yield server


@pytest.fixture
def source(quick_service):
    return SkyServerCutouts()


def label_rows(ra, names=None) -> Table:
    """Labels of galaxies at these right ascensions; their field is the right ascension less 100."""
    ra = np.asarray(ra, dtype=float)
    n = len(ra)
    names = [objid(int(one) - 100) for one in ra] if names is None else names
    table = Table({"objid": names, "ra": ra, "dec": np.full(n, DEC)}, units={"ra": "deg", "dec": "deg"})
    for number, name in enumerate(labels.LABEL_COLUMNS):
        if name not in (*table.colnames, "log_mstar_gswlc"):
            table[name] = 0.5 + number + 0.01 * np.arange(n)
    table["log_mstar_gswlc"] = np.ma.masked_array(np.full(n, 9.9), mask=np.arange(n) % 2 == 1)
    return table[["objid", *(one for one in labels.LABEL_COLUMNS if one != "objid")]]


def others(ra) -> Table:
    return label_rows(ra)["objid", "ra", "dec"]


def asked(server) -> list[float]:
    return sorted(float(one.params["ra"]) for one in server.requests)


def read(folder, name) -> Table:
    return Table.read(folder / "cutouts" / name, format="ascii.ecsv")


def pictures(folder) -> dict[str, bytes]:
    with zipfile.ZipFile(folder / "cutouts" / "sdss_cutouts.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_pictures_are_kept_as_they_came_in_the_order_of_their_objid(source, tmp_path):
    report = write_directory(label_rows([153, 151]), source, tmp_path, undetected=others([152]))
    assert list(report["flags"]) == [0, 0, 0]
    assert list(report["reason"]) == ["", "", ""]
    expected = {f"{objid(ra - 100)}.jpg": FILES[float(ra)] for ra in (151, 152, 153)}
    assert list(pictures(tmp_path).items()) == list(expected.items())
    assert {path.name for path in (tmp_path / "cutouts").iterdir()} == {
        "sdss_cutouts.zip",
        "hi_labels.ecsv",
        "index.ecsv",
        "missing.ecsv",
    }
    assert len(read(tmp_path, "missing.ecsv")) == 0


def test_the_labels_are_the_rows_of_the_table_in_its_order(source, tmp_path):
    table = label_rows([153, 151])
    write_directory(table, source, tmp_path)
    written = read(tmp_path, "hi_labels.ecsv")
    assert tuple(written.colnames) == labels.LABEL_COLUMNS
    assert written["ra"].unit == "deg"
    assert written["log_mstar_gswlc"].mask.tolist() == [False, True]
    for name in table.colnames:
        assert written[name].tolist() == table[name].tolist()
    assert written.meta["recipe"] == str(SDSS_RECIPE)


def test_the_index_decodes_run_camcol_and_field(source, tmp_path):
    names = ["1237648722312298550", objid(52, run=0xABCD, camcol=6)]
    write_directory(label_rows([151], names[:1]), source, tmp_path, undetected=label_rows([152], names[1:]))
    index = read(tmp_path, "index.ecsv")
    # The first as the data directory has it: run 756, camcol 1.
    bits = f"{int(names[0]):064b}"
    expected = [int(bits[16:32], 2), int(bits[32:35], 2), int(bits[36:48], 2)]
    assert [index[0][name] for name in ("run", "camcol", "field")] == expected
    assert [index[1][name] for name in ("run", "camcol", "field")] == [0xABCD, 6, 52]
    assert index["alfalfa_detected"].tolist() == [True, False]
    assert index["alfalfa_footprint"].tolist() == [True, True]
    assert index["ra_approx"].tolist() == [151.0, 152.0]
    light = [central_light(SDSS_RECIPE.decode(FILES[ra])) for ra in (151.0, 152.0)]
    assert index["flux_16px"].tolist() == light


def test_the_same_pictures_make_the_same_archive(source, tmp_path):
    for folder, ra in (("one", [151, 152, 153]), ("two", [153, 152, 151])):
        write_directory(label_rows(ra), source, tmp_path / folder)
    one, two = (tmp_path / folder / "cutouts" / "sdss_cutouts.zip" for folder in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_every_row_that_is_not_in_the_directory_says_why(source, tmp_path):
    names = [objid(1), objid(2), "no number", objid(1), objid(5), objid(6)]
    table = label_rows([151, 200, 152, 153, 154, 155], names)
    table["ra"][4] = np.nan
    table["log_hi_fraction_true"][5] = np.nan
    undetected = label_rows([156, 157], [objid(6), objid(7)])
    report = write_directory(table, source, tmp_path, undetected=undetected)
    assert report["flags"].tolist() == [0, 2, 4, 0, 1, 0, 0, 0]
    reasons = [*report["reason"]]
    assert [not one for one in reasons] == [True, *[False] * 6, True]
    assert "objid is no SDSS photometric objID: 'no number'" in reasons[2]
    assert reasons[3] == reasons[6] == "an earlier row has the same objid"
    assert reasons[5] == "log_hi_fraction_true is not known"
    assert read(tmp_path, "hi_labels.ecsv")["objid"].tolist() == [objid(1)]
    assert read(tmp_path, "index.ecsv")["objid"].tolist() == [objid(1), objid(7)]
    missing = read(tmp_path, "missing.ecsv")
    assert missing["objid"].tolist() == [*names[1:], objid(6)]
    assert missing["reason"].tolist() == reasons[1:7]
    assert missing["alfalfa_detected"].tolist() == [True] * 5 + [False]


def test_what_failed_is_asked_for_again_and_nothing_else(source, quick_service, tmp_path):
    table = label_rows(range(150, 156))
    quick_service.always = Reply(503, b"busy")
    heard = []
    report = write_directory(table, source, tmp_path, progress=heard.append)
    assert set(report["flags"]) == {4}
    assert all("503" in one for one in report["reason"])
    assert [type(error) for error in heard] == [FetchError] * 6
    assert len(read(tmp_path, "index.ecsv")) == 0
    quick_service.always = None
    write_directory(table[:4], source, tmp_path)
    quick_service.requests.clear()
    report = write_directory(table, source, tmp_path)
    assert set(report["flags"]) == {0}
    assert asked(quick_service) == [154.0, 155.0]
    assert len(pictures(tmp_path)) == 6


def test_an_interrupted_run_goes_on_where_it_was(source, quick_service, tmp_path):
    table = label_rows(range(150, 158))
    seen = []

    def interrupt(error):
        seen.append(error)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_directory(table, source, tmp_path, progress=interrupt)
    assert list((tmp_path / "cutouts").iterdir()) == []
    done = stored_pictures()
    assert len(done) >= 3
    quick_service.requests.clear()
    assert set(write_directory(table, source, tmp_path)["flags"]) == {0}
    assert len(asked(quick_service)) == 8 - len(done)
    assert len(pictures(tmp_path)) == 8


def test_pictures_of_the_directory_are_not_asked_for_when_the_store_is_gone(source, quick_service, tmp_path):
    write_directory(label_rows([151, 152]), source, tmp_path)
    before = pictures(tmp_path)
    shutil.rmtree(config.cache_dir())
    quick_service.requests.clear()
    write_directory(label_rows([151, 152, 153]), source, tmp_path, undetected=others([154]))
    assert asked(quick_service) == [153.0, 154.0]
    after = pictures(tmp_path)
    assert len(after) == 4
    assert before.items() <= after.items()


def test_a_directory_of_something_else_is_left_alone(source, tmp_path):
    write_directory(label_rows([151, 152]), source, tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "cutouts").iterdir()}
    with pytest.raises(FileExistsError, match="2 pictures of other galaxies"):
        write_directory(label_rows([153]), source, tmp_path)
    other = SkyServerCutouts(replace(SDSS_RECIPE, data_release="DR17"))
    with pytest.raises(FileExistsError, match="another recipe or origin"):
        write_directory(label_rows([151, 152]), other, tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "cutouts").iterdir()} == before
    write_directory(label_rows([153]), source, tmp_path, overwrite=True)
    assert list(pictures(tmp_path).values()) == [FILES[153.0]]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("sdss_cutouts.zip", b"no archive", "cannot be read"),
        ("hi_labels.ecsv", b"objid\n1\n", "without its pictures"),
    ],
)
def test_files_of_others_are_left_alone(source, tmp_path, name, content, words):
    (tmp_path / "cutouts").mkdir()
    (tmp_path / "cutouts" / name).write_bytes(content)
    with pytest.raises(FileExistsError, match=words):
        write_directory(label_rows([151]), source, tmp_path)
    assert (tmp_path / "cutouts" / name).read_bytes() == content


def test_local_pictures_serve_as_well_and_only_jpeg_files_are_taken(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / f"{objid(51)}.jpg").write_bytes(FILES[151.0])
    (kept / f"{objid(52)}.png").write_bytes(encode(galaxy(2), "PNG"))
    (kept / f"{objid(53)}.jpg").write_bytes(encode(galaxy(2, width=64)))
    (kept / f"{objid(54)}.jpg").write_bytes(FILES[151.0][:900])
    report = write_directory(label_rows([151, 152, 153, 154, 155]), LocalCutouts(kept), tmp_path / "made")
    assert report["flags"].tolist() == [0, 8, 8, 8, 4]
    assert report["reason"][1] == "not a JPEG picture"
    assert "128 pixels or more" in report["reason"][2]
    assert len(pictures(tmp_path / "made")) == 1


class Stream:
    """Pictures made one at a time; remembers which of them are still held."""

    recipe, name_column = SDSS_RECIPE, None

    def __init__(self):
        self.given, self.most = [], 0

    def describe(self):
        return "a stream"

    def fetch(self, ra, dec, names=None):
        for one in ra:
            gc.collect(0)
            self.most = max(self.most, sum(ref() is not None for ref in self.given))
            cutout = Cutout(FILES[float(one)], pixels=SDSS_RECIPE.decode(FILES[float(one)]))
            self.given.append(weakref.ref(cutout))
            yield cutout
            del cutout


def test_pictures_pass_through_and_are_not_held(tmp_path):
    stream = Stream()
    write_directory(label_rows(range(150, 158)), stream, tmp_path)
    assert len(stream.given) == 8
    assert stream.most <= 2


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda table: table.remove_column("log_hi_fraction_true"), ValueError, "table has no column log_hi"),
        (lambda table: table.replace_column("objid", [1.2e18]), TypeError, "objid of table must be integers"),
    ],
)
def test_bad_tables_are_refused(source, tmp_path, change, error, words):
    table = label_rows([151])
    change(table)
    with pytest.raises(error, match=words):
        write_directory(table, source, tmp_path)
    assert not (tmp_path / "cutouts").exists()


def test_undetected_galaxies_need_names_and_pictures_need_a_background(source, tmp_path):
    with pytest.raises(ValueError, match="undetected has no column objid"):
        write_directory(label_rows([151]), source, tmp_path, undetected=others([152])["ra", "dec"])
    small = SkyServerCutouts(replace(SDSS_RECIPE, width=64))
    with pytest.raises(ValueError, match="source must give pictures of 128 pixels or more"):
        write_directory(label_rows([151]), small, tmp_path)


def test_integers_and_masked_names(source, tmp_path):
    table = label_rows([151, 152])
    table["objid"] = np.ma.masked_array([int(objid(51)), 0], mask=[False, True])
    report = write_directory(table, source, tmp_path)
    assert report["flags"].tolist() == [0, 4]
    assert read(tmp_path, "hi_labels.ecsv")["objid"].tolist() == [objid(51)]


@settings(max_examples=12)
@given(seed=st.integers(0, 10_000), width=st.integers(128, 160))
def test_the_central_light_is_that_of_a_pixel_by_pixel_sum(seed, width):
    pixels = galaxy(seed, width)
    inner, outer = [], []
    for y in range(width):
        for x in range(width):
            squared = (y - (width - 1) / 2) ** 2 + (x - (width - 1) / 2) ** 2
            if squared <= 256:
                inner.append(int(pixels[y, x, 0]))
            elif squared > 2500:
                outer.append(int(pixels[y, x, 0]))
    assert central_light(pixels) == pytest.approx(sum(inner) / len(inner) - np.median(outer), abs=1e-9)


def test_empty_sky_has_no_central_light_and_a_small_picture_is_refused():
    assert abs(central_light(sky(1, level=40.0))) < 1
    with pytest.raises(ValueError, match="pixels must be a picture of 128 pixels or more"):
        central_light(galaxy(1, 127))


def test_the_area_of_alfalfa():
    ra = [112.0, 113.0, 247.0, 248.0, 329.0, 331.0, 0.0, -10.0, 44.0, 46.0, 180.0, 180.0, np.nan]
    dec = [10.0] * 10 + [-0.1, 36.1, 10.0]
    expected = [False, True, True, False, False, True, True, True, True, False, False, False, False]
    assert in_alfalfa(ra, dec).tolist() == expected


def test_training_reads_such_a_directory(source, tmp_path):
    from hifrac.training.structure.sample import read_sample

    write_directory(label_rows([150, 151, 152]), source, tmp_path, undetected=others([153, 154]))
    sample = read_sample(tmp_path)
    galaxies = sample.table
    assert list(galaxies["objid"]) == [objid(ra - 100) for ra in range(150, 155)]
    assert list(galaxies["detected"]) == [True] * 3 + [False] * 2
    assert np.isfinite(galaxies["ebv"]).all()
    np.testing.assert_array_equal(sample.pixels[4], SDSS_RECIPE.decode(FILES[154.0]))
    assert np.isnan(galaxies["log_mstar_gswlc"]).tolist() == [False, True, False, True, True]


# The catalogues: two galaxies of alpha.40, as the services answer.


@pytest.fixture
def kept(monkeypatch) -> Path:
    """Catalogues that were fetched and kept in the cache; there is no data directory."""
    monkeypatch.delenv("HIFRAC_DATA_DIR", raising=False)
    hi = {"AGCNr": [11, 12, 13], "RAdeg_HI": [151.0, 152.0, 153.0], "Decdeg_HI": [DEC] * 3}
    hi |= {"RAdeg_OC": hi["RAdeg_HI"], "DECdeg_OC": hi["Decdeg_HI"], "Vhelio": [6007, 10409, 7000]}
    hi |= {"W50": [260, 315, 100], "Dist": [85.2, 143.8, 90.0], "logMsun": [9.29, 10.11, 9.5]}
    hi |= {"HIcode": [1, 1, 1], "OCcode": ["I", "I", "I"]}
    cross = {
        "AGCNr": [11, 12, 13],
        "PhotoObjID": [587730775499407375, 587740589481525478, 587740589481525479],
    }
    # The third galaxy has no counterpart there.
    first = {"AGC": [13, 12, 11], "Flag": [3, 1, 1], "RAdeg": [153.0, 152.0, 151.0], "DEdeg": [DEC] * 3}
    first |= {"ObjID": [0, int(objid(52)), int(objid(51))], "RVel": [7000, 10409, 6007]}
    first |= {"Dist": [90.0, 143.8, 85.2], "b/a": [0.5, 0.6, 0.7], "imag": [15.0, 14.0, 13.0]}
    second = {"AGC": [11, 12, 13], "logMsT": [9.0, 10.0, 9.0], "logMsM": [9.0] * 3}
    second |= {"logMsG": np.ma.masked_array([9.1, 0.0, 9.1], mask=[False, True, False])}
    second |= {"logMHI": [9.3, 10.2, 9.5], "g-i": [0.5, 0.9, 0.7], "iMAG": [-20.0, -21.0, -20.0]}
    folder = config.cache_dir() / "catalogs"
    folder.mkdir(parents=True)
    for name, table in (
        ("alfalfa_a40_vizier_1", hi),
        ("alfalfa_a40_vizier_2", cross),
        ("durbala2020_vizier_1", first),
        ("durbala2020_vizier_2", second),
        ("xgass_vizier", xgass_table()),
    ):
        Table(table).write(folder / f"{name}.fits")
    return folder


def test_labels_are_joined_by_agc_number_whatever_the_order(kept):
    table = labels.label_table(Table({"agc": [12, 99, 11]}), durbala2020())
    assert tuple(table.colnames) == labels.LABEL_COLUMNS
    assert table["objid"].tolist() == [objid(52), None, objid(51)]
    assert table["agc"].tolist() == [12, 99, 11]
    assert table["ra"].tolist() == [152.0, None, 151.0]
    assert table["log_mstar_gswlc"].tolist() == [None, None, 9.1]
    np.testing.assert_allclose(table["log_hi_fraction_true"].filled(-9), [0.2, -9, 0.3])
    assert table["i_cmodel"].unit == "mag"
    with pytest.raises(KeyError, match="galaxies has no column agc"):
        labels.label_table(Table({"objid": ["1"]}), durbala2020())


def test_samples_have_the_names_of_the_command_line(kept):
    assert labels.sample_labels("a40").meta["sample"] == "alpha.40A"
    with pytest.raises(ValueError, match="name must be one of a40, a100, got 'a70'"):
        labels.sample_labels("a70")


complete = partial(call, "catalogs", "cutouts")


def test_one_command_makes_a_directory_that_the_experiments_read(kept, quick_service, tmp_path):
    from hifrac.reproduce._experiment import Experiment, Setting

    full, table = tmp_path / "full", tmp_path / "undetected.ecsv"
    others([154, 200]).write(table)
    result = complete("a40", "-o", full, "--undetected", table)
    assert result.exit_code == 0, result.output
    assert "5 rows, 3 with a picture, 2 not" in result.stdout
    assert "5 files of catalogues copied" in result.stdout
    assert "no model can be trained" not in result.stdout
    assert read(full, "hi_labels.ecsv")["agc"].tolist() == [11, 12]
    assert read(full, "hi_labels.ecsv").meta["sample"] == "alpha.40A"
    assert read(full, "missing.ecsv")["flags"].tolist() == [4, 2]
    inputs = ("alfalfa_a40", "durbala2020", "xgass", "cutouts/hi_labels.ecsv", "cutouts/sdss_cutouts.zip")
    experiment = Experiment("x", "x", "sample", compute=lambda _: Table(), inputs=(*inputs, "nibles"))
    files, missing = experiment.files(Setting(full, tmp_path))
    assert {path.parent.parent for path in files} == {full}
    assert len(files) == 7
    assert len(missing) == 1
    assert "hifrac catalogs fetch nibles" in missing[0]


def test_a_trial_goes_on_to_the_whole_sample_and_offline_nothing_is_asked(kept, quick_service, tmp_path):
    options = ("--limit", "1", "--base-url", quick_service.url, "--max-rate", "0")
    result = complete("a40", "-o", tmp_path / "full", *options)
    assert result.exit_code == 0, result.output
    assert "1 rows, 1 with a picture" in result.stdout
    assert "without --undetected" in result.stdout
    result = complete("a40", "-o", tmp_path / "full", "--offline")
    assert "3 rows, 1 with a picture, 2 not" in result.stdout
    assert len(quick_service.requests) == 1
    assert "3 rows, 2 with a picture" in complete("a40", "-o", tmp_path / "full").stdout
    assert asked(quick_service) == [151.0, 152.0]
    nothing = complete("a40", "-o", tmp_path / "new", "--offline", "--cache-dir", tmp_path / "empty")
    assert nothing.exit_code == 1
    assert "hifrac catalogs fetch" in nothing.stderr


def test_the_papers_undetected_galaxies_come_from_mpa_jhu(kept, quick_service, tmp_path):
    # Beside an HI source, outside the box of declinations, too little mass; the last one stays.
    ra, dec = [159.12541, 155.0, 156.0, 157.0], [2.38611, 40.0, DEC, DEC]
    mpa = {
        "specobjid": [1, 2, 3, 4],
        "objid": [int(objid(n)) for n in (61, 62, 63, 64)],
        "ra": ra,
        "dec": dec,
    }
    mpa |= {"dr7objid": [1, 2, 3, 4], "z": [0.03] * 4, "z_warning": [0] * 4}
    mpa |= {"lgm_tot_p50": [9.0, 9.0, 7.0, 9.0], "sfr_tot_p50": [0.1] * 4, "oh_p50": [8.7] * 4}
    Table(mpa).write(kept / "mpa_jhu_sdss.fits")
    a100_table().write(kept / "alfalfa_a100_vizier.fits")
    result = complete("a40", "-o", tmp_path / "full", "--undetected", "mpa_jhu")
    assert result.exit_code == 0, result.output
    index = read(tmp_path / "full", "index.ecsv")
    assert index["objid"].tolist() == [objid(51), objid(52), objid(64)]
    assert index["alfalfa_detected"].tolist() == [True, True, False]
    assert (tmp_path / "full" / "catalogs" / "mpa_jhu_sdss.fits").exists()


def test_catalogues_that_are_there_stay(kept, tmp_path):
    (tmp_path / "catalogs").mkdir()
    (tmp_path / "catalogs" / "xgass_vizier.fits").write_bytes(b"mine")
    (kept / "sdss_dr7_volume_limited.fits").write_bytes(b"positions")
    (kept / "nsa_v1_0_1.fits").write_bytes(b"too large")
    copied = copy_catalogs(tmp_path)
    assert [path.name for path in copied] == [
        "sdss_dr7_volume_limited.fits",
        "alfalfa_a40_vizier_1.fits",
        "alfalfa_a40_vizier_2.fits",
        "durbala2020_vizier_1.fits",
        "durbala2020_vizier_2.fits",
    ]
    assert all(path.read_bytes() == (kept / path.name).read_bytes() for path in copied)
    assert (tmp_path / "catalogs" / "xgass_vizier.fits").read_bytes() == b"mine"
    assert copy_catalogs(tmp_path) == []


# The real data.


@pytest.mark.real_data
def test_the_labels_are_those_of_the_data_directory(real_data):
    published = Table.read(real_data / "cutouts" / "hi_labels.ecsv")
    durbala = durbala2020()
    mine = labels.label_table(durbala, durbala)
    assert mine.colnames == published.colnames
    row = {name: number for number, name in enumerate(mine["objid"].filled(""))}
    mine = mine[[row[name] for name in published["objid"]]]
    for name in published.colnames:
        assert mine[name].unit == published[name].unit
        assert mine[name].tolist() == published[name].tolist()
    assert len(published) == 259


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize(("name", "n"), [("a40", 10983), ("a100", 9684)])
def test_the_samples_have_labels_throughout(real_data, name, n):
    table = labels.sample_labels(name)
    assert len(table) == n
    for column in (one for one in table.colnames if one != "log_mstar_gswlc"):
        assert not np.ma.getmaskarray(np.ma.asarray(table[column])).any()
    assert len(set(table["objid"])) == n - 1


@pytest.mark.real_data
def test_the_index_of_real_pictures_is_that_of_the_data_directory(real_data, tmp_path):
    published = Table.read(real_data / "cutouts" / "index.ecsv")
    known = Table.read(real_data / "cutouts" / "hi_labels.ecsv")
    rng = np.random.default_rng(7)
    some = published[rng.choice(np.flatnonzero(~published["alfalfa_detected"]), 300, replace=False)]
    undetected = Table({"objid": some["objid"], "ra": np.full(300, 180.0), "dec": np.full(300, 5.0)})
    for name in ("ra", "dec"):
        undetected[name].unit = "deg"
    with LocalCutouts(real_data / "cutouts" / "sdss_cutouts.zip") as source:
        report = write_directory(known, source, tmp_path, undetected=undetected)
        assert not report["flags"].any()
        original = dict(
            zip(known["objid"], source.fetch(known["ra"], known["dec"], known["objid"]), strict=True)
        )
    kept = pictures(tmp_path)
    assert all(kept[f"{name}.jpg"] == cutout.data for name, cutout in original.items())
    row = {name: number for number, name in enumerate(published["objid"])}
    index = read(tmp_path, "index.ecsv")
    published = published[[row[name] for name in index["objid"]]]
    for name in ("run", "camcol", "field", "alfalfa_detected"):
        assert index[name].tolist() == published[name].tolist()
    np.testing.assert_allclose(index["flux_16px"], published["flux_16px"], rtol=0, atol=1e-9)
