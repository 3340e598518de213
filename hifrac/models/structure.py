"""The structure network: measurements of a galaxy, and learned heads that read the HI off them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from hifrac.core.reddening import EXTINCTION_PER_EBV
from hifrac.models.measuring import MeasuringNet
from hifrac.models.photometry import PhotometryHead
from hifrac.models.population import Population
from hifrac.models.prior import Prior, Residuals
from hifrac.models.selection import Selection


class NetworkOutput(NamedTuple):
    """What the network says of a batch of n pictures: its outputs, in the order of the card.

    Attributes
    ----------
    estimate : Tensor, shape (n,)
        log10(M_HI / M*), in dex, of a galaxy that ALFALFA detects, from the picture alone: the prior of the
        photometry that the picture shows, and what its measurements add.
    residual_redshift, residual_photometry : Tensor, shape (n,)
        What the measurements add to the prior where the redshift, or magnitudes, are known otherwise, dex.
    g_minus_i, i : Tensor, shape (n,)
        Colour and magnitude that the picture shows, not corrected for the Galaxy.
    log_cz : Tensor, shape (n,)
        log10 of the redshift times the speed of light in km/s.
    axis_ratio : Tensor, shape (n,)
        Apparent axis ratio b/a.
    detection_logit : Tensor, shape (n,)
        Log odds that the galaxy is a detection rather than a non-detection,
        at equal prior odds.
    gswlc_offset : Tensor, shape (n,)
        log10 of the ratio of the stellar masses of Taylor et al. (2011) and GSWLC-2, in dex.
    distance : Tensor, shape (n,)
        Distance from the training set in feature space; 1 is its edge.
    """

    estimate: Tensor
    residual_redshift: Tensor
    residual_photometry: Tensor
    g_minus_i: Tensor
    i: Tensor
    log_cz: Tensor
    axis_ratio: Tensor
    detection_logit: Tensor
    gswlc_offset: Tensor
    distance: Tensor


class StructureNet(MeasuringNet):
    """Measures colour, size, shape and texture, and reads the HI fraction off them.

    Parameters
    ----------
    width : int
        Side of the square pictures in pixels; at least 64 and a multiple of 4.
    """

    def __init__(self, width: int = 128) -> None:
        super().__init__(width)
        n_features = self.n_features
        self.photometry = PhotometryHead(n_features)
        self.axis_ratio = nn.Linear(n_features, 1)
        self.prior = Prior()
        self.residual = Residuals(n_features)
        self.detection = nn.Linear(n_features, 1)
        self.gswlc_offset = nn.Linear(n_features, 1)
        # These do not read pictures: the answer is made with them, and they are of one file with the rest.
        self.population = Population()
        self.selection = Selection()
        self.reddening_i = EXTINCTION_PER_EBV["i"]
        self.reddening_g_minus_i = EXTINCTION_PER_EBV["g"] - EXTINCTION_PER_EBV["i"]

    def forward_head(self, features: Tensor) -> NetworkOutput:
        """Apply the heads to the measurements."""
        standard, ebv = self.standardise(features), features[:, -1]
        quantities = self.photometry(features)
        g_minus_i, i, log_cz = quantities[:, 0], quantities[:, 1], quantities[:, 6]
        axis_ratio = self.axis_ratio(standard)[:, 0].clamp(0.15, 1.0)
        prior = self.prior(
            g_minus_i - self.reddening_g_minus_i * ebv, i - self.reddening_i * ebv, log_cz, axis_ratio
        )
        return NetworkOutput(
            prior.to(standard.dtype)
            + self.residual.picture.of_features(standard)
            + self.residual.picture.of_extra(quantities),
            self.residual.redshift.of_features(standard),
            self.residual.photometry.of_features(standard),
            g_minus_i,
            i,
            log_cz,
            axis_ratio,
            self.detection(standard)[:, 0],
            self.gswlc_offset(standard)[:, 0],
            self.distance(features),
        )
