"""The learned part of the metallicity network, fitted to measurements."""

from __future__ import annotations

import numpy as np
import torch
from astropy.table import Table
from sklearn.linear_model import RidgeCV

from hifrac.core.exceptions import warn_caller
from hifrac.models.metallicity import MetallicityNet
from hifrac.training.measuring.linear import (
    PENALTIES,
    fit_logistic,
    fit_scale,
    set_head,
    set_state,
    without_texture,
)
from hifrac.training.measuring.photometry import fit_photometries, readings

#: The area under the curve is the same to 0.003 from 0.01 to 0.3, in folds of other seeds.
STAR_FORMING_INVERSE_PENALTY = 0.01
#: The share of the published network's prediction in what the metallicity learns (Hinton et al. 2015,
#: arXiv:1503.02531): it knows 77,000 galaxies, and has not the noise of one spectrum. The error is the same
#: to 0.001 dex from 0.3 to 0.7, and 0.003 dex larger without. What is judged is by the labels alone.
PUBLISHED_SHARE = 0.5
#: Fewer galaxies of either kind teach nothing.
FEWEST = 40
#: Of 12 + log(O/H): what is beyond is another quantity, or a sentinel. MPA-JHU has 7.85 to 9.47.
LIMITS = (7.5, 9.5)
# Below 8.0 are fewer than one in a hundred of MPA-JHU; more of them are on another scale.
_LOW, _MOST_LOW = 8.0, 0.01


def require_labels(galaxies: Table) -> None:
    """Refuse what nothing can be learned from: too few galaxies, or labels that are no metallicities."""
    oh = np.asarray(galaxies["oh"])
    is_known = np.isfinite(oh)
    for name, count in (
        ("oh_p50", is_known.sum()),
        ("photometry", (without_label(galaxies) & with_photometry(galaxies)).sum()),
        ("photometry of galaxies with oh_p50", (is_known & with_photometry(galaxies)).sum()),
        ("star-forming galaxies", np.sum(galaxies["star_forming"] == 1)),
        ("galaxies that are not star-forming", np.sum(galaxies["star_forming"] == 0)),
    ):
        if count < FEWEST:
            raise ValueError(f"{name}: {FEWEST} or more must be known to learn from, got {count}")
    if np.ptp(oh[is_known]) == 0:
        raise ValueError("oh_p50 must not be constant")
    if np.any(is_strange := is_known & ((oh < LIMITS[0]) | (oh > LIMITS[1]))):
        raise ValueError(
            f"oh_p50 must be 12 + log(O/H), from {LIMITS[0]:g} to {LIMITS[1]:g}, got "
            f"{oh[is_strange][0]:g} for {galaxies['objid'][is_strange][0]}"
        )
    if (n_low := int(np.sum(oh[is_known] < _LOW))) > _MOST_LOW * is_known.sum():
        warn_caller(
            f"oh_p50: {n_low} of {is_known.sum()} labels are below {_LOW:g}, of galaxies as SDSS has them "
            "fewer than one in a hundred: they are on another scale than that of Tremonti et al. (2004)?"
        )


def without_label(galaxies: Table) -> np.ndarray:
    """Tell which galaxies have no metallicity: from them alone the readings are learned."""
    return ~np.isfinite(galaxies["oh"])


def with_photometry(galaxies: Table) -> np.ndarray:
    """Tell which galaxies have magnitudes, redshift and mass."""
    return np.isfinite(galaxies["photometry"]).all(axis=1)


def fit_readings(network: MetallicityNet, features: np.ndarray, galaxies: Table) -> None:
    """Fit what is read off a picture beside the metallicity, in place, to the galaxies without one.

    So the readings of a galaxy with a metallicity are what they are for any new galaxy.
    """
    rows = without_label(galaxies) & with_photometry(galaxies)
    fit_photometries(network, features[rows], np.asarray(galaxies["photometry"])[rows])


def fit_heads(network: MetallicityNet, features: np.ndarray, galaxies: Table) -> MetallicityNet:
    """Fit metallicity and star formation, in place; return the network in evaluation mode.

    ``features``, (n, features), are raw measurements ``with_ebv``; the readings are fitted already.
    """
    labelled, star_forming = ~without_label(galaxies), np.asarray(galaxies["star_forming"])
    fit_metallicity(network, features[labelled], galaxies[labelled])
    rows = np.isfinite(star_forming)
    shape = without_texture(network)
    # The readings of many of these were learned of themselves: the measurements alone are as for any galaxy.
    inputs = head_inputs(network, features[rows])[:, shape]
    intercept, coefficients = fit_logistic(inputs, star_forming[rows] == 1, STAR_FORMING_INVERSE_PENALTY)
    set_head(network.star_forming, shape, intercept, coefficients)
    return network.eval()


def fit_metallicity(network: MetallicityNet, features: np.ndarray, galaxies: Table) -> None:
    """Fit 12 + log(O/H), and the units of measurements and readings, in place, to galaxies that have it."""
    fit_scale(network, features)
    shown = readings(network, features)
    set_state(network, reading_center=shown.mean(0), reading_scale=np.maximum(shown.std(0), 1e-6))
    inputs = head_inputs(network, features)
    columns = [*without_texture(network), *range(network.n_features, inputs.shape[1])]
    fitted = RidgeCV(PENALTIES).fit(inputs[:, columns], _target(galaxies))
    set_head(network.metallicity, columns, float(fitted.intercept_), fitted.coef_)


def _target(galaxies: Table) -> np.ndarray:
    """Return what is learned: labels, with the published network's prediction where there is one."""
    oh, published = np.asarray(galaxies["oh"]), np.asarray(galaxies["published"])[:, 0]
    return oh + PUBLISHED_SHARE * np.where(np.isfinite(published), published - oh, 0.0)


def head_inputs(network: MetallicityNet, features: np.ndarray) -> np.ndarray:
    """Return what the linear heads read."""
    with torch.inference_mode():
        raw = torch.from_numpy(features).float()
        return network.head_inputs(raw, network.quantities(raw)).double().numpy()
