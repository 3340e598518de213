"""Spectra from an archive that runs here: what is asked, kept, flagged; failures; real files."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table
from astroquery import sdss  # here: its logger takes over the warnings that are caught when it is imported
from commands import call
from spec_files import LOGLAM, spec_file
from survey_services import answering, failing_first, impatience

from hifrac import conf
from hifrac.core.exceptions import HifracWarning
from hifrac.cutouts._turns import turns_of
from hifrac.spectra import SpectrumFlag, fetch_spectra, normalise, read_sdss_spectrum, rest_wavelength

FILE = re.compile(r"/dr17/sdss/spectro/redux/(.+)/spectra(?:/full)?/(\d{4,5})/spec-\2-(\d{5})-(\d{4})\.fits")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with impatience():
        yield


def archive(files):
    """Answers of the archive with some files, by reduction, plate, MJD and fiber."""

    def answers(path, params):
        match = FILE.fullmatch(path)
        assert match is not None, path
        reduction, *name = match.groups()
        body = files.get((reduction, *map(int, name)))
        return (404, b"<html>Not Found</html>") if body is None else (200, body)

    return answers


class _Asking:
    """`fetch_spectra` of a table, from an archive."""

    def __init__(self, service, folder):
        self.service, self.folder = service, folder

    def __call__(self, table, **options):
        with sdss.conf.set_temp("sas_baseurl", self.service.url):
            return fetch_spectra(table, self.folder, **options)


@pytest.fixture
def asking(tmp_path):
    """An archive with ten galaxies of plate 266, and what fetches from it."""
    files = {("26", 266, 51630, fiber): spec_file(FIBERID=fiber, n_exposures=2) for fiber in range(1, 11)}
    with answering(archive(files)) as service:
        yield _Asking(service, tmp_path / "spectra")


def names(*fibers, plate=266, mjd=51630):
    return Table({"plate": [plate] * len(fibers), "mjd": [mjd] * len(fibers), "fiberid": list(fibers)})


def flags_of(result):
    return [SpectrumFlag.decode(int(value)) for value in result["spectrum_flags"]]


def test_rows_get_what_their_files_say(asking):
    table = names(3, 1, 3)
    table["objid"] = ["a", "b", "c"]
    result = asking(table)
    assert isinstance(result, QTable)
    assert result["objid"].tolist() == ["a", "b", "c"]
    assert flags_of(result) == [[], [], []]
    assert result["flux"].shape == (3, 1000)
    for row, fiber in ((0, 3), (1, 1), (2, 3)):
        expected = normalise(*read_sdss_spectrum(spec_file(FIBERID=fiber)).to_rest_frame())
        np.testing.assert_allclose(result["flux"][row], expected[0], rtol=1e-6)
        np.testing.assert_allclose(result["ivar"][row], expected[1], rtol=1e-6)
        np.testing.assert_allclose(result["flux_norm"][row].value, expected[2], rtol=1e-6)
    assert result["spectrum_redshift"].tolist() == [0.1] * 3
    assert result["spectrum_class"].tolist() == ["GALAXY"] * 3
    assert len(asking.service.asked) == 2


def test_what_is_there_is_not_asked_for_again_and_works_offline(asking):
    first = asking(names(1, 2))
    assert len(asking.service.asked) == 2
    again = asking(names(1, 2, 3))
    assert len(asking.service.asked) == 3
    np.testing.assert_array_equal(again["flux"][:2], first["flux"])
    with pytest.warns(HifracWarning, match=r"^1 of 4 rows have no spectrum, the first is row 3: .*offline"):
        offline = asking(names(1, 2, 3, 4), offline=True)
    assert flags_of(offline) == [[], [], [], ["FETCH_FAILED"]]
    assert np.isnan(offline["flux"][3]).all()
    assert not offline["ivar"][3].any()
    assert len(asking.service.asked) == 3


def test_what_is_kept_is_a_file_of_the_archive_without_the_single_exposures(asking):
    asking(names(1))
    (path,) = (path for path in asking.folder.rglob("*") if path.is_file())
    assert path == asking.folder / "0266" / "spec-0266-51630-0001.fits"
    with fits.open(path) as hdus:
        assert len(hdus) == 3
    assert spec_file(FIBERID=1, n_exposures=2).startswith(path.read_bytes())


def test_a_file_that_was_cut_off_on_the_disk_is_asked_for_again(asking):
    first = asking(names(1))
    path = asking.folder / "0266" / "spec-0266-51630-0001.fits"
    whole = path.read_bytes()
    path.write_bytes(whole[:5000])
    with pytest.warns(HifracWarning, match="BAD_FILE"):
        assert flags_of(asking(names(1), offline=True)) == [["BAD_FILE"]]
    np.testing.assert_array_equal(asking(names(1))["flux"], first["flux"])
    assert path.read_bytes() == whole
    assert len(asking.service.asked) == 2


def test_names_that_are_none_are_flagged_and_not_asked_for(asking):
    table = Table(
        {
            "Plate": MaskedColumn([266, 266, 0, -266, 266], mask=[1, 0, 0, 0, 0]),
            "MJD": [51630.0, np.nan, 51630, 51630, 51630],
            "fiberID": ["1", "1", "1", "1", "2.5"],
        }
    )
    with pytest.warns(HifracWarning, match="5 BAD_NAME"):
        result = asking(table)
    assert flags_of(result) == [["BAD_NAME"]] * 5
    assert asking.service.asked == []


def test_the_reduction_is_that_of_the_plate_or_of_the_column(tmp_path):
    files = {
        ("103", 1960, 53289, 1): spec_file(PLATE=1960, MJD=53289, FIBERID=1),
        ("v5_13_2", 10000, 57346, 1): spec_file(PLATE=10000, MJD=57346, FIBERID=1),
        ("v5_7_0", 10000, 57346, 2): spec_file(PLATE=10000, MJD=57346, FIBERID=2),
    }
    table = Table({"plate": [1960, 10000, 10000], "mjd": [53289, 57346, 57346], "fiber": [1, 1, 2]})
    table["run2d"] = MaskedColumn(["", "", "v5_7_0"], mask=[0, 1, 0])
    with answering(archive(files)) as service:
        assert flags_of(_Asking(service, tmp_path)(table)) == [[], [], []]
        asked = sorted(FILE.fullmatch(path)[1] for path, _ in service.asked)
    assert asked == ["103", "26", "v5_13_2", "v5_7_0"]
    assert (tmp_path / "10000" / "spec-10000-57346-0001.fits").is_file()


def test_what_the_archive_lacks_stops_no_other(asking):
    with pytest.warns(HifracWarning, match=r"^1 of 3 rows .* row 1: the service answered 404"):
        result = asking(names(1, 11, 2))
    assert flags_of(result) == [[], ["NOT_FOUND"], []]
    assert len(asking.service.asked) == 2 + 3  # of each reduction of such plates


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>busy</html>", spec_file(FIBERID=1)[:9000], spec_file(FIBERID=2)],
    ids=["nothing", "a page", "a half", "another"],
)
def test_what_is_no_file_of_the_spectrum_is_flagged_and_not_kept(tmp_path, body):
    files = {("26", 266, 51630, 1): body, ("26", 266, 51630, 3): spec_file(FIBERID=3)}
    with answering(archive(files)) as service:
        with pytest.warns(HifracWarning, match="1 BAD_FILE"):
            result = _Asking(service, tmp_path)(names(1, 3))
        assert len(service.asked) == 3 + 1  # twice more, as it may pass
    assert flags_of(result) == [["BAD_FILE"], []]
    assert [path.name for path in tmp_path.rglob("*.fits")] == ["spec-0266-51630-0003.fits"]


def test_a_run_that_failed_midway_is_finished_by_another(tmp_path):
    files = {("26", 266, 51630, fiber): spec_file(FIBERID=fiber) for fiber in range(1, 9)}
    good, done, is_down = archive(files), [], True

    def answers(path, params):
        if is_down and FILE.fullmatch(path)[4] > "0003":
            return 500, b"down"
        return good(path, params)

    with answering(answers) as service:
        with pytest.warns(HifracWarning, match="5 FETCH_FAILED"):
            _Asking(service, tmp_path)(names(*range(1, 9)), progress=done.append)
        assert done == [1] * 8
        is_down = False
        service.asked.clear()
        assert flags_of(_Asking(service, tmp_path)(names(*range(1, 9)))) == [[]] * 8
        assert sorted(FILE.fullmatch(path)[4] for path, _ in service.asked) == [
            f"{k:04d}" for k in range(4, 9)
        ]
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name]


def test_a_folder_that_cannot_be_written_to_is_said_at_once(asking):
    asking.folder.mkdir()
    (asking.folder / "0266").write_bytes(b"a file")
    with pytest.raises(OSError, match="0266"):
        asking(names(1))


def test_a_service_that_is_busy_is_asked_again(tmp_path):
    with answering(failing_first(archive({("26", 266, 51630, 1): spec_file(FIBERID=1)}))) as service:
        assert flags_of(_Asking(service, tmp_path)(names(1))) == [[]]
        assert len(service.asked) == 2


def test_a_service_that_fails_is_told_of_in_each_row(tmp_path):
    with (
        answering(lambda path, params: (500, b"down")) as service,
        pytest.warns(HifracWarning, match="3 FETCH_FAILED"),
    ):
        result = _Asking(service, tmp_path)(names(1, 2, 3))
    assert flags_of(result) == [["FETCH_FAILED"]] * 3
    assert all("500" in reason for reason in result["spectrum_reason"])


def test_the_rate_is_kept(asking):
    with conf.set_temp("max_rate", 20.0):
        turns_of(asking.service.url.removeprefix("http://")).reserve(20.0)
        began = time.monotonic()
        asking(names(*range(1, 9)))
    assert time.monotonic() - began >= 7 / 20


NOTHING = np.zeros(LOGLAM.size)
FEW = np.where(LOGLAM < 3.7, 1.0, 0.0)


@pytest.mark.parametrize(
    ("changes", "flags", "reason"),
    [
        ({"CLASS": "STAR  ", "Z": 0.0001}, ["NOT_GALAXY"], "takes it for a STAR"),
        ({"CLASS": "QSO   "}, ["NOT_GALAXY"], "takes it for a QSO"),
        ({"ZWARNING": 4}, ["BAD_REDSHIFT"], "ZWARNING 4"),
        ({"Z": 3.5}, ["OFF_GRID"], "at z = 3.5 .* none of them on the grid"),
        ({"Z": np.nan}, ["OFF_GRID", "BAD_REDSHIFT"], "redshift nan"),
        ({"CLASS": "QSO   ", "Z": 3.5, "ZWARNING": 1}, ["OFF_GRID", "BAD_REDSHIFT", "NOT_GALAXY"], "QSO; .*"),
        ({"ivar": NOTHING}, ["NO_PIXELS"], "no inverse variance"),
        ({"mask": np.full(LOGLAM.size, 1 << 24)}, ["NO_PIXELS"], "no inverse variance"),
        ({"flux": NOTHING}, ["NO_PIXELS"], "0 everywhere"),
        ({"flux": np.full(LOGLAM.size, np.nan)}, ["NO_PIXELS"], "NaN"),
        ({"loglam": LOGLAM[::-1]}, ["BAD_FILE"], "increase from pixel to pixel"),
        ({"ivar": FEW}, ["GAPS"], r"\d+ of 1000 pixels"),
    ],
)
@pytest.mark.filterwarnings("ignore:.* rows have no spectrum")
def test_what_is_not_to_be_learned_from_is_flagged_with_its_reason(tmp_path, changes, flags, reason):
    files = {("26", 266, 51630, 7): spec_file(**changes), ("26", 266, 51630, 8): spec_file(FIBERID=8)}
    with answering(archive(files)) as service:
        result = _Asking(service, tmp_path)(names(7, 8))
    assert sorted(flags_of(result)[0]) == sorted(flags)
    assert re.search(reason, result["spectrum_reason"][0])
    assert flags_of(result)[1] == []
    has_none = {"BAD_FILE", "OFF_GRID", "NO_PIXELS"} & set(flags)
    assert np.isfinite(result["flux"][0]).any() == (not has_none)
    assert np.array_equal(result["ivar"][0] > 0, np.isfinite(result["flux"][0]))


def test_gaps_are_nan_and_have_no_weight(tmp_path):
    ivar, bits = np.ones(LOGLAM.size), np.zeros(LOGLAM.size, dtype=int)
    at = 10**LOGLAM / 1.1
    ivar[(at > 5000) & (at < 5100)] = 0
    bits[(at > 6000) & (at < 6100)] = 1 << 23
    with answering(archive({("26", 266, 51630, 7): spec_file(ivar=ivar, mask=bits)})) as service:
        result = _Asking(service, tmp_path)(names(7))
    is_gap = np.isnan(result["flux"][0])
    wavelength = rest_wavelength().value
    for low, high in ((5000, 5100), (6000, 6100)):
        assert is_gap[(wavelength > low + 3) & (wavelength < high - 3)].all()
    assert not is_gap[(wavelength > 5103) & (wavelength < 5997)].any()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (Table({"plate": [1], "mjd": [2]}), "^table has no column fiberid or fiber, .* plate, mjd$"),
        (Table(), r"^table has no column plate, .* \(none\)$"),
        (Table({"plate": [1], "mjd": [2], "fiber": [3], "flux": [4]}), "^table has a column 'flux' already"),
    ],
)
def test_tables_that_are_refused(tmp_path, table, message):
    with pytest.raises(ValueError, match=message):
        fetch_spectra(table, tmp_path)


def test_a_table_without_rows(tmp_path):
    result = fetch_spectra(names(), tmp_path)
    assert len(result) == 0
    assert result["flux"].shape == (0, 1000)


def run(service, table, folder, *options):
    path = folder.parent / "galaxies.ecsv"
    table.write(path, overwrite=True)
    address = ["--base-url", service.url, "--max-rate", "0"]
    return call("spectra", "fetch", path, "-o", folder, *address, *options)


def test_the_command_line_writes_one_table_that_a_training_reads(asking):
    result = run(asking.service, names(1, 2, 11), asking.folder)
    assert result.exit_code == 0, result.output
    assert "3 rows, 2 with the spectrum of a galaxy and no flag" in result.output
    assert "1  NOT_FOUND: the archive has no such spectrum" in result.output
    table = Table.read(asking.folder / "spectra.fits")
    assert table["flux"].shape == (3, 1000)
    assert table["flux"].dtype.itemsize == 4
    assert table["spectrum_flags"].tolist() == [0, 0, int(SpectrumFlag.NOT_FOUND)]
    assert "404" in table["spectrum_reason"][2]
    assert np.isfinite(table["flux"][:2]).any(axis=1).all()
    asked = len(asking.service.asked)
    again = run(asking.service, names(1, 2), asking.folder)
    assert (again.exit_code, len(asking.service.asked)) == (0, asked)
    offline = run(asking.service, names(1, 5), asking.folder, "--offline")
    assert offline.exit_code == 1
    assert "1 spectra are missing for the moment: run it again without --offline" in offline.output
    assert len(asking.service.asked) == asked


# A script started in the background may ignore SIGINT, and then so do its children.
CLIENT = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from hifrac.cli import main; main(sys.argv[1:], prog_name='hifrac')"
)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_run_that_is_interrupted_keeps_what_it_has(tmp_path):
    fibers = range(1, 81)
    good = archive({("26", 266, 51630, fiber): spec_file(FIBERID=fiber) for fiber in fibers})

    def slowly(path, params):
        time.sleep(0.1)
        return good(path, params)

    folder, table = tmp_path / "spectra", tmp_path / "galaxies.ecsv"
    names(*fibers).write(table)
    with answering(slowly) as service:
        options = ["-o", str(folder), "--base-url", service.url, "--max-rate", "0"]
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT, "spectra", "fetch", str(table), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 60
        while len(list(folder.rglob("spec-*.fits"))) < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
        client.send_signal(signal.SIGINT)
        _, said = client.communicate(timeout=30)
        assert client.returncode == 130, said
        assert "interrupted; the spectra fetched so far are kept: run it again to go on" in said
        assert not [path for path in folder.rglob("*") if "partial" in path.name]
        assert not (folder / "spectra.fits").exists()
        kept = len(list(folder.rglob("spec-*.fits")))
        assert 4 <= kept < 80
        service.answers = good
        service.asked.clear()
        assert flags_of(_Asking(service, folder)(names(*fibers))) == [[]] * 80
        assert len(service.asked) == 80 - kept


def test_the_command_line_names_what_the_table_lacks(asking):
    result = run(asking.service, Table({"plate": [1]}), asking.folder)
    assert result.exit_code == 1
    assert "Error: table has no column mjd" in result.output


@pytest.mark.real_data
def test_real_files_of_the_archive(real_data, tmp_path):
    paths = sorted((real_data / "spectra" / "legacy_pairs").glob("*.fits"))
    spectra = [read_sdss_spectrum(path) for path in paths]
    table = Table(
        {
            "objid": [path.stem for path in paths],
            "plate": [spectrum.plate for spectrum in spectra],
            "mjd": [spectrum.mjd for spectrum in spectra],
            "fiberid": [spectrum.fiber for spectrum in spectra],
        }
    )
    files = {
        ("26", spectrum.plate, spectrum.mjd, spectrum.fiber): path.read_bytes()
        for path, spectrum in zip(paths, spectra, strict=True)
    }
    with answering(archive(files)) as service:
        result = _Asking(service, tmp_path)(table)
        assert len(service.asked) == 14
    assert flags_of(result) == [[]] * 14
    others = np.load(real_data / "spectra" / "real_sdss_galaxy_spectra.npz")
    rows = {str(objid): row for row, objid in enumerate(others["objid"])}
    for row, objid in enumerate(result["objid"]):
        mine, theirs = result["flux"][row], others["flux"][rows[objid]]
        both = np.isfinite(mine) & np.isfinite(theirs)
        assert both.sum() > 700
        ratio = mine[both] * result["flux_norm"][row].value / (1 + result["spectrum_redshift"][row])
        ratio /= theirs[both]
        assert np.median(ratio) == pytest.approx(1, abs=0.004)
        assert np.subtract(*np.percentile(ratio, [84, 16])) < 0.05
