"""Order and answers of the commands of one session (fleet-protocol 4.5, 4.6, contract R19)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from module_gateway.protocol.external import Command

COUNTER_MODULUS: Final = 2**32
"""Counters are uint32 (fleet-protocol 4.5)."""

RETRY_S: Final = 0.5
"""The bus may lose a command or its verdict; the handler recognises repeats (R19)."""

MAX_OPEN: Final = 256
"""Commands that wait for a verdict; far more than a peer sends before it gives up."""


class Place(Enum):
    """Where a command stands in the order of its session."""

    NEXT = auto()
    REPEATED = auto()
    OUT_OF_ORDER = auto()


@dataclass(slots=True)
class OpenCommand:
    """Forwarded to its handler, not answered yet."""

    command: Command
    retry_at: float


class CommandOrder:
    """The first counter may be anything; each later one is the one before plus 1."""

    def __init__(self) -> None:
        self._last: Command | None = None
        self._answer: int | None = None
        self._open: dict[int, OpenCommand] = {}

    @property
    def last_answer(self) -> int | None:
        """What the newest command was answered; None while it was not."""
        return self._answer

    @property
    def open_commands(self) -> int:
        """How many wait for a verdict."""
        return len(self._open)

    def place(self, command: Command) -> Place:
        """Classify it and, when it is the next one, remember it as the newest."""
        last = self._last
        if last is not None:
            if command == last:
                return Place.REPEATED
            if command.counter != (last.counter + 1) % COUNTER_MODULUS:
                return Place.OUT_OF_ORDER
        self._last, self._answer = command, None
        return Place.NEXT

    def forward(self, command: Command, now: float) -> None:
        """It went to its handler."""
        self._open[command.counter] = OpenCommand(command, now + RETRY_S)

    def answer(self, counter: int, response: int) -> None:
        """It is answered; a repeat of the newest one gets the same."""
        self._open.pop(counter, None)
        if self._last is not None and self._last.counter == counter:
            self._answer = response

    def opened(self, counter: int) -> Command | None:
        """The command that waits under this counter."""
        waiting = self._open.get(counter)
        return waiting.command if waiting is not None else None

    def due(self, now: float) -> list[Command]:
        """Forward these again."""
        due: list[Command] = []
        for waiting in self._open.values():
            if waiting.retry_at <= now:
                waiting.retry_at = now + RETRY_S
                due.append(waiting.command)
        return due

    def next_retry(self) -> float | None:
        """When the next one is due."""
        return min((waiting.retry_at for waiting in self._open.values()), default=None)
