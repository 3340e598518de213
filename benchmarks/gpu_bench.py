"""What the parts of ``benchmarks/gpu.py`` share: how much is measured, pictures, time limits, the table."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import click
import numpy as np
import torch
from astropy.table import Table
from models import write_network
from torch import Tensor, nn

from hifrac import images
from hifrac.cutouts import SDSS_RECIPE
from hifrac.models.architectures import build
from hifrac.simulate import encode_jpeg, galaxy_from_photometry, render


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    architecture: str
    side: int  # of the pictures of that network
    drawn: int  # different galaxies
    training: int  # pictures of the training
    epochs: int
    step: int  # pictures of a step of the training
    precision: str  # of the training
    batches: tuple[int, ...]  # the last is the largest
    compared: int  # pictures whose estimates are compared
    files: int  # pictures that are decoded, or go all the way
    least: float  # seconds of each measurement
    matrix: int  # side of the matrices whose product is timed
    copied: int  # bytes


FULL = Size(
    "xresnet34",
    side=224,
    drawn=740,
    training=7400,
    epochs=40,
    step=64,
    precision="bf16-mixed",
    batches=(1, 16, 64, 128, 256, 512, 1024),
    compared=1000,
    files=8192,
    least=0.5,
    matrix=8192,
    copied=2**32,
)


TOY = Size(
    "shallow",
    side=64,
    drawn=8,
    training=24,
    epochs=2,
    step=2,
    precision="32-true",
    batches=(1, 4, 8),
    compared=8,
    files=16,
    least=0.0,
    matrix=64,
    copied=2**16,
)


@dataclass
class Report:
    """The table of what was measured, written after each part."""

    folder: Path
    facts: dict[str, object]
    rows: list[tuple[str, str, float, str, str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    start: float = field(default_factory=time.perf_counter)

    def add(self, part: str, what: str, value: float, unit: str, note: str = "") -> None:
        """Print and keep a number."""
        self.rows.append((part, what, float(f"{value:.4g}"), unit, note))
        click.echo(f"{part:12s} {what:58s} {value:12.5g} {unit:12s} {note}")

    def value(self, what: str) -> float:
        """Look up a number that was measured; NaN if it was not."""
        return next((row[2] for row in self.rows if row[1] == what), float("nan"))

    def write(self) -> Path:
        """Write all numbers so far."""
        table = Table(rows=self.rows or None, names=("part", "what", "value", "unit", "note"))
        table.meta = self.facts | {"failed": self.failed, "seconds": round(self.elapsed, 1)}
        path = self.folder / "gpu.ecsv"
        table.write(path, format="ascii.ecsv", overwrite=True)
        return path

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self.start


@dataclass
class Bench:
    """What the parts share: pictures, the trained network, the device."""

    report: Report
    size: Size
    device: torch.device
    pool: Executor
    folder: Path
    jpegs: list[bytes] = field(default_factory=list)
    pixels: np.ndarray = field(default_factory=lambda: np.empty(0))
    target: np.ndarray = field(default_factory=lambda: np.empty(0))

    def wait(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def once(self, action: Callable[[], object]) -> float:
        """Return the seconds that an action takes, the device waited for."""
        self.wait()
        start = time.perf_counter()
        action()
        self.wait()
        return time.perf_counter() - start

    def seconds(self, action: Callable[[], object]) -> float:
        """Return the median of the seconds that an action takes, after it was done twice, or for a second."""
        if self.once(action) < 1.0:
            self.once(action)
        times = [self.once(action)]
        while sum(times) < self.size.least and len(times) < 200:
            times.append(self.once(action))
        return float(np.median(times))

    def rate(self, part: str, what: str, count: int, action: Callable[[], object], note: str = "") -> None:
        """Report pictures per second of an action, or that it failed."""
        try:
            self.report.add(part, what, count / self.seconds(action), "pictures/s", note)
        except TimeoutError:  # of the whole part
            raise
        except Exception as error:
            self.failed(part, what, error)

    def failed(self, part: str, what: str, error: BaseException) -> None:
        """Report a failure in the table."""
        words = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        self.report.failed.append(f"{part}, {what}: {words}")
        self.report.add(part, what, float("nan"), "failed", words)

    def batch(self, count: int) -> np.ndarray:
        """Return so many pictures (count, side, side, 3), repeated if there are not as many."""
        return self.pixels[np.arange(count) % len(self.pixels)]

    def on_device(self, count: int) -> Tensor:
        """Return so many pictures (count, 3, side, side) in the memory of the device."""
        return torch.from_numpy(self.batch(count)).to(self.device).permute(0, 3, 1, 2).contiguous()

    def trained(self) -> Path:
        """Return the folder of the network: trained here, or, without a training, of random weights."""
        folder = self.folder / "network"
        if not folder.is_dir():
            torch.manual_seed(0)
            self.keep(build(self.size.architecture, {"n_outputs": 1}))
        return folder

    def keep(self, network: nn.Module) -> None:
        """Write a network as the model that the parts after this one measure."""
        write_network(network.cpu(), self.folder / "network", self.size.side, self.size.architecture)


def draw_galaxy(row: tuple[int, int, float, float, float]) -> bytes:
    """Draw a galaxy of a number, as a JPEG of so many pixels a side, with its light."""
    number, side, i_mag, g_minus_i, axial_ratio = row
    recipe = replace(SDSS_RECIPE, width=side, pixel_scale=SDSS_RECIPE.pixel_scale * 128 / side)
    light = {"i_mag": i_mag, "g_minus_i": g_minus_i, "axial_ratio": axial_ratio}
    radius = 6.0 * 10 ** (0.15 * (15.5 - i_mag))
    galaxy = galaxy_from_photometry(**light, r50=radius, rng=np.random.default_rng(number))
    return encode_jpeg(render(galaxy, rng=number, recipe=recipe))


@contextmanager
def archive_of(files: list[bytes]) -> Iterator[tuple[Path, Table]]:
    """Write pictures to a zip, as an archive of cutouts is, and list them."""
    names = [f"{number:06d}" for number in range(len(files))]
    somewhere = np.full(len(names), 30.0)
    table = Table({"objid": names, "ra": somewhere, "dec": somewhere, "ebv": somewhere / 1000})
    table["ra"].unit = table["dec"].unit = "deg"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pictures.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in zip(names, files, strict=True):
                archive.writestr(f"{name}.jpg", data)
        yield path, table


def batches(items: Sequence, size: int) -> list[Sequence]:
    """Cut a sequence in parts."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def decoded(data: Sequence[bytes]) -> np.ndarray:
    """Decode pictures as the package does."""
    return np.stack([images.decode(file) for file in data])


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in what takes longer."""
    if seconds <= 0:
        raise TimeoutError("no time was left for it")

    def stop(*_: object) -> None:
        raise TimeoutError(f"given up after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def facts_of(device: torch.device) -> dict[str, object]:
    """Say on what it was measured."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    return {
        "device": name,
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "torch": str(torch.__version__),
        "cudnn": torch.backends.cudnn.version() if device.type == "cuda" else None,
    }
