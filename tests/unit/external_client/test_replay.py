"""Devices whose every entry is sent: contract R18 with R9, R11, R12, R14, R15, R16."""

from __future__ import annotations

import itertools

import pytest

from module_gateway.protocol.errors import Reason
from module_gateway.protocol.external import (
    Command,
    ConnectResponse,
    DeviceState,
    Position,
    Status,
    StatusResponse,
    Stretch,
)
from tests.unit.external_client.world import (
    MODULE,
    OTHER_MODULE,
    ControlPlane,
    Handler,
    World,
    device,
)

A, B = device("a"), device("b")
STORE = 11


def replaying(
    *,
    splits: bool = False,
    lane_window: int = 2_000,
    peer: ControlPlane | None = None,
    **rules: float,
) -> World:
    """A world whose module replays, with its control plane; nothing has happened yet."""
    peer = peer or ControlPlane()
    peer.splits = splits
    peer.applied = {} if splits else None
    handler = Handler(replays=True, window=lane_window)
    replays = frozenset({MODULE})
    return World(handler, peer=peer, starts=False, replay_modules=replays, **rules)  # type: ignore[arg-type]


def peer_of(world: World) -> ControlPlane:
    assert world.peer is not None
    return world.peer


def running(*roles: str, **more: object) -> World:
    """Its devices are announced in a running session."""
    world = replaying(**more)  # type: ignore[arg-type]
    for role in roles or ("a",):
        world.handler.status(device(role), b"first " + role.encode())
    world.start()
    world.advance(3.0)
    assert world.is_up
    assert [] == world.handler.outbox
    return world


def outage(world: World, *statuses: bytes, who: str = "a") -> None:
    """The broker is gone while a device reports."""
    world.broker(is_up=False)
    for status in statuses:
        world.status(device(who), status)
    world.advance(1.0)


def silenced(world: World) -> ControlPlane:
    """From now on the test speaks for the control plane."""
    peer, world.peer = peer_of(world), None
    return peer


def sent(world: World) -> list[tuple[str, str, bytes, bool, bool]]:
    """Statuses of the newest session: state, role, status, is_replayed, is_live."""
    last = world.connects[-1].session_id
    return [
        (
            DeviceState(each.state).name,
            each.device.identity.role,
            each.status,
            each.is_replayed,
            each.is_live,
        )
        for each in world.statuses
        if each.session_id == last
    ]


def of_session(world: World) -> list[Status]:
    last = world.connects[-1].session_id
    return [each for each in world.statuses if each.session_id == last]


# One order: towards every peer without the extension


def test_R18_after_an_outage_every_entry_is_sent_in_order_and_none_folded() -> None:
    world = running("a")
    outage(world, b"2", b"3", b"4")
    assert 0 == len(world.endpoint.backlog.folds)
    world.broker(is_up=True)
    world.advance(1.0)
    world.status(A, b"5")
    assert [
        ("CONNECTING", "a", b"2", True, False),
        ("RUNNING", "a", b"3", True, False),
        ("RUNNING", "a", b"4", True, False),
        ("RUNNING", "a", b"5", False, False),
    ] == sent(world)
    assert [2, 3, 4, 5] == [each.position.sequence for each in of_session(world) if each.position]
    assert not any(each.error for each in world.statuses)
    assert [] == world.handler.outbox
    assert [] == peer_of(world).violations


def test_R18_live_statuses_wait_their_turn_towards_a_plain_peer() -> None:
    world = running("a", lane_window=4)
    outage(world, *(b"%d" % number for number in range(2, 20)))
    peer = peer_of(world)
    peer.acknowledges = lambda status: status.state == DeviceState.CONNECTING
    world.broker(is_up=True)
    world.advance(1.0)
    world.status(A, b"live")
    peer.acknowledges = lambda _: True
    for status in of_session(world)[1:]:
        world.hear(StatusResponse(status.session_id, 0, status.counter))
    assert [b"%d" % number for number in range(2, 20)] + [b"live"] == [
        each.status for each in of_session(world)
    ]


