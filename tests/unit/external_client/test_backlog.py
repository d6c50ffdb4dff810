"""The ledger: every entry in exactly one place (contract R8, R10, R11)."""

from __future__ import annotations

import pytest

from module_gateway.external_client.backlog import Backlog
from module_gateway.external_client.entries import Acknowledgement, Entry, Flight, Receipt
from module_gateway.protocol.external import Position
from tests.unit.external_client.world import MODULE, TraceModule, device

A, B = device("a"), device("b")
STORE = 11


@pytest.fixture
def backlog() -> Backlog:
    return Backlog({MODULE: TraceModule()})


def entry(sequence: int, store: int = STORE, **more: object) -> Entry:
    receipt = Receipt(1, 1, sequence)
    return Entry(A, b"%d" % sequence, sequence, store, receipt=receipt, **more)  # type: ignore[arg-type]


def acks(backlog: Backlog) -> list[int]:
    taken = [each.position.sequence for each in backlog.acknowledgements]
    backlog.acknowledgements.clear()
    return taken


def fly(backlog: Backlog, counter: int) -> Flight:
    sent = backlog.pop(A.identity)
    assert sent is not None
    flight = Flight(counter, A.identity, 1, 0.0, sent)
    backlog.fly(flight)
    return flight


def test_offline_entry_is_folded_and_leaves_the_queue(backlog: Backlog) -> None:
    assert not backlog.receive(entry(1), is_live=False)
    assert [Receipt(1, 1, 1)] == backlog.released
    assert b"[1]" == backlog.folds.get_error(A.identity)


def test_live_entry_waits_until_it_is_acknowledged(backlog: Backlog) -> None:
    assert backlog.receive(entry(1), is_live=True)
    flight = fly(backlog, 1)
    assert [] == backlog.released
    backlog.acknowledge(flight)
    assert [Receipt(1, 1, 1)] == backlog.released
    assert [Acknowledgement(A.identity, Position(STORE, 1))] == backlog.acknowledgements


def test_repeated_delivery_is_released_and_acknowledged_again_only_if_it_was(
    backlog: Backlog,
) -> None:
    backlog.receive(entry(1), is_live=True)
    backlog.receive(entry(1), is_live=True)
    assert [] == acks(backlog)
    assert 1 == backlog.waiting(A.identity)
    backlog.acknowledge(fly(backlog, 1))
    assert [1] == acks(backlog)
    backlog.receive(entry(1), is_live=True)
    assert [1] == acks(backlog)
    assert 0 == backlog.waiting(A.identity)


def test_only_the_contiguous_front_is_acknowledged(backlog: Backlog) -> None:
    for number in (1, 2, 3):
        backlog.receive(entry(number), is_live=True)
    flights = [fly(backlog, number) for number in (1, 2, 3)]
    backlog.acknowledge(flights[2])
    backlog.acknowledge(flights[1])
    assert [] == acks(backlog)
    backlog.acknowledge(flights[0])
    assert [3] == acks(backlog)


def test_entries_join_an_open_fold_rather_than_overtake_it(backlog: Backlog) -> None:
    backlog.receive(entry(1), is_live=False)
    assert not backlog.receive(entry(2), is_live=True)
    assert b"[1][2]" == backlog.folds.get_error(A.identity)


def test_fold_of_the_handler_waits_behind_what_is_in_flight(backlog: Backlog) -> None:
    backlog.receive(entry(1), is_live=True)
    flight = fly(backlog, 1)
    backlog.receive(entry(4, error=b"[2][3][4]", first_sequence=2), is_live=True)
    assert not backlog.is_sendable(A.identity)
    backlog.acknowledge(flight)
    assert backlog.is_sendable(A.identity)
    assert backlog.pop(A.identity) is None
    assert b"[2][3][4]" == backlog.folds.get_error(A.identity)


def test_end_of_a_session_folds_in_order(backlog: Backlog) -> None:
    for number in (1, 2, 3, 4):
        backlog.receive(entry(number), is_live=True)
    flights = [fly(backlog, number) for number in (1, 2, 3)]
    backlog.acknowledge(flights[1])
    backlog.refold_all()
    assert b"[1][3][4]" == backlog.folds.get_error(A.identity)
    assert 4 == len(backlog.released)


def test_markers_are_forgotten_at_the_end_of_a_session(backlog: Backlog) -> None:
    marker = Entry(A, b"m", receipt=Receipt(1, 1, 9))
    assert backlog.hold_marker(marker)
    backlog.refold_all()
    assert 0 == len(backlog.folds)
    assert [Receipt(1, 1, 9)] == backlog.released


def test_marker_is_superfluous_while_something_waits(backlog: Backlog) -> None:
    backlog.receive(entry(1), is_live=True)
    assert not backlog.hold_marker(Entry(A, b"m"))
    assert backlog.hold_marker(Entry(A, b"m", ends_registration=True))
    assert 2 == backlog.waiting(A.identity)


