"""The estimator, from positions to the table."""

import dataclasses
import io
import logging
import pickle
import threading
import tracemalloc
import weakref
from datetime import datetime

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io.misc import yaml
from astropy.table import Column, MaskedColumn, QTable, Table
from contract import (
    assert_column_of,
    assert_same_estimates,
    assert_same_probabilities,
    assert_same_results,
    assert_same_scores,
    values_of,
)
from getjpeg_server import Reply, serve
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encode, fits_cube, galaxy, printed
from stores import stored_pictures

import hifrac
from hifrac import (
    Flag,
    HIFractionEstimator,
    LocalCutouts,
    SkyServerCutouts,
    conf,
    images,
    load_model,
    plot_overview,
)
from hifrac.core.columns import RESULT_COLUMNS, columns_of
from hifrac.core.evidence import Evidence
from hifrac.core.exceptions import (
    BadCoordinateError,
    BadImageError,
    FetchError,
    HifracWarning,
    OutOfFootprintError,
    RowError,
)
from hifrac.core.flags import UNSERVED
from hifrac.core.measurements import plain_floats
from hifrac.core.reddening import galactic_ebv
from hifrac.cutouts import SDSS_RECIPE, Cutout
from hifrac.demo import PICTURES, sample_table
from hifrac.environment import EnvironmentFlag, overdensity
from hifrac.models.calibration import LEVELS, ConformalTable
from hifrac.simulate import SimulatedGalaxy, encode_jpeg, render

pytestmark = pytest.mark.numeric

#: The estimate, and its percentiles from the lowest to the highest.
FRACTIONS = ("log_hi_fraction", "log_hi_fraction_p16", "log_hi_fraction_p84")
OUTER = ("log_hi_fraction_p05", "log_hi_fraction_p95")
DEX = (*FRACTIONS, *OUTER)
ESTIMATES = (*DEX, "p_detect", "ood_score")
MASSES = ("log_mhi", "log_mhi_p16", "log_mhi_p84", "log_mhi_p05", "log_mhi_p95")
ADDED = (*ESTIMATES, "flags")
#: All columns that are always there, in their order.
COLUMNS = (*DEX, "evidence", "p_detect", "ood_score", "flags")

GOOD = encode(galaxy(1))
HTML = b"<!DOCTYPE html><html><body>The service is down for maintenance.</body></html>"
# What goes wrong with a picture, and the flag and the error that it ends as.
TROUBLES = {
    "missing": (FetchError("no picture"), Flag.FETCH_FAILED, FetchError),
    "damaged": (GOOD[: len(GOOD) // 2], Flag.BAD_IMAGE, BadImageError),
    "noise": (b"\xff\xd8\xff" + bytes(range(256)), Flag.BAD_IMAGE, BadImageError),
    "empty": (b"", Flag.BAD_IMAGE, BadImageError),
    "html": (HTML, Flag.BAD_IMAGE, BadImageError),
    "small": (encode(galaxy(1, width=64)), Flag.BAD_IMAGE, BadImageError),
    "large": (encode(galaxy(1, width=256)), Flag.BAD_IMAGE, BadImageError),
    "grey": (encode(galaxy(1)[..., 0]), Flag.BAD_IMAGE, BadImageError),
    "blank": (encode(np.full((128, 128, 3), 0, np.uint8)), Flag.OUT_OF_FOOTPRINT, OutOfFootprintError),
    "printed": (encode(printed(), "PNG"), Flag.OUT_OF_FOOTPRINT, OutOfFootprintError),
}


class Source:
    """A source of given cutouts: bytes, or the error of a row."""

    def __init__(self, contents, *, name_column=None, recipe=None):
        self.contents = contents
        self.name_column = name_column
        self.recipe = recipe
        self.asked = []

    def fetch(self, ra, dec, names=None):
        self.asked.append((ra, dec, names))
        for content in self.contents:
            yield Cutout(error=content) if isinstance(content, Exception) else Cutout(data=content)

    def describe(self):
        return "given cutouts"


BRIGHTNESS = ("estimate", "detection_logit", "distance")


class Brightness(torch.nn.Module):
    """Stands in for the network where only what happens around it matters: the mean of each colour."""

    def forward(self, batch):
        mean = batch.double().mean(dim=(2, 3)) / 255
        return mean.unbind(1)


#: Residuals of a tenth of a dex: the estimate is the network's, the mean of the red pixels.
PLAIN = ConformalTable(n=99, levels=LEVELS, values=(-0.2, -0.1, 0.0, 0.1, 0.2))


@pytest.fixture(scope="module")
def model():
    return load_model("default", device="cpu")


@pytest.fixture(scope="module")
def quick_model(model):
    card = dataclasses.replace(model.card, calibration=PLAIN, inputs=("pixels",), outputs=BRIGHTNESS)
    return dataclasses.replace(model, card=card, network=Brightness(), runtime="eager")


@pytest.fixture
def demo(model):
    """The bundled sample, and its estimator."""
    return sample_table(), HIFractionEstimator(model, cutouts=LocalCutouts(PICTURES, name="name"))


@pytest.fixture(scope="module")
def demo_result(model):
    return HIFractionEstimator(model, cutouts=LocalCutouts(PICTURES, name="name")).predict(sample_table())


def sky(n, **columns):
    """A table of n good positions."""
    return Table({"ra": np.linspace(1, 300, n) * u.deg, "dec": np.linspace(-80, 80, n) * u.deg, **columns})


def numbers(result, names=ADDED):
    return np.stack([values_of(result[name]) for name in names])


def assert_masked_rows(result, masked):
    for name in ESTIMATES:
        assert np.asarray(result[name].mask).tolist() == list(masked), name


# The result


@pytest.mark.parametrize("with_mass", [False, True])
def test_the_columns_are_those_of_the_registry(demo, with_mass):
    data, estimator = demo
    if not with_mass:
        data.remove_column("log_mstar")
    result = estimator.predict(data)
    assert type(result) is QTable
    expected = list(columns_of("log_hi_fraction", "", with_mass=with_mass))
    assert result.colnames == data.colnames + expected
    for name in expected:
        entry, column = RESULT_COLUMNS[name], result[name]
        assert_column_of(entry, column)
        if name == "evidence":
            assert column.dtype.kind == "U"
        else:
            assert column.dtype == np.dtype(np.int32 if name == "flags" else float), name
        assert hasattr(column, "mask") == (name != "flags"), name


def test_one_row_per_row_in_their_order(demo_result):
    assert demo_result["name"].tolist() == sample_table()["name"].tolist()
    assert_masked_rows(demo_result, [False] * 26 + [True])
    flags = demo_result["flags"]
    assert flags[26] == Flag.OUT_OF_FOOTPRINT
    assert not np.any(flags[:26] & int(UNSERVED))


def test_the_values_make_sense(demo_result):
    value, low, high, lowest, highest, p_detect, ood = numbers(demo_result, ESTIMATES)[:, :26]
    assert np.all((lowest < low) & (low < value) & (value < high) & (high < highest))
    assert np.all((value > -4) & (value < 3))
    assert np.all((p_detect >= 0) & (p_detect <= 1))
    assert np.all((ood >= 0) & (ood <= 100))


def test_estimate_and_interval_are_those_of_the_card(demo_result, model):
    pixels = np.stack(
        [SDSS_RECIPE.decode((PICTURES / f"{name}.jpg").read_bytes()) for name in demo_result["name"][:26]]
    )
    ebv = galactic_ebv(demo_result["ra"][:26], demo_result["dec"][:26])
    log_mstar, dec = (plain_floats(demo_result[name])[:26] for name in ("log_mstar", "dec"))
    evidence = dataclasses.replace(Evidence.none(26), log_mstar=log_mstar, dec=dec)
    answer = model.answer(pixels, ebv, evidence=evidence)
    expected = [answer.estimate, *(answer.quantiles[level] for level in (0.16, 0.84, 0.05, 0.95))]
    assert_same_estimates(numbers(demo_result, DEX)[:, :26], expected)
    assert_same_probabilities(demo_result["p_detect"][:26], answer.probability)


def test_a_table_of_residuals_gives_intervals_too(quick_model):
    result = HIFractionEstimator(quick_model, cutouts=Source([GOOD])).predict(sky(1))
    value, *limits = numbers(result, DEX)[:, 0]
    assert value == SDSS_RECIPE.decode(GOOD)[..., 0].mean() / 255
    np.testing.assert_allclose(limits, value + np.array([-0.1, 0.1, -0.2, 0.2]))
    assert result["evidence"].tolist() == ["picture"]


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"calibration": None}, (*FRACTIONS[1:], *OUTER)),
        ({"detection": None}, ("p_detect", "ood_score")),
        ({"calibration": None, "detection": None}, (*FRACTIONS[1:], *OUTER, "p_detect", "ood_score")),
    ],
)
def test_what_a_model_does_not_know_is_masked(quick_model, changes, missing):
    bare = dataclasses.replace(quick_model, card=dataclasses.replace(quick_model.card, **changes))
    result = HIFractionEstimator(bare, cutouts=Source([GOOD, GOOD])).predict(sky(2, log_mstar=[9.0, 9.5]))
    for name in ESTIMATES:
        assert np.asarray(result[name].mask).tolist() == [name in missing] * 2, name
    assert result.colnames[-len(COLUMNS) - len(MASSES) :] == list(COLUMNS) + list(MASSES)
    fraction = values_of(result["log_hi_fraction"])
    np.testing.assert_array_equal(values_of(result["log_mhi"]), [fraction[0] + 9.0, fraction[1] + 9.5])
    assert np.asarray(result["log_mhi_p16"].mask).all() == ("calibration" in changes)
    if "detection" in changes:
        assert result["flags"].tolist() == [0, 0]


