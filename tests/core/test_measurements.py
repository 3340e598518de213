"""The one parser of columns of numbers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Column, MaskedColumn, Table
from astropy.utils.masked import Masked

from hifrac.core.exceptions import HifracWarning
from hifrac.core.measurements import find_measurement, parse_measurement, parse_numbers


@pytest.mark.parametrize(
    "values",
    [
        [1.0, np.nan, np.inf],
        np.ma.MaskedArray([1, 2, 3], mask=[False, True, True]),
        MaskedColumn([1.0, 2.0, np.inf], mask=[False, True, False]),
        MaskedColumn([60.0, 2.0, np.inf], mask=[False, True, False], unit=u.arcsec),
        Masked([1.0, 2.0, -np.inf] * u.arcmin, mask=[False, True, False]),
        Column([1.0, np.nan, np.nan], unit="arcmin"),
    ],
    ids=["list", "masked integers", "masked column", "another unit", "masked quantity", "column"],
)
def test_what_is_masked_or_not_finite_is_nan_whatever_holds_it(values):
    np.testing.assert_array_equal(parse_numbers(values, "r50", u.arcmin), [1.0, np.nan, np.nan])


def test_a_single_number_is_one_row():
    assert parse_numbers(3, "x").tolist() == parse_numbers(3 * u.km, "x").tolist() == [3.0]


@pytest.mark.parametrize(
    ("values", "units", "numbers"),
    [
        ([1.0] * u.hourangle, (u.deg,), [15.0]),
        (Column([180.0], unit=u.Unit("Degrees", parse_strict="silent")), (u.deg,), [180.0]),
        ([20.0] * u.mag / u.arcsec**2, (u.mag / u.arcsec**2, u.mag), [20.0]),
        ([20.0] * u.mag, (u.mag / u.arcsec**2, u.mag), [20.0]),
        ([200.0] * u.mmag, (u.mag,), [0.2]),
        ([9.0] * u.dex, (u.dex(u.solMass), u.dex), [9.0]),
        ([9.0] * u.kpc, (), [9.0]),
    ],
)
def test_units_are_converted_to_the_first_but_for_those_taken_as_they_are(values, units, numbers):
    np.testing.assert_allclose(parse_numbers(values, "x", *units), numbers, rtol=1e-14)


@pytest.mark.parametrize(
    ("values", "units", "message"),
    [
        ([1.0] * u.kpc, (u.arcsec,), r"^x must be in arcsec, got the unit kpc$"),
        # A factor of area does not convert a logarithm of flux per area.
        ([1.0] * u.mag / u.arcmin**2, (u.mag / u.arcsec**2,), r"^x must be in mag / arcsec2"),
        (
            u.Dex([9.0], u.dex(u.kg)),
            (u.dex(u.solMass),),
            r"^x must be in dex\(solMass\), got the unit dex\(kg\)$",
        ),
    ],
)
def test_units_of_another_quantity_or_logarithm_are_refused(values, units, message):
    with pytest.raises(u.UnitConversionError, match=message):
        parse_numbers(values, "x", *units)


def test_redshifts_beyond_all_galaxies_are_unknown_without_a_word():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(parse_measurement([0.1, 99.0, -99.0], "z"), [0.1, np.nan, -99.0])


def test_a_warning_points_to_the_caller():
    with pytest.warns(
        HifracWarning, match="^E_BV must be a reddening, which is not negative: 1 of 2"
    ) as caught:
        parse_measurement([0.1, -1.0], "ebv", "E_BV")
    assert caught[0].filename == __file__


def test_a_redshift_goes_by_two_names_and_the_first_counts():
    assert find_measurement(Table({"Redshift": [0.1]}), "z") == "Redshift"
    # z is that of a magnitude in many a table that has both.
    assert find_measurement(Table({"z": [16.1], "redshift": [0.1]}), "z") == "redshift"
    assert find_measurement(Table({"ra": [0.1]}), "z") is None
    with pytest.raises(ValueError, match=r"^reference has Redshift and REDSHIFT, and no redshift"):
        find_measurement(Table({"Redshift": [0.1], "REDSHIFT": [0.1]}), "z", "reference")
