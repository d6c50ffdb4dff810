"""A worker and where workers come from, as a fleet sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from fleet_lab.fleets.wire import Frame


class WorkerLostError(Exception):
    """The worker is gone; what it was asked has no answer."""


class WorkerPort(Protocol):
    """One worker, as its fleet sees it."""

    @property
    def name(self) -> str:
        """Unique in the fleet."""
        ...

    @property
    def place(self) -> str:
        """Where it runs, for people: `pid 123` or a node."""
        ...

    async def request(self, what: str, fields: Mapping[str, Any]) -> Frame:
        """Ask for one thing.

        Raises:
            WorkerLostError: the worker is gone.
            LabError: it cannot do it.
        """
        ...

    async def kill(self) -> None:
        """Make sure that it runs no device any more; safe for one that is gone."""
        ...

    async def end(self) -> None:
        """End it for good; safe for one that is gone."""
        ...


class Placer(Protocol):
    """Makes workers."""

    async def place(self, name: str) -> WorkerPort:
        """Start one more."""
        ...

    async def revive(self, worker: WorkerPort) -> WorkerPort | None:
        """The same worker in its next life, empty, perhaps at another place; None: it has none."""
        ...

    def last_number(self, index: int) -> int | None:
        """The device's last attempt where that is known beyond what was recorded."""
        ...

    @property
    def board(self) -> str | None:
        """Path of the board that workers shall write, where they can."""
        ...

    async def close(self) -> None:
        """Clean up when all workers have ended."""
        ...
