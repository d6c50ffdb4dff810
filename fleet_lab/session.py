"""The device's side of the conversation with a gateway (fleet-protocol 2.2, 2.6, 2.11).

Pure: bytes in, events out; no socket, no clock. Strict like the strictest client library: one
status at a time, every reply must carry the whole device, nothing may come unasked except
commands to a push-only device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias, assert_never

from fleet_lab.frames import command_in, own_field, status_frame
from module_gateway.protocol.errors import LocalProtocolError, Reason, RemoteProtocolError
from module_gateway.protocol.framing import FrameDecoder
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import (
    ConnectResponseType,
    DeviceCommand,
    DeviceConnectResponse,
    decode_server_message,
    encode_connect,
)

EXPLANATIONS: Final = {
    ConnectResponseType.ALREADY_CONNECTED: (
        "another device with this module, type and role is connected"
    ),
    ConnectResponseType.MODULE_NOT_SUPPORTED: (
        "the gateway does not serve this module, or no endpoint of its configuration lists it"
    ),
    ConnectResponseType.DEVICE_NOT_SUPPORTED: (
        "the module does not know this device type, or the role is empty"
    ),
    ConnectResponseType.HIGHER_PRIORITY_ALREADY_CONNECTED: (
        "a device with this module, type and role and a higher priority is connected"
    ),
}
"""What each refusal means, in one line."""


def explain(response: int) -> str:
    """One line for a refusal, also for a number that nobody knows."""
    try:
        known = ConnectResponseType(response)
    except ValueError:
        return f"response {response}, which the protocol does not define"
    return f"{known.name}: {EXPLANATIONS.get(known, 'accepted')}"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The gateway took the device; statuses may be sent."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The gateway did not take the device and is about to close."""

    response: int

    @property
    def is_lasting(self) -> bool:
        """Whether trying again is pointless until somebody changes the gateway's configuration."""
        return self.response not in (
            ConnectResponseType.ALREADY_CONNECTED,
            ConnectResponseType.HIGHER_PRIORITY_ALREADY_CONNECTED,
        )


@dataclass(frozen=True, slots=True)
class Commanded:
    """A command arrived: the answer to the status in flight, or pushed without one."""

    command: bytes
    is_pushed: bool


Event: TypeAlias = Accepted | Refused | Commanded


class Phase(Enum):
    """Where the conversation stands."""

    CONNECTING = auto()
    READY = auto()
    AWAITING = auto()
    OVER = auto()


_READY: Final = Phase.READY
_AWAITING: Final = Phase.AWAITING
"""Looked up for every status; a member of an enumeration is several times slower to find."""
_REMEMBERED_BYTES: Final = 512
"""Longer replies are read each time: a fleet must not hold them all in memory."""


class DeviceSession:
    """One connection of one device, from its connect frame to its end.

    What every status and every reply have in common is made once, and a reply that comes as one
    whole frame is read by `take_command` without a decoder: a lab has thousands of these.
    """

    __slots__ = ("_command", "_decoder", "_own", "_reply", "device", "phase")

    def __init__(self, device: Device) -> None:
        self.device = device
        self.phase = Phase.CONNECTING
        self._decoder: FrameDecoder | None = None
        self._own = own_field(device)
        self._reply = b""
        self._command = b""

    def connect_frame(self) -> bytes:
        """What to write first."""
        return encode_connect(self.device)

    def status_frame(self, status: bytes) -> bytes:
        """What to write for one status; a command must come before the next.

        Raises:
            LocalProtocolError: the gateway has not accepted yet or owes a command.
        """
        if self.phase is not _READY:
            raise LocalProtocolError(f"no status may be sent while {self.phase.name}")
        self.phase = _AWAITING
        return status_frame(self._own, status)

    def take_command(self, chunk: bytes) -> bytes | None:
        """The command, when the chunk is exactly the one reply that is awaited; else None.

        None means nothing but "ask `receive`", which finds out what is the matter.
        """
        if self.phase is not _AWAITING or self._decoder is not None:
            return None
        if chunk == self._reply:  # a gateway repeats its last command (fleet-protocol 2.6)
            self.phase = _READY
            return self._command
        command = command_in(self._own, chunk)
        if command is not None:
            self.phase = _READY
            if len(chunk) <= _REMEMBERED_BYTES:
                self._reply, self._command = bytes(chunk), command
        return command

    def receive(self, chunk: bytes) -> Iterator[Event]:
        """Events of what the socket gave, in order.

        Raises:
            RemoteProtocolError: the gateway broke the protocol; close the connection.
        """
        decoder = self._decoder = self._decoder or FrameDecoder()
        decoder.receive(chunk)
        while self.phase is not Phase.OVER:
            frame = decoder.next_frame()
            if frame is None:
                break
            if decoder.buffered_bytes == 0:
                self._decoder = None
            yield self._step(decode_server_message(frame))

    def _step(self, message: DeviceConnectResponse | DeviceCommand) -> Event:
        if message.device != self.device:
            raise RemoteProtocolError(
                Reason.OTHER_DEVICE, f"a reply to {message.device} came to {self.device}"
            )
        match message:
            case DeviceConnectResponse():
                return self._decided(message.response)
            case DeviceCommand():
                return self._commanded(message.command)
            case _:
                assert_never(message)

    def _decided(self, response: int) -> Event:
        if self.phase is not Phase.CONNECTING:
            raise RemoteProtocolError(Reason.UNEXPECTED_MESSAGE, "a second connect response")
        if response == ConnectResponseType.OK:
            self.phase = Phase.READY
            return Accepted()
        self.phase = Phase.OVER
        return Refused(response)

    def _commanded(self, command: bytes) -> Event:
        if self.phase is Phase.CONNECTING:
            raise RemoteProtocolError(Reason.UNEXPECTED_MESSAGE, "a command before the response")
        is_pushed = self.phase is Phase.READY
        self.phase = Phase.READY
        return Commanded(command, is_pushed)
