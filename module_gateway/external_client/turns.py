"""Devices take turns, and replay takes turns with everything else (contract R18)."""

from __future__ import annotations

from collections import deque

from module_gateway.external_client.entries import Lane
from module_gateway.protocol.identity import Identity


class _Queue:
    """Everybody at most once, in order."""

    def __init__(self) -> None:
        self._turns: deque[Identity] = deque()
        self._members: set[Identity] = set()

    def __len__(self) -> int:
        return len(self._turns)

    def add(self, identity: Identity) -> None:
        if identity not in self._members:
            self._members.add(identity)
            self._turns.append(identity)

    def pop(self) -> Identity:
        identity = self._turns.popleft()
        self._members.discard(identity)
        return identity

    def clear(self) -> None:
        self._turns.clear()
        self._members.clear()


class Turns:
    """Whose status is next. While both wait, every other one is replayed: live never starves."""

    def __init__(self) -> None:
        self._current = _Queue()
        self._replayed = _Queue()
        self._was_replayed = False

    def __len__(self) -> int:
        return len(self._current) + len(self._replayed)

    def add(self, identity: Identity, *, is_replayed: bool = False) -> None:
        """It has something to send; once is enough."""
        (self._replayed if is_replayed else self._current).add(identity)

    def pop(self) -> tuple[Identity, Lane]:
        """The next one; there must be one."""
        is_replayed = not len(self._current) or (
            bool(len(self._replayed)) and not self._was_replayed
        )
        self._was_replayed = is_replayed
        if is_replayed:
            return self._replayed.pop(), Lane.REPLAYED
        return self._current.pop(), Lane.LIVE

    def clear(self) -> None:
        """Nobody has anything to send any more."""
        self._current.clear()
        self._replayed.clear()
