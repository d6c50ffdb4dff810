"""The initiator's side of a FIX 4.4 session, as small as it can be and still be one.

Pure: bytes and a time in, bytes and events out. Sequence numbers start at 1 with every logon
(ResetSeqNumFlag), so nothing is ever sent again: a ResendRequest is answered with a gap fill.
Section names are those of the FIX 4.4 specification, volume 2 (session protocol).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

from fleet_lab.errors import missing_extra

try:
    from simplefix import FixMessage, FixParser
    from simplefix.errors import ParsingError
except ImportError:
    raise missing_extra("simplefix", "lab", "the sink fix") from None

BEGIN_STRING: Final = "FIX.4.4"
HEARTBEAT_S: Final = 30
"""HeartBtInt of the logon: whoever is silent for so long sends a Heartbeat."""

_HEARTBEAT, _TEST_REQUEST, _RESEND, _REJECT = b"0", b"1", b"2", b"3"
_SEQUENCE_RESET, _LOGOUT, _LOGON, _NEWS, _BUSINESS_REJECT = b"4", b"5", b"A", b"B", b"j"

Pair: TypeAlias = tuple[int, str | int | bytes]


@dataclass(frozen=True, slots=True)
class Send:
    """Write these bytes."""

    frame: bytes


@dataclass(frozen=True, slots=True)
class LoggedOn:
    """The counterparty accepted the logon."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The counterparty has read everything up to the status of this number."""

    number: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """The counterparty does not take the status of this number."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Commanded:
    """A News arrived."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over; nothing more may be sent but what came before this event."""

    reason: str


Event: TypeAlias = Send | LoggedOn | Acknowledged | Rejected | Commanded | Ended


class FixSession:
    """One logon to logout. A status is a News (35=B): headline the device id, payload as raw data.

    A TestRequest follows each status: its Heartbeat shows that the status was read, because FIX
    itself acknowledges no application message.
    """

    def __init__(self, sender: str, target: str) -> None:
        self._sender = sender
        self._target = target
        self._parser = FixParser()
        self._next_out = 1
        self._next_in = 1
        self._is_logged_on = False
        self._number = 0
        self._status_sequence = 0

    def logon(self, now: datetime) -> bytes:
        """What to write first."""
        return self._message(_LOGON, now, (98, 0), (108, HEARTBEAT_S), (141, "Y"))

    def logout(self, now: datetime) -> bytes:
        """What to write last."""
        return self._message(_LOGOUT, now)

    def heartbeat(self, now: datetime) -> bytes:
        """What to write when nothing else was for HEARTBEAT_S."""
        return self._message(_HEARTBEAT, now)

    def status(self, number: int, payload: bytes, now: datetime) -> bytes:
        """What to write for one status; await its event before the next."""
        self._number, self._status_sequence = number, self._next_out
        body: list[Pair] = [(148, self._sender), (33, 1), (58, f"status {number}")]
        if payload:
            body += [(95, len(payload)), (96, payload)]
        news = self._message(_NEWS, now, *body)
        return news + self._message(_TEST_REQUEST, now, (112, number))

    def receive(self, chunk: bytes, now: datetime) -> Iterator[Event]:
        """Events of what the socket gave, in order."""
        self._parser.append_buffer(chunk)
        while True:
            try:
                message = self._parser.get_message()
            except (ParsingError, ValueError) as error:
                yield Ended(f"the counterparty sent no FIX: {error}")
                return
            if message is None:
                return
            for event in self._step(message, now):
                yield event
                if isinstance(event, Ended):
                    return

    def _step(self, message: Any, now: datetime) -> Iterator[Event]:  # noqa: ANN401  # simplefix has no types
        kind = message.message_type
        sequence = _number_in(message, 34)
        if message.begin_string != BEGIN_STRING.encode() or sequence is None:
            yield Ended("the counterparty's message has no FIX 4.4 header")
            return
        if kind == _SEQUENCE_RESET:
            self._next_in = max(self._next_in, _number_in(message, 36) or 0)
            return
        if sequence > self._next_in:
            yield Send(self._message(_RESEND, now, (7, self._next_in), (16, 0)))
            return
        if sequence < self._next_in:
            if message.get(43) != b"Y":
                yield Send(self.logout(now))
                yield Ended(f"the counterparty's MsgSeqNum {sequence} is too low")
            return
        self._next_in += 1
        yield from self._in_order(kind, message, now)

    def _in_order(self, kind: bytes, message: Any, now: datetime) -> Iterator[Event]:  # noqa: ANN401
        if kind == _LOGOUT:
            yield Send(self.logout(now))
            yield Ended(f"logged out by the counterparty: {_text(message)}")
        elif kind == _LOGON:
            self._is_logged_on = True
            yield LoggedOn()
        elif not self._is_logged_on:
            yield Ended("the counterparty's first message is no Logon")
        elif kind == _TEST_REQUEST:
            answer: Pair = (112, message.get(112) or b"")
            yield Send(self._message(_HEARTBEAT, now, answer))
        elif kind == _RESEND:
            yield Send(self._gap_fill(_number_in(message, 7) or 1, now))
        elif kind == _NEWS:
            yield Commanded(message.get(96) or message.get(58) or b"")
        elif self._number:
            yield from self._verdict(kind, message)

    def _verdict(self, kind: bytes, message: Any) -> Iterator[Event]:  # noqa: ANN401
        """What is said about the status that was sent last."""
        number = self._number
        if kind == _HEARTBEAT and _number_in(message, 112) == number:
            self._number = 0
            yield Acknowledged(number)
        is_refusal = kind in (_REJECT, _BUSINESS_REJECT)
        if is_refusal and _number_in(message, 45) == self._status_sequence:
            self._number = 0
            yield Rejected(number, _text(message))

    def _gap_fill(self, begin: int, now: datetime) -> bytes:
        next_out, self._next_out = self._next_out, begin
        fill = self._message(
            _SEQUENCE_RESET, now, (43, "Y"), (122, _time_text(now)), (123, "Y"), (36, next_out)
        )
        self._next_out = next_out
        return fill

    def _message(self, kind: bytes, now: datetime, *pairs: Pair) -> bytes:
        message = FixMessage()
        header: tuple[Pair, ...] = (
            (8, BEGIN_STRING),
            (35, kind),
            (49, self._sender),
            (56, self._target),
            (34, self._next_out),
            (52, _time_text(now)),
        )
        for tag, value in (*header, *pairs):
            message.append_pair(tag, value)
        self._next_out += 1
        return bytes(message.encode())


def _time_text(now: datetime) -> str:
    """UTCTimestamp with milliseconds."""
    return f"{now:%Y%m%d-%H:%M:%S}.{now.microsecond // 1000:03d}"


def _number_in(message: Any, tag: int) -> int | None:  # noqa: ANN401  # simplefix has no types
    value = message.get(tag)
    return int(value) if value is not None and value.isdigit() else None


def _text(message: Any) -> str:  # noqa: ANN401  # simplefix has no types
    text = (message.get(58) or b"no reason given").decode("utf-8", "backslashreplace")
    return "".join(character if character.isprintable() else "?" for character in text)
