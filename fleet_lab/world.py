"""The real world of a scenario: running fleets, processes, and what was measured so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from fleet_lab.errors import LabError, nearest
from fleet_lab.faults import Processes
from fleet_lab.fleets.spec import FleetSpec
from fleet_lab.ledger.checks import Check, Facts
from fleet_lab.links.conditions import Conditions


class FleetPort(Protocol):
    """A running fleet (`fleets.running.RunningFleet`)."""

    @property
    def spec(self) -> FleetSpec:
        """As it was declared."""
        ...

    @property
    def size(self) -> int:
        """How many devices it has now."""
        ...

    async def scale(self, size: int) -> None:
        """Another number of devices."""
        ...

    async def send(self, device_id: str, payload: bytes) -> None:
        """A command to one device."""
        ...

    async def set_link(self, conditions: Conditions, ids: None = None, share: float = 1.0) -> None:
        """Another network for the first `share` of it."""
        ...


class LabWorld:
    """What `scenario.play` drives.

    Args:
        facts: what was measured so far; asked for each look at a `when`.
        scaled: told before a fleet gets another size, so that the ledger knows new devices.
    """

    def __init__(
        self,
        fleets: Mapping[str, FleetPort],
        processes: Processes,
        facts: Callable[[], Facts],
        scaled: Callable[[str, int], None] = lambda _fleet, _size: None,
    ) -> None:
        self._fleets = fleets
        self._processes = processes
        self._facts = facts
        self._scaled = scaled
        self._checks: dict[str, Check] = {}

    async def scale(self, fleet: str, size: int) -> None:
        """Another number of devices."""
        self._scaled(fleet, size)
        await self._fleet(fleet).scale(size)

    async def send(self, fleet: str, device: str | None, payload: bytes) -> None:
        """A command to one device, or to every one."""
        running = self._fleet(fleet)
        if device is not None:
            await running.send(device, payload)
            return
        for index in range(running.size):
            await running.send(running.spec.device_spec(index).id, payload)

    async def set_link(self, fleet: str, conditions: Conditions, share: float) -> None:
        """Another network."""
        await self._fleet(fleet).set_link(conditions, share=share)

    async def act(self, process: str, verb: str) -> None:
        """Kill, pause, resume, restart, stop or start a process."""
        await self._processes.act(process, verb)

    def holds(self, expression: str) -> bool:
        """Whether the check holds now; what was not measured does not."""
        check = self._checks.get(expression)
        if check is None:
            check = self._checks[expression] = Check(expression)
        return check.judge(self._facts()).is_passed

    def _fleet(self, name: str) -> FleetPort:
        if name not in self._fleets:
            raise LabError(f"there is no fleet {name!r}{nearest(name, self._fleets)}")
        return self._fleets[name]
