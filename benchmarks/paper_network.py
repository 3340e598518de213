"""The paper's network trained from scratch on the folds of the default model, and its figures.

Each fold of the labelled galaxies is judged by a network that was trained on
the others; the folds are those of the default model's cross-validation.
"""

from __future__ import annotations

import time
from pathlib import Path

import click


@click.command()
@click.option("-o", "--output", default=Path("paper_network.ecsv"), type=click.Path(path_type=Path))
@click.option("--epochs", default=40, show_default=True, help="The paper's are 40.")
@click.option("--width", default=None, type=int, help="Side of the pictures.  [default: the cutouts' 128]")
@click.option("--precision", default="32-true", show_default=True, help="As Lightning names it.")
@click.option("--accelerator", default="auto", show_default=True)
@click.option("--folds", default="01234", show_default=True, help="Numbers of the folds to run.")
@click.option("--orientations", default=8, show_default=True, help="1, or 8 for the mean of all.")
@click.option("--seed", default=12345, show_default=True)
def main(output, epochs, width, precision, accelerator, folds, orientations, seed) -> None:
    """Train and judge the paper's network, fold by fold."""
    import numpy as np
    import torch
    from torch.nn import functional

    from hifrac.training.cnn.batches import PictureData
    from hifrac.training.cnn.module import PictureNetwork, answer, build
    from hifrac.training.cnn.trainer import fit_network
    from hifrac.training.config import read_config
    from hifrac.training.data import LabelledPictures
    from hifrac.training.splits import assign_folds
    from hifrac.training.structure.sample import read_sample

    config = read_config("paper").changed(
        optimizer={"epochs": epochs},
        run={"precision": precision, "accelerator": accelerator, "seed": seed},
    )
    sample = read_sample()
    galaxies = sample.table
    seen = np.asarray(galaxies["detected"])
    fold = assign_folds(seen, np.asarray(galaxies["group"]), 5, 12345)
    pixels = torch.from_numpy(sample.pixels[seen]).permute(0, 3, 1, 2).contiguous()
    if width is not None:
        resized = functional.interpolate(pixels.float(), (width, width), mode="bilinear", antialias=True)
        pixels = resized.round().clamp(0, 255).to(torch.uint8)
    nowhere = np.full(seen.sum(), np.nan)
    pictures = LabelledPictures(
        name=np.asarray(galaxies["objid"])[seen],
        pixels=pixels,
        target=np.asarray(galaxies["log_hi_fraction"])[seen],
        is_limit=np.zeros(seen.sum(), dtype=bool),
        ra=nowhere,
        dec=nowhere,
    )
    fold = fold[seen]
    estimate = np.full(len(fold), np.nan)
    start = time.perf_counter()
    for number in sorted(map(int, folds)):
        train, held_out = pictures[fold != number], pictures[fold == number]
        torch.manual_seed(seed + number)
        module = PictureNetwork(build(config.network), config.network, config.optimizer)
        data = PictureData(train, None, batch_size=config.optimizer.batch_size, seed=seed + number)
        fit_network(module, data, config)
        raw = answer(module.network, held_out.pixels, orientations=orientations)
        estimate[fold == number] = raw[:, 0]
        rmse = float(np.sqrt(np.mean((raw[:, 0] - held_out.target) ** 2)))
        click.echo(
            f"fold {number}: {len(held_out)} galaxies, RMSE {rmse:.3f} dex, "
            f"{time.perf_counter() - start:.0f} s"
        )
        write(output, pictures, fold, estimate, config, pixels.shape[-1], orientations)


def write(output: Path, pictures, fold, estimate, config, width: int, orientations: int) -> None:
    """Estimates, and figures of the folds that are done, as the meta of their table."""
    import numpy as np
    from astropy.table import Table

    from hifrac.metrics import regression_metrics
    from hifrac.training.evaluation import coverage_across

    done = np.isfinite(estimate)
    truth, guess, of_fold = pictures.target[done], estimate[done], fold[done]
    figures = regression_metrics(truth, guess)
    draws = np.random.default_rng(0).integers(0, len(truth), (1000, len(truth)))
    figures["rmse_error"] = float(np.std(np.sqrt(((guess - truth) ** 2)[draws].mean(1))))
    if len(np.unique(of_fold)) > 1:
        figures |= coverage_across(truth - guess, of_fold)
    table = Table(
        {
            "objid": pictures.name,
            "fold": fold,
            "log_hi_fraction_true": pictures.target,
            "log_hi_fraction": estimate,
        }
    )
    table.meta = {
        "figures": {key: round(float(value), 4) for key, value in figures.items()},
        "folds_done": np.unique(of_fold).tolist(),
        "width": width,
        "orientations": orientations,
        "config": config.to_dict(),
        "paper": "40 epochs, 7399 galaxies at 224 px; here as the config says, from scratch",
    }
    partial = output.with_name(f".{output.name}")
    table.write(partial, format="ascii.ecsv", overwrite=True)
    partial.replace(output)


if __name__ == "__main__":
    main()
