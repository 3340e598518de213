"""Train the five networks of Wu & Peek (2020) with one recipe, to see which is best here.

``python benchmarks/spectra_networks.py -o FOLDER`` trains each with the configuration ``spectra-paper`` on
pictures of the data directory whose photometric template spectra are known, and on simulated pictures of the
same galaxies in the five bands of the paper. It writes ``spectra_networks.ecsv``: the errors of the principal
components of those spectra (of which there are five), in units of their scatter, of galaxies that were held
out, beside those of the paper for the six latents of its autoencoder. Networks that are in FOLDER already are
not trained again, so that a run may be interrupted, or be done in parts.

Without options it is the whole experiment, for a GPU: SDSS colour pictures of 128 pixels at 0.4 arcsec, and
224 pixels at 0.25 arcsec simulated. ``--side`` and ``--scale`` make the pictures smaller.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch
from astropy.table import MaskedColumn, Table

from hifrac.core.config import data_dir
from hifrac.cutouts import SDSS_RECIPE, WU_PEEK_RECIPE, CutoutRecipe
from hifrac.cutouts.fluxes import WU_PEEK_FILES
from hifrac.metrics import bootstrap_errors
from hifrac.simulate import SimulatedGalaxy, galaxy_from_photometry, model_flux
from hifrac.simulate.photometry import SIZE_SCATTER, half_light_radius
from hifrac.spectra import LinearLatents
from hifrac.training import TrainingConfig, read_config, train_network
from hifrac.training.data import ARCHIVE
from hifrac.training.evaluation import several_figures
from hifrac.training.spectra.sample import TEMPLATES
from hifrac.training.spectra.sample import read_sample as read_galaxies

#: Largest learning rates of Wu & Peek (2020), and what their notebooks print after ten epochs: the RMSE, a
#: mean over batches, and that of each of six latents.
NETWORKS = {
    "xresnet18_hybrid": (3e-2, 0.711142, (0.399777, 0.684935, 0.750159, 0.744239, 0.754347, 0.838128)),
    "xresnet18_cnn": (3e-2, 0.726489, (0.407154, 0.693771, 0.781047, 0.753177, 0.771025, 0.853817)),
    "xresnet18_deconv": (3e-3, 0.735425, (0.405937, 0.720039, 0.769223, 0.752438, 0.773373, 0.873313)),
    "baseline_deconv": (3e-2, 0.823575, (0.588313, 0.799772, 0.890257, 0.836637, 0.837375, 0.920921)),
    "baseline_cnn": (3e-2, 0.884892, (0.789310, 0.835406, 0.908048, 0.929801, 0.863195, 0.951153)),
}
REAL, SIMULATED, PUBLISHED = "real, gri", "simulated, grizy", "published, grizy"
N_LATENTS = 5
LATENTS = tuple(f"latent_{number}" for number in range(1, N_LATENTS + 1))
TABLE, LABELS = "spectra_networks.ecsv", "labels.ecsv"

# Of the Pan-STARRS1 stacks (Chambers et al. 2016, arXiv:1612.05560): depth (5 sigma, of a star) in mag,
# seeing in arcsec, and where the z and y filters are, in Angstrom.
_DEPTH = {"g": 23.3, "r": 23.2, "i": 23.1, "z": 22.3, "y": 21.3}
_SEEING = 1.2
_Z_BAND, _Y_BAND = (8180.0, 9220.0), (9180.0, 10_000.0)
_SPEED_OF_LIGHT, _HUBBLE = 299_792.458, 70.0


def recipe_of(pictures: str, side: int | None, scale: float | None) -> CutoutRecipe:
    """Return what pictures of the whole experiment are, or smaller ones."""
    full = SDSS_RECIPE if pictures == REAL else WU_PEEK_RECIPE
    return replace(full, width=side or full.width, pixel_scale=scale or full.pixel_scale)


def write_labels(folder: Path, data: Path, number: int | None) -> tuple[Table, LinearLatents]:
    """Write the latents of the galaxies that have a template spectrum; return all that is known of them."""
    galaxies, space = read_galaxies(data, width=SDSS_RECIPE.width)
    has_spectrum = np.isfinite(galaxies.table["latents"]).all(axis=1)
    table = galaxies.table[has_spectrum & np.isfinite(galaxies.table["photometry"]).all(axis=1)]
    if number is not None and number < len(table):
        table = table[np.sort(np.random.default_rng(0).permutation(len(table))[:number])]
    labels = table["objid", "ra", "dec"]
    for index, name in enumerate(LATENTS):
        labels[name] = np.asarray(table["latents"])[:, index]
    labels.write(folder / LABELS, overwrite=True)
    return table, space


def y_magnitudes(table: Table, spectra: np.ndarray, data: Path) -> np.ndarray:
    """Return magnitudes in y, which SDSS does not have: by z, and by the template beyond 8310 Angstrom."""
    with np.load(data / TEMPLATES) as bases:
        templates, full, wave = (bases[key] for key in ("kcorrect5", "kcorrect5_full", "kcorrect_wave_full"))
    flux = np.linalg.lstsq(templates.T, spectra.T, rcond=None)[0].T @ full
    redshift = 10 ** np.asarray(table["photometry"])[:, 6] / _SPEED_OF_LIGHT
    light = []
    for low, high in (_Z_BAND, _Y_BAND):
        observed = wave * (1 + redshift[:, None])
        inside = (observed > low) & (observed < high)
        # Photons per frequency, but for a factor.
        light.append(np.sum(inside * flux * wave, axis=1) / np.sum(inside / wave, axis=1))
    _, i, _, _, _, i_minus_z = np.asarray(table["photometry"]).T[:6]
    return i - i_minus_z - 2.5 * np.log10(light[1] / light[0])


def simulated_fluxes(row: Table.Row, y_mag: float, recipe: CutoutRecipe) -> np.ndarray:
    """Draw a galaxy with the magnitudes of a real one: nanomaggies (5, side, side), y, z, i, r, g.

    Its size is the mean of its luminosity, and scatters; all but the magnitudes is drawn.
    """
    g_minus_i, i, _, g_minus_r, r_minus_i, i_minus_z, log_cz, _ = np.asarray(row["photometry"])
    rng = np.random.default_rng(int(row["objid"]) % 2**32)
    distance = 10**log_cz / _HUBBLE
    r50 = half_light_radius(i - 5 * np.log10(distance) - 25, distance)
    r50 *= 10 ** (SIZE_SCATTER * rng.standard_normal())
    galaxy = galaxy_from_photometry(
        i_mag=float(i),
        g_minus_i=float(np.clip(g_minus_i, 0.0, 2.0)),
        r50=float(np.clip(r50, 0.3, 15.0)),
        axial_ratio=rng.uniform(0.2, 1.0),
        rng=rng,
    )
    colours = {"g_minus_r": float(g_minus_r), "r_minus_i": float(r_minus_i)}
    red = {"i_mag": float(y_mag), "r_minus_i": float(i - i_minus_z - y_mag), "g_minus_r": float(i_minus_z)}
    shape = replace(SDSS_RECIPE, width=recipe.width, pixel_scale=recipe.pixel_scale)
    seed = int(rng.integers(2**32))  # the clumps are where they are in all bands
    bluer, redder = (_light(replace(galaxy, **part), shape, seed) for part in (colours, red))
    planes = np.concatenate([redder[:2], bluer])
    noise = [10 ** (0.4 * (22.5 - _DEPTH[band])) / 5 for band in WU_PEEK_FILES]
    # A star spreads over 4 pi sigma^2 of the sky.
    pixels_of_a_star = 4 * np.pi * (_SEEING / 2.355) ** 2 / recipe.fixed_scale**2
    sigma = np.array(noise) / np.sqrt(pixels_of_a_star)
    return (planes + sigma[:, None, None] * rng.standard_normal(planes.shape)).astype(np.float32)


def _light(galaxy: SimulatedGalaxy, recipe: CutoutRecipe, seed: int) -> np.ndarray:
    """Return the fluxes of three bands, the reddest first, the last row the top as in files."""
    return np.moveaxis(model_flux(galaxy, rng=seed, recipe=recipe), -1, 0)[:, ::-1]


def write_simulated(
    folder: Path, table: Table, spectra: np.ndarray, data: Path, recipe: CutoutRecipe
) -> None:
    """Write the simulated pictures as files such as the paper's; those that are there stay."""
    folder.mkdir(exist_ok=True)
    for row, y_mag in zip(table, y_magnitudes(table, spectra, data), strict=True):
        path = folder / f"{row['objid']}.npy"
        if not path.is_file():
            np.save(path, simulated_fluxes(row, y_mag, recipe))