def test_a_network_with_one_output_gives_an_estimate(quick_model):
    class Red(torch.nn.Module):
        def forward(self, batch):
            return (batch.double().mean(dim=(1, 2, 3)),)

    card = dataclasses.replace(quick_model.card, calibration=None, detection=None, outputs=("estimate",))
    model = dataclasses.replace(quick_model, card=card, network=Red())
    result = HIFractionEstimator(model, cutouts=Source([GOOD, HTML])).predict(sky(2))
    assert values_of(result["log_hi_fraction"])[0] == pytest.approx(
        SDSS_RECIPE.decode(GOOD).astype(float).mean()
    )
    for name in ESTIMATES[1:]:
        assert np.asarray(result[name].mask).tolist() == [True, True], name
    assert result["flags"].tolist() == [0, int(Flag.BAD_IMAGE)]


# Reddening


class Reddened(torch.nn.Module):
    """Ten times the reddening is the estimate, and -1 where it is unknown."""

    def forward(self, batch, ebv):
        return (torch.where(torch.isfinite(ebv), 10 * ebv, -1.0).double(),)


@pytest.fixture
def reddened(quick_model):
    facts = {"calibration": None, "detection": None, "outputs": ("estimate",), "inputs": ("pixels", "ebv")}
    card = dataclasses.replace(quick_model.card, **facts)
    return dataclasses.replace(quick_model, card=card, network=Reddened())


def test_the_reddening_of_a_row_is_that_of_the_map(reddened):
    positions = sky(6)
    contents = [GOOD, GOOD, HTML, GOOD, GOOD, GOOD]
    result = HIFractionEstimator(reddened, cutouts=Source(contents), batch_size=2).predict(positions)
    expected = 10 * galactic_ebv(positions["ra"], positions["dec"])
    expected[2] = np.nan
    np.testing.assert_allclose(values_of(result["log_hi_fraction"]), expected, rtol=1e-6)
    assert "Schlegel" in result.meta["hifrac"]["reddening"]


def test_a_table_may_have_its_own_reddening(reddened):
    own = MaskedColumn([0.1, 0.2, 0.3, np.nan], mask=[False, True, False, False], unit="mag")
    positions = sky(4, ebv=own)
    result = HIFractionEstimator(reddened, cutouts=Source([GOOD] * 4)).predict(positions)
    mapped = galactic_ebv(positions["ra"], positions["dec"])
    expected = 10 * np.array([0.1, mapped[1], 0.3, mapped[3]])
    np.testing.assert_allclose(values_of(result["log_hi_fraction"]), expected, rtol=1e-6)
    assert result.colnames[:3] == ["ra", "dec", "ebv"]


def test_a_negative_reddening_is_that_of_the_map(reddened):
    estimator = HIFractionEstimator(reddened, cutouts=Source([GOOD] * 2))
    positions = sky(2, ebv=[0.1, -99.0])
    with pytest.warns(HifracWarning, match=r"^ebv must be a reddening, .* 1 of 2 rows"):
        result = estimator.predict(positions)
    mapped = galactic_ebv(positions["ra"], positions["dec"])[1]
    np.testing.assert_allclose(values_of(result["log_hi_fraction"]), [1, 10 * mapped], rtol=1e-6)


def test_a_reddening_that_no_training_galaxy_has_is_flagged(model):
    estimator = HIFractionEstimator(model, cutouts=Source([GOOD] * 3))
    result = estimator.predict(sky(3, ebv=[0.02, 0.18, 0.5]))
    assert (result["flags"] & Flag.HIGH_REDDENING != 0).tolist() == [False, False, True]
    explained = HIFractionEstimator(model, cutouts=Source([GOOD] * 3)).explain(sky(3, ebv=[0.02, 0.18, 0.5]))
    assert [one.flags for one in explained] == result["flags"].tolist()


