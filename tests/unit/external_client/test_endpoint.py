"""The life of an endpoint: fleet-protocol 4.7-4.9, checklist E and A, contract R8-R17."""

from __future__ import annotations

import itertools

import pytest

from module_gateway.external_client.events import BrokerUp
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.external import (
    Connect,
    ConnectResponse,
    DeviceState,
    Position,
    Status,
    StatusResponse,
)
from module_gateway.protocol.identity import Device
from tests.unit.external_client.world import (
    MODULE,
    OTHER_MODULE,
    ControlPlane,
    Handler,
    World,
    device,
    running,
)

A, B, C = device("a"), device("b"), device("c")


def peer_of(world: World) -> ControlPlane:
    assert world.peer is not None
    return world.peer


def offline(*roles: str, **more: object) -> World:
    """Announced once, then dropped by a control plane that has gone deaf."""
    world = running(*roles, **more)
    world.hear(*peer_of(world).drop())
    peer_of(world).is_deaf = True
    return world


def back(world: World, seconds: float = 12.0) -> None:
    peer_of(world).is_deaf = False
    world.advance(seconds)
    assert world.is_up


def sequence(world: World) -> list[Status]:
    """CONNECTING statuses of the running session, before anything else of it."""
    own = [each for each in world.statuses if each.session_id == world.session_id]
    return own[: len(world.connects[-1].devices)]


# When to connect, and with whom


def test_E4_each_registered_device_is_listed_once() -> None:
    world = World(starts=False)
    for role in ("a", "b", "a"):
        world.handler.status(device(role), b"s " + role.encode())
    world.start()
    assert [A, B] == sorted(world.connects[0].devices, key=str)


def test_E4_devices_that_differ_only_in_name_and_priority_are_one() -> None:
    world = World(starts=False)
    world.handler.status(Device.of(MODULE, 0, "a", "first", 3), b"1")
    world.handler.status(Device.of(MODULE, 0, "a", "second", 0), b"2")
    world.start()
    assert (Device.of(MODULE, 0, "a", "second", 0),) == world.connects[0].devices


def test_case15_priority_is_announced() -> None:
    world = World(starts=False)
    world.handler.status(device("a", priority=10), b"1")
    world.start()
    assert [10] == [each.priority for each in world.connects[0].devices]


def test_case45_no_device_no_connect() -> None:
    world = World(peer=ControlPlane())
    world.advance(120.0)
    assert [] == world.published


def test_R15_outbox_alone_justifies_a_connect() -> None:
    world = World(peer=ControlPlane(), starts=False)
    world.handler.status(A, b"last")
    world.handler.leave(A)
    assert {} == world.handler.registered
    world.start()
    world.advance(1.0)
    assert [A] == list(world.connects[0].devices)
    assert [] == world.handler.outbox


def test_R15_device_that_does_not_return_after_a_restart_is_disconnected() -> None:
    world = running("a", "b")
    world.lose(world.handler)
    world.handler.restart(2)
    world.handler.registered.pop(B.identity)
    world.start_handler(world.handler)
    world.advance(29.0)
    assert DeviceState.DISCONNECT not in {each.state for each in world.statuses}
    world.advance(1.5)
    assert ("DISCONNECT", "b", b"first b", None) == world.shape()[-1]
    assert [] == peer_of(world).violations


def test_case20_nothing_is_published_before_the_broker_is_up_and_subscribed() -> None:
    world = World(starts=False)
    world.handler.status(A, b"1")
    world.start_handler(world.handler)
    world.advance(60.0)
    assert [] == world.published
    world.step(BrokerUp())
    assert [Connect] == [type(each) for _, each in world.published]


def test_snapshot_is_asked_before_each_connect_and_waited_for_one_second_at_most() -> None:
    world = World(starts=False)
    world.handler.answers_snapshots = False
    world.handler.status(A, b"1")
    world.start()
    assert [] == world.connects
    world.advance(1.1)
    assert 1 == len(world.connects)


def test_case22_failed_sequences_use_different_ids() -> None:
    world = World(starts=False)
    world.handler.status(A, b"1")
    world.start()
    world.advance(30.0)
    ids = [each.session_id for each in world.connects]
    assert 3 <= len(ids)
    assert len(set(ids)) == len(ids)


# Sessions end


def test_E14_notification_closes_at_once_and_the_next_connect_waits() -> None:
    world = running("a")
    at = world.now
    world.hear(*peer_of(world).drop())
    assert not world.is_up
    assert [Reason.DISCONNECT_NOTIFIED] == world.ends
    world.advance(0.99)
    assert 1 == len(world.connects)
    world.advance(1.01)
    assert 2 == len(world.connects)
    sent = [when for when, each in world.published if isinstance(each, Connect)]
    assert 1.0 <= sent[-1] - at <= 2.0


