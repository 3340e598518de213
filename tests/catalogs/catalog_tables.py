"""Small tables with the labels of the published files."""

from __future__ import annotations

import numpy as np
from astropy.table import Table


def a40_tables() -> tuple[Table, Table]:
    """Five rows of alpha.40: I, I, O (not in SDSS's cross-match), U without counterpart, a cloud."""
    hi = Table(
        {
            "AGCNr": [11, 12, 13, 14, 15],
            "Name": ["456-013", "", "N 598", "", ""],
            "RAdeg_HI": [150.01, 151.0, 152.0, 153.0, 154.0],
            "Decdeg_HI": [10.0, 11.0, 12.0, 13.0, 14.0],
            "RAdeg_OC": [150.0, 151.0, 152.0, 0.0, 0.0],
            "DECdeg_OC": [10.0, 11.0, 12.0, 0.0, 0.0],
            "Vhelio": [6007, 10409, -182, 5000, -350],
            "W50": [260, 315, 181, 100, 20],
            "errW50": [45, 8, 2, 4, 3],
            "HIflux": [1.13, 2.62, 999.9, 1.0, 2.0],
            "errflux": [0.09, 0.09, 0.6, 0.1, 0.1],
            "SNR": [6.5, 14.0, 128.7, 7.0, 9.0],
            "RMS": [2.4, 2.05, 17.99, 2.0, 2.0],
            "Dist": [85.2, 143.8, 0.8, 70.0, 0.0],
            "logMsun": [9.29, 10.11, 8.2, 9.0, np.nan],
            "HIcode": [1, 2, 1, 1, 9],
            "OCcode": ["I", "I", "O", "U", "U"],
        }
    )
    cross = Table(
        {
            "AGCNr": [12, 11],
            "HIcode": [2, 1],
            "OCcode": ["I", "I"],
            "PhotoObjID": [587740589481525478, 587730775499407375],
            "SpectObjID": np.ma.MaskedArray([0, 211330582074884096], mask=[True, False]),
            "rmodelmag": [15.11, 14.77],
            "uminusr": [1.97, 1.59],
            "z_sdss": np.ma.MaskedArray([0.0, 0.02002], mask=[True, False]),
            "z_err": [0.0001, 0.0001],
        }
    )
    return hi, cross


def a100_table() -> Table:
    """Four rows of alpha.100; the first two tell the releases apart."""
    return Table(
        {
            "AGCNr": [105367, 333313, 715637, 400],
            "Name": ["........", "........", "........", "478-009b"],
            "RAdeg_HI": [0.00167, 0.00375, 159.12541, 10.0],
            "DECdeg_HI": [5.44333, 24.90889, 2.38611, 20.0],
            "RAdeg_OC": [0.00333, 359.9975, 159.13293, 0.0],
            "DECdeg_OC": [5.4425, 24.9075, 2.36222, 0.0],
            "Vhelio": [11983, 11181, 15026, 4463],
            "W50": [274, 313, 301, 160],
            "sigW": [39, 20, 8, 4],
            "W20": [281, 333, 0, 184],
            "HIflux": [1.14, 1.80, -7.61, 1.7],
            "sigflux": [0.08, 0.09, 0.82, 0.07],
            "SNR": [8.1, 11.3, 13.5, 14.7],
            "RMS": [1.91, 2.02, 4.65, 1.96],
            "Dist": [166.0, 154.8, 219.8, 50.6],
            "sigDist": [2.3, 2.3, 2.3, 10.4],
            "logMH": [9.87, 10.01, 10.94, 9.07],
            "siglogMH": [0.05, 0.05, 0.06, 0.18],
            "HIcode": [1, 1, 1, 2],
        }
    )


def nibles_table() -> Table:
    """Six rows whose declinations have lost their signs; one fraction of 0.00 is lost as well."""
    return Table(
        {
            "nibles_id": [1, 2, 3, 4, 5, 6],
            "ra": [10.0, 20.0, 30.0, 40.0, 50.0, 60.0],
            "dec": [40.0, 1.0, 2.0, 3.0, 4.0, 5.0],
            "z": [0.01, 0.01, 0.01, 0.01, 0.01, 0.01],
            "logMstar": [9.0, 9.5, 7.5, 9.0, 9.58, 10.0],
            "logMHI": [9.0, 9.0, 8.0, 8.5, 9.59, 9.5],
            "logfgas": np.ma.MaskedArray(
                [0.01, -0.5, 0.5, -0.5, 0.0, -0.5], mask=[False, False, False, False, True, False]
            ),
        }
    )


