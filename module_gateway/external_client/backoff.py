"""How long to wait before trying again. Chance comes in from outside, so tests decide it."""

from __future__ import annotations

from collections.abc import Callable

Chance = Callable[[], float]
"""Gives a number from 0 (included) to 1 (excluded)."""


class Backoff:
    """Full jitter: each wait is anywhere between nothing and a ceiling that doubles.

    Fleet-protocol 4.9 recommends 1 s to 10 s.
    """

    def __init__(self, min_s: float, max_s: float, chance: Chance) -> None:
        self._min_s, self._max_s, self._chance = min_s, max(min_s, max_s), chance
        self._ceiling_s = min_s

    def next(self) -> float:
        """Seconds to wait after one more failure."""
        wait_s = self._ceiling_s * self._chance()
        self._ceiling_s = min(self._max_s, self._ceiling_s * 2)
        return wait_s

    def reset(self) -> None:
        """It worked: the next failure is a first one."""
        self._ceiling_s = self._min_s


class Pause:
    """A wait between two bounds: the peer is known to be deaf for a while (fleet-protocol 4.9)."""

    def __init__(self, min_s: float, max_s: float, chance: Chance) -> None:
        self._min_s, self._span_s, self._chance = min_s, max(0.0, max_s - min_s), chance

    def next(self) -> float:
        """Seconds to wait."""
        return self._min_s + self._span_s * self._chance()
