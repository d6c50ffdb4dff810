"""What gateway and control plane say to each other, both directions (fleet-protocol 1.3, 4.2).

Pure. An acknowledgement repeats only the counter of what it acknowledges; which device that was
is remembered here.
"""

from __future__ import annotations

from typing import Final

from module_gateway.observe.tap.names import Names
from module_gateway.observe.tap.seen import Fact, Seen
from module_gateway.protocol.errors import RemoteProtocolError
from module_gateway.protocol.external import (
    ClientMessage,
    Command,
    CommandResponse,
    CommandResponseType,
    Connect,
    ConnectResponse,
    ConnectResponseType,
    DeviceState,
    ServerMessage,
    Status,
    StatusResponse,
    Topics,
    decode_client_message,
    decode_server_message,
)

GATEWAY: Final = "gateway"
CONTROL_PLANE: Final = "control plane"

_MARK_CHARS: Final = 4
"""Of a session's id: tells sessions apart, and nobody could take part in one with it."""


class UpstreamReader:
    """Reads one vehicle's messages at one broker."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._statuses: Names[tuple[str, int]] = Names()
        self._commands: Names[tuple[str, int]] = Names()

    def read(self, topic: str, payload: bytes) -> Seen:
        """One MQTT message; never raises for what somebody sent."""
        is_up = topic == self._topics.from_gateway
        sender, receiver = (GATEWAY, CONTROL_PLANE) if is_up else (CONTROL_PLANE, GATEWAY)
        if topic == self._topics.disconnect:
            return Seen("upstream", "end", sender, receiver, "disconnect notification")
        try:
            message = decode_client_message(payload) if is_up else decode_server_message(payload)
        except RemoteProtocolError as error:
            facts: tuple[tuple[str, Fact], ...] = (
                ("reason", str(error.reason)),
                ("bytes", len(payload)),
            )
            return Seen("upstream", "unreadable", sender, receiver, "message", facts=facts)
        return self._seen(sender, receiver, message)

    def _seen(self, sender: str, receiver: str, message: ClientMessage | ServerMessage) -> Seen:
        name = type(message).__name__
        session: tuple[str, Fact] = ("session", _mark(message.session_id))
        facts: list[tuple[str, Fact]]
        answer: tuple[str, Fact]
        match message:
            case Connect():
                devices = tuple(each.identity for each in message.devices)
                facts = [session, ("vehicle", f"{message.company}/{message.vehicle}")]
                facts += [("devices", len(devices)), *_capabilities(message.capabilities)]
                return Seen("upstream", "connect", sender, receiver, name, devices, tuple(facts))
            case ConnectResponse():
                answer = ("response", _word(ConnectResponseType, message.response))
                facts = [session, answer, *_capabilities(message.capabilities)]
                facts += [("applied", len(message.applied))] if message.applied else []
                return Seen("upstream", "connect", sender, receiver, name, (), tuple(facts))
            case Status():
                return self._status(sender, receiver, message)
            case StatusResponse():
                devices = self._statuses.of((message.session_id, message.counter))
                answer = ("response", "ok" if not message.response else str(message.response))
                facts = [session, ("counter", message.counter), answer]
                return Seen("upstream", "reply", sender, receiver, name, devices, tuple(facts))
            case Command():
                identity = message.device.identity
                self._commands.learn((message.session_id, message.counter), identity)
                return Seen(
                    "upstream", "command", sender, receiver, name, (identity,),
                    (session, ("counter", message.counter)), message.command, "command",
                )  # fmt: skip
            case CommandResponse():
                devices = self._commands.of((message.session_id, message.counter))
                answer = ("response", _word(CommandResponseType, message.response))
                facts = [session, ("counter", message.counter), answer]
                return Seen("upstream", "answer", sender, receiver, name, devices, tuple(facts))

    def _status(self, sender: str, receiver: str, message: Status) -> Seen:
        identity = message.device.identity
        self._statuses.learn((message.session_id, message.counter), identity)
        facts: list[tuple[str, Fact]] = [
            ("session", _mark(message.session_id)),
            ("counter", message.counter),
            ("state", _word(DeviceState, message.state)),
        ]
        if message.position is not None:
            facts.append(("sequence", message.position.sequence))
        if message.is_replayed:
            facts.append(("replayed", True))
        if message.error is not None:
            facts.append(("error_bytes", len(message.error)))
        return Seen(
            "upstream", "status", sender, receiver, "Status", (identity,), tuple(facts),
            message.status, "status",
        )  # fmt: skip


def _mark(session_id: str) -> str:
    return f"{session_id[:_MARK_CHARS]}…" if len(session_id) > _MARK_CHARS else session_id


def _capabilities(words: tuple[str, ...]) -> list[tuple[str, Fact]]:
    return [("capabilities", ",".join(words))] if words else []


def _word(words: type[ConnectResponseType | CommandResponseType | DeviceState], number: int) -> str:
    return words(number).name.lower() if number in set(words) else str(number)
