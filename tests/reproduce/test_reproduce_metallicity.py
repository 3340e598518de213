"""Metallicities: figures computed otherwise, published values, and what tightens a relation."""

import shutil

import matplotlib.pyplot as plt
import numpy as np
import pytest
from reproduce_data import N

from hifrac.metrics import regression_metrics
from hifrac.models.registry import bundled_models
from hifrac.reproduce import EXPERIMENTS, mass_metallicity, metallicity, resolution
from hifrac.reproduce._inputs import PUBLISHED, metallicities, with_photometry

pytestmark = pytest.mark.numeric


def test_bins_are_open_and_small_ones_say_nothing():
    x = np.array([8.95, *np.full(5, 9.0), 9.05, 9.2])
    value = np.array([9.0, 1, 2, 3, 4, 5, 9, 9])
    table = metallicity.running(x, value, value - 3, np.array([9.0, 9.2]), 0.1)
    assert list(table["n"]) == [5, 1]
    assert (table["median"][0], table["rmse"][0]) == (3, pytest.approx(np.sqrt(2)))
    assert table["nmad"][0] == pytest.approx(1.4826, abs=1e-4)
    assert np.isnan([table[name][1] for name in ("median", "rmse", "nmad")]).all()


def test_published_series_have_the_bins_and_the_sums_of_the_paper():
    for figure, series, n in (
        ("2", "rmse", 12),
        ("5a", "median", 14),
        ("5b", "median", 12),
        ("6", "nmad", 15),
    ):
        x, value = metallicity.published_series(figure, series)
        assert len(x) == len(value) == n
        assert np.ptp(np.diff(x)) == pytest.approx(0)
    counts = {series: metallicity.published_series("3", series)[1] for series in ("true", "estimate")}
    assert {series: (len(own), own.sum()) for series, own in counts.items()} == {
        "true": (40, 20460),
        "estimate": (40, 20466),
    }
    rmse = dict(zip(*metallicity.published_series("4", "rmse"), strict=True))
    assert list(rmse) == list(resolution.WIDTHS)
    assert rmse[128] == metallicity.published_value("2", "rmse") == 0.0851
    with pytest.raises(ValueError, match="figure 2 has no series 'nothing'"):
        metallicity.published_series("2", "nothing")


def test_examples_are_the_extremes():
    truth, estimate = np.array([8.1, 8.5, 9.0, 9.2]), np.array([8.6, 8.4, 8.5, 9.1])
    rows = {name: list(own) for name, own in metallicity.examples(truth, estimate, 1).items()}
    assert rows.pop("random")[0] in range(4)
    assert list(rows.values()) == [[1], [0], [3], [3], [2], [0]]


def test_galaxies_are_joined_by_identifier_with_their_evidence(made_metallicity):
    here, labels, photometry, answers = made_metallicity
    rows = metallicities(here)
    place = {name: row for row, name in enumerate(answers["objid"])}
    np.testing.assert_array_equal(rows["estimate"], answers["oh"][[place[name] for name in labels["objid"]]])
    assert "oh_z_photometry" in rows.colnames
    assert "oh_z_photometry_p16" not in rows.colnames
    bright = with_photometry(rows, here)
    np.testing.assert_array_equal(bright["objid"], labels["objid"][10:])
    np.testing.assert_array_equal(bright["log_mstar"], photometry["log_mstar_taylor"][10:])
    with pytest.raises(ValueError, match="table: none of its galaxies has photometry"):
        with_photometry(rows[:10], here)


def test_scores_of_pairs_are_those_of_single_estimators():
    rng = np.random.default_rng(0)
    truth = rng.normal(9, 0.2, 50)
    estimates = {"a": truth + rng.normal(0, 0.1, 50), "b": truth + rng.normal(0.05, 0.1, 50)}
    table = metallicity.paired_scores(truth, estimates, "b", draws=50)
    for row in table:
        own = regression_metrics(truth, estimates[row["estimator"]])
        assert row["rmse"] == pytest.approx(own["rmse"])
        assert row["nmad"] == pytest.approx(own["nmad"], rel=1e-4)
    assert table["difference"][0] == pytest.approx(table["rmse"][0] - table["rmse"][1])
    assert (table["difference"][1], table["difference_error"][1]) == (0, 0)
    assert table["difference_error"][0] > 0
    with pytest.raises(ValueError, match="reference must be one of a, b; got 'c'"):
        metallicity.paired_scores(truth, estimates, "c")


def test_lower_resolution_keeps_the_mean_and_one_pixel_is_flat(demo_pixels):
    for width in (64, 8, 1):
        degraded = resolution.degrade(demo_pixels, width)
        assert degraded.shape == demo_pixels.shape
        assert degraded.dtype == np.uint8
        np.testing.assert_allclose(degraded.mean((1, 2)), demo_pixels.mean((1, 2)), atol=1)
    assert np.ptp(degraded, axis=(1, 2)).max() == 0
    assert resolution.degrade(demo_pixels, 128) is demo_pixels
    with pytest.raises(ValueError, match="width must divide that of the pictures, 128, got 5"):
        resolution.degrade(demo_pixels, 5)