@pytest.mark.parametrize(("selection", "most"), [("alfalfa", 0.4), ("intrinsic", 0.8)])
def test_a_reddened_galaxy_is_bluer_than_it_looks(model, selection, most):
    def predict(ebv):
        estimator = HIFractionEstimator(model, selection=selection, cutouts=Source([GOOD]))
        return estimator.predict(sky(1, ebv=[ebv]))

    clear, dusty = predict(0.02), predict(0.12)
    assert 0.05 < values_of(dusty["log_hi_fraction"])[0] - values_of(clear["log_hi_fraction"])[0] < most
    assert_same_scores(dusty["ood_score"], clear["ood_score"])


def test_the_flags_follow_from_their_numbers(demo_result, model):
    table = model.card.detection
    p_detect, ood = numbers(demo_result, ("p_detect", "ood_score"))[:, :26]
    flags = np.asarray(demo_result["flags"][:26])
    assert ((flags & Flag.UNLIKELY_DETECTION) != 0).tolist() == (p_detect < table.threshold).tolist()
    assert ((flags & Flag.OUT_OF_DISTRIBUTION) != 0).tolist() == (ood >= table.ood_threshold).tolist()


def test_masses_are_added_in_dex(demo_result):
    log_mstar = np.asarray(sample_table()["log_mstar"])
    for mass, fraction in zip(MASSES, DEX, strict=True):
        expected = values_of(demo_result[fraction]) + log_mstar
        np.testing.assert_allclose(values_of(demo_result[mass]), expected, atol=1e-12)
        assert np.asarray(demo_result[mass].mask).tolist() == np.isnan(expected).tolist()
    # Where the stellar mass is unknown, the fraction is not: the star and the blank sky.
    assert np.asarray(demo_result["log_mhi"].mask).tolist() == [False] * 24 + [True] * 3


@pytest.mark.parametrize("unit", [u.dex(u.solMass), u.dex, None], ids=str)
def test_masses_of_any_accepted_unit(quick_model, unit):
    column = MaskedColumn([9.0, 10.0, np.nan], mask=[False, True, False], unit=unit)
    result = HIFractionEstimator(quick_model, cutouts=Source([GOOD] * 3)).predict(sky(3, log_mstar=column))
    fraction = values_of(result["log_hi_fraction"])
    np.testing.assert_array_equal(values_of(result["log_mhi"]), [fraction[0] + 9, np.nan, np.nan])
    assert result["log_mhi"].unit is None
    assert result["log_mhi"].description.endswith("[dex(solMass)]")
    assert np.asarray(result["log_mstar"].mask).tolist() == [False, True, False]


def test_linear_masses_are_refused(quick_model):
    with pytest.raises(u.UnitConversionError, match="log_mstar"):
        HIFractionEstimator(quick_model, cutouts=Source([GOOD])).predict(sky(1, log_mstar=[1e10] * u.solMass))


# What may be handed in


@pytest.mark.parametrize(
    "form", ["scalar", "array", "galactic", "table", "qtable", "row", "column", "radians"]
)
def test_the_same_position_in_any_form(quick_model, form):
    coords = SkyCoord([123.25], [-4.5], unit="deg")
    table = Table({"ra": [123.25] * u.deg, "dec": [-4.5] * u.deg})
    data = {
        "scalar": coords[0],
        "array": coords,
        "galactic": coords.galactic,
        "table": table,
        "qtable": QTable(table),
        "row": table[0],
        "column": QTable({"place": coords}),
        "radians": Table({"RA": np.radians([123.25]) * u.rad, "Dec": np.radians([-4.5]) * u.rad}),
    }[form]
    source = Source([GOOD])
    result = HIFractionEstimator(quick_model, cutouts=source).predict(data)
    ((ra, dec, names),) = source.asked
    np.testing.assert_allclose([ra, dec], [[123.25], [-4.5]], atol=1e-9)
    assert names is None
    assert len(result) == 1
    assert result["flags"].tolist()[0] & UNSERVED == 0
    assert result.colnames[-len(COLUMNS) :] == list(COLUMNS)


@pytest.mark.parametrize(
    "data",
    [SkyCoord([], [], unit="deg"), sky(0), QTable(sky(0, log_mstar=[] * u.dex))],
    ids=["SkyCoord", "Table", "QTable"],
)
def test_no_rows(quick_model, data):
    said = []
    result = HIFractionEstimator(quick_model, cutouts=Source([])).predict(data, progress=said.append)
    assert len(result) == 0
    assert set(ADDED) <= set(result.colnames)
    assert result["log_hi_fraction"].dtype == float
    assert sum(said) == 0
    assert result.meta["hifrac"]["model"] == "default"


def test_columns_are_carried_and_the_input_is_left_alone(quick_model):
    def make():
        data = sky(
            3,
            objid=np.array([1237648722312298550, 2, 3]),
            mag=Column([1.0, 2.0, 3.0], unit="mag", description="of i", format=".1f"),
            note=MaskedColumn(["a", "b", "c"], mask=[False, True, False]),
        )
        data.meta = {"deep": {"list": [1]}, "hifrac": "of an earlier run"}
        return data

    data = make()
    result = HIFractionEstimator(quick_model, cutouts=Source([GOOD, HTML, GOOD])).predict(data)
    assert data.colnames == make().colnames
    assert data.meta == make().meta
    assert all(np.all(data[name] == make()[name]) for name in ("objid", "mag", "ra"))
    assert result["objid"].dtype == np.int64
    assert result["objid"].tolist() == data["objid"].tolist()
    assert (result["mag"].unit, result["mag"].info.description, result["mag"].info.format) == (
        u.mag,
        "of i",
        ".1f",
    )
    assert result["note"].mask.tolist() == [False, True, False]
    assert result.meta["deep"] == {"list": [1]}
    assert result.meta["hifrac"]["version"] == hifrac.__version__


def test_duplicate_rows_are_estimated_alike(model):
    data = sky(1)[[0, 0, 0]]
    result = HIFractionEstimator(model, cutouts=Source([GOOD] * 3), batch_size=2).predict(data)
    assert_same_results(result, result[[0, 0, 0]])


@pytest.mark.parametrize("name", COLUMNS)
def test_existing_result_columns_are_refused_by_name_or_replaced(quick_model, name):
    data = sky(2, **{name: ["old", "old"]})
    source = Source([GOOD, GOOD])
    estimator = HIFractionEstimator(quick_model, cutouts=source)
    with pytest.raises(ValueError, match=rf"^data has the result columns {name} already; .*overwrite=True"):
        estimator.predict(data)
    assert source.asked == []
    result = estimator.predict(data, overwrite=True)
    assert result.colnames == ["ra", "dec", *COLUMNS]
    assert result[name].dtype.kind in ("U" if name == "evidence" else "fi")
    assert data[name].tolist() == ["old", "old"]


