"""HI mass fractions from pictures: what of the estimator is about gas."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from hifrac._picture_estimator import PictureEstimator, Request
from hifrac.cutouts import CutoutSource
from hifrac.models import Model
from hifrac.models.answer import INTERVAL_LEVELS
from hifrac.models.calibration import GSWLC, SELECTIONS

if TYPE_CHECKING:
    from hifrac.core.evidence import Evidence

__all__ = ["HIFractionEstimator"]


class HIFractionEstimator(PictureEstimator):
    """HI mass fractions from pictures.

    Parameters
    ----------
    model : str, path-like or `~hifrac.models.Model`, optional
        Name of a bundled model, folder of a model, or a loaded model;
        ``conf.model``, which is ``"default"``, by default.
    selection : {"intrinsic", "alfalfa", "undetected"}, optional
        How the galaxies came into the sample. By default ``"intrinsic"``, the galaxies as they are, for
        samples that do not look at HI; ``"alfalfa"`` for galaxies that ALFALFA detects, ``"undetected"`` for
        those that it looked at in vain. Models without distributions have one answer, and take none.
    mass_scale : {"taylor", "gswlc"}, optional
        The scale of stellar masses: of Taylor et al. (2011), the default, or of GSWLC-2 (Salim et al. 2018).
        Result and ``log_mstar`` are both on it.
    photometry : {"sdss"}, optional
        Ask SkyServer for the magnitudes, axis ratios and redshifts that rows lack, by ``objid`` or position,
        sixteen rows a second, and keep them in the local store. By default a table's own are used.
    cutouts : `~hifrac.cutouts.CutoutSource`, optional
        Where pictures come from, for instance
        `~hifrac.cutouts.LocalCutouts`. By default the survey service that the
        model's recipe names, through the local store.
    device : {"auto", "cpu", "cuda"} or a torch device, optional
        Where the network runs; ``conf.device`` by default.
    batch_size : int, optional
        Pictures in one batch, at least 1; ``conf.batch_size`` by
        default. The result does not depend on it.

    Raises
    ------
    TypeError
        If ``cutouts`` is no source, ``batch_size`` no integer, or ``device``
        is given together with a loaded model.
    ValueError
        If ``model`` is one of another estimator, ``batch_size`` is below 1, ``selection``, ``mass_scale`` or
        ``photometry`` is unknown or one that the model has no use for, or ``cutouts`` gives pictures of
        another recipe than the model's. For ``model`` and ``device`` see `~hifrac.models.load_model`.

    Notes
    -----
    With a column ``log_mstar`` (dex of solar masses) the result has the HI mass as well.

    Local files do not tell their recipe: that they are of the model's is the
    caller's word, and only their size is checked.

    What stopped a row is logged at level INFO by the logger ``hifrac.estimator``.

    Examples
    --------
    >>> from hifrac import HIFractionEstimator, LocalCutouts
    >>> from hifrac.demo import PICTURES, sample_table
    >>> estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
    >>> result = estimator.predict(sample_table())
    >>> len(result)
    27
    """

    quantity = "hi"
    model_setting = "model"
    _takes_others = True
    _uses = ("log_cz", "g_minus_i", "axis_ratio", "log_mstar", "log_mhi_limit")

    # Here, for the documentation has the methods of each estimator.
    predict = PictureEstimator.predict
    explain = PictureEstimator.explain

    def __init__(
        self,
        model: str | Path | Model | None = None,
        *,
        selection: str | None = None,
        mass_scale: str | None = None,
        photometry: str | None = None,
        cutouts: CutoutSource | None = None,
        device: str | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__(model, photometry=photometry, cutouts=cutouts, device=device, batch_size=batch_size)
        self.model.require(selection=selection, mass_scale=mass_scale)
        self.selection, self.mass_scale = selection, mass_scale

    def _options(self, request: Request, rows: list[int] | np.ndarray) -> dict[str, Any]:
        options = super()._options(request, rows)
        return {**options, "selection": self.selection, "mass_scale": self.mass_scale}

    def _scales(self) -> dict[str, str]:
        scales = super()._scales()
        if self.mass_scale == "gswlc":
            scales["mass_scale"] = GSWLC
        if self.model.posterior_model is not None:
            scales["selection"] = self.selection or SELECTIONS[0]
        return scales

    def _derive(self, values: dict[str, np.ndarray], evidence: Evidence) -> None:
        """Add the HI mass; to its quantiles, in quadrature, the error of the stellar mass where it is known.

        That error does not blur an upper limit, which is one of the HI mass itself.
        """
        if "log_mhi" not in values:
            return
        estimate, error = values["log_hi_fraction"], np.nan_to_num(evidence.log_mstar_err)
        limit = np.nan_to_num(evidence.log_mhi_limit, nan=np.inf)
        values["log_mhi"] = estimate + evidence.log_mstar
        for suffix, level in INTERVAL_LEVELS.items():
            offset = values[f"log_hi_fraction_{suffix}"] - estimate
            offset = np.copysign(np.hypot(offset, NormalDist().inv_cdf(level) * error), level - 0.5)
            values[f"log_mhi_{suffix}"] = np.minimum(estimate + offset + evidence.log_mstar, limit)