def test_case36_notification_ends_the_session_immediately() -> None:
    world = running("a")
    world.hear(None)
    assert world.endpoint.session is None
    assert [Reason.DISCONNECT_NOTIFIED] == world.ends


def test_case37_notification_without_devices_waits_for_a_status() -> None:
    world = running("a")
    world.leave(A)
    assert [Reason.SESSION_IDLE] == world.ends
    world.hear(None)
    world.advance(300.0)
    assert 1 == len(world.connects)
    world.status(A, b"again")
    world.advance(2.1)
    assert 2 == len(world.connects)


def test_case44_last_disconnect_acknowledged_means_idle() -> None:
    world = running("a")
    world.leave(A)
    assert ("DISCONNECT", "a", b"first a", None) == world.shape()[-1]
    assert [Reason.SESSION_IDLE] == world.ends
    assert [] == world.handler.outbox
    world.advance(600.0)
    assert 1 == len(world.connects)


def test_case21_session_that_the_peer_dropped_is_replaced() -> None:
    world = running("a")
    world.hear(*peer_of(world).drop())
    world.status(A, b"next")
    world.advance(3.0)
    assert world.is_up
    assert ("CONNECTING", "a", b"next", b"[next]") == world.shape()[-1]


def test_case46_second_connect_after_a_gateway_restart_succeeds_within_three_seconds() -> None:
    peer = ControlPlane()
    peer.session, peer.phase = "of the earlier life", "running"
    world = World(peer=peer, starts=False)
    world.handler.status(A, b"1")
    world.start()
    assert [Reason.DISCONNECT_NOTIFIED] == world.ends
    world.advance(3.0)
    assert world.is_up
    assert 2 == len(world.connects)


def test_peer_that_announces_itself_gets_a_connect_within_half_a_second() -> None:
    world = offline("a")
    world.advance(100.0)
    peer_of(world).is_deaf = False
    before = len(world.connects)
    while world.endpoint.session is not None:
        world.advance(0.1)
    world.hear(None)
    world.advance(0.5)
    assert before < len(world.connects)
    assert world.endpoint.session is not None


def test_known_deaf_peer_is_not_disturbed_by_its_own_notifications() -> None:
    world = running("a")
    world.hear(*peer_of(world).drop())
    world.hear(None, None, None)
    world.advance(0.99)
    assert 1 == len(world.connects)


def test_silent_peer_that_only_notifies_is_tried_when_it_listens_again() -> None:
    """The existing external server notifies before it goes deaf, again and again."""
    world = offline("a")
    world.advance(20.0)
    while world.endpoint.session is not None:
        world.advance(0.1)
    world.hear(None)  # tried at once, and not heard
    world.advance(5.4)
    while world.endpoint.session is not None:
        world.advance(0.1)
    before = len(world.connects)
    world.hear(None)
    world.advance(0.9)
    assert before == len(world.connects)
    world.advance(1.2)
    assert before + 1 == len(world.connects)


def test_case51_broker_loss_is_followed_by_a_new_session() -> None:
    world = running("a")
    world.broker(is_up=False)
    assert [Reason.BROKER_LOST] == world.ends
    world.status(A, b"meanwhile")
    world.advance(60.0)
    assert 1 == len(world.connects)
    world.broker(is_up=True)
    world.advance(0.5)
    assert world.is_up
    assert ("CONNECTING", "a", b"meanwhile", b"[meanwhile]") == world.shape()[-1]


def test_E17_back_off_grows_to_ten_seconds_with_jitter() -> None:
    world = World(starts=False, chance=lambda: 0.999)
    world.handler.status(A, b"1")
    world.start()
    world.advance(200.0)
    sent = [when for when, each in world.published if isinstance(each, Connect)]
    waits = [later - earlier - 5.0 for earlier, later in itertools.pairwise(sent)]
    assert [1, 2, 4, 8, 10, 10] == [round(each) for each in waits[:6]]


def test_E17_attempts_are_deduplicated() -> None:
    world = World(starts=False, chance=lambda: 0.999)
    world.handler.status(A, b"1")
    world.start()
    world.advance(5.1)
    for _ in range(5):
        world.status(A, b"more")
        world.link_returns()
    world.advance(0.8)
    assert 1 == len(world.connects)
    world.advance(0.2)
    assert 2 == len(world.connects)


def test_E17_success_resets_the_back_off() -> None:
    world = offline("a")
    world.advance(100.0)
    back(world)
    world.advance(15.0)
    peer_of(world).is_deaf = True
    world.hear(*peer_of(world).drop())
    sent_before = len(world.connects)
    world.advance(10.0)
    assert len(world.connects) >= sent_before + 2


