"""What the handler believes each internal server has open, and how the two are compared.

Pure. A `Seat` is one connection of one device; a `Roster` holds the seats of one server in the
life of its boot id. Contract R6: a digest with every heartbeat, a list when they differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique
from typing import NamedTuple

from module_gateway.protocol import bus_pb2
from module_gateway.protocol.identity import Device, Identity
from module_gateway.protocol.live_digest import RunningDigest


class Connection(NamedTuple):
    """Names one connection: the boot id of its internal server, and its instance there."""

    server: int
    instance: int


@unique
class Standing(Enum):
    """What a connection is to its identity."""

    WAITING = "waiting"
    """A newcomer without a verdict."""
    HOLDER = "holder"
    """The one live holder of the identity."""
    OVER = "over"
    """Refused or ended here; its server has not said yet that it is closed."""


@dataclass(slots=True, eq=False)
class Seat:
    """One connection of a device.

    Attributes:
        last_sequence: of its statuses that were applied, 0 for none.
        reply: the answer to `last_sequence`, None before the first one.
        is_confirmed: its server has spoken of it in this life of the handler. A holder that
            comes out of the store is not, until its server lists it.
        over_cause: why it ended, as an EndCause number, once it is OVER.
    """

    connection: Connection
    device: Device
    standing: Standing
    last_sequence: int = 0
    reply: bytes | None = None
    is_confirmed: bool = True
    over_cause: int = bus_pb2.LOST

    @property
    def identity(self) -> Identity:
        """Of its device."""
        return self.device.identity


class Roster:
    """The seats of one server: requested, and not yet said to be ended by the server."""

    __slots__ = ("_digest", "_seats", "_suspects")

    def __init__(self) -> None:
        self._seats: dict[int, Seat] = {}
        self._digest = RunningDigest()
        self._suspects: dict[int, Seat] | None = None

    def __len__(self) -> int:
        return len(self._seats)

    def get(self, instance: int) -> Seat | None:
        """The seat of an instance."""
        return self._seats.get(instance)

    def add(self, seat: Seat) -> None:
        """The server has spoken of a new instance."""
        instance = seat.connection.instance
        self._seats[instance] = seat
        self._digest.add(instance)

    def remove(self, instance: int) -> Seat | None:
        """The server has said that the instance ended, or no longer lists it."""
        seat = self._seats.pop(instance, None)
        if seat is not None:
            self._digest.remove(instance)
            if self._suspects is not None:
                self._suspects.pop(instance, None)
        return seat

    def seats(self) -> list[Seat]:
        """All seats, oldest first."""
        return list(self._seats.values())

    def agrees_with(self, count: int, digest: int) -> bool:
        """Whether a digest of the server's describes these very seats."""
        return (self._digest.count, self._digest.value) == (count, digest)

    def begin_list(self) -> None:
        """The first part of a list arrived: whoever is here now must be in it."""
        self._suspects = dict(self._seats)

    def is_listing(self) -> bool:
        """Whether a list has begun and not ended."""
        return self._suspects is not None

    def listed(self, instance: int) -> None:
        """The list names this instance."""
        if self._suspects is not None:
            self._suspects.pop(instance, None)

    def end_list(self) -> list[Seat]:
        """The last part arrived: the seats that the list should have named and did not."""
        missing = list((self._suspects or {}).values())
        self._suspects = None
        return missing
