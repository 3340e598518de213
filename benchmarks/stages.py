"""Where the time of one picture goes, side by side in one process."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import click
import numpy as np
import simplejpeg
from PIL import Image

from hifrac import LocalCutouts, images, load_model
from hifrac.cutouts.recipe import SDSS_RECIPE
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
    pixels = np.stack([SDSS_RECIPE.decode(picture) for picture in data])
    networks = {runtime: load_model(runtime=runtime) for runtime in ("torchscript", "eager")}
    stages: dict[str, Callable[[], object]] = {
        "read from a folder": lambda: list(source.fetch(zeros, zeros, names)),
        "decode": lambda: [SDSS_RECIPE.decode(picture) for picture in data],
        "  its JPEG, by simplejpeg": lambda: [simplejpeg.decode_jpeg(picture) for picture in data],
        "  the same by Pillow": lambda: [np.array(Image.open(io.BytesIO(picture))) for picture in data],
        "  its look for blank sky": lambda: [images.is_blank(picture) for picture in pixels],
    }
    for runtime, model in networks.items():
        stages[f"network, {runtime} on {model.device}"] = lambda model=model: model.run(pixels)
    for name, action in stages.items():
        action()
        rate = _rate(action, batch_size)
        click.echo(f"{name:32s} {rate:8.0f} pictures/s {1000 / rate:8.3f} ms")


if __name__ == "__main__":
    main()
