"""MQTT 3.1.1 as bytes: what a client sends and what it hears. Pure: no socket, clock or loop.

Encoders are functions from values to one packet. `PacketDecoder` takes the stream of bytes in any
pieces and gives whole packets; it trusts nothing that comes from the other side. QoS 0 and 1:
a client that never subscribes with QoS 2 never hears it. Numbers in brackets: sections of the
OASIS standard "MQTT Version 3.1.1".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from module_gateway.protocol.errors import LocalProtocolError, Reason, RemoteProtocolError

PACKET_ID_MAX: Final = 0xFFFF
"""Packet ids are two bytes and never 0 (2.3.1)."""

REMAINING_LENGTH_MAX: Final = 268_435_455
"""What four bytes of seven bits can say (2.2.3)."""

MAX_PACKET_BYTES: Final = 32 * 1024 * 1024
"""What we read at most; one entry of the bus is at most `unsent-bytes`, 16 MiB by default."""

PINGREQ: Final = b"\xc0\x00"
DISCONNECT: Final = b"\xe0\x00"

REFUSALS: Final = {
    1: "it does not speak MQTT 3.1.1",
    2: "it does not accept this client id",
    3: "it is not available",
    4: "user name or password are wrong",
    5: "not authorised",
}
"""What the codes of a CONNACK mean (3.2.2.3)."""

SUBSCRIPTION_REFUSED: Final = 0x80
"""In a SUBACK; other codes are the granted QoS (3.9.3)."""

_CONNECT: Final = 0x10
_CONNACK: Final = 0x20
_PUBLISH: Final = 0x30
_PUBACK: Final = 0x40
_SUBSCRIBE: Final = 0x82
_SUBACK: Final = 0x90
_PINGRESP: Final = 0xD0

_PUBACK_HEAD: Final = b"\x40\x02"

_KIND: Final = 0xF0
_RETAIN: Final = 0x01
_QOS_1: Final = 0x02
_QOS_2: Final = 0x04

_ID_BYTES: Final = 2
_LENGTH_BYTES: Final = 2
_CONNACK_BYTES: Final = 2
_SESSION_PRESENT: Final = (0, 1)

_PROTOCOL: Final = b"\x00\x04MQTT\x04"
_CLEAN_SESSION: Final = 0x02
_WILL: Final = 0x04
_WILL_QOS_1: Final = 0x08
_PASSWORD: Final = 0x40
_USER: Final = 0x80

_TEXT_MAX_BYTES: Final = 0xFFFF
_LOW_BITS: Final = 0x7F
_MORE: Final = 0x80
_HEADER_MIN_BYTES: Final = 2
_LENGTH_MAX_BYTES: Final = 4
_KNOWN_TOPICS: Final = 512
"""Kept in their encoded form. A process talks on a few; vehicles of a control plane are more."""


class ConnAck(NamedTuple):
    """The broker's answer to CONNECT; 0 is yes, see `REFUSALS`."""

    code: int


class Publish(NamedTuple):
    """A message for us. `packet_id` 0 is QoS 0; any other wants a PUBACK."""

    topic: str
    payload: bytes
    packet_id: int
    is_retained: bool


class PubAck(NamedTuple):
    """The broker has our message."""

    packet_id: int


class SubAck(NamedTuple):
    """The broker's answer to SUBSCRIBE, one code per filter."""

    packet_id: int
    codes: bytes


class PingResp(NamedTuple):
    """A sign of life."""


Packet = ConnAck | Publish | PubAck | SubAck | PingResp
"""What a client can hear. Tuples, because one or two are made for every message."""


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes (QoS 1) when we vanish without DISCONNECT (3.1.2.5)."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are to the broker. A password needs a user (3.1.2.9)."""

    user: str
    password: str | None = None


# What a client sends


