"""Where a status stands in its device's history, as a number that a database sorts by.

Live statuses come in the order in which they were recorded: each gets the next multiple of STEP.
A replayed one belongs between two that are there already, most often right behind the replayed one
before it: it gets a number in the gap. Pure but for the look at what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from module_gateway.control_plane.records import StatusRecord

STEP: Final = 2**32
"""Between two live statuses: two thousand million of them fit a signed number of 64 bits."""

REPLAY_STEP: Final = 2**12
"""Between two replayed ones in one gap: a million of them fit it. Later ones halve what is left."""

Placed = tuple[int, StatusRecord]
Downwards = Callable[[int], Iterator[Placed]]
"""What stands below a place, highest first."""


@dataclass(slots=True)
class _Gap:
    lower: Placed
    upper: Placed


class Places:
    """The places of one device's history. `top` is the highest in use, 0 for none."""

    __slots__ = ("_gap", "top")

    def __init__(self, top: int = 0) -> None:
        self.top = top
        self._gap: _Gap | None = None

    def next(self, status: StatusRecord, downwards: Downwards) -> int:
        """The place for one more status; it is in use from now on."""
        if not status.is_replayed:
            self.top += STEP
            return self.top
        gap = self._gap
        if gap is None or not _fits(status, gap):
            gap = self._find(status, downwards)
        if gap is None:
            self._gap = None
            self.top += STEP
            return self.top
        low, high = gap.lower[0], gap.upper[0]
        place = min(low + REPLAY_STEP, (low + high) // 2)
        self._gap = _Gap((place, status), gap.upper)
        return place

    def _find(self, status: StatusRecord, downwards: Downwards) -> _Gap | None:
        """Between what is older and what is newer; None: nothing there is newer."""
        upper: Placed | None = None
        for placed in downwards(self.top + 1):
            if not status.is_older_than(placed[1]):
                return None if upper is None else _Gap(placed, upper)
            upper = placed
        return None if upper is None else _Gap((upper[0] - STEP, status), upper)


def _fits(status: StatusRecord, gap: _Gap) -> bool:
    return not status.is_older_than(gap.lower[1]) and status.is_older_than(gap.upper[1])
