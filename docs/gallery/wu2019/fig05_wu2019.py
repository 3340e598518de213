"""
Figure 5: masses of pictures, and the metallicities that follow from them
=========================================================================

**Objective:** whether the mass that a picture shows explains the metallicity that it shows.

**Tier:** *sample*, galaxies with real cutouts and SDSS photometry, every mass estimated without the galaxy.
"""

# %%
# A ridge regression on measurements of the pictures learns the stellar mass from some thousands of
# galaxies, in five folds. The relation of Tremonti et al. (2004) makes a metallicity of that mass. ``REDO``
# computes the kept result anew (half a minute).

from hifrac.reproduce import EXPERIMENTS, numbers_table, result, setting

REDO = False
table = result("wu2019-fig5", redo=REDO)
figure = EXPERIMENTS["wu2019-fig5"].draw(table, setting())

# %%
# **Ours and published.**

numbers_table(table)

# %%
# **Why they differ.** Our masses are made of SDSS magnitudes and redshifts by the colours of Taylor et al.
# (2011), the paper's are those of MPA-JHU. Ours are of galaxies of every kind, theirs of star-forming ones
# alone. A picture does not show the distance; of a field of fixed size it shows the brightness, though,
# which the paper's pictures do not. In both cases the metallicity by way of the mass is worse than the one
# that a network reads off the picture at once: :doc:`beyond_shrinkage` says what that means.