def test_a_result_can_be_predicted_again(demo, demo_result):
    _, estimator = demo
    with pytest.raises(ValueError, match=", ".join((*COLUMNS, *MASSES))):
        estimator.predict(demo_result)
    again = estimator.predict(demo_result, overwrite=True)
    assert again.colnames == demo_result.colnames
    np.testing.assert_array_equal(numbers(again), numbers(demo_result))


def test_what_belonged_to_a_replaced_column_goes_with_it(quick_model):
    measured = {
        "log_hi_fraction": [0.1, 0.2],
        "log_hi_fraction_err": [0.1, 0.1],
        "log_hi_fraction_limit": [True, False],
    }
    estimator = HIFractionEstimator(quick_model, cutouts=Source([GOOD, GOOD]))
    result = estimator.predict(sky(2, **measured, flux_limit=[1, 2]), overwrite=True)
    assert result.colnames == ["ra", "dec", "flux_limit", *COLUMNS]


def test_what_the_input_says_of_itself_is_kept(quick_model):
    data = sky(1)
    data.meta["hifrac"] = {"catalogue": "of mine", "h0": 70}
    result = HIFractionEstimator(quick_model, cutouts=Source([GOOD])).predict(data)
    assert result.meta["hifrac"]["input"] == {"catalogue": "of mine", "h0": 70}
    assert (
        "input" not in HIFractionEstimator(quick_model, cutouts=Source([GOOD])).predict(sky(1)).meta["hifrac"]
    )


@pytest.mark.parametrize("source", [SkyServerCutouts, lambda: LocalCutouts(PICTURES, name="name")])
def test_an_estimator_can_be_sent_to_another_process(model, source):
    estimator = HIFractionEstimator(model, cutouts=source(), batch_size=7)
    sent = pickle.loads(pickle.dumps(estimator))
    assert (repr(sent), sent.batch_size) == (repr(estimator), 7)
    assert sent.model.card == model.card
    orphan = dataclasses.replace(model, folder=None)
    with pytest.raises(TypeError, match=r"^model 'default' was not loaded from a folder"):
        pickle.dumps(orphan)


def test_a_column_named_as_a_mass_is_only_in_the_way_of_a_mass(quick_model):
    data = sky(1, log_mhi=[9.5])
    estimator = HIFractionEstimator(quick_model, cutouts=Source([GOOD]))
    assert estimator.predict(data)["log_mhi"].tolist() == [9.5]
    data["log_mstar"] = [10.0]
    with pytest.raises(ValueError, match="log_mhi already"):
        estimator.predict(data)


def test_rows_that_fail_are_warned_of_once_with_reason_and_advice(quick_model):
    data = sky(70)
    data["dec"][3] = 99
    contents = [GOOD] * 69
    contents[1] = contents[68] = FetchError("the service is away")
    estimator = HIFractionEstimator(quick_model, cutouts=Source(contents), batch_size=8)
    with pytest.warns(HifracWarning) as caught:
        result = estimator.predict(data)
    (warning,) = caught
    assert warning.filename == __file__
    first, *kinds = str(warning.message).splitlines()
    assert first == "3 of 70 rows have no estimate, the first is row 1: the service is away"
    assert kinds == [
        f"  2 FETCH_FAILED: {Flag.FETCH_FAILED.advice}",
        f"  1 BAD_COORDINATE: {Flag.BAD_COORDINATE.advice}",
    ]
    assert np.asarray(result["log_hi_fraction"].mask).sum() == 3


def test_an_error_in_a_thread_names_its_rows(model, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("of the network")

    monkeypatch.setattr(type(model), "answer", fail)
    with pytest.raises(RuntimeError, match="of the network") as caught:
        HIFractionEstimator(model, cutouts=Source([GOOD] * 3), batch_size=2).predict(sky(3))
    assert caught.value.__notes__ == ["in a batch of rows 0 to 1 of data"]
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("hifrac-network")]


def test_rows_that_are_served_are_not_warned_of(quick_model, recwarn):
    HIFractionEstimator(quick_model, cutouts=Source([GOOD, GOOD])).predict(sky(2))
    assert [str(warning.message) for warning in recwarn] == []


def test_positions_without_units_warn_the_caller(quick_model):
    data = Table({"ra": [1.0], "dec": [2.0]})
    source = Source([GOOD])
    with pytest.warns(HifracWarning, match="^ra and dec have no unit: read as degrees$") as caught:
        HIFractionEstimator(quick_model, cutouts=source).predict(data)
    assert [warning.filename for warning in caught] == [__file__]
    assert source.asked[0][0].tolist() == [1.0]


def test_what_is_no_table_is_refused(quick_model):
    estimator = HIFractionEstimator(quick_model, cutouts=Source([]))
    with pytest.raises(TypeError, match=r"^data must be one of: .*; got float"):
        estimator.predict(3.5)
    with pytest.raises(ValueError, match=r"^data has no ra and no dec; its columns are RAA, DECC; accepted"):
        estimator.predict(Table({"RAA": [1.0], "DECC": [2.0]}))
    with pytest.raises(u.UnitConversionError, match=r"^ra must be an angle, got the unit m"):
        estimator.predict(Table({"ra": [1.0] * u.m, "dec": [2.0] * u.deg}))


def test_names_are_those_of_the_rows_with_a_position(quick_model):
    data = sky(3, who=["a", "b", "c"])
    data["ra"][1] = np.nan
    source = Source([GOOD, GOOD], name_column="who")
    HIFractionEstimator(quick_model, cutouts=source).predict(data)
    ((ra, dec, names),) = source.asked
    assert list(names) == ["a", "c"]
    assert len(ra) == len(dec) == 2


def test_a_missing_column_of_names_lists_what_was_found(quick_model):
    estimator = HIFractionEstimator(quick_model, cutouts=LocalCutouts(PICTURES))
    with pytest.raises(ValueError, match=r"^data has no column 'objid', .*; its columns are ra, dec$"):
        estimator.predict(SkyCoord([1.0], [2.0], unit="deg"))


# Rows that cannot be served


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_bad_picture_is_masked_and_flagged_and_stops_no_other(quick_model, trouble):
    content, flag, _ = TROUBLES[trouble]
    result = HIFractionEstimator(quick_model, cutouts=Source([GOOD, content, GOOD])).predict(
        sky(3, log_mstar=[9.0] * 3)
    )
    assert result["flags"][1] == flag
    assert not np.any(result["flags"][[0, 2]] & int(UNSERVED))
    assert_masked_rows(result, [False, True, False])
    assert np.asarray(result["log_mhi"].mask).tolist() == [False, True, False]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_or_raised_when_asked_with_the_number_of_its_row(quick_model, trouble):
    content, _, error = TROUBLES[trouble]
    estimator = HIFractionEstimator(quick_model, cutouts=Source([GOOD, content, GOOD]))
    with pytest.raises(error) as caught:
        estimator.predict(sky(3), on_error="raise")
    assert isinstance(caught.value, RowError)
    assert caught.value.__notes__[-1] == "in row 1 of data"


