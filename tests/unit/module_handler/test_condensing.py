"""What a client gets that begins behind a deep backlog (contract R8)."""

from __future__ import annotations

from typing import Any

import pytest

from module_gateway.module_handler import condensing, stream
from module_gateway.module_handler.core import Heard, PageRead
from module_gateway.module_handler.store import EntriesFolded
from module_gateway.module_handler.turn import Turn
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from tests.unit.module_handler.rig import (
    CLIENT,
    EXPOSED,
    Rig,
    at_once,
    bodies,
    connect,
    device,
    kinds,
    lease,
    limits,
    outbox_ack,
    phase,
    snapshot_request,
    status,
)

A, B, C = device("a"), device("b"), device("c")


def deep(*, each: int = 4, deep_entries: int = 5, **bounds: Any) -> Rig:
    """Two devices with so many entries each, in turns; their store is deep."""
    rig = Rig(limits(deep_entries=deep_entries, **bounds))
    rig.registered(A)
    rig.registered(B, instance=2)
    for sequence in range(2, each + 1):
        rig.hear(status(1, sequence, b"a%d" % sequence), status(2, sequence, b"b%d" % sequence))
    return rig


def ask(rig: Rig) -> Turn:
    """A lease whose pages the caller reads."""
    return rig.decide_once(heard(lease()))


def heard(*messages: bus_pb2.Message) -> Heard:
    return Heard(CLIENT, messages)


def told(turn: Turn) -> list[tuple[int, int, int, bytes]]:
    """Number, first and last entry, and the error aggregate of each delivery."""
    return [
        (each.delivery, each.first_sequence, each.sequence, each.error)
        for each in bodies(turn, "delivery")
    ]


def test_R8_a_deep_backlog_is_delivered_as_one_fold_for_each_device() -> None:
    rig = deep(each=3)
    turn = rig.hear(lease(), sender=CLIENT)
    assert [
        (1, 1, 5, b"[s1][s1,a2][s1,a2,a3]"),
        (2, 2, 6, b"[s1][s1,b2][s1,b2,b3]"),
    ] == told(turn)
    newest = [(each.status, each.indivisible) for each in bodies(turn, "delivery")]
    assert [(b"s1,a2,a3", 0), (b"s1,b2,b3", 0)] == newest


def test_R8_the_entries_stay_until_they_are_acknowledged() -> None:
    rig = deep(each=3)
    turn = rig.hear(lease(), sender=CLIENT)
    assert [] == [each for each in turn.changes if isinstance(each, EntriesFolded)]
    assert [1, 3, 5] == [entry.sequence for entry in rig.outbox(A)]
    rig.hear(outbox_ack(A, 5), outbox_ack(B, 6), sender=CLIENT)
    assert [[], []] == [rig.outbox(A), rig.outbox(B)]
    assert 0 == rig.core.sizes()["outbox_entries"]


def test_R8_what_the_control_plane_has_already_is_in_no_fold() -> None:
    rig = deep(each=4)
    rig.hear(lease(), sender=CLIENT)
    rig.hear(outbox_ack(A, 3), sender=CLIENT)
    turn = rig.hear(lease(), sender=CLIENT)
    first, second = told(turn)
    assert (1, 5, 7, b"[s1,a2,a3][s1,a2,a3,a4]") == first
    assert (2, 2, 8) == second[:3]


def test_a_client_that_holds_something_of_the_store_gets_every_entry() -> None:
    rig = deep(each=3)
    turn = rig.hear(lease(held_stores=(rig.store.store_id,)), sender=CLIENT)
    assert [1, 2, 3, 4, 5, 6] == [each.sequence for each in bodies(turn, "delivery")]


def test_a_client_that_holds_something_of_another_store_gets_folds() -> None:
    rig = deep(each=3)
    turn = rig.hear(lease(held_stores=(rig.store.store_id + 1,)), sender=CLIENT)
    assert [5, 6] == [each.sequence for each in bodies(turn, "delivery")]


def test_a_backlog_that_is_not_deep_is_delivered_as_it_is() -> None:
    rig = deep(each=3, deep_entries=6)
    assert [1, 2, 3, 4, 5, 6] == [each.sequence for each in rig.leased()]


def test_R18_modules_with_replay_are_not_condensed() -> None:
    rig = deep(each=3, is_replayed=True)
    assert [1, 2, 3, 4, 5, 6] == [each.sequence for each in rig.leased()]


def test_a_single_entry_stays_what_it_is() -> None:
    rig = deep(each=3)
    rig.registered(C, instance=3)
    newest = rig.leased()[-1]
    assert (7, b"s1", False) == (newest.sequence, newest.status, newest.HasField("error"))


def test_a_stored_fold_goes_on_and_cannot_be_divided() -> None:
    rig = deep(each=8, deep_entries=5, entries=6)
    stored = [entry for entry in rig.outbox(A) if entry.error is not None]
    (first, _) = rig.leased()
    assert [first.indivisible] == [entry.sequence for entry in stored]
    assert (1, 15) == (first.first_sequence, first.sequence)
    assert first.error.startswith(stored[0].error + b"[")


