from __future__ import annotations

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from fleet_lab.fleets.shard import deal, deal_to_least, of_ranges, to_ranges


def test_neighbours_go_to_different_workers() -> None:
    assert {"a": [0, 2, 4], "b": [1, 3]} == deal(range(5), ["a", "b"])


def test_orphans_go_where_least_is_and_what_is_held_stays() -> None:
    hands = deal_to_least([5, 6, 7, 8], {"a": [0, 1, 2], "b": [3]})
    assert {"a": [7], "b": [5, 6, 8]} == hands


def test_a_workers_share_is_one_short_range() -> None:
    assert [[1, 10000, 2]] == to_ranges(range(1, 10000, 2))


@given(st.sets(st.integers(0, 200)))
def test_ranges_hold_exactly_what_they_were_made_of(indexes: set[int]) -> None:
    assert sorted(indexes) == of_ranges(to_ranges(indexes))


@given(st.sets(st.integers(0, 200)), st.integers(1, 7))
def test_everything_is_dealt_once(indexes: set[int], workers: int) -> None:
    names = [str(number) for number in range(workers)]
    assert sorted(indexes) == sorted(chain(*deal(indexes, names).values()))
    hands = deal_to_least(indexes, {name: [] for name in names})
    assert sorted(indexes) == sorted(chain(*hands.values()))
    sizes = [len(hand) for hand in hands.values()]
    assert max(sizes) - min(sizes) <= 1