@pytest.mark.parametrize("ra", [np.nan, np.inf, -np.inf, 400.0, -200.0])
def test_a_bad_position_is_not_asked_for(quick_model, ra):
    data = sky(3)
    data["ra"][0] = ra
    source = Source([GOOD, GOOD])
    estimator = HIFractionEstimator(quick_model, cutouts=source)
    result = estimator.predict(data)
    assert len(source.asked[0][0]) == 2
    assert result["flags"][0] == Flag.BAD_COORDINATE
    assert_masked_rows(result, [True, False, False])
    with pytest.raises(BadCoordinateError, match="masked, not finite or not on the sphere") as caught:
        estimator.predict(data, on_error="raise")
    assert caught.value.__notes__[-1] == "in row 0 of data"


def test_masked_positions(quick_model):
    data = Table(
        {
            "ra": MaskedColumn([1.0, 2.0, 3.0], mask=[True, False, False], unit="deg"),
            "dec": MaskedColumn([1.0, 2.0, 3.0], mask=[False, False, True], unit="deg"),
        }
    )
    result = HIFractionEstimator(quick_model, cutouts=Source([GOOD])).predict(data)
    assert [row & int(UNSERVED) for row in result["flags"]] == [1, 0, 1]
    assert np.asarray(result["ra"].mask).tolist() == [True, False, False]


def test_all_rows_may_fail(quick_model):
    result = HIFractionEstimator(quick_model, cutouts=Source([HTML] * 3)).predict(sky(3))
    assert result["flags"].tolist() == [int(Flag.BAD_IMAGE)] * 3
    assert_masked_rows(result, [True] * 3)


def test_files_that_are_missing_or_no_pictures(model, tmp_path):
    for name in ("damaged", "html", "small", "blank"):
        (tmp_path / f"{name}.jpg").write_bytes(TROUBLES[name][0])
    (tmp_path / "good.jpg").write_bytes(GOOD)
    names = ["good", "damaged", "html", "small", "blank", "missing"]
    with LocalCutouts(tmp_path, name="who") as source:
        result = HIFractionEstimator(model, cutouts=source).predict(sky(6, who=names))
    assert result["flags"][0] & int(UNSERVED) == 0
    assert result["flags"][1:].tolist() == [8, 8, 8, 2, 4]


def test_what_stopped_a_row_is_logged(quick_model, caplog):
    with caplog.at_level(logging.INFO, "hifrac.estimator"):
        HIFractionEstimator(quick_model, cutouts=Source([GOOD, HTML])).predict(sky(2))
    (record,) = caplog.records
    assert record.getMessage().startswith("row 1: ")
    assert "HTML" in record.getMessage()
    assert record.flag is Flag.BAD_IMAGE


@pytest.mark.parametrize("on_error", ["ignore", None, True])
def test_on_error_is_one_of_two(quick_model, on_error):
    with pytest.raises(ValueError, match=r"^on_error must be one of \('flag', 'raise'\)"):
        HIFractionEstimator(quick_model, cutouts=Source([])).predict(sky(1), on_error=on_error)


def test_an_environment_needs_redshifts(quick_model):
    source = Source([GOOD])
    with pytest.raises(ValueError, match=r"^data has no column z, the redshift"):
        HIFractionEstimator(quick_model, cutouts=source).predict(sky(1), environment=Table())
    assert source.asked == []


def test_the_environment_is_a_column_and_a_flag(quick_model):
    rng = np.random.default_rng(5)
    field = np.stack([rng.uniform(150, 200, 3000), rng.uniform(0, 20, 3000), rng.uniform(0.01, 0.05, 3000)])
    cluster = np.stack([rng.normal(170, 0.2, 100), rng.normal(10, 0.2, 100), rng.normal(0.03, 0.0005, 100)])
    ra, dec, z = np.concatenate([field, cluster], axis=1)
    reference = Table({"ra": ra, "dec": dec, "z": z}, units={"ra": "deg", "dec": "deg"})
    rows = reference[[3000, 5, 7]]
    rows["z"][2] = np.nan
    result = HIFractionEstimator(quick_model, cutouts=Source([GOOD] * 3)).predict(rows, environment=reference)
    expected = overdensity(SkyCoord(rows["ra"], rows["dec"]), rows["z"], reference, population="reference")
    np.testing.assert_array_equal(
        result["log_overdensity"].filled(np.nan), expected["log_overdensity"].filled(np.nan)
    )
    assert result["log_overdensity"].mask.tolist() == [False, False, True]
    assert (result["flags"] & Flag.HIGH_DENSITY != 0).tolist() == [True, False, False]
    assert not result["log_hi_fraction"].mask.any()  # an unknown environment takes no estimate away
    said = result.meta["hifrac"]
    assert "Cooper et al. 2008, MNRAS 383, 1058" in said["references"]
    assert (said["environment"]["n"], said["environment"]["reference_rows"]) == (5, 3100)
    np.testing.assert_array_equal(result["environment_flags"], expected["environment_flags"])
    assert EnvironmentFlag.BAD_REDSHIFT in EnvironmentFlag(int(result["environment_flags"][2]))
    rows.rename_column("z", "Z")
    again = HIFractionEstimator(quick_model, cutouts=Source([GOOD] * 3)).predict(rows, environment=reference)
    assert again["log_overdensity"].mask.tolist() == [False, False, True]


def test_a_redshift_that_is_none_masks_the_density_of_its_row_alone(quick_model):
    rng = np.random.default_rng(6)
    ra, dec, z = rng.uniform(150, 160, 500), rng.uniform(0, 10, 500), rng.uniform(0.01, 0.05, 500)
    reference = Table({"ra": ra, "dec": dec, "z": z}, units={"ra": "deg", "dec": "deg"})
    rows = reference[[0, 1, 2]]
    rows["z"][1] = 5609
    result = HIFractionEstimator(quick_model, cutouts=Source([GOOD] * 3)).predict(rows, environment=reference)
    assert result["log_overdensity"].mask.tolist() == [False, True, False]
    rows["z"] *= 299792.458
    with pytest.raises(ValueError, match=r"^z must be redshifts, got .*: if it is cz in km/s"):
        HIFractionEstimator(quick_model, cutouts=Source([GOOD] * 3)).predict(rows, environment=reference)


# Sources


def test_a_source_that_ends_early_fails_the_rows_it_left(quick_model):
    estimator = HIFractionEstimator(quick_model, cutouts=Source([GOOD]))
    result = estimator.predict(sky(3))
    assert result["flags"].tolist()[1:] == [int(Flag.FETCH_FAILED)] * 2
    assert_masked_rows(result, [False, True, True])
    with pytest.raises(FetchError, match=r"^the source ended before row 1: given cutouts"):
        estimator.predict(sky(3), on_error="raise")


