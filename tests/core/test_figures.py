"""Figures that the package makes."""

import subprocess
import sys

CODE = """
import sys
import hifrac, hifrac.demo
from IPython.core.formatters import DisplayFormatter
table = hifrac.demo.sample_table()[:1]
table["log_hi_fraction"] = table["log_hi_fraction_p16"] = table["log_hi_fraction_p84"] = -1.0
table["flags"] = 0
figure = hifrac.plot_result(table)
assert "matplotlib.pyplot" not in sys.modules
data, _ = DisplayFormatter().format(figure)
print(data["image/png"][:8])
"""


def test_a_notebook_shows_them_before_pyplot_is_imported():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.stdout.strip() == str(b"\x89PNG\r\n\x1a\n"), done.stderr
