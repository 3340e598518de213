"""The training samples: what is read, what is grouped, and what stops the reading."""

import shutil
import zipfile

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import DisjointSet

from hifrac.core.config import conf
from hifrac.core.exceptions import BadImageError, FetchError, OutOfFootprintError
from hifrac.simulate import encode_jpeg
from hifrac.training.measuring.galaxies import PHOTOMETRY
from hifrac.training.splits import sky_groups
from hifrac.training.structure.sample import MANGA, RESOLVE, read_sample

ZIP, LABELS, INDEX = "sdss_cutouts.zip", "hi_labels.ecsv", "index.ecsv"


@pytest.fixture
def copy(data_folder, tmp_path):
    """A data directory to damage."""
    shutil.copytree(data_folder, tmp_path / "data")
    return tmp_path / "data"


def rewrite(folder, name, change):
    path = folder / "cutouts" / name
    table = Table.read(path)
    change(table)
    table.write(path, overwrite=True)


def replace_picture(folder, name, data):
    """The archive again, with another picture of that name, or without it."""
    path = folder / "cutouts" / ZIP
    with zipfile.ZipFile(path) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for filename, content in files.items():
            if name not in filename:
                archive.writestr(filename, content)
        if data is not None:
            archive.writestr(f"{name}.jpg", data)


# Reading


def test_the_sample_is_detections_then_bright_undetected_galaxies(sample, data_folder):
    labels = Table.read(data_folder / "cutouts" / LABELS)
    table, n = sample.table, len(labels)
    assert list(table["objid"][:n]) == list(labels["objid"])
    assert table["detected"].sum() == table["detected"][:n].sum() == n
    for name, column in (
        ("log_hi_fraction", "log_hi_fraction_true"),
        ("axis_ratio", "axial_ratio"),
        ("log_mstar", "log_mstar_taylor"),
    ):
        np.testing.assert_array_equal(table[name][:n], labels[column])
    np.testing.assert_allclose(table["log_cz"][:n], np.log10(labels["v_helio"]))
    assert sample.pixels.shape == (len(table), 128, 128, 3)
    assert sample.pixels.dtype == np.uint8


def test_masses_of_gswlc_are_missing_where_they_are_masked(sample, data_folder):
    labels = Table.read(data_folder / "cutouts" / LABELS)
    unknown = np.asarray(labels["log_mstar_gswlc"].mask)
    assert 0 < unknown.sum() < len(labels) / 2
    np.testing.assert_array_equal(np.isnan(sample.table["log_mstar_gswlc"][: len(labels)]), unknown)
    assert np.isnan(sample.table["log_mstar_gswlc"][len(labels) :]).all()


def test_a_table_without_missing_masses_needs_no_mask(copy, sample):
    rewrite(copy, LABELS, lambda table: table.replace_column("log_mstar_gswlc", np.full(len(table), 9.0)))
    again = read_sample(copy).table
    assert np.isfinite(again["log_mstar_gswlc"][sample.table["detected"]]).all()


def test_positions_are_known_of_labelled_galaxies_alone(sample, data_folder):
    labels = Table.read(data_folder / "cutouts" / LABELS)
    table = sample.table
    for name in ("ra", "dec"):
        np.testing.assert_array_equal(table[name][: len(labels)], labels[name])
    assert np.isnan(table["ra"]).any()
    # What is known to a tenth of a degree is enough for the dust and for the noise of the survey.
    assert np.isfinite(table["ebv"]).all()
    assert np.isfinite(table["dec_nearby"]).all()


def test_only_bright_undetected_galaxies_of_the_footprint_are_taken(sample, data_folder):
    index = Table.read(data_folder / "cutouts" / INDEX)
    wanted = [
        row["objid"]
        for row in index
        if row["alfalfa_footprint"] and not row["alfalfa_detected"] and row["flux_16px"] >= 30
    ]
    table = sample.table
    assert list(table["objid"][table["undetected"]]) == wanted
    assert not np.any(table["undetected"] & table["detected"])


def test_each_row_has_its_own_picture(sample, data_folder):
    # Blue pictures have high fractions in this simulated world: labels and pictures are not mixed up.
    seen = np.asarray(sample.table["detected"])
    middle = sample.pixels[seen, 56:72, 56:72].astype(float).mean((1, 2))
    colour = np.log(middle[:, 0] / middle[:, 2])
    assert np.corrcoef(colour, sample.table["log_hi_fraction"][seen])[0, 1] < -0.8


def test_fields_and_close_pairs_are_groups(sample):
    group, n = sample.table["group"], np.sum(sample.table["detected"])
    for row, other in ((0, 1), (10, 11), (20, 21), (30, 31)):
        assert group[row] == group[other]
    assert group[5] == group[n]  # the first undetected galaxy
    # Of the new ones the first lies 60 arcsec from detection 7, the second in the field of detection 8.
    new = np.flatnonzero(sample.table["missed"] & ~sample.table["undetected"])
    assert list(group[new[:2]]) == [group[7], group[8]]
    assert len(np.unique(group)) == len(group) - 7


