"""The bundled sample of ``hifrac demo``: simulated galaxies from gas-poor to gas-rich.

``python benchmarks/draw_demo.py [FOLDER]`` draws the pictures and their catalogue anew, into the package
itself or into a folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import click
import numpy as np
from astropy.table import Column, Table

from hifrac.cutouts import SDSS_RECIPE
from hifrac.demo import PICTURES
from hifrac.simulate import (
    SimulatedGalaxy,
    encode_jpeg,
    render,
    render_sky,
    render_star,
)

#: Distance, in Mpc, at which the simulated galaxies are taken to be; it sets their masses.
DISTANCE = 100.0


@dataclass(frozen=True)
class DemoObject:
    """One object of the sample.

    Parameters
    ----------
    name : str
        Also the name of its picture, less the suffix.
    morphology : str
        What it is, in words.
    galaxy : `~hifrac.simulate.SimulatedGalaxy` or None
        None for what is no galaxy.
    """

    name: str
    morphology: str
    galaxy: SimulatedGalaxy | None = None


# Shapes of the parts, shared by the rows below.
_ELLIPTICAL = {"bulge_fraction": 1.0, "bulge_size": 1.0}
_LENTICULAR = {"bulge_fraction": 0.5, "bulge_size": 0.35}
_EARLY = {"bulge_fraction": 0.3, "n_arms": 2, "arm_contrast": 0.5, "pitch_angle": 12.0}
_MIDDLE = {"bulge_fraction": 0.15, "n_arms": 2, "arm_contrast": 0.7, "pitch_angle": 17.0}
_LATE = {"bulge_fraction": 0.05, "bulge_index": 2.0, "n_arms": 3, "arm_contrast": 0.8, "pitch_angle": 24.0}
_DWARF = {"bulge_fraction": 0.0}

# morphology, i, g-r, r-i, r50, axial ratio, position angle, parts, (clumps, their share of the light)
_GALAXIES = (
    ("elliptical", 13.6, 0.80, 0.40, 6.5, 0.85, 20, _ELLIPTICAL, (0, 0.0)),
    ("elliptical", 14.3, 0.79, 0.39, 4.5, 0.70, 120, _ELLIPTICAL, (0, 0.0)),
    ("elliptical", 15.1, 0.77, 0.38, 3.2, 0.95, 0, _ELLIPTICAL, (0, 0.0)),
    ("lenticular", 13.9, 0.77, 0.38, 7.0, 0.65, 65, _LENTICULAR, (0, 0.0)),
    ("edge-on lenticular", 14.6, 0.75, 0.37, 7.5, 0.25, 140, _LENTICULAR, (0, 0.0)),
    ("early spiral", 13.7, 0.68, 0.34, 8.5, 0.75, 35, _EARLY, (20, 0.02)),
    ("early spiral", 14.2, 0.64, 0.32, 8.0, 0.50, 100, _EARLY, (20, 0.02)),
    ("edge-on early spiral", 14.5, 0.65, 0.34, 10.0, 0.20, 160, _EARLY, (0, 0.0)),
    ("spiral", 13.8, 0.56, 0.28, 9.5, 0.90, 10, _MIDDLE, (40, 0.05)),
    ("spiral", 14.3, 0.53, 0.26, 9.0, 0.65, 75, _MIDDLE, (40, 0.05)),
    ("inclined spiral", 14.7, 0.51, 0.25, 9.5, 0.40, 130, _MIDDLE, (30, 0.05)),
    ("edge-on spiral", 15.0, 0.50, 0.26, 10.5, 0.17, 50, _MIDDLE, (0, 0.0)),
    ("late spiral", 14.4, 0.44, 0.20, 10.0, 0.85, 150, _LATE, (70, 0.10)),
    ("late spiral", 14.9, 0.41, 0.18, 9.0, 0.60, 30, _LATE, (60, 0.12)),
    ("inclined late spiral", 15.3, 0.39, 0.17, 9.5, 0.38, 85, _LATE, (50, 0.12)),
    ("edge-on late spiral", 15.6, 0.37, 0.16, 10.0, 0.15, 110, _LATE, (25, 0.08)),
    ("late spiral", 15.3, 0.36, 0.14, 9.0, 0.95, 0, _LATE, (60, 0.15)),
    ("late spiral", 15.8, 0.34, 0.12, 8.0, 0.70, 60, _LATE, (50, 0.16)),
    ("dwarf disk", 15.9, 0.31, 0.10, 7.5, 0.80, 15, _DWARF, (40, 0.18)),
    ("dwarf disk", 16.2, 0.29, 0.08, 7.0, 0.50, 125, _DWARF, (30, 0.20)),
    ("dwarf disk", 16.4, 0.26, 0.05, 6.5, 0.65, 40, _DWARF, (25, 0.25)),
    ("clumpy dwarf disk", 16.5, 0.23, 0.02, 6.0, 0.85, 70, _DWARF, (18, 0.35)),
    ("clumpy dwarf disk", 16.8, 0.20, -0.02, 6.5, 0.45, 145, _DWARF, (14, 0.40)),
    ("clumpy dwarf disk", 17.0, 0.15, -0.06, 5.5, 0.75, 95, _DWARF, (12, 0.45)),
)


def _sample() -> tuple[DemoObject, ...]:
    objects: list[DemoObject] = []
    for morphology, i_mag, g_minus_r, r_minus_i, r50, axial_ratio, angle, parts, clumps in _GALAXIES:
        galaxy = SimulatedGalaxy(
            i_mag=i_mag,
            g_minus_r=g_minus_r,
            r_minus_i=r_minus_i,
            r50=r50,
            axial_ratio=axial_ratio,
            position_angle=angle,
            n_clumps=clumps[0],
            clump_fraction=clumps[1],
            **parts,
        )
        name = f"sim-{len(objects) + 1:02d}-{morphology.replace(' ', '-')}"
        objects.append(DemoObject(name, morphology, galaxy))
    for morphology in ("star", "blank sky", "outside footprint"):
        name = f"sim-{len(objects) + 1:02d}-{morphology.replace(' ', '-')}"
        objects.append(DemoObject(name, morphology))
    return tuple(objects)


#: The objects of the sample, from gas-poor to gas-rich; then a star, blank sky, and no survey.
SAMPLE = _sample()


def draw(thing: DemoObject) -> np.ndarray:
    """The picture of one object of the sample, always the same.

    Parameters
    ----------
    thing : `DemoObject`
        One of `SAMPLE`: its place there seeds the noise.

    Returns
    -------
    picture : `~numpy.ndarray` of uint8, shape (128, 128, 3)
        Before its compression.

    Raises
    ------
    ValueError
        If ``thing`` is not of the sample.
    """
    if thing not in SAMPLE:
        raise ValueError(f"thing is not of the sample: {thing.name}")
    rng = np.random.default_rng(20200912 + SAMPLE.index(thing))
    if thing.galaxy is not None:
        return render(thing.galaxy, rng=rng)
    if thing.morphology == "star":
        return render_star(i_mag=15.0, g_minus_r=0.5, r_minus_i=0.2, rng=rng)
    if thing.morphology == "blank sky":
        return render_sky(rng=rng, field=False)
    return np.zeros((SDSS_RECIPE.width, SDSS_RECIPE.width, 3), dtype=np.uint8)


def _log_mstar(galaxy: SimulatedGalaxy) -> float:
    """Stellar mass from colour and luminosity: Taylor et al. (2011, MNRAS 418, 1587), eq. 8."""
    g_minus_i = galaxy.g_minus_r + galaxy.r_minus_i
    abs_i = galaxy.i_mag - 5.0 * np.log10(DISTANCE * 1e5)
    return 1.15 + 0.70 * g_minus_i - 0.4 * abs_i


def demo_catalog() -> Table:
    """The catalogue of the sample.

    Returns
    -------
    catalog : `~astropy.table.Table`
        One row per object of `SAMPLE`, with the columns ``name``, ``ra``,
        ``dec``, ``morphology`` and ``log_mstar`` (NaN for what is no galaxy).
    """
    n_objects = len(SAMPLE)
    # Invented: a loose grid in the northern galactic cap, and one place far south of the survey.
    ra = 150.0 + 1.7 * np.arange(n_objects)
    dec = 5.0 + 2.3 * (np.arange(n_objects) % 6)
    dec[-1] = -60.0
    masses = [np.nan if thing.galaxy is None else _log_mstar(thing.galaxy) for thing in SAMPLE]
    catalog = Table(
        {
            "name": [thing.name for thing in SAMPLE],
            "ra": np.round(ra, 4) * u.deg,
            "dec": np.round(dec, 4) * u.deg,
            "morphology": [thing.morphology for thing in SAMPLE],
            "log_mstar": Column(np.round(masses, 2), unit=u.dex(u.solMass)),
        }
    )
    catalog["name"].description = "Name of the simulated object and of its picture, <name>.jpg"
    catalog["ra"].description = "Right ascension (ICRS), invented"
    catalog["dec"].description = "Declination (ICRS), invented"
    catalog["morphology"].description = "What was simulated"
    catalog["log_mstar"].description = (
        f"Stellar mass of the simulated colours and luminosity at an assumed distance of "
        f"{DISTANCE:g} Mpc; NaN for what is no galaxy"
    )
    catalog.meta["SIMULATED"] = (
        "Every object is simulated. No picture is an observation; no position is real."
    )
    catalog.meta["rendered"] = "python benchmarks/draw_demo.py, with hifrac.simulate"
    catalog.meta["recipe"] = f"imitates {SDSS_RECIPE}"
    catalog.meta["log_mstar"] = "1.15 + 0.70 (g-i) - 0.4 M_i: Taylor et al. 2011, MNRAS 418, 1587, eq. 8"
    return catalog


def write_sample(folder: Path) -> int:
    """Write the pictures and the catalogue of the sample.

    Parameters
    ----------
    folder : `pathlib.Path`
        Made if it does not exist; files of the same names are replaced.

    Returns
    -------
    n_bytes : int
        The size of the pictures together.
    """
    folder.mkdir(parents=True, exist_ok=True)
    n_bytes = 0
    for thing in SAMPLE:
        n_bytes += (folder / f"{thing.name}.jpg").write_bytes(encode_jpeg(draw(thing)))
    demo_catalog().write(folder / "catalog.ecsv", format="ascii.ecsv", overwrite=True)
    return n_bytes


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=PICTURES)
def main(folder: Path) -> None:
    """Draw the simulated sample into FOLDER (the package itself, unless given)."""
    n_bytes = write_sample(folder)
    click.echo(f"{len(SAMPLE)} simulated pictures, {n_bytes / 1000:.0f} kB, in {folder}")


if __name__ == "__main__":
    main()
