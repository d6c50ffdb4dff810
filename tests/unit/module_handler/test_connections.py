"""What internal servers say and hear: sequences, ends, probes and lists."""

from __future__ import annotations

import pytest

from module_gateway.module_handler.core import Heard, PeerLost, PeerUp
from module_gateway.module_handler.store import DeviceStored, EntryAppended
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.live_digest import RunningDigest
from tests.unit.module_handler.rig import (
    MODULE,
    OTHER_SERVER,
    SERVER,
    Rig,
    answers,
    bodies,
    connect,
    device,
    ended,
    kinds,
    limits,
    live,
    live_digest,
    probe_answer,
    published,
    status,
)

A, B = device("a"), device("b")


@pytest.fixture
def rig() -> Rig:
    return Rig()


def refused(turn: object) -> list[tuple[int, int]]:
    return [(v.instance, v.response) for v in bodies(turn, "connect_verdict")]


# R2: holder, instance, sequence


def test_R2_a_gap_in_the_sequence_ends_the_instance(rig: Rig) -> None:
    rig.registered(A)
    turn = rig.hear(status(1, 3, b"s3"))
    (close,) = bodies(turn, "close_connection")
    assert (1, bus_pb2.SEQUENCE_GAP) == (close.instance, close.cause)
    assert [] == answers(turn)
    assert rig.core.holder(A.identity) is None


def test_R2_a_late_request_of_a_dead_instance_is_answered_ended(rig: Rig) -> None:
    rig.registered(A)
    turn = rig.hear(ended(1), status(1, 2, b"s2"), status(77, 1, b"s1"))
    assert [(1, Reason.INSTANCE_ENDED), (77, Reason.INSTANCE_ENDED)] == [
        (each.instance, each.reason) for each in bodies(turn, "status_refused")
    ]
    assert 2 == turn.counts[Reason.INSTANCE_ENDED]


def test_R2_a_newcomer_without_a_verdict_applies_nothing(rig: Rig) -> None:
    rig.registered(A)
    rig.hear(connect(2, A))
    turn = rig.hear(status(2, 1, b"intruder"))
    assert ["status_refused"] == kinds(turn)
    assert [b"s1"] == published(rig.outbox(A))


def test_R20_a_retried_request_gets_the_stored_reply_and_is_not_applied_again(rig: Rig) -> None:
    rig.registered(A)
    first = rig.hear(status(1, 2, b"s2"))
    again = rig.hear(status(1, 2, b"s2"))
    assert answers(first) == answers(again)
    assert [b"s1", b"s1,s2"] == published(rig.outbox(A))
    assert [] == kinds(rig.hear(status(1, 1, b"s1")))


# R3: the order of events


def test_R3_an_end_in_the_same_batch_comes_before_a_newcomer(rig: Rig) -> None:
    rig.registered(A)
    turn = rig.decide(
        Heard(OTHER_SERVER, [connect(5, A)]),
        Heard(SERVER, [status(1, 2, b"s2"), ended(1)]),
    )
    assert [b"first"] == answers(turn)
    assert [(5, 0)] == refused(turn)
    assert [] == bodies(turn, "probe")
    assert [b"s1", b"s1,s2", b"s1,s2"] == published(rig.outbox(A))


def test_R3_an_end_that_waits_is_read_before_a_probe_runs_out(rig: Rig) -> None:
    rig.registered(A)
    rig.hear(connect(2, A))
    rig.now += 1.0
    turn = rig.hear(probe_answer(1))
    assert [(2, 1)] == refused(turn)
    assert [] == bodies(turn, "close_connection")


def test_R3_nothing_expires_while_more_has_arrived(rig: Rig) -> None:
    rig.registered(A)
    rig.hear(connect(2, A))
    turn = rig.core.decide([], rig.now + 1.0, 0, is_drained=False)
    assert [] == kinds(turn)


def test_a_connect_that_ended_in_the_same_batch_holds_nothing(rig: Rig) -> None:
    rig.hear(connect(1, A), ended(1), connect(2, A))
    holder = rig.core.holder(A.identity)
    assert holder is not None
    assert 2 == holder.connection.instance


# The connect decision


def test_I8_an_unsupported_newcomer_never_evicts(rig: Rig) -> None:
    rig.registered(device("a", priority=5, device_type=0))
    rig.module.device_types = frozenset()
    turn = rig.hear(connect(2, device("a", priority=0)))
    assert [(2, 3)] == refused(turn)
    assert [] == bodies(turn, "close_connection") + bodies(turn, "probe")
    assert rig.core.holder(A.identity) is not None


def test_a_module_that_is_not_served_is_refused_with_2(rig: Rig) -> None:
    stranger = device("a").of(MODULE + 1, 0, "a")
    turn = rig.hear(connect(1, stranger))
    assert [(1, 2)] == refused(turn)
    assert 1 == turn.counts[Reason.MODULE_NOT_SUPPORTED]


def test_a_module_that_cannot_say_whether_it_supports_a_type_does_not(rig: Rig) -> None:
    rig.module.fails.add("is_device_type_supported")
    assert [(1, 3)] == refused(rig.hear(connect(1, A)))


def test_R8_a_churning_role_is_refused_when_there_are_too_many_identities() -> None:
    rig = Rig(limits(max_identities=3))
    rig.registered(device("gone"), instance=1)
    rig.hear(ended(1))  # its statuses are still owed
    rig.connected(device("b"), instance=2)
    rig.connected(device("c"), instance=3)
    turn = rig.hear(connect(4, device("d")))
    assert 1 == turn.counts[Reason.TOO_MANY_IDENTITIES]
    assert [(4, 3)] == refused(turn)
    rig.connected(device("gone"), instance=5)


