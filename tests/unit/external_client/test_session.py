"""The session with a control plane: fleet-protocol 4.4-4.7, checklist E, contract R10-R13, R19."""

from __future__ import annotations

import pytest

from module_gateway.external_client.session import Phase
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.external import (
    Command,
    CommandResponse,
    CommandResponseType,
    Connect,
    ConnectResponse,
    DeviceState,
    Position,
    Status,
    StatusResponse,
)
from module_gateway.protocol.identity import Device
from tests.unit.external_client.world import OTHER_MODULE, Handler, World, device, running


def scripted(*roles: str, **rules: float) -> World:
    """A world without a control plane: the test speaks for it. Connect is published."""
    world = World(starts=False, **rules)
    for role in roles or ("a",):
        world.handler.status(device(role), b"s " + role.encode())
    world.start()
    assert 1 == len(world.connects)
    return world


def accept(world: World) -> str:
    world.hear(ConnectResponse(world.session_id, 0))
    return world.session_id


def acknowledge_all(world: World) -> None:
    for status in world.statuses:
        if status.session_id == world.session_id:
            world.hear(StatusResponse(world.session_id, 0, status.counter))


def command(world: World, role: str, counter: int, payload: bytes = b"") -> Command:
    return Command(world.session_id, counter, device(role), payload)


def phase(world: World) -> Phase:
    assert world.endpoint.session is not None
    return world.endpoint.session.phase


# The connect sequence


def test_E5_sequence_is_connect_then_statuses_then_commands_and_nothing_between() -> None:
    world = scripted("a", "b")
    world.status(device("c"), b"meanwhile")
    accept(world)
    world.status(device("a"), b"meanwhile")
    world.heartbeat(device("b"))
    acknowledge_all(world)
    world.status(device("b"), b"meanwhile")
    world.hear(command(world, "a", 4), command(world, "b", 5))
    world.status(device("a"), b"later")

    kinds = [type(message) for _, message in world.published]
    assert [Connect, Status, Status, CommandResponse, CommandResponse] == kinds
    assert [DeviceState.CONNECTING] * 2 == [each.state for each in world.statuses]


def test_E5_no_status_precedes_the_connect_response() -> None:
    world = scripted("a")
    world.advance(4.9)
    assert [] == world.statuses


def test_E6_each_expected_message_has_its_own_five_seconds() -> None:
    world = scripted("a", "b")
    world.advance(4.9)
    accept(world)
    world.advance(4.9)
    world.hear(StatusResponse(world.session_id, 0, 1))
    world.advance(4.9)
    world.hear(StatusResponse(world.session_id, 0, 2))
    world.advance(4.9)
    world.hear(command(world, "a", 0))
    world.advance(4.9)
    world.hear(command(world, "b", 1))
    world.advance(1.0)
    assert world.is_up
    assert [] == world.ends


@pytest.mark.parametrize("step", ["connect", "status", "command"])
def test_E6_a_silent_step_fails_after_five_seconds(step: str) -> None:
    world = scripted("a")
    if step != "connect":
        accept(world)
    if step == "command":
        acknowledge_all(world)
    world.advance(4.9)
    assert [] == world.ends
    world.advance(0.2)
    assert [Reason.STEP_TIMEOUT] == world.ends


def test_E6_messages_of_other_sessions_neither_help_nor_harm_the_sequence() -> None:
    world = scripted("a")
    world.hear(ConnectResponse("stranger", 0), StatusResponse("stranger", 0, 1))
    assert Phase.AWAIT_CONNECT is phase(world)
    accept(world)
    world.hear(Command("stranger", 9, device("a"), b"x"))
    assert Phase.AWAIT_STATUSES is phase(world)
    acknowledge_all(world)
    world.hear(Command("stranger", 9, device("a"), b"x"), StatusResponse("stranger", 0, 1))
    assert Phase.AWAIT_COMMANDS is phase(world)
    assert [] == world.ends
    assert [] == world.responses
    assert 5 == world.counted(Reason.WRONG_SESSION)


def test_E6_stray_messages_do_not_prolong_a_step() -> None:
    world = scripted("a")
    for _ in range(4):
        world.advance(1.2)
        world.hear(ConnectResponse("stranger", 0))
    world.advance(0.3)
    assert [Reason.STEP_TIMEOUT] == world.ends


