"""The registry of columns: one place for names, units and meanings."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable
from contract import assert_column_of

from hifrac.catalogs import CATALOG_COLUMNS, CATALOGS, CatalogFlag, plain_values
from hifrac.catalogs.columns import catalog_column


def test_every_column_is_described_and_of_a_known_kind():
    for name, column in CATALOG_COLUMNS.items():
        assert column.name == name
        assert column.dtype in (float, int, bool, str)
        assert len(column.description) > 5
        assert column.unit is None or column.dtype is float


def test_the_columns_that_every_catalogue_has_come_first():
    always = [column.when == "always" for column in CATALOG_COLUMNS.values()]
    assert always == sorted(always, reverse=True)
    assert sum(always) == 14


def test_every_catalogue_is_a_public_function():
    from hifrac import catalogs

    for name in CATALOGS:
        assert callable(getattr(catalogs, name))


@pytest.mark.parametrize("name", CATALOG_COLUMNS)
def test_a_column_survives_slicing_and_keeps_its_unit_mask_and_description(name):
    entry = CATALOG_COLUMNS[name]
    values = {float: [1.5, np.nan, 3.0], int: [1, 2, 3], bool: [True, False, True], str: ["a", "b", "c"]}
    table = QTable()
    table[name] = catalog_column(name, np.array(values[entry.dtype]), np.array([False, True, False]))
    part = table[np.array([True, True, False])]
    assert list(part[name].mask) == [False, True]
    assert_column_of(entry, part[name])


def test_a_float_that_is_not_finite_is_masked():
    column = catalog_column("z", np.array([0.1, np.inf, np.nan]))
    assert list(column.mask) == [False, True, True]


def test_plain_values_are_in_the_unit_of_the_registry_and_nan_where_masked():
    table = QTable()
    table["v"] = np.array([1000.0, 2000.0]) * u.m / u.s
    table["log_mhi"] = catalog_column("log_mhi", np.array([9.0, 9.5]), np.array([False, True]))
    table["ra"] = [1, 2]
    np.testing.assert_allclose(plain_values(table, "v"), [1.0, 2.0])
    np.testing.assert_allclose(plain_values(table, "log_mhi"), [9.0, np.nan])
    assert plain_values(table, "ra").dtype == float


def test_plain_values_of_an_absent_column_are_an_error_that_names_it():
    with pytest.raises(KeyError, match="no column dec"):
        plain_values(QTable({"ra": [1.0]}), "dec")


def test_flags_are_single_bits_and_can_be_read():
    values = [int(flag) for flag in CatalogFlag]
    assert all(value & (value - 1) == 0 for value in values)
    assert len(set(values)) == len(values)
    assert all(flag.summary for flag in CatalogFlag)
    assert CatalogFlag.decode(np.int64(5)) == ["NO_COUNTERPART", "PRIOR"]
    assert CatalogFlag.decode(0) == []
