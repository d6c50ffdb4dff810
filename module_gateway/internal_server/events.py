"""What can happen to a device connection, and what the session wants done about it.

Both are closed unions: `DeviceSession.step` takes any `Event` and returns `Effect`s.
"""

from __future__ import annotations

from dataclasses import dataclass

from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Device

# ---- events --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BytesReceived:
    """The socket gave bytes, cut anywhere."""

    chunk: bytes


@dataclass(frozen=True, slots=True)
class PeerClosed:
    """End of file, reset or read error."""


@dataclass(frozen=True, slots=True)
class VerdictArrived:
    """The handler decided about the connect. `response` is a ConnectResponseType number."""

    response: int


@dataclass(frozen=True, slots=True)
class ReplyArrived:
    """The handler answers status `sequence`: it is committed."""

    sequence: int
    command: bytes


@dataclass(frozen=True, slots=True)
class RefusalArrived:
    """Status `sequence` gets no command; the connection ends."""

    sequence: int
    cause: bus_pb2.EndCause
    reason: Reason


@dataclass(frozen=True, slots=True)
class CommandPushed:
    """A command for a push-only device (fleet-protocol 2.10)."""

    command: bytes


@dataclass(frozen=True, slots=True)
class CloseOrdered:
    """The handler or the server itself wants this connection gone."""

    reason: Reason
    cause: bus_pb2.EndCause


@dataclass(frozen=True, slots=True)
class Probed:
    """The handler asks whether this connection lives (contract R5)."""


@dataclass(frozen=True, slots=True)
class DeadlineChecked:
    """Time has passed; `DeviceSession.deadline` may have been reached."""


@dataclass(frozen=True, slots=True)
class WritingStalled:
    """The device does not take what was written to it."""


@dataclass(frozen=True, slots=True)
class WritingResumed:
    """Everything written has left."""


@dataclass(frozen=True, slots=True)
class FramesHeld:
    """The handler is busy enough: look at no further frame."""


@dataclass(frozen=True, slots=True)
class FramesReleased:
    """Go on with the frames."""


Event = (
    BytesReceived
    | PeerClosed
    | VerdictArrived
    | ReplyArrived
    | RefusalArrived
    | CommandPushed
    | CloseOrdered
    | Probed
    | DeadlineChecked
    | WritingStalled
    | WritingResumed
    | FramesHeld
    | FramesReleased
)

# ---- effects -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RequestConnect:
    """Ask the handler about this device; a VerdictArrived is due within the reply window."""

    device: Device


@dataclass(frozen=True, slots=True)
class RequestStatus:
    """Hand a status over; a ReplyArrived or RefusalArrived is due within the reply window."""

    sequence: int
    status: bytes


@dataclass(frozen=True, slots=True)
class WriteConnectResponse:
    """One whole frame, for one write."""

    frame: bytes
    response: int
    waited_s: float
    """Since the connect was handed over; 0 when the session decided itself."""


@dataclass(frozen=True, slots=True)
class WriteCommand:
    """One whole frame, for one write."""

    frame: bytes
    waited_s: float
    """Since the status was handed over; negative for a pushed command."""


@dataclass(frozen=True, slots=True)
class AnswerProbe:
    """Tell the handler whether this connection lives."""

    is_alive: bool


@dataclass(frozen=True, slots=True)
class Drop:
    """Something was thrown away: count it."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket; comes once, and nothing after it but `Drop` and `AnswerProbe`."""

    reason: Reason
    cause: bus_pb2.EndCause
    flushes: bool
    """Whether what was just written must still leave."""
    detail: str = ""


Effect = (
    RequestConnect
    | RequestStatus
    | WriteConnectResponse
    | WriteCommand
    | AnswerProbe
    | Drop
    | Close
)
