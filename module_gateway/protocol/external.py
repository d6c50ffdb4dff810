"""Messages between the gateway and an external server, typed (fleet-protocol 1.3, 4.2).

One MQTT payload is exactly one message, without a length in front of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from module_gateway.protocol import external_protocol_pb2 as pb
from module_gateway.protocol.errors import Reason, RemoteProtocolError
from module_gateway.protocol.identity import Device, Identity

APPLIED_CAPABILITY: Final = "applied"
"""In `Connect.capabilities`: this gateway understands `ConnectResponse.applied`."""

REPLAY_CAPABILITY: Final = "replay"
"""In the capabilities of both sides: replayed and live statuses of a device travel beside each
other, each in its own order (contract R18)."""

LISTENS_CAPABILITY: Final = "listens"
"""In `ConnectResponse.capabilities`: this server takes a Connect whenever it is there, also a
repeated one, and its disconnect notification means that it listens already."""


class DeviceState(IntEnum):
    """What a status says about its device's registration. ERROR is never sent (D15)."""

    CONNECTING = 0
    RUNNING = 1
    ERROR = 2
    DISCONNECT = 3


class ConnectResponseType(IntEnum):
    """The external server's answer to a Connect."""

    OK = 0
    ALREADY_LOGGED = 1


class CommandResponseType(IntEnum):
    """The gateway's answer to a Command."""

    OK = 0
    DEVICE_NOT_CONNECTED = 1
    DEVICE_NOT_SUPPORTED = 2
    INVALID_COMMAND = 3


class Position(NamedTuple):
    """A place in an outbox: which store numbered it, and the number."""

    store_id: int
    sequence: int


class Stretch(NamedTuple):
    """A part of one identity's log: all of its entries `first_sequence` … `sequence`."""

    store_id: int
    first_sequence: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Connect:
    """The gateway opens a session for these devices."""

    session_id: str
    company: str
    vehicle: str
    devices: tuple[Device, ...]
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConnectResponse:
    """The external server accepts or refuses a session.

    Attributes:
        applied: all entries of an identity up to there are.
        applied_live: these are as well, while older ones may be missing (R18).
        capabilities: what the server understands beyond the plain protocol.
    """

    session_id: str
    response: int
    applied: tuple[tuple[Identity, Position], ...] = ()
    applied_live: tuple[tuple[Identity, Stretch], ...] = ()
    capabilities: tuple[str, ...] = ()


class Status(NamedTuple):
    """One status upstream. The fields after `error` are the optional extension.

    Attributes:
        position: the newest outbox entry that it carries; None for a repetition.
        time_unix_ms: when it was published.
        is_replayed: it is older than the outage, or than the live statuses beside it (R18).
        is_live: older statuses of its device may still follow as replayed ones.
    """

    session_id: str
    state: int
    counter: int
    device: Device
    status: bytes
    error: bytes | None = None
    position: Position | None = None
    time_unix_ms: int = 0
    is_replayed: bool = False
    is_live: bool = False


class StatusResponse(NamedTuple):
    """The external server acknowledges one status."""

    session_id: str
    response: int
    counter: int


@dataclass(frozen=True, slots=True)
class Command:
    """The external server commands a device. Its priority is always 0: never match on it."""

    session_id: str
    counter: int
    device: Device
    command: bytes


@dataclass(frozen=True, slots=True)
class CommandResponse:
    """The gateway acknowledges or refuses one command."""

    session_id: str
    response: int
    counter: int


ServerMessage = ConnectResponse | StatusResponse | Command
ClientMessage = Connect | Status | CommandResponse


class Topics(NamedTuple):
    """The three topics of one vehicle (fleet-protocol 4.2)."""

    from_gateway: str
    to_gateway: str
    disconnect: str

    @classmethod
    def of(cls, company: str, vehicle: str) -> Topics:
        """`company` and `vehicle` must match NAME_PATTERN; whoever reads them checks that."""
        base = f"{company}/{vehicle}"
        return cls(
            f"{base}/module_gateway",
            f"{base}/external_server",
            f"{base}/external_server_disconnect",
        )


def decode_server_message(payload: bytes) -> ServerMessage:
    """What an external server sent.

    Raises:
        RemoteProtocolError: UNDECODABLE or NO_MESSAGE.
    """
    envelope = pb.ExternalServer()
    _parse(envelope, payload)
    match envelope.WhichOneof("MessageType"):
        case "statusResponse":
            ack = envelope.statusResponse
            return StatusResponse(ack.sessionId, ack.type, ack.messageCounter)
        case "command":
            command = envelope.command
            return Command(
                command.sessionId,
                command.messageCounter,
                Device.from_message(command.deviceCommand.device),
                command.deviceCommand.commandData,
            )
        case "connectResponse":
            return _read_connect_response(envelope.connectResponse)
        case _:
            raise RemoteProtocolError(Reason.NO_MESSAGE, "an ExternalServer without a message")


