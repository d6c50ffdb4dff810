"""A store that forgets everything when its process ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from module_gateway.control_plane.events import Change
from module_gateway.control_plane.fleet import Fleet
from module_gateway.control_plane.positions import AppliedPositions
from module_gateway.control_plane.records import (
    CommandRecord,
    DeviceRecord,
    SessionRecord,
    StatusRecord,
    VehicleName,
    VehicleRecord,
)
from module_gateway.control_plane.store import StoreLimits
from module_gateway.protocol.identity import Identity

SESSIONS_KEPT: Final = 1_000
"""Per vehicle."""

_number = attrgetter("number")


@dataclass(slots=True)
class _History:
    statuses: deque[StatusRecord] = field(default_factory=deque)
    size_bytes: int = 0
    newer: int = 0
    """How many were put behind the last replayed one."""

    def keep(self, status: StatusRecord) -> None:
        """Put a status at its place: a replayed one before those that are newer."""
        statuses = self.statuses
        place = len(statuses)
        if status.is_replayed:  # begins where the one before it was put: most often next to it
            place = max(0, place - self.newer)
            while place > 0 and status.is_older_than(statuses[place - 1]):
                place -= 1
            while place < len(statuses) and not status.is_older_than(statuses[place]):
                place += 1
            self.newer = len(statuses) - place
        else:
            self.newer += 1
        statuses.insert(place, status)


class MemoryStore:
    """See `Store`."""

    def __init__(self, limits: StoreLimits) -> None:
        self._limits = limits
        self._fleet = Fleet(limits)
        self._histories: dict[tuple[VehicleName, Identity], _History] = {}
        self._sessions: dict[VehicleName, dict[int, SessionRecord]] = {}
        self._history_bytes = 0

    async def open_vehicle(self, name: VehicleName, at_unix_ms: int) -> AppliedPositions:
        """See `Store`."""
        self._fleet.open_vehicle(name, at_unix_ms)
        return self._fleet.vehicles[name].positions.copy()

    async def commit(self, name: VehicleName, changes: Sequence[Change], at_unix_ms: int) -> None:
        """See `Store`."""
        touched = self._fleet.apply(name, changes, at_unix_ms)
        for identity, status in touched.statuses:
            self._keep(self._histories.setdefault((name, identity), _History()), status)
        if touched.sessions:
            sessions = self._sessions.setdefault(name, {})
            sessions.update(touched.sessions)
            while len(sessions) > SESSIONS_KEPT:
                del sessions[next(iter(sessions))]

    async def add_command(self, record: CommandRecord) -> None:
        """See `Store`."""
        self._fleet.add_command(record)

    def _keep(self, history: _History, status: StatusRecord) -> None:
        """Oldest go first, at the device's bounds; over the total, at an equal share of it."""
        history.keep(status)
        self._charge(history, status.size_bytes)
        limits, statuses = self._limits, history.statuses
        bound_bytes = limits.history_bytes
        if self._history_bytes > limits.history_total_bytes:
            share = limits.history_total_bytes // max(1, self._fleet.devices)
            bound_bytes = min(bound_bytes, share)
        while len(statuses) > 1 and (
            len(statuses) > limits.history_statuses or history.size_bytes > bound_bytes
        ):
            self._charge(history, -statuses.popleft().size_bytes)

    def _charge(self, history: _History, size_bytes: int) -> None:
        history.size_bytes += size_bytes
        self._history_bytes += size_bytes

    # ---- reading ------------------------------------------------------------------------------

    async def room(self) -> int:
        """See `Store`."""
        return self._fleet.room

    async def vehicles(self) -> list[VehicleRecord]:
        """See `Store`."""
        return self._fleet.all_vehicles()

    async def vehicle(self, name: VehicleName) -> VehicleRecord | None:
        """See `Store`."""
        return self._fleet.vehicle(name)

    async def devices(self, name: VehicleName) -> list[DeviceRecord]:
        """See `Store`."""
        return self._fleet.devices_of(name)

    async def device(self, name: VehicleName, identity: Identity) -> DeviceRecord | None:
        """See `Store`."""
        return self._fleet.device(name, identity)

    async def history(
        self, name: VehicleName, identity: Identity, since_unix_ms: int | None, limit: int
    ) -> list[StatusRecord]:
        """See `Store`."""
        known = self._histories.get((name, identity))
        if known is None:
            return []
        if since_unix_ms is None:
            return list(known.statuses)[-limit:]
        recent = [entry for entry in known.statuses if entry.received_unix_ms >= since_unix_ms]
        chosen = {entry.number for entry in sorted(recent, key=_number)[:limit]}
        return [entry for entry in recent if entry.number in chosen]

    async def command(self, command_id: str) -> CommandRecord | None:
        """See `Store`."""
        return self._fleet.commands.get(command_id)

    async def commands(
        self, name: VehicleName, identity: Identity | None, limit: int
    ) -> list[CommandRecord]:
        """See `Store`."""
        return self._fleet.commands_of(name, identity, limit)

    async def open_commands(self, name: VehicleName) -> list[CommandRecord]:
        """See `Store`."""
        return self._fleet.open_commands(name)

    async def sessions(
        self, name: VehicleName, before: int | None, limit: int
    ) -> list[SessionRecord]:
        """See `Store`."""
        found = reversed(self._sessions.get(name, {}).values())
        chosen = [each for each in found if before is None or each.number < before]
        return chosen[:limit]

    async def sweep(self, before_unix_ms: int) -> None:
        """See `Store`."""
        for (name, identity), history in self._histories.items():
            record = self._fleet.device(name, identity)
            shown = {record.last_status, record.last_error} if record is not None else set()
            for status in [*history.statuses]:
                if status.received_unix_ms < before_unix_ms and status not in shown:
                    history.statuses.remove(status)
                    self._charge(history, -status.size_bytes)

    async def close(self) -> None:
        """See `Store`."""
