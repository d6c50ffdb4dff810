"""One heap of due times for all devices of a process, and one timer of the loop for the heap.

An entry is a few dozen bytes and is never cancelled: whoever is called looks whether he still
wants to be.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from collections.abc import Callable
from itertools import count
from typing import Final

SLICE_S: Final = 0.005
"""After so long in one go the loop gets its turn, so that replies are read while work piles up."""
TICK_S: Final = 0.001
"""Never sleeps for less: libuv's timers count milliseconds and would spin, and what is due within
one millisecond is cheaper done together."""
_LOOK_EVERY: Final = 16
"""Entries between two looks at the clock."""

Due = Callable[[float], None]
"""Called with the time at which it was due (`time.monotonic()`)."""


class TimerHeap:
    """Calls what is due, in order of time; equal times in the order of their entry."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._heap: list[tuple[float, int, Due]] = []
        self._order = count()
        self._armed_s = math.inf
        self._handle: asyncio.Handle | None = None
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._heap)

    def at(self, due_s: float, call: Due) -> None:
        """Call it at `due_s`, or as soon as possible after that."""
        heapq.heappush(self._heap, (due_s, next(self._order), call))
        if due_s < self._armed_s:
            self._arm()

    def close(self) -> None:
        """Forget everything."""
        self._is_closed = True
        self._heap.clear()
        if self._handle is not None:
            self._handle.cancel()

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if self._is_closed or not self._heap:
            self._armed_s, self._handle = math.inf, None
            return
        self._armed_s = self._heap[0][0]
        delay_s = self._armed_s - self._clock()
        if delay_s > 0:
            self._handle = self._loop.call_later(max(delay_s, TICK_S), self._fire)
        else:
            self._handle = self._loop.call_soon(self._fire)

    def _fire(self) -> None:
        heap = self._heap
        self._handle, self._armed_s = None, -math.inf
        now = self._clock()
        stop_s, calls = now + SLICE_S, 0
        while heap and heap[0][0] <= now:
            due_s, _, call = heapq.heappop(heap)
            call(due_s)
            calls += 1
            if calls % _LOOK_EVERY == 0:
                now = self._clock()
                if now > stop_s:
                    break
        self._armed_s = math.inf
        self._arm()
