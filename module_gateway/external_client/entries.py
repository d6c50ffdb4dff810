"""What a module handler delivers, and what becomes of it while nobody upstream listens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from module_gateway.protocol.external import Position
from module_gateway.protocol.identity import Device, Identity


class Lane(IntEnum):
    """In which of its streams a lease delivers something (bus.proto)."""

    FOLDED = 0
    REPLAYED = 1
    LIVE = 2


class Receipt(NamedTuple):
    """Which delivery of which lease and lane is still in this process (flow control)."""

    peer: int
    lease: int
    delivery: int
    lane: Lane = Lane.FOLDED


class Entry(NamedTuple):
    """One entry of the outbox, or a marker (contract R9).

    Attributes:
        sequence: its number in the outbox `store_id`; 0 is a marker, never stored or folded.
        ends_registration: the device has left; upstream that is DISCONNECT (R12).
        is_repeat: an earlier entry had the same status: it must not be folded again.
        error: not None when the handler folded the entries `first_sequence` … `sequence`.
        receipt: None when this process made the entry itself.
        lane: in which stream it was delivered.
        indivisible: with `error`, the entries up to here exist only in it; None: all of them.
    """

    device: Device
    status: bytes
    sequence: int = 0
    store_id: int = 0
    ends_registration: bool = False
    is_repeat: bool = False
    error: bytes | None = None
    first_sequence: int = 0
    time_unix_ms: int = 0
    receipt: Receipt | None = None
    lane: Lane = Lane.FOLDED
    indivisible: int | None = None

    @property
    def identity(self) -> Identity:
        """Whose it is."""
        return self.device.identity

    @property
    def is_marker(self) -> bool:
        """It only repeats."""
        return self.sequence == 0

    @property
    def position(self) -> Position | None:
        """What the control plane may remember as applied; None for a marker."""
        return None if self.is_marker else Position(self.store_id, self.sequence)


class Acknowledgement(NamedTuple):
    """The handler may forget this device's entries up to `position`.

    `first_sequence` 0: all of them, else from that one on.
    """

    identity: Identity
    position: Position
    first_sequence: int = 0


def longest(acknowledged: Iterable[Acknowledgement]) -> Iterable[Acknowledgement]:
    """Without those that another one, of the same beginning, says as well."""
    kept: dict[tuple[Identity, int, int], Acknowledgement] = {}
    for each in acknowledged:
        beginning = (each.identity, each.position.store_id, each.first_sequence)
        known = kept.get(beginning)
        if known is None or known.position.sequence < each.position.sequence:
            kept[beginning] = each
    return kept.values()


@dataclass(eq=False, slots=True)
class Flight:
    """One published status that waits for its StatusResponse. It carries an entry or a fold."""

    counter: int
    identity: Identity
    state: int
    sent_at: float
    entry: Entry | None = None
    is_probe: bool = False
    is_acknowledged: bool = False


@dataclass(frozen=True, slots=True)
class Fold:
    """A contiguous part of one device's log as one status (contract R8).

    Attributes:
        first: oldest entry in it.
        last: newest entry in it; an acknowledgement of the fold covers all up to here.
        indivisible: entries up to here exist only as a fold of the handler; nobody can split them.
        status: of the newest entry.
        error: the module's error aggregate, None while there is none.
        ends_registration: the newest entry ended the registration.
        has_news: False while it only repeats what was delivered before.
    """

    device: Device
    store_id: int
    first: int
    last: int
    status: bytes
    error: bytes | None = None
    indivisible: int = 0
    ends_registration: bool = False
    has_news: bool = False
    time_unix_ms: int = 0

    @property
    def position(self) -> Position:
        """What the control plane may remember as applied."""
        return Position(self.store_id, self.last)
