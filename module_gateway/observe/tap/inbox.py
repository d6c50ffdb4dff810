"""What the brokers handed over and nobody has read yet: bounded, so that a burst costs no memory.

Pure. The newest give way: those that wait are a stretch without a gap.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

MAX_MESSAGES: Final = 20_000
MAX_BYTES: Final = 32 * 1024 * 1024
"""Both together about a second of the busiest bus."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """One MQTT message as it came.

    Attributes:
        place: number of the place that was watched.
        topic, payload: of MQTT.
        time_unix_ms: when it came here.
    """

    place: int
    topic: str
    payload: bytes
    time_unix_ms: int


class Inbox:
    """First in, first out."""

    def __init__(self, max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES) -> None:
        self.dropped = 0
        self._waiting: deque[Arrived] = deque()
        self._size_bytes = 0
        self._max_messages = max_messages
        self._max_bytes = max_bytes

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, arrived: Arrived) -> bool:
        """Append it; False, and a count, when there is no room."""
        size_bytes = self._size_bytes + len(arrived.payload)
        if len(self._waiting) >= self._max_messages or size_bytes > self._max_bytes:
            self.dropped += 1
            return False
        self._size_bytes = size_bytes
        self._waiting.append(arrived)
        return True

    def take(self) -> Arrived:
        """The oldest.

        Raises:
            IndexError: nothing waits.
        """
        arrived = self._waiting.popleft()
        self._size_bytes -= len(arrived.payload)
        return arrived
