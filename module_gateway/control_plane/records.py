"""What the store remembers, as whoever reads it gets it. Times are Unix milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from module_gateway.control_plane.events import CommandState
from module_gateway.protocol.external import Position
from module_gateway.protocol.identity import Device, Identity


class VehicleName(NamedTuple):
    """Company and vehicle name; both match NAME_PATTERN."""

    company: str
    vehicle: str

    def __str__(self) -> str:
        return f"{self.company}/{self.vehicle}"


@dataclass(frozen=True, slots=True)
class StatusRecord:
    """One applied status. `number` counts its device's statuses from 1 as they arrived.

    `is_replayed`: it comes from an outage, and newer ones may have arrived before it.
    """

    number: int
    received_unix_ms: int
    state: int
    status: bytes
    error: bytes | None = None
    time_unix_ms: int = 0
    """When the gateway recorded it, 0 when it did not say."""
    position: Position | None = None
    is_replayed: bool = False

    @property
    def size_bytes(self) -> int:
        """Payload bytes."""
        return len(self.status) + len(self.error or b"")

    def is_older_than(self, other: StatusRecord) -> bool:
        """Known to be older: by the numbers of one store, else by what the gateway's clock said."""
        here, there = self.position, other.position
        if here is not None and there is not None and here.store_id == there.store_id:
            return here.sequence < there.sequence
        return self.time_unix_ms < other.time_unix_ms


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """One device and its latest news. `statuses` were applied, `repeats` recognised.

    `last_status` is the current one: never a replayed one while a newer one is known.
    """

    device: Device
    first_seen_unix_ms: int
    last_seen_unix_ms: int
    is_connected: bool = False
    last_status: StatusRecord | None = None
    last_error: StatusRecord | None = None
    """The last status that came with an error aggregate."""
    statuses: int = 0
    repeats: int = 0
    replayed: int = 0
    """How many of `statuses` were replayed."""

    @property
    def identity(self) -> Identity:
        """Its identity."""
        return self.device.identity


@dataclass(frozen=True, slots=True)
class VehicleRecord:
    """One vehicle. Without a session, `end_reason` says why the last one ended."""

    name: VehicleName
    first_seen_unix_ms: int
    last_seen_unix_ms: int
    session_id: str | None = None
    is_ready: bool = False
    """The session's connect sequence is complete."""
    sessions: int = 0
    end_reason: str = ""
    devices: int = 0
    devices_connected: int = 0


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One session of a vehicle. `number` counts the vehicle's sessions from 1.

    `folds` and `replayed` of its `statuses` carried what was recorded before it.
    """

    number: int
    session_id: str
    started_unix_ms: int
    devices: int
    """Announced by its Connect."""
    ready_unix_ms: int | None = None
    ended_unix_ms: int | None = None
    end_reason: str = ""
    statuses: int = 0
    folds: int = 0
    replayed: int = 0


@dataclass(frozen=True, slots=True)
class CommandRecord:
    """One posted command."""

    command_id: str
    vehicle: VehicleName
    identity: Identity
    command: bytes
    state: CommandState
    created_unix_ms: int
    changed_unix_ms: int
    expires_unix_ms: int
    counter: int | None = None
    response: int | None = None
    """The gateway's number, None while there is none."""