def test_R18_waiting_entries_are_not_receipted_so_the_window_bounds_the_memory() -> None:
    world = running("a", lane_window=5)
    outage(world, *(b"%d" % number for number in range(500)))
    assert 5 == world.endpoint.backlog.replay.held == world.endpoint.backlog.waiting(A.identity)
    world.link_returns()
    world.link_returns()
    assert 5 == world.endpoint.backlog.replay.held == world.endpoint.backlog.waiting(A.identity)
    world.broker(is_up=True)
    world.advance(1.0)
    assert [b"%d" % number for number in range(500)] == [each[2] for each in sent(world)]
    assert 0 == world.endpoint.backlog.replay.held
    assert [] == world.handler.outbox


def test_R18_session_that_ends_puts_what_is_not_acknowledged_back_in_order() -> None:
    world = running("a")
    outage(world, b"2", b"3", b"4", b"5", b"6")
    peer = peer_of(world)
    peer.acknowledges = lambda status: status.status not in (b"3", b"5")
    world.broker(is_up=True)
    world.advance(1.0)
    assert [("a", 2)] == world.handler.acks[1:]
    peer.acknowledges = lambda _: True
    world.hear(*peer.drop())
    world.advance(3.0)
    assert [
        ("CONNECTING", "a", b"3", True, False),
        ("RUNNING", "a", b"5", True, False),
    ] == sent(world)
    assert [1, 2] == [each.counter for each in of_session(world)]
    assert [] == world.handler.outbox
    assert [] == world.endpoint.backlog.replay.folds()


def test_R11_connecting_of_a_replay_is_acknowledged_by_the_first_command() -> None:
    world = replaying()
    silenced(world)
    world.handler.status(A, b"1")
    world.handler.status(A, b"2")
    world.start()
    session = world.session_id
    world.hear(ConnectResponse(session, 0))
    world.hear(StatusResponse(session, 0, 1))
    assert [] == world.handler.acks
    world.hear(Command(session, 7, A, b""))
    assert [("a", 1)] == world.handler.acks
    world.advance(0.3)
    assert [("a", 1)] == world.handler.acks
    world.hear(StatusResponse(session, 0, 2))
    assert [("a", 1), ("a", 2)] == world.handler.acks


def test_R11_connecting_whose_session_fails_before_a_command_is_sent_again() -> None:
    world = replaying()
    silenced(world)
    world.handler.status(A, b"1")
    world.start()
    world.hear(ConnectResponse(world.session_id, 0), StatusResponse(world.session_id, 0, 1), None)
    world.advance(3.0)
    world.hear(ConnectResponse(world.session_id, 0))
    assert [("CONNECTING", "a", b"1", True, False)] == sent(world)
    assert [] == world.handler.acks


def test_R11_what_the_peer_has_applied_is_trimmed_before_anything_is_sent() -> None:
    world = running("a")
    outage(world, b"2", b"3", b"4")
    silenced(world)
    world.broker(is_up=True)
    applied = ((A.identity, Position(STORE, 3)),)
    world.hear(ConnectResponse(world.session_id, 0, applied))
    assert [("CONNECTING", "a", b"4", True, False)] == sent(world)
    assert [4] == [each.sequence for each in world.handler.outbox]


def test_R11_position_of_another_store_trims_nothing() -> None:
    world = running("a")
    outage(world, b"2")
    silenced(world)
    world.broker(is_up=True)
    world.hear(ConnectResponse(world.session_id, 0, ((A.identity, Position(STORE + 1, 9)),)))
    assert [("CONNECTING", "a", b"2", True, False)] == sent(world)
    assert [2] == [each.sequence for each in world.handler.outbox]


