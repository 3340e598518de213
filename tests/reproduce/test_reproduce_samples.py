"""Table 1 and Figure 1 of Wu (2020), on samples small enough to count by hand."""

import numpy as np
import pytest
from astropy.table import QTable

from hifrac.catalogs.columns import catalog_column
from hifrac.catalogs.selection import Selection
from hifrac.reproduce.samples import hi_fractions, plot_fractions, sample_quantiles


def sample(name, log_hi_fraction, limits):
    table = QTable()
    table["log_hi_fraction"] = catalog_column("log_hi_fraction", log_hi_fraction)
    table["log_mhi"] = catalog_column("log_mhi", np.add(log_hi_fraction, 10.0))
    table["log_mstar"] = catalog_column("log_mstar", np.full(len(limits), 10.0))
    table["log_mhi_limit"] = catalog_column("log_mhi_limit", limits)
    return Selection.start(name, table)


@pytest.fixture
def samples():
    detected = sample("alpha.100", [-0.5, 0.1, 0.3, np.nan], [False] * 4)
    return {"alpha.100": detected, "xGASS": sample("xGASS", [-1.5, -0.4, -0.2], [True, False, False])}


def test_table_1(samples):
    table = sample_quantiles(samples)
    medians = dict(zip(table["sample", "quantity"].as_array().tolist(), table["q50"], strict=True))
    assert medians["alpha.100", "log_hi_fraction"] == pytest.approx(0.1)
    assert medians["alpha.100", "log_mhi"] == pytest.approx(10.1)
    assert table.meta["numbers"]["alpha.100, galaxies"] == (3, 6087)
    assert table.meta["numbers"]["xGASS, median log M_HI/M* (dex)"][0] == pytest.approx(-0.4)


def test_figure_1(samples):
    table = hi_fractions(samples)
    assert table["sample"].tolist() == ["alpha.100"] * 3 + ["xGASS"] * 3
    assert table.meta["numbers"]["alpha.100, share with more HI than stars"][0] == pytest.approx(2 / 3)
    (axes,) = plot_fractions(table).axes
    labels = [line.get_label() for line in axes.lines]
    assert labels == ["alpha.100 (3)", "xGASS (3)", "xGASS, limits at the lowest value (1 limits)"]