def test_nothing_is_handed_out_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PAGE_ENTRIES", 2)
    rig = deep(each=4)
    turn = ask(rig)
    assert ["lease_granted", "snapshot"] == kinds(turn)
    for _ in range(3):
        (query,) = turn.reads
        turn = rig.decide_once(PageRead(at_once(rig.store.read(query))))
        assert [] == kinds(turn)
    (query,) = turn.reads
    turn = rig.decide_once(PageRead(at_once(rig.store.read(query))))
    assert [(1, 1, 7), (2, 2, 8)] == [each[:3] for each in told(turn)]


def test_what_comes_meanwhile_follows_in_order() -> None:
    rig = deep(each=3)
    turn = ask(rig)
    during = rig.hear(status(1, 4, b"a4"))
    (query,) = turn.reads
    assert 6 == query.up_to
    assert [] == during.reads
    turn = rig.decide_once(PageRead(at_once(rig.store.read(query))))
    assert [(1, 5), (2, 6), (3, 7)] == [(each[0], each[2]) for each in told(turn)]


def test_R18_who_is_registered_is_told_to_be_behind_until_then() -> None:
    rig = deep(each=3)
    turn = ask(rig)
    (first,) = bodies(turn, "snapshot")
    assert [("a", True), ("b", True)] == [
        (line.device.deviceRole, line.is_behind) for line in first.registered
    ]
    rig.decide(*[PageRead(at_once(rig.store.read(query))) for query in turn.reads])
    (later,) = bodies(rig.hear(snapshot_request(2), sender=CLIENT), "snapshot")
    assert [False, False] == [line.is_behind for line in later.registered]


def test_a_request_for_a_snapshot_is_answered_while_it_is_read() -> None:
    rig = deep(each=3)
    ask(rig)
    turn = rig.decide_once(heard(snapshot_request(9)))
    assert [(9, [True, True])] == [
        (each.request, [line.is_behind for line in each.registered])
        for each in bodies(turn, "snapshot")
    ]


def test_who_comes_meanwhile_is_not_behind() -> None:
    rig = deep(each=3)
    ask(rig)
    rig.hear(connect(3, C))
    turn = rig.decide_once(heard(snapshot_request(9)))
    (answer,) = bodies(turn, "snapshot")
    assert ["a", "b"] == [line.device.deviceRole for line in answer.registered]


def test_what_a_module_refuses_is_counted_and_left_out() -> None:
    rig = deep(each=3)
    rig.module.fails.add("aggregate_error")
    turn = rig.hear(lease(), sender=CLIENT)
    assert [b"", b""] == [each.error for each in bodies(turn, "delivery")]
    assert 4 == turn.counts[Reason.MODULE_FAILED]


def test_a_module_that_hangs_is_asked_once_and_every_entry_is_delivered() -> None:
    rig = deep(each=3)
    rig.module.hangs.add("aggregate_error")
    turn = rig.hear(lease(), sender=CLIENT)
    assert [1, 2, 3, 4, 5, 6] == [each.sequence for each in bodies(turn, "delivery")]
    assert 1 == len(rig.module.calls("aggregate_error"))
    assert 1 == turn.counts[Reason.MODULE_HUNG]


def test_aggregates_that_are_too_large_are_left_to_the_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = deep(each=3)
    monkeypatch.setattr(condensing, "MOST_BYTES", 10)
    assert [1, 2, 3, 4, 5, 6] == [each.sequence for each in rig.leased()]


def test_entries_that_are_acknowledged_meanwhile_are_in_no_fold() -> None:
    rig = deep(each=3)
    turn = ask(rig)
    rig.decide_once(heard(outbox_ack(A, 3)))
    pages = [PageRead(at_once(rig.store.read(query))) for query in turn.reads]
    turn = rig.decide(*pages)
    assert [2, 4, 5, 6] == [each.sequence for each in bodies(turn, "delivery")]


def test_a_lease_that_begins_anew_begins_to_fold_anew() -> None:
    rig = deep(each=3)
    late = ask(rig).reads
    turn = rig.hear(lease(), sender=CLIENT)
    assert [(1, 1, 5), (2, 2, 6)] == [each[:3] for each in told(turn)]
    again = rig.decide(*[PageRead(at_once(rig.store.read(query))) for query in late])
    assert [] == told(again)


def test_a_new_life_of_the_handler_folds_anew() -> None:
    rig = deep(each=3)
    ask(rig)
    rig.restart()
    turn = rig.hear(lease(), sender=CLIENT)
    assert [(1, 1, 5), (2, 2, 6)] == [each[:3] for each in told(turn)]


def test_R8_what_a_fold_has_shown_in_a_session_is_not_folded_at_the_bound() -> None:
    rig = deep(each=3, entries=3)
    rig.hear(lease(), sender=CLIENT)
    rig.hear(phase(EXPOSED), sender=CLIENT)
    rig.hear(status(1, 4, b"a4"))
    assert [1, 3, 5, 7] == [entry.sequence for entry in rig.outbox(A)]
