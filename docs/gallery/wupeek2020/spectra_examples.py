"""
Spectra predicted from pictures
===============================

**Objective:** the figure of the README of the paper's code, with ten held-out galaxies.

**Tier:** *sample*, galaxies with real cutouts; every answer held out.
"""

# %%
# A predicted spectrum is a photometric template spectrum, smooth by nature, and no measured one; its lines
# are those of the templates, and how strong H-alpha is a head of its own says. Ten galaxies, from the
# weakest measured H-alpha to the strongest, at even steps of rank. Black with its 68% band: from the
# picture alone, by heads that had not learned from the galaxy. Orange: the templates as *kcorrect* fits
# them to its magnitudes and its redshift. Blue: what was really measured, the continuum beside sixteen
# lines, by MPA-JHU. ``REDO`` computes the kept result anew.

from hifrac.reproduce import EXPERIMENTS, numbers_table, result, setting

REDO = False
table = result("wupeek2020-examples", redo=REDO)
figure = EXPERIMENTS["wupeek2020-examples"].draw(table, setting())

# %%
# **All galaxies** that have both a template fit and measured continua; the rms of continua is about one
# scale a galaxy.

numbers_table(table)["quantity", "ours"].pprint_all()

# %%
# **What it shows.** Within its error the measured continua lie as close to the spectrum that the picture
# tells as to the template that was fitted to magnitudes and redshift, and twice as close as to the mean
# spectrum. The continua are of a fibre on the middle of the galaxy, the templates of all of it. The
# intervals of equivalent widths are scored on :doc:`/examples/wupeek2020/spectra_lines`. The lines of the
# black spectrum are not those: read ``h_alpha_ew``. Of these galaxies bands hold a little less than 68% of
# pixels, 60%; of all with a template fit 66% (:doc:`/spectra_model`).
#
# **What the paper shows.** Ten galaxies of a batch that the network learned from, and as the truth what an
# autoencoder makes of the real spectrum. No spectrum of the data directory is of a galaxy whose picture is
# there, neither by plate, date and fibre nor, where it has one, by position, so that whole measured
# spectra are on the page of another survey, :doc:`/examples/wupeek2020/spectra_legacy`.
