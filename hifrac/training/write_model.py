"""The folder of a model, written whole and verified, or not at all; and its card."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from torch import nn

from hifrac.core.exceptions import ModelError
from hifrac.core.reddening import EBV_SOURCE
from hifrac.cutouts import SDSS_RECIPE
from hifrac.models import Model, ModelCard, _artifact, load_model
from hifrac.training.splits import split_hash, write_split

CARD, SPLITS = "card.json", "splits.ecsv"


def measuring_card(objid: np.ndarray, fold: np.ndarray, seed: int, **facts: Any) -> ModelCard:
    """Make the card of a network that measures pictures of `SDSS_RECIPE`.

    ``fold`` is that in which each galaxy was held out; ``facts`` are those of this model alone.
    """
    return ModelCard(
        created="",
        files={},
        options={"width": SDSS_RECIPE.width},
        recipe=SDSS_RECIPE,
        normalisation="none outside the network: it takes decoded values 0 to 255, and the Galactic "
        f"reddening E(B-V) of {EBV_SOURCE}",
        folds={
            "n_folds": int(fold.max()) + 1,
            "seed": seed,
            "sha256": split_hash(Table({"objid": objid, "fold": fold})),
        },
        inputs=("pixels", "ebv"),
        **facts,
    )


def write_measuring(
    folder: str | Path,
    network: nn.Module,
    card: ModelCard,
    pixels: np.ndarray,
    tables: Mapping[str, Table],
    out_of_fold: Table,
    *,
    obsolete: Sequence[str] = (),
) -> None:
    """Write a network that measures pictures; its tables say by which protocol galaxies were held out."""
    for table in tables.values():
        table.meta = {"protocol": card.protocol}
    tables = {**tables, "out_of_fold": out_of_fold}
    write_model(Path(folder), network, card, pixels[:64], tables=tables, obsolete=obsolete)


def write_model(
    folder: Path,
    network: nn.Module,
    card: ModelCard,
    pixels: np.ndarray,
    *,
    tables: Mapping[str, Table],
    split: Table | None = None,
    tolerance: float = 1e-5,
    obsolete: Sequence[str] = (),
) -> ModelCard:
    """Write a trained network with its card and its tables, and return the card.

    Only a whole and verified model takes the place of another one: the written files must answer ``pixels``,
    uint8 (n, width, width, 3), as the network on the CPU does, within ``tolerance`` (relative above 1).
    ``files`` and ``created`` of the card are filled in; the ``meta`` of the tables, ``<name>.ecsv``, say the
    command and the model. ``obsolete`` are tables of an earlier training that are removed.
    """
    staged = folder / ".staged"
    shutil.rmtree(staged, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    card = replace(card, files=_artifact.save(network, staged), created=datetime.now(UTC).date().isoformat())
    card.write(staged)
    require_same_answers(staged, network, pixels, tolerance)
    for name, table in tables.items():
        table.meta = {"command": card.command, "model": card.sha256, **table.meta}
        table.write(staged / f"{name}.ecsv", overwrite=True)
    if split is not None:
        write_split(split, staged / SPLITS)
    for name in obsolete:
        (folder / f"{name}.ecsv").unlink(missing_ok=True)
    # The card comes last: a folder without one is no model.
    for path in sorted(staged.iterdir(), key=lambda path: path.name == CARD):
        path.replace(folder / path.name)
    staged.rmdir()
    return card


def require_same_answers(folder: Path, network: nn.Module, pixels: np.ndarray, tolerance: float) -> None:
    """Refuse a folder whose weights or whose TorchScript do not answer as the trained network."""
    card = ModelCard.read(folder)
    trained = Model(card=card, device="cpu", runtime="eager", network=network.eval()).run(pixels)
    for runtime in ("eager", "torchscript"):
        written = load_model(folder, device="cpu", runtime=runtime).run(pixels)
        for name, expected in trained.items():
            difference = float(np.abs(written[name] - expected).max())
            if not difference <= tolerance * max(1.0, float(np.abs(expected).max())):
                raise ModelError(
                    f"the written model differs from the trained one by {difference:.2g} ({name}, {runtime})"
                )
