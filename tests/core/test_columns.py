"""The registry of result columns."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.utils.masked import Masked
from contract import assert_column_of

from hifrac.core.columns import (
    RESULT_COLUMNS,
    WITH_MASS,
    WITH_SAMPLES,
    ResultColumn,
    columns_of,
    make_column,
    make_room,
    result_column,
)
from hifrac.core.quantities import QUANTITIES
from hifrac.models.answer import INTERVAL_LEVELS
from hifrac.models.calibration import LEVELS

DEX = (
    "log_hi_fraction",
    "log_hi_fraction_p16",
    "log_hi_fraction_p84",
    "log_hi_fraction_p05",
    "log_hi_fraction_p95",
)
PLAIN = ("evidence", "p_detect", "ood_score", "flags")
ALWAYS = (*DEX, *PLAIN)
MASSES = ("log_mhi", "log_mhi_p16", "log_mhi_p84", "log_mhi_p05", "log_mhi_p95")


def test_the_names_and_units_are_those_of_the_contract():
    columns = columns_of("log_hi_fraction", "", with_mass=True, with_samples=True)
    assert [name for name, entry in columns.items() if entry.when == "always"] == list(ALWAYS)
    assert [name for name, entry in columns.items() if entry.when == WITH_MASS] == list(MASSES)
    samples = [name for name, entry in columns.items() if entry.when == WITH_SAMPLES]
    assert samples == ["log_hi_fraction_samples"]
    units = {
        **dict.fromkeys(DEX, u.dex),
        **dict.fromkeys(PLAIN, None),
        **dict.fromkeys(MASSES, u.dex(u.solMass)),
        **dict.fromkeys(samples, u.dex),
    }
    assert {name: RESULT_COLUMNS[name].unit for name in units} == units


def test_a_metallicity_has_the_same_columns_but_for_those_of_gas():
    columns = columns_of("oh", "", with_mass=True, with_samples=True)
    assert [*columns] == [
        *("oh", "oh_p16", "oh_p84", "oh_p05", "oh_p95", "oh_samples"),
        *("evidence", "p_star_forming", "ood_score", "flags"),
    ]
    assert {entry.unit for name, entry in columns.items() if name.startswith("oh")} == {u.dex}


def test_other_quantities_have_estimate_and_interval_by_their_own_name():
    columns = columns_of("b_over_a", "axis ratio", with_mass=True, with_samples=True, with_environment=True)
    assert [*columns] == [
        *("b_over_a", "b_over_a_p16", "b_over_a_p84", "b_over_a_p05", "b_over_a_p95"),
        *("p_detect", "ood_score", "flags", "log_overdensity", "environment_flags"),
    ]
    assert columns["b_over_a"].description == "axis ratio"
    assert columns["b_over_a_p05"].description == "5th percentile of b_over_a, conformal"
    assert columns["b_over_a"].unit is None
    classes = columns_of("p_detect", "a class")
    assert classes["p_detect"].description.startswith("probability of an ALFALFA-like detection")


def test_every_column_is_described_in_one_line():
    for name, entry in RESULT_COLUMNS.items():
        assert entry.name == name
        assert 10 < len(entry.description) < 100
        assert "\n" not in entry.description


@pytest.mark.parametrize("name", [*ALWAYS, *MASSES])
def test_a_column_with_values_and_without(name):
    values = np.array([1, 2], dtype=np.int32) if name == "flags" else np.array([1.5, 2.5])
    column = QTable({name: result_column(name, values, np.array([False, True]))})[name]
    assert_column_of(RESULT_COLUMNS[name], column)
    assert np.asarray(column.mask).tolist() == [False, True]
    assert column[0] == values[0]


def test_masked_values_are_not_kept_under_their_mask():
    column = result_column("log_hi_fraction", np.array([1.0, 2.0]), np.array([False, True]))
    assert np.isnan(column.data.data[1])
    assert np.isnan(result_column("p_detect", np.array([0.5]), np.array([True])).data.data[0])


def test_the_kinds_of_column():
    values = np.array([0.5, 0.25])
    for name in ("log_hi_fraction", "log_mhi"):
        assert isinstance(result_column(name, values), MaskedColumn)
    assert isinstance(result_column("p_detect", values, values < 0), MaskedColumn)
    distance = make_column(ResultColumn("distance", u.Mpc, "a distance"), values)
    assert isinstance(distance, Masked)
    assert distance.unit == u.Mpc
    flags = result_column("flags", np.array([0, 4], dtype=np.int32))
    assert type(flags) is Column
    assert flags.dtype == np.int32


def test_the_values_given_are_not_changed():
    values = np.array([1.0, 2.0])
    result_column("log_hi_fraction", values, np.array([True, True]))
    assert values.tolist() == [1.0, 2.0]


def test_every_level_of_an_interval_has_its_column():
    # The estimator fills these, and the tables of a model have their levels.
    assert set(INTERVAL_LEVELS.values()) == set(LEVELS) - {0.5}
    for ending, level in INTERVAL_LEVELS.items():
        percentile = round(100 * level)
        assert ending == f"p{percentile:02d}"
        for quantity in QUANTITIES.values():
            description = RESULT_COLUMNS[f"{quantity.column}_{ending}"].description
            assert description.startswith(f"{percentile}th percentile")


def test_a_column_that_is_not_registered_is_refused():
    with pytest.raises(KeyError):
        result_column("colour", np.zeros(1))


def test_what_says_how_far_another_quantity_is_to_be_trusted_is_kept():
    trust = ["evidence", "ood_score", "flags"]
    hi, oh = (list(columns_of(name, "what it is")) for name in ("log_hi_fraction", "oh"))
    table = Table({name: [1.0] for name in hi})
    make_room(table, oh, overwrite=True)
    kept = [f"log_hi_fraction_{name}" for name in trust]
    assert set(table.colnames) == set(hi) - set(trust) | set(kept)
    for name in oh:
        table[name] = [2.0]
    make_room(table, oh, overwrite=True)  # once more: now they are of the metallicity
    assert set(table.colnames) == set(hi) - set(trust) | set(kept)
    for name in oh:
        table[name] = [3.0]
    make_room(table, hi, overwrite=True)
    assert set(table.colnames) == set(oh) - set(trust) | {f"oh_{name}" for name in trust}


def test_draws_of_a_replaced_estimate_go_with_it():
    table = Table({name: [1.0] for name in columns_of("oh", "what it is", with_samples=True)})
    make_room(table, list(columns_of("oh", "what it is")), overwrite=True)
    assert table.colnames == []