@pytest.mark.parametrize("trouble", ["raise", "consumer", "end"])
def test_a_source_is_closed_at_once(quick_model, trouble):
    closed = []

    class Closing(Source):
        def fetch(self, *args):
            try:
                yield Cutout(data=GOOD)
                yield Cutout(data=HTML if trouble == "raise" else GOOD)
                yield Cutout(data=GOOD)
            finally:
                closed.append(True)

    def stop(n):
        raise KeyboardInterrupt

    estimator = HIFractionEstimator(quick_model, cutouts=Closing([]))
    if trouble == "end":
        estimator.predict(sky(2))
    elif trouble == "raise":
        with pytest.raises(BadImageError):
            estimator.predict(sky(3), on_error="raise")
    else:
        with pytest.raises(KeyboardInterrupt):
            estimator.predict(sky(3), progress=stop)
    assert closed == [True]


@pytest.mark.parametrize("source", ["pictures.zip", 3, {}, LocalCutouts, SkyServerCutouts], ids=repr)
def test_what_is_no_source_is_refused(quick_model, source):
    with pytest.raises(TypeError, match=r"^cutouts must be a source of cutouts, such as LocalCutouts"):
        HIFractionEstimator(quick_model, cutouts=source)


@pytest.mark.parametrize(
    "change", [{"pixel_scale": 0.2}, {"width": 64}, {"survey": "legacy"}, {"bands": ("z", "r", "g")}], ids=str
)
def test_pictures_of_another_recipe_are_refused(quick_model, change):
    other = dataclasses.replace(quick_model.card.recipe, **change)
    with pytest.raises(ValueError, match=r"^cutouts gives .*, but the model was trained on"):
        HIFractionEstimator(quick_model, cutouts=Source([], recipe=other))
    # A different release on top does not make it better.
    both = dataclasses.replace(other, data_release="DR99")
    with pytest.raises(ValueError, match=r"^cutouts gives"):
        HIFractionEstimator(quick_model, cutouts=Source([], recipe=both))


def test_pictures_of_another_release_warn(quick_model):
    estimator = HIFractionEstimator(quick_model, cutouts=SkyServerCutouts(data_release="DR17"))
    with pytest.warns(HifracWarning, match=r"^pictures of DR17 for a model trained on DR\d+") as caught:
        result = estimator.predict(sky(0))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert "DR17" in result.meta["hifrac"]["pictures"]
    assert "DR17" not in result.meta["hifrac"]["recipe"]


def test_the_recipe_is_checked_when_it_predicts(quick_model):
    estimator = HIFractionEstimator(quick_model)
    with conf.set_temp("skyserver_data_release", "DR12"), pytest.warns(HifracWarning, match="DR12"):
        estimator.predict(sky(0))


def test_by_default_the_survey_of_the_model_is_asked(quick_model):
    estimator = HIFractionEstimator(quick_model)
    assert isinstance(estimator.cutouts, SkyServerCutouts)
    assert estimator.cutouts.recipe == quick_model.card.recipe


# Construction


@pytest.mark.parametrize("size", [1.5, "8", True, [1]])
def test_a_batch_size_is_an_integer(quick_model, size):
    with pytest.raises(TypeError, match=r"^batch_size must be an integer"):
        HIFractionEstimator(quick_model, batch_size=size)


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_size_is_positive(quick_model, size):
    with pytest.raises(ValueError, match=f"^batch_size must be at least 1, got {size}"):
        HIFractionEstimator(quick_model, batch_size=size)


def test_a_loaded_model_has_its_device(quick_model):
    with pytest.raises(TypeError, match=r"^device must not be given with a loaded model"):
        HIFractionEstimator(quick_model, device="cpu")


def test_models_that_are_not_there():
    with pytest.raises(ValueError, match=r"no model named 'nothing'.*bundled models: default"):
        HIFractionEstimator("nothing")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there():
    with pytest.raises(ValueError, match=r"^device"):
        HIFractionEstimator(device="cuda")


def test_options_have_names(quick_model):
    with pytest.raises(TypeError):
        HIFractionEstimator(quick_model, Source([]))
    with pytest.raises(TypeError):
        HIFractionEstimator(quick_model, cutouts=Source([])).predict(sky(0), None)


def test_the_repr_says_what_it_is(quick_model):
    text = repr(HIFractionEstimator(quick_model, cutouts=Source([])))
    assert text == "<HIFractionEstimator: model 'default' (eager, cpu), given cutouts>"


def test_a_notebook_shows_what_it_is(quick_model):
    text = HIFractionEstimator(quick_model, cutouts=Source([]))._repr_html_()
    for words in ("HIFractionEstimator", "default (eager, cpu)", "given cutouts", str(SDSS_RECIPE)):
        assert words in text


# Provenance


def test_the_provenance_is_complete_and_of_plain_types(model):
    source = Source([GOOD])
    estimator = HIFractionEstimator(model, cutouts=source, batch_size=7)
    said = estimator.predict(sky(1), on_error="raise", overwrite=True).meta["hifrac"]
    card = model.card
    assert said["version"] == hifrac.__version__
    assert datetime.fromisoformat(said["date"]).utcoffset().total_seconds() == 0
    assert (said["model"], said["model_sha256"]) == (card.name, card.files["model.pt"])
    assert (said["target"], said["mass_scale"]) == (card.target, card.mass_scale)
    assert said["recipe"] == str(card.recipe)
    assert said["source"] == "given cutouts"
    assert said["runtime"] == "torchscript on cpu"
    assert said["arguments"] == {"on_error": "raise", "overwrite": True, "batch_size": 7}
    assert set(said["packages"]) == {"python", "numpy", "astropy", "torch"}
    assert any("Wu 2020" in reference for reference in said["references"])

    def check(value):
        assert type(value) in (str, int, bool, dict, list)
        for one in value.values() if type(value) is dict else value if type(value) is list else ():
            check(one)

    check(said)
    assert yaml.load(yaml.dump(said)) == said


def test_the_result_goes_through_ecsv(demo_result):
    file = io.StringIO()
    demo_result.write(file, format="ascii.ecsv")
    back = QTable.read(file.getvalue(), format="ascii.ecsv")
    assert back.meta["hifrac"] == demo_result.meta["hifrac"]
    assert back.colnames == demo_result.colnames
    for name in ADDED:
        np.testing.assert_array_equal(values_of(back[name]), values_of(demo_result[name]))
        assert getattr(back[name], "unit", None) == getattr(demo_result[name], "unit", None)


# The same answer


def test_twice_is_identical_bit_by_bit(demo, demo_result):
    data, estimator = demo
    again = estimator.predict(data)
    names = (*ADDED, *MASSES)
    assert numbers(again, names).tobytes() == numbers(demo_result, names).tobytes()


@pytest.mark.parametrize("size", [1, 3, 64])
def test_the_batch_size_changes_nothing(model, demo_result, size):
    estimator = HIFractionEstimator(model, cutouts=LocalCutouts(PICTURES, name="name"), batch_size=size)
    result = estimator.predict(sample_table())
    assert_same_results(result, demo_result)


