"""Estimates in parts: equal to one call, gone on with after anything, and readable by everybody."""

import decimal
import json
import subprocess
import sys

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable, Table
from astropy.time import Time
from contract import assert_same_results, texts_of, values_of
from hypothesis import given
from hypothesis import strategies as st

import hifrac
from hifrac import (
    HIFractionEstimator,
    LocalCutouts,
    MetallicityEstimator,
    SkyServerCutouts,
    SpectrumEstimator,
    conf,
    predict_parts,
)
from hifrac.core import read_table, write_table
from hifrac.core.exceptions import HifracWarning, RowError
from hifrac.core.manifest import MANIFEST
from hifrac.demo import PICTURES, sample_table
from hifrac.parts import _share

ESTIMATORS = (HIFractionEstimator, MetallicityEstimator, SpectrumEstimator)


def local(estimator_class=HIFractionEstimator, **options):
    return estimator_class(cutouts=LocalCutouts(PICTURES, name="name"), **options)


@pytest.fixture(scope="module")
def estimator():
    return local()


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def marks_of(folder):
    """What changes when a part is written again."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("part-*")}


@pytest.fixture(scope="module")
def whole(estimator):
    return estimator.predict(sample_table(), samples=3)


# Equal to one call


@pytest.mark.numeric
@pytest.mark.parametrize("estimator_class", ESTIMATORS)
def test_parts_are_the_result_of_one_call(tmp_path, estimator_class):
    estimator = local(estimator_class)
    expected = estimator.predict(sample_table(), samples=3)
    report = predict_parts(sample_table(), tmp_path, estimator=estimator, rows_per_part=10, samples=3)
    assert report["first_row"].tolist() == [0, 10, 20]
    assert report["n_rows"].tolist() == [10, 10, 7]
    assert report["n_estimated"].tolist() == [10, 10, 6]
    assert report["is_new"].tolist() == [True] * 3
    assert names_in(tmp_path) == [MANIFEST, *report["file"]]
    result = read_table(tmp_path)
    assert result.colnames == expected.colnames
    assert_same_results(result, expected)
    for name in expected.colnames:
        column, original = result[name], expected[name]
        assert column.unit == getattr(original, "unit", None), name
        assert column.info.description == original.info.description, name
        assert column.info.format == original.info.format, name
        assert column.dtype.kind == original.dtype.kind, name
        assert column.shape == original.shape, name
        if column.dtype.kind == "U":
            assert texts_of(column) == texts_of(original)
        else:
            np.testing.assert_allclose(values_of(column), values_of(original), 1e-5, 3e-5, err_msg=name)
    provenance, of_call = result.meta["hifrac"], expected.meta["hifrac"]
    assert provenance | {"date": of_call["date"]} == of_call
    assert {name: value for name, value in result.meta.items() if name != "hifrac"} == sample_table().meta


@pytest.mark.numeric
def test_shares_make_the_whole(tmp_path, estimator, whole):
    options = {"estimator": estimator, "rows_per_part": 4, "samples": 3}
    first = predict_parts(sample_table(), tmp_path, part=(0, 2), **options)
    with pytest.raises(
        ValueError, match=r"lacks 4 of its 7 parts, the first is part-00003\.parquet: resume=T"
    ):
        read_table(tmp_path)
    second = predict_parts(sample_table(), tmp_path, part=(1, 2), **options)
    assert [*first["part"], *second["part"]] == list(range(7))
    assert_same_results(read_table(tmp_path), whole)
    np.testing.assert_allclose(
        values_of(read_table(tmp_path)["log_hi_fraction_samples"]),
        values_of(whole["log_hi_fraction_samples"]),
        atol=3e-5,
    )


@given(st.integers(1, 500), st.integers(1, 60))
def test_each_part_is_in_one_share(n_parts, of):
    shares = [_share((share, of), n_parts) for share in range(of)]
    assert [number for share in shares for number in share] == list(range(n_parts))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.numeric
def test_an_environment_goes_with_each_part(tmp_path, estimator):
    rng = np.random.default_rng(2)
    reference = Table({"ra": rng.uniform(150, 156, 900), "dec": rng.uniform(0, 6, 900)}, units=["deg"] * 2)
    reference["z"] = rng.uniform(0.02, 0.03, 900)
    rows = sample_table()[:8]
    rows["ra"], rows["dec"], rows["z"] = rng.uniform(151, 155, 8), rng.uniform(1, 5, 8), 0.025
    rows["ra"].unit = rows["dec"].unit = "deg"
    expected = estimator.predict(rows, environment=reference)
    options = {"estimator": estimator, "rows_per_part": 3}
    predict_parts(rows, tmp_path, environment=reference, **options)
    assert np.isfinite(values_of(expected["log_overdensity"])).all()
    assert_same_results(read_table(tmp_path), expected)
    coords = SkyCoord(reference["ra"], reference["dec"])
    pair = coords, np.asarray(reference["z"])
    with pytest.raises(ValueError, match=r"environment\.sha256 was"):  # the same numbers, as something else
        predict_parts(rows, tmp_path, environment=(coords, pair[1] + 0.001), resume=True, **options)
    predict_parts(rows, tmp_path / "pair", environment=pair, **options)
    assert_same_results(read_table(tmp_path / "pair"), expected)


# Inputs


@pytest.fixture
def wild(tmp_path):
    """Parquet of another program, with types that Astropy does not have, in row groups of five."""
    table = sample_table()
    n = len(table)
    columns = {
        "name": pa.array([str(name) for name in table["name"]]).dictionary_encode(),
        "ra": pa.array(np.asarray(table["ra"])),
        "dec": pa.array(np.asarray(table["dec"])),
        "big": pa.array([None if row % 7 == 3 else 2**62 + row for row in range(n)], pa.int64()),
        "ragged": pa.array([list(range(row % 4)) if row > 8 else [1, 2] for row in range(n)]),
        "cost": pa.array([decimal.Decimal(row) / 8 for row in range(n)], pa.decimal128(20, 3)),
        "when": pa.array([1_600_000_000_000 + row for row in range(n)], pa.timestamp("ms", tz="UTC")),
        "nothing": pa.nulls(n),
        "mag": pa.array([{"g": 17.0 + row, "r": None} for row in range(n)]),
    }
    path = tmp_path / "wild.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=5)
    return path


@pytest.mark.filterwarnings("ignore:ra and dec have no unit")
def test_the_types_of_the_input_stay_whatever_is_in_a_part(tmp_path, wild, estimator):
    predict_parts(wild, tmp_path / "out", estimator=estimator, rows_per_part=8)
    source = pq.read_table(wild)
    schemas = [pq.read_schema(path) for path in sorted((tmp_path / "out").glob("*.parquet"))]
    assert len(schemas) == 4
    assert all(schema.equals(schemas[0]) for schema in schemas)
    back = pa.dataset.dataset(tmp_path / "out", format="parquet").to_table()
    for name in source.column_names:
        if name == "mag":
            assert back["mag.g"].to_pylist() == [row["g"] for row in source["mag"].to_pylist()]
            assert back["mag.r"].null_count == len(source)
        else:
            assert back[name].to_pylist() == source[name].to_pylist(), name
    assert_same_results(
        read_table(tmp_path / "out"), estimator.predict(sample_table()[["name", "ra", "dec"]])
    )


@pytest.mark.parametrize("extension", ["parquet", "ecsv", "fits", "csv"])
def test_a_file_of_any_format(tmp_path, estimator, whole, extension):
    rows = sample_table()
    rows["grade"] = MaskedColumn(np.arange(27), mask=np.arange(27) > 3)
    path = tmp_path / f"t.{extension}"
    write_table(rows, path)
    with pytest.warns(HifracWarning, match="ra and dec have no unit") if extension == "csv" else _nothing():
        predict_parts(path, tmp_path / "out", estimator=estimator, rows_per_part=9)
    result = read_table(tmp_path / "out")
    assert_same_results(result, whole[[name for name in whole.colnames if "samples" not in name]])
    assert np.ma.getmaskarray(result["grade"]).tolist() == (np.arange(27) > 3).tolist()
    facts = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert facts["input"]["name"] == path.name
    assert facts["input"]["size"] == path.stat().st_size
    assert (facts["rows"], facts["rows_per_part"], facts["parts"]) == (27, 9, 3)
    assert facts["version"] == hifrac.__version__
    assert facts["model_sha256"] == estimator.model.sha256


class _nothing:  # noqa: N801 (a context)
    def __enter__(self):
        return None

    def __exit__(self, *_):
        return False


def test_a_folder_of_parts_is_an_input(tmp_path, estimator, whole):
    predict_parts(sample_table(), tmp_path / "hi", estimator=estimator, rows_per_part=10)
    metals = local(MetallicityEstimator)
    with pytest.raises(ValueError, match="data has the result columns"):
        predict_parts(tmp_path / "hi", tmp_path / "both", estimator=metals)
    predict_parts(tmp_path / "hi", tmp_path / "both", estimator=metals, rows_per_part=8, replace_columns=True)
    both = read_table(tmp_path / "both")
    assert both.meta["hifrac"]["input"]["column"] == "log_hi_fraction"
    assert_same_results(both, whole, ["log_hi_fraction", "log_hi_fraction_p16", "p_detect"])
    assert both["log_hi_fraction_flags"].tolist() == whole["flags"].tolist()
    assert_same_results(both, metals.predict(sample_table()), ["oh", "oh_p84", "flags"])


def test_columns_of_astropy_alone(tmp_path, estimator):
    rows = QTable(sample_table()[["name"]])[:5]
    rows["place"] = SkyCoord(np.arange(5.0), 2, unit="deg")
    rows["when"] = Time(np.arange(5) + 59000, format="mjd")
    rows["size"] = [1, 2, 3, 4, 5] * u.arcsec
    rows["wave"] = np.full(5, 0.01 + 2j)
    rows["word"] = MaskedColumn(["a", "b", "ccc", "d", "e"], mask=[0, 1, 0, 0, 1])
    predict_parts(rows, tmp_path, estimator=estimator, rows_per_part=2)
    back = read_table(tmp_path)
    assert back["place_ra"].tolist() == [0, 1, 2, 3, 4]
    assert back["place_ra"].unit == u.deg
    assert back["when"].tolist() == rows["when"].isot.tolist()
    assert (back["size"].tolist(), back["size"].unit) == ([1, 2, 3, 4, 5], u.arcsec)
    assert (back["wave.real"].tolist(), back["wave.imag"].tolist()) == ([0.01] * 5, [2] * 5)
    assert texts_of(back["word"]) == ["a", "", "ccc", "d", ""]
    assert back["flags"].shape == (5,)


def test_a_table_without_rows(tmp_path, estimator):
    report = predict_parts(sample_table()[:0], tmp_path, estimator=estimator)
    assert report["n_rows"].tolist() == [0]
    assert read_table(tmp_path).colnames == estimator.predict(sample_table()[:0]).colnames
    assert len(read_table(tmp_path)) == 0


def test_positions_alone(tmp_path, quick_service):
    places = SkyCoord([0, 1, 2, np.nan], [0, 0, 0, 0], unit="deg")
    estimator = HIFractionEstimator(cutouts=SkyServerCutouts())
    predict_parts(places, tmp_path, estimator=estimator, rows_per_part=3)
    assert_same_results(read_table(tmp_path), estimator.predict(places))


# Readers


@pytest.fixture(scope="module")
def spectra(tmp_path_factory):
    """A folder of spectra: vectors of 1,000 numbers; the last row has none."""
    folder = tmp_path_factory.mktemp("spectra")
    predict_parts(sample_table(), folder, estimator=local(SpectrumEstimator), rows_per_part=13)
    return folder, read_table(folder)


def test_pandas_and_arrow_read_the_folder(spectra):
    folder, result = spectra
    arrow = pa.dataset.dataset(folder, format="parquet").to_table()
    frame = pandas.read_parquet(folder)
    assert arrow.column_names == list(frame) == result.colnames
    estimates = values_of(result["h_alpha_ew"])
    for column in (pc.fill_null(arrow["h_alpha_ew"], np.nan).to_numpy(), frame["h_alpha_ew"].to_numpy()):
        np.testing.assert_array_equal(column, estimates)
    assert arrow["h_alpha_ew"].null_count == 1  # and no number that means nothing
    assert arrow["evidence"].null_count == 1
    for flux in (arrow["flux"].to_pylist(), frame["flux"].tolist()):
        np.testing.assert_array_equal(np.array(flux, np.float32), result["flux"])
    assert np.isnan(result["flux"][26]).all()
    assert result["flux"].dtype == np.float32


def test_astropy_reads_each_part(spectra):
    folder, result = spectra
    parts = [Table.read(path, format="parquet") for path in sorted(folder.glob("part-*"))]
    assert [part.meta["hifrac"]["part"]["first_row"] for part in parts] == [0, 13, 26]
    assert sum(map(len, parts)) == 27
    for part in parts:
        rows = slice(part.meta["hifrac"]["part"]["first_row"], None)
        expected = result[rows][: len(part)]
        assert part.colnames == result.colnames
        assert part["h_alpha_ew"].unit == u.AA
        assert part["ra"].unit == u.deg
        assert part["flux"].description == result["flux"].description
        np.testing.assert_array_equal(part["flux"], expected["flux"])
        np.testing.assert_array_equal(part["flags"], expected["flags"])
        np.testing.assert_array_equal(values_of(part["h_alpha_ew"]), values_of(expected["h_alpha_ew"]))


def test_the_metadata_of_arrow_say_what_made_a_part(spectra):
    folder, result = spectra
    schema = pq.read_schema(folder / "part-00001.parquet")
    provenance = json.loads(schema.metadata[b"hifrac"])
    assert provenance["model"] == result.meta["hifrac"]["model"] == "spectra"
    assert provenance["part"] | {"run": ""} == {"number": 1, "of": 3, "first_row": 13, "run": ""}
    assert schema.field("h_alpha_ew").metadata[b"unit"] == b"Angstrom"
    assert b"H-alpha" in schema.field("h_alpha_ew").metadata[b"description"]


# Going on


def test_a_complete_folder_is_left_alone(tmp_path, estimator):
    options = {"estimator": estimator, "rows_per_part": 10}
    predict_parts(sample_table(), tmp_path, **options)
    marks = marks_of(tmp_path)
    report = predict_parts(sample_table(), tmp_path, resume=True, **options)
    assert not report["is_new"].any()
    assert report["n_estimated"].tolist() == [10, 10, 6]
    assert marks_of(tmp_path) == marks
    with pytest.raises(FileExistsError, match=r"has 3 of 3 parts already: resume=True \(--resume\) goes on"):
        predict_parts(sample_table(), tmp_path, **options)
    assert marks_of(tmp_path) == marks
    report = predict_parts(sample_table(), tmp_path, overwrite=True, part=(2, 3), **options)
    assert report["part"].tolist() == [2]
    assert [name for name in marks if marks_of(tmp_path)[name] != marks[name]] == ["part-00002.parquet"]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def turn_a_bit(path):
    data = bytearray(path.read_bytes())
    value = pq.read_table(path)["log_hi_fraction"].to_numpy()[5]
    data[data.find(value.tobytes()) + 1] ^= 4
    path.write_bytes(data)


def of_another_run(path):
    schema = pq.read_table(path)
    pq.write_table(schema.replace_schema_metadata({b"hifrac": b'{"part": {"run": "x"}}'}), path)


@pytest.mark.parametrize(
    "spoil",
    [
        truncate,
        turn_a_bit,
        of_another_run,
        lambda path: path.write_bytes(b""),
        lambda path: pq.write_table(pq.read_table(path)[:3], path),
    ],
)
def test_a_damaged_part_is_made_again(tmp_path, estimator, whole, spoil):
    options = {"estimator": estimator, "rows_per_part": 10}
    predict_parts(sample_table(), tmp_path, **options)
    marks = marks_of(tmp_path)
    spoil(tmp_path / "part-00001.parquet")
    (tmp_path / ".part-00001.0f3a.partial.parquet").write_bytes(b"half")
    with pytest.warns(HifracWarning, match=r"part-00001\.parquet is damaged, or of another run"):
        report = predict_parts(sample_table(), tmp_path, resume=True, **options)
    assert report["is_new"].tolist() == [False, True, False]
    assert names_in(tmp_path) == [MANIFEST, *report["file"]]
    after = marks_of(tmp_path)
    assert {name for name in marks if after[name] != marks[name]} == {"part-00001.parquet"}
    assert_same_results(read_table(tmp_path), whole[[n for n in whole.colnames if "samples" not in n]])


@pytest.mark.parametrize("spoil", [truncate, turn_a_bit, of_another_run])
def test_a_damaged_part_is_not_read(tmp_path, estimator, spoil):
    predict_parts(sample_table(), tmp_path, estimator=estimator, rows_per_part=10)
    spoil(tmp_path / "part-00001.parquet")
    with pytest.raises(ValueError, match=r"part-00001\.parquet is .*--resume"):
        read_table(tmp_path)


def other_table():
    table = sample_table()
    table["ra"][3] += 1e-9
    return table


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows_per_part": 9}, r"rows_per_part was 10, and is 9"),
        ({"data": other_table()}, r"input\.sha256 was"),
        ({"data": sample_table()[:26]}, r"rows was 27, and is 26"),
        ({"samples": 2}, r"arguments\.samples was null, and is 2; columns\.log_hi_fraction_samples was null"),
        ({"estimator": local(selection="alfalfa")}, r'selection was "intrinsic", and is "alfalfa"'),
        ({"estimator": local(MetallicityEstimator)}, r'estimator was "HIFractionEstimator", and is "Metal'),
        ({"on_error": "raise"}, r'arguments\.on_error was "flag", and is "raise"'),
    ],
)
@pytest.mark.parametrize("part", [None, (1, 3)])
def test_a_folder_of_other_facts_is_refused(tmp_path, estimator, changes, message, part):
    options = {"data": sample_table(), "folder": tmp_path, "estimator": estimator, "rows_per_part": 10}
    predict_parts(**options, part=(0, 3))
    marks = marks_of(tmp_path)
    with pytest.raises(ValueError, match=rf"has parts that rest on other facts: .*{message}"):
        predict_parts(**{**options, **changes}, resume=True, part=part)
    assert marks_of(tmp_path) == marks


def test_a_folder_of_another_version_is_refused_and_can_be_made_anew(tmp_path, estimator, monkeypatch):
    options = {"data": sample_table(), "folder": tmp_path, "estimator": estimator}
    with monkeypatch.context() as patch:
        patch.setattr(hifrac, "__version__", "0.0.9")
        predict_parts(**options, rows_per_part=3)
    with pytest.raises(ValueError, match=r'version was "0\.0\.9", and is'):
        predict_parts(**options, rows_per_part=3, resume=True)
    predict_parts(**options, rows_per_part=20, overwrite=True)
    assert names_in(tmp_path) == [MANIFEST, "part-00000.parquet", "part-00001.parquet"]


def test_what_changes_no_estimate_may_differ(tmp_path):
    predict_parts(sample_table(), tmp_path, estimator=local(batch_size=4), rows_per_part=9, part=(0, 3))
    predict_parts(sample_table(), tmp_path, estimator=local(batch_size=9), rows_per_part=9, part=(1, 3))
    path = tmp_path / MANIFEST
    assert not {"date", "runtime", "packages"} & set(json.loads(path.read_text()))


def test_rows_that_lack_pictures_are_asked_for_again(tmp_path, quick_service):
    places = Table({"ra": np.arange(4.0), "dec": np.zeros(4)}, units=["deg"] * 2)
    options = {"rows_per_part": 2, "estimator": HIFractionEstimator(cutouts=SkyServerCutouts())}
    with conf.set_temp("offline", True):
        report = predict_parts(places, tmp_path, part=(1, 2), **options)
        assert report["n_estimated"].tolist() == [0]
        again = predict_parts(places, tmp_path, part=(1, 2), resume=True, **options)
        assert not again["is_new"].any()
    report = predict_parts(places, tmp_path, resume=True, **options)
    assert report["is_new"].tolist() == [True, True]
    assert report["n_estimated"].tolist() == [2, 2]
    asked = len(quick_service.requests)
    report = predict_parts(places, tmp_path, resume=True, **options)
    assert not report["is_new"].any()
    assert len(quick_service.requests) == asked


# Trouble


@pytest.mark.parametrize("options", [{"resume": True}, {"overwrite": True}])
def test_a_second_process_that_begins_with_the_same_folder_costs_nothing(
    tmp_path, monkeypatch, estimator, whole, options
):
    write, begun = pq.write_table, []
    call = {"estimator": estimator, "rows_per_part": 10, "samples": 3}

    def write_while_another_begins(*args, **keywords):
        write(*args, **keywords)
        if len(begun) < 2:
            begun.append(True)
            predict_parts(
                sample_table(), tmp_path, estimator=estimator, rows_per_part=10, samples=3, **options
            )

    monkeypatch.setattr(pq, "write_table", write_while_another_begins)
    predict_parts(sample_table(), tmp_path, **call)
    assert len(begun) == 2
    assert_same_results(read_table(tmp_path), whole)
    assert len(names_in(tmp_path)) == 4


_FULL_DISK = """
import resource, sys
from hifrac import HIFractionEstimator, LocalCutouts, predict_parts
from hifrac.demo import PICTURES, sample_table
done = 0
def fill(n):
    global done
    done += n
    if done > 10:  # within the second part no file may grow any more
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"), batch_size=5)
try:
    predict_parts(sample_table(), sys.argv[1], estimator=estimator, rows_per_part=10, progress=fill)
