"""Oxygen abundances from masses and lines: check values, ranges, the labels of real galaxies, the forest."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Column, MaskedColumn, Table, join
from contract import values_of
from hypothesis import given
from hypothesis import strategies as st

from hifrac import relations
from hifrac.core.exceptions import HifracWarning
from hifrac.metrics import regression_metrics
from hifrac.relations import RelationFlag
from hifrac.relations.metallicity import tremonti2004_table

#: 12 + log10(O/H) at log M*, computed by hand from eq. 3 of Tremonti et al. (2004).
CHECK_VALUES = {8.5: 8.40872, 9: 8.62994, 9.5: 8.81103, 10: 8.952, 10.5: 9.05283, 11: 9.11354, 11.5: 9.13411}
LINES = ("oiii_5007_flux", "h_beta_flux", "nii_6584_flux", "h_alpha_flux")
PORTSMOUTH = ("Flux_OIII_5006", "Flux_Hb_4861", "Flux_NII_6583", "Flux_Ha_6562")


def test_the_mass_metallicity_relation_has_its_values_and_ends_where_the_paper_ends_it():
    masses = list(CHECK_VALUES)
    table = relations.tremonti2004([*masses, 8.49, 11.51])
    np.testing.assert_allclose(values_of(table["oh"])[:7], list(CHECK_VALUES.values()), atol=1.5e-5)
    assert table["oh"].mask.tolist() == [False] * 7 + [True] * 2
    assert table["relation_flags"].tolist() == [0] * 7 + [RelationFlag.OUT_OF_RANGE] * 2
    # 68% of a normal distribution of 0.10 dex
    width = values_of(table["oh_p84"])[:7] - values_of(table["oh_p16"])[:7]
    np.testing.assert_allclose(width, 0.2, atol=0.002)


def test_the_table_is_the_published_one_and_linear_between_its_bins():
    bins = tremonti2004_table()
    assert len(bins) == 28
    assert (bins["oh"].min(), bins["oh"].max()) == (8.44, 9.12)
    assert np.all(bins["oh_p16"] < bins["oh"])
    assert np.all(bins["oh"] < bins["oh_p84"])
    at_bins = relations.tremonti2004(bins["log_mstar"], form="table")
    for name in ("oh_p16", "oh", "oh_p84"):
        np.testing.assert_array_equal(values_of(at_bins[name]), bins[name])
    between = relations.tremonti2004([(8.57 + 8.67) / 2, 8.56, 11.26], form="table")
    assert between["oh"].tolist() == [pytest.approx(8.46), None, None]
    # The polynomial is a fit to the table.
    np.testing.assert_allclose(
        values_of(relations.tremonti2004(bins["log_mstar"])["oh"]), bins["oh"], atol=0.045
    )


def test_line_ratios_are_logarithms_of_fluxes_and_masked_where_a_line_is_absorbed_or_missing():
    nii = MaskedColumn([2.0, -1.0, 0.0, 3.0, np.nan], mask=[0, 0, 0, 1, 0])
    assert relations.n2(nii, np.full(5, 20.0)).tolist() == [pytest.approx(-1), None, None, None, None]
    index = relations.o3n2([4.0] * u.mJy, [1.0] * u.mJy, Column([2.0]), [20.0])
    assert index.tolist() == [pytest.approx(np.log10(4 / 1) - np.log10(2 / 20))]


@given(st.floats(-1, 1.9), st.floats(-2.5, -0.3))
def test_pettini_and_pagel_are_their_polynomials(o3n2, n2):
    for index, ratio, expected in (
        ("O3N2", o3n2, 8.73 - 0.32 * o3n2),
        ("N2", n2, 9.37 + n2 * (2.03 + n2 * (1.26 + 0.32 * n2))),
        ("N2 linear", n2, 8.90 + 0.57 * n2),
    ):
        table = relations.pettini_pagel2004([ratio], index=index)
        assert table["oh"][0] == pytest.approx(expected)
        assert table["oh_p84"][0] - table["oh_p16"][0] == pytest.approx(
            2 * 0.994458 * (0.14 if index == "O3N2" else 0.18)
        )


@pytest.mark.parametrize(
    ("index", "ratios"), [("O3N2", [-1.01, 1.91]), ("N2", [-2.51, -0.29]), ("N2 linear", [-2.51, -0.29])]
)
def test_outside_their_ranges_calibrations_are_masked(index, ratios):
    table = relations.pettini_pagel2004([*ratios, -0.5, np.nan], index=index)
    assert table["oh"].mask.tolist() == [True, True, False, True]
    assert table["relation_flags"].tolist() == [
        RelationFlag.OUT_OF_RANGE, RelationFlag.OUT_OF_RANGE, 0, RelationFlag.MISSING_INPUT,
    ]  # fmt: skip


def test_the_conversion_of_scales_rises_within_its_range_and_has_no_interval():
    oh = np.linspace(8.05, 8.9, 50)
    table = relations.kewley_ellison2008(oh)
    converted = values_of(table["oh"])
    assert np.all(np.diff(converted) > 0)
    assert converted[np.searchsorted(oh, 8.5)] == pytest.approx(8.79, abs=0.02)
    assert table["oh_p16"].mask.all()
    assert table["oh_p84"].mask.all()
    assert relations.kewley_ellison2008([8.04, 8.5, 8.91])["oh"].mask.tolist() == [True, False, True]


def test_masses_and_ratios_that_are_no_logarithms_are_told():
    with pytest.warns(HifracWarning, match=r"log_mstar: all values are outside 8.5 to 11.5.*MPA-JHU"):
        relations.tremonti2004([1e10, 3e9])
    with pytest.warns(HifracWarning, match="O3N2: all values are outside"):
        relations.pettini_pagel2004([30.0, 100.0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: relations.tremonti2004([10.0], form="fit"), ValueError, "form must be 'polynomial' or"),
        (lambda: relations.tremonti2004([1e10] * u.Msun), u.UnitConversionError, "log_mstar must be in"),
        (lambda: relations.tremonti2004(["a"]), TypeError, "log_mstar must hold numbers"),
        (lambda: relations.pettini_pagel2004([0.5], index="R23"), ValueError, "index must be one of O3N2"),
        (lambda: relations.n2([1.0], [1.0, 2.0]), ValueError, "lengths differ: nii_6584 has 1"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_the_parameter_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_abundances_have_their_columns_and_say_where_they_come_from():
    for table in (relations.tremonti2004([10.0]), relations.pettini_pagel2004([0.5])):
        assert table.colnames == ["oh", "oh_p16", "oh_p84", "relation_flags"]
        assert table["oh"].info.description.startswith("gas-phase oxygen abundance 12 + log10(O/H)")
        assert table["oh_p16"].info.description == "16th percentile of 12 + log10(O/H), of the relation"
        assert table.meta["hifrac"]["relation"] in relations.RELATIONS
        assert "2004" in table.meta["hifrac"]["references"][0]


# ---------------------------------------------------------------- the random forest


def test_a_forest_does_not_see_what_it_estimates():
    rng = np.random.default_rng(0)
    noise, fold = rng.normal(size=400), np.arange(400) % 4
    estimate = relations.cross_validate_forest(noise, fold, r=rng.normal(size=400), g=rng.normal(size=400))
    assert abs(np.corrcoef(noise, estimate)[0, 1]) < 0.15
    signal = relations.cross_validate_forest(noise, fold, r=noise)
    assert np.corrcoef(noise, signal)[0, 1] > 0.97
    np.testing.assert_array_equal(signal, relations.cross_validate_forest(noise, fold, r=noise))


def test_leaves_of_eight_galaxies_beat_single_ones_where_labels_are_noisy():
    rng = np.random.default_rng(1)
    magnitude, fold = rng.uniform(14, 18, 600), np.arange(600) % 5
    truth = 9.5 - 0.04 * magnitude + rng.normal(0, 0.1, 600)
    rmse = {
        settings: np.std(relations.cross_validate_forest(truth, fold, settings=settings, r=magnitude) - truth)
        for settings in ("acquaviva2016", "default")
    }
    assert rmse["acquaviva2016"] < 0.95 * rmse["default"]


def test_galaxies_without_a_magnitude_are_neither_estimated_nor_fitted_to():
    magnitude = MaskedColumn(np.linspace(14, 18, 60), mask=np.arange(60) < 3)
    truth = np.where(np.arange(60) == 10, np.nan, np.linspace(8.4, 9.2, 60))
    estimate = relations.cross_validate_forest(truth, np.arange(60) % 3, r=magnitude)
    assert np.flatnonzero(np.isnan(estimate)).tolist() == [0, 1, 2, 10]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda y, f: relations.cross_validate_forest(y, f), TypeError, "at least one measurement"),
        (lambda y, f: relations.cross_validate_forest(y, f, settings="xgb", r=y), ValueError, "one of acqua"),
        (lambda y, f: relations.cross_validate_forest(y, f[1:], r=y), ValueError, "lengths differ"),
        (lambda y, f: relations.cross_validate_forest(y, 0 * f, r=y), ValueError, "in the fold 0"),
    ],
)
def test_a_forest_that_cannot_be_grown_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(np.linspace(8, 9, 20), np.arange(20) % 2)


# ---------------------------------------------------------------- real galaxies


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "lines"),
    [("line_labels", LINES), ("resolve_eco_labels", LINES), ("portsmouth_labels", PORTSMOUTH)],
)
def test_abundances_from_the_fluxes_of_real_galaxies_are_those_of_their_labels(real_data, name, lines):
    labels = Table.read(real_data / "cutouts" / f"{name}.ecsv")
    labels = labels[np.asarray(labels["is_sf"], bool)]
    oiii, hbeta, nii, halpha = (labels[line] for line in lines)
    for index, ratio in (
        ("O3N2", relations.o3n2(oiii, hbeta, nii, halpha)),
        ("N2", relations.n2(nii, halpha)),
    ):
        table = relations.pettini_pagel2004(ratio, index=index)
        inside = ~table["oh"].mask
        assert inside.sum() >= len(labels) - 1
        expected = values_of(labels[f"oh_{index.lower()}_pp04"])[inside]
        np.testing.assert_allclose(values_of(table["oh"])[inside], expected, atol=1e-12)


@pytest.mark.real_data
def test_real_galaxies_follow_the_mass_metallicity_relation(real_data):
    tables = [
        Table.read(real_data / "cutouts" / f"{name}_labels.ecsv") for name in ("metallicity", "photometry")
    ]
    table = join(*tables, keys="objid")
    assert len(table) == 214
    estimate = values_of(relations.tremonti2004(table["log_mstar_taylor"])["oh"])
    assert np.isfinite(estimate).all()
    assert abs(np.median(estimate - table["oh_p50"])) < 0.06
    assert regression_metrics(table["oh_p50"], estimate)["rmse"] < 0.11