def test_E7_error_travels_only_when_there_is_one() -> None:
    world = running("a", "b")
    assert world.peer is not None
    world.hear(*world.peer.drop())
    world.status(device("a"), b"in the outage")
    world.advance(3.0)
    sequence = [each for each in world.statuses if each.session_id == world.session_id]
    by_role = {each.device.identity.role: each for each in sequence}
    assert b"[in the outage]" == by_role["a"].error
    assert b"in the outage" == by_role["a"].status
    assert by_role["b"].error is None
    assert b"first b" == by_role["b"].status


def test_E8_counters_start_at_one_in_each_session() -> None:
    world = running("a", "b")
    assert world.peer is not None
    world.status(device("a"), b"s3")
    world.hear(*world.peer.drop())
    world.advance(3.0)
    world.status(device("b"), b"s4")
    counters: dict[str, list[int]] = {}
    for status in world.statuses:
        counters.setdefault(status.session_id, []).append(status.counter)
    assert [[1, 2, 3], [1, 2, 3]] == list(counters.values())


def test_E8_session_is_renewed_before_the_counter_wraps() -> None:
    world = running("a", last_counter=3)
    world.status(device("a"), b"s2")
    assert [] == world.ends
    world.status(device("a"), b"s3")
    assert [Reason.COUNTER_EXHAUSTED] == world.ends
    world.status(device("a"), b"s4")
    world.advance(3.0)
    assert [1, 2, 3, 1] == [each.counter for each in world.statuses]
    assert world.is_up


def test_E9_acknowledgements_match_by_counter_in_any_order() -> None:
    world = running("a", "b")
    world.peer = None
    world.status(device("a"), b"a2")
    world.status(device("b"), b"b2")
    world.status(device("a"), b"a3")
    world.handler.acks.clear()
    session = world.session_id
    world.hear(StatusResponse(session, 0, 5), StatusResponse(session, 0, 4))
    assert [("b", 4)] == world.handler.acks
    world.hear(StatusResponse(session, 0, 3))
    assert [("b", 4), ("a", 5)] == world.handler.acks


def test_E9_duplicate_and_unknown_acknowledgements_are_ignored() -> None:
    world = running("a")
    world.peer = None
    world.status(device("a"), b"a2")
    session = world.session_id
    for counter in (2, 2, 1, 99, 0):
        world.hear(StatusResponse(session, 0, counter))
    assert [] == world.ends
    assert 4 == world.counted(Reason.ACK_UNKNOWN)


def test_E10_unacknowledged_status_costs_exactly_one_reconnect() -> None:
    world = running("a", "b")
    peer = world.peer
    world.peer = None
    world.status(device("a"), b"a2")
    world.advance(0.5)
    world.status(device("b"), b"b2")
    world.status(device("a"), b"a3")
    before = len(world.connects)
    world.advance(29.0)
    assert [] == world.ends
    world.advance(1.0)
    assert [Reason.ACK_TIMEOUT] == world.ends
    assert before + 1 == len(world.connects)
    assert peer is not None
    folds = world.endpoint.backlog.folds
    assert b"[a2][a3]" == folds.get_error(device("a").identity)
    assert b"[b2]" == folds.get_error(device("b").identity)


def test_E13_settle_gap_precedes_the_first_status() -> None:
    world = scripted("a")
    accept(world)
    acknowledge_all(world)
    world.status(device("a"), b"waits")
    world.hear(command(world, "a", 0))
    answered = world.now
    world.advance(0.19)
    assert 1 == len(world.statuses)
    world.advance(0.02)
    assert b"waits" == world.statuses[-1].status
    sent = next(at for at, each in world.published if each is world.statuses[-1])
    assert sent - answered == pytest.approx(0.2)


# Commands


def test_E11_first_counter_may_be_anything_and_each_is_answered_with_its_own() -> None:
    world = scripted("a", "b")
    accept(world)
    acknowledge_all(world)
    world.hear(command(world, "a", 4_000_000_000), command(world, "b", 4_000_000_001))
    assert [4_000_000_000, 4_000_000_001] == [each.counter for each in world.responses]
    world.advance(0.3)
    assert world.is_up