def config_of(
    pictures: str, network: str, recipe: CutoutRecipe, folder: Path, data: Path, **run: object
) -> TrainingConfig:
    """Return the configuration of the paper for these pictures and latents."""
    files = {"table": str(folder / LABELS), "name": "objid", "target": list(LATENTS), "bands": "yzirg"}
    if pictures == REAL:
        scale = None if recipe.pixel_scale == SDSS_RECIPE.pixel_scale else SDSS_RECIPE.pixel_scale
        files |= {"cutouts": str(data / "cutouts" / ARCHIVE), "bands": None, "pixel_scale": scale}
    else:
        files["cutouts"] = str(folder / "simulated")
    facts = read_config("spectra-paper").to_dict()
    data_facts = {key: value for key, value in {**facts["data"], **files}.items() if value is not None}
    optimizer = {"lr": NETWORKS[network][0], **{key: run[key] for key in ("epochs", "batch_size")}}
    return TrainingConfig.from_dict(
        {
            **facts,
            "name": f"{network}-{pictures.split(',')[0]}",
            "pictures": recipe.to_dict(),
            "data": data_facts,
            # Galaxies of one field stay on one side.
            "split": {"rule": "groups", "held_out": 0.2},
            "network": facts["network"] | {"architecture": network},
            "optimizer": facts["optimizer"] | optimizer,
            "run": {"seed": run["seed"], "accelerator": run["accelerator"]},
        }
    )


