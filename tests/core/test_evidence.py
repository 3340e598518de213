"""What a table has beside the pictures: names, corrections, units, sentinels."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Column, MaskedColumn, QTable, Table
from hypothesis import given
from hypothesis import strategies as st

from hifrac.core.evidence import Evidence, parse_evidence
from hifrac.core.exceptions import HifracWarning
from hifrac.core.measurements import C_KM_S, MEASUREMENTS
from hifrac.core.reddening import EXTINCTION_PER_EBV

NAMES = [field.name for field in fields(Evidence)]


def evidence(ebv=0.1, **columns):
    """Return the evidence of a table with the columns given; ``ebv`` may be one number for all rows."""
    table = columns.pop("table", None)
    table = Table(columns) if table is None else table
    ebv = None if ebv is None else np.broadcast_to(np.asarray(ebv, dtype=float), len(table))
    return parse_evidence(table, ebv, np.full(len(table), 1.0))


def test_nothing_is_known_of_a_table_without_such_columns():
    empty, none = evidence(name=["a", "b"]), Evidence.none(2)
    assert len(empty) == len(none) == 2
    for name in NAMES:
        assert np.isnan(getattr(none, name)).all()
        assert np.isnan(getattr(empty, name)).all() == (name != "dec"), name


def test_rows_are_of_every_quantity():
    whole = Evidence(*(np.arange(3.0) + 10 * k for k in range(len(NAMES))))
    part = whole[[2, 0]]
    assert len(part) == 2
    for k, name in enumerate(NAMES):
        np.testing.assert_array_equal(getattr(part, name), np.array([2.0, 0.0]) + 10 * k)


def test_gaps_can_be_filled_from_other_evidence():
    ours = evidence(z=[0.01, np.nan, 0.03], axis_ratio=[np.nan, 0.5, 0.6])
    theirs = evidence(z=[0.1, 0.2, 0.3])
    filled = ours.or_else(theirs)
    np.testing.assert_allclose(filled.log_cz, np.log10(C_KM_S * np.array([0.01, 0.2, 0.03])))
    np.testing.assert_array_equal(filled.axis_ratio, ours.axis_ratio)


@pytest.mark.parametrize("change", [str, str.upper, str.title])
@pytest.mark.parametrize("name", ["mag_", "modelMag_", "cModelMag_", ""])
def test_magnitudes_as_observed_are_corrected_by_the_reddening(name, change):
    result = evidence(**{change(f"{name}g"): [17.0], change(f"{name}i"): [16.0]})
    assert result.i[0] == pytest.approx(16.0 - 0.1698)
    assert result.g_minus_i[0] == pytest.approx(1.0 - 0.3303 + 0.1698)


@pytest.mark.parametrize("names", [("g_minus_i", "i"), ("dered_g", "dered_i")])
def test_corrected_magnitudes_stay_as_they_are(names):
    first = 1.0 if names[0] == "g_minus_i" else 17.0
    result = evidence(
        **dict(zip(names, ([first], [16.0]), strict=True)), extinction_g=[0.5], extinction_i=[0.2]
    )
    assert (result.g_minus_i[0], result.i[0]) == (1.0, 16.0)


def test_extinctions_come_before_the_reddening_row_by_row():
    columns = {"mag_g": [17.0] * 3, "mag_i": [16.0] * 3}
    extinction = {"Extinction_g": [0.5, -9999.0, 0.0], "EXTINCTION_I": [0.2, np.nan, 0.0]}
    with pytest.warns(
        HifracWarning, match=r"^Extinction_g must be the Galactic extinction in g, 0 to 20: 1 of 3"
    ):
        result = evidence(**columns, **extinction)
    np.testing.assert_allclose(result.i, [15.8, 16.0 - 0.1698, 16.0])
    np.testing.assert_allclose(result.g_minus_i, [0.7, 1.0 - 0.3303 + 0.1698, 1.0])


@pytest.mark.parametrize("ebv", [None, np.nan])
def test_what_was_observed_through_unknown_dust_is_of_no_use(ebv):
    assert np.isnan(evidence(ebv, mag_g=[17.0], mag_i=[16.0]).i).all()
    assert evidence(ebv, mag_g=[17.0], mag_i=[16.0], extinction_g=[0.0], extinction_i=[0.0]).i[0] == 16.0


def test_each_row_has_the_first_that_it_knows_in_the_order_of_the_documentation():
    nan = np.nan
    columns = {
        "dered_g": [16.0, nan, nan, nan, nan, nan], "dered_i": [15.0, nan, nan, nan, nan, nan],
        "mag_g": [17.1, 17.1, nan, nan, nan, nan], "mag_i": [16.0, 16.0, nan, nan, nan, nan],
        "modelMag_g": [17.2] * 3 + [nan] * 3, "modelMag_i": [16.0] * 3 + [nan] * 3,
        "cModelMag_g": [17.3] * 4 + [nan] * 2, "cModelMag_i": [15.9, 15.9, 15.9, 15.8, nan, nan],
        "g": [17.4] * 5 + [nan], "i": [15.7] * 5 + [nan],
    }  # fmt: skip
    result = evidence(0.0, **columns)
    np.testing.assert_allclose(result.g_minus_i, [1.0, 1.1, 1.2, 1.5, 1.7, nan])
    # The colour is that of one kind of magnitude; the total light is cmodel's.
    np.testing.assert_allclose(result.i, [15.0, 16.0, 15.9, 15.8, 15.7, nan])


def test_beside_a_corrected_colour_the_plain_i_is_corrected_too():
    result = evidence(
        0.3, g_minus_i=[1.0, np.nan], i=[16.0, np.nan], g=[18.0, 18.0], mag_g=[18, 17], mag_i=[15, 16]
    )
    red = 0.3 * (EXTINCTION_PER_EBV["g"] - EXTINCTION_PER_EBV["i"])
    np.testing.assert_allclose(result.g_minus_i, [1.0, 1.0 - red])
    np.testing.assert_allclose(result.i, [16.0, 16.0 - 0.3 * EXTINCTION_PER_EBV["i"]])
    # Without one of its own, it takes what was observed.
    assert evidence(0.0, g_minus_i=[1.0], mag_i=[16.0]).i[0] == 16.0


@pytest.mark.parametrize(
    "names", [("g_minus_i",), ("mag_g",), ("mag_i",), ("i",), ("g", "mag_i"), ("mag_g", "i")]
)
def test_half_of_the_photometry_is_none(names):
    result = evidence(**{name: [1.0 if name == "g_minus_i" else 16.0] for name in names})
    assert np.isnan(result.g_minus_i).all()
    assert np.isnan(result.i).all()


def test_what_is_not_used_cannot_be_wrong():
    assert np.isnan(evidence(i=["first"], name=["x"]).i).all()
    with pytest.raises(TypeError, match=r"^g must hold numbers"):
        evidence(g=["no"], i=[16.0])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (Column([16.0], unit=u.mag), 16.0),
        (Column([16.0], unit="mag(AB)"), 16.0),
        (Column([16000.0], unit=u.mmag), 16.0),
        (MaskedColumn([16.0], mask=[True]), np.nan),
        (MaskedColumn([16], mask=[False], unit=u.ABmag), 16.0),
        (16.0 * np.ones(1) * u.ABmag, 16.0),
    ],
)
def test_units_and_masks_of_magnitudes(column, value):
    table = (Table if isinstance(column, MaskedColumn) else QTable)({"mag_g": [17.0], "mag_i": column})
    np.testing.assert_array_equal(evidence(0.0, table=table).i, [value])


@pytest.mark.parametrize("unit", ["nmgy", "STmag", "Jy"])
def test_fluxes_and_other_systems_are_refused(unit):
    table = Table({"mag_g": [17.0], "modelMag_i": Column([400.0], unit=unit), "modelMag_g": [17.0]})
    with pytest.raises(
        u.UnitConversionError, match=r"^modelMag_i must be a magnitude \(that of a flux in nmgy"
    ):
        evidence(table=table)


@pytest.mark.parametrize("bad", [-9999.0, -99.0, 99.0, 0.0, 30.0])
def test_numbers_that_are_no_magnitude_are_unknown_in_their_row(bad):
    with pytest.warns(
        HifracWarning, match=rf"^mag_g must be the magnitude in g as observed, 5 to 25: 1 of 2 .* {bad:g}"
    ):
        result = evidence(mag_g=[17.0, bad], mag_i=[16.0, 16.0])
    np.testing.assert_array_equal(np.isnan(result.i), [False, True])


def test_a_colour_of_no_galaxy_is_unknown_whatever_it_is_made_of():
    with pytest.warns(
        HifracWarning, match=r"^g-i must be the colour g-i, .*, -1 to 3: 1 of 2 .* row 1 with 5"
    ):
        result = evidence(0.0, mag_g=[17.0, 22.0], mag_i=[16.0, 17.0])
    np.testing.assert_array_equal(result.g_minus_i, [1.0, np.nan])
    np.testing.assert_array_equal(result.i, [16.0, np.nan])


def test_of_swapped_bands_no_magnitude_is_used():
    swapped = {
        f"dered_{band}": [15.0, value]
        for band, value in zip("ugriz", (15, 15.2, 15.5, 16.6, 18), strict=True)
    }
    with pytest.warns(HifracWarning, match=r"^g-i must be the colour .* row 1 with -1\.4"):
        result = evidence(**swapped)
    np.testing.assert_array_equal(np.isnan(result.magnitudes), [[False] * 5, [True] * 5])


@pytest.mark.parametrize("name", ["z", "Z", "redshift", "Redshift"])
def test_redshifts(name):
    result = evidence(**{name: [0.02, 0.0005, -0.001, 0.0, np.nan]})
    np.testing.assert_allclose(result.log_cz, [np.log10(0.02 * C_KM_S)] + 4 * [np.nan])


def test_magnitudes_with_the_colours_of_no_galaxy_are_unknown():
    bands = {
        "u": [18.5, 14.0, np.nan],
        "g": [17.0, 17.0, 17.0],
        "r": [16.4] * 3,
        "i": [16.1] * 3,
        "z": [15.9] * 3,
    }
    table = Table({f"dered_{band}": values for band, values in bands.items()})
    message = r"^magnitudes in u and g must differ by -1.5 to 6: all of 1 of 3 rows .* row 1 with -3"
    with pytest.warns(HifracWarning, match=message):
        evidence = parse_evidence(table, None, np.zeros(3))
    assert np.isfinite(evidence.magnitudes).sum(axis=1).tolist() == [5, 0, 4]
    np.testing.assert_allclose(evidence.g_minus_i, 0.9)  # which is that of a galaxy


def test_magnitudes_in_z_are_no_redshifts():
    table = Table({"u": [19.0], "g": [17.0], "r": [16.5], "i": [16.0], "z": [15.8], "redshift": [0.02]})
    assert evidence(table=table).log_cz[0] == pytest.approx(np.log10(0.02 * C_KM_S))
    table.remove_column("redshift")
    with pytest.warns(
        HifracWarning, match=r"^z must be redshifts up to 1: 1 of 1 .* with 15.8 \(magnitudes in z"
    ):
        assert np.isnan(evidence(table=table).log_cz[0])
    table["z"].unit = u.mag
    with pytest.raises(u.UnitConversionError, match=r"^z must be redshifts without a unit, got the unit mag"):
        evidence(table=table)


@pytest.mark.parametrize(
    "name", ["axis_ratio", "b/a", "BA", "axial_ratio", "expAB_r", "deVAB_r", "SERSIC_BA"]
)
def test_axis_ratios(name):
    assert evidence(**{name: [0.4]}).axis_ratio[0] == 0.4
    with pytest.warns(HifracWarning, match=r"must be the minor over the major axis, 0 to 1: 3 of 4"):
        np.testing.assert_array_equal(
            evidence(**{name: [1.0, 0.0, 1.7, -9999]}).axis_ratio, [1, np.nan, np.nan, np.nan]
        )


def test_axis_ratios_of_one_fit_take_the_place_of_those_missing_in_another():
    table = Table({"deVAB_r": [0.7, 0.8], "expAB_r": [0.6, np.nan]})
    np.testing.assert_array_equal(evidence(table=table).axis_ratio, [0.6, 0.8])


def test_masses_and_their_errors():
    result = evidence(log_mstar=[10.0], log_mstar_err=[0.1], log_mhi_limit=[9.0] * u.dex(u.solMass))
    assert (result.log_mstar[0], result.log_mstar_err[0], result.log_mhi_limit[0]) == (10.0, 0.1, 9.0)
    with pytest.raises(
        ValueError, match=r"^log_mhi_limit must be an upper limit .*: is it the mass itself\?"
    ):
        evidence(log_mhi_limit=[1e9])


def test_limits_of_harmonised_catalogues_are_truth_values():
    table = Table(
        {"log_mhi": [9.0, 8.5, 8.0], "log_mhi_limit": MaskedColumn([True, False, True], mask=[0, 0, 1])}
    )
    np.testing.assert_array_equal(evidence(table=table).log_mhi_limit, [9.0, np.nan, np.nan])
    table.remove_column("log_mhi")
    assert np.isnan(evidence(table=table).log_mhi_limit).all()


def test_names_that_differ_by_case_alone_are_ambiguous():
    with pytest.raises(ValueError, match=r"^data has Mag_g and MAG_G, and no mag_g"):
        evidence(Mag_g=[17.0], MAG_G=[17.0], mag_i=[16.0])


COLUMNS = [name for name in MEASUREMENTS if name not in ("z", "ebv", "log_mstar", "log_mhi_limit")]
COLUMNS += ["modelMag_g", "modelMag_i", "expAB_r"]
VALUES = st.one_of(
    st.floats(-2, 26), st.sampled_from([np.nan, np.inf, -np.inf, 99.0, -9999.0, 0.0, 1e300, -1e-300])
)


@pytest.mark.filterwarnings("ignore:.* rows are taken to be unknown")
@given(
    st.lists(st.sampled_from(COLUMNS), unique=True).flatmap(
        lambda names: st.lists(st.tuples(*[VALUES] * (len(names) + 1)), min_size=1, max_size=5).map(
            lambda rows: Table(rows=rows, names=[*names, "redshift"])
        )
    )
)
def test_any_numbers_are_evidence_within_bounds_or_none_row_by_row(table):
    table["redshift"] = np.clip(np.nan_to_num(np.asarray(table["redshift"], dtype=float)), -1, 20)
    ebv = np.linspace(0, 0.3, len(table))
    whole = parse_evidence(table, ebv, ebv)
    for row in range(len(table)):
        single = parse_evidence(table[row : row + 1], ebv[row : row + 1], ebv[row : row + 1])
        for name in NAMES:
            np.testing.assert_array_equal(getattr(whole[row : row + 1], name), getattr(single, name), name)
    np.testing.assert_array_equal(np.isnan(whole.i), np.isnan(whole.g_minus_i))
    for name, measurement in (
        ("g_minus_i", "g_minus_i"),
        ("axis_ratio", "axis_ratio"),
        ("log_mstar_err",) * 2,
    ):
        values, expected = getattr(whole, name), MEASUREMENTS[measurement]
        assert np.all(np.isnan(values) | ((values >= expected.low) & (values <= expected.high)))
    assert not np.isinf(whole.log_cz).any()