def test_case29_acks_racing_timeouts_schedule_one_reconnect() -> None:
    world = running("a", "b")
    peer, world.peer = peer_of(world), None
    world.status(A, b"a2")
    world.status(B, b"b2")
    session = world.session_id
    world.advance(30.0)
    world.hear(StatusResponse(session, 0, 3), StatusResponse(session, 0, 4), None)
    assert [Reason.ACK_TIMEOUT, Reason.DISCONNECT_NOTIFIED] == world.ends
    assert 2 == len(world.connects)
    world.peer = peer


# Devices come and go


def test_E12_states_follow_the_announced_set() -> None:
    world = running("a")
    world.status(B, b"b1")
    world.status(B, b"b2")
    world.leave(B)
    world.status(B, b"b3")
    assert [
        ("CONNECTING", "b", b"b1", None),
        ("RUNNING", "b", b"b2", None),
        ("DISCONNECT", "b", b"b2", None),
        ("CONNECTING", "b", b"b3", None),
    ] == world.shape()[1:]
    world.hear(*peer_of(world).drop())
    world.advance(3.0)
    assert [DeviceState.CONNECTING] * 2 == [each.state for each in sequence(world)]
    assert [] == peer_of(world).violations


def test_R12_announced_set_alone_decides_the_state() -> None:
    world = running("a")
    world.handler.status(B, b"b1", ends=True)
    world.settle()
    assert [("CONNECTING", "b", b"b1", None), ("DISCONNECT", "b", b"b1", None)] == (
        world.shape()[1:]
    )
    world.handler.status(C, b"c1", ends=True, is_repeat=True)
    world.settle()
    assert 3 == len(world.shape())
    assert [] == world.handler.outbox
    assert [] == peer_of(world).violations


def test_joining_device_waits_for_its_acknowledgement_and_delays_nobody() -> None:
    world = running("a")
    world.peer = None
    world.status(B, b"b1")
    world.status(B, b"b2")
    world.status(A, b"a2")
    assert [("CONNECTING", "b", b"b1", None), ("RUNNING", "a", b"a2", None)] == world.shape()[1:]
    world.hear(StatusResponse(world.session_id, 0, 2))
    assert ("RUNNING", "b", b"b2", None) == world.shape()[-1]


def test_E19_disconnect_of_one_device_delays_no_other() -> None:
    world = running("a", "b")
    world.peer = None
    world.leave(A)
    world.status(B, b"b2")
    assert [("DISCONNECT", "a"), ("RUNNING", "b")] == [each[:2] for each in world.shape()[-2:]]


def test_case35_device_that_leaves_during_the_sequence_is_connected_then_disconnected() -> None:
    world = World(starts=False)
    world.handler.status(A, b"a1")
    world.handler.status(B, b"b1")
    world.start()
    world.hear(ConnectResponse(world.session_id, 0))
    world.leave(A)
    peer = ControlPlane()
    peer.session, peer.phase = world.session_id, "statuses"
    peer.expected, peer.devices = {A.identity, B.identity}, set()
    world.peer = peer
    for status in world.statuses:
        world.hear(*peer.receive(status))
    world.advance(0.3)
    assert [("CONNECTING", "a"), ("DISCONNECT", "a")] == [
        each[:2] for each in world.shape() if each[1] == "a"
    ]
    assert {B.identity} == peer.devices
    assert [] == peer.violations


def test_device_that_joins_during_the_sequence_is_announced_after_it() -> None:
    world = World(starts=False)
    world.handler.status(A, b"a1")
    world.start()
    world.status(B, b"b1")
    world.status(B, b"b2")
    peer = ControlPlane()
    world.peer = peer
    world.hear(*peer.receive(world.connects[0]))
    world.advance(0.3)
    assert [
        ("CONNECTING", "a", b"a1", b"[a1]"),
        ("CONNECTING", "b", b"b1", None),
        ("RUNNING", "b", b"b2", None),
    ] == world.shape()
    assert [] == peer.violations


def test_window_bounds_what_is_in_flight() -> None:
    world = running("a", window=4)
    world.peer = None
    for number in range(10):
        world.status(A, b"%d" % number)
    assert 1 + 4 == len(world.statuses)
    world.hear(StatusResponse(world.session_id, 0, 3))
    assert 1 + 5 == len(world.statuses)


def test_R9_markers_travel_in_a_session_and_are_never_folded() -> None:
    world = running("a")
    world.heartbeat(A)
    assert ("RUNNING", "a", b"first a", None) == world.shape()[-1]
    assert world.statuses[-1].position is None
    world.hear(*peer_of(world).drop())
    world.heartbeat(A)
    assert 0 == len(world.endpoint.backlog.folds)
    world.advance(3.0)
    assert ("CONNECTING", "a", b"first a", None) == world.shape()[-1]


