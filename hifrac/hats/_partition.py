"""One partition of a catalogue: a DataFrame in, the same rows with their estimates out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from astropy.table import Table

from hifrac.core.arrow import to_arrow
from hifrac.core.columns import ResultColumn, make_room
from hifrac.core.config import conf
from hifrac.core.exceptions import without_warnings
from hifrac.cutouts.remote import RemoteCutouts

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow

    from hifrac._picture_estimator import PictureEstimator
    from hifrac.models import ModelCard


def predict_partition(
    frame: pd.DataFrame,
    estimator: PictureEstimator,
    *,
    ra: str | None = None,
    dec: str | None = None,
    samples: int | None = None,
    replace_columns: bool = False,
    allow_fetch: bool = False,
) -> pd.DataFrame:
    """Estimate the quantity of each row of a partition; a pure function of it.

    Parameters
    ----------
    frame : `pandas.DataFrame`
        The partition; it may have no rows. Its columns are those of a table for ``estimator.predict``,
        positions in degrees.
    estimator : `~hifrac.HIFractionEstimator` or `~hifrac.MetallicityEstimator` or `~hifrac.SpectrumEstimator`
        What estimates.
    ra, dec : str, optional
        Columns of positions, if their names are not known.
    samples : int, optional
        Draws from the distribution of each row, as of ``estimator.predict``.
    replace_columns : bool, optional
        Whether result columns that ``frame`` has already are replaced, as with ``overwrite`` of
        ``estimator.predict``; otherwise they are refused.
    allow_fetch : bool, optional
        Whether ``estimator`` may ask a survey service. Many workers that each ask are what gets their owner
        banned: pictures are better fetched before, or cut from frames.

    Returns
    -------
    result : `pandas.DataFrame`
        The same rows and index, and the columns of `result_meta`, in that order. Where there is no estimate
        there are nulls, in lists NaN, and ``flags`` says why.

    Raises
    ------
    ValueError
        If ``estimator`` would fetch, and ``allow_fetch`` is false; or as of ``estimator.predict``.

    Examples
    --------
    >>> from hifrac import HIFractionEstimator, LocalCutouts
    >>> from hifrac.demo import PICTURES, sample_table
    >>> from hifrac.hats import predict_partition
    >>> estimator = HIFractionEstimator(cutouts=LocalCutouts(PICTURES, name="name"))
    >>> frame = sample_table()["name", "ra", "dec"].to_pandas()
    >>> result = predict_partition(frame, estimator)
    >>> len(result), list(result.columns[:4])
    (27, ['name', 'ra', 'dec', 'log_hi_fraction'])
    """
    require_at_hand(estimator, allow_fetch=allow_fetch)
    card = estimator.model.card
    meta = result_meta(card, frame.iloc[:0], samples=samples, replace_columns=replace_columns)
    if frame.empty:
        return meta
    names = _renamed(card, frame, samples, replace_columns)
    result = frame[list(names)].rename(columns=names)
    plain = result[[name for name in result.columns if not _holds_lists(result.dtypes[name])]]
    with without_warnings(".* no unit: read as degrees"):  # a DataFrame has no units
        table = estimator.predict(plain.reset_index(drop=True), ra=ra, dec=dec, samples=samples)
    added = [name for name in meta.columns if name not in result.columns]
    arrow = to_arrow(table[added])
    import pandas as pd

    series = {
        name: pd.Series(
            pd.arrays.ArrowExtensionArray(arrow[name].cast(meta.dtypes[name].pyarrow_dtype)),
            index=frame.index,
        )
        for name in added
    }
    return result.assign(**series)


def result_meta(
    card: ModelCard, columns: pd.DataFrame, *, samples: int | None = None, replace_columns: bool = False
) -> pd.DataFrame:
    """Return the columns of a result, without rows, as Dask wants to know them; nothing is loaded for it.

    Parameters
    ----------
    card : `~hifrac.models.ModelCard`
        Of the model.
    columns : `pandas.DataFrame`
        A partition, or another frame with its columns, such as ``catalog.meta``; rows do not matter.
    samples, replace_columns
        As of `predict_partition`.

    Returns
    -------
    meta : `pandas.DataFrame`
        No rows; the columns of ``columns``, then those of `hifrac.core.RESULT_COLUMNS`, as Arrow has them:
        numbers, text, lists of numbers where a cell has many.

    Raises
    ------
    ValueError
        If there are columns of a result already, and ``replace_columns`` is false.

    Examples
    --------
    >>> import pandas as pd
    >>> from hifrac import list_models
    >>> from hifrac.hats import result_meta
    >>> spectra = next(card for card in list_models() if card.name == "spectra")
    >>> result_meta(spectra, pd.DataFrame({"ra": [1.0], "dec": [2.0]})).dtypes["flux"]
    list<item: float>[pyarrow]
    """
    import pandas as pd

    names = _renamed(card, columns, samples, replace_columns)
    meta = columns.iloc[:0][list(names)].rename(columns=names)
    added = {
        name: pd.Series(dtype=pd.ArrowDtype(_arrow_type(column)), index=meta.index)
        for name, column in _added(card, columns, samples).items()
    }
    return meta.assign(**added)


def require_at_hand(estimator: PictureEstimator, *, allow_fetch: bool) -> None:
    """Refuse an estimator that asks a survey service, unless that is allowed."""
    fetches = isinstance(estimator.cutouts, RemoteCutouts) and not estimator.cutouts.offline
    if allow_fetch or not (fetches or (estimator.photometry is not None and not conf.offline)):
        return
    service = estimator.cutouts.describe() if fetches else f"photometry={estimator.photometry!r}"
    raise ValueError(
        f"estimator asks a survey service ({service}), and workers fetch nothing: give it pictures at hand "
        "(FrameCutouts, LocalCutouts; hifrac fetch gets them), or say allow_fetch=True (--allow-fetch)"
    )


def _added(card: ModelCard, columns: pd.DataFrame, samples: int | None) -> dict[str, ResultColumn]:
    """Return the columns that a result adds."""
    names = Table(names=list(columns.columns)) if len(columns.columns) else Table()
    return card.columns_for(names, with_samples=samples is not None)


def _renamed(
    card: ModelCard, columns: pd.DataFrame, samples: int | None, replace_columns: bool
) -> dict[str, str]:
    """Return the columns that are carried through, and what they are called then."""
    before = list(columns.columns)
    places = Table({name: [place] for place, name in enumerate(before)})
    make_room(places, list(_added(card, columns, samples)), replace_columns)
    return {before[places[name][0]]: name for name in places.colnames}


def _holds_lists(dtype: Any) -> bool:
    """Return whether cells have many numbers: no position and no evidence is such."""
    from pyarrow import types

    arrow = getattr(dtype, "pyarrow_dtype", None)
    return arrow is not None and types.is_nested(arrow)


def _arrow_type(column: ResultColumn) -> pyarrow.DataType:
    import pyarrow

    if column.size:
        return pyarrow.list_(pyarrow.float32())
    if column.name.endswith("_samples"):
        return pyarrow.list_(pyarrow.float64())
    if column.name.endswith("flags"):
        return pyarrow.int32()
    return pyarrow.string() if column.name == "evidence" else pyarrow.float64()
