"""The literature relations: their numbers, their checks, and the table that comes out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, QTable, Table
from contract import assert_column_of
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from sklearn.linear_model import LinearRegression

from hifrac import relations
from hifrac.core.exceptions import HifracWarning
from hifrac.relations import RelationFlag

BANDS = ("g-r", "g-i", "u-r", "u-i")
TYPICAL = {"g-r": 0.5, "g-i": 0.7, "u-r": 1.6, "u-i": 2.0}
OK = 0


def numbers(column):
    return np.ma.getdata(column)


# ---------------------------------------------------------------- Zhang et al. (2009)


def test_zhang_gives_the_value_worked_out_by_hand():
    table = relations.zhang2009(g_minus_r=[0.5], mu_i=[21.0])
    assert numbers(table["log_hi_fraction"])[0] == pytest.approx(-0.431878, abs=1e-9)
    assert round(numbers(table["log_hi_fraction"])[0], 2) == -0.43


def test_zhang_quotes_the_published_scatter_as_a_normal_interval():
    table = relations.zhang2009(g_minus_r=[0.3, 0.6], mu_i=[22.0, 20.0])
    middle = numbers(table["log_hi_fraction"])
    for name, share in (("log_hi_fraction_p16", 0.16), ("log_hi_fraction_p84", 0.84)):
        expected = stats.norm(middle, 0.31).ppf(share)
        np.testing.assert_allclose(numbers(table[name]), expected, atol=1e-6)


@given(st.floats(0, 1), st.floats(18, 25), st.floats(0, 0.5), st.floats(0, 3))
def test_redder_means_less_gas_and_fainter_surfaces_mean_more(color, brightness, redder, fainter):
    def estimate(c, m):
        return numbers(relations.zhang2009(g_minus_r=[c, 0.5], mu_i=[m, 21.0])["log_hi_fraction"])[0]

    here = estimate(color, brightness)
    assert not (color + redder <= 1 and estimate(color + redder, brightness) > here)
    assert not (brightness + fainter <= 25 and estimate(color, brightness + fainter) < here)


def test_surface_brightness_is_that_of_half_the_light_in_the_half_light_circle():
    radius, magnitude = 4.0, 15.0
    half = magnitude + 2.5 * math.log10(2)
    expected = half + 2.5 * math.log10(math.pi * radius**2)
    result = relations.mu_i(magnitude * u.mag, radius * u.arcsec)
    assert result.unit == u.mag / u.arcsec**2
    assert result.unmasked.value == pytest.approx(expected)
    assert relations.mu_i(magnitude, radius / 60 * u.arcmin).unmasked.value == pytest.approx(expected)


def test_surface_brightness_goes_into_the_relation_as_it_comes():
    brightness = relations.mu_i(np.array([15.0, 16.0]), np.array([5.0, -1.0]) * u.arcsec)
    table = relations.zhang2009(g_minus_r=[0.4, 0.4] * u.mag, mu_i=brightness)
    assert list(table["relation_flags"]) == [OK, RelationFlag.MISSING_INPUT]
    assert list(table["log_hi_fraction"].mask) == [False, True]


# ---------------------------------------------------------------- Eckert et al. (2015)


def density_by_hand(band, c, y):
    """The formulas once more, without arrays."""
    p = {
        "g-r": [19.70, -1.15, 0.48, -3.65, 1.51, 0.87, 115.1, 0.72, 0.05],
        "g-i": [19.99, -0.70, 0.45, -2.47, 1.58, 0.55, 72.29, 1.05, 0.09],
        "u-r": [17.22, 0.33, 0.22, -1.67, 2.56, 0.21, 47.65, 2.21, 0.14],
        "u-i": [35.05, 0.46, 0.24, -1.37, 2.40, 0.19, 68.44, 2.55, 0.20],
    }[band]
    peak = p[0] * stats.norm.pdf(math.log(c), p[1], p[2]) / c
    middle, width = p[3] * c + p[4], p[5] * c
    if y <= -1.4:
        return 0.0
    if y <= -1.3:
        beyond = stats.norm.sf(abs(math.log10(0.05) - middle) / width)
        red = p[6] * math.exp(-((c - p[7]) ** 2) / (2 * p[8] ** 2))
        return peak * width * math.sqrt(2 * math.pi) * beyond + red
    return peak * math.exp(-((y - middle) ** 2) / (2 * width**2))


def shares_by_integration(band, c, *upto):
    def integral(low, high):
        return integrate.quad(lambda y: density_by_hand(band, c, y), low, high, limit=200)[0]

    total = integral(-1.4 + 1e-12, -1.3) + integral(-1.3 + 1e-12, 2)
    return [
        (integral(-1.4 + 1e-12, min(y, -1.3)) + (integral(-1.3 + 1e-12, y) if y > -1.3 else 0)) / total
        for y in upto
    ]


def test_eckert_gives_the_check_value_on_its_published_grid():
    table = relations.eckert2015_pgf([0.5], band="g-r")
    assert round(numbers(table["log_hi_fraction"])[0], 2) == -0.43


@pytest.mark.parametrize("band", BANDS)
@pytest.mark.parametrize("step", [-0.25, 0.0, 0.25])
def test_percentiles_agree_with_an_independent_integration(band, step):
    low, high = relations.RELATIONS[f"eckert2015_{band.replace('-', '')}"].ranges[band]
    color = (low + high) / 2 + step * (high - low)
    table = relations.eckert2015_pgf([color], band=band, resolution=0.0005)
    names = ("log_hi_fraction_p16", "log_hi_fraction", "log_hi_fraction_p84")
    y = [numbers(table[name])[0] + math.log10(1.4) for name in names]
    np.testing.assert_allclose(shares_by_integration(band, color, *y), [0.16, 0.5, 0.84], atol=0.006)
    poor = shares_by_integration(band, color, -1.3)[0]
    assert table["p_gas_poor"][0] == pytest.approx(poor, abs=0.004)


@pytest.mark.parametrize("band", BANDS)
def test_the_published_grid_agrees_with_a_fine_one_within_a_step_where_galaxies_are_blue(band):
    coarse = relations.eckert2015_pgf([TYPICAL[band]], band=band)
    fine = relations.eckert2015_pgf([TYPICAL[band]], band=band, resolution=0.0005)
    for name in ("log_hi_fraction", "log_hi_fraction_p16", "log_hi_fraction_p84", "log_hi_fraction_mode"):
        assert abs(numbers(coarse[name])[0] - numbers(fine[name])[0]) <= 0.04


@pytest.mark.parametrize("band", BANDS)
@given(share=st.floats(0.01, 0.99))
def test_every_density_is_normalised_and_its_median_lies_between_its_percentiles(band, share):
    low, high = relations.RELATIONS[f"eckert2015_{band.replace('-', '')}"].ranges[band]
    color = low + share * (high - low)
    grid, density = relations.eckert2015_density([color], band=band)
    assert grid.unit == u.dex
    assert np.all(density >= 0)
    assert integrate.trapezoid(density[0], grid.value) == pytest.approx(1)
    row = relations.eckert2015_pgf([color], band=band)[0]
    p16, p50, p84 = (row[f"log_hi_fraction{end}"] for end in ("_p16", "", "_p84"))
    assert p16 <= p50 <= p84
    assert 0 <= row["p_gas_poor"] <= 1


@pytest.mark.parametrize("band", BANDS)
def test_the_density_is_that_of_the_formulas(band):
    grid, density = relations.eckert2015_density([TYPICAL[band]], band=band)
    y = grid.value + math.log10(1.4)
    assert len(y) == 101
    by_hand = np.array([density_by_hand(band, TYPICAL[band], round(one, 9) - 1e-12) for one in y])
    ratio = density[0] / density[0].sum()
    np.testing.assert_allclose(ratio, by_hand / by_hand.sum(), atol=1e-9)


def test_helium_is_taken_off():
    grid, density = relations.eckert2015_density([0.5], band="g-r", resolution=0.001)
    mode = grid.value[np.argmax(density[0])]
    assert mode == pytest.approx(-3.65 * 0.5 + 1.51 - math.log10(1.4), abs=0.001)


def test_a_red_galaxy_is_gas_poor_and_flagged_so():
    table = relations.eckert2015_pgf([0.4, 0.75])
    assert list(table["relation_flags"]) == [OK, RelationFlag.GAS_POOR]
    assert table["p_gas_poor"][1] > 0.5 > table["p_gas_poor"][0]
    assert not table["log_hi_fraction"].mask.any()


def test_many_galaxies_give_what_each_gives_alone():
    colors = np.linspace(0.13, 0.86, 50_000)
    many = relations.eckert2015_pgf(colors)
    for i in (0, 17_000, 41_523, 49_999):
        alone = relations.eckert2015_pgf(colors[i : i + 1])
        for name in ("log_hi_fraction", "log_hi_fraction_p16", "log_hi_fraction_mode"):
            assert numbers(many[name])[i] == numbers(alone[name])[0]


# ---------------------------------------------------------------- input


@pytest.mark.parametrize(
    "make",
    [
        np.array,
        list,
        lambda values: np.array(values, dtype=">f4"),
        lambda values: Table({"c": values})["c"],
        lambda values: QTable({"c": values * u.mag})["c"],
        lambda values: np.array(values) * u.mag,
    ],
    ids=["array", "list", "big-endian", "column", "quantity column", "quantity"],
)
def test_arrays_columns_and_quantities_are_taken_alike(make):
    expected = numbers(relations.zhang2009(g_minus_r=[0.25, 0.5], mu_i=[20.0, 21.0])["log_hi_fraction"])
    got = numbers(relations.zhang2009(g_minus_r=make([0.25, 0.5]), mu_i=[20.0, 21.0])["log_hi_fraction"])
    np.testing.assert_array_equal(got, expected)


def test_other_units_of_magnitude_are_converted():
    plain = relations.eckert2015_pgf([0.5])
    small = relations.eckert2015_pgf([500.0] * u.mmag)
    assert numbers(small["log_hi_fraction"]) == numbers(plain["log_hi_fraction"])


def test_a_scalar_makes_one_row():
    assert len(relations.zhang2009(g_minus_r=0.5, mu_i=21.0)) == 1
    assert len(relations.eckert2015_pgf(0.5 * u.mag)) == 1


def test_missing_and_sentinel_values_are_masked_and_flagged():
    color = MaskedColumn([0.5, 0.5, np.nan, -99.0, np.inf], mask=[0, 1, 0, 0, 0])
    missing, outside = RelationFlag.MISSING_INPUT, RelationFlag.OUT_OF_RANGE
    for table in (
        relations.zhang2009(g_minus_r=color, mu_i=np.full(5, 21.0)),
        relations.eckert2015_pgf(color),
    ):
        assert list(table["relation_flags"]) == [OK, missing, missing, outside, missing]
        for name in ("log_hi_fraction", "log_hi_fraction_p16", "log_hi_fraction_p84"):
            assert list(table[name].mask) == [False, True, True, True, True]
            assert np.isnan(numbers(table[name])[1:]).all()
    _, density = relations.eckert2015_density(color)
    assert list(np.isnan(density[:, 0])) == [False, True, True, True, True]


def test_input_that_is_all_outside_points_to_another_system():
    with pytest.warns(HifracWarning, match=r"mu_i: all values are outside 18 to 25.*Petrosian"):
        table = relations.zhang2009(g_minus_r=[0.4, 0.5], mu_i=[13.0, 14.0])
    assert table["log_hi_fraction"].mask.all()
    with pytest.warns(HifracWarning, match="g-r: all values are outside"):
        relations.eckert2015_pgf([2.2, 1.9], band="g-r")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: relations.zhang2009(g_minus_r=["a"], mu_i=[21.0]), TypeError, "g_minus_r must hold numbers"),
        (
            lambda: relations.zhang2009(g_minus_r=[0.5], mu_i=[21.0, 20]),
            ValueError,
            "lengths differ.*mu_i has 2",
        ),
        (
            lambda: relations.zhang2009(g_minus_r=[[0.5]], mu_i=[21.0]),
            ValueError,
            "g_minus_r must be one-dim",
        ),
        (
            lambda: relations.zhang2009(g_minus_r=[0.5] * u.Jy, mu_i=[21.0]),
            u.UnitConversionError,
            "g_minus_r must",
        ),
        (
            lambda: relations.zhang2009(g_minus_r=[0.5], mu_i=[2] * u.Mpc),
            u.UnitConversionError,
            "mu_i must be in",
        ),
        (
            lambda: relations.eckert2015_pgf([0.5], band="r-i"),
            ValueError,
            "band must be one of g-r, g-i, u-r, u-i",
        ),
        (lambda: relations.eckert2015_pgf([0.5], resolution=0), ValueError, "resolution must be from"),
        (
            lambda: relations.mu_i([15.0, 16.0], [1.0, 2.0, 3.0]),
            ValueError,
            "m_i and r50 must have one shape",
        ),
        (lambda: relations.mu_i([15.0], [1.0] * u.kpc), u.UnitConversionError, "r50 must be in arcsec"),
    ],
)
def test_bad_input_is_refused_with_the_parameter_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---------------------------------------------------------------- the table and the registry


def test_the_columns_are_those_of_the_estimator():
    from hifrac.core.columns import RESULT_COLUMNS

    for table in (relations.zhang2009(g_minus_r=[0.5], mu_i=[21.0]), relations.eckert2015_pgf([0.5])):
        assert isinstance(table, QTable)
        assert table.colnames[:3] == ["log_hi_fraction", "log_hi_fraction_p16", "log_hi_fraction_p84"]
        assert_column_of(RESULT_COLUMNS["log_hi_fraction"], table["log_hi_fraction"])
        for name in table.colnames[1:3]:
            assert table[name].unit is None
            assert table[name].info.description.endswith(", of the relation [dex]")
        assert table.meta["hifrac"]["references"]


def test_a_result_survives_a_file(tmp_path):
    from hifrac.core.tables import read_table, write_table

    table = relations.eckert2015_pgf([0.5, np.nan, 0.3])
    write_table(table, tmp_path / "pgf.ecsv")
    back = read_table(tmp_path / "pgf.ecsv")
    assert back.colnames == table.colnames
    assert list(back["log_hi_fraction"].mask) == [False, True, False]
    assert back.meta["hifrac"]["relation"] == "eckert2015_gr"


def test_every_relation_of_the_registry_can_be_called_and_names_its_source():
    table = relations.relations_table()
    assert list(table["name"]) == list(relations.RELATIONS)
    for row in relations.RELATIONS.values():
        assert row.reference
        assert row.equation
        assert row.system
        for low, high in row.ranges.values():
            assert low < high
    assert "0.31" in str(table["scatter"][0])
    assert "zhang2009" in "\n".join(table.pformat())


def test_the_ranges_of_eckert_hold_the_published_galaxies():
    for band in BANDS:
        low, high = relations.RELATIONS[f"eckert2015_{band.replace('-', '')}"].ranges[band]
        edge = relations.eckert2015_pgf([low, high, low - 0.01, high + 0.01], band=band)
        assert list(edge["log_hi_fraction"].mask) == [False, False, True, True]


def test_flags_decode_to_their_names():
    assert RelationFlag.decode(0) == []
    assert RelationFlag.decode(3) == ["MISSING_INPUT", "OUT_OF_RANGE"]
    assert all(flag.summary for flag in RelationFlag)


# ---------------------------------------------------------------- fits


def sample(n=400, scatter=0.3, seed=1):
    rng = np.random.default_rng(seed)
    color, brightness = rng.uniform(0.1, 0.8, n), rng.uniform(19, 24, n)
    truth = -1.73238 * color + 0.215182 * brightness - 4.08451
    return color, brightness, truth + scatter * rng.normal(size=n)


def test_a_fit_recovers_the_relation_within_its_errors():
    color, brightness, measured = sample(20_000)
    fit = relations.fit_linear_relation(measured, g_minus_r=color, mu_i=brightness)
    pull = (fit.coefficients - [-1.73238, 0.215182, -4.08451]) / fit.errors
    assert np.all(np.abs(pull) < 4)
    assert fit.scatter == pytest.approx(0.3, rel=0.03)


def test_a_fit_agrees_with_scikit_learn_and_its_errors_with_polyfit():
    color, brightness, measured = sample()
    weights = np.linspace(0.5, 2, len(color))
    fit = relations.fit_linear_relation(measured, g_minus_r=color, mu_i=brightness, weights=weights)
    other = LinearRegression().fit(np.stack([color, brightness], 1), measured, sample_weight=weights)
    np.testing.assert_allclose(fit.coefficients, [*other.coef_, other.intercept_], rtol=1e-9)
    fit = relations.fit_linear_relation(measured, g_minus_r=color, weights=weights)
    line, covariance = np.polyfit(color, measured, 1, w=np.sqrt(weights), cov=True)
    np.testing.assert_allclose(fit.coefficients, line, rtol=1e-9)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=1e-9)
    np.testing.assert_allclose(fit.errors, np.sqrt(np.diag(covariance)), rtol=1e-9)


def test_the_errors_of_a_fit_are_the_scatter_of_repeated_fits():
    slopes, errors = [], []
    for seed in range(300):
        color, _, measured = sample(60, seed=seed)
        fit = relations.fit_linear_relation(measured, g_minus_r=color)
        slopes.append(fit.coefficients[0])
        errors.append(fit.errors[0])
    assert np.std(slopes) == pytest.approx(np.mean(errors), rel=0.15)


def test_a_fit_predicts_as_the_published_relations_do():
    color, brightness, measured = sample()
    fit = relations.fit_linear_relation(measured * u.dex, g_minus_r=color, mu_i=brightness)
    table = fit.predict(g_minus_r=[0.4, 5.0], mu_i=[21.0, 21.0])
    assert table.colnames == relations.zhang2009(g_minus_r=[0.4], mu_i=[21.0]).colnames
    assert list(table["log_hi_fraction"].mask) == [False, True]
    inside = fit.predict(g_minus_r=color, mu_i=brightness)
    low, high = numbers(inside["log_hi_fraction_p16"]), numbers(inside["log_hi_fraction_p84"])
    assert np.mean((measured >= low) & (measured <= high)) == pytest.approx(0.68, abs=0.05)
    assert "scatter" in str(fit)
    with pytest.raises(TypeError, match="predict takes g_minus_r, mu_i, got g_minus_r"):
        fit.predict(g_minus_r=[0.4])


def test_a_fit_leaves_out_what_is_missing_and_says_how_many():
    color, _, measured = sample(50)
    holes = np.ma.array(measured, mask=np.arange(50) < 5)
    fit = relations.fit_linear_relation(holes, g_minus_r=np.where(np.arange(50) == 20, np.nan, color))
    assert (fit.rows, fit.left_out) == (44, 6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c, y: relations.fit_linear_relation(y), TypeError, "at least one measurement"),
        (
            lambda c, y: relations.fit_linear_relation(y[:2], c=c[:2]),
            ValueError,
            "too few for 2 coefficients",
        ),
        (
            lambda c, y: relations.fit_linear_relation(y, a=c, b=2 * c),
            ValueError,
            "a, b do not vary independently",
        ),
        (lambda c, y: relations.fit_linear_relation(y, a=c[1:]), ValueError, "lengths differ"),
        (
            lambda c, y: relations.fit_linear_relation(y, a=c, weights=-c),
            ValueError,
            "weights must not be negative",
        ),
    ],
)
def test_a_fit_that_cannot_be_made_is_refused(call, error, message):
    color, _, measured = sample(30)
    with pytest.raises(error, match=message):
        call(color, measured)


# ---------------------------------------------------------------- real galaxies


@pytest.mark.real_data
def test_relations_and_measured_fractions_of_real_galaxies_go_together(real_data):
    labels = Table.read(real_data / "cutouts" / "resolve_labels.ecsv")
    labels = labels[~np.asarray(labels["confused"]) & ~np.asarray(labels["is_limit"])]
    measured = np.asarray(labels["log_hi_fraction_true"])
    brightness = relations.mu_i(labels["i_mag"], labels["r50"])
    tables = {
        "zhang": relations.zhang2009(g_minus_r=labels["g_minus_r"], mu_i=brightness),
        "g-r": relations.eckert2015_pgf(labels["g_minus_r"]),
        "u-r": relations.eckert2015_pgf(labels["u_minus_r"], band="u-r"),
    }
    for name, table in tables.items():
        estimate = table["log_hi_fraction"].filled(np.nan)
        there = np.isfinite(estimate)
        assert there.sum() > 40, name
        assert stats.spearmanr(estimate[there], measured[there]).statistic > 0.6, name
    residual = tables["zhang"]["log_hi_fraction"].filled(np.nan) - measured
    assert abs(np.nanmean(residual)) < 0.2
    assert np.nanstd(residual) < 0.45
