"""When a device that failed may start again: back-off per device, budget per fleet. Pure."""

from __future__ import annotations

from typing import Final

from fleet_lab.load import Uniform

BACKOFF_MIN_S: Final = 0.1
BACKOFF_MAX_S: Final = 5.0
BUDGET_WINDOW_S: Final = 60.0
BUDGET_SHARE: Final = 1.0
BUDGET_LEAST: Final = 60
"""A fleet restarts as many devices per minute as it has, and at least one per second: a few that
crash again and again then slow down each other and never the healthy ones."""


def backoff_s(failures: int, rng: Uniform) -> float:
    """How long to wait after so many failures in a row: doubling, with jitter of a half."""
    longest_s = min(BACKOFF_MIN_S * 2.0 ** min(failures - 1, 16), BACKOFF_MAX_S)
    return longest_s * (0.5 + rng.random() / 2)


class RestartBudget:
    """A bucket of restarts that fills evenly over time."""

    __slots__ = ("_at_s", "_capacity", "_left", "delayed")

    def __init__(self, size: int, now: float) -> None:
        self._capacity = max(float(BUDGET_LEAST), size * BUDGET_SHARE)
        self._left = self._capacity
        self._at_s = now
        self.delayed = 0

    def reserve(self, now: float) -> float:
        """Take one restart; how many seconds to wait until it is there."""
        per_s = self._capacity / BUDGET_WINDOW_S
        self._left = min(self._left + (now - self._at_s) * per_s, self._capacity) - 1.0
        self._at_s = now
        if self._left >= 0:
            return 0.0
        self.delayed += 1
        return -self._left / per_s