def test_markers_are_receipted_when_they_are_sent() -> None:
    """Nobody keeps them: whatever becomes of the session, they do not fill the lane."""
    world = running("a", window=1)
    world.peer = None
    before = world.handler.receipts
    world.heartbeat(A)
    assert before + 1 == world.handler.receipts
    world.heartbeat(A)
    assert before + 1 == world.handler.receipts
    world.hear(StatusResponse(world.session_id, 0, 2))
    assert before + 2 == world.handler.receipts


def test_case59_heartbeats_keep_a_quiet_session_for_ten_minutes() -> None:
    world = running("a")
    for _ in range(40):
        world.advance(15.0)
        world.heartbeat(A)
    assert world.is_up
    assert 1 == len(world.connects)
    assert 41 == len(world.statuses)


# R16 quarantine


def test_E20_device_that_the_peer_does_not_know_does_not_block_the_others() -> None:
    peer = ControlPlane()
    peer.knows = lambda identity: identity != B.identity
    world = World(peer=peer, starts=False)
    for each in (A, B, C):
        world.handler.status(each, b"s")
    world.start()
    world.advance(8.0)
    assert world.is_up
    assert {A.identity, C.identity} == peer.devices
    world.status(A, b"goes on")
    assert ("RUNNING", "a", b"goes on", None) == world.shape()[-1]


def test_E20_silence_for_one_device_alone_fails_the_step_and_quarantines_it() -> None:
    world = World(starts=False)
    world.handler.status(A, b"1")
    world.handler.status(B, b"2")
    world.start()
    world.hear(ConnectResponse(world.session_id, 0), StatusResponse(world.session_id, 0, 1))
    world.advance(5.6)
    assert [Reason.STEP_TIMEOUT] == world.ends
    assert [(A,)] == [each.devices for each in world.connects[1:]]


def test_R16_nobody_is_quarantined_when_nobody_was_acknowledged() -> None:
    world = World(starts=False)
    world.handler.status(A, b"1")
    world.handler.status(B, b"2")
    world.start()
    world.hear(ConnectResponse(world.session_id, 0))
    world.advance(6.0)
    assert {A, B} == set(world.connects[1].devices)
    assert 0 == len(world.endpoint.quarantine)


def test_R16_abort_blames_the_first_unacknowledged_only() -> None:
    world = World(starts=False)
    for each in (A, B, C):
        world.handler.status(each, b"s")
    world.start()
    world.hear(ConnectResponse(world.session_id, 0), StatusResponse(world.session_id, 0, 1), None)
    assert [B.identity] == list(world.endpoint.quarantine)
    world.advance(2.1)
    assert {A, C} == set(world.connects[1].devices)


def test_R16_probe_announces_a_quarantined_device_with_its_fold() -> None:
    peer = ControlPlane()
    peer.knows = lambda identity: identity != B.identity
    world = World(peer=peer, starts=False)
    world.handler.status(A, b"a1")
    world.handler.status(B, b"b1")
    world.start()
    world.advance(8.0)
    world.status(B, b"b2")
    peer.knows = lambda identity: True
    world.advance(30.0)
    assert ("CONNECTING", "b", b"b2", b"[b1][b2]") == world.shape()[-1]
    assert [] == world.handler.outbox
    assert 1 == world.ups
    world.status(B, b"b3")
    assert ("RUNNING", "b", b"b3", None) == world.shape()[-1]


def test_R16_unanswered_probe_is_no_fault_of_the_session_and_doubles_the_wait() -> None:
    peer = ControlPlane()
    peer.knows = lambda identity: identity != B.identity
    world = World(peer=peer, starts=False)
    world.handler.status(A, b"a1")
    world.handler.status(B, b"b1")
    world.start()
    world.advance(200.0)
    assert 1 == world.ups
    assert world.is_up
    probes = [
        when
        for when, each in world.published
        if isinstance(each, Status) and each.device == B and each.session_id == world.session_id
    ]
    waits = [later - earlier for earlier, later in itertools.pairwise(probes)]
    assert [30, 90] == [round(each) for each in waits[:2]]
    assert b"[b1]" == world.endpoint.backlog.folds.get_error(B.identity)


def test_R16_device_that_joins_and_is_not_acknowledged_while_others_are_is_quarantined() -> None:
    world = running("a")
    peer_of(world).knows = lambda identity: identity != B.identity
    world.status(B, b"b1")
    world.status(A, b"a2")
    world.status(B, b"b2")
    world.advance(31.0)
    assert world.is_up
    assert 1 == world.ups
    assert B.identity in world.endpoint.quarantine
    assert b"[b1][b2]" == world.endpoint.backlog.folds.get_error(B.identity)


