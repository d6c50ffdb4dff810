"""Messages between a device and the gateway, typed (fleet-protocol 1.2).

Both directions and both sides: the internal server decodes what a device encodes and the other
way round. Decoders take one message without its length, encoders give one whole frame, so that a
reply is always one write.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from google.protobuf.message import DecodeError

from module_gateway.protocol import internal_protocol_pb2 as pb
from module_gateway.protocol.errors import Reason, RemoteProtocolError
from module_gateway.protocol.framing import encode_frame, encode_varint
from module_gateway.protocol.identity import Device

_DEVICE_COMMAND_TAG: Final = b"\x12"
"""InternalServer.deviceCommand: field 2, length-delimited."""

_DEVICE_TAG: Final = b"\x0a"
_COMMAND_DATA_TAG: Final = b"\x12"
"""DeviceCommand: fields 1 and 2, length-delimited."""


class ConnectResponseType(IntEnum):
    """The gateway's answer to a DeviceConnect."""

    OK = 0
    ALREADY_CONNECTED = 1
    MODULE_NOT_SUPPORTED = 2
    DEVICE_NOT_SUPPORTED = 3
    HIGHER_PRIORITY_ALREADY_CONNECTED = 4


@dataclass(frozen=True, slots=True)
class DeviceConnect:
    """A device introduces itself."""

    device: Device


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """A device tells its status."""

    device: Device
    status: bytes


@dataclass(frozen=True, slots=True)
class DeviceConnectResponse:
    """The gateway accepts or refuses a device. `response` may be a number we do not know."""

    device: Device
    response: int


@dataclass(frozen=True, slots=True)
class DeviceCommand:
    """The gateway answers a status."""

    device: Device
    command: bytes


def decode_client_message(message: bytes) -> DeviceConnect | DeviceStatus:
    """What a device sent.

    Raises:
        RemoteProtocolError: UNDECODABLE or NO_MESSAGE.
    """
    envelope = pb.InternalClient()
    try:
        envelope.ParseFromString(message)
    except DecodeError as error:
        raise RemoteProtocolError(Reason.UNDECODABLE, "not an InternalClient") from error
    match envelope.WhichOneof("MessageType"):
        case "deviceStatus":
            status = envelope.deviceStatus
            return DeviceStatus(_device_of(status), status.statusData)
        case "deviceConnect":
            return DeviceConnect(_device_of(envelope.deviceConnect))
        case _:
            raise RemoteProtocolError(Reason.NO_MESSAGE, "an InternalClient without a message")


def status_of(message: bytes, device: bytes) -> bytes | None:
    """The status that a message carries for this very device; None for any other message.

    `device` is serialized as `encode_device` does it. A message that is refused here may still be
    right: an encoder may write the same device in another way. `decode_client_message` tells.
    """
    try:
        status = pb.InternalClient.FromString(message).deviceStatus
    except DecodeError:
        return None
    return status.statusData if status.device.SerializeToString() == device else None


def _device_of(message: pb.DeviceConnect | pb.DeviceStatus) -> Device:
    # A message of the first protocol draft, which had no envelope, decodes as one without a device.
    if not message.HasField("device"):
        raise RemoteProtocolError(Reason.NO_MESSAGE, f"a {message.DESCRIPTOR.name} of no device")
    return Device.from_message(message.device)


def decode_server_message(message: bytes) -> DeviceConnectResponse | DeviceCommand:
    """What the gateway sent.

    Raises:
        RemoteProtocolError: UNDECODABLE or NO_MESSAGE.
    """
    envelope = pb.InternalServer()
    try:
        envelope.ParseFromString(message)
    except DecodeError as error:
        raise RemoteProtocolError(Reason.UNDECODABLE, "not an InternalServer") from error
    match envelope.WhichOneof("MessageType"):
        case "deviceCommand":
            command = envelope.deviceCommand
            return DeviceCommand(Device.from_message(command.device), command.commandData)
        case "deviceConnectResponse":
            response = envelope.deviceConnectResponse
            return DeviceConnectResponse(
                Device.from_message(response.device), response.responseType
            )
        case _:
            raise RemoteProtocolError(Reason.NO_MESSAGE, "an InternalServer without a message")


def encode_connect(device: Device) -> bytes:
    """The frame with which a device introduces itself."""
    envelope = pb.InternalClient()
    device.write_to(envelope.deviceConnect.device)
    return encode_frame(envelope.SerializeToString())


def encode_status(device: Device, status: bytes) -> bytes:
    """The frame that carries one status."""
    envelope = pb.InternalClient()
    device.write_to(envelope.deviceStatus.device)
    envelope.deviceStatus.statusData = status
    return encode_frame(envelope.SerializeToString())


def encode_connect_response(device: Device, response: int) -> bytes:
    """The frame that accepts or refuses a device; it echoes the whole device (D4)."""
    envelope = pb.InternalServer()
    device.write_to(envelope.deviceConnectResponse.device)
    envelope.deviceConnectResponse.responseType = response  # type: ignore[assignment]
    return encode_frame(envelope.SerializeToString())


def encode_device(device: Device) -> bytes:
    """A device as it stands inside of other messages; the same for equal devices."""
    message = pb.Device()
    device.write_to(message)
    return message.SerializeToString()


def encode_command(device: Device, command: bytes) -> bytes:
    """The frame that answers one status; it echoes the whole device (D4)."""
    return encode_command_for(encode_device(device), command)


def encode_command_for(device: bytes, command: bytes) -> bytes:
    """The same for a device that is serialized already: its bytes are passed through."""
    body = _field(_DEVICE_TAG, device)
    if command:  # proto3 leaves an empty field out
        body += _field(_COMMAND_DATA_TAG, command)
    return encode_frame(_field(_DEVICE_COMMAND_TAG, body))


def _field(tag: bytes, content: bytes) -> bytes:
    """One length-delimited field."""
    return tag + encode_varint(len(content)) + content
