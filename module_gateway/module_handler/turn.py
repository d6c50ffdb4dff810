"""What one decision collects: nothing of it leaves before all of it is committed (contract R1)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from module_gateway.bus.address import Address
from module_gateway.module_handler.store import Change, Query
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Identity

SERVER: Final = int(bus_pb2.INTERNAL_SERVER)

Field: TypeAlias = str | int | bytes


@dataclass(frozen=True, slots=True)
class Send:
    """A message for another process."""

    receiver: Address
    message: bus_pb2.Message


@dataclass(frozen=True, slots=True)
class Note:
    """One state change, for the log."""

    event: str
    fields: dict[str, Field]


@dataclass(slots=True, eq=False)
class Turn:
    """One run of the core over everything that has arrived.

    Attributes:
        now: monotonic seconds.
        unix_ms: wall time; only ever written down.
        changes: what must be permanent before anything below happens.
        sends: messages, in order per receiver.
        reads: what to ask the store after the commit; each page comes back as an event.
        touched: identities whose state must be stored at the end of the turn.
        counts: what was refused or dropped.
        notes: what is worth a line in the log.
        applied: statuses that were applied and answered.
        publications: statuses that went to the outbox.
    """

    now: float
    unix_ms: int
    changes: list[Change] = field(default_factory=list)
    sends: list[Send] = field(default_factory=list)
    reads: list[Query] = field(default_factory=list)
    touched: dict[Identity, None] = field(default_factory=dict)
    counts: Counter[Reason] = field(default_factory=Counter)
    notes: list[Note] = field(default_factory=list)
    applied: int = 0
    publications: int = 0

    def send(self, receiver: Address, message: bus_pb2.Message) -> None:
        """Send after the commit."""
        self.sends.append(Send(receiver, message))

    def send_to_server(self, server: int, message: bus_pb2.Message) -> None:
        """Send to an internal server, by its boot id."""
        self.sends.append(Send(Address(SERVER, server), message))

    def count(self, reason: Reason, times: int = 1) -> None:
        """Something was refused or dropped."""
        if times:
            self.counts[reason] += times

    def note(self, event: str, **fields: Field) -> None:
        """A state changed."""
        self.notes.append(Note(event, fields))
