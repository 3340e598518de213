"""
Explain an estimate, and take it to DS9
=======================================

**Objective:** see which pixels speak for more gas and which for less, and take the maps to DS9.
**Data:** three of the bundled *simulated* galaxies.

An estimate of a network is a number until one sees which part of the galaxy made it: the blue arms, or the
star beside them? This page makes maps of evidence, reads them, and writes files that DS9 and CASA open.
"""

# %%
# Maps
# ----
# :meth:`~hifrac.HIFractionEstimator.explain` works out a map when it is asked for one. To iterate keeps
# none of them; a list keeps all, which is right for a few.
from hifrac import HIFractionEstimator, LocalCutouts
from hifrac.demo import PICTURES, sample_table

galaxies = sample_table()[[2, 10, 21]]
estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
explanations = list(estimator.explain(galaxies))
print(*explanations, sep="\n")

# %%
# A map has a sign and a unit: dex per pixel. Its sum and the offset, what the network says of the mean
# galaxy of its training set, are what it says of this one; the gap is what is missing.
from astropy.table import Table

sums = Table({"name": galaxies["name"]})
for name in ("offset", "gap", "prediction"):
    sums[name] = [getattr(one, name) for one in explanations]
sums["for"] = [one.values[one.values > 0].sum() for one in explanations]
sums["against"] = [one.values[one.values < 0].sum() for one in explanations]
sums.round(3)
sums

# %%
# Look
# ----
# :meth:`~hifrac.attribution.Explanation.plot` draws into your axes, here with coordinates on the sky. Grey
# lines are isophotes of the picture.
import matplotlib.pyplot as plt

figure = plt.figure(figsize=(9, 8.6), layout="constrained")
for number, one in enumerate(explanations):
    axes = [figure.add_subplot(3, 3, 3 * number + panel, projection=one.map.wcs) for panel in (1, 2, 3)]
    one.plot(ax=axes)
    axes[0].set_title(galaxies["name"][number], fontsize=9)
plt.show()

# %%
# One map with its sign, and the blobs of evidence on it: regions on the sky, each with its contribution.
from hifrac.attribution import contours, evidence_blobs, write_regions

one = explanations[1]
blobs, outlines = evidence_blobs(one.map, threshold=0.1)
figure = plt.figure(figsize=(5.5, 4.6), layout="constrained")
axes = figure.add_subplot(projection=one.map.wcs)
one.plot(ax=axes, title=galaxies["name"][1])
axes.set(xlabel="RA", ylabel="Dec")
for outline in outlines:
    outline.to_pixel(one.map.wcs).plot(ax=axes, lw=2)
plt.show()

# %%
blobs.round(3)
blobs["contribution", "share", "n_pixels", "coord"]

# %%
# Take it to DS9
# --------------
# The map is an Astropy image with world coordinates. Its file lies over any other image in DS9, and so do
# the regions (``.crtf`` is for CASA): ``ds9 image.fits -regions load map.reg``, or the maps side by side by
# ``ds9 image.fits map.fits -lock frame wcs``.
from pathlib import Path
from tempfile import TemporaryDirectory

from astropy.nddata import CCDData

with TemporaryDirectory() as folder:
    one.write(Path(folder) / "map.fits")
    write_regions(contours(one.map), Path(folder) / "map.reg")
    write_regions(outlines, Path(folder) / "blobs.crtf")
    again = CCDData.read(Path(folder) / "map.fits")
    print(*sorted(path.name for path in Path(folder).iterdir()))
print(again.unit, "|", again.header["METHOD"], "|", again.wcs.pixel_to_world(63.5, 63.5).to_string())

# %%
# Of a whole table ``hifrac explain galaxies.fits -o explained`` writes such maps, figures and a page of all.
#
# What to beware of
# -----------------
# * The maps say why the *network* answers as it does, against the mean galaxy. How far they can be believed
#   has been measured: :ref:`faithfulness`.
# * *Orange is not wrong.* Evidence for less gas is as good as evidence for more.
# * *A map is coarse.* Its pixels are those of the picture, its detail is that of the network: a star on an
#   arm may share its evidence with the arm.
# * *Evidence off the galaxy* is a reason to look at the picture, and at its flags.
