"""Where the time of one picture goes, on one thread, beside another checkout: milliseconds of the processor.

The least of many runs, in turns: what else the machine does only adds to them.
"""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import simplejpeg
from astropy.table import Table
from PIL import Image

from hifrac import LocalCutouts, images, load_model
from hifrac.core.config import data_dir
from hifrac.cutouts.recipe import SDSS_RECIPE
from hifrac.demo import PICTURES, sample_table
from hifrac.models.measuring import MeasuringNet

_MODELS = ("default", "metallicity", "spectra")


def _source(pictures: int) -> tuple[Path, str, np.ndarray]:
    """Where pictures are, the column that names them, and so many names: real ones, if there are any."""
    root = data_dir()
    if root is not None and (root / "cutouts" / "sdss_cutouts.zip").is_file():
        path = root / "cutouts" / "sdss_cutouts.zip"
        with zipfile.ZipFile(path) as archive:
            names = sorted(Path(name).stem for name in archive.namelist() if name.endswith(".jpg"))
        return path, "objid", np.array(names)[np.linspace(0, len(names) - 1, pictures).astype(int)]
    return PICTURES, "name", np.resize(np.asarray(sample_table()["name"][:24]).astype(str), pictures)


def _simple(data: list[bytes]) -> None:
    """What costs least: decoding by Pillow, mean colours in rings, a linear map of these."""
    rings = np.ascontiguousarray(MeasuringNet(128).rings.numpy().T)
    weights = np.ones(3 * len(rings))
    for picture in data:
        colours = rings @ np.array(Image.open(io.BytesIO(picture))).reshape(-1, 3).astype(np.float32)
        colours.ravel() @ weights


def _stages(pictures: int) -> dict[str, Callable[[], object]]:
    """The stages of so many pictures, by their names."""
    path, column, names = _source(pictures)
    zeros = np.zeros(pictures)
    source = LocalCutouts(path, name=column)
    data = [cutout.data for cutout in source.fetch(zeros, zeros, names) if cutout.data is not None]
    pixels = np.stack([SDSS_RECIPE.decode(picture) for picture in data])
    stages: dict[str, Callable[[], object]] = {
        "read from an archive": lambda: list(source.fetch(zeros, zeros, names)),
        "decode": lambda: [SDSS_RECIPE.decode(picture) for picture in data],
        "  its JPEG, by simplejpeg": lambda: [simplejpeg.decode_jpeg(picture) for picture in data],
        "  the same by Pillow": lambda: [np.array(Image.open(io.BytesIO(picture))) for picture in data],
        "  its look for blank sky": lambda: [images.is_blank(picture) for picture in pixels],
    }
    for name in _MODELS:
        for runtime in ("torchscript", "eager"):
            model = load_model(name, runtime=runtime, device="cpu")
            stages[f"network {name}, {runtime}"] = lambda model=model: model.run(pixels)
    default = load_model("default", device="cpu")
    outputs = default.run(pixels)
    stages["inspect"] = lambda: default.inspect(pixels)
    stages["interpret"] = lambda: default.interpret(outputs)
    stages["decode, inspect, network, interpret"] = lambda: default.answer(
        np.stack([SDSS_RECIPE.decode(picture) for picture in data])
    )
    stages["Pillow, colours in rings, linear map"] = lambda: _simple(data)
    return stages


def _measure(pictures: int, repeats: int, only: str) -> dict[str, float]:
    """The least milliseconds of the processor a picture, by stage."""
    least: dict[str, float] = {}
    stages = _stages(pictures)
    for _ in range(repeats + 1):  # the first warms up
        for name, action in stages.items():
            if only not in name:
                continue
            start = time.process_time()
            action()
            milliseconds = 1000 * (time.process_time() - start) / pictures
            least[name] = min(least.get(name, np.inf), milliseconds)
    return least


def _child(checkout: Path, arguments: list[str]) -> tuple[str, float]:
    """Run Python with a checkout: what it prints, and its seconds of the processor."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, *arguments]
    # The folder, for it is the first place that Python looks in.
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=checkout
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _whole(checkout: Path, rows: int) -> float:
    """Milliseconds of the processor a row of ``hifrac predict``, start and table included."""
    path, column, names = _source(rows)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "rows.ecsv"
        positions = np.linspace(0.0, 359.0, rows)
        units = {"ra": "deg", "dec": "deg"}
        Table({column: names, "ra": positions, "dec": np.zeros(rows)}, units=units).write(table)
        command = ["-m", "hifrac", "predict", str(table), "-o", str(Path(folder) / "out.fits")]
        _, seconds = _child(checkout, [*command, "--cutouts", str(path), "--name", column])
    return 1000 * seconds / rows


@click.command()
@click.option("--pictures", default=128, show_default=True)
@click.option("--rows", default=4000, show_default=True, help="Of the whole command; 0 leaves it out.")
@click.option("--repeats", default=10, show_default=True, help="In each process.")
@click.option("--rounds", default=3, show_default=True, help="Processes.")
@click.option(
    "--against",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Checkout of another commit, which is measured in turns with this one.",
)
@click.option("--only", default="", help="Stages whose name contains this.")
@click.option("--child", is_flag=True, hidden=True)
def main(
    pictures: int, rows: int, repeats: int, rounds: int, against: Path | None, only: str, child: bool
) -> None:
    """Print milliseconds a picture of each stage; with --against those of both, and their ratio."""
    if child:
        click.echo(json.dumps(_measure(pictures, repeats, only)))
        return
    checkouts = [Path(__file__).resolve().parents[1], *([] if against is None else [against.resolve()])]
    own = [
        str(Path(__file__).resolve()),
        "--child",
        "--pictures",
        str(pictures),
        "--repeats",
        str(repeats),
        "--only",
        only,
    ]
    least: list[dict[str, float]] = [{} for _ in checkouts]
    for _ in range(rounds):
        for checkout, best in zip(checkouts, least, strict=True):
            times = json.loads(_child(checkout, own)[0])
            whole = f"hifrac predict, {rows} rows"
            if rows and only in whole:
                times[whole] = _whole(checkout, rows)
            best.update({name: min(value, best.get(name, np.inf)) for name, value in times.items()})
    for name, milliseconds in least[0].items():
        before = "" if against is None else f"   before {least[-1][name]:7.4f}"
        ratio = "" if against is None else f"   {least[-1][name] / milliseconds:5.2f} times"
        click.echo(f"{name:40s} {milliseconds:7.4f} ms{before}{ratio}")


if __name__ == "__main__":
    main()
