"""What the control plane remembers: the port, and the first cut of it, in memory.

Everything that follows from one batch of events is committed together, the applied positions
with the data that they stand for (contract R11); what acknowledges it leaves afterwards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Final, Protocol, assert_never

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
    StatusRecord,
    VehicleName,
    VehicleRecord,
)
from module_gateway.protocol.errors import Reason, StoreError
from module_gateway.protocol.identity import Device, Identity

COMMANDS_KEPT: Final = 10_000
"""Posted commands remembered, of all vehicles; the oldest finished ones are forgotten first."""


_number = attrgetter("number")


class StoreFullError(StoreError):
    """A bound is reached: nothing was stored."""


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """Bounds (settings: control-plane-settings)."""

    vehicles: int = 1_000
    devices: int = 20_000
    history_statuses: int = 1_000
    history_bytes: int = 1024 * 1024
    history_total_bytes: int = 256 * 1024 * 1024
    commands_waiting: int = 20
    commands_kept: int = COMMANDS_KEPT


class Store(Protocol):
    """Where vehicles, devices, statuses and commands are kept.

    Readers get immutable records. Each method may raise StoreError: then nothing has changed, or
    nobody knows, and the caller loads again what it relies on.
    """

    async def open_vehicle(self, name: VehicleName, at_unix_ms: int) -> AppliedPositions:
        """Remember the vehicle and give what was applied of its devices.

        Raises:
            StoreFullError: there is no room for another vehicle.
        """

    async def commit(self, name: VehicleName, changes: Sequence[Change], at_unix_ms: int) -> None:
        """Apply all changes, in their order, or none. Returns when they are kept."""

    async def add_command(self, record: CommandRecord) -> None:
        """Keep a command that was posted.

        Raises:
            StoreFullError: too many commands wait for this device, or in all.
        """

    async def room(self) -> int:
        """How many unknown devices may still be remembered."""

    async def vehicles(self) -> list[VehicleRecord]:
        """All vehicles by name."""

    async def vehicle(self, name: VehicleName) -> VehicleRecord | None:
        """One vehicle."""

    async def devices(self, name: VehicleName) -> list[DeviceRecord]:
        """All devices of a vehicle by identity."""

    async def device(self, name: VehicleName, identity: Identity) -> DeviceRecord | None:
        """One device."""

    async def history(
        self, name: VehicleName, identity: Identity, since_unix_ms: int | None, limit: int
    ) -> list[StatusRecord]:
        """At most `limit` remembered statuses in the order in which the gateway recorded them.

        They are the first ones received at or after `since_unix_ms`, or the newest ones when that
        is None. A replayed one stands before newer ones that were received earlier.
        """

    async def command(self, command_id: str) -> CommandRecord | None:
        """One command."""


@dataclass(slots=True)
class _DeviceShelf:
    record: DeviceRecord
    history: deque[StatusRecord] = field(default_factory=deque)
    history_bytes: int = 0
    newer: int = 0
    """How many were put behind the last replayed one."""

    def keep(self, status: StatusRecord) -> None:
        """Put a status at its place: a replayed one before those that are newer."""
        history = self.history
        place = len(history)
        if status.is_replayed:  # begins where the one before it was put: most often next to it
            place = max(0, place - self.newer)
            while place > 0 and status.is_older_than(history[place - 1]):
                place -= 1
            while place < len(history) and not status.is_older_than(history[place]):
                place += 1
            self.newer = len(history) - place
        else:
            self.newer += 1
        history.insert(place, status)


@dataclass(slots=True)
class _VehicleShelf:
    record: VehicleRecord
    devices: dict[Identity, _DeviceShelf] = field(default_factory=dict)
    positions: AppliedPositions = field(default_factory=AppliedPositions)


class MemoryStore:
    """A `Store` that forgets everything when its process ends."""

    def __init__(self, limits: StoreLimits) -> None:
        self._limits = limits
        self._vehicles: dict[VehicleName, _VehicleShelf] = {}
        self._commands: dict[str, CommandRecord] = {}
        self._waiting: dict[tuple[VehicleName, Identity], int] = {}
        self._devices = 0
        self._history_bytes = 0

    # ---- writing ------------------------------------------------------------------------------

    async def open_vehicle(self, name: VehicleName, at_unix_ms: int) -> AppliedPositions:
        """See `Store`."""
        if name not in self._vehicles:
            if len(self._vehicles) >= self._limits.vehicles:
                raise StoreFullError(f"{len(self._vehicles)} vehicles are known already")
            record = VehicleRecord(name, at_unix_ms, at_unix_ms)
            self._vehicles[name] = _VehicleShelf(record)
        return self._vehicles[name].positions.copy()

    async def commit(self, name: VehicleName, changes: Sequence[Change], at_unix_ms: int) -> None:
        """See `Store`."""
        shelf = self._vehicles[name]
        for change in changes:
            self._apply(shelf, change, at_unix_ms)
        shelf.record = replace(shelf.record, last_seen_unix_ms=at_unix_ms)

    async def add_command(self, record: CommandRecord) -> None:
        """See `Store`."""
        key = (record.vehicle, record.identity)
        waiting = self._waiting.get(key, 0)
        if waiting >= self._limits.commands_waiting:
            raise StoreFullError(f"{waiting} commands wait for this device already")
        if len(self._commands) >= self._limits.commands_kept:
            oldest = next((key for key, old in self._commands.items() if old.state.is_final), None)
            if oldest is None:
                raise StoreFullError(f"{len(self._commands)} commands are under way already")
            del self._commands[oldest]
        self._waiting[key] = waiting + 1
        self._commands[record.command_id] = record

    def _apply(self, shelf: _VehicleShelf, change: Change, at_unix_ms: int) -> None:
        match change:
            case SessionStarted(session_id, devices):
                self._start_session(shelf, session_id, devices, at_unix_ms)
            case SessionReady():
                shelf.record = replace(shelf.record, is_ready=True)
            case SessionEnded(_, reason):
                self._end_session(shelf, reason)
            case StatusApplied():
                self._apply_status(shelf, change, at_unix_ms)
            case StatusRepeated(device, position, is_connected, live_from):
                known = self._shelf_of(shelf, device, at_unix_ms)
                known.record = replace(
                    known.record,
                    last_seen_unix_ms=at_unix_ms,
                    is_connected=is_connected,
                    repeats=known.record.repeats + 1,
                )
                shelf.positions.advance(device.identity, position, live_from)
            case DeviceLeft(identity):
                if identity in shelf.devices:
                    known = shelf.devices[identity]
                    known.record = replace(known.record, is_connected=False)
            case CommandSent(command_id, counter):
                self._change_command(command_id, CommandState.SENT, at_unix_ms, counter=counter)
            case CommandFinished(command_id, outcome, response):
                self._change_command(command_id, outcome, at_unix_ms, response=response)
            case _:
                assert_never(change)

    def _start_session(
        self,
        shelf: _VehicleShelf,
        session_id: str,
        devices: tuple[Device, ...],
        at_unix_ms: int,
    ) -> None:
        for device in devices:
            self._shelf_of(shelf, device, at_unix_ms)
        sessions = shelf.record.sessions + 1
        shelf.record = replace(
            shelf.record, session_id=session_id, is_ready=False, sessions=sessions, end_reason=""
        )

    def _end_session(self, shelf: _VehicleShelf, reason: Reason) -> None:
        for known in shelf.devices.values():
            if known.record.is_connected:
                known.record = replace(known.record, is_connected=False)
        shelf.record = replace(
            shelf.record, session_id=None, is_ready=False, end_reason=str(reason)
        )

    def _apply_status(self, shelf: _VehicleShelf, change: StatusApplied, at_unix_ms: int) -> None:
        identity = change.device.identity
        known = self._shelf_of(shelf, change.device, at_unix_ms)
        number = known.record.statuses + 1
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
        last_status, last_error = known.record.last_status, known.record.last_error
        is_current = not status.is_replayed or not (
            (last_status is not None and status.is_older_than(last_status))
            or (status.position and not shelf.positions.is_newest(identity, status.position))
        )
        is_last_error = status.error is not None and not (
            status.is_replayed and last_error is not None and status.is_older_than(last_error)
        )
        known.record = replace(
            known.record,
            last_seen_unix_ms=at_unix_ms,
            is_connected=change.is_connected,
            last_status=status if is_current else last_status,
            last_error=status if is_last_error else last_error,
            statuses=number,
            replayed=known.record.replayed + status.is_replayed,
        )
        if status.position is not None:
            shelf.positions.advance(identity, status.position, change.live_from)
        known.keep(status)
        self._charge(known, status.size_bytes)
        self._trim(known)

    def _trim(self, known: _DeviceShelf) -> None:
        """Oldest first, to the device's bounds; over the total, to an equal share of it."""
        limits = self._limits
        bound_bytes = limits.history_bytes
        if self._history_bytes > limits.history_total_bytes:
            bound_bytes = min(bound_bytes, limits.history_total_bytes // max(1, self._devices))
        history = known.history
        while len(history) > 1 and (
            len(history) > limits.history_statuses or known.history_bytes > bound_bytes
        ):
            self._charge(known, -history.popleft().size_bytes)

    def _charge(self, known: _DeviceShelf, size_bytes: int) -> None:
        known.history_bytes += size_bytes
        self._history_bytes += size_bytes

    def _shelf_of(self, shelf: _VehicleShelf, device: Device, at_unix_ms: int) -> _DeviceShelf:
        known = shelf.devices.get(device.identity)
        if known is None:
            self._devices += 1
            known = _DeviceShelf(DeviceRecord(device, at_unix_ms, at_unix_ms))
            shelf.devices[device.identity] = known
        elif known.record.device != device:
            known.record = replace(known.record, device=device)
        return known

    def _change_command(
        self,
        command_id: str,
        state: CommandState,
        at_unix_ms: int,
        *,
        counter: int | None = None,
        response: int | None = None,
    ) -> None:
        record = self._commands.get(command_id)
        if record is None:
            return
        if record.state is CommandState.WAITING:
            key = (record.vehicle, record.identity)
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
        self._commands[command_id] = replace(
            record,
            state=state,
            changed_unix_ms=at_unix_ms,
            counter=record.counter if counter is None else counter,
            response=response,
        )

    # ---- reading ------------------------------------------------------------------------------

    async def room(self) -> int:
        """See `Store`."""
        return max(0, self._limits.devices - self._devices)

    async def vehicles(self) -> list[VehicleRecord]:
        """See `Store`."""
        return [self._vehicle(self._vehicles[name]) for name in sorted(self._vehicles)]

    async def vehicle(self, name: VehicleName) -> VehicleRecord | None:
        """See `Store`."""
        shelf = self._vehicles.get(name)
        return None if shelf is None else self._vehicle(shelf)

    async def devices(self, name: VehicleName) -> list[DeviceRecord]:
        """See `Store`."""
        shelf = self._vehicles.get(name)
        if shelf is None:
            return []
        return [shelf.devices[identity].record for identity in sorted(shelf.devices)]

    async def device(self, name: VehicleName, identity: Identity) -> DeviceRecord | None:
        """See `Store`."""
        known = self._find(name, identity)
        return None if known is None else known.record

    async def history(
        self, name: VehicleName, identity: Identity, since_unix_ms: int | None, limit: int
    ) -> list[StatusRecord]:
        """See `Store`."""
        known = self._find(name, identity)
        if known is None:
            return []
        if since_unix_ms is None:
            return list(known.history)[-limit:]
        recent = [entry for entry in known.history if entry.received_unix_ms >= since_unix_ms]
        chosen = {entry.number for entry in sorted(recent, key=_number)[:limit]}
        return [entry for entry in recent if entry.number in chosen]

    async def command(self, command_id: str) -> CommandRecord | None:
        """See `Store`."""
        return self._commands.get(command_id)

    def _find(self, name: VehicleName, identity: Identity) -> _DeviceShelf | None:
        shelf = self._vehicles.get(name)
        return None if shelf is None else shelf.devices.get(identity)

    def _vehicle(self, shelf: _VehicleShelf) -> VehicleRecord:
        connected = sum(known.record.is_connected for known in shelf.devices.values())
        return replace(shelf.record, devices=len(shelf.devices), devices_connected=connected)
