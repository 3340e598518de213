"""What neighbours, places off the centre and large galaxies do to an estimate, and what of it is flagged.

Into pictures of galaxies with measured HI, other galaxies and stars are pasted 3 to 16 arcsec from the
centre; the same pictures are displaced by up to 12 pixels. The thresholds are those that flag 5% of every
other one of these galaxies as they are; all else is said of the rest.
"""

from __future__ import annotations

import time
from typing import Any

import click
import numpy as np

SKY = 0.02
#: Shifts of an estimate, in dex, that ought to be flagged.
LARGE = (0.1, 0.2)
#: Pixels, and how often each galaxy is altered.
DISTANCES, FARTHEST, TIMES = (7.5, 40.0), 12.0, 4


def flux_of(picture: np.ndarray) -> np.ndarray:
    """Undo the asinh stretch of a picture: light that adds up."""
    light = picture / np.float32(255) - np.float32(SKY)
    mean = light.mean(-1, keepdims=True)
    return light * _ratio(np.sinh(3 * mean) / 3, mean)


def picture_of(flux: np.ndarray) -> np.ndarray:
    """Stretch light, and compress it as SkyServer does."""
    from hifrac.images import compress

    mean = flux.mean(-1, keepdims=True)
    display = flux * _ratio(np.arcsinh(3 * mean) / 3, mean) + SKY
    return compress(np.clip(np.rint(255 * display), 0, 255).astype(np.uint8))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.ones_like(below), where=np.abs(below) > 1e-3)


def galaxy_alone(picture: np.ndarray) -> np.ndarray:
    """Return the light of the galaxy in the middle of a picture, without sky and neighbours."""
    from scipy import ndimage

    flux = flux_of(picture)
    flux = np.minimum(flux, flux[::-1, ::-1])
    segments, _ = ndimage.label(ndimage.gaussian_filter(flux.mean(-1), 1.5) > 0.02)
    middle = len(flux) // 2
    number = segments[middle - 1 : middle + 1, middle - 1 : middle + 1].max()
    return np.where((segments == number)[..., None] & (number > 0), flux.clip(min=0), 0)


def star(side: int, rng: np.random.Generator) -> np.ndarray:
    """Return the light of a star of any colour in the middle of a picture, seeing 1.4 arcsec."""
    axis = np.arange(side) - (side - 1) / 2
    squared = axis**2 + axis[:, None] ** 2
    profile = np.exp(-squared / 4.5) + 0.03 * np.exp(-squared / 32)
    color = np.clip([1 + (tilt := rng.normal(0, 0.25)), 1, 1 - tilt], 0.2, 2)
    return profile[..., None] * color * 10 ** rng.uniform(-1, 0.5)


