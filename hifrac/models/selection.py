"""What ALFALFA detects: its flux limit, and what of a galaxy the limit depends on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

#: Hubble constant of all distances, km/s/Mpc.
HUBBLE = 70.0

#: log10 of the HI mass (Msun) of a flux of 1 Jy km/s at 1 Mpc (Roberts 1962).
FLUX_TO_MASS = math.log10(2.356e5)

#: Median noise of ALFALFA, mJy at 10 km/s (Haynes et al. 2018).
RMS_TYPICAL = 2.34

#: Width of the completeness about the flux limit, dex: of the reliable detections (code 1) alone.
COMPLETENESS_WIDTH = 0.06

#: Where half of all detections (codes 1 and 2) are complete, relative to the limit of code 1, and the width.
ANY_CODE_SHIFT, ANY_CODE_WIDTH = -0.17, 0.22

#: The survey ends at cz = 18,000 km/s.
LOG_CZ_LAST = math.log10(18000.0)

# log10 of the noise over its median, by declination (deg): the edges of the survey were seen less often.
_NOISE_DEC = (1.2, 1.75, 2.5, 4.0, 6.5, 35.0, 36.2)
_NOISE = (0.108, 0.085, 0.062, 0.028, 0.0, 0.0, 0.06)


def as_double(values: Any) -> Tensor:
    """Return an array or a tensor as a tensor in double precision."""
    if isinstance(values, Tensor):
        return values.double()
    return torch.from_numpy(np.array(values, dtype=float))  # a copy: what is handed in may be read-only


def distance_modulus(log_cz: Any) -> Tensor:
    """Return the distance modulus of pure Hubble flow, from log10 of cz in km/s."""
    return 5 * (as_double(log_cz) - math.log10(HUBBLE)) + 25


def taylor_mass(g_minus_i: Any, i: Any, modulus: Any, log_axes: Any) -> Tensor:
    """Return log10(M*/Msun) on the scale of Taylor et al. (2011), as Durbala et al. (2020) derive it.

    Parameters
    ----------
    g_minus_i, i : array-like of float, shape (n,)
        Corrected for the Galaxy, as of `hifrac.core.evidence.Evidence`.
    modulus : array-like of float, shape (n,)
        Distance modulus.
    log_axes : array-like of float, shape (n,)
        log10 of the axis ratio a/b: the dust inside the galaxy is gamma times that.
    """
    g_minus_i, log_axes = as_double(g_minus_i), as_double(log_axes)
    absolute = as_double(i) - as_double(modulus)
    gamma_i = (-0.15 * absolute - 2.55).clamp(min=0)
    gamma_g = (-0.351206 * (absolute + g_minus_i) - 5.9541).clamp(min=0)
    colour = g_minus_i - (gamma_g - gamma_i) * log_axes
    return 1.15 + 0.70 * colour - 0.4 * (absolute - gamma_i * log_axes)


def log_flux_limit(log_width: Any) -> Tensor:
    """Return log10 of the flux (Jy km/s) that half of the sources of code 1 are detected at.

    Haynes et al. (2011), AJ 142, 170, section 6, of the width W50 in km/s.
    """
    log_width = as_double(log_width)
    return torch.where(log_width < 2.5, 0.5 * log_width - 1.207, log_width - 2.457)


def relative_noise(dec: Any) -> Tensor:
    """Return log10 of the noise of ALFALFA over its median, by declination in degrees; of NaN 0."""
    dec = as_double(dec)
    nodes, noise = as_double(_NOISE_DEC), as_double(_NOISE)
    inside = torch.nan_to_num(dec, nan=20.0).clamp(nodes[0], nodes[-1])
    right = torch.searchsorted(nodes, inside).clamp(1, len(nodes) - 1)
    share = (inside - nodes[right - 1]) / (nodes[right] - nodes[right - 1])
    return noise[right - 1] + share * (noise[right] - noise[right - 1])


def width_inputs(i: Any, modulus: Any, log_axes: Any) -> Tensor:
    """Return what log10 of the width of the HI line is linear in, shape (n, 6): light and inclination."""
    bright = (as_double(i) - as_double(modulus)).clamp(-24, -13) + 20
    log_axes = as_double(log_axes)
    return torch.stack(
        [torch.ones_like(bright), bright, bright**2, log_axes, log_axes**2, bright * log_axes], dim=1
    )


def detection_score(log_hi_fraction: Tensor, limit: Tensor) -> Tensor:
    """Return how far an HI fraction is above where ALFALFA has half of the galaxies, with either code.

    The probability that it has a galaxy is the normal distribution function of this.
    """
    return (log_hi_fraction - limit - ANY_CODE_SHIFT) / ANY_CODE_WIDTH


def reach(log_cz: Tensor, error: Tensor) -> Tensor:
    """Return the probability that a galaxy is within the redshifts of ALFALFA, given an error of log_cz."""
    return torch.special.ndtr((LOG_CZ_LAST - log_cz) / error)


class Selection(nn.Module):
    """The limit of ALFALFA for a galaxy of which there is photometry, but no width of a line.

    Its learned numbers are the coefficients of the width, ``width`` (6).
    """

    if TYPE_CHECKING:
        width: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Of 18,000 detections; the fit of the training replaces them.
        start = (2.0686, -0.09755, 0.0026, 1.1015, -0.7696, -0.0351)
        self.register_buffer("width", torch.tensor(start, dtype=torch.float64))

    def log_width(self, i: Any, modulus: Any, log_axes: Any) -> Tensor:
        """Return log10 of the width W50 in km/s that photometry lets expect."""
        return (width_inputs(i, modulus, log_axes) @ self.width).clamp(1.4, 2.9)

    def mass_limit(self, i: Any, modulus: Any, log_axes: Any, log_mstar: Any, dec: Any) -> Tensor:
        """Return log10(M_HI/M*) at the limit of code 1, where half of such galaxies are detected.

        Parameters
        ----------
        i, modulus, log_axes : array-like of float, shape (n,)
            As of `taylor_mass`.
        log_mstar : array-like of float, shape (n,)
            log10(M*/Msun).
        dec : array-like of float, shape (n,)
            Declination in degrees; NaN for the survey's typical noise.
        """
        flux = log_flux_limit(self.log_width(i, modulus, log_axes)) + relative_noise(dec)
        return FLUX_TO_MASS + 0.4 * (as_double(modulus) - 25) + flux - as_double(log_mstar)
