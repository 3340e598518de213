"""A catalogue in HATS in, the same with estimates out: what LSDB, Dask and the estimators do together."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

from hifrac.core.config import conf
from hifrac.core.exceptions import warn_caller
from hifrac.core.failures import count_unserved, failures_text
from hifrac.core.manifest import lasting_facts
from hifrac.hats._cluster import client_at_hand, count_hosts, import_lsdb, work_of
from hifrac.hats._output import begin
from hifrac.hats._partition import require_at_hand, result_meta
from hifrac.hats._shipped import shipping

if TYPE_CHECKING:
    import distributed
    import lsdb

    from hifrac._picture_estimator import PictureEstimator

_PREFIX = "hifrac_"  # of our properties of a catalogue


def predict_catalog(
    catalog: str | Path | lsdb.Catalog,
    output: str | Path,
    *,
    estimator: PictureEstimator | None = None,
    client: distributed.Client | None = None,
    resume: bool = False,
    overwrite: bool = False,
    allow_fetch: bool = False,
    samples: int | None = None,
    replace_columns: bool = False,
    progress: bool = False,
) -> lsdb.Catalog:
    """Estimate the quantity of each row of a catalogue in HATS, and write the catalogue that results.

    Parameters
    ----------
    catalog : str, path-like or `lsdb.Catalog`
        A catalogue or collection in HATS; or one that LSDB has opened, of which rows and columns may be
        chosen. A margin that is loaded is estimated and written too.
    output : str or path-like
        Folder of the result, which all workers can write to.
    estimator : `~hifrac.HIFractionEstimator` or `~hifrac.MetallicityEstimator` or `~hifrac.SpectrumEstimator`
        What estimates; an `~hifrac.HIFractionEstimator` by default. Its pictures are best cut from frames,
        `~hifrac.cutouts.FrameCutouts`, which neighbours in HATS share. Paths are those of the workers.
    client : `distributed.Client`, optional
        Of the workers that estimate, such as those of `local_cluster`; by default the one at hand, and
        without one this process does it all. Settings (``conf``) are in force in the workers too.
    resume : bool, optional
        Whether to go on with a result that was begun: partitions that are written stay.
    overwrite : bool, optional
        Whether a catalogue that is there is replaced.
    allow_fetch : bool, optional
        Whether the workers may ask a survey service. ``conf.max_rate`` then holds for all of them: those of
        one computer share it, and several computers divide it by their number at the beginning.
    samples : int, optional
        Draws from the distribution of each row, as of ``estimator.predict``.
    replace_columns : bool, optional
        Whether result columns that ``catalog`` has are replaced, as with ``overwrite`` of
        ``estimator.predict``.
    progress : bool, optional
        Whether to show a bar of the partitions.

    Returns
    -------
    result : `lsdb.Catalog`
        What was written, opened: all rows, in the same partitions, with the columns of `result_meta`. Its
        properties that begin with ``hifrac_`` say what made it.

    Raises
    ------
    ImportError
        If LSDB is not installed.
    FileExistsError
        If ``output`` exists, and is neither to be gone on with nor replaced.
    ValueError
        If ``estimator`` would fetch and ``allow_fetch`` is false, or is true and ``client`` has no workers;
        if ``output`` is ``catalog`` itself, or something other than a result in HATS; or, to go on with it,
        was begun by another model, with other pictures, or of another catalogue.
    RuntimeError
        If a partition fails as a whole; what others have written is kept for ``resume``.

    Warns
    -----
    ~hifrac.core.HifracWarning
        If rows have no estimate: once, how many and why. If ``client`` has no workers, which are waited for.
        If the workers have ``MALLOC_TRIM_THRESHOLD_`` in their environment.

    Notes
    -----
    A worker holds one partition with its result: 12 kB a row of a spectrum, 0.2 kB else, and two batches of
    pictures. Partitions of spectra should have 100,000 rows at most.

    A worker that dies loses the partition at work, which another one then takes. If this process dies,
    ``resume`` repeats the partitions that were at work; and all, if LSDB was at work on a margin or the
    last files of a collection.

    Examples
    --------
    >>> from hifrac import HIFractionEstimator
    >>> from hifrac.cutouts import FrameCutouts
    >>> from hifrac.hats import local_cluster, predict_catalog
    >>> estimator = HIFractionEstimator(cutouts=FrameCutouts("/data/frames"))  # doctest: +SKIP
    >>> with local_cluster() as cluster, cluster.get_client() as client:  # doctest: +SKIP
    ...     result = predict_catalog("galaxies", "estimates", estimator=estimator, client=client)
    """
    lsdb = import_lsdb()
    rows = lsdb.open_catalog(catalog, columns="all") if isinstance(catalog, str | Path) else catalog
    if estimator is None:
        from hifrac import HIFractionEstimator

        estimator = HIFractionEstimator()
    require_at_hand(estimator, allow_fetch=allow_fetch)
    arguments: dict[str, Any] = {"samples": samples, "replace_columns": replace_columns}
    meta = result_meta(estimator.model.card, rows.meta, **arguments)
    estimator.names_of(Table(names=list(rows.columns)))  # a ValueError if no column names pictures
    output = Path(output)
    _require_apart(rows, output)
    info = rows.hc_structure.catalog_info
    record = estimator.provenance(**arguments)
    facts = {**lasting_facts(record), "input": _facts(rows)}
    if begin(output, facts, resume=resume, overwrite=overwrite):
        client = client_at_hand(client)
        hosts, offline = count_hosts(client), conf.offline or not allow_fetch
        if not hosts and not offline:
            raise ValueError("client has no workers, among which conf.max_rate is divided: start them first")
        rate = conf.max_rate / max(hosts, 1)
        with work_of(client), shipping(estimator, offline=offline, max_rate=rate) as shipped:
            predict = partial(shipped.predict, ra=info.ra_column, dec=info.dec_column, **arguments)
            predicted = rows.map_partitions(predict, meta=meta)
            predicted.write_catalog(
                output,
                catalog_name=rows.name,
                addl_hats_properties=_properties({**record, **facts}, info.catalog_name),
                as_collection=rows.margin is not None,
                resume=True,  # of an empty folder, too
                progress_bar=progress,
                error_if_empty=False,
            )
    result = lsdb.open_catalog(output, columns="all")
    _warn_of_unserved(result)
    return result


def _require_apart(catalog: lsdb.Catalog, output: Path) -> None:
    """Refuse to write a result over what it is made of."""
    source = catalog.hc_structure.catalog_path
    if source is None:
        return
    here, there = output.absolute(), Path(str(source)).absolute()
    if here == there or here in there.parents or there in here.parents:
        raise ValueError(f"output must not be the catalogue itself, nor in it or around it: {output}")


def _facts(catalog: lsdb.Catalog) -> dict[str, Any]:
    """Say what of a catalogue is estimated, for whoever goes on with it; and what made its columns."""
    info = catalog.hc_structure.catalog_info
    made_by = {
        name.removeprefix(_PREFIX): _parsed(value)
        for name, value in info.extra_dict().items()
        if name.startswith(_PREFIX)
    }
    return {
        "catalog": catalog.name,
        "rows": info.total_rows,
        "columns": list(catalog.columns),
        "partitions": [str(pixel) for pixel in sorted(catalog.get_healpix_pixels())],
        **({"hifrac": made_by} if made_by else {}),
    }


def _parsed(text: str) -> Any:
    """Return what a property holds: text; or JSON, which as text in other JSON would have backslashes."""
    return json.loads(text) if text[:1] in ("{", "[") else text


def _properties(record: dict[str, Any], progenitor: str) -> dict[str, str]:
    """Return what made a result as properties of a catalogue, which are text."""
    texts = {
        name: value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
        for name, value in record.items()
    }
    # What reads the file takes a backslash for the beginning of an escape; what writes it does not write one.
    properties = {f"{_PREFIX}{name}": text.replace("\\", r"\\") for name, text in texts.items()}
    return {**properties, "prov_progenitor": progenitor}


def count_flags(result: lsdb.Catalog) -> Counter[int]:
    """Return how many rows of a result that was written have each value of ``flags``."""
    import pyarrow.dataset

    counts: Counter[int] = Counter()
    folder = Path(str(result.hc_structure.catalog_base_dir)) / "dataset"
    schema = pyarrow.schema([("flags", pyarrow.int32())])  # a result without rows has no file to tell it
    for batch in pyarrow.dataset.dataset(folder, schema).to_batches():
        values, n_rows = np.unique(batch["flags"].to_numpy(), return_counts=True)
        counts.update(dict(zip(values.tolist(), n_rows.tolist(), strict=True)))
    return counts


def _warn_of_unserved(result: lsdb.Catalog) -> None:
    """Warn of rows without an estimate, once: how many, and what to do about each kind."""
    counts = count_flags(result)
    if unserved := count_unserved(counts):
        warn_caller(failures_text(unserved, counts.total()))
