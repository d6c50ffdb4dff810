"""What the control plane knows of its vehicles at this moment, without their histories. Pure.

Every store keeps one: it judges what a change does to vehicles, devices, positions and commands,
and says which of them it has touched and which statuses are to be kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, assert_never

from module_gateway.control_plane.events import (
    Change,
    CommandFinished,
    CommandSent,
    CommandState,
    DeviceLeft,
    SessionEnded,
    SessionReady,
    SessionStarted,
    StatusApplied,
    StatusRepeated,
)
from module_gateway.control_plane.positions import AppliedPositions
from module_gateway.control_plane.records import (
    CommandRecord,
    DeviceRecord,
    SessionRecord,
    StatusRecord,
    VehicleName,
    VehicleRecord,
)
from module_gateway.control_plane.store import StoreFullError, StoreLimits
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Device, Identity


@dataclass(slots=True)
class Touched:
    """What a batch of changes has touched, in the order of the first touch."""

    devices: dict[Identity, None] = field(default_factory=dict)
    positions: dict[Identity, None] = field(default_factory=dict)
    commands: dict[str, None] = field(default_factory=dict)
    statuses: list[tuple[Identity, StatusRecord]] = field(default_factory=list)
    sessions: dict[int, SessionRecord] = field(default_factory=dict)
    """By their numbers, as they are afterwards."""


@dataclass(slots=True)
class KnownVehicle:
    """One vehicle. `session` is the running one, or the last."""

    record: VehicleRecord
    devices: dict[Identity, DeviceRecord] = field(default_factory=dict)
    positions: AppliedPositions = field(default_factory=AppliedPositions)
    connected: int = 0
    session: SessionRecord | None = None


class Fleet:
    """All vehicles and commands. Bounds are judged here, in one place for every store."""

    def __init__(self, limits: StoreLimits) -> None:
        self._limits = limits
        self.vehicles: dict[VehicleName, KnownVehicle] = {}
        self.commands: dict[str, CommandRecord] = {}
        self._waiting: dict[tuple[VehicleName, Identity], int] = {}
        self.devices = 0

    # ---- restoring ----------------------------------------------------------------------------

    def restore_vehicle(
        self,
        record: VehicleRecord,
        devices: Iterable[DeviceRecord],
        positions: AppliedPositions,
        session: SessionRecord | None,
    ) -> None:
        """Take over what a database holds of one vehicle."""
        known = KnownVehicle(record, {each.identity: each for each in devices}, positions)
        known.connected = sum(each.is_connected for each in known.devices.values())
        known.session = session
        self.vehicles[record.name] = known
        self.devices += len(known.devices)

    def restore_command(self, record: CommandRecord) -> None:
        """Take over what a database holds of one command."""
        self.commands[record.command_id] = record
        if record.state is CommandState.WAITING:
            key = (record.vehicle, record.identity)
            self._waiting[key] = self._waiting.get(key, 0) + 1

    # ---- asking -------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many unknown devices may still be remembered."""
        return max(0, self._limits.devices - self.devices)

    def vehicle(self, name: VehicleName) -> VehicleRecord | None:
        """One vehicle, with its devices counted."""
        known = self.vehicles.get(name)
        if known is None:
            return None
        return replace(known.record, devices=len(known.devices), devices_connected=known.connected)

    def all_vehicles(self) -> list[VehicleRecord]:
        """All of them by name."""
        found = (self.vehicle(name) for name in sorted(self.vehicles))
        return [record for record in found if record is not None]

    def devices_of(self, name: VehicleName) -> list[DeviceRecord]:
        """All devices of a vehicle by identity."""
        known = self.vehicles.get(name)
        return [] if known is None else [known.devices[key] for key in sorted(known.devices)]

    def device(self, name: VehicleName, identity: Identity) -> DeviceRecord | None:
        """One device."""
        known = self.vehicles.get(name)
        return None if known is None else known.devices.get(identity)

    def commands_of(
        self, name: VehicleName, identity: Identity | None, limit: int
    ) -> list[CommandRecord]:
        """The newest of a vehicle, or of one device of it, newest first."""
        found = (
            record
            for record in reversed(self.commands.values())
            if record.vehicle == name and (identity is None or record.identity == identity)
        )
        return list(islice(found, limit))

    def open_commands(self, name: VehicleName) -> list[CommandRecord]:
        """Those of a vehicle without an outcome, oldest first."""
        found = self.commands.values()
        return [each for each in found if each.vehicle == name and not each.state.is_final]

    # ---- changing -----------------------------------------------------------------------------

    def open_vehicle(self, name: VehicleName, at_unix_ms: int) -> bool:
        """Remember a vehicle; whether it is new.

        Raises:
            StoreFullError: there is no room for another one.
        """
        if name in self.vehicles:
            return False
        if len(self.vehicles) >= self._limits.vehicles:
            raise StoreFullError(f"{len(self.vehicles)} vehicles are known already")
        self.vehicles[name] = KnownVehicle(VehicleRecord(name, at_unix_ms, at_unix_ms))
        return True

    def add_command(self, record: CommandRecord) -> CommandRecord | None:
        """Remember a command that was posted; returns the one that it drives out.

        Raises:
            StoreFullError: too many commands wait for this device, or in all.
        """
        key = (record.vehicle, record.identity)
        waiting = self._waiting.get(key, 0)
        if waiting >= self._limits.commands_waiting:
            raise StoreFullError(f"{waiting} commands wait for this device already")
        driven_out = None
        if len(self.commands) >= self._limits.commands_kept:
            finished = (old for old in self.commands.values() if old.state.is_final)
            driven_out = next(finished, None)
            if driven_out is None:
                raise StoreFullError(f"{len(self.commands)} commands are under way already")
            del self.commands[driven_out.command_id]
        self._waiting[key] = waiting + 1
        self.commands[record.command_id] = record
        return driven_out

    def apply(self, name: VehicleName, changes: Sequence[Change], at_unix_ms: int) -> Touched:
        """Let all changes happen, in their order; what they have touched."""
        known, touched = self.vehicles[name], Touched()
        for change in changes:
            self._apply(known, change, at_unix_ms, touched)
        known.record = replace(known.record, last_seen_unix_ms=at_unix_ms)
        return touched

    def _apply(
        self, known: KnownVehicle, change: Change, at_unix_ms: int, touched: Touched
    ) -> None:
        match change:
            case SessionStarted(session_id, devices):
                self._start_session(known, session_id, devices, at_unix_ms, touched)
            case SessionReady(session_id):
                known.record = replace(known.record, is_ready=True)
                self._note(known, session_id, touched, ready_unix_ms=at_unix_ms)
            case SessionEnded(session_id, reason):
                self._end_session(known, session_id, reason, at_unix_ms, touched)
            case StatusApplied():
                self._apply_status(known, change, at_unix_ms, touched)
            case StatusRepeated(device, position, is_connected, live_from):
                record = self._device(known, device, at_unix_ms)
                changed = replace(
                    record,
                    last_seen_unix_ms=at_unix_ms,
                    is_connected=is_connected,
                    repeats=record.repeats + 1,
                )
                self._put(known, changed, touched)
                known.positions.advance(device.identity, position, live_from)
                touched.positions[device.identity] = None
            case DeviceLeft(identity):
                if identity in known.devices:
                    left = replace(known.devices[identity], is_connected=False)
                    self._put(known, left, touched)
            case CommandSent(command_id, counter):
                self._change_command(command_id, CommandState.SENT, at_unix_ms, counter, None)
                touched.commands[command_id] = None
            case CommandFinished(command_id, outcome, response):
                self._change_command(command_id, outcome, at_unix_ms, None, response)
                touched.commands[command_id] = None
            case _:
                assert_never(change)

    def _start_session(
        self,
        known: KnownVehicle,
        session_id: str,
        devices: tuple[Device, ...],
        at_unix_ms: int,
        touched: Touched,
    ) -> None:
        for device in devices:
            self._put(known, self._device(known, device, at_unix_ms), touched)
        number = known.record.sessions + 1
        known.record = replace(
            known.record, session_id=session_id, is_ready=False, sessions=number, end_reason=""
        )
        known.session = SessionRecord(number, session_id, at_unix_ms, len(devices))
        touched.sessions[number] = known.session

    def _end_session(
        self,
        known: KnownVehicle,
        session_id: str,
        reason: Reason,
        at_unix_ms: int,
        touched: Touched,
    ) -> None:
        for record in [each for each in known.devices.values() if each.is_connected]:
            self._put(known, replace(record, is_connected=False), touched)
        known.record = replace(
            known.record, session_id=None, is_ready=False, end_reason=str(reason)
        )
        self._note(known, session_id, touched, ended_unix_ms=at_unix_ms, end_reason=str(reason))

    def _apply_status(
        self, known: KnownVehicle, change: StatusApplied, at_unix_ms: int, touched: Touched
    ) -> None:
        identity = change.device.identity
        record = self._device(known, change.device, at_unix_ms)
        number = record.statuses + 1
        status = StatusRecord(
            number,
            at_unix_ms,
            change.state,
            change.status,
            change.error,
            change.time_unix_ms,
            change.position,
            change.is_replayed,
        )
        last_status, last_error = record.last_status, record.last_error
        is_current = not status.is_replayed or not (
            (last_status is not None and status.is_older_than(last_status))
            or (status.position and not known.positions.is_newest(identity, status.position))
        )
        is_last_error = status.error is not None and not (
            status.is_replayed and last_error is not None and status.is_older_than(last_error)
        )
        changed = replace(
            record,
            last_seen_unix_ms=at_unix_ms,
            is_connected=change.is_connected,
            last_status=status if is_current else last_status,
            last_error=status if is_last_error else last_error,
            statuses=number,
            replayed=record.replayed + status.is_replayed,
        )
        self._put(known, changed, touched)
        if status.position is not None:
            known.positions.advance(identity, status.position, change.live_from)
            touched.positions[identity] = None
        touched.statuses.append((identity, status))
        session = known.session
        if session is not None:
            self._note(
                known,
                change.session_id,
                touched,
                statuses=session.statuses + 1,
                replayed=session.replayed + change.is_replayed,
                folds=session.folds + (change.error is not None),
            )

    def _note(self, known: KnownVehicle, session_id: str, touched: Touched, **news: Any) -> None:  # noqa: ANN401
        """Fields of the session's record; one that is not the running one is left as it is."""
        session = known.session
        if session is not None and session.session_id == session_id:
            known.session = replace(session, **news)
            touched.sessions[session.number] = known.session

    def _device(self, known: KnownVehicle, device: Device, at_unix_ms: int) -> DeviceRecord:
        """What is known of it, under its present name."""
        record = known.devices.get(device.identity)
        if record is None:
            return DeviceRecord(device, at_unix_ms, at_unix_ms)
        return record if record.device == device else replace(record, device=device)

    def _put(self, known: KnownVehicle, record: DeviceRecord, touched: Touched) -> None:
        identity = record.identity
        before = known.devices.get(identity)
        if before is None:
            self.devices += 1
        known.connected += record.is_connected - (before is not None and before.is_connected)
        known.devices[identity] = record
        touched.devices[identity] = None

    def _change_command(
        self,
        command_id: str,
        state: CommandState,
        at_unix_ms: int,
        counter: int | None,
        response: int | None,
    ) -> None:
        record = self.commands.get(command_id)
        if record is None:
            return
        if record.state is CommandState.WAITING:
            key = (record.vehicle, record.identity)
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
        self.commands[command_id] = replace(
            record,
            state=state,
            changed_unix_ms=at_unix_ms,
            counter=record.counter if counter is None else counter,
            response=record.response if response is None else response,
        )