def test_R11_device_that_left_and_whose_end_is_applied_is_disconnected_after_the_sequence() -> None:
    world = running("a", "b")
    outage(world, b"2")
    world.handler.status(A, b"3", ends=True)
    world.settle()
    peer = peer_of(world)
    peer.applied = {A.identity: Position(STORE, 4)}
    world.broker(is_up=True)
    world.advance(1.0)
    assert [("CONNECTING", b"3"), ("DISCONNECT", b"3")] == [
        (state, status) for state, role, status, *_ in sent(world) if role == "a"
    ]
    assert all(each.position is None for each in of_session(world))
    assert [] == peer.violations


def test_R15_device_that_came_and_went_in_the_outage_is_replayed_whole() -> None:
    world = running("a")
    outage(world, b"b1", b"b2", who="b")
    world.leave(B)
    world.broker(is_up=True)
    world.advance(1.0)
    assert [
        ("CONNECTING", b"b1"),
        ("RUNNING", b"b2"),
        ("DISCONNECT", b"b2"),
    ] == [(state, status) for state, role, status, *_ in sent(world) if role == "b"]
    assert [] == world.handler.outbox
    assert [] == peer_of(world).violations


def test_R15_device_that_only_left_in_the_outage_needs_no_session() -> None:
    world = running("a")
    world.broker(is_up=False)
    world.leave(A)
    assert [] == world.handler.outbox
    world.broker(is_up=True)
    world.advance(60.0)
    assert 1 == len(world.connects)


def test_R12_end_within_a_replay_disconnects_and_the_next_registration_connects_again() -> None:
    world = running("a", "b")
    outage(world, b"2", b"3")
    world.leave(A)
    world.status(A, b"4")
    world.status(A, b"5", ends=True)
    world.status(A, b"6", ends=True)
    world.broker(is_up=True)
    world.advance(1.0)
    assert [
        ("CONNECTING", b"2"),
        ("RUNNING", b"3"),
        ("DISCONNECT", b"3"),
        ("CONNECTING", b"4"),
        ("DISCONNECT", b"5"),
        ("CONNECTING", b"6"),
        ("DISCONNECT", b"6"),
    ] == [(state, status) for state, role, status, *_ in sent(world) if role == "a"]
    assert [] == peer_of(world).violations
    assert [] == world.handler.outbox


def test_R9_markers_of_a_device_with_waiting_entries_are_dropped() -> None:
    world = running("a", window=2)
    silenced(world)
    for number in range(4):
        world.status(A, b"more %d" % number)
    before = len(world.statuses)
    world.heartbeat(A)
    assert before == len(world.statuses)
    assert world.handler.delivered == world.handler.receipts


def test_R9_heartbeat_of_an_idle_device_is_sent_and_carries_no_flags() -> None:
    world = running("a")
    world.heartbeat(A)
    assert ("RUNNING", "a", b"first a", False, False) == sent(world)[-1]
    assert world.statuses[-1].position is None


def test_R14_fold_of_the_handler_travels_in_a_connecting() -> None:
    world = running("a")
    world.broker(is_up=False)
    world.status(A, b"4", error=b"[2][3][4]", first=2)
    world.status(A, b"5")
    world.broker(is_up=True)
    world.advance(1.0)
    assert [("CONNECTING", "a", b"4", b"[2][3][4]"), ("RUNNING", "a", b"5", None)] == (
        world.shape()[-2:]
    )
    assert of_session(world)[0].is_replayed
    assert [] == world.handler.outbox


def test_R14_fold_behind_other_entries_renews_the_session() -> None:
    world = running("a")
    outage(world, b"2")
    world.status(A, b"5", error=b"[3][4][5]", first=3)
    world.status(A, b"6")
    world.broker(is_up=True)
    world.advance(1.0)
    assert [b"2"] == [each.status for each in of_session(world)]
    world.advance(15.0)
    assert Reason.FOLD_IN_SESSION in world.ends
    assert [("CONNECTING", "a", b"5", b"[3][4][5]"), ("RUNNING", "a", b"6", None)] == (
        world.shape()[-2:]
    )
    assert [] == world.handler.outbox


