"""What statuses, commands and departures do to devices (fleet-protocol 3, 10 M and C)."""

from __future__ import annotations

import pytest

from module_gateway.module_handler.store import DeviceStored
from module_gateway.module_handler.suspension import BACKOFF_MIN_S, HANGS_IN_A_ROW
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.external import CommandResponseType
from tests.unit.module_handler.rig import (
    CLIENT,
    Rig,
    answers,
    bodies,
    connect,
    device,
    ended,
    forward,
    kinds,
    limits,
    published,
    snapshot_request,
    status,
)

A, B = device("a"), device("b")
HEARTBEAT_S = 15.0
GRACE_S = 2.0

OK, NOT_CONNECTED, NOT_SUPPORTED, INVALID = (
    CommandResponseType.OK,
    CommandResponseType.DEVICE_NOT_CONNECTED,
    CommandResponseType.DEVICE_NOT_SUPPORTED,
    CommandResponseType.INVALID_COMMAND,
)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def snapshot_of(rig: Rig) -> list[tuple[str, bytes]]:
    """Who is registered, as the external client is told."""
    turn = rig.hear(snapshot_request(1), sender=CLIENT)
    return [
        (line.device.deviceRole, line.status)
        for part in bodies(turn, "snapshot")
        for line in part.registered
    ]


# Registration and publication


def test_M1_a_valid_status_registers_a_device_and_a_connect_does_not(rig: Rig) -> None:
    rig.leased()
    rig.connected(A)
    assert [] == snapshot_of(rig)
    rig.hear(status(1, 1, b"s1"))
    assert [("a", b"s1")] == snapshot_of(rig)


def test_M2_the_first_status_is_published_whatever_the_condition_says(rig: Rig) -> None:
    rig.registered(A, payload=b"quiet")
    assert [b"quiet"] == published(rig.outbox(A))
    assert [] == rig.module.calls("send_status_condition")


def test_a_later_status_is_published_merged_when_the_condition_is_met(rig: Rig) -> None:
    rig.registered(A, payload=b"s1")
    rig.hear(status(1, 2, b"s2"), status(1, 3, b"quiet"), status(1, 4, b"s4"))
    assert [b"s1", b"s1,s2", b"s1,s2,quiet,s4"] == published(rig.outbox(A))


def test_M4_a_failed_merge_keeps_the_status_and_still_answers(rig: Rig) -> None:
    rig.registered(A, payload=b"s1")
    rig.leased()
    rig.module.fails.add("aggregate_status")
    turn = rig.hear(status(1, 2, b"s2"))
    assert [b"first"] == answers(turn)
    assert 1 == turn.counts[Reason.MODULE_FAILED]
    assert [("a", b"s1")] == snapshot_of(rig)


def test_M5_the_command_rule_gets_new_previous_and_current_command(rig: Rig) -> None:
    rig.module.command_of = lambda command: command + b"+"
    rig.registered(A, payload=b"s1")
    rig.hear(status(1, 2, b"quiet"), status(1, 3, b"s3"))
    assert [
        (b"s1", b"", b"first", 0),
        (b"quiet", b"s1", b"first+", 0),
        (b"s3", b"s1,quiet", b"first++", 0),
    ] == rig.module.calls("generate_command")