def residuals_of(model: Path, labels: Table) -> np.ndarray:
    """Return answer minus truth of the held-out galaxies, in units of the scatter of the others."""
    answers = Table.read(model / "held_out.ecsv")
    truth = np.stack([np.asarray(labels[name]) for name in LATENTS], axis=1)
    is_train = ~np.isin(np.asarray(labels["objid"], str), np.asarray(answers["objid"], str))
    numbers = ["", *(f"_{number}" for number in range(2, N_LATENTS + 1))]
    parts = [np.asarray(answers[f"estimate{end}"]) - np.asarray(answers[f"target{end}"]) for end in numbers]
    return np.stack(parts, axis=1) / truth[is_train].std(0)


def rows_of(pictures: str, models: dict[str, Path], labels: Table) -> Iterator[dict[str, object]]:
    """Yield the row of each network that was trained, and how far it is from the hybrid one."""
    residuals = {name: residuals_of(model, labels) for name, model in models.items()}
    scatter = np.stack([np.asarray(labels[name]) for name in LATENTS], axis=1).std(0)
    hybrid = residuals.get("xresnet18_hybrid")
    for name, residual in residuals.items():
        row = {"pictures": pictures, "network": name, "n_train": len(labels) - len(residual)}
        row |= {"n_held_out": len(residual), **several_figures(residual, LATENTS)}
        if hybrid is not None and name != "xresnet18_hybrid":
            row["minus_hybrid"] = _rmse(residual) - _rmse(hybrid)
            row["minus_hybrid_error"] = bootstrap_errors(_difference, residual, hybrid)
        row["spectrum_rms"] = float(np.median(np.sqrt(((residual * scatter) ** 2).sum(1))))  # of norm 1
        yield row


def _rmse(residual: np.ndarray) -> float:
    return float(np.sqrt(np.mean(residual**2)))


def _difference(residual: np.ndarray, hybrid: np.ndarray) -> float:
    return _rmse(residual) - _rmse(hybrid)