def test_R8_fold_of_the_handler_replaces_the_waiting_entries_that_it_covers() -> None:
    world = running("a")
    outage(world, b"2", b"3")
    world.handler.outbox.clear()
    world.status(A, b"4", error=b"[2][3][4]", first=2)
    assert 1 == world.endpoint.backlog.replay.held
    world.broker(is_up=True)
    world.advance(1.0)
    assert [("CONNECTING", "a", b"4", b"[2][3][4]")] == world.shape()[-1:]


def test_R16_unknown_device_with_a_backlog_holds_up_no_other() -> None:
    peer = ControlPlane()
    peer.knows = lambda identity: identity != A.identity
    world = replaying(peer=peer, lane_window=4)
    for number in range(20):
        world.handler.status(A, b"a%d" % number)
    world.handler.status(B, b"b1")
    world.start()
    world.advance(20.0)
    assert world.is_up
    for number in range(20):
        world.status(B, b"b%d" % (2 + number))
    assert [b"b%d" % (1 + number) for number in range(21)] == [
        each.status for each in peer.taken if each.position is not None
    ]
    assert 0 == world.endpoint.backlog.replay.held
    assert 1 == world.endpoint.backlog.waiting(A.identity)
    peer.knows = lambda identity: True
    world.advance(60.0)
    own = [each for each in peer.taken if each.device == A and each.position is not None]
    assert [b"a%d" % number for number in range(20)] == [each.status for each in own]
    assert [] == world.handler.outbox
    assert [] == peer.violations


def acknowledge(world: World, *counters: int) -> None:
    for counter in counters:
        world.hear(StatusResponse(world.session_id, 0, counter))


def acknowledge_everything(world: World) -> None:
    """One by one, as it comes."""
    while world.endpoint.session is not None and world.endpoint.session.sender.in_flight:
        acknowledge(world, next(iter(world.endpoint.session.sender._flights)))


def held_back(**more: object) -> World:
    """Nothing of device b fits into the lane, which a has filled in the outage."""
    world = running("a", "b", lane_window=50, **more)
    outage(world, *(b"a%d" % number for number in range(100)))
    world.status(B, b"b1")
    world.status(B, b"b2")
    world.advance(1.0)
    return world


def test_R18_current_status_does_not_overtake_what_the_handler_has_not_delivered() -> None:
    world = held_back()
    peer_of(world).acknowledges = lambda status: status.state == DeviceState.CONNECTING
    world.broker(is_up=True)
    world.advance(1.0)
    assert (A,) == world.connects[-1].devices
    acknowledge_everything(world)
    assert [
        ("CONNECTING", "b", b"b1", True, False),
        ("RUNNING", "b", b"b2", True, False),
    ] == [each for each in sent(world) if each[1] == "b"]
    assert [] == world.handler.outbox


def test_R18_idle_device_is_announced_when_the_backlog_is_through() -> None:
    world = running("a", "b", lane_window=50)
    outage(world, *(b"a%d" % number for number in range(100)))
    peer_of(world).acknowledges = lambda status: status.state == DeviceState.CONNECTING
    world.broker(is_up=True)
    world.advance(1.0)
    assert (A,) == world.connects[-1].devices
    acknowledge_everything(world)
    assert ("CONNECTING", "b", b"first b", False, False) in sent(world)
    assert [] == world.handler.outbox


def test_R18_nobody_is_held_back_from_a_peer_that_takes_two_streams() -> None:
    world = held_back(splits=True)
    peer_of(world).acknowledges = lambda status: status.state == DeviceState.CONNECTING
    world.broker(is_up=True)
    world.advance(1.0)
    acknowledge(world, 2, 3)
    assert ("CONNECTING", "b", b"b2", False, False) in sent(world)[:20]


def test_R16_nobody_is_held_back_when_the_peer_accepts_none_of_the_others() -> None:
    world = held_back()
    peer_of(world).knows = lambda identity: identity != A.identity
    world.broker(is_up=True)
    world.advance(30.0)
    assert world.is_up
    assert A.identity in world.endpoint.quarantine
    assert [b"b1", b"b2"] == [
        each.status for each in of_session(world) if each.device == B and each.position
    ]


