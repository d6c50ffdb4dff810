"""Many deadlines, each re-armed far more often than it expires. Pure: time is an argument."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from itertools import count
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Deadlines(Generic[Key]):
    """At most one deadline per key, in monotonic seconds.

    Re-arming a deadline to a later time costs one dictionary write: the heap keeps the early
    place of the key, and only when that place comes up does the key move to its true one. So a
    device that publishes ten times a second costs its heartbeat nothing.
    """

    __slots__ = ("_due", "_heap", "_numbers", "_place")

    def __init__(self) -> None:
        self._due: dict[Key, float] = {}
        self._place: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._numbers = count()

    def arm(self, key: Key, due: float) -> None:
        """Let `key` expire at `due` and at no other time."""
        self._due[key] = due
        place = self._place.get(key)
        if place is None or due < place:
            self._put(key, due)

    def disarm(self, key: Key) -> None:
        """`key` does not expire any more; unknown keys are fine."""
        self._due.pop(key, None)

    def due(self, key: Key) -> float | None:
        """When `key` expires, None if it does not."""
        return self._due.get(key)

    def next_due(self) -> float | None:
        """No key expires before this time; None if none ever will."""
        return self._heap[0][0] if self._heap else None

    def expired(self, now: float) -> list[Key]:
        """The keys whose time has come, earliest first; they are disarmed."""
        keys = []
        while self._heap and self._heap[0][0] <= now:
            place, _, key = heapq.heappop(self._heap)
            if self._place.get(key) != place:
                continue  # the key was moved to an earlier place; that one counts
            del self._place[key]
            due = self._due.get(key)
            if due is None:
                continue
            if due > now:
                self._put(key, due)
            else:
                del self._due[key]
                keys.append(key)
        return keys

    def _put(self, key: Key, due: float) -> None:
        self._place[key] = due
        heapq.heappush(self._heap, (due, next(self._numbers), key))
