"""Speed and memory of heat maps: against plain prediction, by method and network."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch
from astropy.table import Table

from hifrac import HIFractionEstimator, LocalCutouts
from hifrac.attribution import heat_maps
from hifrac.attribution.regions import SMOOTHING, smoothed
from hifrac.core.config import data_dir
from hifrac.images import decode
from hifrac.models import Model, load_model
from hifrac.models.architectures import build

#: What is mapped where a model has no HI fraction.
_TARGETS = {"gas-classes": "gas-rich"}


def _pixels(count: int) -> np.ndarray:
    """Return real cutouts, or repeat the simulated ones."""
    root = data_dir()
    if root is None:
        from hifrac.demo import PICTURES

        simulated = [decode(path.read_bytes()) for path in sorted(PICTURES.glob("sim-*.jpg"))[:24]]
        return np.stack([simulated[number % len(simulated)] for number in range(count)])
    with zipfile.ZipFile(root / "cutouts" / "sdss_cutouts.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        spread = names[:: max(1, len(names) // count)][:count]
        return np.stack([decode(archive.read(name)) for name in spread])


def _network(architecture: str) -> Model:
    """Return a bundled model, or an untrained network of another architecture: weights do not matter."""
    default = load_model("default", device="cpu")
    if architecture == "StructureNet":
        return default
    if architecture == "shallow":
        return load_model("gas-classes", device="cpu")
    torch.manual_seed(0)
    card = replace(
        default.card, name=architecture, architecture=architecture, options={}, outputs=("estimate",),
        inputs=("pixels",), calibration=None, detection=None,
    )  # fmt: skip
    return Model(card, "cpu", "eager", build(architecture, dict(card.options)).eval())


def _seconds(call, pixels: np.ndarray, batch: int, repeats: int) -> float:
    """Return the median processor time for all the pictures: other programs may run as well."""
    taken = []
    for _ in range(repeats + 1):
        start = time.process_time()
        for first in range(0, len(pixels), batch):
            call(pixels[first : first + batch])
        taken.append(time.process_time() - start)
    return float(np.median(taken[1:]))  # the first is a rehearsal


@click.group()
def main() -> None:
    """Speed and memory of heat maps."""


@main.command()
@click.option("--count", default=1000, show_default=True, help="Pictures for class activation.")
@click.option("--few", default=64, show_default=True, help="Pictures for the slower methods.")
@click.option("--repeats", default=3, show_default=True)
@click.option("--batch", default=64, show_default=True)
@click.option("--threads", default=1, show_default=True)
def speed(count: int, few: int, repeats: int, batch: int, threads: int) -> None:
    """Print milliseconds per picture, and the ratio to plain prediction."""
    torch.set_num_threads(threads)
    pixels = _pixels(count)
    click.echo(f"{'network':>13} {'method':>22} {'pictures':>9} {'plain ms':>9} {'map ms':>9} {'ratio':>7}")
    for architecture, methods in (
        ("shallow", ("cam", "gradcam", "occlusion")),
        ("xresnet34", ("cam", "gradcam")),
        ("StructureNet", ("cam", "occlusion")),
    ):
        model = _network(architecture)
        target = _TARGETS.get(model.card.name, "log_hi_fraction")
        for method in methods:
            slow = method == "occlusion" or architecture == "StructureNet"
            part = pixels[: 4 if method == "occlusion" else few] if slow else pixels
            rounds = 1 if slow else repeats
            plain = _seconds(model.run, part, batch, repeats) / len(part)
            maps = _seconds(
                lambda some, m=model, how=method, of=target: heat_maps(m, some, method=how, target=of),
                part,
                batch,
                rounds,
            )
            maps /= len(part)
            name = heat_maps(model, part[:1], method=method, target=target).method
            click.echo(
                f"{architecture:>13} {name:>22} {len(part):9d} {1e3 * plain:9.2f} {1e3 * maps:9.2f} "
                f"{maps / plain:7.2f}"
            )


@main.command()
@click.option("--model", default="default", show_default=True, help="A model that measures pictures.")
@click.option("--count", default=40, show_default=True, help="Pictures.")
@click.option("--finest", default=512, show_default=True, help="Nodes of the maps that are taken as true.")
def nodes(model: str, count: int, finest: int) -> None:
    """Print how far maps of fewer nodes are from those of many, of the sum of all absolute contributions."""
    torch.set_num_threads(1)
    network = load_model(model, device="cpu")
    pixels = network.inspect(_pixels(count)).pixels
    true = heat_maps(network, pixels, steps=finest).values
    click.echo(f"{'nodes':>6} {'median':>7} {'84%':>7} {'as drawn':>9} {'84%':>7} {'gap, rms':>9}")
    for steps in (16, 32, 64, 128):
        maps = heat_maps(network, pixels, steps=steps)
        pairs = ((maps.values, true), tuple(_as_drawn(values) for values in (maps.values, true)))
        errors = [
            _relative_error(values, reference, level) for values, reference in pairs for level in (50, 84)
        ]
        click.echo(
            f"{steps:6d} {errors[0]:7.1%} {errors[1]:7.1%} {errors[2]:9.1%} {errors[3]:7.1%} "
            f"{np.sqrt(np.mean(maps.gap**2)):9.4f}"
        )


def _as_drawn(maps: np.ndarray) -> np.ndarray:
    return np.stack([smoothed(values, SMOOTHING) for values in maps])


def _relative_error(maps: np.ndarray, true: np.ndarray, level: float) -> float:
    """Return a percentile, over the pictures, of the error of a map in units of its absolute sum."""
    return float(np.percentile(np.abs(maps - true).sum((1, 2)) / np.abs(true).sum((1, 2)), level))


@main.command()
@click.option("--sizes", default="1000,10000", show_default=True, help="Numbers of rows, by commas.")
def memory(sizes: str) -> None:
    """Print the peak memory of class-activation maps of many rows, each number in a process of its own."""
    for size in sizes.split(","):
        done = subprocess.run(
            [sys.executable, __file__, "child", size], capture_output=True, text=True, check=True
        )
        click.echo(f"{int(size):7d} rows: peak {float(done.stdout):6.0f} MiB")


@main.command(hidden=True)
@click.argument("size", type=int)
def child(size: int) -> None:
    """Explain so many rows, and print the peak memory in MiB."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        from PIL import Image

        Image.fromarray(_pixels(1)[0]).save(Path(name) / "g.png")
        table = Table({"name": ["g"] * size, "ra": np.linspace(0, 359, size), "dec": np.zeros(size)})
        table["ra"].unit = table["dec"].unit = "deg"
        estimator = HIFractionEstimator("gas-classes", cutouts=LocalCutouts(name, name="name"))
        total = sum(float(row.values.sum()) for row in estimator.explain(table, target="gas-rich"))
    if not np.isfinite(total):
        raise SystemExit("a map is missing")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    click.echo(peak / (1024 if sys.platform != "darwin" else 1024**2))


if __name__ == "__main__":
    main()
