"""When to look at which connection, without a timer per status. Pure.

Two kinds of deadlines. Answers all have the same window, so they fall due in the order in which
they were asked for: a queue is enough, and what was answered is found out when its turn comes. The
others (connect, frame, inactivity, writing) are seconds long and move with every status; each
connection keeps one entry that is never later than its true deadline and is put back when it turns
out to be early.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from math import inf
from typing import Generic, Protocol, TypeVar


class Watched(Protocol):
    """Something with a deadline.

    `watched_at` belongs to `Deadlines`; it starts as infinity.
    """

    watched_at: float

    @property
    def asked_at(self) -> float:
        """When the answer that it waits for was asked for; infinity while it waits for none."""

    @property
    def deadline(self) -> float:
        """Absolute, in the caller's seconds; infinity for none."""


Key = TypeVar("Key", bound=Watched)


class Deadlines(Generic[Key]):
    """Who must be looked at by when."""

    def __init__(self, answer_window_s: float) -> None:
        self._answer_window_s = answer_window_s
        self._answers: deque[tuple[float, Key]] = deque()
        self._others: list[tuple[float, int, Key]] = []
        self._entries = 0

    def expect_answer(self, key: Key, now: float) -> bool:
        """`key` has begun to wait for an answer now. True when nobody was waited for before."""
        self._answers.append((now, key))
        return len(self._answers) == 1

    def watch(self, key: Key) -> bool:
        """Call when the deadline of `key` may have become earlier. True when it has."""
        due = key.deadline
        if due >= key.watched_at:
            return False
        key.watched_at = due
        self._entries += 1
        heapq.heappush(self._others, (due, self._entries, key))
        return True

    def next_due(self) -> float:
        """Not later than the earliest deadline; infinity when there is none."""
        answer = self._answers[0][0] + self._answer_window_s if self._answers else inf
        other = self._others[0][0] if self._others else inf
        return min(answer, other)

    def take_due(self, now: float) -> Iterator[Key]:
        """Those whose deadline has passed. Whoever was early is put back."""
        answers, window_s = self._answers, self._answer_window_s
        while answers:
            asked_at, key = answers[0]
            is_awaited = key.asked_at == asked_at
            if is_awaited and asked_at + window_s > now:
                break
            answers.popleft()
            if is_awaited:
                yield key
        while self._others and self._others[0][0] <= now:
            due, _, key = heapq.heappop(self._others)
            if key.watched_at != due:
                continue  # an entry that an earlier one has replaced
            key.watched_at = inf
            if key.deadline <= now:
                yield key
            self.watch(key)