def test_R7_takeover_is_one_transaction(rig: Rig) -> None:
    rig.registered(device("a", priority=1))
    rig.hear(status(1, 2, b"quiet"))
    rig.hear(connect(2, device("a", priority=0)))
    turn = rig.hear(ended(1, bus_pb2.TAKEN_OVER))
    (entry,) = [c.entry for c in turn.changes if isinstance(c, EntryAppended)]
    (stored,) = [c for c in turn.changes if isinstance(c, DeviceStored)]
    assert (b"s1,quiet", True, False) == (entry.status, entry.ends_registration, entry.is_repeat)
    assert stored.holder is not None
    assert 2 == stored.holder.connection.instance
    assert stored.registration is None


def test_R5_the_holder_is_stored_before_its_verdict_leaves(rig: Rig) -> None:
    turn = rig.hear(connect(1, A))
    (stored,) = [change for change in turn.changes if isinstance(change, DeviceStored)]
    assert stored.holder is not None
    assert (A, (SERVER.boot_id, 1)) == (stored.holder.device, stored.holder.connection)


# R6: digests, lists, servers that come and go


def test_a_digest_is_compared_as_of_its_place_in_the_stream(rig: Rig) -> None:
    digest = RunningDigest()
    digest.add(1)
    turn = rig.hear(connect(1, A), live_digest(1, digest.value), ended(1), live_digest(0, 0))
    assert [] == bodies(turn, "live_connections_request")
    turn = rig.hear(live_digest(1, digest.value))
    assert 1 == len(bodies(turn, "live_connections_request"))


def test_a_server_that_comes_up_is_asked_for_its_list(rig: Rig) -> None:
    turn = rig.decide(PeerUp(SERVER))
    assert ["live_connections_request"] == kinds(turn)


def test_R6_a_lost_server_frees_its_devices_after_twice_the_silence(rig: Rig) -> None:
    rig.registered(A)
    rig.decide(PeerLost(SERVER))
    rig.pass_time(3.9)
    assert rig.core.holder(A.identity) is not None
    rig.pass_time(0.2)
    assert rig.core.holder(A.identity) is None
    assert rig.outbox(A)[-1].ends_registration


def test_R6_after_a_restart_the_list_confirms_who_is_there(rig: Rig) -> None:
    rig.registered(A, instance=1)
    rig.registered(B, instance=2)
    rig.restart()
    rig.hear(live((1, A, 1)))
    assert rig.core.holder(B.identity) is None
    turn = rig.hear(status(1, 2, b"s2"))
    assert [b"first"] == answers(turn)
    assert b"s1,s2" == rig.outbox(A)[-1].status


def test_a_list_may_name_devices_of_other_handlers(rig: Rig) -> None:
    stranger = device("a").of(MODULE + 1, 0, "a")
    rig.hear(live((1, stranger, 4)))
    assert rig.core.holder(stranger.identity) is None


def test_an_unknown_end_cause_counts_as_lost(rig: Rig) -> None:
    rig.registered(A)
    turn = rig.hear(ended(1, 57))
    assert "lost" in [note.fields.get("cause") for note in turn.notes]


# R15: devices that are missing after a restart


def test_R15_an_adopted_device_that_says_nothing_is_closed_as_inactive(rig: Rig) -> None:
    rig.hear(live((1, A, 3)))
    assert [] == bodies(rig.pass_time(29.9), "close_connection")
    (close,) = bodies(rig.pass_time(0.2), "close_connection")
    assert (1, bus_pb2.INACTIVE) == (close.instance, close.cause)
    assert 1 == len(bodies(rig.pass_time(30.0), "close_connection"))  # again: it did not hear us


def test_R15_an_adopted_device_that_speaks_is_left_alone(rig: Rig) -> None:
    rig.hear(live((1, A, 3)))
    assert [b"first"] == answers(rig.hear(status(1, 4, b"s4")))
    assert [] == bodies(rig.pass_time(31.0), "close_connection")


def test_R15_a_device_that_is_missing_after_a_restart_gets_one_inactivity_period(
    rig: Rig,
) -> None:
    rig.registered(A)
    rig.restart()
    rig.pass_time(29.9)
    assert [b"s1"] == published(rig.outbox(A))
    rig.pass_time(0.2)
    assert rig.outbox(A)[-1].ends_registration


def test_R21_commands_survive_a_restart_with_the_same_connection_only(rig: Rig) -> None:
    rig.registered(A, instance=1)
    rig.registered(B, instance=2)
    rig.leased()
    rig.command(A, b"for a")
    rig.command(B, b"for b")
    rig.restart()
    turn = rig.hear(live((1, A, 1)))
    assert 1 == turn.counts[Reason.COMMAND_DEVICE_LEFT]
    assert [b"for a"] == answers(rig.hear(status(1, 2, b"s2")))
    rig.connected(B, instance=3)
    assert [b"first"] == answers(rig.hear(status(3, 1, b"s1")))


def test_R21_what_a_restart_finds_parked_is_dropped_and_counted(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    rig.command(A, b"go")
    rig.hear(ended(1, bus_pb2.REPLY_TIMEOUT))
    rig.restart()
    turn = rig.decide()
    assert 1 == turn.counts[Reason.COMMAND_DEVICE_LEFT]
    rig.restart()
    assert 0 == rig.decide().counts[Reason.COMMAND_DEVICE_LEFT]


def test_R20_a_restart_remembers_the_reply_to_the_last_status(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    rig.command(A, b"go")
    rig.hear(status(1, 2, b"s2"))
    rig.restart()
    rig.hear(live((1, A, 2)))
    assert [b"go"] == answers(rig.hear(status(1, 2, b"s2")))
