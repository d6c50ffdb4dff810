"""A sink that a test steers, and a recorder that remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar

from fleet_lab.devices.api import Device, State, command, every
from fleet_lab.errors import LabError
from fleet_lab.sinks.api import DevicePort, Sink, SinkUrl


class Walker(Device):
    """Wanders by its own generator."""

    place = State(0.0)

    @command
    def jump(self, to: float) -> None:
        self.place = to

    def sample(self) -> dict[str, float]:
        self.place += self.rng.uniform(-1, 1)
        return self.state


class Beating(Device):
    """Reports by its own schedule."""

    @every("20ms")
    def beat(self) -> None:
        self.report({"beat": self.attempts})


class Fragile(Device):
    """Cannot be made."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        raise RuntimeError("made of glass")


class Remembering:
    """A recorder."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []
        self.changed = asyncio.Event()

    def _add(self, *event: object) -> None:
        self.events.append(event)
        self.changed.set()

    def sent(self, device: int, number: int, scheduled_s: float, sent_s: float) -> None:
        self._add("sent", device, number, scheduled_s, sent_s)

    def answered(self, device: int, number: int, answered_s: float, is_own: bool) -> None:
        self._add("answered", device, number)

    def closed(self, device: int, reason: str, at_s: float) -> None:
        self._add("closed", device, reason)

    def refused(self, device: int, response: int) -> None:
        self._add("refused", device, response)

    def connected(self, device: int, at_s: float) -> None:
        self._add("connected", device)

    def named(self, *names: str) -> list[tuple[object, ...]]:
        return [event[:3] for event in self.events if event[0] in names]

    async def until(self, enough: Callable[[], bool]) -> None:
        while not enough():
            self.changed.clear()
            await self.changed.wait()

    async def saw(self, name: str, times: int = 1) -> None:
        await self.until(lambda: len(self.named(name)) >= times)


class Steered(Sink):
    """Answers at once, later or never."""

    made: ClassVar[list[Steered]] = []

    def __init__(self, *, answers: bool = True, fails: int = 0) -> None:
        super().__init__(SinkUrl("steered:", "", "", 0, ""))
        self.port: DevicePort | None = None
        self.answers = answers
        self.fails = fails
        self.is_open = False
        self.unanswered: int | None = None
        self.payloads: list[bytes] = []

    @property
    def can_publish(self) -> bool:
        return self.is_open and self.unanswered is None

    async def open(self, port: DevicePort) -> None:
        if self.fails:
            self.fails -= 1
            raise LabError("cannot reach anything")
        self.port, self.is_open = port, True
        port.connected()

    def publish(self, number: int, payload: bytes) -> None:
        assert self.can_publish
        self.payloads.append(payload)
        self.unanswered = number
        if self.answers:
            self.answer()

    def answer(self, command: bytes = b"") -> None:
        number, self.unanswered = self.unanswered, None
        self.port.answered(number, command, True)

    def lose(self) -> None:
        self.is_open, self.unanswered = False, None
        self.port.disconnected("cut")

    def restore(self) -> None:
        self.is_open = True
        self.port.connected()

    async def close(self) -> None:
        self.is_open = False