def test_the_batch_size_of_the_configuration(demo, demo_result):
    data, estimator = demo
    with conf.set_temp("batch_size", 5):
        result = estimator.predict(data)
    assert result.meta["hifrac"]["arguments"]["batch_size"] == 5
    assert_same_results(result, demo_result)


def test_the_order_of_the_rows_changes_nothing(demo, demo_result):
    data, estimator = demo
    order = np.random.default_rng(7).permutation(len(data))
    result = estimator.predict(data[order])
    assert result["name"].tolist() == data["name"][order].tolist()
    assert_same_results(result, demo_result[order])


def test_the_number_of_threads_changes_nothing(demo, demo_result):
    data, estimator = demo
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        result = estimator.predict(data)
    finally:
        torch.set_num_threads(threads)
    assert_same_results(result, demo_result)


def test_both_artefacts_of_the_model_agree(demo_result):
    eager = HIFractionEstimator(
        load_model("default", device="cpu", runtime="eager"), cutouts=LocalCutouts(PICTURES, name="name")
    )
    result = eager.predict(sample_table())
    assert result.meta["hifrac"]["runtime"] == "eager on cpu"
    assert demo_result.meta["hifrac"]["runtime"] == "torchscript on cpu"
    assert_same_results(result, demo_result)


# What a picture's file is like


