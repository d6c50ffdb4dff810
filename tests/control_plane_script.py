"""A gateway's side of a session, spelled out: for tests of the control plane's pure parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from module_gateway.control_plane.events import (
    CommandWanted,
    Dropped,
    Effect,
    Event,
    MessageReceived,
    Publish,
    PublishDisconnect,
    SessionEnded,
    StatusApplied,
    StatusRepeated,
    Tick,
)
from module_gateway.control_plane.positions import AppliedPositions
from module_gateway.control_plane.session import Limits, VehicleSession
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.external import (
    ClientMessage,
    Command,
    CommandResponse,
    Connect,
    ConnectResponse,
    DeviceState,
    Position,
    ServerMessage,
    Status,
    StatusResponse,
)
from module_gateway.protocol.identity import Device, Identity

BUTTON = Device.of(1000, 0, "left_button", "button1", 1)
LAMP = Device.of(7, 42, "lamp", "lamp1", 3)
SESSION = "Ab3dE5gH"
ROOM = 100


def connect(
    devices: Sequence[Device] = (BUTTON,),
    session_id: str = SESSION,
    capabilities: tuple[str, ...] = (),
) -> Connect:
    return Connect(session_id, "acme", "van", tuple(devices), capabilities)


def status(
    counter: int,
    device: Device = BUTTON,
    state: int = DeviceState.RUNNING,
    data: bytes = b"{}",
    session_id: str = SESSION,
    sequence: int | None = None,
    store_id: int = 9,
    error: bytes | None = None,
    *,
    time_unix_ms: int = 0,
    is_replayed: bool = False,
    is_live: bool = False,
) -> Status:
    position = None if sequence is None else Position(store_id, sequence)
    return Status(
        session_id,
        state,
        counter,
        device,
        data,
        error,
        position,
        time_unix_ms,
        is_replayed,
        is_live,
    )


class Script:
    """A session and a clock that stands still unless told."""

    def __init__(
        self,
        limits: Limits | None = None,
        positions: AppliedPositions | None = None,
        known: Iterable[Identity] = (),
    ) -> None:
        self.session = VehicleSession(limits or Limits(), positions, known)
        self.now = 1000.0
        self.room = ROOM

    def step(self, event: Event) -> list[Effect]:
        return self.session.step(event, self.now)

    def send(self, message: ClientMessage, size_bytes: int = 50) -> list[Effect]:
        return self.step(MessageReceived(message, size_bytes, self.room))

    def want(
        self,
        command_id: str,
        device: Device = BUTTON,
        command: bytes = b"go",
        valid_for_s: float = 30.0,
    ) -> list[Effect]:
        return self.step(CommandWanted(command_id, device, command, self.now + valid_for_s))

    def wait(self, seconds: float) -> list[Effect]:
        self.now += seconds
        return self.step(Tick())

    def run_sequence(self, devices: Sequence[Device] = (BUTTON,), session_id: str = SESSION) -> int:
        """Connect, statuses, commands: to RUNNING. Returns the last status counter."""
        self.send(connect(devices, session_id))
        sent: list[Effect] = []
        for counter, device in enumerate(devices, start=1):
            sent += self.send(
                status(counter, device, DeviceState.CONNECTING, session_id=session_id)
            )
        for command in commands(sent):
            self.send(CommandResponse(session_id, 0, command.counter))
        return len(devices)


def published(effects: Iterable[Effect]) -> list[ServerMessage]:
    return [effect.message for effect in effects if isinstance(effect, Publish)]


def acknowledged(effects: Iterable[Effect]) -> list[int]:
    return [m.counter for m in published(effects) if isinstance(m, StatusResponse)]


def commands(effects: Iterable[Effect]) -> list[Command]:
    return [m for m in published(effects) if isinstance(m, Command)]


def connect_responses(effects: Iterable[Effect]) -> list[ConnectResponse]:
    return [m for m in published(effects) if isinstance(m, ConnectResponse)]


def applied(effects: Iterable[Effect]) -> list[bytes]:
    return [effect.status for effect in effects if isinstance(effect, StatusApplied)]


def repeated(effects: Iterable[Effect]) -> list[StatusRepeated]:
    return [effect for effect in effects if isinstance(effect, StatusRepeated)]


def ended(effects: Iterable[Effect]) -> list[Reason]:
    return [effect.reason for effect in effects if isinstance(effect, SessionEnded)]


def dropped(effects: Iterable[Effect]) -> list[Reason]:
    return [effect.reason for effect in effects if isinstance(effect, Dropped)]


def is_notified(effects: Iterable[Effect]) -> bool:
    return PublishDisconnect() in list(effects)