def test_M6_a_quiet_device_is_repeated_at_every_heartbeat(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    rig.pass_time(2.0)  # the heartbeat that follows a first lease
    for _ in range(3):
        assert [] == bodies(rig.pass_time(HEARTBEAT_S - 2.0), "delivery")
        (marker,) = bodies(rig.pass_time(2.0), "delivery")
        assert (0, b"s1", True, False) == (
            marker.sequence,
            marker.status,
            marker.is_repeat,
            marker.ends_registration,
        )
    assert [b"s1"] == published(rig.outbox(A))


def test_M6_a_heartbeat_publishes_what_was_merged_only(rig: Rig) -> None:
    rig.registered(A)
    rig.hear(status(1, 2, b"quiet"))
    assert [b"s1"] == published(rig.outbox(A))
    rig.pass_time(HEARTBEAT_S)
    last = rig.outbox(A)[-1]
    assert (b"s1,quiet", False) == (last.status, last.is_repeat)
    rig.pass_time(HEARTBEAT_S)
    assert 2 == len(rig.outbox(A))


def test_M7_only_published_statuses_re_arm_the_heartbeat(rig: Rig) -> None:
    rig.registered(A)
    rig.pass_time(10.0)
    rig.hear(status(1, 2, b"quiet"))
    rig.pass_time(5.0)  # 15 s after the first, 5 s after the second
    assert [b"s1", b"s1,quiet"] == published(rig.outbox(A))


def test_M7_a_published_status_re_arms_the_heartbeat(rig: Rig) -> None:
    rig.registered(A)
    rig.pass_time(10.0)
    rig.hear(status(1, 2, b"s2"))
    rig.hear(status(1, 3, b"quiet"))
    rig.pass_time(HEARTBEAT_S - 0.1)
    assert 2 == len(rig.outbox(A))
    rig.pass_time(0.2)
    assert 3 == len(rig.outbox(A))


def test_M8_an_inactive_device_is_dropped_with_a_disconnect(rig: Rig) -> None:
    """Two heartbeats without a status: its server sees that (R22) and says INACTIVE."""
    rig.registered(A)
    rig.leased()
    turn = rig.hear(ended(1, bus_pb2.INACTIVE))
    (farewell,) = bodies(turn, "delivery")
    assert farewell.ends_registration
    assert [] == snapshot_of(rig)
    assert rig.core.holder(A.identity) is None


def test_M9_a_leaving_device_publishes_its_newest_merge_as_the_end(rig: Rig) -> None:
    rig.registered(A)
    rig.hear(status(1, 2, b"s2"), status(1, 3, b"quiet"), ended(1))
    assert [
        (b"s1", False, False),
        (b"s1,s2", False, False),
        (b"s1,s2,quiet", True, False),
    ] == [(e.status, e.ends_registration, e.is_repeat) for e in rig.outbox(A)]


def test_R9_a_disconnect_that_says_nothing_new_is_marked_as_repeat(rig: Rig) -> None:
    rig.registered(A)
    rig.hear(ended(1))
    last = rig.outbox(A)[-1]
    assert (b"s1", True, True) == (last.status, last.ends_registration, last.is_repeat)


def test_a_device_without_a_status_leaves_without_a_word(rig: Rig) -> None:
    rig.connected(A)
    rig.hear(ended(1))
    assert [] == rig.outbox(A)
    assert rig.core.holder(A.identity) is None


def test_M10_a_returning_device_sees_nothing_of_its_earlier_life(rig: Rig) -> None:
    rig.registered(A, payload=b"s1")
    rig.hear(status(1, 2, b"s2"))
    rig.hear(ended(1), connect(2, A))
    turn = rig.hear(status(2, 1, b"quiet"))
    assert [b"first"] == answers(turn)
    assert (b"quiet", b"", b"first", 0) == rig.module.calls("generate_command")[-1]
    assert b"quiet" == rig.outbox(A)[-1].status


@pytest.mark.parametrize(
    "function",
    [
        "status_data_valid",
        "forward_command_on_receive",
        "generate_first_command",
        "generate_command",
    ],
)
def test_M11_a_module_that_fails_costs_its_device_the_answer_and_nobody_else(
    rig: Rig, function: str
) -> None:
    rig.registered(B, instance=2)
    rig.connected(A)
    rig.module.fails.add(function)
    turn = rig.hear(status(1, 1, b"s1"))
    (refused,) = bodies(turn, "status_refused")
    assert (1, Reason.MODULE_FAILED) == (refused.instance, refused.reason)
    assert rig.core.holder(A.identity) is None
    rig.module.fails.clear()
    assert [b"first"] == answers(rig.hear(status(2, 2, b"s2")))


def test_M11_a_status_that_is_not_answered_is_not_applied(rig: Rig) -> None:
    rig.registered(A)
    rig.module.fails.add("generate_command")
    rig.hear(status(1, 2, b"s2"))
    assert [b"s1", b"s1"] == published(rig.outbox(A))  # the second is its end


@pytest.mark.parametrize("function", ["send_status_condition", "aggregate_status"])
def test_case25_a_refusal_of_the_module_is_not_the_end_of_the_device(
    rig: Rig, function: str
) -> None:
    rig.registered(A)
    rig.module.fails.add(function)
    assert [b"first"] == answers(rig.hear(status(1, 2, b"s2")))
    rig.module.fails.clear()
    assert [b"first"] == answers(rig.hear(status(1, 3, b"s3")))


def test_M13_an_invalid_status_is_refused_and_reaches_nobody(rig: Rig) -> None:
    rig.registered(A)
    turn = rig.hear(status(1, 2, b"bad"))
    (refused,) = bodies(turn, "status_refused")
    assert (2, bus_pb2.STATUS_INVALID, Reason.STATUS_INVALID) == (
        refused.sequence,
        refused.cause,
        refused.reason,
    )
    assert [] == answers(turn)
    assert [b"s1", b"s1"] == published(rig.outbox(A))  # the second is its end
    (note,) = [note for note in turn.notes if note.event == "status_invalid"]
    assert note.fields["status"] == b"bad"  # so that its author sees what came


def test_case28_an_invalid_first_status_never_reaches_aggregation_or_upstream(rig: Rig) -> None:
    rig.connected(A)
    rig.hear(status(1, 1, b"bad"))
    assert [] == rig.outbox(A)
    assert [] == rig.module.calls("aggregate_status")
    assert [] == rig.module.calls("generate_command")


def test_case24_an_empty_status_that_is_valid_goes_upstream_empty(rig: Rig) -> None:
    rig.registered(A, payload=b"")
    assert [b""] == published(rig.outbox(A))


def test_case24_an_empty_command_is_ok_and_changes_nothing(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    assert OK == rig.command(A, b"")
    assert [b"first"] == answers(rig.hear(status(1, 2, b"s2")))


def test_a_hanging_module_is_not_asked_any_more_for_the_device_that_makes_it_hang(
    rig: Rig,
) -> None:
    rig.registered(B, instance=100)
    rig.module.hangs.add("status_data_valid")
    for instance in range(1, HANGS_IN_A_ROW + 1):
        rig.connected(A, instance=instance)
        turn = rig.hear(status(instance, 1, b"s1"))
        assert 1 == turn.counts[Reason.MODULE_HUNG]
        rig.hear(ended(instance, bus_pb2.REPLY_TIMEOUT))
    asked = len(rig.module.asked)
    turn = rig.hear(connect(50, A))
    assert ["close_connection"] == kinds(turn)
    assert asked == len(rig.module.asked)
    rig.module.hangs.clear()
    assert [b"first"] == answers(rig.hear(status(100, 2, b"s2")))
    rig.now += BACKOFF_MIN_S
    rig.registered(A, instance=51)


def test_a_registered_device_is_refused_without_asking_while_it_is_suspended(rig: Rig) -> None:
    rig.registered(A)
    for _ in range(HANGS_IN_A_ROW):
        rig.core._devices._suspensions.hung(A.identity, rig.now)
    asked = len(rig.module.asked)
    (refused,) = bodies(rig.hear(status(1, 2, b"s2")), "status_refused")
    assert Reason.MODULE_HUNG == refused.reason
    assert asked == len(rig.module.asked)


def test_hangs_of_connects_and_commands_count_like_those_of_statuses(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    rig.module.hangs.add("command_data_valid")
    assert INVALID == rig.command(A, b"go")
    rig.module.hangs.add("is_device_type_supported")
    rig.hear(connect(2, A))
    rig.module.hangs = {"status_data_valid"}
    rig.hear(status(1, 2, b"s2"))
    rig.module.hangs.clear()
    asked = len(rig.module.asked)
    assert INVALID == rig.command(A, b"go")
    assert asked == len(rig.module.asked)


def test_statuses_that_work_do_not_excuse_folds_that_hang() -> None:
    rig = Rig(limits(entries=2))
    rig.registered(A)
    rig.hear(status(1, 2, b"s2"))
    rig.leased()
    rig.module.hangs = {"aggregate_error"}
    for sequence in (3, 4, 5):
        turn = rig.hear(status(1, sequence, b"s"))
        assert ([b"first"], 1) == (answers(turn), turn.counts[Reason.MODULE_HUNG])
    asked = len(rig.module.asked)
    assert INVALID == rig.command(A, b"go")
    assert ["status_refused"] == kinds(rig.hear(status(1, 6, b"s6")))[:1]
    later = {call[0] for call in rig.module.asked[asked:]}
    assert later <= {"aggregate_error"}  # of the farewell only


def test_a_fold_that_works_ends_the_suspicion() -> None:
    rig = Rig(limits(entries=2))
    rig.registered(A)
    rig.hear(status(1, 2, b"s2"))
    for sequence, hangs in enumerate(["aggregate_error", "", "aggregate_error"] * 2, 3):
        rig.module.hangs = {hangs}
        assert [b"first"] == answers(rig.hear(status(1, sequence, b"s")))


def test_a_restart_asks_once_per_device_type_whether_it_is_push_only() -> None:
    rig = Rig(push_only=True)
    for number in range(5):
        rig.registered(device(str(number)), instance=number + 1)
    rig.module.asked.clear()
    rig.restart()
    assert 1 == len(rig.module.asked)
    rig.module.fails.add("forward_command_on_receive")
    rig.restart()
    assert 2 == len(rig.module.asked)


# Commands


def test_case27_five_commands_three_statuses(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    for command in (b"1", b"2", b"3", b"4", b"5"):
        assert OK == rig.command(A, command)
    replies = [answers(rig.hear(status(1, n, b"s")))[0] for n in range(2, 6)]
    assert [b"3", b"4", b"5", b"5"] == replies


def test_superseded_commands_are_counted(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    turns = [rig.hear(forward(A, b"x", n), sender=CLIENT) for n in range(1, 6)]
    assert [0, 0, 0, 1, 1] == [turn.counts[Reason.COMMAND_SUPERSEDED] for turn in turns]


def test_C3_an_invalid_command_is_refused_and_not_stored(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    assert INVALID == rig.command(A, b"bad")
    assert [b"first"] == answers(rig.hear(status(1, 2, b"s2")))


def test_case26_an_invalid_command_is_counted_and_does_not_count_as_stored(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    turn = rig.hear(forward(A, b"bad"), sender=CLIENT)
    assert 1 == turn.counts[Reason.COMMAND_INVALID]
    assert [] == [change for change in turn.changes if isinstance(change, DeviceStored)]


def test_C4_an_empty_command_has_no_effect(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    rig.command(A, b"go")
    assert OK == rig.command(A, b"")
    replies = [answers(rig.hear(status(1, n, b"s")))[0] for n in (2, 3)]
    assert [b"go", b"go"] == replies


def test_C5_a_command_for_an_unregistered_device_says_so(rig: Rig) -> None:
    rig.leased()
    assert NOT_CONNECTED == rig.command(A, b"go")
    rig.connected(A)
    assert NOT_CONNECTED == rig.command(A, b"go")
    assert [b"first"] == answers(rig.hear(status(1, 1, b"s1")))


def test_a_command_for_a_type_that_does_not_exist_is_not_supported(rig: Rig) -> None:
    rig.leased()
    assert NOT_SUPPORTED == rig.command(device("a", device_type=9), b"go")


def test_C6_priority_and_name_play_no_part(rig: Rig) -> None:
    rig.registered(device("a", priority=3, name="one"))
    rig.leased()
    assert OK == rig.command(device("a", priority=0, name="other"), b"go")
    assert [b"go"] == answers(rig.hear(status(1, 2, b"s2")))


def test_case14_devices_that_differ_in_name_only_are_one_device(rig: Rig) -> None:
    rig.registered(device("a", name="one"))
    turn = rig.hear(connect(2, device("a", name="two")))
    assert ["probe"] == kinds(turn)


@pytest.mark.parametrize(
    "cause",
    [
        bus_pb2.CLOSED_BY_PEER,
        bus_pb2.INACTIVE,
        bus_pb2.LOST,
        bus_pb2.TAKEN_OVER,
        bus_pb2.STATUS_INVALID,
        bus_pb2.PROTOCOL_VIOLATION,
    ],
)
def test_C7_commands_do_not_outlive_the_departure_of_their_device(rig: Rig, cause: int) -> None:
    rig.registered(A)
    rig.leased()
    rig.command(A, b"go")
    turn = rig.hear(ended(1, cause))
    assert 1 == turn.counts[Reason.COMMAND_DEVICE_LEFT]
    rig.connected(A, instance=2)
    assert [b"first"] == answers(rig.hear(status(2, 1, b"s1")))


def test_case48_commands_from_before_an_outage_never_reach_a_returning_device(
    rig: Rig,
) -> None:
    rig.registered(A)
    rig.leased()
    for command in (b"1", b"2"):
        rig.command(A, command)
    turn = rig.hear(ended(1, bus_pb2.INACTIVE))
    assert 2 == turn.counts[Reason.COMMAND_DEVICE_LEFT]
    rig.pass_time(600.0)
    rig.connected(A, instance=2)
    replies = [answers(rig.hear(status(2, n, b"s")))[0] for n in (1, 2)]
    assert [b"first", b"first"] == replies


@pytest.mark.parametrize("cause", [bus_pb2.REPLY_TIMEOUT, bus_pb2.SEQUENCE_GAP, bus_pb2.SHUTDOWN])
def test_R21_commands_survive_our_own_close_for_a_short_grace(rig: Rig, cause: int) -> None:
    rig.registered(A)
    rig.leased()
    rig.command(A, b"go")
    rig.hear(ended(1, cause))
    rig.pass_time(GRACE_S - 0.1)
    rig.connected(A, instance=2)
    replies = [answers(rig.hear(status(2, n, b"s")))[0] for n in (1, 2)]
    assert [b"go", b"go"] == replies


def test_R21_a_device_that_is_back_in_time_loses_nothing_when_the_grace_ends(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    rig.command(A, b"go")
    rig.hear(ended(1, bus_pb2.REPLY_TIMEOUT))
    rig.registered(A, instance=2)
    assert 0 == rig.pass_time(GRACE_S).counts[Reason.COMMAND_DEVICE_LEFT]
    assert [b"go"] == answers(rig.hear(status(2, 2, b"s2")))


def test_R21_after_the_grace_they_are_dropped_and_counted(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    rig.command(A, b"go")
    rig.hear(ended(1, bus_pb2.REPLY_TIMEOUT))
    turn = rig.pass_time(GRACE_S)
    assert 1 == turn.counts[Reason.COMMAND_DEVICE_LEFT]
    rig.connected(A, instance=2)
    assert [b"first"] == answers(rig.hear(status(2, 1, b"s1")))


def test_R21_a_device_that_leaves_by_itself_during_the_grace_loses_them(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    rig.command(A, b"go")
    rig.hear(ended(1, bus_pb2.REPLY_TIMEOUT))
    rig.connected(A, instance=2)
    turn = rig.hear(ended(2, bus_pb2.CLOSED_BY_PEER))
    assert 1 == turn.counts[Reason.COMMAND_DEVICE_LEFT]


def test_R20_an_answer_that_may_not_have_arrived_is_given_again(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    rig.command(A, b"1")
    rig.command(A, b"2")
    assert [b"1"] == answers(rig.hear(status(1, 2, b"s2")))
    rig.hear(ended(1, bus_pb2.REPLY_TIMEOUT))
    rig.connected(A, instance=2)
    replies = [answers(rig.hear(status(2, n, b"s")))[0] for n in (1, 2, 3)]
    assert [b"1", b"2", b"2"] == replies


def test_R20_the_next_frame_proves_that_the_answer_arrived(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    rig.command(A, b"1")
    rig.command(A, b"2")
    rig.hear(status(1, 2, b"s2"))
    rig.hear(status(1, 3, b"s3"))
    rig.hear(ended(1, bus_pb2.REPLY_TIMEOUT))
    rig.connected(A, instance=2)
    assert [b"2"] == answers(rig.hear(status(2, 1, b"s1")))


# Push-only devices


def test_C8_a_push_only_type_gets_commands_at_once_and_empty_replies() -> None:
    rig = Rig(push_only=True)
    rig.registered(A)
    rig.leased()
    turn = rig.hear(forward(A, b"go"), sender=CLIENT)
    (push,) = bodies(turn, "push_command")
    assert (1, b"go") == (push.instance, push.command)
    assert [b""] == answers(rig.hear(status(1, 2, b"s2")))


def test_C8_is_off_by_default(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    turn = rig.hear(forward(A, b"go"), sender=CLIENT)
    assert [] == bodies(turn, "push_command")


def test_case39_a_pushed_command_is_never_repeated() -> None:
    rig = Rig(push_only=True)
    rig.connected(A)
    assert [b""] == answers(rig.hear(status(1, 1, b"s1")))
    rig.leased()
    rig.command(A, b"go")
    assert [b"", b""] == [answers(rig.hear(status(1, n, b"s")))[0] for n in (2, 3)]
    assert 1 == len(rig.module.calls("generate_command"))


def test_a_push_that_the_module_refuses_waits_for_the_next_status() -> None:
    rig = Rig(push_only=True)
    rig.registered(A)
    rig.leased()
    rig.module.fails.add("generate_command")
    turn = rig.hear(forward(A, b"go"), sender=CLIENT)
    assert [] == bodies(turn, "push_command")
    rig.module.fails.clear()
    assert [b"go"] == answers(rig.hear(status(1, 2, b"s2")))


# Bounds and independence


def test_case03_three_priorities_in_turn_all_get_in_and_each_evicts_the_former(rig: Rig) -> None:
    for instance, priority in enumerate((2, 1, 0), start=1):
        turn = rig.hear(connect(instance, device("a", priority)))
        if instance > 1:
            (close,) = bodies(turn, "close_connection")
            assert instance - 1 == close.instance
            turn = rig.hear(ended(instance - 1, bus_pb2.TAKEN_OVER))
        (verdict,) = bodies(turn, "connect_verdict")
        assert (instance, 0) == (verdict.instance, verdict.response)


def test_O2_nothing_mutable_is_shared_between_devices(rig: Rig) -> None:
    rig.registered(A, instance=1)
    rig.registered(B, instance=2)
    rig.leased()
    rig.command(A, b"for a")
    rig.hear(status(1, 2, b"s2"))
    rig.hear(ended(1))
    assert [b"first"] == answers(rig.hear(status(2, 2, b"t2")))
    assert [b"s1", b"s1,t2"] == published(rig.outbox(B))


def test_a_heartbeat_leaves_soon_after_a_first_lease_and_spread_over_a_second(
    rig: Rig,
) -> None:
    for number in range(8):
        rig.registered(device(str(number)), instance=number + 1)
    rig.leased()
    halves = [len(bodies(rig.pass_time(0.5), "delivery")) for _ in range(2)]
    assert 8 == sum(halves)
    assert 0 < halves[0] < 8


def test_R22_a_heartbeat_goes_out_at_once_after_a_restart(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    rig.restart()
    rig.now += 5.0
    deliveries = rig.leased() + bodies(rig.pass_time(1.0), "delivery")
    assert [(1, b"s1"), (0, b"s1")] == [(each.sequence, each.status) for each in deliveries]


def test_grace_can_be_switched_off() -> None:
    rig = Rig(limits(grace_s=0.0))
    rig.registered(A)
    rig.leased()
    rig.command(A, b"go")
    turn = rig.hear(ended(1, bus_pb2.REPLY_TIMEOUT))
    assert 1 == turn.counts[Reason.COMMAND_DEVICE_LEFT]
