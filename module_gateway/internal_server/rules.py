"""What holds for every device connection of a server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto, unique

from module_gateway.internal_server.validation import Refusal
from module_gateway.protocol.identity import Device


@unique
class Fault(Enum):
    """Misbehaviour on request, for tests of clients (fleet-protocol 5.2)."""

    NONE = auto()
    COMMUNICATION_ERROR = auto()
    """Answer every connect with response type -1."""
    SILENT_CONNECT = auto()
    """Never send a connect response, but go on as connected."""


@dataclass(frozen=True, slots=True)
class SessionRules:
    """What holds for every connection of a server. Defaults: fleet-protocol 1.5, 2.6, 2.7, 2.9."""

    admit: Callable[[Device], Refusal | None]
    """Judges a device before its handler is asked."""
    connect_deadline_s: float = 5.0
    frame_deadline_s: float = 10.0
    reply_window_s: float = 0.25
    inactivity_s: float = 30.0
    write_deadline_s: float = 5.0
    max_frame_bytes: int = 1024 * 1024
    fault: Fault = Fault.NONE
