"""What users bring, each estimated as it comes; the table of ``docs/inputs.rst`` is what became of it.

The page is written anew by::

    python tests/core/test_inputs.py
"""

import gzip
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Column, MaskedColumn, QTable, Table

from hifrac import HIFractionEstimator, decode_flags
from hifrac.core.exceptions import RowError
from hifrac.cutouts import Cutout
from hifrac.demo import PICTURES

PAGE = Path(__file__).parents[2] / "docs" / "inputs.rst"
RA, DEC, NAME = 150.5, 5.0, "M 31"
OBJID = 1237648720693755918
PICTURE = (PICTURES / "sim-10-spiral.jpg").read_bytes()

MRT = """Title: A table
Authors: A. Author
================================================================================
Byte-by-byte Description of file: t.txt
--------------------------------------------------------------------------------
   Bytes Format Units  Label  Explanations
--------------------------------------------------------------------------------
   1-  4 A4     ---    Name   Name of the galaxy
   6- 10 F5.1   deg    RAdeg  Right ascension (J2000)
  12- 14 F3.1   deg    DEdeg  Declination (J2000)
--------------------------------------------------------------------------------
M 31 150.5 5.0
"""


LATEX = """\\begin{table}
\\begin{tabular}{ccc}
name & ra & dec \\\\
M 31 & 150.5 & 5.0 \\\\
\\end{tabular}
\\end{table}
"""


@dataclass(frozen=True)
class Input:
    """What somebody brings: how it is described, and how it is made in a folder."""

    kind: str
    text: str
    make: Callable[[Path], Any]
    needs: str = ""  # a library
    options: tuple[tuple[str, str], ...] = ()  # of predict


def plain(**columns):
    """A table of one galaxy, with units."""
    return Table({"name": [NAME], "ra": [RA] * u.deg, "dec": [DEC] * u.deg, **columns})


def positions(ra, dec, names=("ra", "dec"), units=(None, None)):
    """A table of the two columns, of text or numbers."""
    return Table([Column([ra], names[0], unit=units[0]), Column([dec], names[1], unit=units[1])])


def written(name, **options):
    """Written by Astropy."""

    def make(folder):
        plain(objid=[OBJID]).write(folder / name, **options)
        return folder / name

    return make


def text(name, content, encoding="utf-8"):
    """A text file."""

    def make(folder):
        data = content.encode(encoding)
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return folder / name

    return make


def parquet(folder):
    columns = {"objid": pa.array([OBJID], pa.int64()), "ra": [RA], "dec": [DEC]}
    columns["flux"] = pa.array([{"g": 1.0, "r": None}])
    pq.write_table(pa.table(columns), folder / "t.parquet")
    return folder / "t.parquet"


def two_tables(folder):
    others = fits.BinTableHDU.from_columns([fits.Column("x", "D", array=[1.0])])
    hdus = [fits.PrimaryHDU(), others, fits.BinTableHDU(plain())]
    fits.HDUList(hdus).writeto(folder / "t.fits")
    return folder / "t.fits"


def polars_frame(_):
    import polars

    return polars.DataFrame(
        {"objid": [OBJID], "name": [NAME], "kind": ["Sb"], "ra": [RA], "dec": [DEC]}
    ).cast({"kind": polars.Categorical})


def here(data):
    """Data that need no file."""
    return lambda _: data


