"""Simulated samples: photometry of each catalogue, estimates of rendered pictures, and the paper's cuts."""

import os

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, Table
from scipy.stats import linregress

from hifrac import load_model
from hifrac.catalogs import CatalogFlag
from hifrac.core.reddening import galactic_ebv
from hifrac.metrics import published_metrics
from hifrac.reproduce import EXPERIMENTS, setting, simulated
from hifrac.reproduce.samples import (
    LABELLED_SAMPLE,
    alfalfa_photometry,
    labelled_photometry,
    nibles_photometry,
    xgass_photometry,
)
from hifrac.simulate import observed_colour, render_table

pytestmark = pytest.mark.slow


@pytest.fixture
def durbala():
    """Six galaxies as of ``durbala2020``: the fourth of bad photometry, the fifth without a colour."""
    table = Table({"objid": MaskedColumn([f" 10{n}" for n in range(1, 7)])})
    table["ra"], table["dec"] = np.linspace(150, 200, 6) * u.deg, np.full(6, 10.0) * u.deg
    table["i_mag"] = np.linspace(14, 16.5, 6) * u.mag
    table["g_minus_i"] = MaskedColumn(np.linspace(0.4, 1.1, 6), mask=np.arange(6) == 4, unit=u.mag)
    table["abs_i"] = np.linspace(-21, -18.5, 6) * u.mag
    table["axial_ratio"] = np.linspace(0.3, 0.9, 6)
    table["distance"] = np.linspace(50, 150, 6) * u.Mpc
    flags = np.where(np.arange(6) == 3, int(CatalogFlag.BAD_PHOTOMETRY), 0)
    table["catalog_flags"] = MaskedColumn(flags)
    return table


@pytest.fixture
def xgass():
    """Four galaxies as of ``xgass``; the second is an upper limit, the last has no radius."""
    table = Table({"gass": MaskedColumn([11, 12, 13, 14])})
    table["ra"], table["dec"] = [150.0, 160, 170, 180] * u.deg, [5.0, 6, 7, 8] * u.deg
    table["r_mag"] = [15.0, 15.5, 16.0, 15.2] * u.mag
    table["extinction_r"] = np.full(4, 0.1) * u.mag
    table["distance"] = np.full(4, 130.0) * u.Mpc
    table["r50"] = MaskedColumn([4.0, 3.0, 2.5, 0.0], mask=[False] * 3 + [True], unit=u.arcsec)
    table["axial_ratio"] = [0.25, 0.9, 0.6, 0.5]
    table["log_mstar"] = [10.2, 10.4, 9.7, 10.0]
    table["log_mhi_limit"] = MaskedColumn([False, True, False, False])
    table["log_hi_fraction"] = [-0.6, -1.8, -0.2, 0.0] * u.dex
    return table


def test_colours_of_alfalfa_are_made_again_as_they_are_seen(durbala):
    sample = Table({"log_hi_fraction": [0.2, -0.4]})
    table = alfalfa_photometry(sample, durbala, np.array([2, 0]), "alpha.100")
    assert list(table["name"]) == ["103", "101"]
    np.testing.assert_allclose(table["truth"], [0.2, -0.4])
    rows = durbala[[2, 0]]
    ebv = galactic_ebv(rows["ra"], rows["dec"])
    expected = observed_colour(
        rows["g_minus_i"], abs_i=rows["abs_i"], axial_ratio=rows["axial_ratio"], ebv=ebv
    )
    np.testing.assert_allclose(table["g_minus_i"], expected)
    assert np.all(table["g_minus_i"] > np.asarray(rows["g_minus_i"]))
    assert not table["is_limit"].any()


def test_galaxies_without_good_photometry_are_no_pictures(durbala):
    sample = Table({"log_hi_fraction": MaskedColumn(np.zeros(6), mask=np.arange(6) == 1)})
    table = alfalfa_photometry(sample, durbala, np.arange(6), "alpha.100")
    assert list(table["name"]) == ["101", "103", "106"]


def test_nibles_takes_the_photometry_of_alfalfa_where_there_is_some(durbala):
    sample = Table({"ra": [180.0, 300.0, 150.0] * u.deg, "dec": [10.0, 10.0, 10.0008] * u.deg})
    sample["log_hi_fraction"] = [-0.5, -1.0, 0.3]
    sample["ra"][0] = durbala["ra"][2] + 1 / 3600
    table = nibles_photometry(sample, durbala)
    assert list(table["name"]) == ["103", "101"]
    np.testing.assert_allclose(table["truth"], [-0.5, 0.3])


def test_the_colour_of_xgass_gives_back_its_stellar_mass(xgass):
    table = xgass_photometry(xgass)
    assert list(table["name"]) == ["GASS 11", "GASS 12", "GASS 13"]
    assert list(table["is_limit"]) == [False, True, False]
    np.testing.assert_allclose(table["r50"], np.asarray(xgass["r50"][:3]) / np.sqrt(xgass["axial_ratio"][:3]))
    # Taylor et al. (2011) in the other direction, without the reddening that the picture has.
    colour = table["g_minus_i"] - (3.303 - 1.698) * table["ebv"]
    r_minus_i = colour - (0.698 * colour - 0.020)
    abs_i = np.asarray(xgass["r_mag"])[:3] - 0.1 - r_minus_i - 5 * np.log10(130e5)
    np.testing.assert_allclose(1.15 + 0.70 * colour - 0.4 * abs_i, xgass["log_mstar"][:3])