except OSError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_disk_that_is_full_costs_the_part_at_work_and_is_said(tmp_path, estimator, whole):
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, tmp_path], capture_output=True, text=True, timeout=120, check=True
    )
    assert "part-00001.parquet cannot be written: " in done.stdout
    assert "the parts before it are kept: resume=True (--resume) goes on" in done.stdout
    assert names_in(tmp_path) == [MANIFEST, "part-00000.parquet"]
    marks = marks_of(tmp_path)
    predict_parts(sample_table(), tmp_path, estimator=estimator, rows_per_part=10, resume=True)
    assert marks_of(tmp_path)["part-00000.parquet"] == marks["part-00000.parquet"]
    assert_same_results(read_table(tmp_path), whole[[n for n in whole.colnames if "samples" not in n]])


@pytest.mark.skipif(sys.platform != "linux", reason="a folder that nobody can write to")
def test_a_read_only_folder_is_refused_before_any_row(estimator):
    with pytest.raises(OSError, match=r"/sys/hifrac"):
        predict_parts(sample_table(), "/sys/hifrac", estimator=estimator)


def test_a_folder_that_cannot_be_written_is_refused_before_any_row(tmp_path, estimator):
    file = tmp_path / "file"
    file.write_text("")
    for folder in (file, file / "out"):
        with pytest.raises(OSError, match="file"):
            predict_parts(sample_table(), folder, estimator=estimator)
    (tmp_path / "thesis.tex").write_text("")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match=r"has something else in it: "):
            predict_parts(sample_table(), tmp_path, estimator=estimator, overwrite=overwrite)
    assert names_in(tmp_path) == ["file", "thesis.tex"]
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(ValueError, match=r"_manifest\.json cannot be read"):
        predict_parts(sample_table(), tmp_path, estimator=estimator, resume=True)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rows_per_part": 0}, ValueError, "rows_per_part must be at least 1"),
        ({"rows_per_part": 2.5}, TypeError, "rows_per_part must be an integer"),
        ({"part": (2, 2)}, ValueError, r"part must be \(i, n\) with 0 <= i < n"),
        ({"part": (-1, 2)}, ValueError, "part must be"),
        ({"part": (0.5, 2)}, ValueError, "part must be"),
        ({"part": (0, 2.0)}, ValueError, "part must be"),
        ({"part": (0, np.inf)}, ValueError, "part must be"),
        ({"part": "0/2"}, ValueError, "part must be"),
        ({"part": 1}, ValueError, "part must be"),
        ({"resume": True, "overwrite": True}, ValueError, "resume and overwrite exclude"),
        ({"estimator": HIFractionEstimator}, TypeError, "estimator must be an estimator"),
        ({"ra": "RA2", "dec": "DEC2"}, ValueError, "RA2"),
        ({"samples": 0}, ValueError, "samples must be at least 1"),
        ({"data": Table({"x": [1]})}, ValueError, "name"),
    ],
)
def test_a_wrong_argument_is_refused_before_any_file(tmp_path, estimator, options, error, message):
    with pytest.raises(error, match=message):
        predict_parts(
            **{"data": sample_table(), "folder": tmp_path / "out", "estimator": estimator, **options}
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("always:1 of 27 rows have no estimate")
def test_what_is_wrong_is_said_once_with_the_rows_of_the_whole(tmp_path, estimator, caplog):
    rows = sample_table()
    rows["ra"].unit = rows["dec"].unit = None
    rows["z"] = np.where(np.arange(27) % 10 == 5, 7.0, 0.03)
    caplog.set_level("INFO", logger="hifrac.estimator")
    with pytest.warns(HifracWarning) as caught:
        predict_parts(rows, tmp_path, estimator=estimator, rows_per_part=10)
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == 3
    assert texts[0].startswith("ra and dec have no unit")
    assert "the first is row 5 with 7" in texts[1]
    assert texts[2].startswith("1 of 27 rows have no estimate, the first is row 26: ")
    assert "1 OUT_OF_FOOTPRINT: Every estimate is masked." in texts[2]
    assert all(warning.filename == __file__ for warning in caught)
    assert [r.getMessage()[:7] for r in caplog.records if r.name == "hifrac.estimator"] == ["row 26:"]


def test_the_error_of_a_row_says_the_part(tmp_path, estimator):
    with pytest.raises(RowError) as caught:
        predict_parts(sample_table(), tmp_path, estimator=estimator, rows_per_part=10, on_error="raise")
    assert caught.value.__notes__ == [
        "in row 6 of data",
        "in part-00002.parquet, which begins with row 20",
    ]
    assert names_in(tmp_path) == [MANIFEST, "part-00000.parquet", "part-00001.parquet"]


def test_progress_counts_all_rows_that_are_made(tmp_path, estimator):
    reports = []
    options = {"estimator": estimator, "rows_per_part": 10, "progress": reports.append}
    predict_parts(sample_table(), tmp_path, part=(0, 3), **options)
    predict_parts(sample_table(), tmp_path, resume=True, **options)
    assert sum(reports) == 27
