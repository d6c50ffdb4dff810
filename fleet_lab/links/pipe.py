"""A shim with its timer: one direction that delivers by itself when it is time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fleet_lab.links.shim import Item, Shim


class Pipe:
    """What is put in is given to `deliver` when the shim lets it arrive."""

    __slots__ = ("_deliver", "_loop", "_timer", "shim")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, shim: Shim, deliver: Callable[[Item], None]
    ) -> None:
        self._loop = loop
        self.shim = shim
        self._deliver = deliver
        self._timer: asyncio.TimerHandle | None = None

    def put(self, item: Item) -> None:
        """Send it on its way."""
        self.shim.put(item, self._loop.time())
        if self._timer is None:
            self.pump()

    def pump(self) -> None:
        """Deliver what is due and set the timer for the rest."""
        self.stop()
        for item in self.shim.take(self._loop.time()):
            self._deliver(item)
        due_s = self.shim.next_due_s(self._loop.time())
        if due_s is not None and self._timer is None:
            self._timer = self._loop.call_at(due_s, self.pump)

    def stop(self) -> None:
        """No delivery until the next `put` or `pump`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
