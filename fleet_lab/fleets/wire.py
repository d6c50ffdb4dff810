"""Frames between a fleet and its worker processes: JSON, with bytes beside it where there are any.

A frame is two little-endian uint32 (length of the JSON, length of the bytes), then both. Pure.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

_HEADER: Final = struct.Struct("<II")
MAX_FRAME_BYTES: Final = 256 << 20
"""Far above a second of events of the fastest worker; more is not one of ours."""

Frame: TypeAlias = tuple[dict[str, Any], bytes]


class WireError(Exception):
    """The peer does not speak this protocol."""


def encode(fields: Mapping[str, Any], attachment: bytes = b"") -> bytes:
    """One frame."""
    body = json.dumps(fields, separators=(",", ":")).encode()
    return _HEADER.pack(len(body), len(attachment)) + body + attachment


class Decoder:
    """Cuts a byte stream into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, chunk: bytes) -> Iterator[Frame]:
        """The frames that are whole now.

        Raises:
            WireError: a frame that is too long or whose JSON is no object.
        """
        self._buffer += chunk
        while len(self._buffer) >= _HEADER.size:
            body_size, attachment_size = _HEADER.unpack_from(self._buffer)
            if body_size + attachment_size > MAX_FRAME_BYTES:
                raise WireError(f"a frame of {body_size + attachment_size} bytes")
            end = _HEADER.size + body_size
            if len(self._buffer) < end + attachment_size:
                return
            body = bytes(self._buffer[_HEADER.size : end])
            attachment = bytes(self._buffer[end : end + attachment_size])
            del self._buffer[: end + attachment_size]
            try:
                fields = json.loads(body)
            except (ValueError, RecursionError) as error:
                raise WireError("a frame without JSON") from error
            if not isinstance(fields, dict):
                raise WireError("a frame without fields")
            yield fields, attachment