def test_only_a_quarantined_device_left_is_tried_when_its_time_has_come() -> None:
    peer = ControlPlane()
    peer.knows = lambda identity: identity != B.identity
    world = World(peer=peer, starts=False)
    world.handler.status(A, b"a1")
    world.handler.status(B, b"b1")
    world.start()
    world.advance(8.0)
    world.leave(A)
    before = len(world.connects)
    world.advance(20.0)
    assert before == len(world.connects)
    world.advance(15.0)
    assert (B,) == world.connects[-1].devices


# Error aggregation


def test_A1_unacknowledged_and_offline_statuses_are_folded_exactly_once() -> None:
    world = running("a")
    peer_of(world).acknowledges = lambda status: False
    world.status(A, b"in flight")
    world.hear(*peer_of(world).drop())
    peer_of(world).is_deaf = True
    peer_of(world).acknowledges = lambda status: True
    world.status(A, b"offline")
    world.advance(60.0)
    back(world)
    assert b"[in flight][offline]" == sequence(world)[0].error


def test_A2_order_of_folding_is_order_of_creation_unacknowledged_first() -> None:
    world = running("a", window=2)
    world.peer = None
    for number in range(1, 6):
        world.status(A, b"%d" % number)  # two in flight, three waiting
    world.hear(None)
    world.status(A, b"6")
    assert b"[1][2][3][4][5][6]" == world.endpoint.backlog.folds.get_error(A.identity)


def test_A2_acknowledged_behind_unacknowledged_is_not_folded_but_is_the_last_status() -> None:
    world = running("a")
    world.peer = None
    world.status(A, b"2")
    world.status(A, b"3")
    world.hear(StatusResponse(world.session_id, 0, 3), None)
    folds = world.endpoint.backlog.folds
    assert b"[2]" == folds.get_error(A.identity)
    assert b"3" == folds.get_last_status(A.identity)


def test_A3_failed_sequences_do_not_fold_again() -> None:
    world = offline("a")
    world.status(A, b"once")
    world.advance(120.0)
    assert 5 < len(world.connects)
    back(world)
    assert b"[once]" == sequence(world)[0].error


def test_case56_presses_are_summed_once_across_failed_sequences() -> None:
    world = offline("a")
    world.status(A, b"2")
    world.status(A, b"3")
    peer = peer_of(world)
    peer.acknowledges = lambda status: False
    peer.is_deaf = False
    world.advance(14.0)  # two sequences that fail in step 2
    assert 2 <= world.ends.count(Reason.STEP_TIMEOUT) + world.ends.count(Reason.DISCONNECT_NOTIFIED)
    peer.acknowledges = lambda status: True
    back(world, 30.0)
    assert b"[2][3]" == sequence(world)[0].error


def test_A4_only_what_was_delivered_is_cleared() -> None:
    world = World(starts=False)
    world.handler.status(A, b"1")
    world.start()
    world.hear(ConnectResponse(world.session_id, 0))
    world.status(A, b"2")
    world.hear(StatusResponse(world.session_id, 0, 1))
    world.status(A, b"3")
    peer = ControlPlane()
    peer.session, peer.phase, peer.devices = world.session_id, "commands", {A.identity}
    peer.last_status_counter, peer.open_responses = 1, 1
    world.peer = peer
    world.hear(peer.command(A, b""))
    world.advance(0.3)
    assert [b"2", b"3"] == [each.status for each in world.statuses[1:]]
    assert [DeviceState.RUNNING] * 2 == [each.state for each in world.statuses[1:]]
    assert [] == world.handler.outbox


def test_A5_after_the_clear_the_current_status_is_announced() -> None:
    world = running("a")
    world.handler.registered[A.identity] = (A, b"merged meanwhile")
    world.hear(*peer_of(world).drop())
    world.advance(3.0)
    assert ("CONNECTING", "a", b"merged meanwhile", None) == world.shape()[-1]


def test_A6_device_that_came_and_went_in_the_outage_is_reported_and_disconnected() -> None:
    world = offline("a")
    world.status(B, b"b1")
    world.status(B, b"b2")
    world.leave(B)
    back(world)
    of_b = [each for each in world.shape() if each[1] == "b"][-2:]
    assert [("CONNECTING", "b", b"b2", b"[b1][b2]"), ("DISCONNECT", "b", b"b2", None)] == of_b
    assert [] == peer_of(world).violations
    assert [] == world.handler.outbox


