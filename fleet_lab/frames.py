"""Frames of one device, made and read without a protobuf object.

A device's statuses differ in their payload only, and so do the replies it may get. Everything
here says exactly what `module_gateway.protocol.internal` would (a property test compares); it is
several times faster, which decides how many devices one process can play.
"""

from __future__ import annotations

from typing import Final

from module_gateway.protocol import internal_protocol_pb2 as pb
from module_gateway.protocol.framing import HEADER_SIZE_BYTES
from module_gateway.protocol.identity import Device

_DEVICE_TAG: Final = b"\x0a"
"""Field 1, length-delimited: `device` of DeviceStatus and DeviceCommand (fleet-protocol 1.2)."""
_SECOND_TAG: Final = 0x12
"""Field 2, length-delimited: the member of both envelopes, and the payload of both messages."""
_ONE_BYTE: Final = 1 << 7
_TWO_BYTES: Final = 1 << 14


def own_field(device: Device) -> bytes:
    """The device as it stands in its statuses and in the replies to them."""
    message = pb.Device()
    device.write_to(message)
    encoded = message.SerializeToString()
    return _DEVICE_TAG + _varint(len(encoded)) + encoded


def status_frame(own: bytes, status: bytes) -> bytes:
    """The frame of one status; `own` is the device's `own_field`."""
    body = b"%b\x12%b%b" % (own, _varint(len(status)), status) if status else own
    message = b"\x12%b%b" % (_varint(len(body)), body)
    return len(message).to_bytes(HEADER_SIZE_BYTES, "little") + message


def command_in(own: bytes, frame: bytes) -> bytes | None:
    """The command of a reply to this device, b"" for an empty one.

    None when the bytes are anything but one whole frame in the usual spelling, under 16 KiB.
    """
    end = len(frame)
    if int.from_bytes(frame[:HEADER_SIZE_BYTES], "little") != end - HEADER_SIZE_BYTES:
        return None
    at = _after_length(frame, HEADER_SIZE_BYTES)
    if not at or not frame.startswith(own, at):
        return None
    at += len(own)
    if at == end:
        return b""
    at = _after_length(frame, at)
    return frame[at:] if at else None


def _after_length(frame: bytes, at: int) -> int:
    """Where the content of a field 2 that reaches to the end of the frame starts; else 0."""
    end = len(frame)
    if at + 2 > end or frame[at] != _SECOND_TAG:
        return 0
    length = end - at - 2
    if length < _ONE_BYTE:
        return at + 2 if frame[at + 1] == length else 0
    length -= 1
    if not _ONE_BYTE <= length < _TWO_BYTES:
        return 0
    low = frame[at + 1]
    if low < _ONE_BYTE or low - _ONE_BYTE + (frame[at + 2] << 7) != length:
        return 0
    return at + 3


def _varint(number: int) -> bytes:
    if number < _ONE_BYTE:
        return bytes((number,))
    parts = bytearray()
    while number >= _ONE_BYTE:
        parts.append(number & (_ONE_BYTE - 1) | _ONE_BYTE)
        number >>= 7
    parts.append(number)
    return bytes(parts)