def with_neighbour(picture: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paste a star, or the galaxy of another picture, at a random place."""
    side, middle = len(picture), len(picture) // 2
    is_star = rng.random() < 0.3
    light = star(side, rng) if is_star else galaxy_alone(other) * 10 ** rng.uniform(-0.8, 0.2)
    radius, angle = rng.uniform(*DISTANCES), rng.uniform(0, 2 * np.pi)
    down, right = round(radius * np.sin(angle)), round(radius * np.cos(angle))
    padded = np.pad(light, ((middle, middle), (middle, middle), (0, 0)))
    return picture_of(
        flux_of(picture) + padded[middle - down :, middle - right :][:side, :side].astype(np.float32)
    )


def displaced(picture: np.ndarray, down: int, right: int) -> np.ndarray:
    """Move a picture; what comes in is the mirror image of its edge."""
    from hifrac.images import compress

    reach = int(FARTHEST) + 1
    padded = np.pad(picture, ((reach, reach), (reach, reach), (0, 0)), mode="symmetric")
    side = len(picture)
    moved = padded[reach - down : reach - down + side, reach - right : reach - right + side]
    return compress(np.ascontiguousarray(moved))


def read_pictures(recipe: Any, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pictures of galaxies with HI, their names, and a thousand other galaxies' pictures."""
    from hifrac.training.data import ARCHIVE, LABELS, data_folder, decode_all, read_data_table

    folder = data_folder(None)
    names = np.asarray(read_data_table(folder, LABELS, ["objid"])["objid"], dtype=str)
    others = read_data_table(folder, "photometry_labels.ecsv", ["objid", "modelmag_i"])
    others = np.asarray(others["objid"][np.asarray(others["modelmag_i"]) < 17.7], dtype=str)
    others = rng.choice(others[~np.isin(others, names)], 1000, replace=False)
    pictures, neighbours = (decode_all(part, folder / ARCHIVE, recipe) for part in (names, others))
    return pictures, names, neighbours


@click.command()
@click.option("--seed", default=0, show_default=True)
def main(seed: int) -> None:
    """Print what the flags find, and what centring brings."""
    import torch

    from hifrac import load_model
    from hifrac.models import quality

    rng, model = np.random.default_rng(seed), load_model("default", device="cpu")
    pictures, names, neighbours = read_pictures(model.card.recipe, rng)
    galaxy = np.repeat(np.arange(len(pictures)), TIMES)
    is_judged = np.arange(len(pictures)) % 2 == 1
    plain = model.run(pictures)["estimate"]

    measured = quality.measure_quality(torch.from_numpy(pictures))
    click.echo("thresholds that flag 5% of every other galaxy, and those in use")
    for name, limit in (("crowding", quality.MOST_CROWDING), ("edge_share", quality.MOST_EDGE_SHARE)):
        chosen = np.percentile(getattr(measured, name)[~is_judged], 95)
        click.echo(f"  {name:10s} {chosen:.2f} {limit:.2f}")
    distance = torch.linalg.vector_norm(measured.offset, dim=1)
    click.echo(f"  offset     {np.percentile(distance[~is_judged], 95):.2f} {quality.MOST_OFFSET:.2f}")
    for name, cutouts in (("with HI, judged", pictures[is_judged]), ("others", neighbours)):
        click.echo(f"flagged of galaxies {name}: {_shares(quality.inspect_pictures(cutouts).flags)}")

    crowded = np.stack([with_neighbour(pictures[k], neighbours[rng.integers(1000)], rng) for k in galaxy])
    _report("with a neighbour", model, crowded, plain[galaxy], is_judged[galaxy])
    moves = np.stack([_move(rng) for _ in galaxy])
    moved = np.stack([displaced(pictures[k], *move) for k, move in zip(galaxy, moves, strict=True)])
    by = np.hypot(*moves.T)
    for low, high in ((0, 2.5), (2.5, 5.5), (5.5, 8.5), (8.5, 12.5)):
        rows = is_judged[galaxy] & (by >= low) & (by < high)
        _report(f"moved by {low} to {high} pixels", model, moved, plain[galaxy], rows)
    _report_large(model, names, quality.inspect_pictures(pictures).flags)
    _report_time(model, neighbours[:640])


def _move(rng: np.random.Generator) -> tuple[int, int]:
    radius, angle = rng.uniform(0, FARTHEST), rng.uniform(0, 2 * np.pi)
    return round(radius * np.sin(angle)), round(radius * np.cos(angle))


def _shares(flags: np.ndarray) -> str:
    from hifrac import Flag

    parts = [
        (flag.name, np.mean((flags & int(flag)) != 0))
        for flag in (Flag.CROWDED, Flag.FILLS_FRAME, Flag.OFF_CENTRE)
    ]
    return ", ".join(f"{name} {share:.1%}" for name, share in [*parts, ("any", np.mean(flags != 0))])


def _report(title: str, model: Any, pictures: np.ndarray, plain: np.ndarray, rows: np.ndarray) -> None:
    """Print shifts of the estimate before and after centring, and who of them is flagged."""
    from hifrac.models.quality import inspect_pictures

    pictures, plain = pictures[rows], plain[rows]
    centered, flags, moves = inspect_pictures(pictures)
    before, after = (model.run(part)["estimate"] - plain for part in (pictures, centered))
    is_centered = moves.any(1)
    click.echo(f"{title}: {len(plain)} pictures, {_shares(flags)}; centred {is_centered.mean():.1%}")
    unflagged = _rms(after[flags == 0])
    click.echo(f"  rms shift {_rms(before):.3f}, centred {_rms(after):.3f}, unflagged {unflagged:.3f} dex")
    for limit in LARGE:
        is_large = np.abs(after) > limit
        share = np.count_nonzero(flags[is_large]) / max(is_large.sum(), 1)
        click.echo(f"  shifted by more than {limit}: {is_large.mean():.1%}, of which flagged {share:.1%}")


def _report_large(model: Any, names: np.ndarray, flags: np.ndarray) -> None:
    """Print the errors, in cross-validation, of galaxies that fill the frame and of the rest."""
    from hifrac import Flag
    from hifrac.models.registry import held_out_answers
    from hifrac.training.data import LABELS, data_folder, numbers_of, read_data_table

    truth = numbers_of(
        read_data_table(data_folder(None), LABELS, ["log_hi_fraction_true"]), "log_hi_fraction_true"
    )
    answers = held_out_answers(model.folder)
    answer = dict(zip(answers["objid"], answers["log_hi_fraction"], strict=True))
    error = np.array([answer[name] for name in names]) - truth
    fills = (flags & int(Flag.FILLS_FRAME)) != 0
    rmse = _rms(error[fills]), _rms(error[~fills])
    click.echo(f"FILLS_FRAME: {fills.sum()} galaxies, RMSE {rmse[0]:.3f} dex; the others {rmse[1]:.3f}")


def _report_time(model: Any, pictures: np.ndarray) -> None:
    """Print what the inspection costs beside the network, on this machine."""
    from functools import partial

    from hifrac.models.quality import inspect_pictures

    seconds, pictures = {}, pictures.copy()
    for name, work in (("network", model.run), ("inspection", partial(inspect_pictures, in_place=True))):
        turns = []
        for _ in range(9):
            start = time.perf_counter()
            for first in range(0, len(pictures), 64):
                work(pictures[first : first + 64])
            turns.append(time.perf_counter() - start)
        seconds[name] = min(turns) / len(pictures)
    share = seconds["inspection"] / seconds["network"]
    click.echo(
        f"inspection {1e6 * seconds['inspection']:.0f} us a picture, {share:.1%} of the network's time"
    )


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else float("nan")


if __name__ == "__main__":
    main()