def test_E11_counter_wraps_at_uint32() -> None:
    world = scripted("a", "b")
    accept(world)
    acknowledge_all(world)
    world.hear(command(world, "a", 2**32 - 1), command(world, "b", 0))
    assert [2**32 - 1, 0] == [each.counter for each in world.responses]
    assert [] == world.ends


def test_E11_duplicate_gets_the_recorded_answer_without_effect() -> None:
    world = running("a")
    assert world.peer is not None
    world.handler.verdict = CommandResponseType.INVALID_COMMAND
    order = world.peer.command(device("a"), b"go")
    world.hear(order)
    world.handler.verdict = CommandResponseType.OK
    world.hear(order)
    assert [3, 3] == [each.response for each in world.responses[-2:]]
    assert [order.counter] * 2 == [each.counter for each in world.responses[-2:]]
    assert 1 == len(world.handler.commands)
    assert 1 == world.counted(Reason.COMMAND_REPEATED)


@pytest.mark.parametrize("first", [0, 7])
def test_E11_gap_ends_the_session_unanswered(first: int) -> None:
    world = running("a")
    session = world.session_id
    assert world.peer is not None
    last = world.peer.counter - 1
    world.hear(Command(session, last + 2 + first, device("a"), b"go"))
    assert [Reason.COMMAND_OUT_OF_ORDER] == world.ends
    assert 1 == len(world.responses)
    assert [] == world.handler.commands
    world.advance(5.0)
    assert len(world.connects) > 1


def test_E11_gap_right_after_counter_zero_is_noticed() -> None:
    world = scripted("a", "b")
    accept(world)
    acknowledge_all(world)
    world.hear(command(world, "a", 0), command(world, "b", 2))
    assert [Reason.COMMAND_OUT_OF_ORDER] == world.ends


def test_E11_command_of_a_strange_session_renews_a_running_one() -> None:
    world = running("a")
    world.hear(Command("stranger", 1, device("a"), b"go"))
    assert [Reason.WRONG_SESSION] == world.ends
    assert [] == world.handler.commands


def test_E11_late_command_of_an_own_earlier_session_is_only_ignored() -> None:
    world = running("a")
    assert world.peer is not None
    old = world.session_id
    world.hear(*world.peer.drop())
    world.advance(3.0)
    assert world.is_up
    world.hear(Command(old, 1, device("a"), b"go"))
    assert world.is_up
    assert [] == world.handler.commands


def test_E22_command_for_a_foreign_module_is_not_supported_and_costs_no_session() -> None:
    world = running("a")
    assert world.peer is not None
    world.hear(world.peer.command(device("a", module=OTHER_MODULE)))
    assert CommandResponseType.DEVICE_NOT_SUPPORTED == world.responses[-1].response
    world.hear(world.peer.command(Device.of(1000, 9, "a")))
    assert CommandResponseType.DEVICE_NOT_SUPPORTED == world.responses[-1].response
    assert world.is_up


def test_command_for_a_device_that_is_not_announced_is_not_connected() -> None:
    world = running("a")
    assert world.peer is not None
    world.hear(world.peer.command(device("z")))
    assert CommandResponseType.DEVICE_NOT_CONNECTED == world.responses[-1].response
    assert [] == world.handler.commands


def test_R13_announced_but_gone_is_invalid_command() -> None:
    world = running("a")
    assert world.peer is not None
    world.handler.verdict = CommandResponseType.DEVICE_NOT_CONNECTED
    world.hear(world.peer.command(device("a")))
    assert CommandResponseType.INVALID_COMMAND == world.responses[-1].response


def test_case49_device_is_announced_again_after_device_not_connected() -> None:
    world = running("a", "b")
    assert world.peer is not None
    world.leave(device("b"))
    world.hear(world.peer.command(device("b")))
    assert CommandResponseType.DEVICE_NOT_CONNECTED == world.responses[-1].response
    world.status(device("b"), b"back")
    assert ("CONNECTING", "b", b"back", None) == world.shape()[-1]
    assert [] == world.peer.violations


def test_case50_burst_of_commands_is_answered_in_order() -> None:
    world = running("a")
    assert world.peer is not None
    orders = [world.peer.command(device("a"), b"%d" % number) for number in range(3)]
    world.hear(*orders)
    assert [each.counter for each in orders] == [each.counter for each in world.responses[-3:]]
    assert [b"0", b"1", b"2"] == [each.command for each in world.handler.commands]


