"""The figure of a whole result."""

import io

import astropy.units as u
import numpy as np
import pytest
from astropy.table import MaskedColumn, QTable, Table
from astropy.utils.masked import Masked
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from hifrac import HIFractionEstimator, LocalCutouts, plot_overview
from hifrac.core.exceptions import FetchError
from hifrac.core.flags import Flag
from hifrac.cutouts import Cutout
from hifrac.demo import PICTURES, sample_table
from hifrac.images import decode

COLUMNS = ("log_hi_fraction", "log_hi_fraction_p16", "log_hi_fraction_p84")


def make_result(values, *, flags=None, mask=None, unit=u.dex):
    values = np.asarray(values, dtype=float)
    mask = np.zeros(len(values), bool) if mask is None else np.asarray(mask)
    result = QTable({"name": [f"sim-{n:02d}" for n in range(len(values))]})
    for name, shift in zip(COLUMNS, (0.0, -0.21, 0.2), strict=True):
        result[name] = Masked((values + shift) * unit, mask=mask)
    result["p_detect"] = MaskedColumn(np.full(len(values), 0.75), mask=mask)
    result["ood_score"] = MaskedColumn(np.full(len(values), 50.0), mask=mask)
    result["flags"] = np.zeros(len(values), int) if flags is None else np.asarray(flags)
    return result


def make_pictures(number):
    return [np.full((16, 16, 3), 30 * n % 255, np.uint8) for n in range(number)]


def texts(figure):
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    return words + [axes.get_title() for axes in figure.axes] + [text.get_text() for text in figure.texts]


def test_every_row_shows_its_picture_name_and_estimate():
    figure = plot_overview(make_result([0.12, -0.5]), make_pictures(2))
    shown = texts(figure)
    assert isinstance(figure, Figure)
    assert r"$\log M_\mathrm{HI}/M_\star = 0.12^{+0.20}_{-0.21}$" in shown
    assert r"$\log M_\mathrm{HI}/M_\star = -0.50^{+0.20}_{-0.21}$" in shown
    assert {"sim-00", "sim-01"} <= set(shown)
    assert shown.count("p_detect = 0.75") == 2
    assert "HI mass fractions" in shown
    assert sum(bool(axes.images) for axes in figure.axes) == 2


def test_the_bars_share_one_axis_and_span_the_interval():
    figure = plot_overview(make_result([0.12, -0.5]), make_pictures(2))
    bars = figure.axes[1::2]
    assert all(axes.get_xlim() == (-3.0, 1.5) for axes in bars)
    interval = bars[0].lines[1].get_xdata()
    np.testing.assert_allclose(interval, [-0.09, 0.32])
    np.testing.assert_allclose(bars[0].lines[2].get_xdata(), [0.12])


def test_flags_are_shown_in_words_and_by_the_marker():
    flags = [0, Flag.UNLIKELY_DETECTION | Flag.OUT_OF_DISTRIBUTION]
    figure = plot_overview(make_result([0.0, 0.0], flags=flags), make_pictures(2))
    shown = texts(figure)
    assert "UNLIKELY_DETECTION" in shown
    assert "OUT_OF_DISTRIBUTION" in shown
    clean, flagged = (axes.lines[2] for axes in figure.axes[1::2])
    assert clean.get_marker() != flagged.get_marker()
    assert clean.get_color() != flagged.get_color()


def test_a_masked_estimate_says_why():
    result = make_result([0.1, np.nan], flags=[0, Flag.OUT_OF_FOOTPRINT], mask=[False, True])
    figure = plot_overview(result, [*make_pictures(1), None])
    shown = texts(figure)
    assert "no estimate: OUT_OF_FOOTPRINT" in shown
    assert shown.count("p_detect = 0.75") == 1
    assert len(figure.axes[3].lines) == 1  # only the line at zero


def test_other_flags_of_a_masked_row_are_shown_too():
    flags = [Flag.FETCH_FAILED | Flag.HIGH_DENSITY]
    shown = texts(plot_overview(make_result([0.1], flags=flags, mask=[True]), [None]))
    assert "no estimate: FETCH_FAILED" in shown
    assert "HIGH_DENSITY" in shown


def test_nan_counts_as_masked():
    assert "no estimate: masked" in texts(plot_overview(make_result([np.nan]), make_pictures(1)))


def test_what_lies_beyond_the_axis_is_drawn_at_its_end():
    figure = plot_overview(make_result([-4.0, 2.0]), make_pictures(2))
    low, high = (axes.lines[2] for axes in figure.axes[1::2])
    assert (low.get_marker(), low.get_xdata()[0]) == ("<", -3.0)
    assert (high.get_marker(), high.get_xdata()[0]) == (">", 1.5)


def test_there_is_no_negative_zero():
    assert not any(
        "= -0.00" in text for text in texts(plot_overview(make_result([-0.001]), make_pictures(1)))
    )


def test_plain_tables_serve_as_well():
    table = Table(make_result([0.12, 0.3]))
    table["p_detect"] = MaskedColumn([0.5, 0.5], mask=[False, True])
    for name in COLUMNS:
        table[name] = MaskedColumn(np.asarray(table[name]), mask=[False, True])
    shown = texts(plot_overview(table, make_pictures(2)))
    assert any("= 0.12^" in text for text in shown)
    assert "no estimate: masked" in shown


