"""The commands ``hifrac fetch`` and ``hifrac cache``, and what ``hifrac predict`` shares with them."""

import shutil

import astroquery.sdss
import pytest
from astropy.table import Table
from commands import call
from getjpeg_server import OUTSIDE, Reply
from pictures import encode, galaxy
from stores import change_picture, stored_pictures

from hifrac import conf
from hifrac.core.config import cache_dir
from hifrac.cutouts import SkyServerCutouts
from hifrac.demo import PICTURES, sample_table


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.ecsv"
    Table({"ra": [1.0, 2.0, 200.0], "dec": [0.0] * 3}, units={"ra": "deg", "dec": "deg"}).write(path)
    return path


def test_a_download_and_its_resume(quick_service, rows, tmp_path):
    result = call("fetch", rows, "-o", tmp_path / "report.ecsv")
    assert result.exit_code == 0, result.output
    assert "3 rows, 2 with a picture, 1 not" in result.stdout
    assert "OUT_OF_FOOTPRINT" in result.stdout
    assert Table.read(tmp_path / "report.ecsv")["flags"].tolist() == [0, 0, 2]
    asked = len(quick_service.requests)
    assert call("fetch", rows).exit_code == 0
    assert len(quick_service.requests) == asked
    assert call("fetch", rows, "--retry-permanent").exit_code == 0
    assert len(quick_service.requests) == asked + 1
    # A prediction asks for nothing that was fetched.
    done = call("predict", rows, "-o", tmp_path / "out.ecsv", "--offline", "--survey", "sdss")
    assert done.exit_code == 0, done.output
    assert "3 rows, 2 estimated, 1 not" in done.stdout
    assert len(quick_service.requests) == asked + 1


def test_the_folder_of_the_command_line_comes_before_the_environment(quick_service, rows, tmp_path):
    assert call("fetch", rows, "--cache-dir", tmp_path / "mine").exit_code == 0
    assert stored_pictures(tmp_path / "mine")
    assert not cache_dir().exists()


def test_what_failed_is_named_and_asked_for_again(quick_service, rows):
    quick_service.always = Reply(503, b"busy")
    result = call("fetch", rows)
    assert result.exit_code == 1
    assert "3  FETCH_FAILED" in result.stdout
    assert "first in row 0: the service answered 503" in result.stdout
    quick_service.always = None
    assert "2 with a picture" in call("fetch", rows).stdout


def test_offline_nothing_is_asked(quick_service, rows):
    result = call("fetch", rows, "--offline")
    assert result.exit_code == 1
    assert "3  FETCH_FAILED" in result.stdout
    assert "run it again without --offline" in result.stderr
    assert quick_service.requests == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--survey", "des"], "--survey must be one of sdss, legacy, panstarrs, hips, got 'des'"),
        (["--hips", "CDS/P/SDSS9/color"], "--hips goes with --survey hips"),
        (["--survey", "hips", "--hips", "sdss"], "recipe must have the identifier of a HiPS"),
        (["--width", "16"], "recipe must have a width of 64 to 2048"),
        (["--data-release", "16"], "data_release must be like \"DR16\", got '16'"),
    ],
)
def test_what_a_service_cannot_give_is_refused(rows, options, words):
    result = call("fetch", rows, *options)
    assert result.exit_code == 1
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_model_reads_the_pictures_of_its_own_survey(rows, tmp_path):
    result = call("predict", rows, "-o", tmp_path / "out.ecsv", "--survey", "legacy")
    assert "--survey: the model 'default' reads pictures of sdss, got 'legacy'" in result.stderr


@pytest.mark.parametrize("option", [["--survey", "sdss"], ["--base-url", "http://x"]])
def test_pictures_have_one_source(rows, tmp_path, option):
    result = call("predict", rows, "-o", tmp_path / "out.ecsv", "--cutouts", tmp_path, *option)
    assert result.exit_code == 1
    assert f"--cutouts does not go with {option[0]}" in result.stderr


@pytest.mark.filterwarnings("default:photometry")
def test_photometry_that_cannot_be_had_is_one_short_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(astroquery.sdss.conf, "skyserver_baseurl", "http://127.0.0.1:9")  # nobody answers
    out = tmp_path / "out.ecsv"
    rows = tmp_path / "galaxies.ecsv"
    sample_table()[:2].write(rows)
    arguments = ("predict", rows, "-o", out, "--cutouts", PICTURES, "--name", "name", "--photometry", "sdss")
    with conf.set_temp("retries", 0):
        result = call(*arguments)
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith("Warning: photometry: 2 galaxies go on without that of SDSS: SkyServer gave no")
    assert "SELECT" not in line
    result = call(*arguments, "--offline", "--overwrite")
    assert result.exit_code == 0
    assert result.stderr == "Warning: photometry: offline, and 2 galaxies are not in the local store\n"


