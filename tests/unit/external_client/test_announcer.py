"""Who is announced while a session runs (contract R12, R14, R15, R16)."""

from __future__ import annotations

from module_gateway.external_client.announcer import MAX_PROBES, Announcer
from module_gateway.external_client.session import Session
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.external import DeviceState
from tests.unit.external_client.world import MODULE, World, device, running

A, B = device("a"), device("b")


def announcer(world: World) -> tuple[Announcer, Session]:
    session = world.endpoint.session
    assert session is not None
    return world.endpoint._announcer, session


def test_announced_waiting_and_unheard_devices_are_not_invited() -> None:
    world = running("a")
    asks, session = announcer(world)
    assert [] == asks.invite(session, A.identity, world.now)
    assert [] == asks.invite(session, B.identity, world.now)


def test_registered_device_is_invited_with_its_current_status() -> None:
    world = running("a")
    asks, session = announcer(world)
    world.endpoint.roster.replace(1, ((A, b"now"), (B, b"b now")), world.now)
    (publish,) = asks.invite_missing(session, world.now)
    status = publish.message  # type: ignore[union-attr]
    assert (DeviceState.CONNECTING, b"b now") == (status.state, status.status)  # type: ignore[union-attr]


def test_R16_only_a_few_quarantined_devices_are_tried_at_once() -> None:
    world = running("a")
    asks, session = announcer(world)
    others = [device(f"q{number}") for number in range(MAX_PROBES + 2)]
    world.endpoint.roster.replace(1, tuple((each, b"q") for each in (A, *others)), world.now)
    for each in others:
        world.endpoint.quarantine.confine(each.identity, world.now - 100.0)
    assert MAX_PROBES == len(asks.probe(session, world.now))
    assert MAX_PROBES == session.sender.probes


def test_quarantine_of_a_device_without_news_is_over() -> None:
    world = running("a")
    asks, _ = announcer(world)
    world.endpoint.quarantine.confine(B.identity, world.now - 100.0)
    replay = world.endpoint.backlog.replay
    replay._modules = frozenset({MODULE})
    replay.park(B.identity)
    assert [] == asks.probe(None, world.now)
    assert 0 == len(world.endpoint.quarantine)
    assert not replay._lines[B.identity].is_parked


def test_R15_gone_device_is_disconnected_once() -> None:
    world = running("a", "b")
    asks, session = announcer(world)
    (publish,) = asks.say_gone(session, B.identity, world.now)
    assert DeviceState.DISCONNECT == publish.message.state  # type: ignore[union-attr]
    assert [] == asks.say_gone(session, B.identity, world.now)


def test_R14_fold_of_an_announced_device_needs_a_new_session() -> None:
    world = running("a")
    asks, session = announcer(world)
    assert not asks.has_new_fold(session)
    world.status(A, b"5", error=b"[4][5]", first=4)
    assert asks.has_new_fold(session)


def fold_of_b(world: World, indivisible: int | None) -> None:
    """Its entries 2 to 4, made by the handler while a session without it runs."""
    world.handler.next_sequence = 4
    world.status(B, b"4", error=b"[2][3][4]", first=2, indivisible=indivisible)
    world.advance(1.0)


def sessions_with(world: World, role: str) -> list[tuple[int, str, bytes | None]]:
    """Number of the session, state and error of each status of this device."""
    ids = [each.session_id for each in world.connects]
    return [
        (ids.index(each.session_id), DeviceState(each.state).name, each.error)
        for each in world.statuses
        if each.device.identity.role == role
    ]


def test_R11_fold_for_a_new_client_travels_only_behind_a_connect_that_lists_its_device() -> None:
    world = running("a")
    fold_of_b(world, indivisible=0)
    world.advance(10.0)
    assert Reason.FOLD_IN_SESSION is world.ends[0]
    assert {A.identity, B.identity} == {each.identity for each in world.connects[-1].devices}
    last = len(world.connects) - 1
    assert [(last, "CONNECTING", b"[2][3][4]")] == sessions_with(world, "b")
    assert world.is_up


def test_fold_that_nobody_can_split_joins_the_running_session() -> None:
    world = running("a")
    fold_of_b(world, indivisible=None)
    assert [] == world.ends
    assert [(0, "CONNECTING", b"[2][3][4]")] == sessions_with(world, "b")


def test_R16_fold_of_a_quarantined_device_ends_no_session() -> None:
    world = running("a")
    world.endpoint.quarantine.confine(B.identity, world.now)
    fold_of_b(world, indivisible=0)
    assert [] == world.ends
    world.advance(40.0)
    assert [(0, "CONNECTING", b"[2][3][4]")] == sessions_with(world, "b")
