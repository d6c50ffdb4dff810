"""Frames of the internal protocol: length, then one message (fleet-protocol 1.1).

Pure: bytes in, bytes out. Frames may be split anywhere and merged anywhere.
"""

from __future__ import annotations

from typing import Final

from module_gateway.protocol.errors import LocalProtocolError, Reason, RemoteProtocolError

HEADER_SIZE_BYTES: Final = 4
"""Unsigned little-endian length of what follows; the header does not count itself."""

MAX_FRAME_SIZE_BYTES: Final = 1024 * 1024
"""Default limit of one message (fleet-protocol 1.5); the protocol itself has none."""

_LENGTH_FIELD_MAX: Final = 2**32 - 1

_VARINT_BYTE_MAX: Final = 0x7F
_ONE_BYTE: Final = tuple(bytes((number,)) for number in range(_VARINT_BYTE_MAX + 1))


def encode_frame(message: bytes) -> bytes:
    """Put the length in front of one serialized message.

    Raises:
        LocalProtocolError: the message is empty or too long for the length field.
    """
    if not 0 < len(message) <= _LENGTH_FIELD_MAX:
        raise LocalProtocolError(f"a frame holds 1 to 2^32-1 bytes, not {len(message)}")
    return len(message).to_bytes(HEADER_SIZE_BYTES, "little") + message


def encode_varint(number: int) -> bytes:
    """A length inside of a message, as protobuf writes it: seven bits per byte, lowest first."""
    if number <= _VARINT_BYTE_MAX:
        return _ONE_BYTE[number]
    groups = bytearray()
    while number > _VARINT_BYTE_MAX:
        groups.append(number & _VARINT_BYTE_MAX | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


class FrameDecoder:
    """Cuts a byte stream into messages.

    Feed it with `receive`, then call `next_frame` until it returns None. Whoever wants to answer
    one frame before he looks at the next simply does not ask for the next. Without bytes that wait
    it holds no buffer: thousands of idle connections cost nothing.
    """

    __slots__ = ("_buffer", "_max_frame_size_bytes")

    def __init__(self, max_frame_size_bytes: int = MAX_FRAME_SIZE_BYTES) -> None:
        self._max_frame_size_bytes = max_frame_size_bytes
        self._buffer: bytearray | None = None

    @property
    def buffered_bytes(self) -> int:
        """Bytes that were received and not yet handed out."""
        return len(self._buffer) if self._buffer is not None else 0

    def receive(self, chunk: bytes) -> None:
        """Append what the socket gave."""
        if self._buffer is None:
            self._buffer = bytearray(chunk)
        else:
            self._buffer += chunk

    def next_frame(self) -> bytes | None:
        """The next whole message, or None until more bytes arrive.

        Raises:
            RemoteProtocolError: FRAME_EMPTY or FRAME_TOO_LARGE, as soon as the header is there,
                before any byte of the body is looked at. The stream is then useless.
        """
        buffer = self._buffer
        if buffer is None or len(buffer) < HEADER_SIZE_BYTES:
            return None
        size_bytes = int.from_bytes(buffer[:HEADER_SIZE_BYTES], "little")
        if size_bytes == 0:
            raise RemoteProtocolError(Reason.FRAME_EMPTY)
        if size_bytes > self._max_frame_size_bytes:
            raise RemoteProtocolError(
                Reason.FRAME_TOO_LARGE, f"{size_bytes} bytes, at most {self._max_frame_size_bytes}"
            )
        end = HEADER_SIZE_BYTES + size_bytes
        if len(buffer) < end:
            return None
        frame = bytes(buffer[HEADER_SIZE_BYTES:end])
        if len(buffer) == end:
            self._buffer = None
        else:
            del buffer[:end]
        return frame