def xgass_table() -> Table:
    """Three rows: a detection, a confused one, a limit with all its sentinels."""
    return Table(
        {
            "GASS": [11834, 11845, 11892],
            "AGCnr": [101866, 0, 101874],
            "SDSS": ["J000047.89+141639.1", "J000100.00+140000.0", "J000200.82+150132.1"],
            "RA": [0.19954, 0.25, 0.50344],
            "DEC": [14.27755, 14.0, 15.02561],
            "zSDSS": [0.03618, 0.02, 0.03573],
            "Dlum": [159.2, 88.0, 157.2],
            "lgMstar": [10.709, 9.5, 10.539],
            "expAB_r": [0.34, 0.5, 0.82],
            "model_r": [15.32, 16.0, 15.16],
            "NUVr": [4.04, -99.0, 5.66],
            "SFR_best": [0.83, -99.0, 0.0387],
            "HIsrc": [3, 1, 4],
            "W50cor": [359.0, 100.0, 0.0],
            "lgMHI": [9.603, 9.3, 8.74],
            "lgGF": [-1.106, -0.2, -1.799],
            "HIconf_flag": [0.0, 1.0, -99.0],
        }
    )


DURBALA_README = """J/AJ/160/271   A catalog of galaxies (part of the columns' description, for tests)
================================================================================

Byte-by-byte Description of file: table1.dat
--------------------------------------------------------------------------------
  Bytes Format Units   Label Explanations
--------------------------------------------------------------------------------
  1-  6 I6     ---     AGC   AGC catalog identifier
  8-  8 I1     ---     Flag  Photometry flag
 10- 29 I20    ---     ObjID Object identifier
 31- 40 F10.6  deg     RAdeg Right Ascension (J2000)
 42- 49 F8.5   deg     DEdeg Declination (J2000)
 51- 55 I5     km/s    RVel  Velocity
 57- 61 F5.1   Mpc     Dist  Distance
 63- 66 F4.2   mag     gext  ? Foreground extinction in g
 68- 71 F4.2   mag     iext  ? Foreground extinction in i
 73- 76 F4.2   ---     b/a   ? Axial ratio
--------------------------------------------------------------------------------

Byte-by-byte Description of file: table2.dat
--------------------------------------------------------------------------------
  Bytes Format Units          Label   Explanations
--------------------------------------------------------------------------------
  1-  6 I6     ---            AGC      AGC catalog identifier
  8- 12 F5.2   [solMass]      logMsT   ? log Taylor method stellar mass
 14- 18 F5.2   [solMass]      logMsM   ? log McGaugh method stellar mass
 20- 24 F5.2   [solMass]      logMsG   ? log GSWLC-2 derived stellar mass
 26- 30 F5.2   [solMass]      logMHI   log HI mass
 32- 35 F4.2   [solMass]    e_logMHI   Uncertainty in logMHI
 37- 40 F4.2   mag            Ag       ? g band internal extinction
 42- 45 F4.2   mag            Ai       ? i band internal extinction
 47- 51 F5.2   mag            g-i      ? colour
--------------------------------------------------------------------------------
"""


def durbala_lines() -> tuple[list[str], list[str]]:
    """Two galaxies in the format of `DURBALA_README`, the second without an optical counterpart."""
    first = [
        f"{1:6d} {1:1d} {1237679455462228052:20d} {0.65667:10.6f} {16.65222:8.5f} {5839:5d} {82.8:5.1f}",
        f"{2:6d} {3:1d} {-9223372036854775808:20d} {10.0:10.6f} {-0.04694:8.5f} {7089:5d} {96.2:5.1f}",
    ]
    first = [first[0] + " 0.11 0.06 0.50", first[1] + " " * 15]
    second = [
        f"{1:6d} {9.34:5.2f} {9.78:5.2f} {9.5:5.2f} {9.67:5.2f} {0.05:4.2f} 0.73 0.33  0.48",
        f"{2:6d} {'':5} {'':5} {'':5} {9.73:5.2f} {0.05:4.2f}                ",
    ]
    return first, second
