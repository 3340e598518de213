"""Cutouts from frames at hand: pictures per second of one core, beside another checkout, and its stages."""

from __future__ import annotations

import bz2
import gzip
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# One core, also for the linear algebra of numpy.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import numpy as np
from simplejpeg import decode_jpeg

TESTS = Path(__file__).parents[1] / "tests"
_STAR = 12


def _write_fields(folder: Path, fields: int, suffix: str) -> tuple[np.ndarray, np.ndarray]:
    """Write fields of a scan with noise and 300 stars each; return their centres."""
    from sdss_frames import OVERLAP, SHAPE, field_centres, frame_file, frame_header, frame_path, write

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


def _positions(ra: np.ndarray, dec: np.ndarray, rows: int) -> np.ndarray:
    """Choose places all over the fields, in random order."""
    from astropy.wcs import WCS
    from sdss_frames import SHAPE, frame_header

    rng = np.random.default_rng(1)
    sky = np.empty((rows, 2))
    for row, field in enumerate(rng.integers(0, len(ra), rows)):
        pixel = rng.uniform(0, SHAPE[1]), rng.uniform(0, SHAPE[0])
        sky[row] = WCS(frame_header(ra[field], dec[field], 20.0)).wcs_pix2world([pixel], 0)[0]
    return sky


def _milliseconds(action: Callable[[], object], repeats: int = 200) -> float:
    """Return the median time of one call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def _stages(folder: Path, sky: np.ndarray) -> dict[str, Callable[[], object]]:
    from hifrac import images
    from hifrac.cutouts.frames import FrameCutouts

    source = FrameCutouts(folder)
    index = source._open()
    recipe = source.recipe
    (fields,) = source._plan(index, *sky[:1].T, [recipe])
    planes = [source._plane(index, fields, band) for band in range(3)]
    stretch = images.STRETCHES["sdss"]
    pixels = stretch.rgb(*planes)
    return {
        "look up 1000 positions": lambda: source._plan(
            index, *np.repeat(sky[:1], 1000, axis=0).T, [recipe] * 1000
        ),
        "interpolate three bands": lambda: [source._plane(index, fields, band) for band in range(3)],
        "stretch": lambda: stretch.rgb(*planes),
        "JPEG": lambda: images.to_jpeg(pixels),
    }


def _print_unpacking(frames: list[Path]) -> None:
    """Print the size of compressed frames, and the time that one takes to be unpacked."""
    unpack = {".gz": gzip.decompress, ".bz2": bz2.decompress}[frames[0].suffix]
    data = [path.read_bytes() for path in frames]
    click.echo(f"{'size of a frame':28s} {np.mean([len(frame) for frame in data]) / 1e6:8.2f} MB")
    click.echo(f"{'unpack a frame':28s} {_milliseconds(lambda: unpack(data[0]), repeats=5):8.2f} ms")


def _measure(folder: Path) -> None:
    """Cut pictures of the package that is imported, and write the times and the pictures into the folder."""
    from hifrac.cutouts.frames import FrameCutouts

    sky = np.load(folder / "sky.npy")
    # What is imported late, and what the first picture costs, is not of the frames.
    with FrameCutouts(folder / "warm") as source:
        list(source.fetch([185.0], [5.0]))
    with FrameCutouts(folder / "frames") as source:
        times = [time.process_time()]
        source._open()
        times.append(time.process_time())
        for _ in range(2):
            cutouts = list(source.fetch(*sky.T))
            times.append(time.process_time())
    empty = np.zeros((source.recipe.width, source.recipe.width, 3), np.uint8)
    pictures = [empty if cutout.data is None else decode_jpeg(cutout.data) for cutout in cutouts]
    np.save(folder / "pictures.npy", pictures)
    np.save(folder / "times.npy", np.diff(times))


def _measured(folder: Path, checkout: Path) -> tuple[np.ndarray, np.ndarray]:
    """Run `_measure` with the package of a checkout; return its times and pictures."""
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    subprocess.run([sys.executable, __file__, "--measure", folder], env=environment, check=True)
    return np.load(folder / "times.npy"), np.load(folder / "pictures.npy").astype(int)


@click.command()
@click.option("--fields", default=6, show_default=True, help="Genuine size: 37 MB each.")
@click.option("--rows", default=2000, show_default=True)
@click.option("--suffix", type=click.Choice(["", ".gz", ".bz2"]), default="", help="Compress the frames.")
@click.option("--beside", type=click.Path(path_type=Path), help="Another checkout, measured in turn.")
@click.option("--turns", default=3, show_default=True, help="How often; the median counts.")
@click.option("--measure", "folder", type=click.Path(path_type=Path), hidden=True)
def main(fields: int, rows: int, suffix: str, beside: Path | None, turns: int, folder: Path | None) -> None:
    """Print pictures per CPU second of simulated frames in the page cache, by one thread."""
    sys.path.append(str(TESTS))
    if folder is not None:
        _measure(folder)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sky = _positions(*_write_fields(folder / "frames", fields, suffix), rows)
        _write_fields(folder / "warm", 1, "")
        np.save(folder / "sky.npy", sky)
        checkouts = [TESTS.parent] + ([] if beside is None else [beside.absolute()])
        times, pictures = {}, {}
        for _ in range(turns):
            for checkout in checkouts:
                seconds, pictures[checkout] = _measured(folder, checkout)
                times.setdefault(checkout, []).append(seconds)
        medians = np.array([np.median(times[checkout], axis=0) for checkout in checkouts])
        headers, first, second = medians.T * [[1e3 / fields / 3], [1 / rows], [1 / rows]]
        for label, values, unit in (
            ("header", headers, "ms"),
            ("first pass", 1 / first, "pictures/s"),
            ("second pass", 1 / second, "pictures/s"),
        ):
            ratio = f"  beside {values[1]:8.2f}  ratio {values[0] / values[1]:.2f}" if beside else ""
            click.echo(f"{label:28s} {values[0]:8.2f} {unit}{ratio}")
        good = int(pictures[TESTS.parent].any(axis=(1, 2, 3)).sum())
        click.echo(f"{'not outside':28s} {good:8d} of {rows}")
        if beside:
            difference = np.abs(np.subtract(*pictures.values()))
            same = int((difference == 0).all(axis=(1, 2, 3)).sum())
            click.echo(
                f"{'pictures equal':28s} {same:8d} of {rows}; levels differ by {difference.max()} at most"
            )
            click.echo(f"{'':28s} {difference.mean():8.5f} on average")
        if suffix:
            _print_unpacking(sorted((folder / "frames").rglob(f"*.fits{suffix}")))
        for stage, action in _stages(folder / "frames", sky).items():
            click.echo(f"{stage:28s} {_milliseconds(action):8.2f} ms")


if __name__ == "__main__":
    main()
