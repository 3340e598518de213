"""The galaxies of the metallicity model: what each file says of them, and what counts where they differ."""

import shutil

import numpy as np
import pytest
from astropy.table import Table

from hifrac.training.metallicity.sample import read_sample

N_LABELLED, N_WITHOUT, N_OTHERS = 66, 12, 70


def test_each_galaxy_has_a_row_and_a_picture(metals, metal_world):
    table = metals.table
    assert sorted(table["objid"]) == sorted(metal_world.objid)
    assert metals.pixels.shape == (len(table), 128, 128, 3)
    assert np.isfinite(table["oh"]).sum() == N_LABELLED
    np.testing.assert_array_equal(table["oh"][:N_LABELLED], metal_world.oh[:N_LABELLED])
    assert np.isfinite(table["published"]).sum() == 4 * N_LABELLED
    assert np.isfinite(table["ebv"]).all()


def test_photometry_is_as_observed(metals, metal_world):
    row_of = {name: row for row, name in enumerate(metal_world.objid)}
    rows = np.array([row_of[name] for name in metals.table["objid"]])
    photometry = np.asarray(metals.table["photometry"])
    known = np.isfinite(photometry).all(axis=1)
    np.testing.assert_array_equal(known, rows >= N_WITHOUT)
    np.testing.assert_allclose(photometry[known, 0], 1.5 * metal_world.g_minus_r[rows[known]])
    np.testing.assert_allclose(photometry[known, 1], metal_world.i[rows[known]])
    np.testing.assert_allclose(photometry[known, 7], metal_world.log_mstar[rows[known]])


def test_who_forms_stars_is_said_by_the_first_file_that_knows(metals, metal_world):
    said = dict(zip(metals.table["objid"], metals.table["star_forming"], strict=True))
    first = [said[name] for name in metal_world.objid[:N_LABELLED]]
    assert first == [1.0] * N_LABELLED  # a metallicity comes before AGN, no lines, or a Seyfert
    # A broad-line AGN; lines of MPA-JHU, before those of Portsmouth; Portsmouth; RESOLVE.
    after = [said[name] for name in metal_world.objid[N_LABELLED : N_LABELLED + 6]]
    np.testing.assert_array_equal(after, [0.0, 1.0, 0.0, 1.0, 0.0, np.nan])
    assert said[metal_world.objid[-1]] == 0.0


def test_places_are_the_best_known(metals, metal_world):
    table, names = metals.table, list(metals.table["objid"])
    assert table["ra"][names.index(metal_world.objid[N_WITHOUT])] == 130 + 0.5 * N_WITHOUT
    assert table["ra"][names.index(metal_world.objid[1])] == 12.0
    assert np.isnan(table["ra"][names.index(metal_world.objid[0])])


def test_files_that_may_be_missing(metal_folder, tmp_path):
    shutil.copytree(metal_folder, tmp_path / "data")
    for name in ("line_labels", "portsmouth_labels", "resolve_eco_labels"):
        (tmp_path / "data" / "cutouts" / f"{name}.ecsv").unlink()
    assert len(read_sample(tmp_path / "data").table) == N_LABELLED + N_OTHERS
    (tmp_path / "data" / "cutouts" / "metallicity_labels.ecsv").unlink()
    with pytest.raises(FileNotFoundError, match=r"metallicity_labels\.ecsv is missing"):
        read_sample(tmp_path / "data")


def test_a_column_that_is_missing(metal_folder, tmp_path):
    shutil.copytree(metal_folder, tmp_path / "data")
    path = tmp_path / "data" / "cutouts" / "metallicity_labels.ecsv"
    table = Table.read(path)
    table.remove_column("oh_p50")
    table.write(path, overwrite=True)
    with pytest.raises(ValueError, match="lacks the columns oh_p50"):
        read_sample(tmp_path / "data")
