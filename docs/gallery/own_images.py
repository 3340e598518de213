"""
Pictures of your own
====================

**Objective:** estimates from JPEG, PNG and FITS files in a folder; what becomes of unsuitable ones.
**Data:** pictures of *simulated* galaxies, drawn by this script in place of yours.
"""

# %%
# Three files, named as rows of a table are. FITS holds fluxes in nanomaggies per pixel, in planes i, r, g.
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable
from PIL import Image

from hifrac.simulate import SimulatedGalaxy, encode_jpeg, model_flux, render

temporary = TemporaryDirectory()
folder = Path(temporary.name)
spiral = SimulatedGalaxy(i_mag=14.9, g_minus_r=0.45, r_minus_i=0.2, r50=8, axial_ratio=0.6, n_arms=2)
picture = render(spiral, rng=1)
(folder / "mine-1.jpg").write_bytes(encode_jpeg(picture))
Image.fromarray(picture).save(folder / "mine-2.png")
noise = np.random.default_rng(3).normal(0, 0.01, (3, 128, 128))
fluxes = np.moveaxis(model_flux(spiral, rng=3), -1, 0) + noise
fits.writeto(folder / "mine-3.fits", fluxes[:, ::-1])  # FITS images begin with the lowest row

# %%
# :class:`~hifrac.cutouts.LocalCutouts` takes a folder, or a zip or tar archive, and the column that names
# the files. A row without its file is flagged, and stops no other. The model knows JPEG pictures as of
# SDSS: what comes uncompressed, as ``mine-2``, is compressed so first. With other noise, as in ``mine-3``, a
# picture is not of its kind, though the estimate differs little.
from hifrac import HIFractionEstimator, LocalCutouts, decode_flags


def estimate(names):
    """Estimates of pictures in the folder, with the names of their flags."""
    table = QTable({"file": names, "coord": SkyCoord([184.95] * len(names), 5.12, unit="deg")})
    result = HIFractionEstimator(cutouts=LocalCutouts(folder, name="file")).predict(table)
    result["meaning"] = [", ".join(flags) for flags in decode_flags(result["flags"])]
    result["log_hi_fraction"].info.format = result["ood_score"].info.format = ".2f"
    return result["file", "log_hi_fraction", "ood_score", "meaning"]


estimate(["mine-1", "mine-2", "mine-3", "mine-4"])

# %%
# **Another stretch.** A :class:`~hifrac.images.Stretch` turns fluxes into colours. FITS goes through that of
# SDSS's own pictures; other stretches give other colours and estimates, flagged or not.
import matplotlib.pyplot as plt

from hifrac.images import STRETCHES, lupton_rgb, to_jpeg

stretches = {"sdss": STRETCHES["sdss"].rgb, "legacy": STRETCHES["legacy"].rgb, "lupton": lupton_rgb}
figure, panels = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
for axes, (name, stretch) in zip(panels, stretches.items(), strict=True):
    pixels = stretch(*fluxes).astype(np.uint8)
    (folder / f"{name}.jpg").write_bytes(to_jpeg(pixels))
    axes.imshow(pixels)
    axes.set(title=name, xticks=[], yticks=[])
plt.show()
estimate(list(stretches))

# %%
# **Another frame.** The same galaxy at half and twice the pixel scale, off the centre, and with red and
# blue exchanged. All have the right size, and so all get an estimate. ``OUT_OF_DISTRIBUTION`` catches what
# looks unlike every training picture, not each wrong frame: compare the estimates with that of ``mine-1``.
from dataclasses import replace

from hifrac.cutouts import SDSS_RECIPE

frames = {f"scale-{scale}": replace(SDSS_RECIPE, pixel_scale=scale) for scale in (0.2, 0.8)}
wrong = {name: render(spiral, rng=1, recipe=recipe) for name, recipe in frames.items()}
wrong |= {f"off-by-{n}-px": np.roll(picture, (n, n), (0, 1)) for n in (10, 30)}
wrong["bgr"] = np.ascontiguousarray(picture[..., ::-1])
for name, pixels in wrong.items():
    (folder / f"{name}.jpg").write_bytes(encode_jpeg(pixels))
estimate(list(wrong))

# %%
# Better to say what files are: a :class:`~hifrac.cutouts.CutoutRecipe` that is not the model's is refused.
try:
    HIFractionEstimator(cutouts=LocalCutouts(folder, recipe=frames["scale-0.8"])).predict(QTable())
except ValueError as error:
    print(error)
temporary.cleanup()
