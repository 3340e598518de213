"""The network of spectra: measurements of a galaxy, and learned heads that read its spectrum off them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn

from hifrac.models.photometry import PHOTOMETRIC
from hifrac.models.reading import ReadingNet
from hifrac.models.spectrum_table import LATENTS, LINE_UNIT
from hifrac.spectra.rest_frame import N_PIXELS

if TYPE_CHECKING:
    from hifrac.spectra import LinearLatents

_N_LATENTS, _N_PHOTOMETRIC = len(LATENTS), len(PHOTOMETRIC)


class SpectrumOutput(NamedTuple):
    """What the network says of a batch of n pictures: its outputs, in the order of the card.

    Attributes
    ----------
    estimate : Tensor, shape (n,)
        Equivalent width of H-alpha in Angstrom, positive in emission.
    log_continuum_3900_6500, log_continuum_4340_5877 : Tensor, shape (n,)
        log10 of the ratio of the continua, per unit of wavelength, at two wavelengths in Angstrom.
    latent_1, latent_2, latent_3, latent_4, latent_5 : Tensor, shape (n,)
        The template spectrum of norm 1: its coordinates about the mean spectrum, along the network's basis.
    mag_u, mag_g, mag_r, mag_i, mag_z : Tensor, shape (n,)
        Model magnitudes of SDSS that the picture shows, not corrected for the Galaxy.
    log_cz : Tensor, shape (n,)
        log10 of the redshift times the speed of light in km/s.
    log_mstar : Tensor, shape (n,)
        log10(M* / Msun) on the scale of Taylor et al. (2011).
    distance : Tensor, shape (n,)
        Distance from the training set in feature space; 1 is its edge.
    """

    estimate: Tensor
    log_continuum_3900_6500: Tensor
    log_continuum_4340_5877: Tensor
    latent_1: Tensor
    latent_2: Tensor
    latent_3: Tensor
    latent_4: Tensor
    latent_5: Tensor
    mag_u: Tensor
    mag_g: Tensor
    mag_r: Tensor
    mag_i: Tensor
    mag_z: Tensor
    log_cz: Tensor
    log_mstar: Tensor
    distance: Tensor


class SpectrumNet(ReadingNet):
    """Measures colour, size, shape and texture, and reads a spectrum off them.

    Parameters
    ----------
    width : int
        Side of the square pictures in pixels; at least 64 and a multiple of 4.
    n_heads : int, optional
        Heads that read photometry, redshift, mass and latents, and whose mean counts: from 1 to 16.

    Notes
    -----
    Two steps: the latents of the template spectrum, with magnitudes, redshift and stellar mass, learned from
    thousands of pictures; and linear maps of these, of their squares too for H-alpha, to what was measured
    on real spectra of hundreds.
    """

    if TYPE_CHECKING:  # TorchScript reads no annotations that are text
        mean_spectrum: Tensor
        latent_basis: Tensor

    def __init__(self, width: int = 128, n_heads: int = 6) -> None:
        super().__init__(width, n_heads, _N_LATENTS)
        n = _N_PHOTOMETRIC + _N_LATENTS
        self.h_alpha = nn.Linear(2 * n, 1)
        self.continuum = nn.Linear(n, 2)
        self.line_unit = LINE_UNIT
        # These read no pictures: what the latents mean is of one file with what reads them.
        self.register_buffer("mean_spectrum", torch.zeros(N_PIXELS))
        self.register_buffer("latent_basis", torch.zeros(_N_LATENTS, N_PIXELS))

    def forward_head(self, features: Tensor) -> SpectrumOutput:
        """Apply the heads to the measurements."""
        quantities = self.quantities(features)
        inputs = self.head_inputs(quantities)
        lines = self.h_alpha(inputs)[:, 0]
        continuum = self.continuum(inputs[:, : quantities.shape[1]])
        u, g, r, i, z = self.magnitudes(quantities)
        return SpectrumOutput(
            self.line_unit * torch.sinh(lines.clamp(-6.0, 6.0)),
            continuum[:, 0],
            continuum[:, 1],
            quantities[:, 8],
            quantities[:, 9],
            quantities[:, 10],
            quantities[:, 11],
            quantities[:, 12],
            u,
            g,
            r,
            i,
            z,
            quantities[:, 6],
            quantities[:, 7],
            self.distance(features),
        )

    def head_inputs(self, quantities: Tensor) -> Tensor:
        """Return what the linear heads read: readings in units of their spread, and their squares."""
        shown = self.standard_readings(quantities)
        return torch.cat([shown, shown**2], 1)


def latents_of(network: nn.Module) -> LinearLatents:
    """Return the latent space of a `SpectrumNet`, scripted or not: ``decode`` makes spectra of latents."""
    from hifrac.spectra import LinearLatents

    # A script has attributes, and no `get_buffer`.
    basis, mean = (cast(Tensor, getattr(network, name)) for name in ("latent_basis", "mean_spectrum"))
    return LinearLatents(basis.double().cpu().numpy(), mean.double().cpu().numpy())
