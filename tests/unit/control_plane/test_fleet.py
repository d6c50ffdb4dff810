from __future__ import annotations

import pytest

from module_gateway.control_plane.events import (
    CommandFinished,
    CommandState,
    DeviceLeft,
    SessionEnded,
    SessionStarted,
    StatusApplied,
)
from module_gateway.control_plane.fleet import Fleet
from module_gateway.control_plane.positions import AppliedPositions
from module_gateway.control_plane.records import CommandRecord, VehicleName
from module_gateway.control_plane.store import StoreFullError, StoreLimits
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.external import Position, Stretch
from module_gateway.protocol.identity import Device
from tests.control_plane_script import BUTTON, LAMP, SESSION

VAN = VehicleName("acme", "van")


def status(
    number: int, device: Device = BUTTON, *, is_replayed: bool = False, live_from: int = 0
) -> StatusApplied:
    return StatusApplied(
        SESSION, device, 1, b"%d" % number, None, Position(9, number), 0, is_replayed, True,
        live_from,
    )  # fmt: skip


def command(command_id: str) -> CommandRecord:
    return CommandRecord(command_id, VAN, BUTTON.identity, b"go", CommandState.WAITING, 1, 1, 9)


def fleet(**limits: int) -> Fleet:
    made = Fleet(StoreLimits(**limits))
    made.open_vehicle(VAN, 1)
    return made


def test_only_what_a_batch_touches_is_named() -> None:
    it = fleet()
    it.apply(VAN, [SessionStarted(SESSION, (BUTTON, LAMP))], 1)
    touched = it.apply(VAN, [status(1), status(2)], 2)

    assert list(touched.devices) == list(touched.positions) == [BUTTON.identity]
    assert [record.number for _, record in touched.statuses] == [1, 2]
    assert [record.statuses for record in touched.sessions.values()] == [2]
    assert not touched.commands


def test_the_end_of_a_session_touches_only_who_was_connected() -> None:
    it = fleet()
    it.apply(VAN, [SessionStarted(SESSION, (BUTTON, LAMP)), status(1, LAMP)], 1)
    touched = it.apply(VAN, [SessionEnded(SESSION, Reason.SHUTDOWN)], 2)

    assert list(touched.devices) == [LAMP.identity]
    vehicle = it.vehicle(VAN)
    assert vehicle is not None
    assert (vehicle.devices, vehicle.devices_connected) == (2, 0)


def test_connected_devices_are_counted_whatever_happens_to_them() -> None:
    it = fleet()
    it.apply(VAN, [status(1), status(2), status(3, LAMP)], 1)
    it.apply(VAN, [DeviceLeft(LAMP.identity), DeviceLeft(LAMP.identity)], 2)
    vehicle = it.vehicle(VAN)
    assert vehicle is not None
    assert vehicle.devices_connected == 1


def test_a_status_of_another_session_counts_for_none() -> None:
    it = fleet()
    it.apply(VAN, [SessionStarted("other", ())], 1)
    assert it.apply(VAN, [status(1)], 2).sessions == {}


def test_what_was_restored_goes_on() -> None:
    first = fleet(commands_waiting=1)
    first.apply(VAN, [SessionStarted(SESSION, (LAMP,)), status(1)], 1)
    first.add_command(command("c1"))
    known = first.vehicles[VAN]
    second = Fleet(StoreLimits(commands_waiting=1))
    second.restore_vehicle(known.record, known.devices.values(), AppliedPositions(), known.session)
    second.restore_command(first.commands["c1"])

    assert second.vehicle(VAN) == first.vehicle(VAN)
    assert second.room == first.room
    with pytest.raises(StoreFullError):
        second.add_command(command("c2"))
    touched = second.apply(VAN, [status(2), CommandFinished("c1", CommandState.EXPIRED)], 2)
    assert [record.statuses for record in touched.sessions.values()] == [2]
    assert second.add_command(command("c2")) is None


def test_R11_positions_advance_with_the_statuses() -> None:
    it = fleet()
    it.apply(VAN, [status(5)], 1)
    assert it.vehicles[VAN].positions.of(BUTTON.identity) == (Position(9, 5),)


def test_R18_live_statuses_are_a_stretch_of_their_own() -> None:
    it = fleet()
    it.apply(VAN, [status(8, live_from=8)], 1)
    positions = it.vehicles[VAN].positions
    assert positions.live_of_all([BUTTON.identity]) == ((BUTTON.identity, Stretch(9, 8, 8)),)


def test_R18_a_replayed_status_is_not_current_while_a_newer_one_is_known() -> None:
    it = fleet()
    it.apply(VAN, [status(8, live_from=8), status(2, is_replayed=True)], 1)
    device = it.device(VAN, BUTTON.identity)
    assert device is not None
    assert device.last_status is not None
    assert device.last_status.status == b"8"
