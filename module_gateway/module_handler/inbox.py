"""What the bus gave and the handler has not decided about yet: bounded, in order."""

from __future__ import annotations

from collections import deque
from typing import Final

from module_gateway.module_handler.core import Event, Heard, MessagesMissed, PageRead

MAX_MESSAGES: Final = 50_000
"""About a second of work. The senders stop long before: they bound what is unanswered (decisions:
Bus), and a device whose request is dropped here is closed by its server and comes back."""

MAX_BATCHES: Final = 2_000
"""Batches have at most 64 KiB (or one large message), so this bounds the bytes."""

TURN_MESSAGES: Final = 2_000
"""Decided about at once: the first answers leave while the rest still waits."""


class Inbox:
    """A queue of events. Messages beyond the bounds are refused, news of peers never are.

    After the last of what waited when messages were refused, MessagesMissed comes out.
    """

    __slots__ = ("_batches", "_events", "_has_missed", "_messages")

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._messages = 0
        self._batches = 0
        self._has_missed = False

    def __len__(self) -> int:
        return len(self._events)

    @property
    def messages(self) -> int:
        """How many messages wait."""
        return self._messages

    def put(self, event: Event) -> bool:
        """Append; False when it is refused."""
        if isinstance(event, Heard):
            count = len(event.messages)
            if self._batches >= MAX_BATCHES or self._messages + count > MAX_MESSAGES:
                self._has_missed = True
                return False
            self._batches += 1
            self._messages += count
        self._events.append(event)
        return True

    def put_first(self, event: Event) -> None:
        """Something that must be known before all that waits. Not for messages."""
        self._events.appendleft(event)

    def forget_pages(self) -> None:
        """Whoever asked for what the store has found is no more."""
        self._events = deque(event for event in self._events if not isinstance(event, PageRead))

    def take(self, max_messages: int = TURN_MESSAGES) -> list[Event]:
        """The oldest events with about so many messages, at least one."""
        taken: list[Event] = []
        messages = 0
        while self._events and (not taken or messages < max_messages):
            event = self._events.popleft()
            if isinstance(event, Heard):
                messages += len(event.messages)
                self._batches -= 1
            taken.append(event)
        self._messages -= messages
        if self._has_missed and not self._events:
            self._has_missed = False
            taken.append(MessagesMissed())
        return taken
