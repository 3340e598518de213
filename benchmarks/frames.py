"""Cutouts from frames at hand: pictures per second of one core, and where the time goes."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# One core, also for the linear algebra of numpy.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import numpy as np
from astropy.wcs import WCS

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from sdss_frames import OVERLAP, SHAPE, field_centres, frame_file, frame_header, frame_path, write

from hifrac import images
from hifrac.cutouts import frames
from hifrac.cutouts.frames import FrameCutouts

_STAR = 12


def _write_fields(folder: Path, fields: int, suffix: str) -> tuple[np.ndarray, np.ndarray]:
    """Fields of a scan with noise and 300 stars each; their centres."""
    rng = np.random.default_rng(0)
    centres = field_centres(185.0, 5.0, 20.0, fields, SHAPE[0] - OVERLAP)
    row, column = np.mgrid[-_STAR : _STAR + 1, -_STAR : _STAR + 1]
    profile = np.exp(-(row**2 + column**2) / 4.5) / (4.5 * np.pi)
    for field, centre in enumerate(centres):
        for band, sigma in (("g", 0.018), ("r", 0.029), ("i", 0.045)):
            header = frame_header(centre.ra.deg, centre.dec.deg, 20.0, band)
            # As few digits as the survey keeps: 10 bits, which is what makes bzip2 worth its time.
            pixels = rng.normal(0, sigma, SHAPE).astype(np.float32)
            for y, x, flux in zip(
                rng.integers(_STAR, SHAPE[0] - _STAR, 300),
                rng.integers(_STAR, SHAPE[1] - _STAR, 300),
                10 ** rng.uniform(0, 3, 300),
                strict=True,
            ):
                pixels[y - _STAR : y + _STAR + 1, x - _STAR : x + _STAR + 1] += flux * profile
            pixels = (pixels.view(np.uint32) & np.uint32(0xFFFFC000)).view(np.float32)
            write(frame_path(folder, band, field, suffix=suffix), frame_file(header, pixels))
    return centres.ra.deg, centres.dec.deg


def _positions(ra: np.ndarray, dec: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Places all over the fields, in random order."""
    rng = np.random.default_rng(1)
    sky = np.empty((rows, 2))
    for at, field in enumerate(rng.integers(0, len(ra), rows)):
        pixel = rng.uniform(0, SHAPE[1]), rng.uniform(0, SHAPE[0])
        sky[at] = WCS(frame_header(ra[field], dec[field], 20.0)).wcs_pix2world([pixel], 0)[0]
    return sky[:, 0], sky[:, 1]


def _milliseconds(action: Callable[[], object], repeats: int = 200) -> float:
    """Median time of one call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def _stages(folder: Path, ra: float, dec: float) -> dict[str, Callable[[], object]]:
    source = FrameCutouts(folder)
    index = source._open()
    plan = index.plan(np.array([ra]), np.array([dec]), source.recipe)
    planes = [source._plane(index, plan, 0, band) for band in range(3)]
    stretch = images.STRETCHES["sdss"]
    pixels = stretch.rgb(*planes)
    many = np.full(1000, ra), np.full(1000, dec)
    return {
        "look up 1000 positions": lambda: index.plan(*many, source.recipe),
        "interpolate three bands": lambda: [source._plane(index, plan, 0, band) for band in range(3)],
        "stretch": lambda: stretch.rgb(*planes),
        "JPEG": lambda: images.to_jpeg(pixels),
    }


@click.command()
@click.option("--fields", default=6, show_default=True, help="Genuine size: 37 MB each.")
@click.option("--rows", default=2000, show_default=True)
@click.option("--suffix", type=click.Choice(["", ".gz", ".bz2"]), default="", help="Compress the frames.")
def main(fields: int, rows: int, suffix: str) -> None:
    """Print pictures per second of simulated frames in the page cache, by one thread."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ra, dec = _positions(*_write_fields(folder, fields, suffix), rows)
        with FrameCutouts(folder) as source:
            start = time.perf_counter()
            source._open()  # with the import of scipy.spatial
            click.echo(
                f"{'headers':28s} {1e3 * (time.perf_counter() - start) / fields / 3:8.2f} ms per frame"
            )
            for turn in ("first pass", "second pass"):
                wall, cpu = time.perf_counter(), time.process_time()
                found = list(source.fetch(ra, dec))
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                good = sum(cutout.error is None for cutout in found)
                click.echo(f"{turn:28s} {rows / wall:8.0f} pictures/s ({rows / cpu:.0f} per CPU second)")
            click.echo(f"{'not outside':28s} {good:8d} of {rows}")
            unpacked = len(source._unpacked._frames)
            click.echo(f"{'frames kept unpacked':28s} {unpacked:8d} of at most {frames._UNPACKED}")
        for stage, action in _stages(folder, ra[0], dec[0]).items():
            click.echo(f"{stage:28s} {_milliseconds(action):8.2f} ms")


if __name__ == "__main__":
    main()
