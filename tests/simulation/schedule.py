"""One clock, one order of events, one source of chance: the same seed gives the same run."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from typing import Any

START_S = 1_000.0
UNIX_MS = 1_800_000_000_000
ROUNDING_S = 1e-6
"""A deadline computed as `since + limit` may be reached a rounding error before `now - since` is
the limit; a real clock has moved on by then."""
MAX_EVENTS = 60_000
"""Of one run; more means that something spins."""


class Schedule:
    """What happens when. Chance belongs to it, so that nothing else can draw from elsewhere."""

    def __init__(self, seed: int) -> None:
        self.now = START_S
        self.rng = Random(seed)
        self.wall_offset_ms = 0
        self.trace: list[str] | None = None
        self._queue: list[tuple[float, int, Life | None, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    @property
    def unix_ms(self) -> int:
        """Wall time, which may be set forwards and backwards."""
        return UNIX_MS + int((self.now - START_S) * 1000) + self.wall_offset_ms

    def at(
        self, time: float, call: Callable[..., None], *args: Any, life: Life | None = None
    ) -> None:
        """Call at `time`, unless `life` has ended by then."""
        self._count += 1
        heapq.heappush(self._queue, (max(time, self.now), self._count, life, call, args))

    def after(
        self, pause_s: float, call: Callable[..., None], *args: Any, life: Life | None = None
    ) -> None:
        """Call after a pause, unless `life` has ended by then."""
        self.at(self.now + pause_s, call, *args, life=life)

    def run(self, until: float) -> None:
        """Let everything happen that is due up to `until`."""
        queue = self._queue
        while queue and queue[0][0] <= until:
            self.now, _, life, call, args = heapq.heappop(queue)
            if life is None or life.is_alive:
                call(*args)
            if self._count > MAX_EVENTS:
                raise AssertionError(f"more than {MAX_EVENTS} events: something spins")
        self.now = until

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def say(self, *words: object) -> None:
        """A line of the trace."""
        if self.trace is not None:
            self.trace.append(f"{self.now - START_S:9.4f} " + " ".join(map(str, words)))


class Life:
    """One life of one part. What was scheduled for it does not happen after its end."""

    def __init__(self) -> None:
        self.is_alive = True

    def end(self) -> None:
        self.is_alive = False


class Alarm:
    """One call that can be set anew: the newest time counts."""

    def __init__(self, schedule: Schedule, life: Life, call: Callable[[], None]) -> None:
        self._schedule, self._life, self._call = schedule, life, call
        self._due: float | None = None

    def set(self, due: float | None) -> None:
        if due == self._due:
            return
        self._due = due
        if due is not None and due != float("inf"):
            self._schedule.at(due + ROUNDING_S, self._ring, due, life=self._life)

    def _ring(self, due: float) -> None:
        if self._due == due:
            self._due = None
            self._call()
