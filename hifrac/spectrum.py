"""Spectra from pictures: what of the estimator is about them."""

from __future__ import annotations

from hifrac._picture_estimator import PictureEstimator
from hifrac.models.calibration import SpectralTable

#: What a predicted spectrum is, and where its pixels are.
_FLUX = (
    "photometric template spectrum: five templates of stars and gas, as magnitudes and a redshift choose "
    "them; norm 1; no spectrum was measured, and lines that colours do not tell are not in it"
)
_WAVELENGTH = "rest frame, vacuum: log10(lambda / Angstrom) = 3.53 + 0.00039 i, i = 0..999"


class SpectrumEstimator(PictureEstimator):
    """Photometric template spectra in the rest frame, and the strength of H-alpha, from pictures.

    Parameters
    ----------
    model : str, path-like or `~hifrac.models.Model`, optional
        Name of a bundled model, folder of a model, or a loaded model, with ``h_alpha_ew`` as its target;
        ``conf.spectrum_model``, which is ``"spectra"``, by default.
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
        If ``model`` estimates another quantity, or makes no spectra, ``photometry`` is unknown,
        ``batch_size`` is below 1, or ``cutouts`` gives pictures of another recipe than the model's. For
        ``model`` and ``device`` see `~hifrac.models.load_model`.

    Notes
    -----
    What is predicted is a *photometric template spectrum*: the sum of five templates, as fitted to magnitudes
    and a redshift. It is no measured spectrum: it is smooth by nature, of rank five, and has no lines but
    those that go with the colours. The equivalent width of H-alpha and the ratios of continua are predicted
    by heads of their own, which learned from measured spectra: take the line from ``h_alpha_ew``, not off
    the flux.

    A column ``flux`` has 1,000 numbers a row, at the wavelengths of `~hifrac.spectra.rest_wavelength`;
    `~hifrac.spectra.result_spectrum` makes a spectrum of a row. Of a table ``z``, the SDSS magnitudes (any of
    u, g, r, i, z) and ``log_mstar`` are evidence: they move and narrow the template spectrum, and move the
    line and the ratios a little, whose intervals are those without it.

    What stopped a row is logged at level INFO by the logger ``hifrac.estimator``.

    Examples
    --------
    >>> from hifrac import LocalCutouts, SpectrumEstimator
    >>> from hifrac.demo import PICTURES, sample_table
    >>> estimator = SpectrumEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
    >>> result = estimator.predict(sample_table())
    >>> result["flux"].shape
    (27, 1000)
    """

    quantity = "spectrum"
    model_setting = "spectrum_model"
    _uses = ("log_cz", "magnitudes", "log_mstar")

    # Here, for the documentation has the methods of each estimator.
    predict = PictureEstimator.predict
    explain = PictureEstimator.explain

    def _require_quantity(self) -> None:
        super()._require_quantity()
        card = self.model.card
        if not isinstance(card.calibration, SpectralTable):
            raise ValueError(f"model: {card.name!r} makes no spectra: its card has no calibration of such")

    def _scales(self) -> dict[str, str]:
        return {"flux": _FLUX, "wavelength": _WAVELENGTH}