UNITS = {"units": (u.deg, u.deg)}
INPUTS = (
    Input("format", "ECSV", written("t.ecsv")),
    Input("format", "FITS", written("t.fits")),
    Input("format", "VOTable", written("t.vot", format="votable")),
    Input("format", "Parquet of other programs, with a struct", parquet),
    Input("format", "HDF5", written("t.hdf5", serialize_meta=True, path="t"), needs="h5py"),
    Input("format", "CSV", text("t.csv", "name,ra,dec\nM 31,150.5,5.0\n")),
    Input("format", "CSV, packed by gzip", text("t.csv.gz", "name,ra,dec\nM 31,150.5,5.0\n")),
    Input("format", "CSV without an ending", text("t", "name,ra,dec\nM 31,150.5,5.0\n")),
    Input(
        "format",
        "IPAC",
        text("t.tbl", "|name |ra    |dec   |\n|char |double|double|\n M 31  150.5  5.0   \n"),
    ),
    Input("format", "machine-readable table of the AAS", text("t.mrt", MRT)),
    Input(
        "format",
        "SExtractor",
        text("t.cat", "# 1 NAME\n# 2 ALPHA_J2000 RA [deg]\n# 3 DELTA_J2000 Dec [deg]\nA 150.5 5.0\n"),
    ),
    Input("format", "RDB, packed by gzip", text("t.rdb.gz", "name\tra\tdec\nS\tN\tN\nM 31\t150.5\t5.0\n")),
    Input("format", "LaTeX", text("t.tex", LATEX)),
    Input("format", "HTML", written("t.html"), needs="bs4"),
    Input(
        "dialect",
        "SkyServer's CSV: #Table1 above the names",
        text("t.csv", "#Table1\nobjID,ra,dec\n1,150.5,5.0\n"),
    ),
    Input(
        "dialect", "UTF-16, as Excel writes it", text("t.csv", "name\tra\tdec\nM 31\t150.5\t5.0\n", "utf-16")
    ),
    Input("dialect", "Latin-1", text("t.csv", "name,ra,dec\nŒuvre é,150.5,5.0\n", "cp1252")),
    Input("dialect", "semicolons and decimal commas", text("t.csv", "name;ra;dec\nM 31;150,5;5,0\n")),
    Input(
        "dialect",
        "VizieR's TSV",
        text("t.tsv", "#RESOURCE\nname\tra\tdec\n\tdeg\tdeg\n----\t-----\t---\nM 31\t150.5\t5.0\n"),
    ),
    Input("dialect", "names in a comment", text("t.dat", '# name ra dec\n"M 31" 150.5 5.0\n')),
    Input("dialect", "fixed width", text("t.txt", "name    ra      dec\nM 31    150.5   5.0\n")),
    Input(
        "dialect",
        "bars, as in Markdown",
        text("t.md", "| name | ra | dec |\n|------|----|-----|\n| M 31 | 150.5 | 5.0 |\n"),
    ),
    Input(
        "dialect",
        "null and N/A among the numbers",
        text("t.csv", "objid,ra,dec,z\n1,150.5,5.0,null\n2,N/A,5.0,0.1\n"),
    ),
    Input("dialect", "several tables in a FITS file", two_tables),
    Input(
        "shape",
        "DataFrame of pandas, with missing integers",
        here(pd.DataFrame({"objid": pd.array([None], "Int64"), "ra": [RA], "dec": [DEC]})),
    ),
    Input("shape", "DataFrame of polars, with categories", polars_frame, needs="polars"),
    Input("shape", "pyarrow.Table", here(pa.table({"objid": [OBJID], "ra": [RA], "dec": [DEC]}))),
    Input("shape", "dict of lists", here({"objid": [OBJID], "ra": [RA], "dec": [DEC]})),
    Input("shape", "list of (ra, dec)", here([(RA, DEC)])),
    Input("shape", "array of shape (n, 2)", here(np.array([[RA, DEC]]))),
    Input("shape", "SkyCoord, Galactic", here(SkyCoord(RA, DEC, unit="deg").galactic)),
    Input(
        "shape",
        "QTable with a column of SkyCoord",
        here(QTable({"place": SkyCoord([RA], [DEC], unit="deg")})),
    ),
    Input("shape", "HDU of an open FITS file", here(fits.BinTableHDU(plain()))),
    Input("shape", "text of a position", here("10h02m00s +05d00m")),
    Input("position", "sexagesimal columns", here(positions("10:02:00", "+05:00:00"))),
    Input(
        "position",
        "VizieR: text beside degrees",
        here(
            Table(
                [["10 02 00"], ["+05 00 00"], [RA] * u.deg, [DEC] * u.deg],
                names=["RAJ2000", "DEJ2000", "_RAJ2000", "_DEJ2000"],
            )
        ),
    ),
    Input("position", "TOPCAT's match: RA_1, DEC_1", here(positions(RA, DEC, ("RA_1", "DEC_1"), **UNITS))),
    Input("position", "names with units: RA (deg)", here(positions(RA, DEC, ("RA (deg)", "Dec (deg)")))),
    Input(
        "position",
        "columns of any name",
        here(positions(RA, DEC, ("lon", "lat"), **UNITS)),
        options=(("ra", "lon"), ("dec", "lat")),
    ),
    Input("position", "155:07:30, hours or degrees", here(positions("155:07:30", "+05:00:00"))),
    Input(
        "position",
        "a masked cell",
        here(
            Table({"ra": MaskedColumn([RA, RA], unit="deg", mask=[False, True]), "dec": [DEC, DEC] * u.deg})
        ),
    ),
    Input("unit", "degrees, DEGREE", here(positions(RA, DEC, units=("degrees", "DEGREE")))),
    Input("unit", "[deg]", here(positions(RA, DEC, units=("[deg]", "[deg]")))),
    Input("unit", "RADIANS", here(positions(np.radians(RA), np.radians(DEC), units=("RADIANS", "RADIANS")))),
    Input("unit", "hourangle", here(positions(RA / 15, DEC, units=("hourangle", "deg")))),
    Input("unit", "log(Msun) of a stellar mass", here(plain(log_mstar=Column([10.0], unit="log(Msun)")))),
    Input("unit", "solMass of a log_mstar", here(plain(log_mstar=[1e10] * u.solMass))),
    Input("unit", "m of a right ascension", here(positions(RA, DEC, units=("m", "deg")))),
)


