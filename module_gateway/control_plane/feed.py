"""News for whoever listens: each listener has a bounded backlog, a slow one is dropped."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

from module_gateway.control_plane import metrics
from module_gateway.protocol.errors import GatewayError, Reason

BACKLOG_BYTES: Final = 8 * 1024 * 1024
"""Per listener, beside its bound in events."""


class TooManyListenersError(GatewayError):
    """Nobody else may listen now."""


@dataclass(frozen=True, slots=True)
class News:
    """One event: its kind and its content as one line of JSON."""

    kind: str
    content: str


class Listener:
    """One reader's backlog. Read it from one task."""

    def __init__(self, backlog_events: int) -> None:
        self._bound = backlog_events
        self._backlog: deque[News] = deque()
        self._backlog_bytes = 0
        self._news = asyncio.Event()
        self._is_ended = False

    @property
    def is_ended(self) -> bool:
        """Nothing more will come after what is in the backlog."""
        return self._is_ended

    def offer(self, news: News) -> bool:
        """Append; False when the listener is too far behind: it then hears that as its last."""
        size_bytes = len(news.content)
        is_full = len(self._backlog) >= self._bound
        if is_full or self._backlog_bytes + size_bytes > BACKLOG_BYTES:
            self._backlog.clear()
            self.end(News("dropped", '{"reason":"too slow: events were missed, listen again"}'))
            return False
        self._backlog.append(news)
        self._backlog_bytes += size_bytes
        self._news.set()
        return True

    def end(self, last: News | None = None) -> None:
        """Let the reader finish its backlog, and `last`, and no more."""
        if last is not None:
            self._backlog.append(last)
        self._is_ended = True
        self._news.set()

    async def next(self, timeout_s: float) -> News | None:
        """The next event; None when there was none for so long, or when there will be none."""
        if not self._backlog and not self._is_ended:
            self._news.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._news.wait()
            except TimeoutError:
                return None
        if not self._backlog:
            return None
        news = self._backlog.popleft()
        self._backlog_bytes -= len(news.content)
        return news


class Feed:
    """Gives every event to every listener."""

    def __init__(self, max_listeners: int, backlog_events: int) -> None:
        self._max_listeners = max_listeners
        self._backlog_events = backlog_events
        self._listeners: set[Listener] = set()
        self._is_closed = False

    @property
    def has_listeners(self) -> bool:
        """Whether it is worth preparing an event."""
        return bool(self._listeners)

    def listen(self) -> Listener:
        """A new listener; it hears what is published from now on.

        Raises:
            TooManyListenersError: the bound is reached, or the feed is closed.
        """
        if self._is_closed:
            raise TooManyListenersError("the control plane is stopping")
        if len(self._listeners) >= self._max_listeners:
            raise TooManyListenersError(f"{len(self._listeners)} event streams are open already")
        listener = Listener(self._backlog_events)
        self._listeners.add(listener)
        metrics.LISTENERS.set(len(self._listeners))
        return listener

    def leave(self, listener: Listener) -> None:
        """The reader has gone."""
        self._listeners.discard(listener)
        metrics.LISTENERS.set(len(self._listeners))

    def publish(self, news: News) -> None:
        """Give an event to everybody who keeps up."""
        for listener in [each for each in self._listeners if not each.offer(news)]:
            metrics.DROPPED.labels(reason=Reason.LISTENER_SLOW).inc()
            self.leave(listener)

    def close(self) -> None:
        """End all streams."""
        self._is_closed = True
        for listener in list(self._listeners):
            listener.end(News("closed", '{"reason":"the control plane stops"}'))
            self.leave(listener)
