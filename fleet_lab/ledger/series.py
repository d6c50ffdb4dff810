"""What happened in each second of a run, collected from events that may come late."""

from __future__ import annotations

from array import array
from itertools import accumulate
from typing import Final

from fleet_lab.report.model import Series

MAX_SECONDS: Final = 7 * 24 * 3600
"""A week; later events are counted in its last second."""
OPEN_SECONDS: Final = 10
"""Replies are kept one by one this long, because workers tell of them in batches."""
_US_PER_S: Final = 1e6


class SeriesCollector:
    """Counts per second from `start_s` (monotonic) on.

    Memory: about 60 bytes per second of the run and 8 per reply of the last ten seconds.
    """

    def __init__(self, start_s: float) -> None:
        self._start_s = start_s
        self._sent = array("L")
        self._answered = array("L")
        self._upstream = array("L")
        self._connected = array("l")
        self._p50_s: dict[int, float] = {}
        self._p99_s: dict[int, float] = {}
        self._replies: dict[int, array[int]] = {}

    def sent(self, at_s: float) -> None:
        """A status left."""
        self._sent[self._second(at_s)] += 1

    def answered(self, at_s: float, latency_s: float) -> None:
        """A status was answered."""
        second = self._second(at_s)
        self._answered[second] += 1
        replies = self._replies.get(second)
        if replies is None:
            if second in self._p50_s:
                return  # too late to change the percentiles of that second
            self._freeze(second - OPEN_SECONDS)
            replies = self._replies[second] = array("q")
        replies.append(int(latency_s * _US_PER_S))

    def upstream(self, at_s: float) -> None:
        """A status was seen upstream."""
        self._upstream[self._second(at_s)] += 1

    def connected(self, at_s: float, change: int) -> None:
        """`change` more devices are connected, fewer if negative."""
        self._connected[self._second(at_s)] += change

    def series(self) -> Series:
        """The columns so far; the last second may not be complete."""
        p50_s, p99_s = dict(self._p50_s), dict(self._p99_s)
        for second, replies in self._replies.items():
            p50_s[second], p99_s[second] = _percentiles_s(replies)
        seconds = range(len(self._sent))
        return Series(
            period_s=1.0,
            sent=tuple(self._sent),
            answered=tuple(self._answered),
            upstream=tuple(self._upstream),
            connected=tuple(accumulate(self._connected)),
            p50_s=tuple(p50_s.get(second) for second in seconds),
            p99_s=tuple(p99_s.get(second) for second in seconds),
        )

    def _second(self, at_s: float) -> int:
        second = int(at_s - self._start_s)
        if 0 <= second < len(self._sent):
            return second
        second = min(max(second, 0), MAX_SECONDS)
        missing = second + 1 - len(self._sent)
        if missing > 0:
            zeros = [0] * missing
            for column in (self._sent, self._answered, self._upstream, self._connected):
                column.extend(zeros)
        return second

    def _freeze(self, before: int) -> None:
        for second in [second for second in self._replies if second < before]:
            replies = self._replies.pop(second)
            self._p50_s[second], self._p99_s[second] = _percentiles_s(replies)


def _percentiles_s(replies: array[int]) -> tuple[float, float]:
    """Median and 99th percentile (nearest rank) of at least one latency."""
    ordered = sorted(replies)
    last = len(ordered) - 1
    p50 = ordered[min(len(ordered) // 2, last)]
    p99 = ordered[min(len(ordered) * 99 // 100, last)]
    return p50 / _US_PER_S, p99 / _US_PER_S