def test_case24_empty_status_and_empty_command() -> None:
    world = running("a")
    assert world.peer is not None
    world.status(device("a"), b"")
    assert ("RUNNING", "a", b"", None) == world.shape()[-1]
    world.hear(world.peer.command(device("a"), b""))
    assert CommandResponseType.OK == world.responses[-1].response
    assert [] == world.handler.commands


def test_R19_command_carries_session_and_counter_and_is_answered_after_the_verdict() -> None:
    world = running("a")
    assert world.peer is not None
    assert world.endpoint.session is not None
    world.handler.verdict = None
    order = world.peer.command(device("a"), b"go")
    world.hear(order)
    forward = world.handler.commands[-1]
    assert (world.endpoint.session.number, order.counter) == (forward.session, forward.counter)
    assert 1 == len(world.responses)
    world.handler.decide(forward, 0)
    world.settle()
    assert [order.counter] == [each.counter for each in world.responses[1:]]


def test_R19_lost_command_is_forwarded_again_until_the_session_ends() -> None:
    world = running("a")
    assert world.peer is not None
    world.handler.verdict = None
    world.hear(world.peer.command(device("a"), b"go"))
    world.advance(1.1)
    assert 3 == len(world.handler.commands)
    world.hear(*world.peer.drop())
    world.advance(5.0)
    assert 3 == len(world.handler.commands)


def test_R19_verdict_of_an_ended_session_is_dropped() -> None:
    world = running("a")
    assert world.peer is not None
    world.handler.verdict = None
    world.hear(world.peer.command(device("a"), b"go"))
    forward = world.handler.commands[-1]
    world.hear(*world.peer.drop())
    world.advance(3.0)
    assert world.is_up
    answered = len(world.responses)
    world.handler.decide(forward, 0)
    world.settle()
    assert answered == len(world.responses)
    assert 1 == world.counted(Reason.COMMAND_STALE_SESSION)


def test_too_many_open_commands_are_refused() -> None:
    world = running("a")
    assert world.peer is not None
    world.handler.verdict = None
    for _ in range(257):
        world.hear(world.peer.command(device("a"), b"go"))
    assert CommandResponseType.INVALID_COMMAND == world.responses[-1].response
    assert 1 == world.counted(Reason.QUEUE_FULL)


# Case 23: each single fault


def _refused(world: World) -> None:
    world.hear(ConnectResponse(world.session_id, 1))


def _strange(world: World) -> None:
    world.hear(ConnectResponse("stranger", 0))


def _kind_1(world: World) -> None:
    world.hear(StatusResponse(world.session_id, 0, 1))


def _kind_2(world: World) -> None:
    accept(world)
    world.hear(command(world, "a", 0))


def _bad_ack(world: World) -> None:
    accept(world)
    world.hear(StatusResponse(world.session_id, 5, 1))


def _foreign_command(world: World) -> None:
    accept(world)
    acknowledge_all(world)
    world.hear(Command(world.session_id, 0, device("x", module=OTHER_MODULE), b""))


def _notice(world: World) -> None:
    world.hear(None)


def _broker(world: World) -> None:
    world.broker(is_up=False)
    world.broker(is_up=True)


@pytest.mark.parametrize(
    "fault",
    [
        _refused,
        _strange,
        _kind_1,
        _kind_2,
        _bad_ack,
        _foreign_command,
        _notice,
        _broker,
        lambda world: None,
        accept,
    ],
)
def test_case23_each_fault_fails_cleanly_and_is_retried(fault) -> None:
    world = scripted("a")
    fault(world)
    world.advance(5.1)
    assert 1 <= len(world.ends)
    assert 0 == world.ups
    world.advance(2.1)
    assert 2 <= len(world.connects)
    assert len({each.session_id for each in world.connects}) == len(world.connects)
    taken = fault is _foreign_command  # a command proves that the fold was taken (R11)
    folded = world.endpoint.backlog.folds.get_error(device("a").identity)
    assert (None if taken else b"[s a]") == folded


def test_E15_already_logged_means_a_new_id_after_a_back_off() -> None:
    world = scripted("a")
    world.hear(ConnectResponse(world.session_id, 1))
    assert [Reason.ALREADY_LOGGED] == world.ends
    assert 1 == len(world.connects)
    world.advance(0.51)
    assert ["session1", "session2"] == [each.session_id for each in world.connects]


