"""Batches: what one event-loop turn produced for one receiver, as one bus payload.

Pure. A batch is a `bus_pb2.Batch`. Its messages are serialised when they are enqueued, so their
size is known at once and the caller may change or reuse the message afterwards; a payload is
then a concatenation of bytes, which for protobuf equals serialising the whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from google.protobuf.message import DecodeError

from module_gateway.bus.address import Address
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason, RemoteProtocolError

BATCH_VERSION: Final = 1
"""Version of the bus schema. A reader drops what it does not know."""

_LENGTH_DELIMITED: Final = 2
_MESSAGES_TAG: Final = bytes(
    [bus_pb2.Batch.MESSAGES_FIELD_NUMBER << 3 | _LENGTH_DELIMITED],
)
_ONE_BYTE_MAX: Final = 0x7F
_SHORT_BYTES: Final = 1024
"""Messages below it are nearly all; what stands before them is prepared."""


def encode_header(sender: Address) -> bytes:
    """The part of a batch that is the same in all batches of one sender."""
    header = bus_pb2.Batch()
    header.version = BATCH_VERSION
    header.sender_kind = sender.kind  # type: ignore[assignment]  # an open enum on the wire
    header.sender_boot_id = sender.boot_id
    return header.SerializeToString()


def encode_entry(message: bus_pb2.Message) -> bytes:
    """One message as it will stand inside of a batch."""
    body = message.SerializeToString()
    size_bytes = len(body)
    if size_bytes < _SHORT_BYTES:
        return _SHORT_HEADS[size_bytes] + body
    return _MESSAGES_TAG + _varint(size_bytes) + body


def pack(header: bytes, entries: deque[bytes], batch_bytes: int) -> tuple[bytes, int]:
    """Take as many entries from the left as fit into `batch_bytes`, at least one.

    An entry that is too large by itself travels alone.

    Returns:
        The payload and how many entries it holds.

    Raises:
        IndexError: there are no entries.
    """
    parts = [header, entries.popleft()]
    room = batch_bytes - len(header) - len(parts[1])
    while entries and len(entries[0]) <= room:
        entry = entries.popleft()
        room -= len(entry)
        parts.append(entry)
    return b"".join(parts), len(parts) - 1


def decode(payload: bytes) -> tuple[Address, Sequence[bus_pb2.Message]]:
    """Read a batch: who sent it and what it holds, in the order in which it was sent.

    Raises:
        RemoteProtocolError: UNDECODABLE, or BUS_VERSION for a schema that we do not speak.
    """
    try:
        batch = bus_pb2.Batch.FromString(payload)
    except DecodeError as error:
        raise RemoteProtocolError(Reason.UNDECODABLE, f"{len(payload)} bytes") from error
    if batch.version != BATCH_VERSION:
        raise RemoteProtocolError(Reason.BUS_VERSION, f"version {batch.version}")
    sender = Address(batch.sender_kind, batch.sender_boot_id)
    if not sender.is_valid:
        raise RemoteProtocolError(Reason.UNDECODABLE, "no valid sender")
    return sender, batch.messages


def _varint(number: int) -> bytes:
    if number <= _ONE_BYTE_MAX:
        return bytes((number,))
    groups = bytearray()
    while number > _ONE_BYTE_MAX:
        groups.append(number & _ONE_BYTE_MAX | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


_SHORT_HEADS: Final = tuple(
    _MESSAGES_TAG + _varint(size_bytes) for size_bytes in range(_SHORT_BYTES)
)
