"""Networks side by side on the CPU: rates with decoding and without, and what each runtime changes.

``gpu.py`` is for GPUs.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch
from astropy.table import Table
from PIL import Image

from hifrac import LocalCutouts, ModelCard, images, list_models, load_model
from hifrac.core.config import data_dir
from hifrac.core.exceptions import HifracError
from hifrac.demo import PICTURES, sample_table
from hifrac.models import Model, _artifact
from hifrac.models.architectures import build
from hifrac.models.runtimes import HalfPrecision

#: A runtime is admitted if its answers differ from those of single precision by no more, in dex.
RMS, LARGEST = 0.003, 0.02


def _jpegs(number: int, side: int) -> list[bytes]:
    """Cutouts as JPEGs with this side: the real ones where they are, else those of the demonstration."""
    root = data_dir()
    if root is not None and (root / "cutouts" / "sdss_cutouts.zip").is_file():
        with zipfile.ZipFile(root / "cutouts" / "sdss_cutouts.zip") as archive:
            names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
            found = [archive.read(name) for name in names[:: max(1, len(names) // number)][:number]]
    else:
        names = [str(name) for name in sample_table()["name"][:24]]
        zeros = np.zeros(len(names))
        found = [one.data for one in LocalCutouts(PICTURES, name="name").fetch(zeros, zeros, names)]
        click.echo("no real cutouts (HIFRAC_DATA_DIR): pictures of the demonstration, repeated")
    if side != 128:
        found = [images.to_jpeg(_resized(images.decode(one), side)) for one in found]
    return list(itertools.islice(itertools.cycle(found), number))


def _resized(pixels: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


def _compare(actions: dict[str, Callable[[], object]], pictures: int, repeats: int) -> dict[str, list[float]]:
    """Pictures per second of each action, in turns, so that what else the machine does hits all alike."""
    rates: dict[str, list[float]] = {name: [] for name in actions}
    for action in actions.values():
        action()
    for _ in range(repeats):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            rates[name].append(pictures / (time.perf_counter() - start))
    return rates


def _show(title: str, rates: dict[str, list[float]]) -> None:
    """Best and median rate, and the median over the rounds of the ratio to the first."""
    first = next(iter(rates.values()))
    click.echo(f"\n{title}\n{'':44s} {'best':>8} {'median':>8}  ratio (range over rounds)")
    for name, values in rates.items():
        ratio = np.array(values) / first
        click.echo(
            f"{name:44s} {max(values):8.1f} {np.median(values):8.1f}  "
            f"{np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f})"
        )


def _batches(items: Sequence, size: int) -> list[Sequence]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _with_decoding(model: Model, jpegs: list[bytes], size: int) -> np.ndarray:
    """Decode the next batches while the network works on this one, as `HIFractionEstimator` does."""
    width = model.card.recipe.width

    def pixels(batch: list[bytes]) -> np.ndarray:
        return np.stack([images.decode(one, width=width) for one in batch])

    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(pixels, batch) for batch in _batches(jpegs, size)]
        return np.concatenate([model.run(one.result())["estimate"] for one in waiting])


def _measure_decoding(jpegs: list[bytes], side: int, repeats: int) -> None:
    def decode(threads: int) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda part: [images.decode(one) for one in part], _batches(jpegs, 32)))

    counts = sorted({1, 2, os.cpu_count() or 1})
    actions = {f"{n} threads": lambda n=n: decode(n) for n in counts}
    _show(f"decoding, {side} px, pictures/s", _compare(actions, len(jpegs), repeats))


def _measure_network(
    title: str, models: dict[str, Model], jpegs: list[bytes], size: int, repeats: int
) -> None:
    width = next(iter(models.values())).card.recipe.width
    batch = np.stack([images.decode(one, width=width) for one in jpegs[:size]])
    alone = {name: lambda model=model: model.run(batch) for name, model in models.items()}
    _show(f"{title}, network alone, pictures/s", _compare(alone, len(batch), repeats))
    both = {name: lambda model=model: _with_decoding(model, jpegs, size) for name, model in models.items()}
    _show(f"{title}, decoding included, pictures/s", _compare(both, len(jpegs), repeats))


def _models(name: str | Path, runtimes: Sequence[str]) -> dict[str, Model]:
    """A model under each runtime that this machine has."""
    found = {}
    for runtime in runtimes:
        try:
            found[runtime] = load_model(name, device="cpu", runtime=runtime)
        except HifracError as error:
            click.echo(f"left out: {error}")
    return found


def _briefly_trained(folder: Path, steps: int, side: int = 64) -> Path:
    """An xresnet34 that has seen the labelled galaxies a few times: answers in dex, not noise."""
    root = data_dir()
    if root is None:
        raise click.UsageError("HIFRAC_DATA_DIR: without labelled pictures there is nothing to train on")
    torch.manual_seed(0)
    network = build("xresnet34").train()
    labels = Table.read(root / "cutouts" / "hi_labels.ecsv")
    target = torch.tensor(np.asarray(labels["log_hi_fraction_true"]), dtype=torch.float32)
    with zipfile.ZipFile(root / "cutouts" / "sdss_cutouts.zip") as archive:
        pictures = [_resized(images.decode(archive.read(f"{one}.jpg")), side) for one in labels["objid"]]
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    optimizer = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in range(steps):
        rows = torch.randint(0, len(pixels), (16,))
        answer = network(torch.rot90(pixels[rows], step % 4, (2, 3)))[:, 0]
        loss = torch.nn.functional.mse_loss(answer, target[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            click.echo(f"step {step + 1} of {steps}: RMSE {loss.item() ** 0.5:.2f} dex")
    write_network(network, folder)
    return folder


def write_network(
    network: torch.nn.Module, folder: Path, side: int = 224, architecture: str = "xresnet34"
) -> None:
    """Write the folder of a model of one output, its card that of the default but for what matters here."""
    card = list_models()[0]
    replace(
        card,
        name=f"benchmark-{architecture}",
        summary="trained briefly, for benchmarks",
        architecture=architecture,
        options={},
        inputs=("pixels",),
        outputs=("estimate",),
        calibration=None,
        detection=None,
        recipe=replace(card.recipe, width=side, pixel_scale=card.recipe.pixel_scale * 128 / side),
        files=_artifact.save(network, folder),
    ).write(folder)


def _at_width(folder: Path, side: int) -> Path:
    """The model must read pictures of this side."""
    width = ModelCard.read(folder).recipe.width
    if width != side:
        raise click.UsageError(f"--xresnet: {folder} is of pictures of {width} px, and --side says {side}")
    return folder


def _differences(title: str, models: dict[str, Model], jpegs: list[bytes], size: int) -> None:
    """What each runtime changes, against the first."""
    width = next(iter(models.values())).card.recipe.width
    pixels = np.stack([images.decode(one, width=width) for one in jpegs])
    click.echo(f"\n{title}: estimates of {len(pixels)} cutouts, differences from the first in dex")
    reference = None
    for name, model in models.items():
        estimate = np.concatenate([model.run(part)["estimate"] for part in _batches(pixels, size)])
        if reference is None:
            reference = estimate
            click.echo(f"{name:44s} mean {estimate.mean():.3f}, standard deviation {estimate.std():.3f}")
            continue
        change = estimate - reference
        rms, largest = np.sqrt(np.mean(change**2)), np.abs(change).max()
        verdict = "admitted" if rms <= RMS and largest <= LARGEST else "not admitted"
        click.echo(f"{name:44s} rms {rms:.2g}, largest {largest:.2g}: {verdict}")


PARTS = ("decode", "default", "xresnet", "differences", "half")


@click.command()
@click.option("--part", "parts", type=click.Choice(PARTS), multiple=True, help="Only these; all by default.")
@click.option("--pictures", default=1000, show_default=True, help="Cutouts for decoding and differences.")
@click.option("--batch-size", default=None, type=int, help="128 for the default; xresnet: 16.")
@click.option("--side", default=224, show_default=True, help="Pixels a side for the xresnet34.")
@click.option("--xresnet", type=click.Path(path_type=Path), help="Folder of a trained xresnet34.")
@click.option(
    "--steps", default=300, show_default=True, help="Of brief training, if that folder is not there."
)
@click.option("--repeats", default=5, show_default=True)
def main(
    parts: tuple[str, ...],
    pictures: int,
    batch_size: int | None,
    side: int,
    xresnet: Path | None,
    steps: int,
    repeats: int,
) -> None:
    """Print the speed table."""
    parts = parts or PARTS
    threads, load = torch.get_num_threads(), os.getloadavg()[0]
    click.echo(f"PyTorch {torch.__version__}, {threads} threads, {os.cpu_count()} cores, load {load:.1f}")
    size = batch_size or 128
    small = _jpegs(pictures, 128)
    if "decode" in parts:
        _measure_decoding(small, 128, repeats)
        _measure_decoding(_jpegs(min(pictures, 256), side), side, repeats)
    if "default" in parts:
        default = _models("default", ["eager", "torchscript"])
        _measure_network("default model", default, small, size, repeats)
        _differences("default model", default, small, size)
    if not {"xresnet", "differences", "half"} & set(parts):
        return
    folder = xresnet or Path(tempfile.gettempdir()) / "hifrac-benchmark-xresnet34"
    if not (folder / "card.json").is_file():
        _briefly_trained(folder, steps)
    size = batch_size or 16
    models = _models(_at_width(folder, side), ["eager", "torchscript", "openvino"])
    if "xresnet" in parts:
        _measure_network(f"xresnet34, {side} px", models, _jpegs(2 * size, side), size, repeats)
    if "differences" in parts:
        _differences(f"xresnet34, {side} px", models, _jpegs(pictures, side), size)
    if "half" in parts:
        # Without a GPU the arithmetic of 16 bits can be judged, its speed cannot.
        plain = next(iter(models.values()))
        halves = {"eager": plain}
        for dtype in (torch.float16, torch.bfloat16):
            network = HalfPrecision(plain.network, dtype)
            halves[f"half, {dtype}"] = replace(plain, network=network)
        _differences(f"xresnet34, {side} px", halves, _jpegs(min(pictures, 100), side), 4)


if __name__ == "__main__":
    main()
