"""The logs of what is not acknowledged, in summary: numbers, extents, acknowledgement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from module_gateway.module_handler.aggregator import Publication
from module_gateway.module_handler.outbox import (
    ENTRY_OVERHEAD_BYTES,
    EXTENT_ENTRIES,
    MAX_STRETCHES,
    Bounds,
    Entry,
    Log,
    Outbox,
)
from module_gateway.module_handler.store import Extent, LogStored
from module_gateway.protocol.identity import Device
from tests.unit.module_handler.rig import MODULE, device

A, B = device("a"), device("b")
LARGE = 1 << 30


def outbox(entries: int = 16, size_bytes: int = LARGE) -> Outbox:
    return Outbox(Bounds(entries, size_bytes))


def put(made: Outbox, who: Device, *statuses: bytes) -> list[Entry]:
    return [made.append(who, Publication(status), 0) for status in statuses]


def log_of(made: Outbox, who: Device) -> Log:
    log = made.log(who.identity)
    assert log is not None
    return log


def present(made: Outbox, *entries: Entry) -> list[int]:
    return [entry.sequence for entry in entries if made.has(entry)]


def fold_of(*entries: Entry) -> Entry:
    return entries[-1]._replace(error=b"error", first_sequence=entries[0].sequence)


def test_numbers_grow_over_all_identities() -> None:
    made = outbox()
    assert [1, 2, 3] == [entry.sequence for entry in put(made, A, b"1") + put(made, B, b"2", b"3")]
    assert (True, False) == (made.owes(frozenset({MODULE})), made.owes(frozenset({MODULE + 1})))
    assert 3 == made.last_sequence


def test_an_entry_carries_what_was_published() -> None:
    made = outbox()
    publication = Publication(b"s", is_repeat=True, ends_registration=True)
    expected = Entry(1, A, b"s", ends_registration=True, is_repeat=True, time_unix_ms=5)
    assert expected == made.append(A, publication, 5)


def test_an_acknowledgement_trims_one_identity_up_to_its_number() -> None:
    made = outbox()
    everything = put(made, A, b"1", b"2") + put(made, B, b"3") + put(made, A, b"4")
    assert made.trim(A.identity, 3)
    assert [3, 4] == present(made, *everything)
    assert (2, 1) == (len(made), log_of(made, A).entries)
    assert 2 * (ENTRY_OVERHEAD_BYTES + 1) == made.size_bytes


def test_an_acknowledgement_that_says_nothing_new_changes_nothing() -> None:
    made = outbox()
    put(made, A, b"1", b"2", b"3")
    assert made.trim(A.identity, 2)
    assert [False, False] == [made.trim(A.identity, number) for number in (1, 2)]
    assert not made.trim(B.identity, 1)
    assert made.trim(A.identity, 3)
    assert not made.trim(A.identity, 3)


def test_an_identity_without_entries_is_forgotten_but_its_numbers_are_not() -> None:
    made = outbox()
    (old,) = put(made, A, b"1")
    made.trim(A.identity, 1)
    assert [] == list(made.identities())
    assert (0, 0) == (len(made), made.size_bytes)
    (new,) = put(made, A, b"2")
    assert [2] == present(made, old, new)


def test_a_partial_trim_counts_less_than_one_extent_too_much() -> None:
    made = outbox(entries=100_000)
    put(made, A, *[b"s"] * 1_000)
    for number in range(1, 1_000):
        made.trim(A.identity, number)
        assert 1_000 - number <= len(made) < 1_000 - number + EXTENT_ENTRIES
    made.trim(A.identity, 1_000)
    assert (0, 0) == (len(made), made.size_bytes)


def test_memory_follows_extents_and_not_entries() -> None:
    made = outbox(entries=100_000)
    put(made, A, *[b"x" * 100] * 6_400)
    assert 100 == len(log_of(made, A).extents)


def test_an_extent_of_large_entries_is_short() -> None:
    made = outbox(entries=100_000, size_bytes=16_000)
    put(made, A, *[b"x" * 1_000] * 10)
    made.trim(A.identity, 5)
    assert 5 == len(made)


def test_a_stretch_is_acknowledged_before_what_is_older() -> None:
    made = outbox(entries=100_000)
    old = put(made, A, b"1", b"2", b"3")
    made.seal(frozenset({MODULE}))
    live = put(made, A, *[b"s"] * 3)
    assert made.trim(A.identity, 5, first_sequence=4)
    assert [1, 2, 3, 6] == present(made, *old, *live)
    assert not made.trim(A.identity, 5, first_sequence=4)
    assert made.trim(A.identity, 6, first_sequence=4)
    assert (3, [1, 2, 3]) == (len(made), present(made, *old, *live))
    assert made.trim(A.identity, 3)
    assert [] == list(made.identities())


def folded_log(first: int, last: int, statuses: int = 9) -> tuple[Outbox, list[Entry]]:
    """A log of so many entries, of which some are a fold and those before them acknowledged."""
    made = outbox()
    entries = put(made, A, *[b"s"] * statuses)
    made.acknowledge(A.identity, first - 1, 0)
    fold = fold_of(*entries[first - 1 : last])
    made.fold(fold, entries[first - 1 : last])
    return made, [fold, *entries[last:]]


@pytest.mark.parametrize("last", [5, 6])
def test_R8_a_stretch_does_not_acknowledge_a_fold_that_begins_before_it(last: int) -> None:
    made, left = folded_log(2, 6)
    assert made.acknowledge(A.identity, last, 4) is None
    assert [6, 7, 8, 9] == present(made, *left)


def test_R8_a_stretch_beyond_a_fold_that_begins_before_it_counts_behind_it() -> None:
    made, left = folded_log(2, 6)
    assert 7 == made.acknowledge(A.identity, 8, 4)
    assert [6, 9] == present(made, *left)


def test_R8_a_stretch_that_begins_with_a_fold_acknowledges_it() -> None:
    made, left = folded_log(2, 6)
    assert 2 == made.acknowledge(A.identity, 6, 2)
    assert [7, 8, 9] == present(made, *left)


@pytest.mark.parametrize("first", [0, 1, 2])
def test_R8_a_fold_is_acknowledged_in_parts(first: int) -> None:
    made, left = folded_log(2, 6)
    assert made.acknowledge(A.identity, 3, first) is None
    assert made.acknowledge(A.identity, 6, 5) is None
    assert 4 == made.acknowledge(A.identity, 6, 4)
    assert [7, 8, 9] == present(made, *left)


def test_R8_a_stretch_does_not_acknowledge_the_fold_of_a_fold() -> None:
    made, left = folded_log(2, 6)
    fold = left[1]._replace(error=b"error", first_sequence=2)
    made.fold(fold, left[:2])
    assert made.acknowledge(A.identity, 7, 7) is None
    assert [7, 8, 9] == present(made, fold, *left[2:])


def restored(*entries: Entry) -> Outbox:
    made = outbox()
    sizes = sum(entry.size_bytes for entry in entries)
    extent = Extent(entries[-1].sequence, len(entries), sizes, 0)
    made.restore([LogStored(A.identity, (extent,))], entries[-1].sequence)
    return made


def test_R8_a_stretch_leaves_alone_what_may_be_a_fold_from_before_a_restart() -> None:
    _, left = folded_log(2, 6)
    made = restored(*left)
    assert made.acknowledge(A.identity, 6, 4) is None
    made.delivered(left[0])
    made.delivered(left[1])
    assert made.acknowledge(A.identity, 6, 4) is None
    assert 7 == made.acknowledge(A.identity, 7, 4)
    assert [6, 8, 9] == present(made, *left)


def test_R18_after_a_restart_a_stretch_counts_again_once_the_oldest_entry_is_known() -> None:
    entries = put(outbox(), A, *[b"s"] * 6)
    made = restored(*entries)
    made.delivered(entries[0])
    assert 4 == made.acknowledge(A.identity, 5, 4)
    assert [1, 2, 3, 6] == present(made, *entries)


def test_R18_what_is_new_after_a_restart_says_nothing_of_the_oldest_entry() -> None:
    _, left = folded_log(2, 6)
    made = restored(*left)
    (live,) = put(made, A, b"live")
    made.delivered(live)
    assert made.acknowledge(A.identity, 6, 4) is None
    assert 10 == made.acknowledge(A.identity, 10, 10)


def test_an_operator_may_take_a_fold_out() -> None:
    made, left = folded_log(2, 6)
    assert made.trim(A.identity, 6, 6)
    assert [7, 8, 9] == present(made, *left)
    assert 8 == made.acknowledge(A.identity, 8, 8)


def test_what_is_not_made_yet_cannot_be_acknowledged() -> None:
    made = outbox()
    (old,) = put(made, A, b"1")
    assert not made.trim(A.identity, 2, first_sequence=2)
    assert made.acknowledge(A.identity, 2, 2) is None
    (new,) = put(made, A, b"2")
    assert [1, 2] == present(made, old, new)


def test_a_stretch_of_another_module_is_not_sealed() -> None:
    made = outbox(entries=100_000)
    put(made, A, b"1")
    made.seal(frozenset({MODULE + 1}))
    put(made, A, b"2")
    assert 1 == len(log_of(made, A).extents)


def test_a_stretch_with_nothing_older_is_a_prefix() -> None:
    made = outbox()
    entries = put(made, A, *[b"s"] * 4)
    made.trim(A.identity, 2)
    made.trim(A.identity, 3, first_sequence=3)
    assert [4] == present(made, *entries)
    assert 3 == log_of(made, A).trimmed_to


def test_a_prefix_swallows_the_stretches_that_it_reaches() -> None:
    made = outbox(entries=64)
    entries = put(made, A, *[b"s"] * 9)
    made.trim(A.identity, 6, first_sequence=5)
    assert made.trim(A.identity, 6)
    assert [7, 8, 9] == present(made, *entries)
    assert 0 == len(log_of(made, A).stretches)


def test_stretches_that_touch_are_one_and_few_are_remembered() -> None:
    made = outbox(entries=100_000)
    put(made, A, *[b"s"] * 200)
    made.trim(A.identity, 12, first_sequence=11)
    made.trim(A.identity, 14, first_sequence=13)
    assert [(11, 14)] == list(log_of(made, A).stretches)
    for number in range(20, 120, 2):
        made.trim(A.identity, number, first_sequence=number)
    assert MAX_STRETCHES == len(log_of(made, A).stretches)


def test_a_log_whose_rest_only_the_store_knows_says_so() -> None:
    stored = LogStored(A.identity, (Extent(9, 4, 1_200, 0),))
    made = outbox(entries=100_000)
    made.restore([stored], 9)
    assert not log_of(made, A).may_be_empty
    made.trim(A.identity, 9, first_sequence=6)
    assert log_of(made, A).may_be_empty
    put(made, A, b"new")
    assert not log_of(made, A).may_be_empty


def test_a_fold_takes_the_place_of_what_it_covers() -> None:
    made = outbox(entries=16)
    entries = put(made, A, *[b"s"] * 10)
    fold = fold_of(*entries[:4])
    made.fold(fold, entries[:4])
    assert [4, 5, 6, 7, 8, 9, 10] == present(made, *entries)
    assert 7 == len(made)
    assert 6 * (ENTRY_OVERHEAD_BYTES + 1) + fold.size_bytes == made.size_bytes


def test_a_fold_within_a_large_extent_counts_exactly() -> None:
    stored = LogStored(A.identity, (Extent(100, 100, 100 * 257, 5), Extent(110, 10, 2570, 9)))
    made = outbox(entries=100_000)
    made.restore([stored], 110)
    entries = [Entry(number, A, b"s") for number in range(1, 41)]
    made.fold(fold_of(*entries), entries)
    assert 71 == len(made)
    assert 70 * 257 + fold_of(*entries).size_bytes == made.size_bytes


def test_it_goes_on_where_a_stored_one_left_off() -> None:
    made = outbox()
    made.restore([LogStored(A.identity, (Extent(2, 2, 514, 0), Extent(3, 1, 257, 0)))], 7)
    assert (3, 771, 7) == (len(made), made.size_bytes, made.last_sequence)
    assert 8 == put(made, A, b"4")[0].sequence
    made.trim(A.identity, 3)
    assert (1, 257) == (len(made), made.size_bytes)


def test_age_is_that_of_whole_extents() -> None:
    made = outbox(entries=32)
    for time_unix_ms in (1, 2, 3, 4, 5, 6):
        made.append(A, Publication(b"s"), time_unix_ms)
    log = log_of(made, A)
    assert [0, 2, 2, 4, 6] == [log.aged_entries(cutoff) for cutoff in (2, 3, 4, 5, 7)]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 1), st.integers(0, 0)),
            st.tuples(st.just("trim"), st.integers(0, 1), st.integers(0, 40)),
            st.tuples(st.just("stretch"), st.integers(0, 40), st.integers(0, 9)),
            st.tuples(st.just("seal"), st.integers(0, 0), st.integers(0, 0)),
        ),
        max_size=60,
    ),
    st.integers(2, 200),
)
def test_the_summary_never_counts_less_than_there_is(
    steps: list[tuple[str, int, int]], entries: int
) -> None:
    made = outbox(entries=entries)
    model: dict[int, Entry] = {}
    for what, one, other in steps:
        who = (A, B)[one] if one < 2 else A
        match what:
            case "put":
                (entry,) = put(made, who, b"s")
                model[entry.sequence] = entry
            case "trim":
                made.trim(who.identity, other)
                model = {n: e for n, e in model.items() if e.device != who or n > other}
            case "stretch":
                first, last = one, one + other
                made.trim(A.identity, last, first)
                model = {n: e for n, e in model.items() if e.device != A or not first <= n <= last}
            case _:
                made.seal(frozenset({MODULE}))
        for each in (A, B):
            count = sum(entry.device == each for entry in model.values())
            log = made.log(each.identity)
            assert count <= (0 if log is None else log.entries)
        assert all(made.has(entry) for entry in model.values())
        assert len(made) == sum(log.entries for _, log in made.logs())
        assert made.size_bytes == sum(log.size_bytes for _, log in made.logs())
