"""Point sources added to pictures: the test of Wu (2020, Appendix B)."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Peak of a point source in red, green and blue, where 1 is white (Wu 2020, Appendix B).
COLOURS = {"red": (0.8, 0.3, 0.3), "green": (0.3, 0.5, 0.3), "blue": (0.3, 0.3, 0.7)}

#: What the paper prints, and what its code computes.
PROFILES = ("as-printed", "as-coded")

#: Standard deviation of the printed Gaussian, in pixels.
RADIUS = 5.0

#: Sources of this profile are computed this far out; there they are below exp(-50).
_REACH = {"as-printed": 50, "as-coded": 8}


def inject_point_sources(
    image: np.ndarray,
    *,
    n: int = 6,
    color: str = "red",
    profile: str = "as-printed",
    positions: Any = None,
    rng: np.random.RandomState | np.random.Generator | int | None = None,
) -> np.ndarray:
    """Add coloured point sources to a picture, clipped to what a picture can hold.

    Parameters
    ----------
    image : `~numpy.ndarray` of uint8, shape (height, width, 3)
        Red, green and blue; it is left as it is.
    n : int, optional
        Number of sources, not negative; not used where ``positions`` are given.
    color : {"red", "green", "blue"}, optional
        Peaks (0.8, 0.3, 0.3), (0.3, 0.5, 0.3) or (0.3, 0.3, 0.7) in red, green and blue, where 1 is white.
    profile : {"as-printed", "as-coded"}, optional
        ``"as-printed"``: a Gaussian with a standard deviation of 5 pixels, as the paper
        says, exp(-rho^2 / 50). ``"as-coded"``: exp(-rho^4 / 50), which is what its code adds (half
        width 2.43 pixels).
    positions : array-like of int or float, shape (n, 2), optional
        Centres as (x, y), from 0 at the centre of the first pixel; drawn at random by default. They may lie
        outside the picture.
    rng : `~numpy.random.RandomState`, `~numpy.random.Generator` or int, optional
        What draws the positions: pairs (x, y) of integers from 1 to size - 2, by
        ``randint(1, size - 1, size=(n, 2))`` where the picture is square. An integer seeds a ``RandomState``;
        a new ``Generator`` by default.

    Returns
    -------
    perturbed : `~numpy.ndarray` of uint8, shape (height, width, 3)
        floor(255 min(image / 255 + sources, 1)), as the code of the paper rounds.

    Raises
    ------
    TypeError
        If ``image`` is not uint8, ``n`` no integer, or ``rng`` none of the types above.
    ValueError
        If ``image`` is not (height, width, 3) or too small to place a source in, ``n`` is negative, ``color``
        or ``profile`` is unknown, or ``positions`` is not (n, 2) or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from hifrac.attribution import inject_point_sources
    >>> dark = np.zeros((32, 32, 3), dtype=np.uint8)
    >>> inject_point_sources(dark, color="blue", positions=[(10, 20)])[20, 10].tolist()
    [76, 76, 178]
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise TypeError(
            f"image must be an array of uint8, got {getattr(image, 'dtype', type(image).__name__)}"
        )
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must have the shape (height, width, 3), got {image.shape}")
    for name, value, choices in (("color", color, tuple(COLOURS)), ("profile", profile, PROFILES)):
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    centres = _random_centres(image.shape, n, rng) if positions is None else _checked_centres(positions)
    perturbed = image / 255.0
    amplitude = np.array(COLOURS[color])
    for x, y in centres:
        window, light = _source(image.shape, x, y, profile)
        perturbed[window] += light[..., None] * amplitude
    return np.floor(255.0 * np.minimum(perturbed, 1.0)).astype(np.uint8)


def _random_centres(shape: tuple[int, ...], n: int, rng: Any) -> np.ndarray:
    """Draw centres that are not on the outermost pixels."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise TypeError(f"n must be an integer, got {n!r}")
    if n < 0:
        raise ValueError(f"n must not be negative, got {n}")
    height, width = shape[:2]
    if min(height, width) < 3:
        raise ValueError(f"image must have at least 3 pixels a side to place sources in, got {shape}")
    if rng is None:
        rng = np.random.default_rng()
    elif isinstance(rng, int | np.integer) and not isinstance(rng, bool):
        rng = np.random.RandomState(rng)
    # Column by column where the sides differ; for a square picture the very calls of the paper's code.
    high = width - 1 if height == width else [width - 1, height - 1]
    if isinstance(rng, np.random.RandomState):
        return rng.randint(1, high, size=(n, 2))
    if isinstance(rng, np.random.Generator):
        return rng.integers(1, high, size=(n, 2))
    raise TypeError(f"rng must be a RandomState, a Generator or an integer, got {type(rng).__name__}")


def _checked_centres(positions: Any) -> np.ndarray:
    centres = np.asarray(positions, dtype=float)
    if centres.size == 0:
        return centres.reshape(0, 2)
    if centres.ndim != 2 or centres.shape[1] != 2:
        raise ValueError(f"positions must be pairs (x, y), shape (n, 2), got {centres.shape}")
    if not np.all(np.isfinite(centres)):
        raise ValueError("positions must be finite")
    return centres


def _source(
    shape: tuple[int, ...], x: float, y: float, profile: str
) -> tuple[tuple[slice, slice], np.ndarray]:
    """Return the window of the picture that a source reaches, and its light there."""
    reach = _REACH[profile]
    rows = _window(y, reach, shape[0])
    columns = _window(x, reach, shape[1])
    squared = (np.arange(rows.start, rows.stop)[:, None] - y) ** 2 + (
        np.arange(columns.start, columns.stop) - x
    ) ** 2
    exponent = squared / (2 * RADIUS**2) if profile == "as-printed" else squared**2 / 50.0
    return (rows, columns), np.exp(-exponent)


def _window(centre: float, reach: int, size: int) -> slice:
    low, high = np.floor(centre) - reach, np.ceil(centre) + reach + 1
    return slice(int(np.clip(low, 0, size)), int(np.clip(high, 0, size)))
