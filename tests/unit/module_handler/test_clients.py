"""What external clients say: above all commands, each judged once (contract R19)."""

from __future__ import annotations

import pytest

from module_gateway.module_handler.core import Heard, PageRead
from module_gateway.module_handler.store import VerdictRecorded
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.external import CommandResponseType
from tests.unit.module_handler.rig import (
    CLIENT,
    EPOCH,
    Rig,
    answers,
    at_once,
    bodies,
    device,
    forward,
    kinds,
    lease,
    snapshot_request,
    status,
)

A = device("a")


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.registered(A)
    made.leased()
    return made


def replies(rig: Rig, first: int, count: int) -> list[bytes]:
    return [answers(rig.hear(status(1, n, b"s")))[0] for n in range(first, first + count)]


def test_R19_a_verdict_is_recorded_in_the_commit_that_stores_the_command(rig: Rig) -> None:
    turn = rig.hear(forward(A, b"go", counter=5), sender=CLIENT)
    (recorded,) = [change for change in turn.changes if isinstance(change, VerdictRecorded)]
    assert (EPOCH, 1, 5, A.identity, 0) == recorded.verdict
    (verdict,) = bodies(turn, "command_verdict")
    assert (EPOCH, 1, 5, 0) == (
        verdict.epoch,
        verdict.session,
        verdict.counter,
        verdict.response,
    )


def test_R19_a_repeated_command_gets_the_recorded_verdict_and_is_stored_once(rig: Rig) -> None:
    rig.hear(forward(A, b"1", counter=5), sender=CLIENT)
    turn = rig.hear(forward(A, b"1", counter=5), sender=CLIENT)
    assert [0] == [each.response for each in bodies(turn, "command_verdict")]
    assert 1 == turn.counts[Reason.COMMAND_REPEATED]
    rig.hear(forward(A, b"2", counter=6), sender=CLIENT)
    assert [b"1", b"2"] == replies(rig, 2, 2)


def test_R19_the_verdict_is_the_same_after_a_restart(rig: Rig) -> None:
    rig.hear(forward(A, b"bad", counter=5), sender=CLIENT)
    rig.restart()
    rig.leased()
    turn = rig.hear(forward(A, b"bad", counter=5), sender=CLIENT)
    assert 1 == turn.counts[Reason.COMMAND_REPEATED]
    assert [CommandResponseType.INVALID_COMMAND] == [
        each.response for each in bodies(turn, "command_verdict")
    ]


def test_R19_a_command_of_an_ended_session_is_dropped(rig: Rig) -> None:
    rig.hear(forward(A, b"STOP", counter=1, session=2), sender=CLIENT)
    turn = rig.hear(forward(A, b"START", counter=9, session=1), sender=CLIENT)
    assert [] == kinds(turn)
    assert 1 == turn.counts[Reason.COMMAND_STALE_SESSION]
    assert [b"STOP", b"STOP"] == replies(rig, 2, 2)


def test_R19_an_old_start_does_not_overtake_a_new_stop(rig: Rig) -> None:
    rig.hear(forward(A, b"STOP", counter=6), sender=CLIENT)
    turn = rig.hear(forward(A, b"START", counter=5), sender=CLIENT)
    assert [CommandResponseType.INVALID_COMMAND] == [
        each.response for each in bodies(turn, "command_verdict")
    ]
    assert 1 == turn.counts[Reason.COMMAND_OUT_OF_ORDER]
    assert [b"STOP", b"STOP"] == replies(rig, 2, 2)


def test_a_command_for_a_module_of_another_endpoint_is_not_supported(rig: Rig) -> None:
    stranger = device().of(99, 0, "a")
    turn = rig.hear(forward(stranger, b"go"), sender=CLIENT)
    assert [CommandResponseType.DEVICE_NOT_SUPPORTED] == [
        each.response for each in bodies(turn, "command_verdict")
    ]


def test_a_snapshot_is_marked_with_the_number_of_its_request(rig: Rig) -> None:
    (part,) = bodies(rig.hear(snapshot_request(42), sender=CLIENT), "snapshot")
    assert (42, EPOCH, b"s1") == (part.request, part.epoch, part.registered[0].status)


def test_a_snapshot_stands_behind_what_was_published_before_it(rig: Rig) -> None:
    turn = rig.hear(status(1, 2, b"s2"))
    assert ["status_reply", "delivery"] == kinds(turn)
    (part,) = bodies(rig.hear(snapshot_request(1), sender=CLIENT), "snapshot")
    assert b"s1,s2" == part.registered[0].status


def test_R10_a_snapshot_waits_for_pages_whose_statuses_are_older(rig: Rig) -> None:
    rig.hear(status(1, 2, b"s2"))
    rig.restart()
    began = rig.decide_once(Heard(CLIENT, [lease(), snapshot_request(1)]))
    assert [0] == [part.request for part in bodies(began, "snapshot")]
    (query,) = began.reads
    read = rig.decide_once(PageRead(at_once(rig.store.read(query))))
    assert ["delivery", "delivery", "snapshot"] == kinds(read)
    assert 1 == bodies(read, "snapshot")[0].request


def test_a_lease_that_is_asked_for_again_starts_over(rig: Rig) -> None:
    turn = rig.hear(lease(), sender=CLIENT)
    assert ["lease_granted", "snapshot", "delivery"] == kinds(turn)
    assert [] == turn.changes
    assert 1 == bodies(turn, "delivery")[0].delivery