# R11


def test_R11_folds_are_acknowledged_by_the_first_command_only() -> None:
    world = scripted("a", "b")
    accept(world)
    acknowledge_all(world)
    assert [] == world.handler.acks
    world.hear(command(world, "b", 0))
    assert [("a", 1), ("b", 2)] == sorted(world.handler.acks)


def test_R11_failure_before_the_first_command_keeps_the_fold() -> None:
    world = scripted("a")
    accept(world)
    acknowledge_all(world)
    world.hear(None)
    assert [] == world.handler.acks
    assert b"[s a]" == world.endpoint.backlog.folds.get_error(device("a").identity)


def test_R11_applied_fold_is_dropped_and_not_sent_again() -> None:
    world = scripted("a")
    applied = ((device("a").identity, Position(11, 1)),)
    world.hear(ConnectResponse(world.session_id, 0, applied))
    assert [("a", 1)] == world.handler.acks
    assert [("CONNECTING", "a", b"s a", None)] == world.shape()
    assert world.statuses[0].position is None


@pytest.mark.parametrize(("store", "sequence"), [(11, 0), (12, 1), (12, 99)])
def test_R11_other_store_or_earlier_position_changes_nothing(store: int, sequence: int) -> None:
    world = scripted("a")
    applied = ((device("a").identity, Position(store, sequence)),)
    world.hear(ConnectResponse(world.session_id, 0, applied))
    assert [] == world.handler.acks
    assert [("CONNECTING", "a", b"s a", b"[s a]")] == world.shape()


def test_R11_partly_applied_fold_is_made_anew_from_the_outbox() -> None:
    world = World(starts=False)
    for number in range(1, 5):
        world.handler.status(device("a"), b"%d" % number)
    world.start()
    applied = ((device("a").identity, Position(11, 2)),)
    world.hear(ConnectResponse(world.session_id, 0, applied))
    assert [Reason.APPLIED_PARTLY] == world.ends
    assert [("a", 2)] == world.handler.acks
    assert 2 == len(world.connects)
    world.hear(ConnectResponse(world.session_id, 0, applied))
    assert [("CONNECTING", "a", b"4", b"[3][4]")] == world.shape()


def test_capability_is_announced() -> None:
    assert ("applied",) == scripted("a").connects[0].capabilities


# Stop


def test_E23_stop_says_disconnect_for_everybody_and_waits_for_the_acknowledgements() -> None:
    world = running("a", "b")
    world.peer = None
    world.stop()
    assert [("DISCONNECT", "a", b"first a", None), ("DISCONNECT", "b", b"first b", None)] == (
        world.shape()[-2:]
    )
    assert not world.has_stopped()
    world.hear(StatusResponse(world.session_id, 0, 3), StatusResponse(world.session_id, 0, 4))
    assert world.has_stopped()
    assert [Reason.SHUTDOWN] == world.ends


def test_E23_stop_waits_two_seconds_at_most() -> None:
    world = running("a")
    world.peer = None
    world.stop()
    world.advance(1.9)
    assert not world.has_stopped()
    world.advance(0.2)
    assert world.has_stopped()
    assert 1 == len(world.connects)


def test_stop_within_a_sequence_or_without_a_session_is_immediate() -> None:
    world = scripted("a")
    world.stop()
    assert world.has_stopped()
    idle = World()
    idle.stop()
    assert idle.has_stopped()


def test_case47_statuses_still_queued_at_the_peer_do_not_disturb_the_next_sequence() -> None:
    world = running("a")
    peer = world.peer
    assert peer is not None
    old = world.session_id
    world.hear(*peer.drop())
    world.advance(1.51)
    world.hear(StatusResponse(old, 0, 1), StatusResponse(old, 0, 2))
    world.advance(1.0)
    assert world.is_up
    assert [] == peer.violations


def test_handler_of_another_module_gets_no_commands() -> None:
    other = Handler(peer=2, store_id=22, modules=(OTHER_MODULE,))
    world = running("a")
    world.handlers.append(other)
    world.start_handler(other)
    assert world.peer is not None
    world.hear(world.peer.command(device("a")))
    assert 1 == len(world.handler.commands)
    assert [] == other.commands
    assert 0 == other.leases