def decode_client_message(payload: bytes) -> ClientMessage:
    """What a gateway sent.

    Raises:
        RemoteProtocolError: UNDECODABLE or NO_MESSAGE.
    """
    envelope = pb.ExternalClient()
    _parse(envelope, payload)
    match envelope.WhichOneof("MessageType"):
        case "status":
            return _read_status(envelope.status)
        case "commandResponse":
            answer = envelope.commandResponse
            return CommandResponse(answer.sessionId, answer.type, answer.messageCounter)
        case "connect":
            connect = envelope.connect
            return Connect(
                connect.sessionId,
                connect.company,
                connect.vehicleName,
                tuple(Device.from_message(device) for device in connect.devices),
                tuple(connect.capabilities),
            )
        case _:
            raise RemoteProtocolError(Reason.NO_MESSAGE, "an ExternalClient without a message")


def encode(message: ServerMessage | ClientMessage) -> bytes:
    """The MQTT payload of any of the six messages."""
    match message:
        case Status() | Connect() | CommandResponse():
            client = pb.ExternalClient()
            _write_client_message(client, message)
            return client.SerializeToString()
        case ConnectResponse() | StatusResponse() | Command():
            server = pb.ExternalServer()
            _write_server_message(server, message)
            return server.SerializeToString()


def _parse(envelope: pb.ExternalServer | pb.ExternalClient, payload: bytes) -> None:
    try:
        envelope.ParseFromString(payload)
    except DecodeError as error:
        kind = envelope.DESCRIPTOR.name
        raise RemoteProtocolError(Reason.UNDECODABLE, f"not an {kind}") from error


def _read_status(status: pb.Status) -> Status:
    return Status(
        status.sessionId,
        status.deviceState,
        status.messageCounter,
        Device.from_message(status.deviceStatus.device),
        status.deviceStatus.statusData,
        status.errorMessage if status.HasField("errorMessage") else None,
        Position(status.store_id, status.sequence) if status.store_id else None,
        status.time_unix_ms,
        status.replayed,
        status.live,
    )


def _read_connect_response(response: pb.ConnectResponse) -> ConnectResponse:
    applied: list[tuple[Identity, Position]] = []
    applied_live: list[tuple[Identity, Stretch]] = []
    for entry in response.applied:
        identity = Device.from_message(entry.device).identity
        if entry.first_sequence:
            stretch = Stretch(entry.store_id, entry.first_sequence, entry.sequence)
            applied_live.append((identity, stretch))
        else:
            applied.append((identity, Position(entry.store_id, entry.sequence)))
    return ConnectResponse(
        response.sessionId,
        response.type,
        tuple(applied),
        tuple(applied_live),
        tuple(response.capabilities),
    )


def _write_client_message(envelope: pb.ExternalClient, message: ClientMessage) -> None:
    match message:
        case Status():
            _write_status(envelope.status, message)
        case CommandResponse():
            answer = envelope.commandResponse
            answer.sessionId = message.session_id
            answer.type = message.response  # type: ignore[assignment]
            answer.messageCounter = message.counter
        case Connect():
            connect = envelope.connect
            connect.sessionId = message.session_id
            connect.company = message.company
            connect.vehicleName = message.vehicle
            for device in message.devices:
                device.write_to(connect.devices.add())
            connect.capabilities.extend(message.capabilities)


def _write_status(status: pb.Status, message: Status) -> None:
    status.sessionId = message.session_id
    status.deviceState = message.state  # type: ignore[assignment]
    status.messageCounter = message.counter
    message.device.write_to(status.deviceStatus.device)
    status.deviceStatus.statusData = message.status
    if message.error is not None:
        status.errorMessage = message.error
    if message.position is not None:
        status.store_id, status.sequence = message.position
    status.time_unix_ms = message.time_unix_ms
    if message.is_replayed:
        status.replayed = True
    if message.is_live:
        status.live = True


def _write_server_message(envelope: pb.ExternalServer, message: ServerMessage) -> None:
    match message:
        case StatusResponse():
            ack = envelope.statusResponse
            ack.sessionId = message.session_id
            ack.type = message.response  # type: ignore[assignment]
            ack.messageCounter = message.counter
        case Command():
            command = envelope.command
            command.sessionId = message.session_id
            command.messageCounter = message.counter
            message.device.write_to(command.deviceCommand.device)
            command.deviceCommand.commandData = message.command
        case ConnectResponse():
            response = envelope.connectResponse
            response.sessionId = message.session_id
            response.type = message.response  # type: ignore[assignment]
            for identity, position in message.applied:
                entry = response.applied.add()
                Device(identity).write_to(entry.device)
                entry.store_id, entry.sequence = position
            for identity, stretch in message.applied_live:
                entry = response.applied.add()
                Device(identity).write_to(entry.device)
                entry.store_id, entry.first_sequence, entry.sequence = stretch
            response.capabilities.extend(message.capabilities)