def test_repeated_end_alone_is_settled_without_a_session(backlog: Backlog) -> None:
    backlog.receive(entry(1, ends_registration=True, is_repeat=True), is_live=False)
    assert [1] == acks(backlog)
    assert 0 == len(backlog.folds)


def test_swallowed_entry_is_acknowledged_behind_those_before_it(backlog: Backlog) -> None:
    backlog.receive(entry(1), is_live=True)
    backlog.receive(entry(2, ends_registration=True, is_repeat=True), is_live=True)
    flight = fly(backlog, 1)
    ending = backlog.pop(A.identity)
    assert ending is not None
    backlog.swallow(ending)
    assert [] == acks(backlog)
    backlog.acknowledge(flight)
    assert [2] == acks(backlog)


def test_trim_waits_for_the_rest_to_be_delivered_again(backlog: Backlog) -> None:
    for number in (1, 2, 3):
        backlog.receive(entry(number), is_live=False)
    backlog.trim(A.identity, 2)
    assert [2] == acks(backlog)
    assert A.identity not in backlog.folds
    for number in (1, 2, 3):
        backlog.receive(entry(number), is_live=False)
    assert b"[3]" == backlog.folds.get_error(A.identity)
    backlog.trim(B.identity, 1)


def test_another_store_numbers_anew_and_is_never_acknowledged_for_the_old(
    backlog: Backlog,
) -> None:
    for number in (5, 6):
        backlog.receive(entry(number), is_live=True)
    old = fly(backlog, 1)
    assert backlog.receive(entry(1, store=STORE + 1), is_live=True)
    backlog.acknowledge(old)
    assert [] == acks(backlog)
    backlog.acknowledge(fly(backlog, 2))
    assert [] == acks(backlog)
    backlog.acknowledge(fly(backlog, 3))
    assert [1] == acks(backlog)


def test_prune_forgets_only_what_is_settled(backlog: Backlog) -> None:
    for role in "cdef":
        backlog.receive(Entry(device(role), b"1", 1, STORE), is_live=True)
        sent = backlog.pop(device(role).identity)
        assert sent is not None
        flight = Flight(1, device(role).identity, 1, 0.0, sent)
        backlog.fly(flight)
        backlog.acknowledge(flight)
    backlog.receive(entry(1), is_live=False)
    backlog.prune(keep=10)
    assert 5 == len(backlog._logs)
    backlog.prune(keep=2)
    assert [device("f").identity, A.identity] == list(backlog._logs)


def fold_for_us(first: int, sequence: int) -> Entry:
    """What the handler folded for this client only."""
    return entry(sequence, error=b"[folded]", first_sequence=first, indivisible=0)


def test_R8_a_fold_for_this_client_counts_once_with_what_follows(backlog: Backlog) -> None:
    backlog.receive(fold_for_us(1, 5), is_live=False)
    backlog.receive(entry(6), is_live=False)
    fold = backlog.folds.oldest(A.identity)
    assert fold is not None
    assert (1, 6, 0, b"[folded][6]") == (fold.first, fold.last, fold.indivisible, fold.error)


def test_R8_a_fold_for_this_client_that_holds_what_it_has_is_asked_for_anew(
    backlog: Backlog,
) -> None:
    backlog.receive(entry(1), is_live=False)
    assert not backlog.receive(fold_for_us(1, 5), is_live=False)
    assert backlog.replay.needs_lease
    assert b"[1]" == backlog.folds.get_error(A.identity)
    assert Receipt(1, 1, 5) in backlog.released
    backlog.receive(entry(2), is_live=False)
    assert b"[1][2]" == backlog.folds.get_error(A.identity)


def test_R11_a_fold_that_holds_what_the_control_plane_has_is_asked_for_anew(
    backlog: Backlog,
) -> None:
    backlog.know_applied(A.identity, Position(STORE, 3))
    assert not backlog.receive(fold_for_us(1, 5), is_live=True)
    assert backlog.replay.needs_lease
    assert [3] == acks(backlog)
    for sequence in (1, 2, 3, 4, 5):
        backlog.receive(entry(sequence), is_live=False)
    assert b"[4][5]" == backlog.folds.get_error(A.identity)


def test_R11_an_entry_that_the_control_plane_has_is_acknowledged_again(backlog: Backlog) -> None:
    backlog.know_applied(A.identity, Position(STORE, 3))
    assert not backlog.receive(entry(2), is_live=True)
    assert [3] == acks(backlog)


def test_R4_what_is_applied_of_another_store_says_nothing(backlog: Backlog) -> None:
    backlog.know_applied(A.identity, Position(STORE + 1, 3))
    assert backlog.receive(entry(2), is_live=True)