class Everywhere:
    """A source that has one picture of all positions."""

    name_column = recipe = None

    def fetch(self, ra, dec, names=None):
        self.asked = np.transpose([ra, dec])
        yield from (Cutout(data=PICTURE) for _ in ra)

    def describe(self):
        return "one picture"


@pytest.fixture(scope="module")
def estimator():
    return HIFractionEstimator(cutouts=Everywhere(), device="cpu")


def outcome(brought: Input, folder: Path, estimator: HIFractionEstimator) -> str:
    """Estimate it, and say what became of it."""
    data = brought.make(folder)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = estimator.predict(data, **dict(brought.options))
        except (TypeError, ValueError, RowError) as error:
            return f"refused: {error}".replace(str(folder), "").strip()
    np.testing.assert_allclose(estimator.cutouts.asked, [[RA, DEC]], atol=1e-9)
    flags = [", ".join(names) for names in decode_flags(result["flags"]) if names]
    is_masked = np.ma.getmaskarray(result["log_hi_fraction"]).tolist()
    assert is_masked == [False] + [True] * (len(result) - 1), (brought.text, flags)
    if "objid" in result.colnames and result["objid"][0] is not np.ma.masked:
        assert int(result["objid"][0]) in (1, OBJID)
    if "log_mstar" in result.colnames:
        assert "log_mhi" in result.colnames
    said = [str(one.message) for one in caught if "have no estimate" not in str(one.message)]
    rest = [f"the other row: {flag}" for flag in flags] + [f"warning: {message}" for message in said]
    return "; ".join(["estimated", *rest])


def page(outcomes: dict[Input, str]) -> str:
    """The page of the documentation."""
    lines = [
        "*************",
        "What goes in",
        "*************",
        "",
        f"{len(INPUTS)} inputs as users bring them, and what becomes of each, in",
        "`~hifrac.HIFractionEstimator.predict` as on the command line. The table is made by",
        "``python tests/core/test_inputs.py``, and compared with what each version does. The rules",
        "behind it are :ref:`here <input-columns>`.",
        "",
        ".. list-table::",
        "   :header-rows: 1",
        "   :widths: 12 36 52",
        "",
        "   * - Kind",
        "     - Input",
        "     - What becomes of it",
    ]
    for brought, said in outcomes.items():
        lines += [f"   * - {brought.kind}", f"     - {literal(brought.text)}", f"     - {literal(said)}"]
    return "\n".join(lines) + "\n"


def literal(text: str) -> str:
    return text.replace("*", "\\*").replace("_", "\\_").replace("|", "\\|").replace("`", "\\`")


@pytest.mark.parametrize("brought", INPUTS, ids=lambda brought: brought.text)
def test_what_becomes_of_an_input(tmp_path, estimator, brought):
    if brought.needs:
        pytest.importorskip(brought.needs)
    said = outcome(brought, tmp_path, estimator)
    row = f"     - {literal(brought.text)}\n     - {literal(said)}\n"
    assert row in PAGE.read_text(encoding="utf-8")


def test_there_are_forty_and_the_page_has_no_others():
    assert len(INPUTS) >= 40
    assert len({brought.text for brought in INPUTS}) == len(INPUTS)
    if PAGE.is_file():
        assert PAGE.read_text(encoding="utf-8").count("   * - ") == len(INPUTS) + 1


def write() -> None:
    """Write the page."""
    estimator = HIFractionEstimator(cutouts=Everywhere(), device="cpu")
    outcomes = {}
    for brought in INPUTS:
        with tempfile.TemporaryDirectory() as folder:
            outcomes[brought] = outcome(brought, Path(folder), estimator)
    PAGE.write_text(page(outcomes), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(write())
