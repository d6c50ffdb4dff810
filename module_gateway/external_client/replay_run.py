"""A part of one device's log that is sent entry by entry (contract R18)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from module_gateway.external_client.entries import Entry, Flight
from module_gateway.protocol.external import Position, Stretch


@dataclass(eq=False, slots=True)
class Run:
    """A part of one device's log without a gap: `first` … `received`, delivered in one lane.

    `done_behind`: an entry that must be sent again, and up to where those behind it need not.
    """

    first: int = 0
    received: int = 0
    acknowledged: int = 0
    waiting: deque[Entry] = field(default_factory=deque)
    in_flight: deque[Flight] = field(default_factory=deque)
    done_behind: dict[int, int] = field(default_factory=dict)

    def done_to(self, entry: Entry) -> int:
        """How far it is done with this entry, which is the oldest."""
        return self.done_behind.pop(entry.sequence, entry.sequence)

    def rewind(self) -> list[Entry]:
        """What was sent in vain, in order."""
        unacknowledged: list[Entry] = []
        for flight in self.in_flight:
            entry = flight.entry
            if entry is None:
                continue
            if not flight.is_acknowledged:
                unacknowledged.append(entry)
            elif unacknowledged:
                self.done_behind[unacknowledged[-1].sequence] = self.done_to(entry)
        self.in_flight.clear()
        return unacknowledged


def is_repeated_end(entry: Entry) -> bool:
    """It says that the device has left, and nothing else."""
    return entry.ends_registration and entry.is_repeat and entry.error is None


def is_within(entry: Entry, position: Position) -> bool:
    """Everything up to `position` has it; a marker repeats something that has."""
    return entry.is_marker or (
        entry.store_id == position.store_id and entry.sequence <= position.sequence
    )


def is_in(entry: Entry, stretch: Stretch) -> bool:
    """The stretch has it, all of it if it is a fold."""
    first = entry.first_sequence or entry.sequence
    return (
        entry.store_id == stretch.store_id
        and stretch.first_sequence <= first
        and entry.sequence <= stretch.sequence
    )
