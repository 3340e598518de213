"""Splits: which galaxies are trained on and which are held out, as written files.

A split is a table with one row a galaxy: ``objid``, and either its ``role``
(``"train"`` or ``"held_out"``) or the number of the ``fold`` that holds it out. Its ``meta``
says the rule and the seed that drew it. Read again, it is checked: a galaxy
stands on one side only, and so do galaxies that are close on the sky.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from hifrac.core.exceptions import warn_caller
from hifrac.core.files import whole_file

TRAIN, HELD_OUT = "train", "held_out"
#: Galaxies closer than this never stand in different folds.
SEPARATION = 90 * u.arcsec


def sky_groups(objid: np.ndarray, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Group galaxies that must not be split between folds; return labels from 0, shape (n,).

    Galaxies of one SDSS field (bits 16 and up of the objID: rerun, run, camcol, field; SDSS glossary,
    "ObjID"), and galaxies closer than 90 arcsec where positions (ICRS degrees; NaN where unknown) are known.
    """
    # What is left of an objID without its last 16 bits, the object's number, is the field.
    field = np.array([int(name) >> 16 for name in objid])
    _, first, by_field = np.unique(field, return_index=True, return_inverse=True)
    links = [np.stack([np.arange(len(objid)), first[by_field]])]
    links.append(np.stack(_close_pairs(ra, dec)[:2]))
    rows, columns = np.concatenate(links, axis=1)
    graph = coo_matrix((np.ones(rows.size), (rows, columns)), shape=(len(objid), len(objid)))
    return connected_components(graph, directed=False)[1]


