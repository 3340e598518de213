"""Where gas-rich and gas-poor are seen: Figure 11 of Wu (2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy.table import Table
from matplotlib.figure import Figure

from hifrac.attribution import Explanation, plot_explanation
from hifrac.core.measurements import plain_floats
from hifrac.cutouts import LocalCutouts
from hifrac.estimator import HIFractionEstimator
from hifrac.metrics import detection_auc
from hifrac.models import Model, load_model
from hifrac.reproduce._experiment import ARCHIVE, Setting, experiment, panels
from hifrac.reproduce._inputs import labels, pictures

#: M below the first is gas-poor, above the second gas-rich (Wu 2020, section 8.1).
CLASS_LIMITS = (-0.5, 0.5)
#: The bundled networks, with colour and without, and their published accuracies.
MODELS = {"colour": ("gas-classes", 0.98), "monochrome": ("gas-classes-monochrome", 0.90)}


def gas_classes(table: Table, pixels: np.ndarray, models: dict[str, Model]) -> Table:
    """Return ``truth``, whether galaxies are ``gas_rich``, and the log odds of that by each network.

    The table has only galaxies of the classes; ``pixels`` are their pictures.
    """
    result = table["objid", "ra", "dec"]
    result["truth"] = plain_floats(table["log_hi_fraction_true"])
    result["gas_rich"] = result["truth"] > CLASS_LIMITS[1]
    for name, model in models.items():
        result[name] = np.concatenate(
            [model.run(pixels[start : start + 64])["estimate"] for start in range(0, len(pixels), 64)]
        ).astype(float)
    result.meta = {}
    return result


def examples(table: Table) -> list[int]:
    """Return rows of `gas_classes` to show: of each class the surest, and the most wrong or least sure."""
    rows = []
    for is_rich, sign in ((False, -1), (True, 1)):
        own = np.flatnonzero(np.asarray(table["gas_rich"]) == is_rich)
        order = own[np.argsort(sign * np.asarray(table["colour"])[own])]
        rows += [int(order[-1]), int(order[0])]
    return rows


def maps(table: Table, model: str, setting: Setting) -> list[tuple[Explanation, Explanation]]:
    """Compute the Grad-CAM of gas-poor and of gas-rich by a bundled network, a pair for each row."""
    with LocalCutouts(setting.root / ARCHIVE, name="objid") as cutouts:
        estimator = HIFractionEstimator(model, cutouts=cutouts, device="cpu")
        poor, rich = (
            list(estimator.explain(table, method="gradcam", target=name)) for name in ("gas-poor", "gas-rich")
        )
    return list(zip(poor, rich, strict=True))


def plot_maps(
    pairs: Mapping[str, Sequence[tuple[Explanation, Explanation]]], titles: Sequence[str]
) -> Figure:
    """Plot for each galaxy a picture and its two `maps`, with colour and without."""
    figure, axes = panels(len(titles), 3 * len(pairs), 13.5, 2.5 * len(titles))
    for number, (network, galaxies) in enumerate(pairs.items()):
        for line, (poor, rich), title in zip(axes, galaxies, titles, strict=True):
            trio = line[3 * number : 3 * number + 3]
            plot_explanation(poor, rich, ax=trio, title="")
            for panel in trio[1:]:
                panel.set_title(panel.get_title().strip(), fontsize=8)
            if network == "monochrome" and poor.pixels is not None:
                grey = poor.pixels[::-1].mean(2, keepdims=True) / 255
                trio[0].images[0].set_data(grey.repeat(3, axis=2))
            trio[0].set_title(title if number == 0 else network, fontsize=8)
    return figure


def plot_fig11(table: Table, setting: Setting) -> Figure:
    """Plot Figure 11: `plot_maps` of the galaxies that `fig11` chose."""
    rows = table[np.asarray(table["shown"], bool)]
    pairs = {network: maps(rows, name, setting) for network, (name, _) in MODELS.items()}
    classes = np.where(rows["gas_rich"], "gas-rich", "gas-poor")
    return plot_maps(pairs, [f"{name}, M = {m:.2f}" for name, m in zip(classes, rows["truth"], strict=True)])


@experiment(plot_fig11, shows_pictures=True)
def fig11(setting: Setting) -> Table:
    """Make Figure 11 with labelled galaxies, and how many of the two classes are told right."""
    table = labels(setting)
    truth = plain_floats(table["log_hi_fraction_true"])
    table = table[(truth < CLASS_LIMITS[0]) | (truth > CLASS_LIMITS[1])]
    networks = {network: load_model(name, device="cpu") for network, (name, _) in MODELS.items()}
    result = gas_classes(table, pictures(table["objid"], setting), networks)
    rich = np.asarray(result["gas_rich"])
    numbers: dict[str, Any] = {}
    for network, (_, published) in MODELS.items():
        right = (np.asarray(result[network]) > 0) == rich
        numbers[f"{network}: accuracy, measured galaxies"] = (float(np.mean(right)), published)
        # Classes are not equally frequent here; this does not mind.
        by_class = [np.mean(right[rich == is_rich]) for is_rich in (False, True)]
        numbers |= {
            f"{network}: accuracy, mean of the classes": np.mean(by_class),
            f"{network}: area under the ROC": detection_auc(rich, result[network]),
            f"{network}: agreement with the teacher on held-out pictures": networks[network].card.figures[
                "accuracy"
            ],
        }
    result["shown"] = np.isin(np.arange(len(result)), examples(result))
    result.meta = {
        "numbers": numbers,
        "notes": [
            f"{int(rich.sum())} gas-rich and {int((~rich).sum())} gas-poor galaxies, measured; the networks "
            "learned from pictures of other galaxies and what the default model says of them, which itself "
            "had learned from the measured ones",
            "monochrome: the mean of the three stretched channels, not the sum of fluxes",
        ],
    }
    return result
