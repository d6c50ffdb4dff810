"""How patient the server is with those who misbehave again and again. Pure.

A device that breaks the protocol is closed, comes back at once and breaks it again: thousands of
times per second, if nobody minds, at the cost of its neighbours and of the log. So everybody may
offend a few times; whoever goes on is closed only after a pause, and not for each time with a line.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

BURST: Final = 10
"""So many offences in a row are closed at once and logged: a person who tries something out."""

REFILL_S: Final = 5.0
"""After so long without an offence one more is free again."""

PAUSE_S: Final = 0.25
"""Before the end of a connection of somebody who goes on: a few connections per second and offender
cost a healthy device nothing that can be measured."""

MAX_OFFENDERS: Final = 1024
"""Remembered at once; the one that has been quiet for longest is forgotten first."""


@dataclass(slots=True)
class _Record:
    spent: float
    noted_at: float
    unlogged: int = 0


class Offences:
    """What each offender has left. An offender is a device that was accepted, else its host."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def note(self, offender: str, now: float) -> int | None:
        """One more offence.

        Returns how many went unlogged since the last one that did not; None when this one is too
        many: it is to be slowed down, and not to be logged.
        """
        record = self._records.pop(offender, None) or _Record(0.0, now)
        self._records[offender] = record
        if len(self._records) > MAX_OFFENDERS:
            self._records.popitem(last=False)
        record.spent = max(0.0, record.spent - (now - record.noted_at) / REFILL_S)
        record.noted_at = now
        if record.spent + 1 > BURST:
            record.unlogged += 1
            return None
        record.spent += 1
        unlogged, record.unlogged = record.unlogged, 0
        return unlogged

    def is_slowed(self, offender: str) -> bool:
        """Whether its last offence was too many: what it does is not worth a line."""
        record = self._records.get(offender)
        return record is not None and record.unlogged > 0
