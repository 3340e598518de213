"""Progress bars: one way for the command line, for scripts and for notebooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_reports(
    progress: bool | Callable[[int], object] | None, total: int, label: str
) -> Iterator[Callable[[int], object]]:
    """Give a function that takes the number of rows finished since its last call.

    Parameters
    ----------
    progress : bool or callable, optional
        True for a progress bar, in notebooks a widget of it; a function of one's own; False or None for
        neither.
    total : int
        The number of all rows.
    label : str
        What the bar says.

    Raises
    ------
    TypeError
        If ``progress`` is neither.
    """
    if progress is None or progress is False:
        yield lambda _: None
    elif progress is True:
        from tqdm.auto import tqdm

        with tqdm(total=total, desc=label, unit=" rows", leave=False) as bar:
            yield bar.update
    elif callable(progress):
        yield progress
    else:
        raise TypeError(f"progress must be True, False or a function of a number, got {progress!r}")