def test_the_store_is_shown_checked_mended_and_removed(quick_service, rows):
    assert "cutouts" not in call("cache", "info").stdout
    call("fetch", rows)
    shown = call("cache", "info").stdout
    assert "2 stored, 1 outside" in shown
    assert "2 intact, 0 damaged, 0 left over" in call("cache", "verify").stdout
    key = next(iter(stored_pictures()))
    change_picture(key, b"")
    result = call("cache", "verify")
    assert result.exit_code == 1
    assert "1 intact, 1 damaged" in result.stdout
    assert key in stored_pictures()
    assert call("cache", "verify", "--repair").exit_code == 1
    assert key not in stored_pictures()
    assert call("cache", "verify").exit_code == 0
    call("fetch", rows)
    assert key in stored_pictures()

    beside = cache_dir() / "cutouts" / "notes.txt"
    beside.write_text("mine")
    assert call("cache", "clear", input="n\n").exit_code == 0
    assert key in stored_pictures()
    assert "there is no store 'x'" in call("cache", "clear", "--store", "x").stderr
    assert call("cache", "clear", "--yes").exit_code == 0
    assert not stored_pictures()
    assert beside.read_text() == "mine"


def test_stored_pictures_become_plain_files_that_predict_reads(quick_service, rows, tmp_path):
    call("fetch", rows)
    assert ": 2 pictures" in call("cache", "export", tmp_path / "plain").stdout
    (table,) = (tmp_path / "plain").rglob("positions.ecsv")
    assert {path.read_bytes() for path in table.parent.glob("*.jpg")} == set(stored_pictures().values())
    out = tmp_path / "out.ecsv"
    assert call("predict", table, "--cutouts", table.parent, "--name", "name", "-o", out).exit_code == 0


def test_a_result_whose_folder_is_gone_is_kept_elsewhere(quick_service, rows, tmp_path, monkeypatch):
    home, gone = tmp_path / "home", tmp_path / "gone"
    gone.mkdir()
    monkeypatch.setenv("HOME", str(home))
    picture_at = quick_service.picture_at

    def picture_and_removal(params):
        if gone.exists():
            gone.rmdir()
        return picture_at(params)

    quick_service.picture_at = picture_and_removal
    result = call("predict", rows, "-o", gone / "out.ecsv")
    assert result.exit_code == 1
    assert "no such folder" in result.stderr
    (kept,) = (home / "hifrac-rescued").iterdir()
    assert f"the result is kept in {kept}" in " ".join(result.stderr.split())
    assert len(Table.read(kept)) == len(Table.read(rows))


def test_missing_pictures_are_told_by_the_exit_status(quick_service, rows, tmp_path):
    pictures = dict(quick_service.pictures)
    for command in (["fetch", rows], ["predict", rows, "-o", tmp_path / "a.ecsv"]):
        quick_service.requests.clear()
        quick_service.pictures = lambda params: (
            Reply(404, b"no")
            if params["ra"] == "1.000000"
            else pictures.get((float(params["ra"]), 0.0), OUTSIDE)
        )
        result = call(*command)
        assert result.exit_code == 1
        assert "1 rows lack their picture for the moment: run it again" in result.stderr
        quick_service.pictures = pictures
        assert call(*command, *(["--overwrite"] if "-o" in command else [])).exit_code == 0
        call("cache", "clear", "--yes")


def test_a_store_that_is_removed_under_a_run_ends_it_and_is_said(quick_service, rows):
    picture_at = quick_service.picture_at

    def picture_and_removal(params):
        if params["ra"] == "2.000000":
            shutil.rmtree(cache_dir())
        return picture_at(params)

    call("fetch", rows, "--max-rate", 0)
    quick_service.picture_at = picture_and_removal
    Table({"ra": [2.0], "dec": [0.5]}, units={"ra": "deg", "dec": "deg"}).write(rows, overwrite=True)
    quick_service.pictures = {(2.0, 0.5): encode(galaxy())}
    with SkyServerCutouts()._store() as store:
        for key in range(200):  # every file of the store is there
            store.put(key, b"x")
    result = call("fetch", rows)
    assert result.exit_code == 1
    assert "removed while it was in use" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    "reply", [None, Reply(500, b"no"), Reply(reset=True)], ids=["picture", "500", "reset"]
)
def test_secrets_of_an_address_are_in_no_output_and_no_file(quick_service, rows, tmp_path, reply):
    quick_service.always = reply
    address = quick_service.address.replace("//", "//someone:hunter2@") + "/x?token=letmein"
    done = call("fetch", rows, "--base-url", address, "-o", tmp_path / "report.ecsv")
    out = tmp_path / "out.fits"
    predicted = call("predict", rows, "--base-url", address, "-o", out, "--survey", "sdss")
    assert out.exists()
    assert quick_service.requests[0].params["token"] == "letmein"
    shown = [done.output, done.stderr, predicted.output, predicted.stderr, call("cache", "info").output]
    shown += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    for secret in ("someone", "hunter2", "letmein"):
        assert not [text for text in shown if secret in text]


def test_a_store_that_does_not_say_what_it_holds_is_named(quick_service, rows):
    call("fetch", rows)
    next(cache_dir().rglob("store.json")).write_text("?")
    assert "store.json is damaged" in call("cache", "info").stdout
    assert call("cache", "verify").exit_code == 1
    call("fetch", rows, "--retry-permanent")
    assert call("cache", "verify").exit_code == 0