def encode_connect(
    client_id: str,
    keepalive_s: int,
    credentials: Credentials | None = None,
    will: Will | None = None,
) -> bytes:
    """CONNECT with a clean session (3.1).

    Raises:
        LocalProtocolError: a text or the keep-alive cannot be carried.
    """
    if not 0 <= keepalive_s <= _TEXT_MAX_BYTES:
        raise LocalProtocolError(f"a keep-alive of {keepalive_s} s")
    flags, fields = _CLEAN_SESSION, [_text(client_id)]
    if will is not None:
        flags |= _WILL | _WILL_QOS_1
        fields += [encode_topic(will.topic), _field(will.payload)]
    if credentials is not None:
        flags |= _USER
        fields.append(_text(credentials.user))
        if credentials.password is not None:
            flags |= _PASSWORD
            fields.append(_field(credentials.password.encode()))
    head = _PROTOCOL + bytes((flags,)) + keepalive_s.to_bytes(2, "big")
    return _packet(_CONNECT, head, *fields)


def encode_subscribe(packet_id: int, filters: Sequence[str], qos: int) -> bytes:
    """SUBSCRIBE to all `filters`, which may hold wildcards (3.8).

    Raises:
        LocalProtocolError: nothing to subscribe to, or a filter cannot be carried.
    """
    if not filters or not all(filters):
        raise LocalProtocolError("a subscription to nothing")
    fields = [_text(each) + bytes((qos,)) for each in filters]
    return _packet(_SUBSCRIBE, packet_id.to_bytes(_ID_BYTES, "big"), *fields)


def encode_publish(topic: str, payload: bytes, packet_id: int) -> bytes:
    """PUBLISH, not retained: QoS 1, or QoS 0 when `packet_id` is 0 (3.3).

    Raises:
        LocalProtocolError: MQTT cannot carry this topic or so large a payload.
    """
    name = encode_topic(topic)
    if not packet_id:
        return _packet(_PUBLISH, name, payload)
    return _packet(_PUBLISH | _QOS_1, name, packet_id.to_bytes(_ID_BYTES, "big"), payload)


def encode_puback(packet_id: int) -> bytes:
    """PUBACK: we have this message (3.4)."""
    return _PUBACK_HEAD + packet_id.to_bytes(_ID_BYTES, "big")


@lru_cache(_KNOWN_TOPICS)
def encode_topic(topic: str) -> bytes:
    """A topic name, without wildcards (4.7).

    Raises:
        LocalProtocolError: it is empty, too long or holds what no topic may.
    """
    if not topic or "+" in topic or "#" in topic:
        raise LocalProtocolError(f"{topic!r} is no topic name")
    return _text(topic)


def _text(text: str) -> bytes:
    """A UTF-8 string (1.5.3)."""
    if "\0" in text:
        raise LocalProtocolError(f"{text!r} holds a zero")
    try:
        return _field(text.encode())
    except UnicodeEncodeError as error:
        raise LocalProtocolError(f"{text!r} is no text") from error


def _field(content: bytes) -> bytes:
    if len(content) > _TEXT_MAX_BYTES:
        raise LocalProtocolError(f"a field of {len(content)} bytes")
    return len(content).to_bytes(_LENGTH_BYTES, "big") + content


def _packet(first: int, *parts: bytes) -> bytes:
    length = sum(map(len, parts))
    if length > REMAINING_LENGTH_MAX:
        raise LocalProtocolError(f"a packet of {length} bytes")
    header = bytearray((first,))
    while length > _LOW_BITS:
        header.append(length & _LOW_BITS | _MORE)
        length >>= 7
    header.append(length)
    return b"".join((header, *parts))


# What a client hears


