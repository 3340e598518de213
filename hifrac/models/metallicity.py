"""The metallicity network: measurements of a galaxy, and learned heads that read 12 + log(O/H) off them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hifrac.models.photometry import PHOTOMETRIC
from hifrac.models.reading import ReadingNet


class MetallicityOutput(NamedTuple):
    """What the network says of a batch of n pictures: its outputs, in the order of the card.

    Attributes
    ----------
    estimate : Tensor, shape (n,)
        12 + log(O/H) of the gas, on the scale of Tremonti et al. (2004), of a star-forming galaxy, from the
        picture alone.
    mag_u, mag_g, mag_r, mag_i, mag_z : Tensor, shape (n,)
        Model magnitudes of SDSS that the picture shows, not corrected for the Galaxy.
    log_cz : Tensor, shape (n,)
        log10 of the redshift times the speed of light in km/s.
    log_mstar : Tensor, shape (n,)
        log10(M* / Msun) on the scale of Taylor et al. (2011).
    star_forming_logit : Tensor, shape (n,)
        Log odds that the galaxy is star-forming, as its emission lines would tell, at equal prior odds.
    distance : Tensor, shape (n,)
        Distance from the training set in feature space; 1 is its edge.
    """

    estimate: Tensor
    mag_u: Tensor
    mag_g: Tensor
    mag_r: Tensor
    mag_i: Tensor
    mag_z: Tensor
    log_cz: Tensor
    log_mstar: Tensor
    star_forming_logit: Tensor
    distance: Tensor


class MetallicityNet(ReadingNet):
    """Measures colour, size, shape and texture, and reads the metallicity of the gas off them.

    Parameters
    ----------
    width : int
        Side of the square pictures in pixels; at least 64 and a multiple of 4.
    n_heads : int, optional
        Heads that read magnitudes, redshift and mass, and whose mean counts: from 1 to 16.

    Notes
    -----
    Two steps: the magnitudes, redshift and stellar mass that the picture shows, learned from thousands of
    pictures; and a linear map of these, of the square of the mass, where the mass-metallicity relation
    flattens, and of the measurements, learned from hundreds.
    """

    def __init__(self, width: int = 128, n_heads: int = 6) -> None:
        super().__init__(width, n_heads)
        n_inputs = self.n_features + len(PHOTOMETRIC) + 1
        self.metallicity = nn.Linear(n_inputs, 1)
        self.star_forming = nn.Linear(n_inputs, 1)

    def forward_head(self, features: Tensor) -> MetallicityOutput:
        """Apply the heads to the measurements."""
        quantities = self.quantities(features)
        inputs = self.head_inputs(features, quantities)
        u, g, r, i, z = self.magnitudes(quantities)
        return MetallicityOutput(
            self.metallicity(inputs)[:, 0],
            u,
            g,
            r,
            i,
            z,
            quantities[:, 6],
            quantities[:, 7],
            self.star_forming(inputs)[:, 0],
            self.distance(features),
        )

    def head_inputs(self, features: Tensor, quantities: Tensor) -> Tensor:
        """Return what the linear heads read: measurements, ``PHOTOMETRIC`` and the square of the mass."""
        shown = self.standard_readings(quantities)
        return torch.cat([self.standardise(features), shown, shown[:, -1:] ** 2], 1)