def test_a_picture_means_the_same_in_every_kind_of_file(tmp_path):
    spiral = SimulatedGalaxy(i_mag=14.9, g_minus_r=0.45, r_minus_i=0.2, r50=8, axial_ratio=0.6, n_arms=2)
    pixels = render(spiral, rng=1)
    files = {
        "service.jpg": encode_jpeg(pixels),
        "png.png": encode(pixels, "PNG"),
        "cube.fits": fits_cube(np.moveaxis(pixels[::-1], 2, 0)),
        "finer.jpg": encode(pixels, quality=95, subsampling=0),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    stems = [name.partition(".")[0] for name in files]
    table = Table({"file": stems, "ra": [184.95] * 4 * u.deg, "dec": [5.12] * 4 * u.deg})
    result = HIFractionEstimator(cutouts=LocalCutouts(tmp_path, name="file")).predict(table)
    assert not np.any(result["flags"] & Flag.OUT_OF_DISTRIBUTION)
    assert_same_results(result[1:3], result[[0, 0]])
    for column in ("log_hi_fraction", "p_detect", "ood_score"):
        values = values_of(result[column])
        assert np.isfinite(values).all()
        tolerance = {"log_hi_fraction": 0.02, "p_detect": 0.02, "ood_score": 15}[column]
        assert values[3] == pytest.approx(values[0], abs=tolerance)


# Streaming


@pytest.mark.parametrize(("threads", "ahead"), [(1, 1), (3, 40)])
def test_pictures_in_memory_are_bounded_by_the_batch(quick_model, monkeypatch, threads, ahead):
    n, size = 3000, 16
    contents = [encode(galaxy(seed)) for seed in range(4)]
    picture = [SDSS_RECIPE.decode(content) for content in contents]
    seen = {"asked": 0, "decoded": 0, "alive": 0, "most": 0, "ahead": 0}
    waiting = []

    class Endless(Source):
        def fetch(self, ra, dec, names=None):
            for row in range(len(ra)):
                seen["asked"] += 1
                seen["ahead"] = max(seen["ahead"], seen["asked"] - seen["decoded"])
                yield Cutout(data=contents[row % 4])

    lock = threading.RLock()  # re-entrant, for what is forgotten meanwhile counts, too

    def forget():
        with lock:
            seen["alive"] -= 1

    def decode(data, **_):
        pixels = picture[contents.index(data)].copy()
        with lock:
            seen["decoded"] += 1
            seen["alive"] += 1
            seen["most"] = max(seen["most"], seen["alive"])
        weakref.finalize(pixels, forget)
        return pixels

    run = type(quick_model).run

    def watched(self, pixels, ebv):
        waiting.append(len(pixels))
        return run(self, pixels, ebv)

    monkeypatch.setattr(images, "decode", decode)
    monkeypatch.setattr(type(quick_model), "run", watched)
    estimator = HIFractionEstimator(quick_model, cutouts=Endless([]), batch_size=size)
    tracemalloc.start()
    try:
        with conf.set_temp("threads", threads):
            result = estimator.predict(sky(n))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(result) == n
    assert sum(waiting) == n
    assert max(waiting) == size
    assert seen["ahead"] <= ahead
    assert seen["most"] <= ahead + 1
    assert peak < 16e6  # all pictures: 147 MB
    np.testing.assert_allclose(
        values_of(result["log_hi_fraction"])[:8], [picture[row % 4][..., 0].mean() / 255 for row in range(8)]
    )


@pytest.mark.parametrize("n", [1, 31, 32, 33, 100])
def test_progress_adds_up_to_the_rows(quick_model, n):
    said = []
    data = sky(n)
    data["ra"][::7] = np.nan
    estimator = HIFractionEstimator(quick_model, cutouts=Source([GOOD, HTML] * n), batch_size=8)
    estimator.predict(data, progress=said.append)
    assert sum(said) == n
    assert min(said) >= 1
    assert len(said) == -(-n // 32)


def test_progress_may_be_a_bar(quick_model, capsys):
    estimator = HIFractionEstimator(quick_model, cutouts=Source([GOOD] * 2))
    estimator.predict(sky(2), progress=True)
    assert "estimating" in capsys.readouterr().err
    with pytest.raises(TypeError, match=r"^progress must be"):
        estimator.predict(sky(2), progress="yes")


KINDS = {
    "good": (0, GOOD),
    "other": (0, encode(galaxy(5))),
    **{name: (int(flag), content) for name, (content, flag, _) in TROUBLES.items()},
}
BAD_RA = (np.nan, np.inf, -np.inf, 361.0, -181.0, 1e300)


@settings(max_examples=40)
@given(
    rows=st.lists(st.sampled_from([*KINDS, *BAD_RA]), max_size=24),
    size=st.integers(1, 9),
    masked=st.sets(st.integers(0, 23)),
)
def test_any_mixture_of_rows(quick_model, rows, size, masked):
    masked = {row for row in masked if row < len(rows)}
    ra = MaskedColumn(
        [one if isinstance(one, float) else 10.0 for one in rows],
        mask=[row in masked for row in range(len(rows))],
        dtype=float,
        unit="deg",
    )
    data = Table({"id": np.arange(len(rows)), "ra": ra, "dec": np.zeros(len(rows)) * u.deg})
    expected, contents = [], []
    for row, one in enumerate(rows):
        if row in masked or isinstance(one, float):
            expected.append(int(Flag.BAD_COORDINATE))
        else:
            flag, content = KINDS[one]
            expected.append(flag)
            contents.append(content)
    said = []
    estimator = HIFractionEstimator(quick_model, cutouts=Source(contents), batch_size=size)
    result = estimator.predict(data, progress=said.append)
    assert result["id"].tolist() == list(range(len(rows)))
    assert [flags & int(UNSERVED) for flags in result["flags"]] == expected
    assert_masked_rows(result, [flag != 0 for flag in expected])
    assert sum(said) == len(rows)
    value = values_of(result["log_hi_fraction"])
    for row, one in enumerate(rows):
        if expected[row] == 0:
            assert value[row] == pytest.approx(SDSS_RECIPE.decode(KINDS[one][1])[..., 0].mean() / 255)


# Through the service of the survey


PATIENT = {"timeout": 10.0, "retries": 2, "retry_backoff": 0.01, "max_rate": 0.0, "patience": 0.0}


@pytest.fixture
def patient(monkeypatch):
    """The configured service is a server on this computer."""
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)

    def use(server):
        for name, value in PATIENT.items():
            monkeypatch.setattr(conf, name, value)
        monkeypatch.setattr(conf, "skyserver_url", server.url)

    before = {name: getattr(conf, name) for name in (*PATIENT, "skyserver_url")}
    yield use
    for name, value in before.items():
        setattr(conf, name, value)


def by_position(table, read):
    return {
        (float(ra), float(dec)): read(name)
        for ra, dec, name in zip(table["ra"], table["dec"], table["name"], strict=True)
    }


def test_to_draw_a_result_asks_the_service_for_nothing(model, patient):
    data = sample_table()[[0, 10, 26]]
    pictures = by_position(data, lambda name: (PICTURES / f"{name}.jpg").read_bytes())
    with serve(pictures) as server:
        patient(server)
        estimator = HIFractionEstimator(model)
        result = estimator.predict(data)
        del server.requests[:]
        figure = plot_overview(result, estimator.cutouts)
        assert [bool(axes.images) for axes in figure.axes[::2]] == [True, True, False]
        assert server.requests == []


def test_the_service_gives_what_the_files_give_and_then_the_store(model, demo_result, patient):
    data = sample_table()
    pictures = by_position(data, lambda name: (PICTURES / f"{name}.jpg").read_bytes())
    with serve(pictures) as server:
        patient(server)
        estimator = HIFractionEstimator(model)
        result = estimator.predict(data)
        assert len(server.requests) == len(data) + 1  # a blank picture is asked for twice
        np.testing.assert_array_equal(
            numbers(result, (*ADDED, *MASSES)), numbers(demo_result, (*ADDED, *MASSES))
        )
        assert result.meta["hifrac"]["source"].startswith("SDSS SkyServer getjpeg DR16 (http://127.0.0.1:")
        # The blank picture is not kept; the others need no service any more.
        assert len(stored_pictures()) == 26
        del server.requests[:]
        again = HIFractionEstimator(model).predict(data[:26])
        assert server.requests == []
    np.testing.assert_array_equal(numbers(again), numbers(demo_result)[:, :26])


def test_a_service_that_fails_for_some_rows(quick_model, patient):
    data = sky(9)
    replies = {
        1: Reply(503, b"busy"),
        2: Reply(200, HTML, {"Content-Type": "text/html"}),
        3: Reply(200, GOOD[: len(GOOD) // 2]),
        4: Reply(200, GOOD[:100], announced=len(GOOD)),
        5: Reply(404, b"no such page"),
        6: Reply(404, b"", reason="NOT FOUND. Requested (ra, dec) is outside the SDSS footprint."),
        7: Reply(200, encode(galaxy(1, width=64))),
    }

    def answer(params):
        return replies.get(int(np.argmin(np.abs(data["ra"] - float(params["ra"])))), GOOD)

    with serve(answer) as server:
        patient(server)
        estimator = HIFractionEstimator(quick_model)
        result = estimator.predict(data)
        # Three times each where it may pass, and once more so at the end; a refusal once, and once more at
        # the end; once where it is final.
        assert len(server.requests) == 2 + 5 * 3 * 2 + 2 + 1
        served = [flags & int(UNSERVED) for flags in result["flags"]]
        assert served == [0, 4, 8, 8, 8, 4, 2, 8, 0]
        assert_masked_rows(result, [False] + [True] * 7 + [False])
        # What failed was not kept: it comes once the service is well. Where the survey ends is remembered.
        replies.clear()
        del server.requests[:]
        again = estimator.predict(data)
        assert len(server.requests) == 6
    assert [flags & int(UNSERVED) for flags in again["flags"]] == [0] * 6 + [2] + [0] * 2


def test_the_error_of_the_service_reaches_the_caller(quick_model, patient):
    with serve(lambda params: GOOD) as server:
        server.always = Reply(503, b"busy", {"Retry-After": "0"})
        patient(server)
        with pytest.raises(FetchError, match="the service answered 503") as caught:
            HIFractionEstimator(quick_model).predict(sky(3), on_error="raise")
    assert (caught.value.status, caught.value.retry_after) == (503, 0.0)
    assert caught.value.__notes__[-1] == "in row 0 of data"


@pytest.mark.real_data
def test_real_galaxies_from_files_and_from_the_service(model, real_data, patient):
    labels = Table.read(real_data / "cutouts" / "hi_labels.ecsv")
    labels["name"] = labels["objid"]
    with LocalCutouts(real_data / "cutouts" / "sdss_cutouts.zip", name="objid") as archive:
        with serve({}) as server:
            patient(server)
            local = HIFractionEstimator(model, selection="alfalfa", cutouts=archive).predict(labels)
            assert server.requests == []
        zeros = np.zeros(1)
        pictures = by_position(labels, lambda name: next(archive.fetch(zeros, zeros, [name])).data)
    assert len(local) == 259
    assert_masked_rows(local, [False] * 259)
    assert not np.any(local["flags"] & int(UNSERVED))
    assert "log_mhi" in local.colnames  # the measured one, carried through
    assert values_of(local["log_mhi"]).tolist() == labels["log_mhi"].tolist()
    with serve(pictures) as server:
        patient(server)
        fetched = HIFractionEstimator(model, selection="alfalfa").predict(labels)
        assert len(server.requests) == 259
    np.testing.assert_array_equal(numbers(fetched), numbers(local))
    truth = np.asarray(labels["log_hi_fraction_true"])
    assert np.sqrt(np.mean((values_of(local["log_hi_fraction"]) - truth) ** 2)) < 0.234
    # The network has seen them, so its intervals hold more of them than they promise.
    for low, high, share in (("p16", "p84", 0.68), ("p05", "p95", 0.90)):
        low, high = (values_of(local[f"log_hi_fraction_{name}"]) for name in (low, high))
        assert np.mean((low <= truth) & (truth <= high)) >= share
