"""Conformal quantiles, of one population and of a mixture of two: their guarantee, and what they refuse."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from hifrac.models.calibration import LEVELS, ConformalTable, PopulationTable, _platt, _tobit


def residuals(seed, n, decimals):
    """Values with many ties, few, or none."""
    return np.round(np.random.default_rng(seed).normal(0.1, 1, n), decimals)


RESIDUALS = st.builds(residuals, st.integers(0, 2**32 - 1), st.integers(20, 120), st.sampled_from([0, 1, 12]))


@given(RESIDUALS)
@settings(max_examples=40)
def test_the_guarantee_holds_for_every_set_of_exchangeable_values(values):
    # Each of n + 1 values is equally likely to be the new one. So the shares over all choices of the
    # new one are probabilities, and the guarantee is an inequality without any sampling error.
    tables = [ConformalTable.from_residuals(np.delete(values, k)) for k in range(values.size)]
    for level in LEVELS:
        limits = np.array([table.value(level) for table in tables])
        if level > 0.5:
            assert np.mean(values <= limits) >= level - 1e-12
        elif level < 0.5:
            assert np.mean(values < limits) <= level + 1e-12


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, shape: rng.normal(0.1, 0.2, shape),
        lambda rng, shape: rng.standard_t(2, shape),
        lambda rng, shape: rng.exponential(1.0, shape) - 0.5,
        lambda rng, shape: rng.integers(0, 4, shape) / 4,
    ],
    ids=["normal", "heavy-tailed", "skewed", "discrete"],
)
@pytest.mark.parametrize("n", [19, 60, 259])
def test_the_coverage_is_at_least_nominal_in_simulations(draw, n):
    trials = 1500
    draws = draw(np.random.default_rng(n), (trials, n + 1))
    tables = [ConformalTable.from_residuals(row[:-1]) for row in draws]
    new = draws[:, -1]
    for low, high in ((0.16, 0.84), (0.05, 0.95)):
        lower, upper = (np.array([table.value(level) for table in tables]) for level in (low, high))
        nominal = high - low
        sampling = math.sqrt(nominal * (1 - nominal) / trials)
        share = np.mean((lower <= new) & (new <= upper))
        assert share >= nominal - 3 * sampling


def test_the_coverage_is_not_much_more_than_nominal():
    # The width of an honest interval is not a free lunch: at most 2/(n+1) too wide.
    trials, n = 3000, 99
    draws = np.random.default_rng(5).normal(size=(trials, n + 1))
    tables = [ConformalTable.from_residuals(row[:-1]) for row in draws]
    lower, upper = (np.array([table.value(level) for table in tables]) for level in (0.16, 0.84))
    share = np.mean((lower <= draws[:, -1]) & (draws[:, -1] <= upper))
    assert share == pytest.approx(0.68, abs=2 / (n + 1) + 3 * math.sqrt(0.68 * 0.32 / trials))


@given(RESIDUALS)
def test_values_increase_with_the_level_and_come_from_the_residuals(values):
    table = ConformalTable.from_residuals(values)
    assert table.n == len(values)
    assert table.levels == LEVELS
    assert list(table.values) == sorted(table.values)
    assert table.value(0.5) == np.median(values)
    assert {table.value(level) for level in (0.05, 0.16, 0.84, 0.95)} <= set(values)


@given(RESIDUALS, st.integers(0, 2**32 - 1))
def test_the_order_of_the_residuals_does_not_matter(values, seed):
    shuffled = np.random.default_rng(seed).permutation(values)
    assert ConformalTable.from_residuals(shuffled) == ConformalTable.from_residuals(values)


@given(RESIDUALS, st.sampled_from([-1.0, 0.25, 2.0]))
def test_a_shift_of_the_residuals_shifts_the_table(values, shift):
    moved = ConformalTable.from_residuals(values + shift)
    np.testing.assert_allclose(
        moved.values, np.array(ConformalTable.from_residuals(values).values) + shift, atol=1e-12
    )


@given(RESIDUALS)
def test_the_mirrored_residuals_give_the_mirrored_table(values):
    table = ConformalTable.from_residuals(values)
    mirrored = ConformalTable.from_residuals(-values)
    np.testing.assert_array_equal(mirrored.values, -np.array(table.values)[::-1])


@pytest.mark.parametrize("n", [0, 1, 5, 18])
def test_too_few_residuals_for_the_outermost_level(n):
    with pytest.raises(ValueError, match=rf"^residuals: {n} are too few for the level 0.05"):
        ConformalTable.from_residuals(np.linspace(0, 1, n))
    assert ConformalTable.from_residuals(np.linspace(0, 1, 19)).value(0.05) == 0


def test_too_few_residuals_for_an_upper_level_only():
    with pytest.raises(ValueError, match=r"^residuals: 50 are too few for the level 0.99"):
        ConformalTable.from_residuals(np.arange(50.0), levels=(0.5, 0.99))
    table = ConformalTable.from_residuals(np.arange(99.0), levels=(0.5, 0.99))
    assert table.value(0.99) == 98


def test_no_residuals_have_no_median():
    with pytest.raises(ValueError, match=r"^residuals: 0 are too few for the level 0.5"):
        ConformalTable.from_residuals([], levels=(0.5,))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_residuals_must_be_finite(bad):
    with pytest.raises(ValueError, match=r"^residuals must be one-dimensional and finite"):
        ConformalTable.from_residuals([*np.arange(30.0), bad])


@pytest.mark.parametrize("shape", [(), (5, 6)])
def test_residuals_must_be_one_dimensional(shape):
    with pytest.raises(ValueError, match=r"^residuals must be one-dimensional"):
        ConformalTable.from_residuals(np.zeros(shape))


@pytest.mark.parametrize("level", [0.25, 0.8400001, 0, 1, math.nan])
def test_a_level_that_is_not_tabulated(level):
    table = ConformalTable.from_residuals(np.arange(30.0))
    with pytest.raises(ValueError, match=r"^level must be one of \(0.05, 0.16, 0.5, 0.84, 0.95\), got"):
        table.value(level)


@pytest.mark.parametrize(
    ("levels", "values", "message"),
    [
        ((0.1, 0.9), (0.0,), "differ in length"),
        ((0.9, 0.1), (0.0, 1.0), "must be increasing"),
        ((0.1, 0.1), (0.0, 1.0), "must be increasing"),
        ((0.1, 0.9), (1.0, 0.0), "must be increasing"),
        ((0.0, 0.9), (0.0, 1.0), "between 0 and 1"),
        ((0.1, 1.0), (0.0, 1.0), "between 0 and 1"),
        ((0.1, math.nan), (0.0, 1.0), "between 0 and 1"),
        ((0.1, 0.9), (0.0, math.nan), "finite"),
        ((0.1, 0.9), (-math.inf, 0.0), "finite"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(levels, values, message):
    with pytest.raises(ValueError, match=message):
        ConformalTable(n=30, levels=levels, values=values)


def test_a_table_cannot_be_changed():
    table = ConformalTable(n=30, levels=[0.1, 0.9], values=[0, 1])
    assert table.levels == (0.1, 0.9)
    assert hash(table) == hash(ConformalTable(n=30, levels=(0.1, 0.9), values=(0.0, 1.0)))
    with pytest.raises(AttributeError):
        table.n = 31


# What a table makes of the outputs of a network


def test_without_a_spread_the_interval_has_one_width():
    table = ConformalTable.from_residuals(np.linspace(-1, 1, 99))
    outputs = {"estimate": np.array([0.0, 2.0, -3.0])}
    np.testing.assert_array_equal(table.estimate(outputs), outputs["estimate"])
    for level in LEVELS:
        np.testing.assert_array_equal(
            table.quantile(outputs, level), outputs["estimate"] + table.value(level)
        )


def test_with_a_spread_residuals_are_in_its_units():
    table = ConformalTable.from_residuals(np.linspace(-1, 1, 99))
    outputs = {"estimate": np.array([0.0, 2.0]), "log_spread": np.log([0.1, 3.0])}
    np.testing.assert_array_equal(table.estimate(outputs), outputs["estimate"])
    np.testing.assert_allclose(
        table.quantile(outputs, 0.84), [0.1 * table.value(0.84), 2 + 3 * table.value(0.84)]
    )
    with pytest.raises(ValueError, match=r"^level must be one of"):
        table.quantile(outputs, 0.8)


# Two populations

TABLE = PopulationTable(
    n=259,
    n_poor=47,
    levels=LEVELS,
    ranks=(0.09, 0.22, 0.52, 0.83, 0.945),
    spread_factor=1.03,
    slope=0.8,
    intercept=0.5,
    poor_shift=-0.8,
    poor_spread=0.55,
    log_odds_estimate=-8.0,
    log_odds_interval=-2.5,
)


def some_outputs(rng, n, spread=0.2):
    """What a network might say of n pictures."""
    return {
        "estimate": rng.normal(0, 0.5, n),
        "log_spread": np.log(spread) + rng.normal(0, 0.3, n),
        "gas_poor_logit": rng.normal(0, 2, n),
    }


@st.composite
def tables(draw):
    ranks = draw(st.lists(st.floats(0.001, 0.999), min_size=5, max_size=5, unique=True))
    odds = st.floats(-10, 10)
    return PopulationTable(
        n=100,
        n_poor=20,
        levels=LEVELS,
        ranks=tuple(sorted(ranks)),
        spread_factor=draw(st.floats(0.2, 5)),
        slope=draw(st.floats(-3, 3)),
        intercept=draw(odds),
        poor_shift=draw(st.floats(-3, 3)),
        poor_spread=draw(st.floats(0.01, 2)),
        log_odds_estimate=draw(odds),
        log_odds_interval=draw(odds),
    )


NUMBERS = st.lists(
    st.tuples(st.floats(-5, 5), st.floats(-6, 3), st.floats(-1e4, 1e4)), min_size=1, max_size=8
)
OUTPUTS = NUMBERS.map(
    lambda rows: dict(
        zip(
            ("estimate", "log_spread", "gas_poor_logit"),
            (np.array(c) for c in zip(*rows, strict=True)),
            strict=True,
        )
    )
)


@given(tables(), OUTPUTS, st.floats(-4, 4), st.floats(-10, 10))
def test_the_mixture_is_that_of_scipy(table, outputs, value, odds):
    share = expit(table.slope * outputs["gas_poor_logit"] + table.intercept + odds)
    first = stats.norm(outputs["estimate"], table.spread_factor * np.exp(outputs["log_spread"]))
    second = stats.norm(outputs["estimate"] + table.poor_shift, table.poor_spread)
    expected = (1 - share) * first.cdf(value) + share * second.cdf(value)
    np.testing.assert_allclose(table.p_poor(outputs, odds), share, atol=1e-12)
    np.testing.assert_allclose(table.cdf(outputs, value, odds), expected, atol=1e-12)


@given(tables(), OUTPUTS)
def test_the_quantiles_invert_the_mixture(table, outputs):
    estimate = table.estimate(outputs)
    solved = {0.5: (estimate, table.log_odds_estimate)}
    for level in LEVELS:
        if level != 0.5:
            solved[level] = (table._solve(outputs, table.ranks[LEVELS.index(level)], table.log_odds_interval),
                             table.log_odds_interval)  # fmt: skip
    for level, (value, odds) in solved.items():
        rank = table.ranks[LEVELS.index(level)]
        # Where the mixture is flat between its two peaks, many values have almost the rank.
        below, above = (table.cdf(outputs, value + step, odds) for step in (-1e-6, 1e-6))
        assert np.all((below <= rank + 1e-12) & (rank - 1e-12 <= above))


@given(tables(), OUTPUTS)
def test_the_levels_are_in_their_order_for_any_outputs(table, outputs):
    limits = [table.quantile(outputs, level) for level in LEVELS]
    np.testing.assert_array_equal(limits[2], table.estimate(outputs))
    assert np.all(np.isfinite(limits))
    assert np.all(np.diff(limits, axis=0) >= 0)


@given(tables(), OUTPUTS)
def test_a_quantile_is_that_of_the_mixture_unless_the_estimate_is_in_the_way(table, outputs):
    estimate = table.estimate(outputs)
    for level in (0.05, 0.16, 0.84, 0.95):
        solved = table._solve(outputs, table.ranks[LEVELS.index(level)], table.log_odds_interval)
        side = np.minimum if level < 0.5 else np.maximum
        np.testing.assert_array_equal(table.quantile(outputs, level), side(estimate, solved))


@given(tables(), OUTPUTS, st.sampled_from([-2.0, 0.25, 4.0]))
def test_a_shift_of_the_estimates_shifts_everything(table, outputs, shift):
    moved = {**outputs, "estimate": outputs["estimate"] + shift}
    for level in LEVELS:
        np.testing.assert_allclose(
            table.quantile(moved, level), table.quantile(outputs, level) + shift, atol=1e-6
        )


def test_one_population_alone_has_the_quantiles_of_a_normal_distribution():
    outputs = some_outputs(np.random.default_rng(3), 20)
    rich = {**outputs, "gas_poor_logit": np.full(20, -1e4)}
    poor = {**outputs, "gas_poor_logit": np.full(20, 1e4)}
    spread = TABLE.spread_factor * np.exp(outputs["log_spread"])
    for level, rank in zip(LEVELS, TABLE.ranks, strict=True):
        away = stats.norm.ppf(rank)
        np.testing.assert_allclose(
            TABLE.quantile(rich, level), outputs["estimate"] + spread * away, atol=1e-8
        )
        np.testing.assert_allclose(
            TABLE.quantile(poor, level), outputs["estimate"] - 0.8 + 0.55 * away, atol=1e-8
        )


def test_more_gas_poor_galaxies_among_the_parents_lower_the_estimate():
    outputs = some_outputs(np.random.default_rng(4), 30)
    estimates = [
        dataclasses.replace(TABLE, log_odds_estimate=odds).estimate(outputs) for odds in (-8, -4, -2, 0, 2, 8)
    ]
    assert np.all(np.diff(estimates, axis=0) <= 0)
    assert np.all(np.diff(estimates[1:], axis=0).min(0) < 0)


def test_the_rows_do_not_know_of_each_other():
    outputs = some_outputs(np.random.default_rng(5), 12)
    for level in LEVELS:
        together = TABLE.quantile(outputs, level)
        alone = [TABLE.quantile({k: v[[row]] for k, v in outputs.items()}, level)[0] for row in range(12)]
        np.testing.assert_array_equal(together, alone)
        assert TABLE.quantile({k: v[:0] for k, v in outputs.items()}, level).shape == (0,)


@pytest.mark.parametrize("level", [0.25, 0.8400001, 0, 1, math.nan])
def test_a_level_that_the_mixture_does_not_have(level):
    with pytest.raises(ValueError, match=r"^level must be one of \(0.05, 0.16, 0.5, 0.84, 0.95\), got"):
        TABLE.quantile(some_outputs(np.random.default_rng(0), 2), level)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": (0.1, 0.5, 0.9)}, "same length"),
        ({"levels": (0.5, 0.16, 0.05, 0.84, 0.95)}, "^levels must be increasing"),
        ({"levels": (0.05, 0.16, 0.16, 0.5, 0.95)}, "^levels must be increasing"),
        ({"levels": (0.0, 0.16, 0.5, 0.84, 0.95)}, "^levels must be .* between 0 and 1"),
        ({"levels": (0.05, 0.16, 0.51, 0.84, 0.95)}, "levels must have 0.5"),
        ({"ranks": (0.09, 0.22, 0.2, 0.83, 0.945)}, "^ranks must be increasing"),
        ({"ranks": (0.09, 0.22, 0.52, 0.83, 1.0)}, "^ranks must be .* between 0 and 1"),
        ({"ranks": (0.0, 0.22, 0.52, 0.83, 0.9)}, "^ranks must be .* between 0 and 1"),
        ({"ranks": (0.09, 0.22, math.nan, 0.83, 0.9)}, "^ranks must be"),
        ({"ranks": ()}, "same length"),
        ({"slope": math.nan}, "finite"),
        ({"intercept": math.inf}, "finite"),
        ({"poor_shift": -math.inf}, "finite"),
        ({"log_odds_estimate": math.nan}, "finite"),
        ({"log_odds_interval": math.inf}, "finite"),
        ({"spread_factor": 0.0}, "positive"),
        ({"spread_factor": math.nan}, "finite"),
        ({"spread_factor": math.inf}, "finite"),
        ({"poor_spread": math.inf}, "finite"),
        ({"poor_spread": -0.1}, "positive"),
        ({"poor_spread": math.nan}, "finite"),
    ],
)
def test_a_mixture_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TABLE, **changes)


def test_a_mixture_cannot_be_changed():
    table = dataclasses.replace(TABLE, levels=list(LEVELS), ranks=list(TABLE.ranks))
    assert table == TABLE
    assert hash(table) == hash(TABLE)
    with pytest.raises(AttributeError):
        table.slope = 1.0


# Fitting two populations

SHIFT, SPREAD, FACTOR = -0.9, 0.4, 1.4


class World:
    """Detections scatter FACTOR times more than the network says; the others lie below the estimate."""

    def __init__(self, seed, n=260, n_poor=60, limits=0.4, draw=None):
        rng = np.random.default_rng(seed)
        draw = draw or rng.normal
        self.outputs, self.poor_outputs = (some_outputs(rng, count) for count in (n, n_poor))
        # Unit normal distributions two apart: the true log odds are twice the logit.
        self.outputs["gas_poor_logit"] = rng.normal(-1, 1, n)
        self.poor_outputs["gas_poor_logit"] = rng.normal(1, 1, n_poor)
        self.truth = self.outputs["estimate"] + FACTOR * np.exp(self.outputs["log_spread"]) * draw(0, 1, n)
        value = self.poor_outputs["estimate"] + SHIFT + SPREAD * rng.normal(size=n_poor)
        depth = self.poor_outputs["estimate"] + rng.normal(
            SHIFT + SPREAD * stats.norm.ppf(limits), 0.3, n_poor
        )
        self.is_limit = value < depth
        self.poor_truth = np.maximum(value, depth)

    def table(self, estimate=-8.0, interval=-2.5, **options):
        return PopulationTable.fit(
            self.outputs,
            self.truth,
            self.poor_outputs,
            self.poor_truth,
            self.is_limit,
            log_odds_estimate=estimate,
            log_odds_interval=interval,
            **options,
        )


def test_the_fit_finds_the_world_it_is_shown():
    world = World(1, n=4000, n_poor=3000)
    table = world.table()
    assert (table.n, table.n_poor, table.levels) == (4000, 3000, LEVELS)
    assert (table.log_odds_estimate, table.log_odds_interval) == (-8.0, -2.5)
    assert table.spread_factor == pytest.approx(FACTOR, rel=0.04)
    assert table.slope == pytest.approx(2, rel=0.1)
    assert table.intercept == pytest.approx(0, abs=0.1)
    assert table.poor_shift == pytest.approx(SHIFT, abs=0.04)
    assert table.poor_spread == pytest.approx(SPREAD, rel=0.08)
    # At odds without gas-poor galaxies the mixture is right as it is: its ranks are its levels.
    np.testing.assert_allclose(world.table(-30.0, -30.0).ranks, LEVELS, atol=0.025)


def covered(world, table):
    return [np.mean(world.truth <= table.quantile(world.outputs, level)) for level in LEVELS]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=8)
def test_the_levels_hold_for_new_detections_of_any_world(seed):
    table = World(seed).table()
    shares = covered(World(seed + 1, n=5000), table)
    # What 260 galaxies tell of a quantile, and 5000 new ones of its share: four standard errors.
    for level, share in zip(LEVELS, shares, strict=True):
        assert share == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) * (1 / 260 + 1 / 5000)))


@pytest.mark.parametrize(
    "heavy", [False, True], ids=["the world is a mixture of normals", "the world is none"]
)
def test_the_levels_hold_on_average_whatever_the_distribution(heavy):
    trials = 40
    shares = []
    for seed in range(trials):
        draw = np.random.default_rng(seed + 500)
        heavy_tail = (lambda low, scale, n, rng=draw: rng.standard_t(3, n) * 0.6) if heavy else None
        table = World(seed, n=99, draw=heavy_tail).table()
        shares.append(covered(World(seed + 100, n=2000, draw=heavy_tail), table))
    for level, share in zip(LEVELS, np.mean(shares, axis=0), strict=True):
        # The shares of tables of 99 galaxies are beta distributed about the level, at most 1/100 off.
        assert share == pytest.approx(level, abs=0.01 + 4 * math.sqrt(level * (1 - level) / 99 / trials))


def test_the_levels_hold_at_any_odds_and_the_interval_reaches_further_down_with_them():
    world, new = World(7, n=600), World(8, n=4000)
    reach = []
    for odds in (-8.0, -4.0, -2.0, -1.0, 0.0):
        table = world.table(odds, odds)
        np.testing.assert_allclose(covered(new, table), LEVELS, atol=0.065)
        poor = table.quantile(new.poor_outputs, 0.05)
        reach.append(np.mean(poor < new.poor_truth))
    assert reach == sorted(reach)
    assert reach[-1] > reach[0] + 0.3


def test_the_galaxies_of_the_fit_have_their_levels():
    world = World(9)
    table = world.table()
    shares = covered(world, table)
    for level, share in zip(LEVELS, shares, strict=True):
        assert share == pytest.approx(level, abs=2.1 / 260)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=8)
def test_the_order_of_the_galaxies_does_not_matter(seed):
    world = World(3)
    order = np.random.default_rng(seed).permutation(len(world.truth))
    shuffled = World(3)
    shuffled.truth = world.truth[order]
    shuffled.outputs = {name: values[order] for name, values in world.outputs.items()}
    one, other = world.table(), shuffled.table()
    np.testing.assert_allclose(one.ranks, other.ranks, atol=1e-4)
    assert one.slope == pytest.approx(other.slope, abs=1e-3)


@given(
    st.integers(0, 2**32 - 1), st.integers(8, 80), st.floats(-2, 1), st.floats(0.1, 1.5), st.floats(0, 0.7)
)
@settings(max_examples=20)
def test_the_second_population_is_the_censored_fit_of_scipy(seed, n, shift, spread, limits):
    rng = np.random.default_rng(seed)
    value = rng.normal(shift, spread, n)
    depth = rng.normal(shift + spread * stats.norm.ppf(max(limits, 1e-3)), 0.5 * spread, n)
    is_limit = value < depth
    is_limit[:6] = False
    residual = np.where(is_limit, depth, value)
    expected = stats.norm.fit(stats.CensoredData(residual[~is_limit], left=residual[is_limit]))
    np.testing.assert_allclose(_tobit(residual, is_limit), expected, atol=2e-3 * (1 + spread))


def test_without_limits_it_is_mean_and_standard_deviation():
    residual = np.random.default_rng(0).normal(-1, 0.3, 40)
    np.testing.assert_allclose(
        _tobit(residual, np.zeros(40, bool)), [residual.mean(), residual.std()], atol=1e-4
    )


def test_limits_are_not_taken_for_values():
    # Half of the galaxies are only known to lie below a limit: taken for values they would lift the mean.
    rng = np.random.default_rng(2)
    value = rng.normal(-1.0, 0.5, 4000)
    is_limit = value < -1.0
    residual = np.where(is_limit, -1.0, value)
    shift, spread = _tobit(residual, is_limit)
    assert (shift, spread) == (pytest.approx(-1.0, abs=0.05), pytest.approx(0.5, abs=0.04))
    assert residual.mean() > -0.85


@given(st.integers(0, 2**32 - 1), st.integers(30, 300), st.integers(10, 60), st.floats(0.3, 2))
@settings(max_examples=15)
def test_the_odds_are_those_of_a_balanced_logistic_regression(seed, n, n_poor, apart):
    rng = np.random.default_rng(seed)
    detections, poor = rng.normal(-apart, 1, n), rng.normal(apart, 1, n_poor)
    slope, intercept = _platt(detections, poor)
    logit, kind = np.concatenate([detections, poor]), np.arange(n + n_poor) >= n
    fitted = LogisticRegression(class_weight="balanced", C=1e5, tol=1e-8).fit(logit[:, None], kind)
    at = np.array([-2.0, 0.0, 2.0])
    expected = fitted.coef_[0, 0] * at + fitted.intercept_[0]
    np.testing.assert_allclose(expit(slope * at + intercept), expit(expected), atol=5e-3)


def test_kinds_that_never_overlap_have_finite_odds():
    slope, intercept = _platt(np.linspace(-3, -1, 20), np.linspace(1, 3, 10))
    assert math.isfinite(slope)
    assert math.isfinite(intercept)
    assert slope > 1


@pytest.mark.parametrize("values", [0, 4])
def test_a_second_population_of_limits_alone_is_refused(values):
    world = World(4)
    world.is_limit = np.arange(60) >= values
    with pytest.raises(ValueError, match=r"^is_limit must leave five values or more"):
        world.table()


def test_too_few_detections_for_the_outermost_level():
    with pytest.raises(ValueError, match=r"18 are too few for the level 0.05"):
        World(5, n=18).table()
    assert World(5, n=18).table(levels=(0.16, 0.5, 0.84)).levels == (0.16, 0.5, 0.84)


@pytest.mark.parametrize("kind", ["truth", "poor_truth"])
def test_a_truth_that_is_no_number_makes_no_table(kind):
    world = World(6)
    getattr(world, kind)[~world.is_limit if kind == "poor_truth" else slice(None)] = np.nan
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=r"finite|positive|ranks"):
        world.table()
