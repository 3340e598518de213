"""Densities at the size of the NASA-Sloan Atlas: seconds, memory, and whether brute force agrees."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import click
import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.cosmology import FlatLambdaCDM
from astropy.table import Table

from hifrac.environment import overdensity, surface_density

C = 299792.458


def _atlas(n: int) -> tuple[SkyCoord, np.ndarray]:
    """As many clustered galaxies as the NASA-Sloan Atlas has, at its redshifts, over 7500 square degrees."""
    rng = np.random.default_rng(0)
    z = rng.gamma(4, 0.022, n // 8)
    z = z[(z > 0.002) & (z < 0.15)]
    ra = rng.uniform(115, 255, len(z))
    dec = np.degrees(np.arcsin(rng.uniform(0, np.sin(np.radians(65)), len(z))))
    group = rng.integers(0, len(z), n)
    distance = np.degrees(rng.exponential(1.0, n) / (4300 * z[group]))  # 1 Mpc in projection
    angle = rng.uniform(0, 2 * np.pi, n)
    lat = np.clip(dec[group] + distance * np.sin(angle), -90, 90)
    lon = ra[group] + distance * np.cos(angle) / np.cos(np.radians(dec[group]))
    redshift = z[group] + rng.normal(0, 300 / C, n)
    return SkyCoord(lon, lat, unit="deg"), np.clip(redshift, 1e-3, None)


def _alfalfa(n: int) -> tuple[SkyCoord, np.ndarray, str]:
    """ALFALFA where the data directory has it, else as many positions at its redshifts."""
    folder = os.environ.get("HIFRAC_DATA_DIR")
    path = Path(folder or ".") / "catalogs" / "alfalfa_a100_190808.csv"
    if folder and path.exists():
        table = Table.read(path)
        ra, dec = (np.ma.filled(table[f"{name}_OC"].astype(float), np.nan) for name in ("RAdeg", "DECdeg"))
        return SkyCoord(ra, dec, unit="deg"), np.asarray(table["Vhelio"], float) / C, "ALFALFA"
    rng = np.random.default_rng(1)
    coords = SkyCoord(rng.uniform(115, 255, n), rng.uniform(0, 36, n), unit="deg")
    return coords, rng.uniform(0.001, 0.06, n), "simulated"


def _brute_force(coords: SkyCoord, z: np.ndarray, reference: SkyCoord, reference_z: np.ndarray) -> np.ndarray:
    """Fifth-neighbour distances, one galaxy at a time over the whole reference."""
    cosmology = FlatLambdaCDM(H0=70, Om0=0.3)
    xyz, there = (one.cartesian.xyz.value.T for one in (coords, reference))
    result = np.full(len(z), np.nan)
    for i, vector in enumerate(xyz):
        inside = np.abs(reference_z - z[i]) <= 1000 / C
        chord = np.linalg.norm(there[inside] - vector, axis=1)
        if len(chord) >= 5:
            angle = 2 * np.arcsin(np.partition(chord, 4)[4] / 2)
            result[i] = angle * cosmology.angular_diameter_distance(z[i]).value
    return result


class _Report:
    """Prints a line for each step; a busy machine lengthens the seconds by the clock."""

    def __call__(self, name, action, rows: int | None = None):
        start = time.process_time(), time.perf_counter()
        result = action()
        cpu, wall = time.process_time() - start[0], time.perf_counter() - start[1]
        more = f"{1e6 * cpu / rows:10.1f} us each" if rows else ""
        click.echo(f"{name:58s} {cpu:8.2f} s of processor {wall:8.2f} s by the clock {more}")
        return result


@click.command()
@click.option("--reference", "size", default=640_000, show_default=True, help="Galaxies of the reference.")
@click.option("--queries", default=31_502, show_default=True, help="Galaxies, where ALFALFA is not at hand.")
def main(size: int, queries: int) -> None:
    """Print the speed table, the peak memory and the comparison with brute force."""
    reference, reference_z = _atlas(size)
    coords, z, kind = _alfalfa(queries)
    pair, report = (reference, reference_z), _Report()
    surface_density(coords[:10], z[:10], pair, footprint=None)  # imports
    click.echo(f"reference: {size} simulated galaxies; targets: {len(z)} ({kind})")
    options = {"footprint": None}
    some = report(
        "targets against the reference", lambda: surface_density(coords, z, pair, **options), len(z)
    )
    report(
        "  the same without a velocity window", lambda: surface_density(coords, z, pair, velocity_window=None)
    )
    report("  with overdensity, exact median", lambda: overdensity(coords, z, pair, **options))
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    every = report(
        "reference against itself", lambda: overdensity(reference, reference_z, pair, **options), size
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    click.echo(f"peak memory {peak / 1024:.0f} MiB, of which before the last step {base / 1024:.0f} MiB")

    rng = np.random.default_rng(12345)
    good = np.flatnonzero(~some["surface_density"].mask)
    few = rng.choice(good, min(1000, len(good)), replace=False)
    slow = report(
        "naive loop over galaxies",
        lambda: _brute_force(coords[few], z[few], reference, reference_z),
        len(few),
    )
    report(
        "SkyCoord.match_to_catalog_sky, nthneighbor=5, no window",
        lambda: coords[good].match_to_catalog_sky(reference, nthneighbor=5),
        len(good),
    )
    found = some["neighbour_distance"].unmasked.value[few]
    rows = rng.choice(size, 1000, replace=False)
    slow_self = _brute_force(reference[rows], reference_z[rows], reference, reference_z)
    found_self = every["neighbour_distance"].filled(np.nan * u.Mpc).value[rows]
    for name, one, two in (("targets", found, slow), ("itself", found_self, slow_self)):
        worst = np.nanmax(np.abs(one / two - 1))
        agree = np.array_equal(np.isnan(one), np.isnan(two))
        click.echo(
            f"brute force, {name}: {len(one)} distances, largest relative difference {worst:.1e}, {agree=}"
        )


if __name__ == "__main__":
    main()
