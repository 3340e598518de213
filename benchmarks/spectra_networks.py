"""Train the five networks of Wu & Peek (2020) with one recipe on real pictures, to see which is best here.

``python benchmarks/spectra_networks.py -o FOLDER`` trains each on the pictures of the data directory whose
photometric template spectra are known, and writes ``spectra_networks.ecsv``: the error of each principal
component of those spectra, in units of its spread, for galaxies that were held out. Bands are three instead
of five, the pictures SDSS colour JPEGs instead of Pan-STARRS images, and the components those of template
spectra (of which there are five) instead of the six of the paper's autoencoder; the recipe is the paper's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch
from astropy.table import Table
from torch import Tensor, nn

from hifrac.core.config import data_dir
from hifrac.cutouts import SDSS_RECIPE
from hifrac.models.architectures import build
from hifrac.training.cnn.augment import Augmentation
from hifrac.training.cnn.losses import rmse
from hifrac.training.cnn.optim import one_cycle, radam_lookahead
from hifrac.training.spectra.sample import read_sample as read_galaxies
from hifrac.training.splits import TRAIN, draw_roles, sky_groups

#: Largest learning rates (Wu & Peek 2020), and the RMSE of their table: (10 epochs, five bands, six latents).
NETWORKS = {
    "xresnet18_hybrid": (3e-2, 0.7111),
    "xresnet18_cnn": (3e-2, 0.7265),
    "xresnet18_deconv": (3e-3, 0.7354),
    "baseline_deconv": (3e-2, 0.8236),
    "baseline_cnn": (3e-2, 0.8849),
}
N_LATENTS = 5


@dataclass(frozen=True, eq=False)
class Sample:
    """Pictures (n, 3, side, side) and latents (n, 5) of unit spread, and who is trained on."""

    pixels: Tensor
    latents: Tensor
    is_train: np.ndarray
    spread: np.ndarray  # of each component, in units of the normalised flux


def read_sample(folder: Path, side: int, seed: int) -> Sample:
    """Read pictures, and the principal components of their template spectra, each of unit norm."""
    galaxies, space = read_galaxies(folder)
    has_spectrum = np.isfinite(galaxies.table["latents"]).all(axis=1)
    table, pixels = galaxies.table[has_spectrum], galaxies.pixels[has_spectrum]
    names = np.asarray(table["objid"])
    spectra = space.decode(np.asarray(table["latents"]))
    group = sky_groups(names, table["ra"], table["dec"])
    is_train = np.asarray(draw_roles(names, group, seed=seed)["role"] == TRAIN)
    mean = spectra[is_train].mean(0)  # of the training galaxies alone, as all that follows
    basis = np.linalg.svd(spectra[is_train] - mean, full_matrices=False)[2][:N_LATENTS]
    latents = (spectra - mean) @ basis.T
    spread = latents[is_train].std(0)
    edge = (SDSS_RECIPE.width - side) // 2
    pixels = pixels[:, edge : edge + side, edge : edge + side]
    return Sample(
        torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(((latents - latents[is_train].mean(0)) / spread).astype(np.float32)),
        is_train,
        spread,
    )


def batches(rows: np.ndarray, size: int, seed: int) -> Iterator[Tensor]:
    """Yield complete batches of rows in a random order."""
    order = np.random.default_rng(seed).permutation(rows)
    for start in range(0, len(order) - size + 1, size):
        yield torch.from_numpy(order[start : start + size])


def statistics(pixels: Tensor) -> dict[str, list[float]]:
    """Return mean and standard deviation of each band: of all training pictures, not of one batch."""
    values = pixels.float().div(255).transpose(0, 1).flatten(1)
    return {"mean": values.mean(1).tolist(), "std": values.std(1).tolist()}


def fit(name: str, sample: Sample, *, epochs: int, size: int, device: str, seed: int) -> nn.Module:
    """Train one network with the recipe of the paper."""
    torch.manual_seed(seed)
    rows = np.flatnonzero(sample.is_train)
    options = statistics(sample.pixels[rows])
    network = build(name, {"n_outputs": N_LATENTS, **options}).to(device)
    network = network.to(memory_format=torch.channels_last)
    peak = NETWORKS[name][0]
    optimizer = radam_lookahead(network, peak)
    schedule = one_cycle(optimizer.optimizer, peak, epochs * (len(rows) // size))
    turn = Augmentation(torch.Generator().manual_seed(seed), max_degrees=10.0)
    pixels, latents = sample.pixels.to(device), sample.latents.to(device)
    network.train()
    for epoch in range(epochs):
        for batch in batches(rows, size, seed + epoch):
            chosen = batch.to(device)
            optimizer.zero_grad()
            rmse(network(turn(pixels[chosen])).flatten(), latents[chosen].flatten()).backward()
            optimizer.step()
            schedule.step()
    return network.eval()


@torch.inference_mode()
def errors(network: nn.Module, sample: Sample, device: str) -> np.ndarray:
    """Return answer minus truth (n, 5) of the galaxies that were held out."""
    rows = torch.from_numpy(np.flatnonzero(~sample.is_train))
    parts = [network(sample.pixels[part].to(device)).cpu() for part in rows.split(256)]
    return (torch.cat(parts) - sample.latents[rows]).double().numpy()


def row_of(name: str, seed: int, error: np.ndarray, sample: Sample, seconds: float) -> dict[str, object]:
    """Return a row of the table."""
    flux = np.sqrt(((error * sample.spread) ** 2).sum(1))  # of spectra of unit norm: the relative rms
    return {
        "network": name,
        "seed": seed,
        "rmse": float(np.sqrt(np.mean(error**2))),
        "mse": float(np.mean(error**2)),
        **{
            f"rmse_{number + 1}": float(np.sqrt(np.mean(error[:, number] ** 2)))
            for number in range(N_LATENTS)
        },
        "spectrum_rms": float(np.median(flux)),
        "published_rmse": NETWORKS[name][1],
        "seconds": seconds,
    }


@click.command()
@click.option("-o", "output", type=click.Path(path_type=Path), required=True)
@click.option("--networks", default=",".join(NETWORKS), help="Which, with commas.")
@click.option("--epochs", default=10)
@click.option("--batch-size", default=128)
@click.option("--side", default=128, help="Of the pictures, in pixels: the middle of them.")
@click.option("--seeds", default="12345", help="One run for each, with commas.")
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu")
@click.option("--few", type=int, help="Take so many galaxies, for a trial.")
def main(
    output: Path,
    networks: str,
    epochs: int,
    batch_size: int,
    side: int,
    seeds: str,
    device: str,
    few: int | None,
) -> None:
    """Train the networks and write the table of their errors."""
    folder = data_dir()
    if folder is None:
        raise click.ClickException("set HIFRAC_DATA_DIR to the data directory")
    output.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    for seed in map(int, seeds.split(",")):
        sample = read_sample(folder, side, 12345)
        if few is not None:
            sample = replace(
                sample,
                pixels=sample.pixels[:few],
                latents=sample.latents[:few],
                is_train=sample.is_train[:few],
            )
        for name in networks.split(","):
            start = time.perf_counter()
            network = fit(name, sample, epochs=epochs, size=batch_size, device=device, seed=seed)
            error = errors(network, sample, device)
            rows.append(row_of(name, seed, error, sample, time.perf_counter() - start))
            table = Table(rows)
            table.meta = {
                "command": f"python benchmarks/spectra_networks.py --epochs {epochs} "
                f"--batch-size {batch_size} --side {side} --seeds {seeds}",
                "device": torch.cuda.get_device_name() if device.startswith("cuda") else "CPU",
                "n_train": int(sample.is_train.sum()),
                "n_held_out": int((~sample.is_train).sum()),
            }
            table.write(output / "spectra_networks.ecsv", overwrite=True)
            click.echo(
                " ".join(
                    f"{key}={value:.4g}" if isinstance(value, float) else f"{value}"
                    for key, value in rows[-1].items()
                )
            )


if __name__ == "__main__":
    main()