def test_modules_without_replay_are_folded_beside_those_with_it() -> None:
    plain = Handler(peer=2, store_id=22, modules=(OTHER_MODULE,))
    other = device("x", module=OTHER_MODULE)
    world = World(
        Handler(replays=True),
        plain,
        peer=ControlPlane(),
        modules=(MODULE, OTHER_MODULE),
        starts=False,
        replay_modules=frozenset({MODULE}),  # type: ignore[arg-type]
    )
    for number in (b"1", b"2"):
        world.handler.status(A, number)
        plain.status(other, number)
    world.start()
    world.advance(1.0)
    assert {
        ("CONNECTING", "a", b"1", None),
        ("CONNECTING", "x", b"2", b"[1][2]"),
        ("RUNNING", "a", b"2", None),
    } == set(world.shape())
    assert [False, True] == sorted({each.is_replayed for each in world.statuses})
    assert not any(each.is_replayed for each in world.statuses if each.device == other)


def test_R18_unacknowledged_markers_do_not_fill_the_lane() -> None:
    world = running("a")
    for _ in range(3):
        peer_of(world).acknowledges = lambda status: status.state == DeviceState.CONNECTING
        world.heartbeat(A)
        peer_of(world).acknowledges = lambda _: True
        world.hear(*peer_of(world).drop())
        world.advance(3.0)
    assert world.handler.delivered == world.handler.receipts


# Two streams: towards a peer that says so


def test_R18_capability_is_announced_only_with_a_module_that_replays() -> None:
    assert ("applied", "replay") == running("a").connects[0].capabilities
    world = World(peer=ControlPlane(), starts=False)
    world.handler.status(A, b"1")
    world.start()
    assert ("applied",) == world.connects[0].capabilities


@pytest.mark.parametrize("splits", [False, True])
def test_R18_handler_is_told_whether_live_entries_go_their_own_way(splits: bool) -> None:
    world = running("a", splits=splits)
    assert splits == (world.handler.cut is not None)
    world.link_returns()
    assert splits == (world.handler.cut is not None)


def split_in_a_backlog(**more: object) -> World:
    """A session that splits, and a peer that acknowledges none but CONNECTING."""
    world = running("a", "b", splits=True, **more)
    outage(world, *(b"old %d" % number for number in range(30)))
    peer_of(world).acknowledges = lambda status: status.state == DeviceState.CONNECTING
    world.broker(is_up=True)
    world.advance(1.0)
    assert world.is_up
    return world


def test_R18_connecting_carries_the_oldest_entry_before_live_ones_too() -> None:
    world = split_in_a_backlog()
    assert ("CONNECTING", "a", b"old 0", True, False) in sent(world)


def test_R18_live_goes_next_while_replay_fills_the_window() -> None:
    world = split_in_a_backlog()
    world.status(A, b"live")
    counters = [each.counter for each in of_session(world)]
    assert not any(each.is_live for each in of_session(world))
    acknowledge(world, counters[2], counters[3])
    assert ("RUNNING", "a", b"live", False, True) in sent(world)[-2:]


def test_R18_replay_and_live_alternate_while_both_wait() -> None:
    world = split_in_a_backlog()
    world.status(A, b"live 0")
    for number in range(1, 12):
        world.status(A, b"live %d" % number)
    while len(of_session(world)) < 40:
        flights = world.endpoint.session.sender._flights  # type: ignore[union-attr]
        acknowledge(world, next(iter(flights)))
    first = next(at for at, each in enumerate(of_session(world)) if each.is_live)
    kinds = [each.is_live for each in of_session(world)[first:]]
    assert 10 < len(kinds)
    assert all(one != two for one, two in itertools.pairwise(kinds))


