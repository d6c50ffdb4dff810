"""What an operator has purged is not delivered by a client that was given it before."""

from __future__ import annotations

import pytest

from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Device
from tests.unit.external_client.world import (
    EPOCH,
    MODULE,
    ControlPlane,
    Handler,
    World,
    device,
    running,
)

A, B = device("a"), device("b")


def purge(world: World, *gone: int, epoch: int = EPOCH) -> None:
    """The handler forgets these entries and says so."""
    handler = world.handler
    handler.outbox = [each for each in handler.outbox if each.sequence not in gone]
    message = bus_pb2.Message()
    message.deliveries_voided.epoch = epoch
    handler.said.append(message)
    world.settle()


def world_of(*, replays: bool, peer: ControlPlane | None = None) -> World:
    rules = {"replay_modules": frozenset({MODULE})} if replays else {}
    return World(Handler(replays=replays), peer=peer, **rules)  # type: ignore[arg-type]


@pytest.mark.parametrize("replays", [False, True])
def test_what_was_folded_or_kept_in_an_outage_is_forgotten(replays: bool) -> None:
    world = world_of(replays=replays)
    for number in (1, 2, 3):
        world.handler.status(A, b"%d" % number)
    world.handler.status(B, b"b")
    world.settle()
    purge(world, 1, 2)
    world.peer = ControlPlane()
    world.advance(12.0)
    assert world.is_up
    assert [] == world.handler.outbox
    seen = [(each.device.identity.role, each.status, each.error) for each in world.statuses]
    error = None if replays else b"[3]"
    assert ("a", b"3", error) in seen
    assert not [each for each in seen if each[1] in {b"1", b"2"}]
    assert not world.peer.violations


@pytest.mark.parametrize("replays", [False, True])
def test_a_session_ends_and_what_is_left_goes_in_the_next(replays: bool) -> None:
    peer = ControlPlane()
    world = world_of(replays=replays, peer=peer)
    world.status(A, b"1")
    world.advance(12.0)
    assert world.is_up
    peer.acknowledges = lambda status: status.status != b"2"
    world.status(A, b"2")
    world.status(A, b"3")
    purge(world, 2)
    assert Reason.BUFFER_PURGED is world.ends[0]
    peer.acknowledges = lambda _status: True
    world.advance(15.0)
    assert world.is_up
    assert [] == world.handler.outbox
    assert b"3" == world.statuses[-1].status


def test_a_purge_of_another_life_changes_nothing() -> None:
    world = running("a")
    purge(world, epoch=EPOCH - 1)
    assert [] == world.ends
    assert 1 == world.counted(Reason.STALE_LEASE)


def test_the_registered_devices_stay_known() -> None:
    world = running("a")
    world.status(Device.of(MODULE, 0, "b"), b"b")
    purge(world)
    world.advance(12.0)
    assert {"a", "b"} == {each.identity.role for each in world.connects[-1].devices}