def test_device_that_only_left_in_the_outage_needs_no_session() -> None:
    world = offline("a")
    world.leave(A)
    assert [] == world.handler.outbox
    world.advance(100.0)
    before = len(world.connects)
    world.advance(100.0)
    assert before == len(world.connects)


def test_A7_memory_stays_constant_in_an_outage_of_any_length() -> None:
    world = offline("a", "b")
    world.module.aggregate_error = lambda error, status, device_type: b"x"  # type: ignore[method-assign]
    for number in range(2_000):
        world.status(A, b"%d" % number)
    backlog = world.endpoint.backlog
    assert [1] == [len(folds) for folds in backlog.folds._folds.values()]
    assert 0 == backlog.waiting(A.identity)
    assert (b"x", b"1999") == (
        backlog.folds.get_error(A.identity),
        backlog.folds.get_last_status(A.identity),
    )


def test_case30_ten_minutes_of_outage_at_fifty_hertz_stay_bounded() -> None:
    world = offline("a")
    world.module.aggregate_error = lambda error, status, device_type: status  # type: ignore[method-assign]
    for number in range(3_000):  # ten minutes, ten statuses in each turn
        for part in range(10):
            world.handler.status(A, b"%d.%d" % (number, part))
        world.handler.outbox.clear()  # the handler's own bound is not under test here
        world.advance(0.2)
    assert 1 == len(world.endpoint.backlog.folds)
    assert world.handler.delivered == world.handler.receipts


def test_case32_delivered_error_is_absent_next_time() -> None:
    world = offline("a")
    world.status(A, b"error")
    back(world)
    world.hear(*peer_of(world).drop())
    world.advance(3.0)
    assert sequence(world)[0].error is None


def test_case33_statuses_during_a_slow_connect_are_all_reflected() -> None:
    world = World(starts=False)
    world.handler.status(A, b"1")
    world.start()
    world.status(A, b"2")
    world.advance(2.0)
    peer = ControlPlane()
    world.peer = peer
    world.status(A, b"3")
    world.hear(*peer.receive(world.connects[0]))
    world.status(A, b"4")
    world.advance(0.3)
    assert [
        ("CONNECTING", "a", b"1", b"[1]"),
        ("RUNNING", "a", b"2", None),
        ("RUNNING", "a", b"3", None),
        ("RUNNING", "a", b"4", None),
    ] == world.shape()


def test_case34_status_at_the_moment_of_connecting_is_published_once() -> None:
    world = World(starts=False)
    world.handler.status(A, b"1")
    world.start()
    world.peer = peer = ControlPlane()
    world.hear(*peer.receive(world.connects[0]))
    world.advance(0.2)
    world.status(A, b"exactly now")
    assert 1 == [each.status for each in world.statuses].count(b"exactly now")
    assert 0 == len(world.endpoint.backlog.folds)
    assert [] == world.handler.outbox


def test_case41_empty_error_is_no_error() -> None:
    world = offline("a")
    world.module.aggregate_error = lambda error, status, device_type: b""  # type: ignore[method-assign]
    world.status(A, b"1")
    back(world)
    assert sequence(world)[0].error is None
    assert b"1" == sequence(world)[0].status


def test_refusing_module_keeps_the_error_and_updates_the_status() -> None:
    world = offline("a")
    world.status(A, b"1")
    world.status(A, b"refuse this")
    back(world)
    assert (b"refuse this", b"[1]") == (sequence(world)[0].status, sequence(world)[0].error)


def test_R10_sequence_freezes_a_range_and_failure_extends_it() -> None:
    world = World(starts=False)
    world.handler.status(A, b"1")
    world.handler.status(A, b"2")
    world.start()
    world.hear(ConnectResponse(world.session_id, 0))
    assert Position(11, 2) == world.statuses[0].position
    world.status(A, b"3")
    assert b"[1][2]" == world.statuses[0].error
    world.hear(None)
    assert b"[1][2][3]" == world.endpoint.backlog.folds.get_error(A.identity)
    world.advance(2.1)
    world.hear(ConnectResponse(world.session_id, 0))
    assert (Position(11, 3), b"[1][2][3]") == (
        world.statuses[-1].position,
        world.statuses[-1].error,
    )


def test_R14_fold_of_the_handler_in_a_session_renews_it_once_in_a_while() -> None:
    world = running("a")
    world.advance(11.0)
    world.status(A, b"5", error=b"[2][3][4][5]", first=2)
    assert Reason.FOLD_IN_SESSION is world.ends[0]
    world.advance(3.0)
    assert ("CONNECTING", "a", b"5", b"[2][3][4][5]") == world.shape()[-1]
    world.status(A, b"9", error=b"[6][7][8][9]", first=6)
    world.advance(5.0)
    assert 1 == world.ends.count(Reason.FOLD_IN_SESSION)
    world.advance(6.0)
    assert 2 == world.ends.count(Reason.FOLD_IN_SESSION)
    world.advance(3.0)
    assert [] == world.handler.outbox


