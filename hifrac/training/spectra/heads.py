"""The learned part of the network of spectra, fitted to measurements."""

from __future__ import annotations

import numpy as np
import torch
from astropy.table import Table
from sklearn.linear_model import Ridge

from hifrac.models.spectrum import SpectrumNet
from hifrac.models.spectrum_table import LINE_UNIT, RATIOS
from hifrac.spectra import LinearLatents
from hifrac.training.measuring.linear import fit_scale, set_state
from hifrac.training.measuring.photometry import fit_photometries, readings
from hifrac.training.spectra.sample import MEASURED, with_lines, with_template

#: In folds of other seeds errors are the same to 1.5% from 0.3 to 10.
LINE_PENALTY = 1.0
#: Of the heads' weights: of 0.03, 0.1, 0.3 and 1 the best, by 1% of the mean error of templates.
DECAY = 0.3
# The catalogue is told by a column so large that the penalty does not count.
_LARGE = 100.0


def set_space(network: SpectrumNet, space: LinearLatents) -> None:
    """Put the latent space into the network, in place."""
    set_state(network, latent_basis=space.basis, mean_spectrum=space.mean)


def fit_readings(network: SpectrumNet, features: np.ndarray, galaxies: Table) -> None:
    """Fit what is read off a picture beside the lines, in place, to galaxies whose lines are not known.

    So the readings of a galaxy with lines are what they are for any new galaxy.
    """
    rows = with_template(galaxies) & ~with_lines(galaxies)
    quantities = np.column_stack([galaxies["photometry"], galaxies["latents"]])[rows]
    fit_photometries(network, features[rows], quantities, decay=DECAY)


def fit_lines(network: SpectrumNet, features: np.ndarray, galaxies: Table) -> np.ndarray:
    """Fit lines and ratios of continua, in place, to galaxies that have them; return `MEASURED` offsets.

    The offsets, (3,), are those of the values of Thomas et al. (2013) from those of MPA-JHU, whose scale
    the network is on; 0 where there are none of the former.
    """
    shown = readings(network, features)
    set_state(network, reading_center=shown.mean(0), reading_scale=np.maximum(shown.std(0), 1e-6))
    inputs = head_inputs(network, features)
    portsmouth = np.asarray(galaxies["portsmouth"]) * _LARGE
    intercepts, coefficients, offsets = [], [], []
    for column, name in enumerate(MEASURED):
        own = inputs if name == "h_alpha" else inputs[:, : shown.shape[1]]
        value = np.asarray(galaxies["lines"])[:, column]
        rows = np.isfinite(value)
        fitted = Ridge(LINE_PENALTY).fit(np.column_stack([own, portsmouth])[rows], value[rows])
        intercepts.append(fitted.intercept_)
        coefficients.append(fitted.coef_[:-1])
        offsets.append(fitted.coef_[-1] * _LARGE)
    set_state(network.h_alpha, weight=coefficients[0][None], bias=np.array(intercepts[:1]))
    set_state(network.continuum, weight=np.stack(coefficients[1:]), bias=np.array(intercepts[1:]))
    return np.array(offsets)


def fit_heads(network: SpectrumNet, features: np.ndarray, galaxies: Table) -> np.ndarray:
    """Fit everything that reads pictures, in place, and return the offsets of `fit_lines`.

    ``features``, (n, features), are raw measurements ``with_ebv``.
    """
    labelled = with_lines(galaxies)
    fit_scale(network, features[labelled])
    fit_readings(network, features, galaxies)
    offsets = fit_lines(network, features[labelled], galaxies[labelled])
    network.eval()
    return offsets


def head_inputs(network: SpectrumNet, features: np.ndarray) -> np.ndarray:
    """Return what the head of H-alpha reads, that of the continua the first half of it."""
    with torch.inference_mode():
        shown = network.quantities(torch.from_numpy(features).float())
        return network.head_inputs(shown).double().numpy()


def lines_of(outputs: dict[str, np.ndarray]) -> np.ndarray:
    """Return `MEASURED`, (n, 3), of outputs of the network."""
    h_alpha = np.arcsinh(outputs["estimate"] / LINE_UNIT)
    return np.column_stack([h_alpha, *(outputs[name] for name in RATIOS)])
