"""Measures of heat maps: deletion and insertion curves, randomised weights, and point sources put in.

The script ``faithfulness.py`` prints them; the documentation has the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import QTable
from scipy.stats import spearmanr

from hifrac.attribution.injection import COLOURS, inject_point_sources
from hifrac.attribution.maps import sky_level
from hifrac.attribution.methods import heat_maps
from hifrac.attribution.regions import SMOOTHING, smoothed
from hifrac.attribution.targets import resolve_target

if TYPE_CHECKING:
    from hifrac.models import Model

#: Shares of the pixels at which curves are taken.
SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


def _brightness(pixels: np.ndarray, _replacement: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    return pixels.mean(3)


def _difference(pixels: np.ndarray, replacement: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    return np.abs(pixels.astype(float) - replacement).mean(3)


def _centre(pixels: np.ndarray, _replacement: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """A Gaussian in the middle: what every cutout has in common."""
    height, width = pixels.shape[1:3]
    y, x = np.mgrid[:height, :width]
    squared = (x - (width - 1) / 2) ** 2 + (y - (height - 1) / 2) ** 2
    return np.broadcast_to(np.exp(-squared / (2 * (width / 8) ** 2)), pixels.shape[:3])


def _random(pixels: np.ndarray, _replacement: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.random(pixels.shape[:3])


#: What maps have to beat: rankings of pixels that know nothing of the network, given pictures,
#: what replaces them, and a generator of random numbers.
RANKINGS: Mapping[str, Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]] = {
    "random": _random,
    "centre": _centre,
    "brightness": _brightness,
    "difference": _difference,
}


def perturbation_curves(
    model: Model,
    pixels: np.ndarray,
    importance: np.ndarray,
    replacement: np.ndarray,
    *,
    target: str = "log_hi_fraction",
    shares: Sequence[float] = SHARES,
    insertion: bool = False,
    cell: int = 4,
) -> np.ndarray:
    """The answer while the most important pixels are taken out, or put in (Petsiuk et al. 2018).

    Parameters
    ----------
    model : `~hifrac.models.Model`
        A loaded model.
    pixels : `~numpy.ndarray` of uint8, shape (n, width, width, 3)
        Pictures.
    importance : `~numpy.ndarray`, shape (n, width, width)
        Cells with the largest mean go first.
    replacement : `~numpy.ndarray` of uint8, shape (n, width, width, 3)
        What stands where the picture does not.
    target : str, optional
        The answer.
    shares : sequence of float, optional
        Shares of the cells, from 0 to 1.
    insertion : bool, optional
        Whether to begin with ``replacement`` and put the picture in.
    cell : int, optional
        Cells of this many pixels a side go together; it must divide the width. Single
        pixels would be noise that no picture has.

    Returns
    -------
    curves : `~numpy.ndarray` of float, shape (n, number of shares)

    Raises
    ------
    ValueError
        If shapes differ, ``cell`` does not divide the width, or a share is not between 0 and 1.
    """
    n, height, width = pixels.shape[:3]
    if importance.shape != (n, height, width) or replacement.shape != pixels.shape:
        raise ValueError(
            f"importance and replacement must have the shapes of pixels {pixels.shape}, "
            f"got {importance.shape} and {replacement.shape}"
        )
    if cell < 1 or height % cell or width % cell:
        raise ValueError(f"cell must divide the sides of the pictures, got {cell}")
    if not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"shares must lie between 0 and 1, got {shares}")
    output = resolve_target(model.card, target)
    cells = importance.reshape(n, height // cell, cell, width // cell, cell).mean((2, 4)).reshape(n, -1)
    order = np.argsort(-cells, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(order.shape[1])[None], axis=1)
    rank = rank.reshape(n, height // cell, width // cell).repeat(cell, 1).repeat(cell, 2)
    first, last = (replacement, pixels) if insertion else (pixels, replacement)
    curves = []
    for share in shares:
        changed = rank < round(share * cells.shape[1])
        curves.append(output.sign * model.run(np.where(changed[..., None], last, first))[output.output])
    return np.stack(curves, 1)


def faithfulness_table(
    model: Model,
    pixels: np.ndarray,
    *,
    replacement: np.ndarray | None = None,
    methods: Mapping[str, Mapping[str, Any]] | None = None,
    target: str = "log_hi_fraction",
    cell: int = 4,
    seed: int = 0,
    n_bootstrap: int = 1000,
) -> QTable:
    """How much faster the answer changes when a map says what goes first.

    Parameters
    ----------
    model : `~hifrac.models.Model`
        A loaded model.
    pixels : `~numpy.ndarray` of uint8, shape (n, width, width, 3)
        Pictures.
    replacement : `~numpy.ndarray` of uint8, shape (n, width, width, 3), optional
        What stands where the picture does not; by default each picture's sky level.
    methods : mapping, optional
        Name to options of `~hifrac.attribution.heat_maps`; ``"cam"`` by default.
    target : str, optional
        The answer.
    cell : int, optional
        As of `perturbation_curves`.
    seed : int, optional
        Of the random ranking and of the bootstrap.
    n_bootstrap : int, optional
        Resamplings of the galaxies for the errors.

    Returns
    -------
    table : `~astropy.table.QTable`
        One row for each map and each of `RANKINGS`. ``deletion`` and ``insertion``: progress, see below, with
        bootstrap errors (``_error``); ``beats_random``: the share of galaxies for which their mean is larger
        than for the random ranking; ``separation``, in the unit of the target, with its error.

    Notes
    -----
    A map is signed, and so is what replaces the picture: cells that speak for the direction in which the
    answer goes from the replacement to the picture are to go first. With the answers f0 of the replacement
    and f1 of the picture, importance is the map times the sign of f1 - f0. Progress is the mean over
    the share of cells s, from 0 to 1, of how far the answer has gone: (f1 - f(s)) / (f1 - f0) for
    deletion, (f(s) - f0) / (f1 - f0) for insertion; the median over galaxies, for a few have f1
    close to f0. An order that knows nothing has about a half where answers are linear in the share. Above 1
    the answer went beyond where it ends: what speaks against it was left for last.

    Separation is the area between two curves of deletion, that in which the cells with the lowest values of
    the map go first minus that in which the highest do (Samek et al. 2017, IEEE Trans. Neural Netw. 28,
    2660), the mean over galaxies. Both end at the same answer; a random order has 0.
    """
    if replacement is None:
        sky = np.stack([sky_level(picture) for picture in pixels])
        replacement = np.broadcast_to(sky[:, None, None], pixels.shape).copy()
    output = resolve_target(model.card, target)
    f0, f1 = (output.sign * model.run(which)[output.output] for which in (replacement, pixels))
    rng = np.random.default_rng(seed)
    side = np.where(f1 < f0, -1.0, 1.0)
    rankings = {}
    for name, options in (methods or {"cam": {}}).items():
        values = heat_maps(model, pixels, target=target, **options).values
        values = np.stack([smoothed(one, SMOOTHING) for one in values])
        rankings[name] = values * side[:, None, None]
    rankings.update({name: rank(pixels, replacement, rng) for name, rank in RANKINGS.items()})

    def curves(importance: np.ndarray, insertion: bool) -> np.ndarray:
        return perturbation_curves(
            model, pixels, importance, replacement, target=target, insertion=insertion, cell=cell
        )

    values_of = {}
    for name, importance in rankings.items():
        out, last, into = curves(importance, False), curves(-importance, False), curves(importance, True)
        apart = side * np.trapezoid(last - out, SHARES, axis=1)
        values_of[name] = np.stack([_progress(out), _progress(into), apart], 1)
    draws = rng.integers(0, len(pixels), (n_bootstrap, len(pixels)))
    return _summary(values_of, draws)


def _progress(curves: np.ndarray) -> np.ndarray:
    """Mean over the share of cells of how far each answer has gone from its first value to its last."""
    start, end = curves[:, :1], curves[:, -1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.trapezoid((curves - start) / (end - start), SHARES, axis=1)


def _summary(values_of: Mapping[str, np.ndarray], draws: np.ndarray) -> QTable:
    """Medians and means over galaxies, with the scatter of resampled ones."""
    rows = []
    for name, values in values_of.items():
        middle = np.nanmedian(values, axis=0)
        error = np.nanmedian(values[draws], axis=1).std(0)
        apart, apart_error = values[:, 2].mean(), values[draws, 2].mean(1).std()
        better = np.mean(values[:, :2].mean(1) > values_of["random"][:, :2].mean(1))
        rows.append((name, middle[0], error[0], middle[1], error[1], better, apart, apart_error))
    names = ["ranking", "deletion", "deletion_error", "insertion", "insertion_error", "beats_random"]
    return QTable(rows=rows, names=[*names, "separation", "separation_error"])


def randomised(model: Model, seed: int = 0) -> Model:
    """The model with its learned weights drawn anew: its maps should be other maps (Adebayo et al. 2018).

    Parameters
    ----------
    model : `~hifrac.models.Model`
        A loaded model; it is left as it is.
    seed : int, optional
        Of the draw.

    Returns
    -------
    model : `~hifrac.models.Model`
        Of the same card, but for its name. Each learned weight tensor is permuted: same values, other places.
    """
    import torch

    from hifrac.models.architectures import build
    from hifrac.models.xresnet import fold_for_inference

    generator = torch.Generator().manual_seed(seed)
    network = fold_for_inference(build(model.card.architecture, dict(model.card.options)))
    state = model.network.state_dict()
    own = network.state_dict()
    learned = {name for name, _ in network.named_parameters()}
    for key in own:
        value = state[key].detach().cpu()
        if key in learned:
            value = value.flatten()[torch.randperm(value.numel(), generator=generator)].reshape(value.shape)
        own[key] = value
    network.load_state_dict(own)
    card = replace(model.card, name=f"{model.card.name} (randomised)")
    return replace(model, card=card, runtime="eager", network=network.eval().to(model.device))


def randomisation_table(
    model: Model, pixels: np.ndarray, *, target: str = "log_hi_fraction", seeds: Sequence[int] = (0, 1, 2)
) -> QTable:
    """How maps of a model resemble those of the same model with its weights drawn anew.

    Parameters
    ----------
    model : `~hifrac.models.Model`
        A loaded model.
    pixels : `~numpy.ndarray` of uint8, shape (n, width, width, 3)
        Pictures.
    target : str, optional
        What is explained.
    seeds : sequence of int, optional
        One row a draw.

    Returns
    -------
    table : `~astropy.table.QTable`
        ``seed``; ``rank_correlation``, the median over pictures of Spearman's coefficient between the
        two smoothed maps: near 0 where maps depend on what was learned; and ``absolute``, that of their
        absolute values, which is larger where both maps are bright where the picture is.
    """
    here = _smooth_maps(model, pixels, target)
    rows = []
    for seed in seeds:
        there = _smooth_maps(randomised(model, seed), pixels, target)
        signed = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(here, there, strict=True)]
        size = [
            spearmanr(np.abs(a).ravel(), np.abs(b).ravel()).statistic
            for a, b in zip(here, there, strict=True)
        ]
        rows.append((seed, np.median(signed), np.median(size)))
    return QTable(rows=rows, names=["seed", "rank_correlation", "absolute"])


def _smooth_maps(model: Model, pixels: np.ndarray, target: str) -> np.ndarray:
    return np.stack([smoothed(one, SMOOTHING) for one in heat_maps(model, pixels, target=target).values])


def injection_scatter(
    model: Model,
    pixels: np.ndarray,
    *,
    profile: str = "as-coded",
    n: int = 6,
    trials: int = 100,
    seed: int = 0,
) -> QTable:
    """How estimates change when point sources are put in: the test of Wu (2020, Appendix B).

    Parameters
    ----------
    model : `~hifrac.models.Model`
        A loaded model.
    pixels : `~numpy.ndarray` of uint8, shape (m, width, width, 3)
        Pictures.
    profile : {"as-printed", "as-coded"}, optional
        As of `~hifrac.attribution.inject_point_sources`.
    n : int, optional
        Sources in each picture.
    trials : int, optional
        Random sets of positions for each picture and colour.
    seed : int, optional
        Of the positions, the same for all pictures and colours.

    Returns
    -------
    table : `~astropy.table.QTable`
        One row a colour, dex: ``median_shift``; ``scatter``, the median over pictures of the standard
        deviation over trials; ``half_width``, half of the central 68% of all changes; and ``largest``
        absolute change.
    """
    output = resolve_target(model.card, "log_hi_fraction")
    before = model.run(pixels)[output.output]
    rows = []
    for color in COLOURS:
        rng = np.random.RandomState(seed)
        size = pixels.shape[1]
        positions = [rng.randint(1, size - 1, size=(n, 2)) for _ in range(trials)]
        change = np.empty((len(pixels), trials))
        for number, picture in enumerate(pixels):
            batch = np.stack(
                [inject_point_sources(picture, color=color, profile=profile, positions=p) for p in positions]
            )
            change[number] = model.run(batch)[output.output] - before[number]
        low, high = np.percentile(change, [16, 84])
        spread = np.median(change.std(1))
        rows.append((color, np.median(change), spread, (high - low) / 2, np.abs(change).max()))
    return QTable(rows=rows, names=["color", "median_shift", "scatter", "half_width", "largest"])
