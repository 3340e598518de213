"""The page of a result: thumbnails, estimates, flags and links, in one file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table
from PIL import Image

from hifrac.core.columns import RESULT_COLUMNS
from hifrac.core.files import write_whole
from hifrac.core.flags import UNSERVED, Flag, decode_flags
from hifrac.core.measurements import plain_floats
from hifrac.cutouts import CutoutSource
from hifrac.visualization import page
from hifrac.visualization._rows import Estimates, estimates_of, pictures_of, places_of, row_names

#: The most rows of a page; with more, browsers become slow.
MOST_ROWS = 5000

_THUMBNAIL = 96  # pixels a side
_QUALITY = 85

_INTRO = (
    "A click on a heading sorts. Below an estimate is its central 68% interval. "
    "All other columns are in the table."
)
_ABOUT = ("version", "date", "model", "target", "mass_scale", "oh_scale", "recipe", "source", "references")

# Columns beside the estimate.
_FURTHER = (
    page.PageColumn(
        "log_mhi",
        "log M(HI)/Msun",
        2,
        RESULT_COLUMNS["log_mhi"].description,
        ("log_mhi_p16", "log_mhi_p84"),
    ),
    *page.PROBABILITY_COLUMNS,
    page.PageColumn("ood_score", "OOD score", 0, RESULT_COLUMNS["ood_score"].description),
    page.PageColumn("log_overdensity", "log(1+δ5)", 2, RESULT_COLUMNS["log_overdensity"].description),
)


def write_result_page(
    result: Table, cutouts: CutoutSource | Sequence[np.ndarray | None], path: Path, *, title: str = ""
) -> None:
    """Write a page with the pictures and estimates of a result.

    Parameters
    ----------
    result : `~astropy.table.Table`
        What `~hifrac.HIFractionEstimator.predict` returned. Of more than 5,000 rows, the first 5,000 are on
        the page, which says so.
    cutouts : `~hifrac.cutouts.CutoutSource` or sequence of `~numpy.ndarray` or None
        As of `hifrac.plot_overview`.
    path : `~pathlib.Path`
        File to write; one that is there is replaced.
    title : str, optional
        Title of the page.

    Raises
    ------
    TypeError, ValueError
        As of `hifrac.plot_overview`.
    """
    intro = [_INTRO]
    if len(result) > MOST_ROWS:
        intro.append(
            f"These are the first {MOST_ROWS:,} of {len(result):,} rows; more would make the page slow."
        )
        result = result[:MOST_ROWS]
        cutouts = cutouts if isinstance(cutouts, CutoutSource) else cutouts[:MOST_ROWS]
    estimates = estimates_of(result)
    columns, numbers = _columns(result, estimates)
    rows = []
    for row, (name, picture) in enumerate(zip(row_names(result), pictures_of(result, cutouts), strict=True)):
        values = {key: column[row] for key, column in numbers.items()}
        values |= {"row": row, "name": name, "picture": "" if picture is None else _thumbnail(picture)}
        flags = int(estimates.flags[row])
        rows.append(page.PageRow(values, decode_flags(flags), _reason(flags)))
    made_by = result.meta.get("hifrac", {})
    about = {key: made_by[key] for key in _ABOUT if key in made_by}
    if "references" in about:
        about["references"] = "; ".join(about["references"])
    title = title or estimates.quantity.title
    write_whole(path, page.render_page(title, columns, rows, intro=intro, about=about))


def _columns(result: Table, estimates: Estimates) -> tuple[list[page.PageColumn], dict[str, np.ndarray]]:
    """Return the columns of the page that the result has, and their numbers."""
    estimate = page.PageColumn(
        "estimate", estimates.quantity.text, 2, "The estimate and its central 68% interval", ("p16", "p84")
    )
    columns = [page.ROW, page.PICTURE, page.NAME, page.RA, page.DEC, estimate]
    numbers = {"estimate": estimates.value, "p16": estimates.low, "p84": estimates.high}
    numbers["ra"], numbers["dec"] = places_of(result)
    for column in _FURTHER:
        if column.key in result.colnames:
            columns.append(column)
            names = [name for name in (column.key, *(column.interval or ())) if name in result.colnames]
            numbers |= {name: plain_floats(result[name]) for name in names}
    return [*columns, page.FLAGS, page.LINKS], numbers


def _reason(flags: int) -> str:
    """Return why a row has no estimate; nothing for one that was served."""
    reasons = [flag.summary for flag in Flag if flags & int(flag) & int(UNSERVED)]
    return f"No estimate: {'; '.join(reasons)}." if reasons else ""


def _thumbnail(picture: np.ndarray) -> str:
    """Return a small picture as an address that holds it."""
    pixels = np.asarray(picture)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"cutouts must be pictures of the shape (h, w, 3), got {pixels.shape}")
    if pixels.dtype.kind == "f":
        pixels = np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8)
    image = Image.fromarray(pixels).resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
