"""The HI fraction of each galaxy as a distribution: from the evidence, and from how it was selected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from hifrac.core.evidence import Evidence
from hifrac.core.reddening import EXTINCTION_PER_EBV
from hifrac.models.calibration import EVIDENCE_SETS, PosteriorTable
from hifrac.models.density import NORMAL_SCORES, Density
from hifrac.models.population import Population
from hifrac.models.prior import Prior, Residual
from hifrac.models.selection import (
    Selection,
    as_double,
    detection_score,
    distance_modulus,
    reach,
    relative_noise,
    taylor_mass,
)

if TYPE_CHECKING:
    from hifrac.models.calibration import Outputs

_Part = TypeVar("_Part", bound=nn.Module)

#: Errors of E(B-V): relative, and in mag.
EBV_ERROR = (0.10, 0.01)

#: Differences to the magnitudes of the picture are limited to this, in g-i and in i.
PHOTOMETRY_LIMITS = (0.3, 0.8)

# Errors of log10(cz): of pictures, and of tables.
_LOG_CZ_ERRORS = (0.13, 0.01)
_AXIS_RATIOS = (0.1, 1.0)
# Log odds of a detection beyond these say no more.
_MOST_LOG_ODDS = 9.0

_REDDENING = EXTINCTION_PER_EBV["g"] - EXTINCTION_PER_EBV["i"]


@dataclass(frozen=True, eq=False)
class Galaxies:
    """What is taken to be true of n galaxies: the evidence, and what the picture shows where there is none.

    Attributes
    ----------
    g_minus_i, i, log_cz, axis_ratio, log_mstar : Tensor, shape (n,)
        As of `hifrac.core.evidence.Evidence`, the mass on the scale of Taylor et al. (2011).
    has_mass, has_redshift, has_photometry : Tensor of bool, shape (n,)
        Where they are of the table.
    dec : Tensor, shape (n,)
        Declination in degrees; NaN where unknown.
    ebv_error : Tensor, shape (n,)
        Error of the reddening, mag.
    shown : mapping of str to Tensor, shape (n,)
        The first four as the picture shows them.
    """

    g_minus_i: Tensor
    i: Tensor
    log_cz: Tensor
    axis_ratio: Tensor
    log_mstar: Tensor
    has_mass: Tensor
    has_redshift: Tensor
    has_photometry: Tensor
    dec: Tensor
    ebv_error: Tensor
    shown: Mapping[str, Tensor]

    @property
    def log_axes(self) -> Tensor:
        """log10 of a/b."""
        return -torch.log10(self.axis_ratio)

    @property
    def modulus(self) -> Tensor:
        """Distance modulus."""
        return distance_modulus(self.log_cz)

    @classmethod
    def resolve(cls, outputs: Outputs, ebv: Tensor, evidence: Evidence, mass_scale: str) -> Galaxies:
        """Choose between evidence and picture; parameters as of `PosteriorModel.infer`, no NaN in ``ebv``."""
        shown = {name: as_double(outputs[name]) for name in ("g_minus_i", "i", "log_cz", "axis_ratio")}
        shown["g_minus_i"] = shown["g_minus_i"] - _REDDENING * ebv
        shown["i"] = shown["i"] - EXTINCTION_PER_EBV["i"] * ebv
        table = {name: as_double(getattr(evidence, name)) for name in shown}
        # A colour without a magnitude, or the other way round, was not learned with.
        has_photometry = torch.isfinite(table["g_minus_i"]) & torch.isfinite(table["i"])
        is_known = {name: torch.isfinite(values) for name, values in table.items()}
        is_known |= dict.fromkeys(("g_minus_i", "i"), has_photometry)
        best = {name: torch.where(is_known[name], table[name], shown[name]) for name in shown}
        best["axis_ratio"] = best["axis_ratio"].clamp(*_AXIS_RATIOS)
        mass = as_double(evidence.log_mstar)
        if mass_scale == "gswlc":
            mass = mass + as_double(outputs["gswlc_offset"])
        galaxies = cls(
            **best,
            log_mstar=mass,
            has_mass=torch.isfinite(mass),
            has_redshift=is_known["log_cz"],
            has_photometry=has_photometry,
            dec=as_double(evidence.dec),
            ebv_error=EBV_ERROR[0] * ebv + EBV_ERROR[1],
            shown=shown,
        )
        return galaxies._with_mass()

    def _with_mass(self) -> Galaxies:
        """Return the galaxies with the masses of their photometry where no other are known."""
        mass = taylor_mass(self.g_minus_i, self.i, self.modulus, self.log_axes)
        return replace(self, log_mstar=torch.where(self.has_mass, self.log_mstar, mass))

    @property
    def evidence_set(self) -> Tensor:
        """Index of each galaxy's set in ``EVIDENCE_SETS``."""
        return self.has_redshift.long() + 2 * self.has_photometry.long()

    def behind_more_dust(self) -> Galaxies:
        """Return the galaxies as they are if the Galaxy reddens them by one standard error more."""
        i = self.i - EXTINCTION_PER_EBV["i"] * self.ebv_error
        g_minus_i = self.g_minus_i - _REDDENING * self.ebv_error
        return replace(self, i=i, g_minus_i=g_minus_i)._with_mass()


