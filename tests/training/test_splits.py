"""Splits: drawn whole groups at a time, written, and checked when they are read."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from hifrac.core.exceptions import HifracWarning
from hifrac.training.splits import (
    draw_folds,
    draw_roles,
    galaxy_groups,
    paper_permutation,
    paper_roles,
    read_split,
    split_hash,
    write_split,
    wu_boada_roles,
)

NAMES = np.array([f"g{number}" for number in range(20)])
ALONE = np.arange(20)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "split.ecsv"


def written(path, **columns):
    Table(columns).write(path, format="ascii.ecsv")
    return path


# The paper's


@pytest.mark.parametrize(("n", "n_valid"), [(4797, 959), (7399, 1479), (60229, 12045)])
@pytest.mark.parametrize("generator", ["numpy", "torch"])
def test_the_papers_splits_have_its_sizes(n, n_valid, generator):
    train, valid = paper_permutation(n, generator=generator)
    assert (len(train), len(valid)) == (n - n_valid, n_valid)
    assert sorted([*train, *valid]) == list(range(n))


@pytest.mark.slow
def test_the_papers_splits_are_what_its_code_draws():
    # In a process of its own: the code sets the seeds of the whole process.
    code = (
        "import numpy, torch; numpy.random.seed(12345); torch.manual_seed(12345); "
        "print(*numpy.random.permutation(7399)[:1479], *torch.randperm(7399)[:1479].tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    expected = [int(one) for one in done.stdout.split()]
    found = [paper_permutation(7399, generator=one)[1] for one in ("numpy", "torch")]
    assert np.concatenate(found).tolist() == expected


def test_the_papers_splits_leave_the_users_chance_alone():
    before = torch.get_rng_state()
    one = paper_permutation(100, generator="torch")[1]
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(paper_permutation(100, generator="torch")[1], one)


def test_the_validation_galaxies_of_wu_boada_are_those_of_get_cv_idxs():
    _, valid = paper_permutation(400, seed=42)
    assert valid[:10].tolist() == [209, 280, 33, 210, 93, 84, 329, 94, 266, 126]
    assert len(paper_permutation(95_964, seed=42)[1]) == 19_192


def test_the_splits_of_wu_boada_drop_galaxies_without_a_picture_after_the_test_galaxies_are_drawn():
    names = np.array([f"g{number}" for number in range(1000)])
    has_picture = np.arange(1000) % 10 != 0
    test, validation = wu_boada_roles(names, seed=3, has_picture=has_picture, n_test=200)
    tested = set(test["objid"][test["role"] == "held_out"])
    assert tested | set(validation["objid"]) == set(names[has_picture])
    assert not tested & set(validation["objid"])
    full, _ = wu_boada_roles(names, seed=3, n_test=200)
    drawn = full["objid"][full["role"] == "held_out"].tolist()
    assert len(drawn) == 200
    assert [name for name in drawn if has_picture[int(name[1:])]] == sorted(tested, key=drawn.index)
    assert drawn == sorted(drawn, key=lambda name: int(name[1:]))  # as in the original's file
    order = np.random.RandomState(3).permutation(1000)[:-200]
    assert validation["objid"].tolist() == [name for name in names[order] if has_picture[int(name[1:])]]
    held_out = np.flatnonzero(validation["role"] == "held_out")
    assert set(held_out) == set(paper_permutation(len(validation), seed=42)[1])


def test_the_splits_of_wu_boada_are_files_like_others_and_other_seeds_draw_others(path):
    names = np.array([f"g{number}" for number in range(100)])
    test, _ = wu_boada_roles(names, seed=0, n_test=20)
    write_split(test, path)
    assert split_hash(read_split(path, names)) == split_hash(test)
    assert split_hash(wu_boada_roles(names, seed=1, n_test=20)[0]) != split_hash(test)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"objid": ["a", "a", "b"]}, "objid must name each galaxy once"),
        ({"has_picture": [True]}, "has_picture has"),
        ({"n_test": 20}, "n_test must be from 1 to 19, got 20"),
        ({"has_picture": np.zeros(20, bool)}, "leaves a side of the split empty"),
    ],
)
def test_splits_of_wu_boada_that_cannot_be_drawn(options, words):
    with pytest.raises(ValueError, match=words):
        wu_boada_roles(**{"objid": NAMES, "seed": 0, "n_test": 5, **options})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n": 4}, "leaves a side"),
        ({"n": 10, "fraction": 1.0}, "leaves a side"),
        ({"n": 9, "generator": "r"}, "generator"),
    ],
)
def test_a_permutation_that_is_no_split(options, words):
    with pytest.raises(ValueError, match=words):
        paper_permutation(**options)


# Drawing


@given(st.lists(st.integers(0, 12), min_size=4, max_size=60), st.floats(0.1, 0.9), st.integers(0, 2**32 - 1))
def test_groups_stay_together_and_the_share_is_not_exceeded(groups, share, seed):
    group = np.array(groups)
    names = np.array([f"g{number}" for number in range(len(group))])
    try:
        split = draw_roles(names, group, held_out=share, seed=seed)
    except ValueError as error:
        assert "leaves a side of the split empty" in str(error)  # noqa: PT017
        return
    out = np.asarray(split["role"]) == "held_out"
    assert 0 < out.sum() <= share * len(group)
    assert not set(group[out]) & set(group[~out])


def test_the_share_is_reached_where_groups_are_single_galaxies():
    split = draw_roles(NAMES, ALONE, held_out=0.25, seed=1)
    assert np.sum(split["role"] == "held_out") == 5


def test_the_seed_fixes_the_split_and_another_one_changes_it():
    one, same, other = (draw_roles(NAMES, ALONE, seed=seed) for seed in (1, 1, 2))
    assert split_hash(one) == split_hash(same) != split_hash(other)


def test_folds_hold_each_galaxy_out_once():
    group = ALONE // 2
    split = draw_folds(NAMES, group, n_folds=5, seed=3)
    fold = np.asarray(split["fold"])
    assert sorted(np.unique(fold)) == [0, 1, 2, 3, 4]
    assert np.all(np.bincount(fold) == 4)
    np.testing.assert_array_equal(fold[::2], fold[1::2])


def test_a_split_needs_two_groups():
    with pytest.raises(ValueError, match="20 galaxies in 1 groups leaves a side"):
        draw_roles(NAMES, np.zeros(20, int), seed=0)


def test_groups_are_fields_of_sdss_names_and_positions_of_all_names():
    field = [str((1237648722312298496 >> 16) + one << 16 | number) for number, one in enumerate((0, 0, 1, 2))]
    far = np.array([0.0, 10.0, 20.0, 20.01])  # the last two 36 arcsec apart
    assert len(set(galaxy_groups(field, far, np.zeros(4)))) == 2
    # Numbers of a user's own tell no field.
    assert len(set(galaxy_groups(["1", "2", "3", "4"], far, np.zeros(4)))) == 3
    assert len(set(galaxy_groups(["1", "2", "3", "4"], np.full(4, np.nan), np.full(4, np.nan)))) == 4


# Written and read


def test_what_is_written_is_read_again_for_any_order_of_the_galaxies(path):
    split = draw_roles(NAMES, ALONE, seed=5)
    write_split(split, path)
    again = read_split(path, NAMES[::-1])
    assert list(again["objid"]) == list(NAMES[::-1])
    assert list(again["role"]) == list(split["role"][::-1])
    assert again.meta["seed"] == 5
    assert again.meta["rule"] == "groups"
    assert again.meta["separation"] == "90.0 arcsec"
    assert sorted(one.name for one in path.parent.iterdir() if one.suffix == ".ecsv") == [path.name]


def test_folds_are_read_again(path):
    split = draw_folds(NAMES, ALONE, seed=5)
    write_split(split, path)
    assert list(read_split(path, NAMES)["fold"]) == list(split["fold"])


def test_long_identifiers_survive(path):
    names = np.array(["1237648722312298496", "1237648722312298497"])
    write_split(Table({"objid": names, "role": ["train", "held_out"]}), path)
    assert list(read_split(path, names)["objid"]) == list(names)


def test_the_hash_does_not_depend_on_the_order_but_on_the_sides():
    split = Table({"objid": ["a", "b"], "role": ["train", "held_out"]})
    assert split_hash(split) == split_hash(split[::-1])
    assert split_hash(split) == hashlib.sha256(b"a,train\nb,held_out").hexdigest()
    split["role"] = ["held_out", "train"]
    assert split_hash(split) != hashlib.sha256(b"a,train\nb,held_out").hexdigest()


@pytest.mark.parametrize(
    ("objid", "role", "words"),
    [
        (["a", "b", "c", "a"], ["train", "held_out", "train", "train"], "a stands twice, in rows 0 and 3"),
        (
            ["a", "b", "c", "a"],
            ["train", "held_out", "train", "held_out"],
            "a stands on two sides, in rows 0",
        ),
        (["a", "b", "c", "d"], ["train", "held_out", "train", "train"], "1 galaxies are not in the data.*d$"),
        (["a", "b"], ["train", "held_out"], "1 galaxies of the data are missing, the first is c"),
        (["a", "b", "c"], ["train", "test", "train"], "role must be 'train' or 'held_out', got 'test'"),
        (["a", "b", "c"], ["train", "train", "train"], "all galaxies have the role train"),
    ],
)
def test_a_split_that_is_wrong(path, objid, role, words):
    written(path, objid=objid, role=role)
    with pytest.raises(ValueError, match=f"^split .*split.ecsv: .*{words}"):
        read_split(path, np.array(["a", "b", "c"]))


def test_a_fold_that_is_no_number(path):
    written(path, objid=["a", "b"], fold=["one", "two"])
    with pytest.raises(ValueError, match="fold must be an integer from 0"):
        read_split(path, np.array(["a", "b"]))


def test_what_is_no_split_at_all(path):
    with pytest.raises(FileNotFoundError, match="split: no such file"):
        read_split(path, NAMES)
    path.write_text("no table")
    with pytest.raises(ValueError, match="is not an ECSV table"):
        read_split(path, NAMES)
    path.unlink()
    written(path, objid=["a"], side=["train"])
    with pytest.raises(ValueError, match="must have objid and either role or fold, got objid, side"):
        read_split(path, np.array(["a"]))


@pytest.mark.parametrize(("arcsec", "refused"), [(0.0, True), (89.0, True), (91.0, False)])
def test_galaxies_closer_than_90_arcsec_do_not_stand_on_two_sides(path, arcsec, refused):
    names = np.array(["a", "b", "c"])
    written(path, objid=names, role=["train", "held_out", "train"])
    ra, dec = np.array([10.0, 10.0 + arcsec / 3600, 50.0]), np.zeros(3)
    if refused:
        with pytest.raises(ValueError, match=rf"1 pairs .* first are a and b, {arcsec:.0f} arcsec apart"):
            read_split(path, names, ra, dec)
    else:
        read_split(path, names, ra, dec)
    # Where no position is known none can be too close.
    read_split(path, names, np.full(3, np.nan), dec)


def test_the_papers_own_split_is_used_with_a_warning(path):
    names = np.array([f"g{number}" for number in range(10)])
    split = paper_roles(names)
    assert split.meta["rule"] == "paper-numpy"
    write_split(split, path)
    ra = np.zeros(10)
    with pytest.warns(HifracWarning, match="stand on two sides"):
        again = read_split(path, names, ra, np.zeros(10))
    assert list(again["role"]) == list(split["role"])
    _, valid = paper_permutation(10)
    assert set(np.flatnonzero(again["role"] == "held_out")) == set(valid)


@pytest.mark.real_data
def test_the_real_galaxies_are_split_without_close_pairs(real_data, path):
    labels = Table.read(real_data / "cutouts" / "hi_labels.ecsv")
    names = np.asarray(labels["objid"], dtype=str)
    ra, dec = (np.asarray(labels[name], dtype=float) for name in ("ra", "dec"))
    split = draw_roles(names, galaxy_groups(names, ra, dec), seed=12345)
    assert np.sum(split["role"] == "held_out") == 51
    write_split(split, path)
    read_split(path, names, ra, dec)
