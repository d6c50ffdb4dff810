"""What the pure parts of the external client ask their shell to do."""

from __future__ import annotations

from dataclasses import dataclass

from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.external import ClientMessage, Command
from module_gateway.protocol.identity import Device, Identity


@dataclass(frozen=True, slots=True)
class Publish:
    """Send it to the control plane, in the order of these effects."""

    message: ClientMessage


@dataclass(frozen=True, slots=True)
class Tell:
    """Send it to the handler with this boot id, in the order of these effects."""

    peer: int
    message: bus_pb2.Message


@dataclass(frozen=True, slots=True)
class Count:
    """Something was ignored or refused."""

    reason: Reason
    amount: int = 1


@dataclass(frozen=True, slots=True)
class SessionUp:
    """A connect sequence succeeded."""

    session: int
    devices: int


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """A session, or an attempt at one, is over. `retry_in_s` None: nothing is left to report."""

    session: int
    reason: Reason
    was_up: bool
    retry_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class Confined:
    """The control plane does not know this device (R16)."""

    device: Identity


@dataclass(frozen=True, slots=True)
class Superseded:
    """Another client has this endpoint's lease: this process must end (R17)."""

    detail: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """Everything that a stop asks for is done."""


Effect = Publish | Tell | Count | SessionUp | SessionEnded | Confined | Superseded | Stopped
"""What an endpoint asks for."""


# What one session asks of its endpoint


@dataclass(frozen=True, slots=True)
class Forward:
    """Give the command to the handler that owns its device (R19)."""

    session: int
    command: Command


@dataclass(frozen=True, slots=True)
class Expose:
    """What was delivered until now may reach the control plane from now on."""

    session: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The control plane acknowledged the CONNECTING of this device."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class Unknown:
    """The control plane acknowledged others, but never the CONNECTING of this device."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class Established:
    """The connect sequence is complete and the settle gap has passed."""

    devices: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over; it says nothing any more."""

    reason: Reason


SessionEffect = Publish | Count | Forward | Expose | Accepted | Unknown | Established | Ended


@dataclass(frozen=True, slots=True)
class Guest:
    """A device that a Connect lists, and what its CONNECTING will say."""

    device: Device
    status: bytes


__all__ = [
    "Accepted",
    "Confined",
    "Count",
    "Effect",
    "Ended",
    "Established",
    "Expose",
    "Forward",
    "Guest",
    "Publish",
    "SessionEffect",
    "SessionEnded",
    "SessionUp",
    "Stopped",
    "Superseded",
    "Tell",
    "Unknown",
]
