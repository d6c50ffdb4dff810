"""What the registry decides: the effects of its events, for the core to carry out in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from module_gateway.module_handler.roster import Connection, Seat
from module_gateway.protocol.errors import Reason


@dataclass(frozen=True, slots=True)
class Accepted:
    """`seat` holds its identity from now on."""

    seat: Seat


@dataclass(frozen=True, slots=True)
class Refused:
    """`seat` is a newcomer that does not get its identity."""

    seat: Seat
    reason: Reason


@dataclass(frozen=True, slots=True)
class HolderEnded:
    """`seat` held its identity until now; `cause` is an EndCause number."""

    seat: Seat
    cause: int


@dataclass(frozen=True, slots=True)
class Adopted:
    """`seat` holds its identity although this handler did not decide so in this life."""

    seat: Seat


@dataclass(frozen=True, slots=True)
class ProbeWanted:
    """Ask the server of this connection whether it lives."""

    connection: Connection


@dataclass(frozen=True, slots=True)
class CloseWanted:
    """Tell the server of this connection to close it."""

    connection: Connection
    cause: int
    reason: Reason | None = None
    """Set when nothing else will tell the world why."""


@dataclass(frozen=True, slots=True)
class ListWanted:
    """Ask this server for the list of its live connections."""

    server: int


Outcome: TypeAlias = (
    Accepted | Refused | HolderEnded | Adopted | ProbeWanted | CloseWanted | ListWanted
)
