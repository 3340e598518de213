"""
Spectra in few numbers
======================

**Objective:** how well five numbers say a real spectrum, by the templates that they belong to.

**Tier:** *sample*, 21 real spectra of SDSS and BOSS.
"""

# %%
# What a model of spectra can reach is bounded by what its numbers can say. A predicted spectrum is a
# mixture of the templates of *kcorrect*: a photometric template spectrum, smooth by nature, and no
# measured one. Here its templates, galaxy eigenspectra of the SDSS pipeline (four each) and those of
# *redrock* are fitted to real spectra, and so are principal components of the other real spectra, which
# have not seen the one that is fitted. ``REDO`` computes the kept result anew.

import numpy as np

from hifrac.reproduce import EXPERIMENTS, result, setting

REDO = False
table = result("wupeek2020-bases", redo=REDO)
figure = EXPERIMENTS["wupeek2020-bases"].draw(table, setting())

# %%
# ``relative_rms`` is the median over spectra, noise and all, ``continuum`` that of the same fits clear of
# lines: further than 1200 km/s from each line that figures name.

for name in ("relative_rms", "relative_rms_error", "continuum"):
    table[name] = np.round(table[name], 4)
table["basis", "n", "relative_rms", "relative_rms_error", "continuum"].pprint_all()

# %%
# **What it shows.** A third of the variance of these errors is noise. Of the rest the templates, which are
# of stars and gas and never saw these galaxies, miss no more than eigenspectra that were learned from such
# spectra: the differences are within their errors, but for *redrock*, whose broad components are made for
# redshifts. Four spectra no basis fits well: three with strong emission lines, and the noisiest.
# *kcorrect* itself allows no negative share of a template; that costs a tenth. The error of a spectrum
# predicted from a picture, 0.033 of the template fit, is about as large as what the templates themselves
# miss of a real one, 0.04 once noise is taken off: both limits count.
