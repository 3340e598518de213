"""Hubble constants and initial mass functions: declared, converted, and never mixed."""

import numpy as np
import pytest
from astropy import units as u
from astropy.cosmology import FlatLambdaCDM
from astropy.table import QTable
from catalog_tables import xgass_table
from hypothesis import given
from hypothesis import strategies as st

from hifrac import catalogs
from hifrac.catalogs import CatalogError, convert_h0, declare_scale, plain_values
from hifrac.catalogs.columns import catalog_column
from hifrac.catalogs.errors import CatalogScaleError
from hifrac.catalogs.samples import with_stellar_mass
from hifrac.catalogs.scales import check_scales


def galaxies(**scale):
    table = QTable()
    values = {
        "ra": [150.0, 151.0],
        "dec": [1.0, 2.0],
        "z": [0.02, 0.04],
        "distance": [88.0, 176.0],
        "log_mhi": [9.5, np.nan],
        "log_mstar": [10.0, 9.0],
        "log_hi_fraction": [-0.5, np.nan],
        "abs_r": [-20.0, -18.0],
    }
    for name, column in values.items():
        table[name] = catalog_column(name, np.array(column))
    table.meta["hifrac"] = {"catalog": "mine", **scale}
    return table


@pytest.fixture
def xgass(tmp_path):
    xgass_table().write(tmp_path / "xgass.fits")
    return catalogs.xgass(tmp_path / "xgass.fits")


def test_a_catalogue_tells_its_scale(xgass):
    assert (xgass.meta["hifrac"]["h0"], xgass.meta["hifrac"]["imf"]) == (70, "Chabrier")


def test_declaring_a_scale_changes_what_is_said_and_no_number(xgass):
    mine = declare_scale(xgass, h0=100, imf="Salpeter")
    assert (mine.meta["hifrac"]["h0"], mine.meta["hifrac"]["imf"]) == (100, "Salpeter")
    assert xgass.meta["hifrac"]["h0"] == 70
    np.testing.assert_array_equal(plain_values(mine, "log_mhi"), plain_values(xgass, "log_mhi"))


@pytest.mark.slow
@given(st.floats(30, 150), st.floats(30, 150))
def test_converted_masses_and_distances_are_those_of_the_other_cosmology(before, after):
    z = np.array([0.02, 0.04])
    distance = [
        FlatLambdaCDM(H0=h0, Om0=0.3).luminosity_distance(z).to_value(u.Mpc) for h0 in (before, after)
    ]
    table = galaxies(h0=before)
    table["distance"] = catalog_column("distance", distance[0])
    result = convert_h0(table, after)
    np.testing.assert_allclose(plain_values(result, "distance"), distance[1])
    # A flux is what was measured: the mass goes as the square of the distance.
    change = 2 * np.log10(distance[1] / distance[0])
    powers = {"log_mhi": 1, "log_mstar": 1, "abs_r": -2.5, "log_hi_fraction": 0, "z": 0}
    for name, power in powers.items():
        changed = plain_values(result, name)[0] - plain_values(table, name)[0]
        assert changed == pytest.approx(power * change[0], abs=1e-9), name
    assert result.meta["hifrac"]["h0"] == after
    assert result["log_mhi"].mask.tolist() == [False, True]
    assert result["log_mhi"].unit == table["log_mhi"].unit


def test_masses_of_another_hubble_constant_are_refused_and_taken_once_converted():
    hi, masses = galaxies(h0=70), galaxies(h0=100, imf="Chabrier")
    with pytest.raises(CatalogScaleError, match=r"H0 = 70, masses for H0 = 100 .* by 0.31 dex; .*convert_h0"):
        with_stellar_mass(hi, masses, by="position")
    result = with_stellar_mass(hi, convert_h0(masses), by="position")
    np.testing.assert_allclose(
        plain_values(result, "log_mstar"), plain_values(masses, "log_mstar") + 0.3098, atol=1e-4
    )
    assert result.meta["hifrac"]["imf"] == "Chabrier"


def test_two_mass_functions_are_refused_where_both_stellar_masses_are_used():
    one, other = galaxies(h0=70, imf="Chabrier"), galaxies(h0=70, imf="Salpeter")
    check_scales(one, other)
    with pytest.raises(
        CatalogScaleError, match="masses of a Chabrier initial mass function, masses those of Salp"
    ):
        check_scales(one, other, imf=True)
    check_scales(one, galaxies(), imf=True)  # tells none


def test_a_table_that_does_not_tell_its_scale_is_not_converted():
    with pytest.raises(CatalogScaleError, match="does not tell its Hubble constant: declare_scale"):
        convert_h0(galaxies(), 70)
    assert issubclass(CatalogScaleError, CatalogError)


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ({"h0": 0.7}, "h0 must be a Hubble constant from 20 to 200"),
        ({"h0": float("nan")}, "h0 must be a Hubble constant"),
        ({"h0": "70"}, "h0 must be a number"),
        ({"imf": "salpeter"}, "imf must be one of Chabrier, Kroupa, Salpeter, got 'salpeter'"),
    ],
)
def test_a_scale_that_is_none_is_refused(scale, message):
    with pytest.raises(ValueError, match=message):
        declare_scale(galaxies(), **scale)
