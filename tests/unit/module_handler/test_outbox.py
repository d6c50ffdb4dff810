"""The logs of what is not acknowledged: order, acknowledgement, bounds and folds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from module_gateway.module_handler.aggregator import Publication
from module_gateway.module_handler.outbox import (
    ENTRY_OVERHEAD_BYTES,
    Bounds,
    Entry,
    Outbox,
)
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Device
from tests.unit.module_handler.rig import MODULE, device, published
from tests.unit.module_handler.scripted_module import ScriptedModule

A, B = device("a"), device("b")
LARGE = 1 << 30


def outbox(entries: int = 16, size_bytes: int = LARGE) -> Outbox:
    return Outbox(Bounds(entries, size_bytes), {MODULE: ScriptedModule()})


def put(made: Outbox, who: Device, *statuses: bytes) -> list[Entry]:
    return [made.append(who, Publication(status), 0) for status in statuses]


def test_numbers_grow_over_all_identities() -> None:
    made = outbox()
    assert [1, 2, 3] == [entry.sequence for entry in put(made, A, b"1") + put(made, B, b"2", b"3")]
    assert [1, 2, 3] == made.sequences(frozenset({MODULE}))
    assert [] == made.sequences(frozenset({MODULE + 1}))


def test_an_acknowledgement_trims_one_identity_up_to_its_number() -> None:
    made = outbox()
    put(made, A, b"1", b"2")
    put(made, B, b"3")
    put(made, A, b"4")
    assert 2 == made.trim(A.identity, 3)
    assert ([b"4"], [b"3"]) == (
        published(made.log(A.identity)),
        published(made.log(B.identity)),
    )
    assert made.entry(1) is None
    assert 0 == made.trim(A.identity, 3)


def test_an_identity_without_entries_is_forgotten_but_its_numbers_are_not() -> None:
    made = outbox()
    put(made, A, b"1")
    made.trim(A.identity, 1)
    assert [] == list(made.identities())
    assert 0 == len(made)
    assert [2] == [entry.sequence for entry in put(made, A, b"2")]


def test_M12_the_oldest_entries_of_a_log_at_its_bound_become_one() -> None:
    made = outbox(entries=8)
    put(made, A, *(b"%d" % n for n in range(1, 10)))
    compacted = made.compact(A.identity, exposed_to=0)
    assert compacted is not None
    fold, folded = compacted.fold, compacted.folded
    assert (3, b"[1][2][3]", b"3", 1, 3) == (
        folded,
        fold.error,
        fold.status,
        fold.first_sequence,
        fold.sequence,
    )
    log = made.log(A.identity)
    assert (7, fold) == (len(log), log[0])
    assert [made.entry(n) for n in (1, 2)] == [None, None]


def test_a_log_within_its_bound_is_left_alone() -> None:
    made = outbox(entries=8)
    put(made, A, *(b"%d" % n for n in range(8)))
    assert made.compact(A.identity, exposed_to=0) is None
    assert made.compact(B.identity, exposed_to=0) is None


def test_a_log_is_bounded_in_bytes() -> None:
    made = outbox(entries=1_000, size_bytes=4 * (ENTRY_OVERHEAD_BYTES + 100))
    for _ in range(20):
        put(made, A, b"x" * 100)
        made.compact(A.identity, exposed_to=0)
    assert len(made.log(A.identity)) <= 4


def test_R8_a_fold_continues_an_earlier_fold() -> None:
    made = outbox(entries=4)
    for status in (b"1", b"2", b"3", b"4", b"5", b"6", b"7"):
        put(made, A, status)
        made.compact(A.identity, exposed_to=0)
    (first, *_) = made.log(A.identity)
    assert (b"[1][2][3][4][5]", 1) == (first.error, first.first_sequence)
    assert [b"6", b"7"] == published(made.log(A.identity)[1:])


def test_R8_what_a_live_session_may_have_shown_is_not_folded_before_twice_the_bound() -> None:
    made = outbox(entries=8)
    put(made, A, *(b"%d" % n for n in range(1, 17)))
    assert made.compact(A.identity, exposed_to=1) is None
    put(made, A, b"17")
    compacted = made.compact(A.identity, exposed_to=1)
    assert compacted is not None
    assert 14 == len(made.log(A.identity))


def test_R9_a_repeat_is_not_folded_again() -> None:
    made = outbox(entries=2)
    put(made, A, b"1")
    made.append(A, Publication(b"1", is_repeat=True, ends_registration=True), 0)
    put(made, A, b"2")
    compacted = made.compact(A.identity, exposed_to=0)
    assert compacted is not None
    assert b"[1][2]" == compacted.fold.error


def test_a_fold_keeps_the_end_of_the_registration_of_its_newest_entry() -> None:
    made = outbox(entries=2)
    put(made, A, b"1")
    made.append(A, Publication(b"2", ends_registration=True), 0)
    made.append(A, Publication(b"2", is_repeat=True, ends_registration=True), 0)
    compacted = made.compact(A.identity, exposed_to=0)
    assert compacted is not None
    assert (b"[1][2]", True, False) == (
        compacted.fold.error,
        compacted.fold.ends_registration,
        compacted.fold.is_repeat,
    )


def test_a_module_that_refuses_to_fold_loses_that_status_only() -> None:
    module = ScriptedModule()
    made = Outbox(Bounds(2, LARGE), {MODULE: module})
    put(made, A, b"1", b"2", b"3")
    module.fails.add("aggregate_error")
    compacted = made.compact(A.identity, exposed_to=0)
    assert compacted is not None
    assert (b"", b"3", 3) == (compacted.fold.error, compacted.fold.status, compacted.fold.sequence)


def test_it_goes_on_where_a_stored_one_left_off() -> None:
    old = outbox()
    put(old, A, b"1", b"2")
    old.trim(A.identity, 2)
    new = outbox()
    new.restore(put(old, A, b"3"), last_sequence=3)
    assert [b"3"] == published(new.log(A.identity))
    assert 4 == put(new, A, b"4")[0].sequence


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=80),
    st.integers(2, 9),
)
def test_nothing_is_forgotten_and_nothing_is_counted_twice(
    steps: list[tuple[bool, int]], entries: int
) -> None:
    """Fold plus rest is always the suffix of everything, whatever is acknowledged when."""
    made = outbox(entries=entries)
    everything: list[bytes] = []
    acknowledged = 0
    for is_append, number in steps:
        if is_append:
            status = b"%d" % len(everything)
            everything.append(status)
            put(made, A, status)
            made.compact(A.identity, exposed_to=0)
        else:
            log = made.log(A.identity)
            if log:
                acknowledged = log[min(number, len(log) - 1)].sequence
                made.trim(A.identity, acknowledged)
        seen = b"".join(
            b"[" + entry.status + b"]" if entry.error is None else entry.error
            for entry in made.log(A.identity)
        )
        expected = b"".join(b"[" + status + b"]" for status in everything[acknowledged:])
        assert expected == seen
        assert len(made.log(A.identity)) <= entries


@pytest.mark.parametrize("count", [0, 1])
def test_a_log_of_one_entry_cannot_become_coarser(count: int) -> None:
    made = outbox(entries=2, size_bytes=1)
    put(made, A, *[b"x" * 10] * count)
    assert made.compact(A.identity, exposed_to=0) is None
    assert count == len(made.log(A.identity))


def test_a_module_that_hangs_while_folding_is_not_asked_for_the_rest() -> None:
    module = ScriptedModule()
    made = Outbox(Bounds(8, LARGE), {MODULE: module})
    put(made, A, *(b"%d" % n for n in range(20)))
    module.hangs.add("aggregate_error")
    compacted = made.compact(A.identity, exposed_to=0)
    assert compacted is not None
    assert compacted.failure is not None
    assert (2, Reason.MODULE_HUNG) == (compacted.folded, compacted.failure.reason)
    assert 1 == len(module.calls("aggregate_error"))