@dataclass(frozen=True, eq=False)
class PosteriorModel:
    """What makes distributions of the outputs of a structure network and the evidence.

    Attributes
    ----------
    population, selection, prior, redshift, photometry : modules
        Those of the network, in double precision; the last two are its residuals.
    table : `~hifrac.models.PosteriorTable`
        The calibration.
    typical_ebv : float
        E(B-V) where it is not known, mag.
    """

    population: Population
    selection: Selection
    prior: Prior
    redshift: Residual
    photometry: Residual
    table: PosteriorTable
    typical_ebv: float

    @classmethod
    def from_network(cls, network: nn.Module, table: PosteriorTable) -> PosteriorModel:
        """Take the parts of a structure network, as Python has it or as a script."""
        state = network.state_dict()
        n_features = len(state["center"])
        return cls(
            _part(Population(), state, "population."),
            _part(Selection(), state, "selection."),
            _part(Prior(), state, "prior."),
            _part(Residual(n_features, 1), state, "residual.redshift."),
            _part(Residual(n_features, 2), state, "residual.photometry."),
            table,
            float(state["center"][-1]),
        )

    def infer(
        self,
        outputs: Outputs,
        ebv: np.ndarray | None,
        evidence: Evidence | None = None,
        mass_scale: str = "taylor",
    ) -> Posterior:
        """Return what follows for each galaxy.

        Parameters
        ----------
        outputs : mapping of str to array of float, shape (n,)
            Those of the network by name.
        ebv : array of float, shape (n,), or None
            Galactic reddening E(B-V) in mag; NaN where unknown.
        evidence : `~hifrac.core.evidence.Evidence`, optional
            What the table says.
        mass_scale : {"taylor", "gswlc"}, optional
            That of all stellar masses, those of the evidence included.
        """
        n = len(outputs["estimate"])
        dust = as_double(np.full(n, np.nan) if ebv is None else ebv)
        dust = torch.nan_to_num(dust, nan=self.typical_ebv)
        evidence = Evidence.none(n) if evidence is None else evidence
        galaxies = Galaxies.resolve(outputs, dust, evidence, mass_scale)
        limit = as_double(evidence.log_mhi_limit) - galaxies.log_mstar
        return Posterior(self, outputs, galaxies, limit, mass_scale)