class PacketDecoder:
    """Bytes in any pieces to whole packets; how they were cut makes no difference."""

    def __init__(self, max_packet_bytes: int = MAX_PACKET_BYTES) -> None:
        """Refuse longer packets before they are collected."""
        self._max_packet_bytes = max_packet_bytes
        self._partial = bytearray()
        self._wanted_bytes = 0
        """Of `_partial`; before that it is not looked at again."""

    def packets(self, chunk: bytes) -> Iterator[Packet]:
        """All packets that are whole now. Take them all, or never call this again.

        Raises:
            RemoteProtocolError: UNDECODABLE; nothing that follows can be read.
        """
        if self._partial:
            self._partial += chunk
            if len(self._partial) < self._wanted_bytes:
                return
            chunk = bytes(self._partial)
            self._partial = bytearray()
        at, size_bytes, wanted_bytes = 0, len(chunk), _HEADER_MIN_BYTES
        while size_bytes - at >= _HEADER_MIN_BYTES:
            length, body = chunk[at + 1], at + _HEADER_MIN_BYTES
            if length > _LOW_BITS:
                length, body = self._long_length(chunk, at + 1)
                if not body:
                    wanted_bytes = size_bytes - at + 1
                    break
            end = body + length
            if end > size_bytes:
                wanted_bytes = end - at
                break
            yield _read(chunk, at, body, end)
            at = end
        if at < size_bytes:
            self._partial += chunk[at:]
            self._wanted_bytes = wanted_bytes

    def _long_length(self, chunk: bytes, at: int) -> tuple[int, int]:
        """The remaining length and where the body begins, 0 when not all of it is there."""
        length = 0
        for place, group in enumerate(chunk[at : at + _LENGTH_MAX_BYTES]):
            length |= (group & _LOW_BITS) << 7 * place
            if group <= _LOW_BITS:
                if length > self._max_packet_bytes:
                    raise _refusal(f"a packet of {length} bytes")
                return length, at + place + 1
        if len(chunk) - at >= _LENGTH_MAX_BYTES:
            raise _refusal("a length of more than four bytes")
        return 0, 0


def _read(chunk: bytes, at: int, body: int, end: int) -> Packet:
    first, length = chunk[at], end - body
    if first & _KIND == _PUBLISH:
        return _read_publish(first, chunk, body, end)
    if first == _PUBACK and length == _ID_BYTES:
        return PubAck(_packet_id(chunk, body))
    if first == _SUBACK and length > _ID_BYTES:
        return SubAck(_packet_id(chunk, body), chunk[body + _ID_BYTES : end])
    if first == _PINGRESP and not length:
        return PingResp()
    if first == _CONNACK and length == _CONNACK_BYTES and chunk[body] in _SESSION_PRESENT:
        return ConnAck(chunk[body + 1])
    raise _refusal(f"a packet that begins with {first:#04x} and has {length} bytes")


def _read_publish(first: int, chunk: bytes, body: int, end: int) -> Publish:
    """A topic name, an id unless it is QoS 0, and the rest is payload (3.3)."""
    if first & _QOS_2:
        raise _refusal("a message of QoS 2 or 3")
    id_bytes = _ID_BYTES if first & _QOS_1 else 0
    name = body + _LENGTH_BYTES
    name_end = name + int.from_bytes(chunk[body:name], "big")
    payload = name_end + id_bytes
    if payload > end:
        raise _refusal("a message that ends in its head")
    packet_id = _packet_id(chunk, name_end) if id_bytes else 0
    topic = _topic_name(chunk[name:name_end])
    return Publish(topic, chunk[payload:end], packet_id, bool(first & _RETAIN))


def _packet_id(chunk: bytes, at: int) -> int:
    packet_id = int.from_bytes(chunk[at : at + _ID_BYTES], "big")
    if not packet_id:
        raise _refusal("packet id 0")
    return packet_id


@lru_cache(_KNOWN_TOPICS)
def _topic_name(name: bytes) -> str:
    try:
        topic = name.decode()
    except UnicodeDecodeError:
        topic = ""
    if not topic or "\0" in topic or "+" in topic or "#" in topic:
        raise _refusal(f"a topic name of {len(name)} bytes that is none")
    return topic


def _refusal(detail: str) -> RemoteProtocolError:
    return RemoteProtocolError(Reason.UNDECODABLE, detail)
