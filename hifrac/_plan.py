"""What a large catalogue costs: hours, bytes and money, from rates that were measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

# How many pictures a core serves in a second, read and decoded: docs/models_speed.rst, and a test compares.
PREDICT_RATE = 1360.0
# The same of `predict` on one NVIDIA H200, in one process (benchmarks/gpu.py).
GPU_RATE = 4100.0
# Pictures that a core cuts of SDSS frames in a second, once these are read (benchmarks/frames.py).
CUT_RATE = 800.0
# Bytes of a picture of 128 pixels in a zip, the same in the local store, and of a row of the result in
# Parquet without the columns of the input (benchmarks/sizes.py).
ZIP_BYTES, STORE_BYTES, ROW_BYTES = 2160.0, 3570.0, 95.0


@dataclass(frozen=True)
class Imaging:
    """A survey's images as files.

    Attributes
    ----------
    area : float
        Sky that they cover, deg2.
    field_area : float
        Sky of one field, overlaps not counted twice, deg2.
    field_bytes : float
        Files of one field in three bands, as the survey serves them.
    field_seconds : float
        Processor time for reading and unpacking them.
    """

    area: float
    field_area: float
    field_bytes: float
    field_seconds: float

    def fields(self, galaxies: float) -> float:
        """Return how many fields hold at least one of the galaxies, if these are anywhere alike."""
        total = self.area / self.field_area
        return -total * math.expm1(-galaxies / total)


#: SDSS DR17: fields of 2048 x 1489 pixels of 0.396 arcsec, 128 rows of which are the next one's, with bzip2;
#: bytes and seconds of simulated ones (benchmarks/frames.py). Legacy Surveys DR10: bricks of 0.25 x 0.25 deg
#: and 3600 x 3600 pixels; bytes and seconds assumed, for the package does not read them.
IMAGING = {
    "sdss": Imaging(area=14555.0, field_area=0.0337, field_bytes=15e6, field_seconds=1.6),
    "legacy": Imaging(area=20000.0, field_area=0.0625, field_bytes=30e6, field_seconds=2.0),
}


def plan(
    galaxies: float, *, imaging: str = "sdss", max_rate: float = 10.0, price: float = 0.05
) -> dict[str, float]:
    """Return what estimates of so many galaxies take.

    Parameters
    ----------
    galaxies : float
        Their number.
    imaging : {"sdss", "legacy"}, optional
        The survey whose files the pictures could be cut from.
    max_rate : float, optional
        Pictures that a survey service is asked for in a second.
    price : float, optional
        Of an hour of one core.

    Returns
    -------
    figures : dict
        ``predict_hours`` of one core and ``gpu_hours`` of one GPU for the estimates; ``service_days`` and
        ``service_bytes``, if a service sends each picture; or else ``fields`` to get, ``field_bytes`` of
        their files in three bands, and ``cut_hours`` of one core to cut the pictures; ``zip_bytes``,
        ``store_bytes`` and ``result_bytes`` on disk; ``cost`` of the hours of cores.

    Raises
    ------
    ValueError
        If a number is not positive, or there is no such imaging.

    Examples
    --------
    >>> from hifrac._plan import plan
    >>> round(plan(1_000_000)["service_days"], 2)
    1.16
    """
    for name, value in {"galaxies": galaxies, "max_rate": max_rate, "price": price}.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be a positive number, got {value!r}")
    if imaging not in IMAGING:
        raise ValueError(f"imaging must be one of {', '.join(IMAGING)}, got {imaging!r}")
    survey = IMAGING[imaging]
    fields = survey.fields(galaxies)
    predict_hours = galaxies / PREDICT_RATE / 3600
    cut_hours = (fields * survey.field_seconds + galaxies / CUT_RATE) / 3600
    return {
        "predict_hours": predict_hours,
        "gpu_hours": galaxies / GPU_RATE / 3600,
        "service_days": galaxies / max_rate / 86400,
        "service_bytes": galaxies * ZIP_BYTES,
        "fields": fields,
        "field_bytes": fields * survey.field_bytes,
        "cut_hours": cut_hours,
        "zip_bytes": galaxies * ZIP_BYTES,
        "store_bytes": galaxies * STORE_BYTES,
        "result_bytes": galaxies * ROW_BYTES,
        "cost": (cut_hours + predict_hours) * price,
    }