@pytest.fixture(scope="module")
def labelled():
    """Photometry of twelve labelled galaxies."""
    rng = np.random.default_rng(5)
    truth = rng.uniform(-1, 1, 12)
    labels = Table({"objid": [str(1237648674510730000 + n) for n in range(12)]})
    labels["ra"], labels["dec"] = rng.uniform(150, 220, 12) * u.deg, rng.uniform(5, 15, 12) * u.deg
    labels["i_cmodel"], labels["abs_i"] = 15.0 + truth, -20.0 + truth
    labels["g_minus_i"] = 0.8 - 0.4 * truth
    labels["axial_ratio"] = rng.uniform(0.4, 1, 12)
    labels["distance"] = np.full(12, 100.0) * u.Mpc
    labels["log_hi_fraction_true"] = truth
    return labelled_photometry(labels)


def test_estimates_are_those_of_the_rendered_pictures_and_follow_their_galaxies(labelled, monkeypatch):
    monkeypatch.setattr(simulated, "_BATCH", 5)  # the last batch is not full
    model = load_model()
    table = simulated.estimate_simulated(labelled, model, seed=2)
    pixels = np.stack(list(render_table(labelled, name="name", seed=2)))
    answer = model.answer(pixels, np.asarray(labelled["ebv"]), selection="alfalfa")
    np.testing.assert_allclose(table["estimate"], answer.estimate, atol=1e-5)
    np.testing.assert_allclose(table["p_detect"], answer.probability, atol=1e-5)
    turned = simulated.estimate_simulated(labelled[::-1], model, seed=2)
    np.testing.assert_allclose(turned["estimate"], table["estimate"][::-1], atol=1e-5)
    assert linregress(table["truth"], table["estimate"]).rvalue > 0.7
    assert len(simulated.estimate_simulated(labelled[:0], model)) == 0


def test_a_draw_does_not_depend_on_the_order_of_the_table(labelled):
    first = simulated._draw_rows(labelled, 5, seed=3)
    again = simulated._draw_rows(labelled[::-1], 5, seed=3)
    assert list(first["name"]) == list(again["name"])
    assert len(set(first["name"])) == 5
    assert list(first["name"]) != list(simulated._draw_rows(labelled, 5, seed=4)["name"])


def test_what_is_simulated_is_called_so():
    for name in ("fig4-simulated", "table2-simulated"):
        one = EXPERIMENTS[name]
        assert one.tier == "simulated"
        assert "simulated pictures" in one.title


@pytest.fixture(scope="module")
def few():
    """Both experiments on few galaxies of the real catalogues."""
    folder = os.environ.get("HIFRAC_DATA_DIR")
    if not folder:
        pytest.skip("HIFRAC_DATA_DIR is not set: no real data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulated, "LARGEST", 8)
        patch.setattr(simulated, "LABELLED", 24)
        where = setting(folder, draws=20)
        return where, simulated.fig4(where), simulated.table2(where)


@pytest.mark.real_data
def test_no_galaxy_of_the_training_set_is_in_a_sample(few):
    where, figure, _ = few
    trained = Table.read(where.model / "out_of_fold.ecsv")
    assert set(figure["sample"]) == set(simulated.SAMPLES)
    own = figure["sample"] == LABELLED_SAMPLE
    assert np.isin(figure["name"][own], trained["objid"]).all()
    for name in ("alpha.100", "NIBLES"):
        objid = figure["name"][figure["sample"] == name]
        assert np.char.isdigit(np.asarray(objid, dtype=str)).all()
        assert not np.isin(objid, trained["objid"]).any()


@pytest.mark.real_data
def test_the_figures_are_those_of_the_rows(few):
    _, figure, table = few
    rows = figure[figure["sample"] == "xGASS"]
    (found,) = table[
        (table["sample"] == "xGASS") & (table["cut"] == "all") & (table["origin"] == "simulated")
    ]
    measured = rows[~rows["is_limit"]]
    residual = np.asarray(measured["estimate"] - measured["truth"])
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(residual**2)))
    assert found["offset"] == pytest.approx(residual.mean())
    assert (found["n"], found["n_limits"]) == (len(measured), len(rows) - len(measured))
    (limits,) = table[(table["sample"] == "xGASS, limits as values") & (table["cut"] == "all")]
    assert limits["n"] == len(rows)
    paper = published_metrics()
    (known,) = paper[(paper["table"] == 2) & (paper["sample"] == "xGASS") & (paper["cut"] == "all")]
    name = "simulated, xGASS, limits as values, all, rmse"
    assert table.meta["numbers"][name] == (pytest.approx(limits["rmse"]), known["rmse"])


@pytest.mark.real_data
def test_rendering_costs_little_of_what_the_real_cutouts_tell(few):
    _, figure, _ = few
    numbers = figure.meta["numbers"]
    real, _ = numbers["labelled, real cutouts, held out, rmse"]
    ours, _ = numbers["labelled, simulated pictures, rmse"]
    scatter = np.std(figure["truth"][figure["sample"] == LABELLED_SAMPLE])
    assert 0.1 < real < ours < 0.8 * scatter
    assert numbers["labelled, simulated pictures, share flagged as unlike the training set"][0] < 0.4
    assert all("simulated" in name or "real" in name or "share" in name for name in numbers)
    assert figure.meta["notes"][0].startswith("simulated pictures")


@pytest.mark.real_data
def test_the_figure_says_that_it_is_simulated(few):
    drawn = simulated.plot_simulated(few[1])
    assert drawn.get_suptitle().startswith("Simulated pictures")
    assert len(drawn.axes) == len(simulated.SAMPLES) + 1
    points = sum(len(one.get_offsets()) for axis in drawn.axes[:-1] for one in axis.collections)
    assert points == len(few[1])
    plt.close(drawn)