def published_rows() -> Iterator[dict[str, object]]:
    """Yield the rows of Wu & Peek (2020), whose six latents are others."""
    n_train, n_held_out = 48_184, 12_045
    for name, (_, rmse, errors) in NETWORKS.items():
        row = {"pictures": PUBLISHED, "network": name, "n_train": n_train, "n_held_out": n_held_out}
        row |= {f"rmse_latent_{number}": error for number, error in enumerate(errors, 1)}
        yield {**row, "rmse": rmse, "mse": rmse**2}


def table_of(rows: Sequence[dict[str, object]], meta: dict[str, object]) -> Table:
    """Return the rows as a table, masked where there is no number."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(meta=meta)
    for name in names:
        values = [row.get(name, np.nan) for row in rows]
        if isinstance(values[0], float):
            table[name] = MaskedColumn(np.round(values, 4), mask=~np.isfinite(values))
        else:
            table[name] = values
    return table


@click.command()
@click.option("-o", "output", type=click.Path(path_type=Path), required=True)
@click.option("--networks", default=",".join(NETWORKS), help="Which, with commas.")
@click.option("--pictures", default=f"{REAL};{SIMULATED}", help="Of which, with a semicolon.")
@click.option("--galaxies", type=int, help="How many to take; by default all.")
@click.option("--side", type=int, help="Of the pictures, in pixels.  [default: 128 real, 224 simulated]")
@click.option("--scale", type=float, help="Arcsec per pixel.  [default: 0.4 real, 0.25 simulated]")
@click.option("--epochs", default=10)
@click.option("--batch-size", default=128)
@click.option("--seed", default=12345)
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu")
def main(
    output: Path,
    networks: str,
    pictures: str,
    galaxies: int | None,
    side: int | None,
    scale: float | None,
    device: str,
    **run: int,
) -> None:
    """Train the networks and write the table of their errors."""
    if (data := data_dir()) is None:
        raise click.ClickException("set HIFRAC_DATA_DIR to the data directory")
    output.mkdir(parents=True, exist_ok=True)
    known, space = write_labels(output, data, galaxies)
    spectra = space.decode(np.asarray(known["latents"]))
    for tier in pictures.split(";"):
        recipe = recipe_of(tier, side, scale)
        if tier == SIMULATED:
            write_simulated(output / "simulated", known, spectra, data, recipe)
        for name in networks.split(","):
            model = output / f"{tier.split(',')[0]}-{name}"
            if (model / "card.json").is_file():
                continue
            config = config_of(tier, name, recipe, output, data, accelerator=device, **run)
            figures = train_network(config, model, resume=(model / "config.json").is_file())
            click.echo(f"{tier} {name}: RMSE {(figures or {}).get('rmse', np.nan):.4f}")
    write_table(output, device, galaxies, side, scale, run)


def write_table(
    output: Path,
    device: str,
    galaxies: int | None,
    side: int | None,
    scale: float | None,
    run: dict[str, int],
) -> None:
    """Write what all networks in a folder reach."""
    labels = Table.read(output / LABELS)
    rows: list[dict[str, object]] = []
    for tier in (REAL, SIMULATED):
        folders = {name: output / f"{tier.split(',')[0]}-{name}" for name in NETWORKS}
        there = {name: folder for name, folder in folders.items() if (folder / "card.json").is_file()}
        rows += rows_of(tier, there, labels)
    options = {"galaxies": galaxies, "side": side, "scale": scale, **run}
    words = [f"--{key.replace('_', '-')} {value}" for key, value in options.items() if value is not None]
    name = torch.cuda.get_device_name() if device.startswith("cuda") else "CPU"
    recipes = {tier: str(recipe_of(tier, side, scale)) for tier in (REAL, SIMULATED)}
    command = f"python benchmarks/spectra_networks.py -o FOLDER {' '.join(words)}"
    meta = {"command": command, "device": name, **recipes}
    table = table_of([*rows, *published_rows()], meta)
    table.write(output / TABLE, overwrite=True)
    click.echo("\n".join(table.pformat(max_lines=-1, max_width=-1)))


if __name__ == "__main__":
    main()
