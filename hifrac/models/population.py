"""HI fractions of galaxies as they are, detected or not, given their photometry."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hifrac.models.selection import as_double

#: Terms of the mode, and of each of the two widths.
N_MODE, N_WIDTH = 13, 6

# No galaxy redder than the second was there to learn from; of red ones the mode falls beyond the hinge.
_COLOURS, _HINGE = (-0.1, 1.25), 0.9


class Population(nn.Module):
    """log10(M_HI/M*) about a mode, with a width below and another one above it.

    A split normal distribution: two halves of normal distributions that meet at the mode (Wallis 2014,
    Stat. Sci. 29, 106). Mode and logarithms of the widths are linear in terms of colour, stellar mass
    and inclination. The coefficients are the buffers ``mode`` (13), ``below`` (6) and ``above`` (6).
    """

    if TYPE_CHECKING:
        mode: Tensor
        below: Tensor
        above: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, size in (("mode", N_MODE), ("below", N_WIDTH), ("above", N_WIDTH)):
            self.register_buffer(name, torch.zeros(size, dtype=torch.float64))

    @staticmethod
    def design(g_minus_i: Any, log_mstar: Any, log_axes: Any) -> tuple[Tensor, Tensor]:
        """Return the terms of the mode (n, 13), and of the widths (n, 6).

        Parameters
        ----------
        g_minus_i, log_mstar : array-like of float, shape (n,)
            Colour corrected for the Galaxy (mag), and log10(M*/Msun) on the scale of Taylor et al. (2011).
        log_axes : array-like of float, shape (n,)
            log10 of the axis ratio a/b.
        """
        colour = as_double(g_minus_i).clamp(*_COLOURS)
        red = (colour - _HINGE).clamp(0, 0.6) / 0.2
        colour = (colour - 0.75) / 0.3
        mass = (as_double(log_mstar).clamp(7, 11.8) - 9.5) / 0.8
        thin = (as_double(log_axes).clamp(0, 1) - 0.25) / 0.25
        one = torch.ones_like(colour)
        squares = [colour**2, mass**2, thin**2, colour * mass, colour * thin, mass * thin]
        mode = [one, colour, mass, thin, *squares, red, red * mass, red**2]
        return torch.stack(mode, 1), torch.stack([one, colour, mass, red, colour**2, mass**2], 1)

    @staticmethod
    def shape(
        coefficients: tuple[Tensor, Tensor, Tensor], mode_terms: Tensor, width_terms: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return mode, width below and width above of some coefficients and the terms of `design`."""
        mode, below, above = coefficients
        return (
            mode_terms @ mode,
            # Before the exponential: where that overflows, 0 times infinity would be the slope of a fit.
            torch.exp((width_terms @ below).clamp(math.log(0.1), math.log(1.5))),
            torch.exp((width_terms @ above).clamp(math.log(0.1), 0.0)),
        )

    def at(self, g_minus_i: Any, log_mstar: Any, log_axes: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Return mode, width below and width above (n,) of galaxies; parameters as of `design`."""
        terms = self.design(g_minus_i, log_mstar, log_axes)
        return self.shape((self.mode, self.below, self.above), *terms)


def log_pdf(value: Tensor, mode: Tensor, below: Tensor, above: Tensor) -> Tensor:
    """Return the logarithm of the density of a split normal distribution."""
    offset = value - mode
    scaled = offset / torch.where(offset < 0, below, above)
    return -0.5 * scaled**2 - torch.log(0.5 * (below + above)) - 0.5 * math.log(2 * math.pi)


def log_cdf(value: Tensor, mode: Tensor, below: Tensor, above: Tensor) -> Tensor:
    """Return the logarithm of the probability below a value."""
    offset = value - mode
    # Both sides are computed at every value: each is kept finite where the other one counts.
    left = torch.log(2 * below / (below + above)) + torch.special.log_ndtr(offset.clamp(max=0) / below)
    right = torch.log1p(-2 * above / (below + above) * torch.special.ndtr(-offset.clamp(min=0) / above))
    return torch.where(offset < 0, left, right)


def log_sf(value: Tensor, mode: Tensor, below: Tensor, above: Tensor) -> Tensor:
    """Return the logarithm of the probability above a value."""
    return log_cdf(-value, -mode, above, below)