def test_R18_live_never_waits_more_than_a_second_while_a_long_backlog_is_replayed() -> None:
    """Over a satellite link: every answer takes 0.6 s."""
    world = split_in_a_backlog()
    outage(world, *(b"old %d" % number for number in range(30, 1_000)))
    silenced(world).acknowledges = lambda _: True
    peer, answers = ControlPlane(), []
    peer.splits, peer.applied = True, {}
    heard, made = 0, {}
    world.broker(is_up=True)
    for step in range(600):
        world.advance(0.05)
        for message in [each for _, each in world.published[heard:]]:
            heard += 1
            answers += [(world.now + 0.6, each) for each in peer.receive(message)]
        while answers and answers[0][0] <= world.now:
            world.hear(answers.pop(0)[1])
        if world.is_up and step % 4 == 0:
            status = b"live %d" % step
            made[status] = world.now
            world.status(A, status)
    sent_at = {each.status: at for at, each in world.published if isinstance(each, Status)}
    waits = [sent_at[status] - at for status, at in made.items() if status in sent_at]
    assert 80 < len(waits)
    assert len(made) - len(waits) < 5
    assert max(waits) <= 1.0
    assert [] == peer.violations
    assert b"old 900" not in sent_at  # the backlog is not through


def test_R18_live_is_acknowledged_as_a_stretch_and_replay_as_a_prefix() -> None:
    world = split_in_a_backlog()
    cut = world.handler.cut
    assert cut is not None
    peer_of(world).acknowledges = lambda _: True
    silenced(world)
    world.status(A, b"live 1")
    world.status(A, b"live 2")
    for counter in range(3, 30):
        acknowledge(world, counter)
    assert ("a", cut + 1, cut + 1) == world.handler.stretches[0]
    assert ("a", cut + 1, cut + 2) == world.handler.stretches[-1]
    assert {"a"} == {role for role, *_ in world.handler.stretches}
    assert cut > max(
        sequence for role, sequence in world.handler.acks if role == "a" and sequence <= cut
    )
    assert [] != world.handler.outbox


def test_R18_live_status_waits_for_the_connecting_of_its_device() -> None:
    world = running("a", splits=True)
    silenced(world)
    world.status(B, b"b1")
    world.status(B, b"b2")
    assert ("CONNECTING", "b", b"b1", False, True) == sent(world)[-1]
    acknowledge(world, 2)
    assert ("RUNNING", "b", b"b2", False, True) == sent(world)[-1]


def test_R18_device_that_leaves_live_is_replayed_to_the_end_and_then_disconnected() -> None:
    world = split_in_a_backlog()
    world.status(A, b"last", ends=True)
    acknowledge_everything(world)
    own = [each for each in sent(world) if each[1] == "a"]
    at = own.index(("DISCONNECT", "a", b"last", False, True))
    assert [f"old {number}".encode() for number in range(30)] == [
        status for *_, status, is_replayed, _ in own if is_replayed
    ]
    assert ("CONNECTING", True) == (own[at + 1][0], own[at + 1][3])
    assert ("DISCONNECT", "a", b"old 29", False, False) == own[-1]
    assert [] == peer_of(world).violations
    assert [] == world.handler.outbox


def test_R18_replayed_end_does_not_disconnect_a_device_that_reports_live() -> None:
    world = running("a", "b", splits=True)
    outage(world, b"2", b"3")
    world.leave(A)
    world.status(A, b"4")
    peer_of(world).acknowledges = lambda status: status.state == DeviceState.CONNECTING
    world.broker(is_up=True)
    world.advance(0.1)
    world.status(A, b"live")
    world.advance(0.3)
    peer_of(world).acknowledges = lambda _: True
    for counter in range(3, 12):
        acknowledge(world, counter)
    assert [b"2", b"3", b"3", b"4"] == [each[2] for each in sent(world) if each[3]]
    assert "DISCONNECT" not in {each[0] for each in sent(world)}
    assert [] == peer_of(world).violations
    assert [] == world.handler.outbox


