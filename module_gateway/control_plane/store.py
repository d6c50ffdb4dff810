"""What the control plane remembers: the port.

Everything that follows from one batch of events is committed together, the applied positions
with the data that they stand for (contract R11); what acknowledges it leaves afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from module_gateway.control_plane.events import Change
from module_gateway.control_plane.positions import AppliedPositions
from module_gateway.control_plane.records import (
    CommandRecord,
    DeviceRecord,
    SessionRecord,
    StatusRecord,
    VehicleName,
    VehicleRecord,
)
from module_gateway.protocol.errors import StoreError
from module_gateway.protocol.identity import Identity

COMMANDS_KEPT: Final = 10_000
"""Posted commands remembered, of all vehicles; the oldest finished ones are forgotten first."""


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

    async def commands(
        self, name: VehicleName, identity: Identity | None, limit: int
    ) -> list[CommandRecord]:
        """The newest commands of a vehicle, or of one device of it, newest first."""

    async def open_commands(self, name: VehicleName) -> list[CommandRecord]:
        """Commands of a vehicle without an outcome, oldest first."""

    async def sessions(
        self, name: VehicleName, before: int | None, limit: int
    ) -> list[SessionRecord]:
        """The newest sessions of a vehicle with a number below `before`, newest first."""

    async def sweep(self, before_unix_ms: int) -> None:
        """Forget statuses received earlier, but those that are shown as a device's last ones."""

    async def close(self) -> None:
        """Finish what is under way. Nothing may be asked afterwards."""
