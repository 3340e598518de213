"""The spectrum of each galaxy as a distribution: what its picture shows, moved by evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hifrac.models.calibration import checked_levels, extrapolated
from hifrac.models.evidence_table import READINGS, EvidenceTable

if TYPE_CHECKING:
    from hifrac.core.evidence import Evidence
    from hifrac.models.calibration import Outputs
    from hifrac.spectra import Latents

#: The latents of a template spectrum, and the ratios of continua: names of the network's outputs.
LATENTS = tuple(f"latent_{number}" for number in range(1, 6))
RATIOS = ("log_continuum_3900_6500", "log_continuum_4340_5877")
#: The equivalent width, in Angstrom, above which lines differ by ratio rather than by difference.
LINE_UNIT = 3.0


@dataclass(frozen=True, kw_only=True)
class SpectrumTable(EvidenceTable):
    """The calibration of a network of spectra; with the parameters of `EvidenceTable`.

    The latents of a galaxy are normally distributed about those that its picture shows, together with the
    differences between catalogue and picture: so evidence moves and narrows them. A pixel of the template
    spectrum is distributed as location + unit x score, the unit being its standard deviation by the
    covariance of the latents, and the scores those of pixels of galaxies that were held out. Evidence moves
    the line and the ratios of continua as well, a little; their widths are those without it.

    Parameters
    ----------
    n, n_lines : int
        How many galaxies were held out: with a template spectrum, and with a real one.
    levels : tuple of float
        Probabilities, increasing, between 0 and 1.
    flux_quantiles : tuple of float
        Quantiles of the scores of pixels at the levels.
    line_quantiles : tuple of float
        Those of asinh(EW / 3 Angstrom) of H-alpha, truth minus estimate.
    ratio_quantiles : tuple of tuple of float, shape (2, levels)
        Those of ``RATIOS``, in dex, truth minus estimate.
    latent_mean : tuple of float, shape (5,)
        Mean difference between the latents of templates and those of pictures.
    latent_covariance : tuple of tuple of float, shape (5, 5)
        Covariance of these differences.
    cross_covariance : tuple of tuple of float, shape (7, 5)
        That of the differences in ``READINGS`` and in the latents.
    line_covariance : tuple of tuple of float, shape (7, 3)
        That of the differences in ``READINGS``, and of what asinh(EW / 3 Angstrom) and ``RATIOS`` miss.

    Raises
    ------
    ValueError
        If lengths are wrong, levels or quantiles do not increase, a number is not finite, or a covariance is
        none.
    """

    n: int
    n_lines: int
    levels: tuple[float, ...]
    flux_quantiles: tuple[float, ...]
    line_quantiles: tuple[float, ...]
    ratio_quantiles: tuple[tuple[float, ...], ...]
    latent_mean: tuple[float, ...]
    latent_covariance: tuple[tuple[float, ...], ...]
    cross_covariance: tuple[tuple[float, ...], ...]
    line_covariance: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "levels", checked_levels(self.levels))
        for name in ("flux_quantiles", "line_quantiles"):
            self._set_numbers(name, len(self.levels))
            if any(np.diff(getattr(self, name)) < 0):
                raise ValueError(f"{name} must not decrease")
        ratios = self._set_matrix("ratio_quantiles", (len(RATIOS), len(self.levels)))
        if np.any(np.diff(ratios) < 0):
            raise ValueError("ratio_quantiles must not decrease")
        self._set_numbers("latent_mean", len(LATENTS))
        self._set_covariance("latent_covariance", len(LATENTS))
        self._set_matrix("cross_covariance", (len(READINGS), len(LATENTS)))
        self._set_matrix("line_covariance", (len(READINGS), 1 + len(RATIOS)))

    def quantiles(
        self,
        outputs: Outputs,
        ebv: np.ndarray | None,
        evidence: Evidence | None,
        levels: Sequence[float] | np.ndarray,
    ) -> np.ndarray:
        """Return quantiles of the equivalent width of H-alpha in Angstrom, positive in emission, (n, k).

        Parameters
        ----------
        outputs : mapping of str to array of float, shape (n,)
            Those of the network by name.
        ebv, evidence
            As of `latents`.
        levels : array of float, shape (k,) or (n, k)
            Probabilities between 0 and 1.

        Returns
        -------
        quantiles : array of float, shape (n, k)
            NaN where an output is NaN.
        """
        location = np.arcsinh(np.asarray(outputs["estimate"], dtype=float) / LINE_UNIT)
        location = location + self._lines_moved(outputs, ebv, evidence)[:, 0]
        scores = self._scores(self.line_quantiles, levels)
        return LINE_UNIT * np.sinh(location[:, None] + np.atleast_2d(scores))

    def ratio(
        self,
        outputs: Outputs,
        ebv: np.ndarray | None,
        evidence: Evidence | None,
        name: str,
        levels: Sequence[float] | np.ndarray,
    ) -> np.ndarray:
        """Return quantiles of one of ``RATIOS`` in dex, (n, k), of what `quantiles` takes."""
        number = RATIOS.index(name)
        scores = self._scores(self.ratio_quantiles[number], levels)
        location = np.asarray(outputs[name], dtype=float)
        location = location + self._lines_moved(outputs, ebv, evidence)[:, 1 + number]
        return location[:, None] + np.atleast_2d(scores)

    def _lines_moved(self, outputs: Outputs, ebv: np.ndarray | None, evidence: Evidence | None) -> np.ndarray:
        """Return by how much evidence moves asinh(EW / 3 Angstrom) and ``RATIOS``, (n, 3)."""
        cross = np.array(self.line_covariance)
        return self.conditional(outputs, ebv, evidence, cross, np.eye(cross.shape[1]))[0]

    def latents(
        self, outputs: Outputs, ebv: np.ndarray | None, evidence: Evidence | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return mean (n, 5) and covariance (n, 5, 5) of the latents of each galaxy.

        Parameters
        ----------
        outputs : mapping of str to array of float, shape (n,)
            Those of the network by name.
        ebv : array of float, shape (n,), or None
            Galactic reddening E(B-V) in mag; NaN where unknown.
        evidence : `~hifrac.core.evidence.Evidence` or None
            What is known of the galaxies.
        """
        cross, prior = np.array(self.cross_covariance), np.array(self.latent_covariance)
        expected, left = self.conditional(outputs, ebv, evidence, cross, prior)
        shown = np.stack([np.asarray(outputs[name], dtype=float) for name in LATENTS], axis=1)
        return shown + self.latent_mean + expected, left

    def flux(
        self,
        space: Latents,
        outputs: Outputs,
        ebv: np.ndarray | None,
        evidence: Evidence | None,
        levels: Sequence[float],
    ) -> np.ndarray:
        """Return quantiles of the template spectra, pixel by pixel, (k, n, n_pixels); at 0.5 the spectra.

        Parameters
        ----------
        space : Latents
            What decodes latents: that of the network, which is linear.
        outputs, ebv, evidence
            As of `latents`.
        levels : sequence of float, length k
            Probabilities between 0 and 1.
        """
        location, unit = self.flux_location_and_unit(space, outputs, ebv, evidence)
        scores = np.where(np.equal(levels, 0.5), 0.0, self._scores(self.flux_quantiles, levels))
        return location + unit * scores[:, None, None]

    def columns(
        self, outputs: Outputs, ebv: np.ndarray | None, evidence: Evidence | None, space: Latents
    ) -> dict[str, np.ndarray]:
        """Return the columns of a result beside the equivalent width; rows without a picture are NaN.

        Parameters
        ----------
        outputs, ebv, evidence, space
            As of `flux`.

        Returns
        -------
        columns : dict of str to array of float
            ``latents``, (n, 5), ``flux``, ``flux_p16`` and ``flux_p84``, (n, n_pixels), and ``RATIOS`` with
            their ``_p16`` and ``_p84``, (n,).
        """
        mean, _ = self.latents(outputs, ebv, evidence)
        flux = self.flux(space, outputs, ebv, evidence, (0.5, 0.16, 0.84))
        columns = {"latents": mean, **dict(zip(("flux", "flux_p16", "flux_p84"), flux, strict=True))}
        for name in RATIOS:
            quantiles = self.ratio(outputs, ebv, evidence, name, (0.5, 0.16, 0.84)).T
            columns |= dict(zip((name, f"{name}_p16", f"{name}_p84"), quantiles, strict=True))
        return columns

    def flux_location_and_unit(
        self, space: Latents, outputs: Outputs, ebv: np.ndarray | None, evidence: Evidence | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return template spectra and the units of their errors, (n, n_pixels) each; see `flux`."""
        mean, covariance = self.latents(outputs, ebv, evidence)
        origin = np.zeros((1, len(LATENTS)))
        basis = space.decode(np.eye(len(LATENTS))) - space.decode(origin)
        variance = np.sum((covariance @ basis) * basis, axis=1)
        return space.decode(mean), np.sqrt(np.maximum(variance, 0.0))

    def _scores(self, quantiles: Sequence[float], levels: Sequence[float] | np.ndarray) -> np.ndarray:
        """Interpolate quantiles at levels, as on probability paper."""
        from scipy.special import ndtri

        return extrapolated(ndtri(np.asarray(levels, dtype=float)), ndtri(self.levels), np.array(quantiles))