def test_R14_fold_waits_for_what_is_in_flight_before_it() -> None:
    world = running("a")
    world.advance(11.0)
    world.peer = None
    world.status(A, b"2")
    world.status(A, b"5", error=b"[3][4][5]", first=3)
    world.status(A, b"6")
    assert [] == world.ends
    world.hear(StatusResponse(world.session_id, 0, 2))
    assert [Reason.FOLD_IN_SESSION] == world.ends
    assert b"[3][4][5][6]" == world.endpoint.backlog.folds.get_error(A.identity)


def test_R14_renewal_waits_until_nothing_is_in_doubt() -> None:
    world = running("a", "b")
    world.advance(11.0)
    world.peer = None
    world.status(B, b"b2")
    world.status(A, b"5", error=b"[3][4][5]", first=3)
    world.status(B, b"b3")
    assert [] == world.ends
    world.advance(5.0)  # which must not spin
    assert b"b2" == world.statuses[-1].status
    world.hear(StatusResponse(world.session_id, 0, 3))
    assert [Reason.FOLD_IN_SESSION] == world.ends
    assert b"[b3]" == world.endpoint.backlog.folds.get_error(B.identity)


def test_fold_of_the_handler_replaces_what_it_covers() -> None:
    world = offline("a")
    world.status(A, b"2")
    world.status(A, b"3")
    world.status(A, b"4", error=b"[2][3][4]", first=2)
    assert b"[2][3][4]" == world.endpoint.backlog.folds.get_error(A.identity)


def test_R17_every_broker_connection_begins_a_new_session() -> None:
    world = running("a")
    old = world.session_id
    world.broker(is_up=False)
    world.broker(is_up=True)
    world.advance(0.5)
    assert old != world.session_id
    assert [old, world.session_id] == [each.session_id for each in world.connects]


def test_R17_superseded_lease_ends_the_client() -> None:
    world = running("a")
    world.handler.end_lease(epoch=76)
    world.settle()
    assert not world.is_superseded()
    world.handler.end_lease()
    world.settle()
    assert world.is_superseded()


def test_phases_tell_the_handler_when_it_may_compact() -> None:
    world = running("a")
    assert [1] == world.handler.phases
    world.hear(*peer_of(world).drop())
    assert [1, 0] == world.handler.phases


def test_new_lease_within_a_session_is_told_that_it_is_exposed() -> None:
    world = running("a")
    world.link_returns()
    assert [1, 1] == world.handler.phases
    assert world.is_up


def test_handler_restart_repeats_nothing_upstream() -> None:
    world = running("a")
    world.peer, peer = None, peer_of(world)
    world.status(A, b"in flight")
    world.lose(world.handler)
    world.handler.restart(2)
    world.start_handler(world.handler)
    world.status(A, b"after")
    assert [b"first a", b"in flight", b"after"] == [each.status for each in world.statuses]
    world.hear(StatusResponse(world.session_id, 0, 2), StatusResponse(world.session_id, 0, 3))
    assert [] == world.handler.outbox
    assert peer is not None


def test_devices_of_two_handlers_share_a_session() -> None:
    second = Handler(peer=2, store_id=22, modules=(OTHER_MODULE,))
    first = Handler()
    world = World(first, second, peer=ControlPlane(), modules=(MODULE, OTHER_MODULE), starts=False)
    other = device("x", module=OTHER_MODULE)
    first.status(A, b"a1")
    second.status(other, b"x1")
    world.start()
    world.advance(1.0)
    assert {A, other} == {each.device for each in world.statuses}
    second.status(other, b"x2")
    world.settle()
    assert ("RUNNING", "x", b"x2", None) == world.shape()[-1]
    assert [("a", 1)] == first.acks
    assert [("x", 1), ("x", 2)] == second.acks
    assert [] == peer_of(world).violations


def test_device_of_a_handler_that_comes_late_is_announced_in_the_running_session() -> None:
    world = running("a")
    late = Handler(peer=2, store_id=22)
    late.registered[B.identity] = (B, b"b now")
    world.handlers.append(late)
    world.start_handler(late)
    assert ("CONNECTING", "b", b"b now", None) == world.shape()[-1]


def test_large_backlog_is_folded_before_the_connect() -> None:
    world = World(peer=ControlPlane(), starts=False)
    world.handler.window = 50
    for number in range(500):
        world.handler.status(A, b"%d" % number)
    world.start()
    world.advance(1.0)
    assert 1 == len(world.statuses)
    assert [] == world.handler.outbox


