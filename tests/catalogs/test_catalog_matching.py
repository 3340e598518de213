"""Cross-matching, against a matcher that looks at every pair."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord, search_around_sky
from astropy.table import MaskedColumn, QTable, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from hifrac.catalogs import count_neighbours, find_duplicates, match_ids, match_positions
from hifrac.catalogs.matching import pairs_within

# Positions some arcsec apart, around a few centres: the pole and the meridian of 0h among them.
CENTRES = [(10.0, 20.0), (0.0, 0.0), (359.9999, -0.0001), (200.0, 89.999), (35.0, -89.9995)]
POINTS = st.lists(
    st.tuples(st.integers(0, len(CENTRES) - 1), st.integers(-9, 9), st.integers(-9, 9)), max_size=9
)


def positions(points):
    ra = [(CENTRES[c][0] + x / 3600 / np.cos(np.radians(CENTRES[c][1]))) % 360 for c, x, _ in points]
    dec = [CENTRES[c][1] + y / 3600 for c, _, y in points]
    return np.array(ra, float), np.clip(np.array(dec, float), -90, 90)


def separation(left, right):
    """Haversine, in arcsec, of all pairs."""
    (ra1, dec1), (ra2, dec2) = np.radians(left), np.radians(right)
    half = (
        np.sin((dec1[:, None] - dec2) / 2) ** 2
        + np.cos(dec1[:, None]) * np.cos(dec2) * np.sin((ra1[:, None] - ra2) / 2) ** 2
    )
    # In steps of the matcher, so that equal is equal.
    return np.round(np.degrees(2 * np.arcsin(np.sqrt(half))) * 3600 / 1e-6) * 1e-6


def brute_force(left, right, radius):
    """Take the closest pair, strike out both, again."""
    pairs = separation(left, right)
    candidates = [
        (round(pairs[i, j], 6), i, j) for i, j in np.ndindex(pairs.shape) if pairs[i, j] <= radius + 5e-7
    ]
    row, used = {}, set()
    for _, i, j in sorted(candidates):
        if i not in row and j not in used:
            row[i] = j
            used.add(j)
    return row, candidates


def table_of(points):
    ra, dec = positions(points)
    return Table({"ra": ra * u.deg, "dec": dec * u.deg})


@settings(max_examples=60)
@given(POINTS, POINTS, st.sampled_from([0.4, 1.5, 5.3, 12.2]))
def test_matches_are_those_of_a_search_through_all_pairs(left, right, radius):
    expected, candidates = brute_force(positions(left), positions(right), radius)
    match = match_positions(table_of(left), table_of(right), radius * u.arcsec)
    rows = {i: int(match["row"][i]) for i in range(len(left)) if not match["row"].mask[i]}
    assert rows == expected
    counted = [sum(1 for _, i, _ in candidates if i == one) for one in range(len(left))]
    assert list(match["n_candidates"]) == counted
    for i in range(len(left)):
        rivals = len(candidates) and any(
            (a == i) != (b == expected.get(i)) for _, a, b in candidates if a == i or b == expected.get(i, -1)
        )
        assert bool(match["ambiguous"][i]) == bool(rivals)


@settings(max_examples=60)
@given(POINTS, st.sampled_from([0.4, 1.5, 5.3]))
def test_neighbours_and_groups_are_those_of_a_search_through_all_pairs(points, radius):
    where = positions(points)
    near = separation(where, where) <= radius + 5e-7
    counts = count_neighbours(table_of(points), radius=radius * u.arcsec)
    assert list(counts) == [int(row.sum()) - 1 for row in near]
    group = find_duplicates(table_of(points), radius * u.arcsec)
    reach = np.linalg.matrix_power(near.astype(int), max(1, len(points))) > 0
    for i, j in np.ndindex(reach.shape):
        assert (group[i] == group[j] and group[i] >= 0) == (reach[i, j] and counts[i] > 0)
    seen = [one for one in dict.fromkeys(group.tolist()) if one >= 0]
    assert seen == list(range(len(seen)))


@settings(max_examples=60)
@given(POINTS, POINTS)
def test_a_match_is_the_same_seen_from_the_other_side(left, right):
    # Ties apart: no two pairs are equally far.
    pairs = separation(positions(left), positions(right))
    if len(np.unique(pairs)) != pairs.size:
        return
    forth = match_positions(table_of(left), table_of(right), 6 * u.arcsec)
    back = match_positions(table_of(right), table_of(left), 6 * u.arcsec)
    there = {(i, int(j)) for i, j in enumerate(forth["row"].filled(-1)) if j >= 0}
    assert there == {(int(i), j) for j, i in enumerate(back["row"].filled(-1)) if i >= 0}


def test_pairs_on_the_whole_sky_are_those_of_astropy():
    rng = np.random.default_rng(3)
    ra, dec = rng.uniform(0, 360, 4000), np.degrees(np.arcsin(rng.uniform(-1, 1, 4000)))
    here = SkyCoord(ra, dec, unit="deg")
    there = here.directional_offset_by(
        rng.uniform(0, 360, 4000) * u.deg, rng.uniform(0, 120, 4000) * u.arcsec
    )
    i, j, apart, _ = search_around_sky(here, there, 60 * u.arcsec)
    mine = pairs_within((ra, dec), (there.ra.deg, there.dec.deg), 60.0)
    assert set(zip(i, j, strict=True)) == set(zip(*mine[:2], strict=True))
    assert len(i) > 1900
    order, my_order = np.lexsort((j, i)), np.lexsort((mine[1], mine[0]))
    np.testing.assert_allclose(mine[2][my_order], apart.to_value(u.arcsec)[order], atol=1e-6)


def test_a_galaxy_is_used_once_and_the_loser_is_told():
    left = SkyCoord([10.0, 10.0002], [0.0, 0.0], unit="deg")
    right = SkyCoord([10.00003], [0.0], unit="deg")
    match = match_positions(left, right, 2 * u.arcsec)
    assert list(match["row"].mask) == [False, True]
    assert list(match["ambiguous"]) == [True, True]
    assert float(match["separation"].unmasked[0].to_value(u.arcsec)) == pytest.approx(0.108, abs=1e-5)
    assert match["separation"].mask[1]


def test_velocities_decide_where_positions_cannot():
    left = Table({"ra": [10.0], "dec": [0.0], "v": [5000.0]})
    right = Table({"ra": [10.0, 10.001], "dec": [0.0, 0.0], "v": [9000.0, 5100.0]})
    close = match_positions(left, right, 5 * u.arcsec, max_velocity_difference=300 * u.km / u.s)
    assert (close["row"][0], close["n_candidates"][0], close["ambiguous"][0]) == (1, 1, False)
    assert match_positions(left, right, 5 * u.arcsec)["row"][0] == 0


def test_rows_without_a_position_or_velocity_match_nothing():
    left = QTable({"ra": [np.nan, 10.0, 10.0], "dec": [0.0, 95.0, 0.0], "v": [1.0, 1.0, np.nan]})
    right = Table({"ra": [10.0], "dec": [0.0], "v": [1.0]})
    close = match_positions(left, right, 5 * u.arcsec, max_velocity_difference=300 * u.km / u.s)
    assert close["row"].mask.all()
    masked = Table({"ra": MaskedColumn([10.0], mask=[True]), "dec": [0.0]})
    assert match_positions(masked, right, 5 * u.arcsec)["row"].mask.all()


def test_a_blend_needs_the_same_velocity_if_asked():
    table = Table({"ra": [10.0, 10.01, 10.02], "dec": [0.0, 0.0, 0.0], "v": [5000.0, 5100.0, 9000.0]})
    assert list(count_neighbours(table, radius=1.9 * u.arcmin)) == [2, 2, 2]
    slow = count_neighbours(table, radius=1.9 * u.arcmin, max_velocity_difference=300 * u.km / u.s)
    assert list(slow) == [1, 1, 0]
    assert list(count_neighbours(table, table[:1], radius=1.9 * u.arcmin)) == [1, 1, 1]


def test_empty_catalogues_match_nothing():
    none, one = table_of([]), table_of([(0, 0, 0)])
    assert len(match_positions(none, one, 1 * u.arcsec)) == 0
    assert match_positions(one, none, 1 * u.arcsec)["row"].mask.all()
    assert len(find_duplicates(none, 1 * u.arcsec)) == 0


def test_identifiers_match_and_repeated_ones_are_ambiguous():
    left = MaskedColumn(["a", "b", "b", "c", ""], mask=[False, False, False, False, False])
    match = match_ids(left, np.array(["c", "b", "c", ""]))
    assert list(match["row"].filled(-1)) == [-1, 1, 1, 0, -1]
    assert list(match["n_candidates"]) == [0, 1, 1, 2, 0]
    assert list(match["ambiguous"]) == [False, True, True, True, False]


@given(st.lists(st.integers(0, 6), max_size=8), st.lists(st.integers(0, 6), max_size=8), st.integers(0, 6))
def test_identifiers_match_as_in_a_dictionary(left, right, hidden):
    column = MaskedColumn(np.array(right, int), mask=np.array(right, int) == hidden)
    match = match_ids(np.array(left, int), column)
    for one, row, count in zip(left, match["row"].filled(-1), match["n_candidates"], strict=True):
        known = [i for i, value in enumerate(right) if value == one and value != hidden]
        assert (row, count) == ((known[0], len(known)) if known else (-1, 0))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: match_positions(t, t, 5), ValueError, "radius must be an angle"),
        (lambda t: match_positions(t, t, 0 * u.arcsec), ValueError, "radius must be positive"),
        (lambda t: match_positions(t, t, 2 * u.deg), ValueError, "at most a degree"),
        (lambda t: match_positions([1, 2], t, 1 * u.arcsec), TypeError, "left must be"),
        (lambda t: match_positions(t, Table({"ra": [1.0]}), 1 * u.arcsec), KeyError, "dec"),
        (lambda t: find_duplicates([1], 1 * u.arcsec), TypeError, "positions must be"),
        (
            lambda t: match_positions(
                SkyCoord([1] * u.deg, [1] * u.deg), t, 1 * u.arcsec, max_velocity_difference=1 * u.km / u.s
            ),
            TypeError,
            "left must be a Table with a column v",
        ),
        (lambda t: match_ids([1, 2], ["1", "2"]), TypeError, "text and numbers differ"),
        (lambda t: match_ids([1.0], [1.0]), TypeError, "a float cannot hold"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call(table_of([(0, 0, 0)]))


@pytest.mark.parametrize("types", [(np.uint64, np.int64), (np.int64, np.uint64), (np.int32, np.uint64)])
def test_integers_of_two_kinds_are_not_compared_as_floats(types):
    base = 1237648720693755918 if np.int32 not in types else 2**31 - 5
    left, right = np.array([base], types[0]), np.array([base - 1, base, base + 1], types[1])
    assert list(match_ids(left, right)["row"]) == [1]
    assert [row is np.ma.masked for row in match_ids(right, left)["row"]] == [True, False, True]
    assert match_ids(np.array([-1]), np.array([2**64 - 1], np.uint64))["row"][0] is np.ma.masked


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (np.array([7, None, 8], dtype=object), [8, 7]),
        (np.array([b"7", b"", b"8"]), ["8", "7"]),
        (np.array(["7", None, "8"], dtype=object), ["8", "7"]),
    ],
    ids=["integers and gaps", "bytes", "text and gaps"],
)
def test_identifiers_as_other_programs_hold_them(left, right):
    assert match_ids(left, right)["row"].tolist() == [1, None, 0]


@pytest.mark.parametrize("word", ["null", "NULL", "None", "N/A", "--", ""])
def test_a_word_for_nothing_is_no_identifier(word):
    assert match_ids([word], [word])["row"][0] is np.ma.masked
