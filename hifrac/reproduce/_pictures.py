"""Pictures of labelled galaxies, and what the default network measures in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Table

from hifrac.core.input import plain_floats
from hifrac.cutouts import SDSS_RECIPE, LocalCutouts
from hifrac.reproduce._experiment import Setting

__all__ = ["ARCHIVE", "WIDTH", "circular_colours", "fraction_features", "measurements", "pictures"]

ARCHIVE = "cutouts/sdss_cutouts.zip"
WIDTH = SDSS_RECIPE.width  # pixels, of the archive


def pictures(objid: Sequence[str], setting: Setting) -> np.ndarray:
    """The cutouts of galaxies, uint8 of shape (n, 128, 128, 3); a missing or damaged one is an error."""
    objid = np.asarray(objid).astype(str)
    nowhere = np.zeros(len(objid))
    pixels = np.empty((len(objid), WIDTH, WIDTH, 3), dtype=np.uint8)
    with LocalCutouts(setting.folder / ARCHIVE, name="objid") as archive:
        for row, cutout in enumerate(archive.fetch(nowhere, nowhere, objid)):
            if cutout.error is not None:
                raise cutout.error
            pixels[row] = SDSS_RECIPE.decode(cutout.data)
    return pixels


def measurements(pixels: np.ndarray) -> np.ndarray:
    """All measurements of the structure network in pictures, float64 of shape (n, measurements)."""
    from hifrac.models.structure import StructureNet
    from hifrac.training.structure.measurements import measure

    return measure(StructureNet(WIDTH).eval(), pixels)


def circular_colours(measured: np.ndarray) -> np.ndarray:
    """Mean red, green and blue in 14 circular annuli, of `measurements`."""
    from hifrac.training.structure.tables import radial_colours

    return radial_colours(measured)


def fraction_features(table: Table, setting: Setting) -> np.ndarray:
    """What the default model reads the HI fraction from: measurements of the pictures, and the reddening."""
    from hifrac.core.reddening import galactic_ebv
    from hifrac.models.structure import StructureNet
    from hifrac.training.structure.heads import FRACTION_GROUPS
    from hifrac.training.structure.measurements import with_ebv

    ebv = galactic_ebv(plain_floats(table["ra"]), plain_floats(table["dec"]))
    features = with_ebv(measurements(pictures(table["objid"], setting)), ebv)
    return features[:, StructureNet.columns(FRACTION_GROUPS)]
