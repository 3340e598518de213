"""Figures are compared where pytest-mpl is: ``tox -e figures``, which pins what draws them."""

from importlib.util import find_spec

import matplotlib as mpl

mpl.use("agg")
collect_ignore = [] if find_spec("pytest_mpl") else ["test_figures.py"]