def test_R18_replayed_end_of_a_device_that_is_registered_is_followed_by_an_invitation() -> None:
    """Its live entries went up in the session before; none has come in this one."""
    world = running("a", "b", splits=True, window=1)
    outage(world, b"2", b"3")
    world.leave(A)
    world.status(A, b"4")
    silenced(world)
    world.broker(is_up=True)
    live = ((A.identity, Stretch(STORE, 6, 6)),)
    world.hear(ConnectResponse(world.session_id, 0, (), live, ("replay",)))
    for status in of_session(world):
        world.hear(StatusResponse(world.session_id, 0, status.counter))
    for number, who in enumerate((A, B)):
        world.hear(Command(world.session_id, number, who, b""))
    world.advance(0.3)
    acknowledge_everything(world)
    assert [
        ("CONNECTING", b"2", True),
        ("RUNNING", b"3", True),
        ("DISCONNECT", b"3", True),
        ("CONNECTING", b"4", False),
    ] == [(state, text, is_old) for state, role, text, is_old, _ in sent(world) if role == "a"]
    assert [] == world.handler.outbox


def test_R18_applied_stretches_are_dropped_and_acknowledged_to_the_handler() -> None:
    world = running("a", splits=True)
    outage(world, b"2", b"3", b"4", b"5")
    silenced(world)
    world.broker(is_up=True)
    live = ((A.identity, Stretch(STORE, 3, 4)),)
    world.hear(ConnectResponse(world.session_id, 0, (), live, ("replay",)))
    assert ("a", 3, 4) == world.handler.stretches[0]
    assert [2, 5] == [each.sequence for each in world.handler.outbox]
    world.hear(StatusResponse(world.session_id, 0, 1), Command(world.session_id, 9, A, b""))
    world.advance(0.3)
    assert [b"2", b"5"] == [each.status for each in of_session(world)]


def test_R18_entries_of_an_applied_stretch_that_come_later_are_dropped_too() -> None:
    world = running("a", splits=True)
    outage(world, b"2", b"3", b"4", b"5")
    silenced(world)
    world.handler.told = lambda _: None  # type: ignore[method-assign]  # the bus loses it all
    world.broker(is_up=True)
    world.advance(1.1)
    live = ((A.identity, Stretch(STORE, 4, 5)),)
    world.hear(ConnectResponse(world.session_id, 0, (), live, ("replay",)))
    del world.handler.told
    world.link_returns()
    assert [2, 3] == [each.sequence for each in world.handler.outbox]
    assert world.endpoint.session is not None


def test_R18_end_of_a_split_forgets_what_waits_and_leases_again() -> None:
    world = split_in_a_backlog()
    world.status(A, b"live")
    before = world.handler.leases
    held = world.endpoint.backlog.replay.held
    assert held > 0
    world.broker(is_up=False)
    assert before + 1 == world.handler.leases
    assert world.handler.cut is None
    assert [0, 1] == sorted(set(world.handler.phases))
    peer_of(world).acknowledges = lambda _: True
    world.broker(is_up=True)
    world.advance(1.0)
    assert [] == world.handler.outbox
    taken = [each.status for each in peer_of(world).taken if each.position and each.device == A]
    expected = [b"first a", *(b"old %d" % number for number in range(30)), b"live"]
    assert sorted(expected) == sorted(taken)


def test_R18_handler_that_begins_anew_ends_a_session_with_live_entries() -> None:
    world = running("a", splits=True)
    world.status(A, b"live 1")
    world.advance(11.0)
    world.lose(world.handler)
    world.handler.restart(2)
    world.start_handler(world.handler)
    assert Reason.SEQUENCE_GAP == world.ends[0]
    world.status(A, b"live 2")
    world.advance(3.0)
    assert world.is_up
    assert [] == world.handler.outbox
    assert [b"first a", b"live 1", b"live 2"] == [
        each.status for each in peer_of(world).taken if each.position
    ]


def test_R18_new_lease_before_any_live_entry_costs_no_session() -> None:
    world = running("a", splits=True)
    world.link_returns()
    world.status(A, b"2")
    assert world.is_up
    assert [] == world.ends
    assert ("RUNNING", "a", b"2", False, True) == sent(world)[-1]
