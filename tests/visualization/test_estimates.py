"""The figure of estimates with their intervals."""

import io

import numpy as np
import pytest
from astropy.table import MaskedColumn, QTable, Table
from matplotlib.figure import Figure

from hifrac import HIFractionEstimator, LocalCutouts, plot_result
from hifrac.core.flags import Flag
from hifrac.demo import PICTURES, sample_table

ENDS = ("", "_p16", "_p84")


def make_result(values, flags, mask=None):
    """A result of plain masked columns, as files have it."""
    values = np.asarray(values, dtype=float)
    result = Table({"objid": [f"g{number}" for number in range(len(values))]})
    for end, shift in zip(ENDS, (0.0, -0.2, 0.3), strict=True):
        result[f"log_hi_fraction{end}"] = MaskedColumn(values + shift, mask=mask)
    result["flags"] = np.array(flags)
    return result


def drawn(ax):
    """Estimates, rows and ends of the intervals by the label of their sort."""
    sorts = {}
    for container in ax.containers:
        line, _, bars = container
        segments = bars[0].get_segments() if bars else []
        sorts[container.get_label()] = (line.get_xdata(), line.get_ydata(), segments)
    return sorts


def test_every_row_is_drawn_once_by_its_sort():
    result = make_result([0.1, -0.5, 0.0, 1.0], [0, 16, 2, 0], mask=[False, False, True, False])
    figure = plot_result(result)
    (ax,) = figure.axes
    sorts = drawn(ax)
    assert list(sorts) == ["no flag (2)", "flagged (1)", "no estimate (1)"]
    value, row, segments = sorts["no flag (2)"]
    np.testing.assert_allclose(value, [0.1, 1.0])
    assert row.tolist() == [0, 3]
    np.testing.assert_allclose([segment[:, 0] for segment in segments], [[-0.1, 0.4], [0.8, 1.3]])
    assert sorts["flagged (1)"][1].tolist() == [1]
    assert sorts["no estimate (1)"][1].tolist() == [2]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["g0", "g1", "g2", "g3"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first row on top


def test_sorts_differ_by_marker_and_colour():
    (ax,) = plot_result(make_result([0.0, 0.0], [0, 16])).axes
    lines = [container[0] for container in ax.containers]
    assert len({line.get_marker() for line in lines}) == 2
    assert len({line.get_color() for line in lines}) == 2


def test_the_result_of_an_estimator_is_drawn_as_it_is(default):
    estimator = HIFractionEstimator(default, cutouts=LocalCutouts(PICTURES, name="name"))
    result = estimator.predict(sample_table()[[0, 10, 26]])
    (ax,) = plot_result(result, title="three").axes
    assert list(drawn(ax)) == ["no flag (1)", "flagged (1)", "no estimate (1)"]
    assert ax.get_title() == "three"
    assert "dex" in ax.get_xlabel()


def test_a_failed_row_with_a_number_is_not_drawn_as_an_estimate():
    result = make_result([np.nan], [int(Flag.BAD_IMAGE)])
    assert list(drawn(plot_result(result).axes[0]))[2:] == ["no estimate (1)"]


def test_axes_may_be_given_and_names_as_well():
    figure = Figure()
    ax = figure.add_subplot()
    assert plot_result(make_result([0.0], [0]), ax=ax, names=[7]) is figure
    assert [label.get_text() for label in ax.get_yticklabels()] == ["7"]


def test_many_rows_have_numbers_and_a_figure_of_moderate_size():
    figure = plot_result(make_result(np.linspace(-1, 1, 3000), np.zeros(3000, int)))
    assert figure.get_size_inches()[1] < 15
    assert figure.axes[0].get_ylabel() == "row"
    assert len(figure.axes[0].get_yticks()) < 30
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=40)
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_another_quantity_is_named():
    result = make_result([9.0], [0])
    for end in ENDS:
        result.rename_column(f"log_hi_fraction{end}", f"log_mdust{end}")
        result[f"log_mhi{end}"] = [8.0]
    assert plot_result(QTable(result)).axes[0].get_xlabel() == "log_mdust"


@pytest.mark.parametrize(
    ("error", "result", "options"),
    [
        (TypeError, [1.0], {}),
        (ValueError, Table({"flags": [0]}), {}),
        (ValueError, make_result([], []), {}),
        (ValueError, make_result([0.0], [0]), {"names": ["a", "b"]}),
    ],
)
def test_bad_input_is_named(error, result, options):
    with pytest.raises(error, match=r"^(names|result) "):
        plot_result(result, **options)
