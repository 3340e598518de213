"""Where the time of one picture goes, side by side in one process."""

from __future__ import annotations

import time
from collections.abc import Callable

import click
import numpy as np

from hifrac import LocalCutouts, images, load_model
from hifrac.demo import PICTURES, sample_table


def _rate(action: Callable[[], object], pictures: int, seconds: float = 3.0) -> float:
    """Pictures per second: the best of the rounds that fit the time."""
    best, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - start)
    return pictures / best


@click.command()
@click.option("--batch-size", default=128, show_default=True)
def main(batch_size: int) -> None:
    """Print pictures per second of each stage."""
    names = [str(name) for name in sample_table()["name"][:24]]
    names = (names * (batch_size // len(names) + 1))[:batch_size]
    zeros = np.zeros(batch_size)
    source = LocalCutouts(PICTURES, name="name")
    data = [cutout.data for cutout in source.fetch(zeros, zeros, names)]
    pixels = np.stack([images.decode(one, width=128) for one in data])
    networks = {runtime: load_model(runtime=runtime) for runtime in ("torchscript", "eager")}
    stages: dict[str, Callable[[], object]] = {
        "read from a folder": lambda: list(source.fetch(zeros, zeros, names)),
        "decode": lambda: [images.decode(one, width=128) for one in data],
    }
    for runtime, model in networks.items():
        stages[f"network, {runtime} on {model.device}"] = lambda model=model: model.run(pixels)
    for name, action in stages.items():
        action()
        click.echo(f"{name:32s} {_rate(action, batch_size):8.0f} pictures/s")


if __name__ == "__main__":
    main()
