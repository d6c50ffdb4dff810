"""What happens to an endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from module_gateway.protocol import bus_pb2
from module_gateway.protocol.external import ServerMessage


@dataclass(frozen=True, slots=True)
class BrokerUp:
    """Connected, and both topics of the server are subscribed."""


@dataclass(frozen=True, slots=True)
class BrokerDown:
    """The connection is gone, and with it every message under way (R17)."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The control plane sent a message."""

    message: ServerMessage


@dataclass(frozen=True, slots=True)
class Noticed:
    """The control plane published its disconnect notification."""


@dataclass(frozen=True, slots=True)
class HandlerUp:
    """A handler was heard first, or what it serves has changed."""

    peer: int
    presence: bus_pb2.Presence


@dataclass(frozen=True, slots=True)
class HandlerLost:
    """A handler fell silent."""

    peer: int


@dataclass(frozen=True, slots=True)
class HandlerSaid:
    """A handler sent messages, in this order."""

    peer: int
    messages: Sequence[bus_pb2.Message]


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The local bus is back."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class StopAsked:
    """The process is to end."""


Event = (
    BrokerUp
    | BrokerDown
    | Heard
    | Noticed
    | HandlerUp
    | HandlerLost
    | HandlerSaid
    | LinkUp
    | Tick
    | StopAsked
)
