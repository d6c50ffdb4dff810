"""How far the deliveries of one lane of one lease are (bus.proto)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class DeliveryStream:
    """Numbers of deliveries, from 1 without a gap.

    Attributes:
        received: the newest that came.
        released: it and all before it have left this process.
        told: what the handler was told of `released`.
    """

    received: int = 0
    released: int = 0
    told: int = 0
    _released_early: set[int] = field(default_factory=set)

    def release(self, delivery: int) -> None:
        """This one has left the process."""
        if delivery != self.released + 1:
            self._released_early.add(delivery)
            return
        self.released = delivery
        while self.released + 1 in self._released_early:
            self.released += 1
            self._released_early.discard(self.released)