def test_a_ridge_as_it_is_has_not_seen_the_galaxies_it_is_asked_about():
    rng = np.random.default_rng(1)
    features, truth, fold = rng.normal(size=(40, 60)), rng.normal(size=40), np.arange(40) % 4
    held_out = resolution.as_fitted(features, features, truth, fold)
    assert abs(np.corrcoef(held_out, truth)[0, 1]) < 0.5
    np.testing.assert_array_equal(held_out, resolution.as_fitted(features, features, truth, fold))


def regressions(n=40_000):
    """A mass, a metallicity about a relation, and three regressions of it with known knowledge."""
    rng = np.random.default_rng(5)
    mass = rng.normal(10, 0.5, n)
    curve = 8.9 + 0.3 * (mass - 10) - 0.1 * (mass - 10) ** 2
    deviation = rng.normal(0, 0.1, n)
    truth = curve + deviation
    noise = rng.normal(0, 0.1, n)
    return (
        mass,
        truth,
        {
            "mass alone": curve,
            "half of the deviation": curve + 0.5 * deviation,
            "errors that know no mass": 9 + 0.8 * (truth - 9) + 0.6 * noise,
        },
    )


def test_what_is_known_at_fixed_mass_is_told_apart_from_tightness():
    mass, truth, estimates = regressions()
    nothing = np.random.default_rng(6).normal(size=(len(mass), 1))
    own = {
        name: mass_metallicity.at_fixed_mass(mass, truth, estimate, nothing)
        for name, estimate in estimates.items()
    }
    assert own["mass alone"]["tightening"] == pytest.approx(0, abs=1e-6)
    assert own["mass alone"]["partial"] == 0
    assert own["mass alone"]["rmse_with_mass"] == pytest.approx(0.1, rel=0.02)
    half = own["half of the deviation"]
    assert (half["tightening"], half["partial"]) == (pytest.approx(0.5), pytest.approx(1))
    assert (half["retained"], half["added"]) == (pytest.approx(0.5), pytest.approx(0, abs=1e-3))
    # It knows the mass: what it does not know lies on the relation.
    assert half["scatter"] < half["scatter_random"]
    random = own["errors that know no mass"]
    assert random["scatter"] == pytest.approx(np.hypot(0.08, 0.06), rel=0.02)
    assert random["excess"] == pytest.approx(0, abs=0.001)
    assert random["retained"] == pytest.approx(0.8, rel=0.02)
    assert random["partial_photometry"] == pytest.approx(random["partial"], abs=0.01)


def test_scatters_of_regressions_as_good_are_those_of_regressions_made_so():
    mass, truth, estimates = regressions()
    half = estimates["half of the deviation"]
    # A deviation known by half with error is a calibrated regression that knows the mass.
    rng = np.random.default_rng(7)
    curve = estimates["mass alone"]
    calibrated = curve + 0.5 * (truth - curve) + np.sqrt(0.25) * 0.1 * rng.normal(size=len(mass))
    matched = mass_metallicity.matched_scatter(truth, calibrated, 0.1)
    assert matched["scatter_mass_known"] == pytest.approx(np.std(calibrated - curve), rel=0.02)
    matched = mass_metallicity.matched_scatter(truth, half, 0.1)
    rmse = np.sqrt(np.mean((half - truth) ** 2))
    shrunk = truth.mean() + (1 - rmse / truth.std()) * (truth - truth.mean())
    assert np.sqrt(np.mean((shrunk - truth) ** 2)) == pytest.approx(rmse)
    assert matched["scatter_shrunk"] == pytest.approx((1 - rmse / truth.std()) * 0.1)
    assert matched["scatter_shrunk_to_relation"] == pytest.approx(0.1 - rmse)


def test_published_correlations_make_a_partial_one():
    correlations = np.array([[1, 0.905744, 0.796297], [0.905744, 1, 0.815317], [0.796297, 0.815317, 1]])
    precision = np.linalg.inv(correlations)
    published = mass_metallicity.published_at_fixed_mass()
    assert published["partial"] == pytest.approx(
        -precision[0, 1] / np.sqrt(precision[0, 0] * precision[1, 1])
    )
    assert published["tightening"] == pytest.approx(0.0997 / 0.1175)


def test_controls_leave_residuals_without_them():
    rng = np.random.default_rng(8)
    controls = rng.normal(size=(100, 3)) + 20
    residual = mass_metallicity.residual_at(controls, controls @ [1, 2, 3] + rng.normal(size=100))
    assert residual.mean() == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(controls.T @ residual, 0, atol=1e-7)


