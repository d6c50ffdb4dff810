"""What happens to the session of one vehicle, and what follows from it.

`session.VehicleSession.step` takes one event and gives effects. An effect is either a `Change`,
which is committed to the store, or an output, which leaves only after that commit (contract R1).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique

from module_gateway.protocol.errors import Reason
from module_gateway.protocol.external import ClientMessage, Position, ServerMessage
from module_gateway.protocol.identity import Device, Identity


@unique
class CommandState(StrEnum):
    """Where a posted command is. The last seven are final."""

    WAITING = "waiting"
    SENT = "sent"
    OK = "ok"
    """The gateway stored it; that does not say that the device obeyed."""
    DEVICE_NOT_CONNECTED = "device_not_connected"
    DEVICE_NOT_SUPPORTED = "device_not_supported"
    INVALID_COMMAND = "invalid_command"
    REFUSED = "refused"
    """The gateway answered with a number that the protocol does not know."""
    EXPIRED = "expired"
    """Its device did not come within the command's validity: it was never sent."""
    UNANSWERED = "unanswered"
    """The session ended before the answer: it may or may not have been stored."""

    @property
    def is_final(self) -> bool:
        """Nothing will change any more."""
        return self not in {CommandState.WAITING, CommandState.SENT}


# ---- events --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """The vehicle's gateway sent a message.

    `room` is how many devices that nobody knows yet may still be remembered.
    """

    message: ClientMessage
    size_bytes: int
    room: int


@dataclass(frozen=True, slots=True)
class CommandWanted:
    """Somebody posted a command; it waits for its device until `expires_at` (monotonic s)."""

    command_id: str
    device: Device
    command: bytes
    expires_at: float


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class LinkLost:
    """The broker connection broke: what was under way may be lost."""


@dataclass(frozen=True, slots=True)
class LinkRestored:
    """Connected and subscribed again after a `LinkLost`."""


@dataclass(frozen=True, slots=True)
class StopWanted:
    """This process ends."""


Event = MessageReceived | CommandWanted | Tick | LinkLost | LinkRestored | StopWanted


# ---- effects: changes ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """A Connect was accepted. Each of `devices` is known from now on, none is connected yet."""

    session_id: str
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True)
class SessionReady:
    """The connect sequence is complete."""

    session_id: str


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """No device of the vehicle is connected any more."""

    session_id: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class StatusApplied:
    """A status to keep.

    Everything of its device up to `position` is applied now; if `live_from` is not 0, only what is
    numbered from there on. `is_connected` is the device's registration afterwards.
    """

    session_id: str
    device: Device
    state: int
    status: bytes
    error: bytes | None
    position: Position | None
    time_unix_ms: int
    is_replayed: bool
    is_connected: bool
    live_from: int = 0


@dataclass(frozen=True, slots=True)
class StatusRepeated:
    """A status whose position was applied before: only the registration follows it.

    What else its position proves is the same as with `StatusApplied`.
    """

    device: Device
    position: Position
    is_connected: bool
    live_from: int = 0


@dataclass(frozen=True, slots=True)
class DeviceLeft:
    """The gateway says that it does not have this device."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class CommandSent:
    """A posted command leaves under this counter."""

    command_id: str
    counter: int


@dataclass(frozen=True, slots=True)
class CommandFinished:
    """A posted command has its outcome. `response` is the gateway's number, None without one."""

    command_id: str
    outcome: CommandState
    response: int | None = None


Change = (
    SessionStarted
    | SessionReady
    | SessionEnded
    | StatusApplied
    | StatusRepeated
    | DeviceLeft
    | CommandSent
    | CommandFinished
)


# ---- effects: outputs -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Publish:
    """Send a message to the gateway."""

    message: ServerMessage


@dataclass(frozen=True, slots=True)
class PublishDisconnect:
    """Send the disconnect notification: the vehicle has no session here."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Something was not used, and why: a counter and a log line."""

    reason: Reason
    detail: str = ""


Output = Publish | PublishDisconnect | Dropped
Effect = Change | Output