def _close_pairs(ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of all pairs closer than `SEPARATION`, both ways round, and their distances."""
    rows = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if rows.size < 2:
        return rows[:0], rows[:0], np.empty(0)
    positions = SkyCoord(ra[rows], dec[rows], unit="deg")
    first, second, distance, _ = positions.search_around_sky(positions, SEPARATION)
    return rows[first], rows[second], distance.to_value("arcsec")


def galaxy_groups(objid: np.ndarray, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Group galaxies as `sky_groups`; of names that are no SDSS objIDs only equal ones are one galaxy."""
    objid = np.asarray(objid, dtype=str)
    if not all(_is_sdss(name) for name in objid):
        _, number = np.unique(objid, return_inverse=True)
        # A field of its own for each name.
        objid = np.array([str(int(label) << 16) for label in number])
    return sky_groups(objid, np.asarray(ra, dtype=float), np.asarray(dec, dtype=float))


def _is_sdss(name: str) -> bool:
    """Tell whether a name is an SDSS objID: its bits 59 to 62 are the version of the sky, 1 (DR7) or 2."""
    return name.isascii() and name.isdigit() and int(name) >> 59 in (1, 2)


def draw_roles(objid: np.ndarray, group: np.ndarray, *, held_out: float = 0.2, seed: int) -> Table:
    """Draw a split into two sides, whole groups at a time.

    Parameters
    ----------
    objid : array of str, shape (n,)
        Names of galaxies.
    group : array of int, shape (n,)
        Galaxies of one group stay together.
    held_out : float, optional
        Share of the galaxies to hold out, between 0 and 1; groups are drawn
        as long as they fit, so that it is never exceeded.
    seed : int
        Fixes the draw.

    Returns
    -------
    split : `~astropy.table.Table`
        A row a galaxy: ``objid``, and its ``role``, ``"train"`` or ``"held_out"``.

    Raises
    ------
    ValueError
        If a side would be empty.

    Examples
    --------
    >>> import numpy as np
    >>> from hifrac.training import draw_roles
    >>> split = draw_roles(np.arange(10).astype(str), np.arange(10) // 2, held_out=0.2, seed=0)
    >>> int((split["role"] == "held_out").sum())
    2
    """
    group = np.asarray(group)
    wanted = math.floor(held_out * len(objid))
    labels, inverse, size = np.unique(group, return_inverse=True, return_counts=True)
    chosen = np.zeros(len(labels), dtype=bool)
    left = wanted
    for label in np.random.default_rng(seed).permutation(len(labels)):
        if size[label] <= left:
            chosen[label] = True
            left -= size[label]
    out = chosen[inverse]
    if not out.any() or out.all():
        raise ValueError(
            f"held_out: a share of {held_out} of {len(objid)} galaxies in {len(labels)} groups "
            "leaves a side of the split empty"
        )
    return Table(
        {"objid": np.asarray(objid, dtype=str), "role": np.where(out, HELD_OUT, TRAIN)},
        meta={"rule": "groups", "seed": seed, "fraction": held_out, "separation": str(SEPARATION)},
    )


def draw_folds(objid: np.ndarray, group: np.ndarray, *, n_folds: int = 5, seed: int) -> Table:
    """Draw folds of about equal size, whole groups at a time.

    Parameters
    ----------
    objid : array of str, shape (n,)
        Names of galaxies.
    group : array of int, shape (n,)
        Galaxies of one group stay together.
    n_folds : int, optional
        Number of folds, at least 2.
    seed : int
        Fixes the draw.

    Returns
    -------
    split : `~astropy.table.Table`
        A row a galaxy: ``objid``, and the number of the ``fold`` that holds it out.

    Raises
    ------
    ValueError
        If there are fewer groups than folds.

    Examples
    --------
    >>> import numpy as np
    >>> from hifrac.training import draw_folds
    >>> split = draw_folds(np.arange(10).astype(str), np.arange(10) // 2, n_folds=5, seed=0)
    >>> np.bincount(split["fold"])
    array([2, 2, 2, 2, 2])
    """
    from sklearn.model_selection import GroupKFold

    fold = _number_folds(GroupKFold(n_folds, shuffle=True, random_state=seed), objid, group)
    return Table(
        {"objid": np.asarray(objid, dtype=str), "fold": fold},
        meta={"rule": "groups", "seed": seed, "n_folds": n_folds, "separation": str(SEPARATION)},
    )


def assign_folds(classes: np.ndarray, group: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Draw the fold, 0 to n_folds - 1, of each row, each class shared out evenly; groups are never split."""
    from sklearn.model_selection import StratifiedGroupKFold

    return _number_folds(StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed), classes, group)


def _number_folds(splitter: Any, target: np.ndarray, group: np.ndarray) -> np.ndarray:
    fold = np.empty(len(target), dtype=int)
    for number, (_, held_out) in enumerate(splitter.split(target, target, group)):
        fold[held_out] = number
    return fold


def paper_roles(
    objid: np.ndarray, *, fraction: float = 0.2, seed: int = 12345, generator: str = "numpy"
) -> Table:
    """Draw the split of `paper_permutation`, of named galaxies, in the order of the paper's table."""
    _, valid = paper_permutation(len(objid), fraction=fraction, seed=seed, generator=generator)
    role = np.full(len(objid), TRAIN, dtype="U8")
    role[valid] = HELD_OUT
    return Table(
        {"objid": np.asarray(objid, dtype=str), "role": role},
        meta={"rule": f"paper-{generator}", "seed": seed, "fraction": fraction},
    )


def paper_permutation(
    n: int, *, fraction: float = 0.2, seed: int = 12345, generator: str = "numpy"
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows as the code of Wu (2020, ApJ 900, 142) does, which knows nothing of positions.

    It permutes the n rows of the paper's table (4797 for alpha.40B, 7399 for alpha.40A), and takes the first
    share as the validation set: by NumPy's legacy generator, as in the earlier experiments, or by PyTorch's,
    as in the later ones, which are fastai's ``RandomSplitter(0.2, seed=12345)``. That is the split of Wu &
    Peek (2020), too (60,229 rows, 12,045 of them to validate; in the order of their table, which is not
    published). The state of neither is changed. Returns the rows to train on, and the others.
    """
    if generator not in ("numpy", "torch"):
        raise ValueError(f"generator must be 'numpy' or 'torch', got {generator!r}")
    cut = int(fraction * n)
    if not 0 < cut < n:
        raise ValueError(f"fraction {fraction} of {n} rows leaves a side of the split empty")
    if generator == "numpy":
        order = np.random.RandomState(seed).permutation(n)
    else:
        import torch

        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).numpy()
    return order[cut:], order[:cut]


def wu_boada_roles(
    objid: np.ndarray, *, seed: int, has_picture: np.ndarray | None = None, n_test: int = 25_000
) -> tuple[Table, Table]:
    """Draw the splits of Wu & Boada (2019, MNRAS 484, 4683), of named galaxies, in the order of their table.

    First the last ``n_test`` rows of a permutation are held out as test galaxies, then galaxies without a
    picture are dropped. Of the rest, in the permuted order, a fifth is held out for validation by fastai's
    ``get_cv_idxs``: the first of a permutation by NumPy's legacy generator, seed 42. The original did not
    seed the first permutation, so that its test galaxies cannot be found again; ``seed`` here is ours.

    Parameters
    ----------
    objid : array of str, shape (n,)
        Names of galaxies, each once.
    seed : int
        Fixes the test galaxies.
    has_picture : array of bool, shape (n,), optional
        Which galaxies have a picture; by default all.
    n_test : int, optional
        Number of test galaxies before those without a picture are dropped.

    Returns
    -------
    test, validation : `~astropy.table.Table`
        The split of all galaxies with a picture, and of those that are not held out by it: ``objid`` and
        ``role``. Of their 142,186 rows the original had 20,466 test, 76,772 training and 19,192 validation
        galaxies with a picture.

    Raises
    ------
    ValueError
        If a galaxy is there twice, the lengths differ, or a side of a split would be empty.
    """
    objid = np.asarray(objid, dtype=str)
    there = np.ones(len(objid), bool) if has_picture is None else np.asarray(has_picture, bool)
    if there.shape != objid.shape:
        raise ValueError(f"has_picture has {there.shape}, objid {objid.shape}: one each is wanted")
    if len(np.unique(objid)) < len(objid):
        raise ValueError("objid must name each galaxy once")
    if not 0 < n_test < len(objid):
        raise ValueError(f"n_test must be from 1 to {len(objid) - 1}, got {n_test}")
    order = np.random.RandomState(seed).permutation(len(objid))
    rest, tested = order[:-n_test], np.sort(order[-n_test:])
    rest, tested = rest[there[rest]], tested[there[tested]]
    if not len(rest) or not len(tested):
        raise ValueError("has_picture leaves a side of the split empty")
    role = np.repeat([TRAIN, HELD_OUT], [len(rest), len(tested)])
    meta = {"rule": "paper-wu-boada-2019", "seed": seed, "n_test": n_test}
    test = Table({"objid": objid[np.concatenate([rest, tested])], "role": role}, meta=meta)
    return test, paper_roles(objid[rest], seed=42)


def split_hash(split: Table) -> str:
    """Compute the sha256 of who stands where, whatever the order of the rows."""
    lines = sorted(f"{name},{where}" for name, where in zip(split["objid"], _side(split), strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _side(split: Table) -> np.ndarray:
    return np.asarray(split["role" if "role" in split.colnames else "fold"])


def write_split(split: Table, path: str | Path) -> Path:
    """Write a split as ECSV, whole or not at all; an existing file is replaced.

    Parameters
    ----------
    split : `~astropy.table.Table`
        Roles or folds of galaxies, as `draw_roles` or `draw_folds` returns them.
    path : path-like
        File to write.

    Returns
    -------
    path : `pathlib.Path`
        The file.

    Examples
    --------
    >>> import numpy as np
    >>> from tempfile import TemporaryDirectory
    >>> from hifrac.training import draw_roles, write_split
    >>> with TemporaryDirectory() as folder:
    ...     split = draw_roles(np.arange(10).astype(str), np.arange(10) // 2, seed=0)
    ...     write_split(split, f"{folder}/split.ecsv").name
    'split.ecsv'
    """
    path = Path(path)
    with whole_file(path) as partial:
        split.write(partial, format="ascii.ecsv", overwrite=True)
    return path


def read_split(
    path: str | Path, objid: np.ndarray, ra: np.ndarray | None = None, dec: np.ndarray | None = None
) -> Table:
    """Read a split for some galaxies, and check it.

    Parameters
    ----------
    path : path-like
        ECSV, with ``objid`` and either ``role`` or ``fold``.
    objid : array of str, shape (n,)
        The galaxies that it must split.
    ra, dec : array of float, shape (n,), optional
        ICRS degrees; NaN where unknown.

    Returns
    -------
    split : `~astropy.table.Table`
        One row a galaxy, in the order of ``objid``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no split; if a galaxy is unknown, missing, there twice or on
        two sides; or if galaxies closer than 90 arcsec are on two sides.

    Warns
    -----
    ~hifrac.core.HifracWarning
        Instead of the last, where the rule in its ``meta`` is one of the paper's.

    Examples
    --------
    >>> import numpy as np
    >>> from tempfile import TemporaryDirectory
    >>> from hifrac.training import draw_folds, read_split, write_split
    >>> objid = np.arange(10).astype(str)
    >>> with TemporaryDirectory() as folder:
    ...     path = write_split(draw_folds(objid, np.arange(10) // 2, seed=0), f"{folder}/folds.ecsv")
    ...     read_split(path, objid[::-1])["objid"][:3].tolist()
    ['9', '8', '7']
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"split: no such file: {path}")
    try:
        split = Table.read(path, format="ascii.ecsv")
    except Exception as error:  # astropy's readers raise whatever they meet
        raise ValueError(f"split: {path} is not an ECSV table: {error}") from error
    objid = np.asarray(objid, dtype=str)
    try:
        rows = check_split(split, objid)
        split = split[rows]
        if ra is not None and dec is not None:
            require_apart(split, objid, np.asarray(ra, dtype=float), np.asarray(dec, dtype=float))
    except ValueError as error:
        raise ValueError(f"split {path}: {error}") from error
    return split


def check_split(split: Table, objid: np.ndarray) -> np.ndarray:
    """Return the row of each galaxy in a split; a ValueError unless it has them all once, and no others."""
    sides = [name for name in ("role", "fold") if name in split.colnames]
    if "objid" not in split.colnames or len(sides) != 1:
        raise ValueError(
            f"it must have objid and either role or fold, got {', '.join(split.colnames) or 'nothing'}"
        )
    side = np.asarray(split[sides[0]])
    if sides == ["role"] and (unknown := sorted(set(side.tolist()) - {TRAIN, HELD_OUT})):
        raise ValueError(f"role must be {TRAIN!r} or {HELD_OUT!r}, got {unknown[0]!r}")
    if sides == ["fold"] and (side.dtype.kind not in "iu" or np.any(side < 0)):
        raise ValueError("fold must be an integer from 0")
    row_of: dict[str, int] = {}
    for row, name in enumerate(str(value) for value in split["objid"]):
        if (first := row_of.setdefault(name, row)) != row:
            where = "stands twice" if side[first] == side[row] else "stands on two sides"
            raise ValueError(f"the galaxy {name} {where}, in rows {first} and {row}")
    if strangers := sorted(row_of.keys() - set(objid.tolist())):
        raise ValueError(f"{len(strangers)} galaxies are not in the data, the first is {strangers[0]}")
    if missing := [name for name in objid.tolist() if name not in row_of]:
        raise ValueError(f"{len(missing)} galaxies of the data are missing, the first is {missing[0]}")
    if len(np.unique(side)) < 2:
        raise ValueError(f"all galaxies have the {sides[0]} {side[0] if len(side) else '(none)'}")
    return np.array([row_of[name] for name in objid.tolist()], dtype=int)


def require_apart(split: Table, objid: np.ndarray, ra: np.ndarray, dec: np.ndarray) -> None:
    """Refuse a split that parts galaxies closer than 90 arcsec; warn if it is drawn by the paper's rule."""
    first, second, distance = _close_pairs(ra, dec)
    side = _side(split)
    apart = np.flatnonzero((side[first] != side[second]) & (first < second))
    if not apart.size:
        return
    pair = apart[0]
    message = (
        f"{apart.size} pairs of galaxies closer than {SEPARATION:g} stand on two sides, the first are "
        f"{objid[first[pair]]} and {objid[second[pair]]}, {distance[pair]:.0f} arcsec apart"
    )
    if not str(split.meta.get("rule", "")).startswith("paper-"):
        raise ValueError(message)
    warn_caller(message)