def test_names_are_the_column_or_the_argument_or_the_number():
    result = make_result([0.0, 0.0])
    assert "a" in texts(plot_overview(result, make_pictures(2), names=["a", "b"]))
    result.remove_column("name")
    assert {"0", "1"} <= set(texts(plot_overview(result, make_pictures(2))))


@settings(max_examples=10, deadline=None)
@given(number=st.integers(1, 7), columns=st.integers(1, 9))
def test_any_grid_holds_every_row_within_the_figure(number, columns):
    figure = plot_overview(make_result(np.linspace(-1, 1, number)), make_pictures(number), columns=columns)
    assert len(figure.axes) == 2 * number
    boxes = np.array([axes.get_position().extents for axes in figure.axes])
    assert np.all((boxes > 0.0) & (boxes < 1.0))
    centres = {(round(box[0], 6), round(box[1], 6)) for box in boxes}
    assert len(centres) == 2 * number


def test_the_figure_can_be_saved_without_pyplot():
    buffer = io.BytesIO()
    plot_overview(make_result([0.1]), make_pictures(1)).savefig(buffer, format="png", dpi=40)
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_the_result_is_left_alone():
    result = make_result([0.1, 0.2], mask=[False, True])
    before = result.copy()
    plot_overview(result, make_pictures(2))
    assert result.colnames == before.colnames
    np.testing.assert_array_equal(result["log_hi_fraction"].mask, before["log_hi_fraction"].mask)


@pytest.mark.parametrize(
    ("name", "error", "options"),
    [
        ("cutouts", ValueError, {"cutouts": make_pictures(3)}),
        ("cutouts", ValueError, {"cutouts": [np.zeros((4, 4)), None]}),
        ("names", ValueError, {"names": ["a"]}),
        ("columns", ValueError, {"columns": 0}),
        ("columns", TypeError, {"columns": 2.0}),
        ("columns", TypeError, {"columns": True}),
        ("limits", ValueError, {"limits": (1.0, 1.0)}),
        ("result", ValueError, {"result": make_result([])[:0], "cutouts": []}),
        ("result", ValueError, {"result": Table({"flags": [0, 0]})}),
        ("result", ValueError, {"result": make_result(np.zeros(501)), "cutouts": [None] * 501}),
        ("result", TypeError, {"result": [0.0, 0.0]}),
        ("result", ValueError, {"cutouts": LocalCutouts(PICTURES, name="file")}),
    ],
)
def test_bad_input_is_named(name, error, options):
    arguments = {"result": make_result([0.0, 0.0]), "cutouts": make_pictures(2), **options}
    with pytest.raises(error, match=rf"^{name} "):
        plot_overview(arguments.pop("result"), arguments.pop("cutouts"), **arguments)


# From a source


@pytest.fixture(scope="module")
def estimator(default):
    return HIFractionEstimator(default, cutouts=LocalCutouts(PICTURES, name="name"))


def pictures_in(figure):
    return [axes.images[0].get_array() if axes.images else None for axes in figure.axes[::2]]


def test_pictures_come_from_the_source_of_the_estimator(estimator):
    rows = sample_table()[[0, 26, 10]]
    rows["dec"][0] = 100  # not on the sphere: not served, and not asked for
    result = estimator.predict(rows)
    drawn = pictures_in(plot_overview(result, estimator.cutouts))
    assert [picture is None for picture in drawn] == [True, True, False]
    expected = decode((PICTURES / f"{rows['name'][2]}.jpg").read_bytes())
    np.testing.assert_array_equal(drawn[2], expected)


def test_columns_of_positions_with_names_of_their_own_are_remembered(default):
    rows = sample_table()[[3, 5]]
    rows.rename_columns(["ra", "dec"], ["lon", "lat"])
    asked = []

    class Source:
        recipe = default.card.recipe
        name_column = None

        def fetch(self, ra, dec, names=None):
            asked.append((ra.tolist(), dec.tolist()))
            yield from (Cutout(error=FetchError("gone")) for _ in ra)

        def describe(self):
            return "a source"

    result = HIFractionEstimator(default, cutouts=Source()).predict(rows, ra="lon", dec="lat")
    result["flags"] = 0  # as if there had been pictures
    assert pictures_in(plot_overview(result, Source())) == [None, None]
    assert asked[0] == asked[1]
    np.testing.assert_allclose(asked[0][0], rows["lon"])


def test_another_quantity_has_its_name_and_its_own_axis():
    result = make_result([8.5, 10.5])
    for name in COLUMNS:
        result[name.replace("log_hi_fraction", "log_mdust")] = result[name].unmasked.value
        result.remove_column(name)
    figure = plot_overview(result, make_pictures(2))
    shown = texts(figure)
    assert "log_mdust" in shown
    assert r"$8.50^{+0.20}_{-0.21}$" in shown
    assert not any("HI" in text for text in shown)
    low, high = figure.axes[1].get_xlim()
    assert low < 8.29
    assert high > 10.7
