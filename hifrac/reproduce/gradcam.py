"""Where gas-rich and gas-poor are seen: Figure 11 of Wu (2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from astropy.table import Table

from hifrac.core.input import plain_floats
from hifrac.cutouts import LocalCutouts
from hifrac.estimator import HIFractionEstimator
from hifrac.reproduce._experiment import Setting
from hifrac.reproduce._inputs import labels
from hifrac.reproduce._pictures import ARCHIVE, pictures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from hifrac.attribution import Explanation
    from hifrac.models import Model

__all__ = ["CLASS_LIMITS", "MODELS", "draw_fig11", "draw_maps", "examples", "fig11", "gas_classes", "maps"]

#: M below the first is gas-poor, above the second gas-rich (Wu 2020, section 8.1).
CLASS_LIMITS = (-0.5, 0.5)
#: The bundled networks, with colour and without, and their published accuracies.
MODELS = {"colour": ("gas-classes", 0.98), "monochrome": ("gas-classes-monochrome", 0.90)}
#: Galaxies that the figure shows.
SHOWN = 4


def gas_classes(table: Table, pixels: np.ndarray, models: dict[str, Model]) -> Table:
    """What networks say of galaxies whose class was measured.

    Parameters
    ----------
    table : `~astropy.table.Table`
        With ``objid`` and ``log_hi_fraction_true``; all rows are of one of the classes.
    pixels : array of uint8, shape (n, width, width, 3)
        Their pictures.
    models : dict of str to `~hifrac.models.Model`
        Networks that answer with the log odds of gas-rich.

    Returns
    -------
    answers : `~astropy.table.Table`
        ``objid``, ``ra``, ``dec``, ``truth`` (log10 of M_HI/M*), ``gas_rich`` (whether it was measured to
        be), and the log odds by each network, in a column by its name.
    """
    truth = plain_floats(table["log_hi_fraction_true"])
    answers = table["objid", "ra", "dec"]
    answers["truth"] = truth
    answers["gas_rich"] = truth > CLASS_LIMITS[1]
    for name, model in models.items():
        answers[name] = np.concatenate(
            [model.run(pixels[start : start + 64])["estimate"] for start in range(0, len(pixels), 64)]
        ).astype(float)
    answers.meta = {}
    return answers


def fig11(setting: Setting) -> Table:
    """Figure 11 with labelled galaxies, and how many of the two classes are told right."""
    from hifrac.metrics import detection_auc
    from hifrac.models import load_model

    table = labels(setting.folder)
    truth = plain_floats(table["log_hi_fraction_true"])
    table = table[(truth < CLASS_LIMITS[0]) | (truth > CLASS_LIMITS[1])]
    networks = {kind: load_model(name, device="cpu") for kind, (name, _) in MODELS.items()}
    result = gas_classes(table, pictures(table["objid"], setting), networks)
    rich = np.asarray(result["gas_rich"])
    numbers = {}
    for kind, (_, published) in MODELS.items():
        right = (np.asarray(result[kind]) > 0) == rich
        numbers[f"{kind}: accuracy, measured galaxies"] = (float(np.mean(right)), published)
        # Classes are not equally frequent here; this does not mind.
        each = [float(np.mean(right[rich == one])) for one in (False, True)]
        numbers[f"{kind}: accuracy, mean of the classes"] = (float(np.mean(each)), None)
        numbers[f"{kind}: area under the ROC"] = (float(detection_auc(rich, result[kind])), None)
        held_out = networks[kind].card.figures["accuracy"]
        numbers[f"{kind}: agreement with the teacher on held-out pictures"] = (float(held_out), None)
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


def examples(table: Table) -> list[int]:
    """Rows of `fig11` to be shown: of each class the surest, and that which is most wrong or least sure.

    Parameters
    ----------
    table : `~astropy.table.Table`
        As of `gas_classes`.

    Returns
    -------
    rows : list of int
    """
    rich = np.asarray(table["gas_rich"])
    odds = np.asarray(table["colour"])
    rows = []
    for one, sign in ((False, -1), (True, 1)):
        own = np.flatnonzero(rich == one)
        order = own[np.argsort(sign * odds[own])]
        rows += [int(order[-1]), int(order[0])]
    return rows[:SHOWN]


def maps(table: Table, model: str, setting: Setting) -> list[tuple[Explanation, Explanation]]:
    """Grad-CAM of both classes.

    Parameters
    ----------
    table : `~astropy.table.Table`
        With ``objid``, ``ra`` and ``dec``.
    model : str
        Name of a bundled network of the two classes.
    setting : Setting
        Where the pictures are.

    Returns
    -------
    pairs : list of (`~hifrac.attribution.Explanation`, `~hifrac.attribution.Explanation`)
        For gas-poor and for gas-rich, a row each.
    """
    with LocalCutouts(setting.folder / ARCHIVE, name="objid") as cutouts:
        estimator = HIFractionEstimator(model, cutouts=cutouts, device="cpu")
        both = [
            list(estimator.explain(table, method="gradcam", target=name)) for name in ("gas-poor", "gas-rich")
        ]
    return list(zip(*both, strict=True))


def draw_maps(pairs: dict[str, Sequence[tuple[Explanation, Explanation]]], titles: Sequence[str]) -> Figure:
    """Figure 11: for each galaxy a picture and its two maps, with colour and without.

    Parameters
    ----------
    pairs : dict of str to sequence of pairs
        By "colour" and "monochrome", of `maps`, the same galaxies in both.
    titles : sequence of str
        One a galaxy.

    Returns
    -------
    figure : `~matplotlib.figure.Figure`
    """
    import matplotlib.pyplot as plt

    from hifrac.attribution import plot_explanation

    figure, axes = plt.subplots(
        len(titles), 3 * len(pairs), figsize=(13.5, 2.5 * len(titles)), layout="constrained", squeeze=False
    )
    for number, (kind, galaxies) in enumerate(pairs.items()):
        for line, (poor, rich), title in zip(axes, galaxies, titles, strict=True):
            panels = line[3 * number : 3 * number + 3]
            plot_explanation(poor, rich, ax=panels, title="")
            for panel in panels[1:]:
                panel.set_title(panel.get_title().strip(), fontsize=8)
            if kind == "monochrome":
                grey = poor.pixels[::-1].mean(2, keepdims=True) / 255
                panels[0].images[0].set_data(grey.repeat(3, axis=2))
            panels[0].set_title(title if number == 0 else kind, fontsize=8)
    return figure


def draw_fig11(table: Table, setting: Setting) -> Figure:
    """`draw_maps` of the galaxies that `fig11` chose."""
    rows = table[np.asarray(table["shown"], bool)]
    pairs = {kind: maps(rows, name, setting) for kind, (name, _) in MODELS.items()}
    classes = np.where(rows["gas_rich"], "gas-rich", "gas-poor")
    return draw_maps(pairs, [f"{one}, M = {m:.2f}" for one, m in zip(classes, rows["truth"], strict=True)])