def drawn(name, here, table):
    """The figure of an experiment, drawn and closed."""
    figure = EXPERIMENTS[name].draw(table, here)
    figure.canvas.draw()
    plt.close(figure)
    return figure


@pytest.mark.parametrize("name", ["fig1", "fig2", "fig3", "fig5", "fig6"])
def test_figures_are_drawn_from_their_tables(made_metallicity, name):
    here = made_metallicity[0]
    experiment = EXPERIMENTS[f"wu2019-{name}"]
    table = experiment.compute(here)
    assert len(table) == {"fig1": 35, "fig5": N - 10, "fig6": N - 10}.get(name, N)
    assert "trained by hifrac train metallicity" in table.meta["notes"][0]
    published = [pair[1] for pair in table.meta["numbers"].values() if pair[1] is not None]
    assert bool(published) == (name != "fig1")
    assert drawn(experiment.name, here, table).axes


def test_the_numbers_of_figure_2_are_those_of_both_estimates(made_metallicity):
    here, labels, _, answers = made_metallicity
    numbers = EXPERIMENTS["wu2019-fig2"].compute(here).meta["numbers"]
    residual = np.asarray(answers["oh"] - answers["oh_p50"])
    assert numbers["rmse (dex)"] == (pytest.approx(np.sqrt(np.mean(residual**2))), 0.0851)
    theirs = np.asarray(labels["wu_boada_2019_prediction"] - labels["oh_p50"])
    (ours, published) = numbers["rmse of the published network, same galaxies (dex)"]
    assert (ours, published) == (pytest.approx(np.sqrt(np.mean(theirs**2))), None)


def test_the_relation_of_figure_5_is_that_of_the_mass(made_metallicity):
    here, labels, photometry, _ = made_metallicity
    numbers = EXPERIMENTS["wu2019-fig5"].compute(here).meta["numbers"]
    relation = mass_metallicity.relation(photometry["log_mstar_taylor"][10:])
    rmse = np.sqrt(np.mean((relation - labels["oh_p50"][10:]) ** 2))
    assert numbers["relation at the mass of the photometry: rmse (dex)"] == (pytest.approx(rmse), 0.1175)


@pytest.mark.slow
def test_figure_4_has_every_estimator_at_every_width(made_metallicity):
    here = made_metallicity[0]
    for name in ("card.json", "weights.safetensors"):
        shutil.copy(bundled_models()["metallicity"] / name, here.metallicity)
    table = EXPERIMENTS["wu2019-fig4"].compute(here)
    for width in resolution.WIDTHS:
        own = table[table["width"] == width]
        assert len(own) == (4 if width in PUBLISHED else 3)
        assert np.isfinite(own["rmse"]).all()
        assert np.isfinite(own["difference"]).all() == (width in PUBLISHED)
    whole = table[(table["width"] == 128) & (table["estimator"] == "metallicity model, as it is")]
    rows = metallicities(here)
    rmse = np.sqrt(np.mean((rows["estimate"] - rows["truth"]) ** 2))
    assert whole["rmse"][0] == pytest.approx(rmse)
    ridges = [table[(table["width"] == 128) & (table["estimator"] == name)] for name in resolution.RIDGES]
    assert ridges[0]["rmse"][0] == pytest.approx(ridges[1]["rmse"][0])
    assert drawn("wu2019-fig4", here, table).axes


def test_models_are_scored_on_the_same_galaxies(made_metallicity):
    here = made_metallicity[0]
    table = EXPERIMENTS["wu2019-models"].compute(here)
    assert {str(sample): set(table["n"][table["sample"] == sample]) for sample in table["sample"]} == {
        "all": {N},
        "with photometry": {N - 10},
    }
    own = table[table["sample"] == "with photometry"]["estimator"].tolist()
    assert "metallicity model, redshift and magnitudes" in own
    assert "metallicity model, redshift and magnitudes" not in table[table["sample"] == "all"]["estimator"]
    (row,) = table[(table["sample"] == "all") & (table["estimator"] == "published network, 16 px")]
    rows = metallicities(here)
    assert row["rmse"] == pytest.approx(np.sqrt(np.mean((rows[PUBLISHED[16]] - rows["truth"]) ** 2)))
    assert drawn("wu2019-models", here, table).axes


def test_shrinkage_is_measured_of_every_estimator(made_metallicity):
    here = made_metallicity[0]
    table = EXPERIMENTS["wu2019-shrinkage"].compute(here)
    names = table["estimator"].tolist()
    assert names[0] == "metallicity model"
    assert names[-1] == "relation at the picture's mass"
    # What was made is the truth and noise: it knows deviations, and as the mass is not known adds scatter.
    assert table["partial"][0] > 3 * table["partial_error"][0] > 0
    assert table["scatter"][0] > table["scatter"][0] / table["tightening"][0]
    assert drawn("wu2019-shrinkage", here, table).axes
