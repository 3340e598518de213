"""
What of a picture makes H-alpha
===============================

**Objective:** which pixels, radii and colours the estimate of H-alpha is read off.

**Tier:** *sample*, real cutouts that the model never saw, and galaxies with measured lines.
"""

# %%
# A predicted spectrum is a photometric template spectrum, smooth by nature, and no measured one; H-alpha a
# head of its own predicts, and that head is asked here. Maps are integrated gradients from the mean galaxy
# to the picture (:doc:`/explain`), of galaxies in no file of labels. Below: what annuli contribute; how
# the colour in an annulus goes with H-alpha, measured and estimated (held out); and how the estimate
# changes where the colour of an annulus is taken away, as bright as before. ``REDO`` computes the kept
# result anew.

from hifrac.reproduce import EXPERIMENTS, numbers_table, result, setting

REDO = False
table = result("wupeek2020-explain", redo=REDO)
figure = EXPERIMENTS["wupeek2020-explain"].draw(table, setting())

# %%
# **In numbers.**

numbers_table(table)["quantity", "ours"].pprint_all()

# %%
# **What it shows.** The estimate is read off colours: without any it changes by three times what galaxies
# differ. It needs those within six arcsec, most of all at one to three, about the fibre of three arcsec
# that H-alpha was measured with; it is there that the colour goes with the measured H-alpha best. One
# annulus alone changes little, for the others say nearly the same. Red middles speak against H-alpha, blue
# discs for it. The network does as measured galaxies do: the correlation of its held-out estimate with the
# colour falls with the radius as that of the measured one does, but is stronger at every radius: a picture
# tells of H-alpha what colours tell, and not all that makes it.
#
# A grey picture is like none that the model learned from. How much its answer changes tells what it reads,
# not what galaxies are.
