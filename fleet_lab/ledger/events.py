"""What a tap saw upstream: plain facts about one vehicle's session, in the order of the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from module_gateway.protocol.external import DeviceState, Position
from module_gateway.protocol.identity import Identity


@dataclass(frozen=True, slots=True)
class Opened:
    """The gateway asked for a new session; its older ones are over."""

    vehicle: str
    session: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Accepted:
    """The control plane accepted a session; `applied` is what it says it has (optional)."""

    vehicle: str
    session: str
    at_s: float
    applied: Mapping[Identity, Position] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Upstream:
    """One status on its way to the control plane.

    Attributes:
        vehicle: `company/vehicle`.
        number: of the attempt, as the status itself carries it; None when it carries none.
        device_id: of the device that wrote the status, as the status itself carries it.
        error: the error aggregate, None when the status has none (only CONNECTING may).
        counter: of the session, 1, 2, 3 … (fleet-protocol 4.5).
        position: the gateway's own number for it, None for a marker or a plain peer.
    """

    vehicle: str
    session: str
    counter: int
    device: Identity
    number: int | None
    state: int
    at_s: float
    error: bytes | None = None
    position: Position | None = None
    device_id: str | None = None
    is_replayed: bool = False

    @property
    def is_connecting(self) -> bool:
        return self.state == DeviceState.CONNECTING


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The control plane acknowledged the status with this counter."""

    vehicle: str
    session: str
    counter: int
    at_s: float


TapEvent: TypeAlias = Opened | Accepted | Upstream | Acknowledged
