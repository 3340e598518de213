"""Metallicities from pictures: what of the estimator is about oxygen."""

from __future__ import annotations

from pathlib import Path

from hifrac._picture_estimator import PictureEstimator
from hifrac.cutouts import CutoutSource
from hifrac.models import Model

#: The only scale of the estimates, by the name of the parameter, and in words.
OH_SCALE = "tremonti2004"
_SCALE = "Tremonti et al. (2004), oh_p50 of MPA-JHU"


class MetallicityEstimator(PictureEstimator):
    """Oxygen abundances of the gas, 12 + log(O/H), from pictures.

    Parameters
    ----------
    model : str, path-like or `~hifrac.models.Model`, optional
        Name of a bundled model, folder of a model, or a loaded model, with ``oh`` as its target;
        ``conf.metallicity_model``, which is ``"metallicity"``, by default.
    oh_scale : {"tremonti2004"}, optional
        The scale on which the abundances are wanted. There is one, that of Tremonti et al. (2004), of whose
        catalogue (MPA-JHU) the labels are; other calibrations differ by up to 0.7 dex.
    photometry : {"sdss"}, optional
        Ask SkyServer for the magnitudes and redshifts that rows lack, by ``objid`` or position, sixteen rows
        a second, and keep them in the local store. By default a table's own are used.
    cutouts : `~hifrac.cutouts.CutoutSource`, optional
        Where pictures come from, for instance `~hifrac.cutouts.LocalCutouts`. By default the survey service
        that the model's recipe names, through the local store.
    device : {"auto", "cpu", "cuda"} or a torch device, optional
        Where the network runs; ``conf.device`` by default.
    batch_size : int, optional
        Pictures in one batch, at least 1; ``conf.batch_size`` by default. The result does not
        depend on it.

    Raises
    ------
    TypeError
        If ``cutouts`` is no source, ``batch_size`` no integer, or ``device`` is given together with a loaded
        model.
    ValueError
        If ``model`` estimates another quantity, ``oh_scale`` or ``photometry`` is unknown, ``batch_size`` is
        below 1, or ``cutouts`` gives pictures of another recipe than the model's. For ``model`` and
        ``device`` see `~hifrac.models.load_model`.

    Notes
    -----
    The abundance is measured from emission lines of young stars' gas: passive galaxies and AGN have no such
    label, and the model has seen none. They are estimated like the others, with a low ``p_star_forming`` and
    the flag NOT_STAR_FORMING.

    Of a table ``z``, the SDSS magnitudes (any of u, g, r, i, z) and ``log_mstar`` (dex of solar masses, on
    the scale of Taylor et al. 2011) are evidence; what is not there is read off the picture.

    What stopped a row is logged at level INFO by the logger ``hifrac.estimator``.

    Examples
    --------
    >>> from hifrac import LocalCutouts, MetallicityEstimator
    >>> from hifrac.demo import PICTURES, sample_table
    >>> estimator = MetallicityEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
    >>> result = estimator.predict(sample_table())
    >>> len(result)
    27
    """

    quantity = "metallicity"
    model_setting = "metallicity_model"
    _uses = ("log_cz", "magnitudes", "log_mstar")

    # Here, for the documentation has the methods of each estimator.
    predict = PictureEstimator.predict
    explain = PictureEstimator.explain

    def __init__(
        self,
        model: str | Path | Model | None = None,
        *,
        oh_scale: str | None = None,
        photometry: str | None = None,
        cutouts: CutoutSource | None = None,
        device: str | None = None,
        batch_size: int | None = None,
    ) -> None:
        if oh_scale not in (None, OH_SCALE):
            raise ValueError(
                f"oh_scale must be {OH_SCALE!r}, got {oh_scale!r}: the labels are on the scale of {_SCALE}, "
                "and estimates on no other; hifrac.relations has other calibrations, and conversions"
            )
        super().__init__(model, photometry=photometry, cutouts=cutouts, device=device, batch_size=batch_size)

    def _scales(self) -> dict[str, str]:
        return {"oh_scale": _SCALE}