def test_the_configured_folder_is_read(data_folder, sample, monkeypatch):
    monkeypatch.setenv("HIFRAC_DATA_DIR", str(data_folder))
    np.testing.assert_array_equal(read_sample().pixels, sample.pixels)


def test_no_configured_folder(monkeypatch):
    monkeypatch.delenv("HIFRAC_DATA_DIR", raising=False)
    with conf.set_temp("data_dir", ""), pytest.raises(ValueError, match=r"^data_dir: none is configured"):
        read_sample()


def test_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^data_dir: .*nowhere.* is missing"):
        read_sample(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [ZIP, LABELS, INDEX])
def test_a_missing_file(copy, name):
    (copy / "cutouts" / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        read_sample(copy)


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        (LABELS, ["objid"]),
        (LABELS, ["ra", "dec"]),
        (LABELS, ["log_hi_fraction_true"]),
        (LABELS, ["log_mstar_taylor", "log_mstar_gswlc"]),
        (LABELS, ["v_helio", "axial_ratio"]),
        (INDEX, ["alfalfa_footprint"]),
        (INDEX, ["alfalfa_detected"]),
        (INDEX, ["flux_16px"]),
        (RESOLVE, ["is_limit"]),
        (MANGA, ["LOGHILIM200KMS"]),
        (PHOTOMETRY, ["redshift", "modelmag_z"]),
    ],
)
def test_missing_columns_are_named(copy, name, columns):
    rewrite(copy, name, lambda table: table.remove_columns(columns))
    with pytest.raises(ValueError, match=rf"^data_dir: .*{name} lacks the columns {', '.join(columns)}$"):
        read_sample(copy)


def test_a_missing_picture(copy, sample):
    replace_picture(copy, sample.table["objid"][3], None)
    with pytest.raises(FetchError, match=sample.table["objid"][3]):
        read_sample(copy)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"<html>busy</html>", BadImageError),
        (encode_jpeg(np.full((128, 128, 3), 7, np.uint8)), OutOfFootprintError),
        (encode_jpeg(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)), BadImageError),
    ],
    ids=["html", "blank", "small"],
)
def test_a_damaged_picture(copy, sample, data, error):
    replace_picture(copy, sample.table["objid"][3], data)
    with pytest.raises(error):
        read_sample(copy)


def test_an_archive_that_is_none(copy):
    (copy / "cutouts" / ZIP).write_bytes(b"no archive")
    with pytest.raises(ValueError, match="archive"):
        read_sample(copy)


# Several tables as one


def test_each_galaxy_has_one_row(sample, data_folder):
    names = [
        Table.read(data_folder / "cutouts" / name)["objid"] for name in (LABELS, RESOLVE, MANGA, PHOTOMETRY)
    ]
    assert len(set(sample.table["objid"])) == len(sample.table)
    assert set(np.concatenate(names)) <= set(sample.table["objid"])


def rows_of(sample, names):
    place = {name: row for row, name in enumerate(sample.table["objid"])}
    return sample.table[[place[name] for name in names]]


def test_resolve_tells_of_what_alfalfa_missed(sample, data_folder):
    deeper = Table.read(data_folder / "cutouts" / RESOLVE)
    rows, missed = rows_of(sample, deeper["objid"]), ~deeper["alfalfa_detected"]
    np.testing.assert_array_equal(rows["missed"], missed)
    assert sample.table["missed"].sum() == missed.sum()
    for name in ("is_limit", "confused"):
        np.testing.assert_array_equal(rows[name][missed], deeper[name][missed])
    np.testing.assert_array_equal(rows["log_hi_fraction"][missed], deeper["log_hi_fraction_true"][missed])
    assert np.any(rows["missed"] & rows["undetected"])
    # Of a detection the value of ALFALFA stays, and that of RESOLVE stands beside it.
    assert rows["detected"][-1]
    assert rows["log_hi_fraction"][-1] != rows["resolve"][-1] == deeper["log_hi_fraction_true"][-1]
    assert np.isnan(rows["resolve"][deeper["is_limit"]]).all()


def test_colours_of_resolve_are_put_behind_the_dust_of_the_galaxy_again(sample, data_folder):
    deeper = Table.read(data_folder / "cutouts" / RESOLVE)[6:-1]  # of which there is no other photometry
    rows = rows_of(sample, deeper["objid"])
    expected = 0.203 + 0.94 * deeper["g_minus_i"] - 0.32 * np.log10(deeper["axial_ratio"])
    np.testing.assert_allclose(rows["g_minus_i"], expected)
    np.testing.assert_allclose(rows["i"], deeper["i_mag"])


def test_manga_tells_of_galaxies_that_nobody_else_measured(sample):
    (row,) = np.flatnonzero(sample.table["manga"])
    assert sample.table["is_limit"][row]
    assert sample.table["log_hi_fraction"][row] == pytest.approx(9.2 - 9.5)
    # The other galaxy of the file is a detection, with the value that it had, and not confused.
    assert not sample.table["confused"][3]


