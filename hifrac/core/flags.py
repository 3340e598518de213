"""The quality flags of a result row: the registry, and how to read them.

The values are public interface: a bit is never renumbered, and the
documentation page of the flags is generated from this file.
"""

from __future__ import annotations

import enum

import numpy as np


class BitFlag(enum.IntFlag):
    """One bit of a column of flags, with what it says.

    Attributes
    ----------
    summary : str
        What the bit says, in one line.
    advice : str
        What follows for the row, if there is more to say.
    """

    summary: str
    advice: str

    def __new__(cls, value: int, summary: str = "", advice: str = "") -> BitFlag:  # noqa: D102
        member = int.__new__(cls, value)
        member._value_ = value
        member.summary = summary
        member.advice = advice
        return member

    @classmethod
    def decode(cls, flags):
        """Return the names of the bits that are set.

        Parameters
        ----------
        flags : int or array-like of int
            One value of the column, or many.

        Returns
        -------
        names : list of str, or list of list of str
            The names in the order of their bits, for one value; a list of such
            lists for an array. An unflagged row gives an empty list.

        Raises
        ------
        TypeError
            If ``flags`` is not of an integer type.
        ValueError
            If ``flags`` has more than one dimension, is negative, or sets a bit
            that has no name.
        """
        values = np.asarray(flags)
        if values.size == 0:
            values = values.astype(int)
        if not np.issubdtype(values.dtype, np.integer):
            raise TypeError(f"flags must be integers, got {values.dtype}")
        if values.ndim > 1:
            raise ValueError(f"flags must be one value or one-dimensional, got shape {values.shape}")
        values = values.astype(np.int64)
        named = sum(int(flag) for flag in cls)
        if np.any(values < 0) or np.any(values & ~named):
            raise ValueError(f"flags sets a bit that has no name; the known bits sum to {named}")
        names = [[flag.name for flag in cls if value & flag] for value in np.atleast_1d(values)]
        return names if values.ndim else names[0]


class Flag(BitFlag):
    """One bit of the ``flags`` column; ``summary`` and ``advice`` say what it means for the estimate.

    Examples
    --------
    Select the rows of a result that have none of three flags:

    >>> import numpy as np
    >>> from hifrac import Flag
    >>> flags = np.array([0, 16, 2])
    >>> (flags & int(Flag.OUT_OF_FOOTPRINT | Flag.BAD_IMAGE | Flag.OUT_OF_DISTRIBUTION)) == 0
    array([ True,  True, False])
    >>> Flag.UNLIKELY_DETECTION.summary
    'p_detect is below the value that 90% of known detections reach'
    """

    BAD_COORDINATE = (
        1,
        "the position is masked, not finite, or outside the sphere",
        "Every estimate is masked, and nothing was fetched. Correct ra and dec of the row.",
    )
    OUT_OF_FOOTPRINT = (
        2,
        "the picture is blank: the survey did not image this position",
        "Every estimate is masked. Asking again does not help; a wrong position may be the reason.",
    )
    FETCH_FAILED = (
        4,
        "no picture could be obtained",
        "Every estimate is masked. The service failed or refused: ask again later. Or the local "
        "collection has no picture of that name: compare the column that names them with the files.",
    )
    BAD_IMAGE = (
        8,
        "a picture came, but it cannot be used",
        "Every estimate is masked. The file is damaged or cut off, is not a "
        "picture at all, or has not the size of the model's recipe. Fetch or make it again.",
    )
    UNLIKELY_DETECTION = (
        16,
        "p_detect is below the value that 90% of known detections reach",
        "Advice, no verdict: an ALFALFA-like survey would probably not detect this galaxy. With "
        "selection='alfalfa' its estimate is too high then; with 'intrinsic', the default, it is not. "
        "One detection in ten carries this flag, too.",
    )
    OUT_OF_DISTRIBUTION = (
        32,
        "the picture is farther from the training set than 97% of held-out training pictures",
        "The estimate is an extrapolation and its interval is not calibrated.",
    )
    HIGH_DENSITY = (
        64,
        "log(1+delta5) >= 0.5: a dense environment",
        "The relation between HI and morphology breaks here (Wu 2020, section 7).",
    )
    HIGH_REDDENING = (
        128,
        "the Galactic reddening E(B-V) is larger than that of any galaxy of the training set",
        "The estimate is an extrapolation: what the dust hides is corrected for in part only, and "
        "the galaxy looks fainter and redder than the model has learned. The interval is not calibrated.",
    )
    RESAMPLED = (
        256,
        "the picture has another pixel scale, and was resampled to that of the model's recipe",
        "Its noise and sharpness are not those that the model has learned from: compare some galaxies "
        "with their pictures of the recipe before you rely on the estimates. The interval is not calibrated.",
    )
    CROWDED = (
        512,
        "much light 3 to 13 arcsec from the galaxy stands on one side of it alone: a neighbour or a star",
        "The estimate may be off by more than 0.1 dex. Look at the picture: a spiral arm or a ragged "
        "galaxy can be the reason as well.",
    )
    FILLS_FRAME = (
        1024,
        "more than a fifth of the galaxy's light is near the edge of the picture",
        "The galaxy is larger than the picture, of which too little is seen: errors are half as large "
        "again as those of other galaxies.",
    )
    OFF_CENTRE = (
        2048,
        "the picture has its light more than 3 pixels (1.2 arcsec) off the centre",
        "Where it was certain, the picture was centred on the light before it was measured. Check that this "
        "is the galaxy that was meant, and the position.",
    )
    BAD_SCALE = (
        4096,
        "the column that gives the pixel scale of the row's picture has no possible value",
        "Every estimate is masked, and nothing was fetched. The value is masked, not positive, or that of "
        "pixels that the source cannot give: correct it, or its unit, which is arcsec.",
    )
    NOT_STAR_FORMING = (
        8192,
        "p_star_forming is below the value that 90% of galaxies with a measured metallicity reach",
        "No oxygen abundance can be measured of a galaxy without the emission lines of young stars, and the "
        "model has learned from none: the estimate is what a star-forming galaxy of such a look would have. "
        "Passive galaxies and AGN have this flag, and one star-forming galaxy in ten.",
    )
    SUSPECT_BANDS = (
        16384,
        "fluxes of bands that fall from the blue to the red: their order may be another",
        "One galaxy in 1,400 is so blue. If most rows have this flag, the planes of the files are not the "
        "bands that they were said to be.",
    )


#: The flags of rows for which nothing could be estimated.
UNSERVED = Flag.BAD_COORDINATE | Flag.OUT_OF_FOOTPRINT | Flag.FETCH_FAILED | Flag.BAD_IMAGE | Flag.BAD_SCALE


def decode_flags(flags):
    """Return the names of the bits of `~hifrac.Flag` that are set.

    Parameters
    ----------
    flags : int or array-like of int
        One value of the ``flags`` column, or many.

    Returns
    -------
    names : list of str, or list of list of str
        As `hifrac.core.BitFlag.decode`.

    Raises
    ------
    TypeError
        If ``flags`` is not of an integer type.
    ValueError
        If ``flags`` has more than one dimension, is negative, or sets a bit
        that has no name.

    Examples
    --------
    >>> from hifrac import decode_flags
    >>> decode_flags(0)
    []
    >>> decode_flags([48, 4])
    [['UNLIKELY_DETECTION', 'OUT_OF_DISTRIBUTION'], ['FETCH_FAILED']]
    """
    return Flag.decode(flags)
