"""The order of a session's statuses: each counter once, none before its turn."""

from __future__ import annotations

from enum import Enum, auto, unique

from module_gateway.protocol.external import Status


@unique
class Turn(Enum):
    """What is to be done with a status."""

    NOW = auto()
    """Apply it; then whatever `next_early` gives."""
    EARLY = auto()
    """Kept until the missing ones are here."""
    REPEATED = auto()
    """Applied before: acknowledge once more."""
    REPEATED_EARLY = auto()
    """Kept already: its acknowledgement comes with its turn."""
    BEFORE_FIRST = auto()
    """Lower than the first counter of the session: nobody can say what it is."""
    OVERFLOW = auto()
    """Too many, or too large ones, are waiting."""


class StatusOrder:
    """Counters start at 1 per session and have no gaps (fleet-protocol 4.5).

    A gateway that counts from 0 is understood too if its 0 comes first.
    """

    def __init__(self, early_statuses: int, early_bytes: int, gap_timeout_s: float) -> None:
        """`early_*`: bounds of what may wait; `gap_timeout_s`: for how long."""
        self._bound = early_statuses
        self._bound_bytes = early_bytes
        self._gap_timeout_s = gap_timeout_s
        self._lowest = 1
        self._expected = 1
        self._is_begun = False
        self._early: dict[int, tuple[Status, int]] = {}
        self._early_bytes = 0
        self.gap_by: float | None = None
        """When the missing status must be here (monotonic s), None when none is missing."""

    @property
    def is_begun(self) -> bool:
        """Some status was received."""
        return self._is_begun

    def receive(self, status: Status, size_bytes: int, now: float) -> Turn:
        """Take note of a status and say what is to be done with it."""
        counter = status.counter
        if not self._is_begun and counter == 0:
            self._lowest = self._expected = 0
        self._is_begun = True
        if counter < self._lowest:
            return Turn.BEFORE_FIRST
        if counter < self._expected:
            return Turn.REPEATED
        if counter == self._expected:
            self._proceed(now)
            return Turn.NOW
        return self._keep(status, size_bytes, now)

    def next_early(self, now: float) -> Status | None:
        """The status that waited and whose turn it is now, None if there is none."""
        if self._expected not in self._early:
            return None
        status, size_bytes = self._early.pop(self._expected)
        self._early_bytes -= size_bytes
        self._proceed(now)
        return status

    def _proceed(self, now: float) -> None:
        self._expected += 1
        self.gap_by = now + self._gap_timeout_s if self._early else None

    def _keep(self, status: Status, size_bytes: int, now: float) -> Turn:
        if status.counter in self._early:
            return Turn.REPEATED_EARLY
        total_bytes = self._early_bytes + size_bytes
        if len(self._early) >= self._bound or total_bytes > self._bound_bytes:
            return Turn.OVERFLOW
        self._early[status.counter] = (status, size_bytes)
        self._early_bytes = total_bytes
        if self.gap_by is None:
            self.gap_by = now + self._gap_timeout_s
        return Turn.EARLY