def test_photometry_is_as_observed_and_evidence_corrected_for_the_foreground(sample, data_folder):
    magnitudes = Table.read(data_folder / "cutouts" / PHOTOMETRY)
    rows = rows_of(sample, magnitudes["objid"])
    g, i = magnitudes["modelmag_g"], magnitudes["modelmag_i"]
    np.testing.assert_allclose(rows["photometry"][:, 0], g - i)
    np.testing.assert_allclose(rows["photometry"][:, 1], i)
    np.testing.assert_allclose(rows["photometry"][:, 6], np.log10(299792.458 * magnitudes["redshift"]))
    np.testing.assert_allclose(rows["g_minus_i"], g - i - 0.05)
    np.testing.assert_allclose(rows["i"], i - 0.05)
    assert np.isnan(sample.table["photometry"]).all(1).sum() == len(sample.table) - len(magnitudes)


@pytest.mark.parametrize("name", [RESOLVE, MANGA, PHOTOMETRY])
def test_what_is_not_there_is_not_needed(copy, sample, name):
    (copy / "cutouts" / name).unlink()
    again = read_sample(copy).table
    column = {RESOLVE: "missed", MANGA: "manga"}.get(name)
    if column is None:
        assert np.isnan(again["photometry"]).all()
    else:
        assert not again[column].any()
    np.testing.assert_array_equal(again["detected"].sum(), sample.table["detected"].sum())


# Grouping


def same_groups(found, expected):
    """Whether two labellings are one partition."""
    return len(set(zip(found, expected, strict=True))) == len(set(found)) == len(set(expected))


def ids(fields):
    return np.array([str((field << 16) + number) for number, field in enumerate(fields)])


NOWHERE = np.full(4, np.nan)


def test_one_field_is_one_group_wherever_its_galaxies_are():
    assert same_groups(sky_groups(ids([7, 8, 7, 9]), NOWHERE, NOWHERE), [0, 1, 0, 2])
    assert same_groups(sky_groups(ids([7, 8, 7, 9]), np.arange(4.0), np.zeros(4)), [0, 1, 0, 2])


def test_the_number_within_the_field_does_not_matter():
    names = np.array(["1237648722312298550", "1237648722312298497", "1237648722312364032"])
    assert same_groups(sky_groups(names, np.full(3, np.nan), np.full(3, np.nan)), [0, 0, 1])


@pytest.mark.parametrize(("arcsec", "together"), [(0.0, True), (89.9, True), (90.1, False), (3600.0, False)])
@pytest.mark.parametrize("dec", [0.0, 75.0])
def test_pairs_closer_than_90_arcsec_are_one_group(arcsec, together, dec):
    step = arcsec / 3600
    along_ra = sky_groups(
        ids([1, 2]), np.array([10.0, 10.0 + step / np.cos(np.radians(dec))]), np.array([dec, dec])
    )
    along_dec = sky_groups(ids([1, 2]), np.array([10.0, 10.0]), np.array([dec, dec + step]))
    assert (along_ra[0] == along_ra[1]) == together
    assert (along_dec[0] == along_dec[1]) == together


def test_right_ascension_wraps_around():
    group = sky_groups(ids([1, 2]), np.array([359.999, 0.001]), np.zeros(2))
    assert group[0] == group[1]


def test_chains_are_one_group():
    # 0-1 and 1-2 are close, 2 and 3 share a field, 3-4 are close; 5 is alone.
    ra = np.array([10.0, 10.0 + 80 / 3600, 10.0 + 160 / 3600, 50.0, 50.0 + 80 / 3600, 90.0])
    assert same_groups(sky_groups(ids([1, 2, 3, 3, 4, 5]), ra, np.zeros(6)), [0, 0, 0, 0, 0, 1])


def test_unknown_positions_are_near_to_nothing():
    ra = np.array([10.0, np.nan, 10.0, np.nan])
    dec = np.array([0.0, 0.0, np.nan, np.nan])
    assert same_groups(sky_groups(ids([1, 2, 3, 4]), ra, dec), [0, 1, 2, 3])


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 40), st.booleans()), min_size=1, max_size=25))
@settings(max_examples=50)
def test_groups_are_the_connected_galaxies(rows):
    fields, places, known = (np.array(column) for column in zip(*rows, strict=True))
    ra = np.where(known, 10 + places * 50 / 3600, np.nan)  # steps of 50 arcsec: neighbours at one step
    joined = DisjointSet(range(len(rows)))
    for one in range(len(rows)):
        for other in range(one):
            near = known[one] and known[other] and abs(places[one] - places[other]) <= 1
            if near or fields[one] == fields[other]:
                joined.merge(one, other)
    expected = [joined[row] for row in range(len(rows))]
    assert same_groups(sky_groups(ids(fields), ra, np.zeros(len(rows))), expected)
