"""The number of every device's last attempt, in memory that outlives the process that sends.

A worker that is killed takes its unsent records with it. The board says how far each device had
come, so nothing that reached the gateway is unknown and no number is used twice.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Final

from fleet_lab.fleets.spec import MAX_SIZE
from fleet_lab.recorder import Recorder

_NUMBER_BYTES: Final = 4


class Board:
    """One uint32 per device, shared by all processes that open the same file (sparse)."""

    def __init__(self, path: Path) -> None:
        with path.open("a+b") as file:
            file.truncate(MAX_SIZE * _NUMBER_BYTES)
            self._map = mmap.mmap(file.fileno(), MAX_SIZE * _NUMBER_BYTES)
        self._numbers = memoryview(self._map).cast("I")

    def __getitem__(self, index: int) -> int:
        return self._numbers[index]

    def __setitem__(self, index: int, number: int) -> None:
        self._numbers[index] = number

    def close(self) -> None:
        """Let go of the memory."""
        self._numbers.release()
        self._map.close()


class BoardRecorder:
    """Writes every attempt to the board before anybody else hears of it."""

    def __init__(self, board: Board, inner: Recorder) -> None:
        self._board = board
        self._sent = inner.sent
        self.answered = inner.answered
        self.closed = inner.closed
        self.refused = inner.refused
        self.connected = inner.connected

    def sent(self, device: int, number: int, scheduled_s: float, sent_s: float) -> None:
        """As in Recorder."""
        self._board[device] = number
        self._sent(device, number, scheduled_s, sent_s)


class LastNumbers:
    """Passes everything on and remembers the highest attempt it has heard of, per device."""

    def __init__(self, inner: Recorder) -> None:
        self.numbers: dict[int, int] = {}
        self._sent = inner.sent
        self.answered = inner.answered
        self.closed = inner.closed
        self.refused = inner.refused
        self.connected = inner.connected

    def sent(self, device: int, number: int, scheduled_s: float, sent_s: float) -> None:
        """As in Recorder."""
        self.numbers[device] = number
        self._sent(device, number, scheduled_s, sent_s)
