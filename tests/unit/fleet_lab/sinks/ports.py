"""A device port that remembers, and lets a test wait for what it remembers."""

from __future__ import annotations

import asyncio

from fleet_lab.devices.api import Device
from fleet_lab.devices.generators import Stream

Said = tuple[object, ...]


class RecordingPort:
    """Every call becomes a tuple of its name and arguments in `said`."""

    def __init__(self, device: Device | None = None) -> None:
        self.device = device or Device("left_button", Stream(1), {"module": 1001, "priority": 2})
        self.said: list[Said] = []
        self._changed = asyncio.Event()

    def _say(self, *said: object) -> None:
        self.said.append(said)
        self._changed.set()

    def connected(self) -> None:
        self._say("connected")

    def disconnected(self, reason: str) -> None:
        self._say("disconnected", reason)

    def refused(self, response: int, explanation: str) -> None:
        self._say("refused", response, explanation)

    def answered(self, number: int, command: bytes, is_own: bool) -> None:
        self._say("answered", number, command, is_own)

    def commanded(self, payload: bytes) -> None:
        self._say("commanded", payload)

    def failed(self, number: int, reason: str) -> None:
        self._say("failed", number, reason)

    def all(self, name: str) -> list[Said]:
        """What was said under this name, without the name."""
        return [said[1:] for said in self.said if said[0] == name]

    async def saw(self, name: str, count: int = 1, timeout_s: float = 30.0) -> list[Said]:
        """Wait until it was said so often."""
        async with asyncio.timeout(timeout_s):
            while len(self.all(name)) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.all(name)