@pytest.mark.parametrize("seconds", [0.0, 0.4, 3.0])
def test_gap_in_the_deliveries_is_mended_by_a_new_lease(seconds: float) -> None:
    world = running("a")
    world.handler.status(A, b"2")
    world.handler.said.clear()  # the bus lost it
    world.advance(seconds)
    world.status(A, b"3")
    assert [b"2", b"3"] == [each.status for each in world.statuses[1:]]
    assert [] == world.handler.outbox
    assert 1 == world.counted(Reason.SEQUENCE_GAP)


def test_peer_that_notifies_faster_than_a_step_times_out_is_reached_all_the_same() -> None:
    """The existing server repeats: notification, deaf for a while, listening for its timeout."""
    world = offline("a")
    world.advance(30.0)
    for _ in range(3):
        peer_of(world).is_deaf = True
        world.hear(None)
        world.advance(0.6)
        peer_of(world).is_deaf = False
        world.advance(1.9)
        if world.is_up:
            break
    assert world.is_up


# A control plane with the capability `listens`


def listening(*roles: str) -> World:
    """In a running session with one."""
    peer = ControlPlane()
    peer.listens = True
    world = World(peer=peer, starts=False)
    for role in roles:
        world.handler.status(device(role), b"first " + role.encode())
    world.start()
    world.advance(1.0)
    assert world.is_up
    return world


def first_status_after(world: World, at: float) -> float:
    """Seconds until the next status of another session than before `at` is sent."""
    return (
        next(when for when, each in world.published if isinstance(each, Status) and when > at) - at
    )


def test_listening_peer_that_came_back_has_the_first_status_at_once() -> None:
    world = listening("a")
    at = world.now
    world.hear(*peer_of(world).drop())
    world.advance(2.0)
    assert world.is_up
    assert [] == peer_of(world).violations
    assert 0.1 >= first_status_after(world, at)


def test_connect_that_no_listening_peer_heard_is_said_again_when_it_notifies() -> None:
    """The broker was there first; the control plane tells those that it knows."""
    world = listening("a")
    peer = peer_of(world)
    world.broker(is_up=False)
    peer.is_deaf = True
    world.broker(is_up=True)
    world.advance(0.3)
    peer.is_deaf = False
    at, attempts = world.now, len({each.session_id for each in world.connects})
    world.hear(None)
    world.advance(1.0)
    assert world.is_up
    assert attempts == len({each.session_id for each in world.connects})
    assert at in [when for when, each in world.published if isinstance(each, Status)]


def test_connect_that_no_listening_peer_heard_is_said_again_when_it_knows_nobody() -> None:
    world = listening("a")
    peer = peer_of(world)
    world.broker(is_up=False)
    peer.is_deaf = True
    world.broker(is_up=True)
    world.advance(2.0)
    peer.is_deaf = False
    at = world.now
    world.advance(1.0)
    assert world.is_up
    assert 0.4 >= first_status_after(world, at)


def test_listening_peer_that_is_away_for_long_gets_one_connect_per_attempt() -> None:
    world = listening("a")
    peer_of(world).is_deaf = True
    world.broker(is_up=False)
    world.broker(is_up=True)
    world.advance(120.0)
    said = [each.session_id for each in world.connects]
    assert 1 < said.count(said[1])
    assert 1 == said.count(said[-1])
    at = world.now
    peer_of(world).is_deaf = False
    world.hear(None)
    world.advance(1.0)
    assert 0.1 >= first_status_after(world, at - 0.001) - 0.001


def test_listening_peer_that_notifies_without_end_is_not_flooded() -> None:
    world = listening("a")
    peer = peer_of(world)
    peer.is_deaf = True
    before = len(world.connects)
    for _ in range(600):
        world.hear(None)
        world.advance(0.1)
    assert 60 > len(world.connects) - before


def test_notification_of_a_listening_peer_judges_no_device() -> None:
    world = listening("a", "b")
    peer = peer_of(world)
    peer.acknowledges = lambda status: status.device == A
    world.hear(*peer.drop())
    world.advance(0.2)
    world.hear(*peer.drop())
    peer.acknowledges = lambda _: True
    world.advance(3.0)
    assert [A, B] == sorted(world.connects[-1].devices, key=str)
    assert not len(world.endpoint.quarantine)


def test_existing_server_in_place_of_a_listening_one_is_treated_as_such() -> None:
    world = listening("a")
    peer_of(world).listens = False
    world.hear(*peer_of(world).drop())
    world.advance(1.0)
    assert world.is_up
    at = world.now
    world.hear(*peer_of(world).drop())
    world.advance(3.0)
    assert 1.0 <= first_status_after(world, at)