@dataclass(frozen=True, eq=False)
class Posterior:
    """What follows for n galaxies. Made by `PosteriorModel.infer`.

    Attributes
    ----------
    model : PosteriorModel
        What it was made with.
    outputs : mapping of str to array of float, shape (n,)
        Those of the network.
    galaxies : Galaxies
        What is taken to be true of the galaxies.
    limit : Tensor, shape (n,)
        Upper limit of log10(M_HI/M*) on the scale of Taylor, NaN without one.
    mass_scale : str
        That of the result.
    """

    model: PosteriorModel
    outputs: Outputs
    galaxies: Galaxies
    limit: Tensor
    mass_scale: str

    def density(self, selection: str = "intrinsic") -> Density:
        """Return the distributions of log10(M_HI/M*).

        Parameters
        ----------
        selection : {"intrinsic", "alfalfa", "undetected"}, optional
            How the galaxies came into the sample.
        """
        is_gswlc = self.mass_scale == "gswlc"
        if selection == "alfalfa":
            table = as_double(self.model.table.scores_at(NORMAL_SCORES.numpy(), self.mass_scale))
            density = Density.of_scores(self.location, self.unit, table[self.galaxies.evidence_set])
        elif is_gswlc and self.model.table.scatter_gswlc:
            density = self._split_normal(self.model.table.scatter_gswlc)
        else:
            density = self._intrinsic
        if selection == "undetected":
            density = density.weighted(torch.special.log_ndtr(-self._detection_score(density)))
        density = density.below(self.limit)
        return density.shifted(as_double(self.outputs["gswlc_offset"])) if is_gswlc else density

    @property
    def detection_log_odds(self) -> Tensor:
        """Log odds (n,) that ALFALFA detects the galaxy as it is, redshift and limit included; bounded."""
        density = self._intrinsic.below(self.limit)
        errors = as_double(_LOG_CZ_ERRORS)[self.galaxies.has_redshift.long()]
        probability = (density.masses * torch.special.ndtr(self._detection_score(density))).sum(1)
        # A sum of shares may be more than 1 in its last digit.
        probability = (probability * reach(self.galaxies.log_cz, errors)).clamp(0, 1)
        return torch.logit(probability).clamp(-_MOST_LOG_ODDS, _MOST_LOG_ODDS)

    @property
    def detection_bound(self) -> Tensor:
        """Upper bound (n,) of the probability of a detection, of what the table says alone.

        No galaxy beyond the band of ALFALFA is detected, and none with less HI than its limit at better odds
        than one with as much, whatever the picture looks like.
        """
        galaxies, error = self.galaxies, as_double(_LOG_CZ_ERRORS[1])
        bound = torch.where(galaxies.has_redshift, reach(galaxies.log_cz, error), 1.0)
        at_limit = torch.special.ndtr(detection_score(self.limit, self._mass_limit))
        return torch.minimum(bound, torch.nan_to_num(at_limit, nan=1.0))

    @cached_property
    def location(self) -> Tensor:
        """log10(M_HI/M*) (n,) that prior and picture let expect of detected galaxies, before calibration."""
        shown, galaxies, model = self.galaxies.shown, self.galaxies, self.model
        of_picture = as_double(self.outputs["estimate"]) - model.prior(*shown.values())
        of_redshift = model.redshift.of_extra((galaxies.log_cz - shown["log_cz"])[:, None])
        limits = zip(("g_minus_i", "i"), PHOTOMETRY_LIMITS, strict=True)
        differences = [(getattr(galaxies, name) - shown[name]).clamp(-most, most) for name, most in limits]
        of_photometry = model.photometry.of_extra(torch.stack(differences, 1))
        residual = torch.where(
            galaxies.has_redshift, as_double(self.outputs["residual_redshift"]) + of_redshift, of_picture
        )
        residual = torch.where(
            galaxies.has_photometry, as_double(self.outputs["residual_photometry"]) + of_photometry, residual
        )
        table = model.table
        noise = table.noise_slope * (relative_noise(galaxies.dec) - table.noise_center)
        return self._prior_at(galaxies) + residual + noise

    @cached_property
    def log_spread(self) -> Tensor:
        """Natural logarithm of the spread (n,) of such galaxies, given that ALFALFA detects them."""
        score = self._detection_score(self._intrinsic)
        return torch.log(self._intrinsic.weighted(torch.special.log_ndtr(score)).std())

    @cached_property
    def unit(self) -> Tensor:
        """Unit of the scores of detected galaxies (n,), in dex.

        A power of the spread, whose numbers are those of the calibration; the error of the reddening
        is added in quadrature.
        """
        rows = [self.model.table.widths[name] for name in EVIDENCE_SETS]
        intercept, slope = as_double(rows)[self.galaxies.evidence_set].unbind(1)
        shift = self._prior_at(self.galaxies.behind_more_dust()) - self._prior_at(self.galaxies)
        return torch.sqrt(torch.exp(2 * (intercept + slope * self.log_spread)) + shift**2)

    @cached_property
    def _intrinsic(self) -> Density:
        return self._split_normal(scatter=0.0)

    def _split_normal(self, scatter: float) -> Density:
        """Return those of the population; a scatter and the error of the reddening add in quadrature."""
        mode, *widths = self._population_at(self.galaxies)
        shift = self._population_at(self.galaxies.behind_more_dust())[0] - mode
        below, above = (torch.sqrt(width**2 + shift**2 + scatter**2) for width in widths)
        return Density.split_normal(mode, below, above)

    def _population_at(self, galaxies: Galaxies) -> tuple[Tensor, Tensor, Tensor]:
        return self.model.population.at(galaxies.g_minus_i, galaxies.log_mstar, galaxies.log_axes)

    def _prior_at(self, galaxies: Galaxies) -> Tensor:
        return self.model.prior(galaxies.g_minus_i, galaxies.i, galaxies.log_cz, galaxies.axis_ratio)

    def _detection_score(self, density: Density) -> Tensor:
        """Return what the completeness of ALFALFA follows from in the bins of a density (n, m)."""
        return detection_score(density.middles, self._mass_limit[:, None])

    @cached_property
    def _mass_limit(self) -> Tensor:
        galaxies = self.galaxies
        return self.model.selection.mass_limit(
            galaxies.i, galaxies.modulus, galaxies.log_axes, galaxies.log_mstar, galaxies.dec
        )


def _part(module: _Part, state: Mapping[str, Tensor], prefix: str) -> _Part:
    """Fill a module from what a network has under a prefix, in double precision."""
    values = {name: state[prefix + name].cpu() for name in module.state_dict()}
    module.load_state_dict(values)
    return module.double().requires_grad_(requires_grad=False)
