"""Devices take turns, and replay takes turns with everything else (contract R18)."""

from __future__ import annotations

from collections import OrderedDict

from module_gateway.external_client.entries import Lane
from module_gateway.protocol.identity import Identity


class Turns:
    """Whose status is next. While both wait, every other one is replayed: live never starves."""

    def __init__(self) -> None:
        # Everybody at most once, in order: who is in keeps the place.
        self._current: OrderedDict[Identity, None] = OrderedDict()
        self._replayed: OrderedDict[Identity, None] = OrderedDict()
        self._was_replayed = False

    def __bool__(self) -> bool:
        """Somebody has something to send."""
        return bool(self._current or self._replayed)

    def add(self, identity: Identity, *, is_replayed: bool = False) -> None:
        """It has something to send; once is enough."""
        (self._replayed if is_replayed else self._current)[identity] = None

    def pop(self) -> tuple[Identity, Lane]:
        """The next one; there must be one."""
        is_replayed = not self._current or (bool(self._replayed) and not self._was_replayed)
        self._was_replayed = is_replayed
        if is_replayed:
            return self._replayed.popitem(last=False)[0], Lane.REPLAYED
        return self._current.popitem(last=False)[0], Lane.LIVE

    def clear(self) -> None:
        """Nobody has anything to send any more."""
        self._current.clear()
        self._replayed.clear()
