"""The local store of downloaded pictures: only verified ones, each written at once.

Layout below `hifrac.config.cache_dir`::

    cutouts/<service>-<digest>/<two hex digits>/<ra><dec>.jpg

The digest is of everything that decides the pixels apart from the position,
so that services, data releases and recipes never mix. The position is the one
asked for, in whole microdegrees (`canonical_position`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import threading
from pathlib import Path

from hifrac import images
from hifrac.config import cache_dir
from hifrac.cutouts.recipe import CutoutRecipe
from hifrac.exceptions import RowError

__all__ = ["PictureStore", "canonical_position"]

_PER_DEGREE = 1_000_000


def canonical_position(ra: float, dec: float) -> tuple[str, str]:
    """A position as it is asked for and stored: rounded to 1e-6 deg.

    That is 0.0036 arcsec at most, 1% of an SDSS pixel and well below the
    0.05 arcsec of its astrometry, so the picture is the same; and it is coarse
    enough that a position which went through a text file finds its picture.

    Parameters
    ----------
    ra, dec : float
        ICRS degrees, finite; ``ra`` may be any turn of the circle.

    Returns
    -------
    ra, dec : str
        With six decimals; ``ra`` from 0 to below 360, never minus zero.
    """
    ra_steps = round(float(ra) * _PER_DEGREE) % (360 * _PER_DEGREE)
    dec_steps = round(float(dec) * _PER_DEGREE)
    return f"{ra_steps / _PER_DEGREE:.6f}", f"{dec_steps / _PER_DEGREE:.6f}"


class PictureStore:
    """The stored pictures of one service and recipe. Thread- and process-safe.

    Parameters
    ----------
    address : str
        Address of the service, data release included.
    recipe : `~hifrac.cutouts.CutoutRecipe`
        What is asked of it.

    Attributes
    ----------
    trouble : OSError or None
        What last kept a picture from being written or a damaged one from
        being removed: the store never raises for this.
    """

    def __init__(self, address: str, recipe: CutoutRecipe) -> None:
        facts = json.dumps({"address": address, **recipe.to_dict()}, sort_keys=True)
        digest = hashlib.sha256(facts.encode()).hexdigest()[:12]
        name = "-".join([recipe.survey, recipe.data_release, recipe.service])
        self.folder = cache_dir() / "cutouts" / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}-{digest}"
        self.trouble: OSError | None = None
        self._width = recipe.width

    def path(self, ra: str, dec: str) -> Path:
        """Where the picture of a canonical position is, or would be."""
        name = f"{ra}{'' if dec.startswith('-') else '+'}{dec}.jpg"
        # 256 folders by hash: the pictures of a survey are not spread evenly on the sky.
        return self.folder / hashlib.sha256(name.encode()).hexdigest()[:2] / name

    def get(self, ra: str, dec: str) -> bytes | None:
        """The stored picture of a canonical position; None if there is none.

        A stored file that is damaged is removed, and counts as none.
        """
        path = self.path(ra, dec)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        try:
            images.decode(data, width=self._width)
        except RowError:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                self.trouble = error
            return None
        return data

    def put(self, ra: str, dec: str, data: bytes) -> None:
        """Store a picture that `hifrac.images.decode` has accepted.

        It is written beside its place and then renamed: whatever happens, no
        reader finds half a file. Failure is noted in ``trouble``.
        """
        path = self.path(ra, dec)
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            os.replace(temporary, path)
        except OSError as error:
            self.trouble = error
            with contextlib.suppress(OSError):
                temporary.unlink()
