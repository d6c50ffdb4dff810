"""What the local bus carries, message by message (the schema: `protocol/bus.proto`).

Pure. A server's messages name a connection by its instance; which device that is was said when it
connected, or in a list of live connections, and is remembered here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from module_gateway.bus import batch
from module_gateway.bus.address import Address
from module_gateway.observe.tap.names import Names
from module_gateway.observe.tap.seen import Fact, Seen
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import RemoteProtocolError
from module_gateway.protocol.external import CommandResponseType
from module_gateway.protocol.identity import Device, Identity

_ID_DIGITS: Final = 4
"""Of a boot id in hexadecimal: enough to tell the processes of one bus apart at a glance."""

_SERVER: Final = int(bus_pb2.INTERNAL_SERVER)

_Read: TypeAlias = Any
"""One of the schema's messages, or a field of it: which, says the table."""


@dataclass(frozen=True, slots=True)
class _Body:
    """How to read one message of the schema.

    Attributes:
        kind: of `seen.KINDS`.
        facts: fields to show, as they are called in the schema.
        payload: the field with payload bytes.
        payload_of: what they are.
        subject: how it says which device it is about.
    """

    kind: str
    facts: tuple[str, ...] = ()
    payload: str = ""
    payload_of: Literal["status", "command", "error", ""] = ""
    subject: Literal["device", "instance", "command", "list", ""] = ""


_BODIES: Final[dict[str, _Body]] = {
    "presence": _Body("presence"),
    "connect_request": _Body("connect", ("instance",), subject="device"),
    "connect_verdict": _Body("connect", ("instance", "response"), subject="instance"),
    "status_request": _Body(
        "status", ("instance", "sequence"), "status", "status", subject="instance"
    ),
    "status_reply": _Body(
        "reply", ("instance", "sequence"), "command", "command", subject="instance"
    ),
    "status_refused": _Body(
        "reply", ("instance", "sequence", "cause", "reason"), subject="instance"
    ),
    "push_command": _Body("command", ("instance",), "command", "command", subject="instance"),
    "connection_ended": _Body("end", ("instance", "cause"), subject="instance"),
    "close_connection": _Body("end", ("instance", "cause"), subject="instance"),
    "probe": _Body("probe", ("instance",), subject="instance"),
    "probe_answer": _Body("probe", ("instance", "is_alive"), subject="instance"),
    "live_digest": _Body("live", ("count",)),
    "live_connections": _Body("live", ("is_first", "is_last"), subject="list"),
    "live_connections_request": _Body("live"),
    "lease": _Body("lease", ("endpoint", "modules")),
    "lease_granted": _Body("lease", ("endpoint",)),
    "lease_ended": _Body("lease", ("endpoint", "reason")),
    "session_phase": _Body("lease", ("endpoint", "phase", "session", "splits_live")),
    "deliveries_voided": _Body("lease", ("endpoint",)),
    "delivery": _Body(
        "delivery",
        ("endpoint", "lane", "delivery", "sequence", "ends_registration", "is_repeat"),
        "status",
        "status",
        subject="device",
    ),
    "delivery_receipt": _Body("receipt", ("endpoint", "lane", "delivery")),
    "outbox_ack": _Body("ack", ("endpoint",), subject="list"),
    "command_forward": _Body(
        "command", ("endpoint", "session", "counter"), "command", "command", subject="device"
    ),
    "command_verdict": _Body(
        "answer", ("endpoint", "session", "counter", "response"), subject="command"
    ),
    "snapshot_request": _Body("snapshot", ("endpoint", "request")),
    "snapshot": _Body("snapshot", ("endpoint", "request", "is_first", "is_last"), subject="list"),
    "buffer_request": _Body("buffer", ("request", "what")),
    "buffer_answer": _Body("buffer", ("request", "refusal")),
}

_SILENT_WHEN_EMPTY: Final = frozenset(
    {
        "ends_registration", "is_repeat", "splits_live", "first_sequence", "refusal", "is_first",
        "is_last", "reason", "what",
    }
)  # fmt: skip
"""Says something only when it is set."""

_LISTS: Final = {
    "live_connections": "connections",
    "snapshot": "registered",
    "outbox_ack": "acknowledged",
}

TOPICS: Final = ("mg/1/#",)
_PRESENCE_TOPIC: Final = "mg/1/presence/0"
_RECEIVERS: Final[dict[str, frozenset[str]]] = {
    "mg/1/handler/+": frozenset(
        {"connect", "status", "end", "probe", "live", "lease", "receipt", "ack", "command",
         "snapshot", "buffer"}
    ),
    "mg/1/server/+": frozenset({"connect", "reply", "command", "end", "probe", "live"}),
    "mg/1/client/+": frozenset({"lease", "snapshot", "delivery", "answer"}),
    "mg/1/tool/+": frozenset({"buffer"}),
    _PRESENCE_TOPIC: frozenset({"presence"}),
}  # fmt: skip
"""Which kinds go to whom: what nobody wants to see is not even asked for."""


def topics_for(wants_kind: Callable[[str], bool]) -> tuple[str, ...]:
    """The fewest topics that carry all wanted kinds, and what says which device is which."""
    chosen = {topic for topic, kinds in _RECEIVERS.items() if any(map(wants_kind, kinds))}
    if wants_kind("unreadable"):
        chosen.update(each for each in _RECEIVERS if each != _PRESENCE_TOPIC)
    if wants_kind("answer"):
        chosen.add("mg/1/handler/+")  # the commands that are answered
    if "mg/1/server/+" in chosen:
        chosen.add("mg/1/handler/+")  # connects name the device of a connection
    return tuple(topic for topic in _RECEIVERS if topic in chosen)


def short(address: Address) -> str:
    """A process as people tell it apart: `handler/91c0`."""
    word = str(address).partition("/")[0]
    return f"{word}/{address.boot_id % 16**_ID_DIGITS:0{_ID_DIGITS}x}"


class BusReader:
    """Reads batches; learns from them which connection is whose.

    Attributes:
        connections: (boot id of the server, instance) → identity; others may add what they know.
        unknown: how many messages were about a connection that nobody had named.
    """

    def __init__(self) -> None:
        self.connections: Names[tuple[int, int]] = Names()
        self.unknown = 0
        self._commands: Names[tuple[int, int, int]] = Names()
        self._processes: dict[str, Address] = {}

    def read(self, topic: str, payload: bytes) -> Iterator[Seen]:
        """Everything in one batch, in order; never raises for what somebody sent."""
        receiver = self._receiver(topic)
        to = "all" if receiver is None else short(receiver)
        try:
            sender, messages = batch.decode(payload)
        except RemoteProtocolError as error:
            facts = (("reason", str(error.reason)), ("bytes", len(payload)))
            yield Seen("bus", "unreadable", "?", to, "batch", facts=facts)
            return
        for message in messages:
            name = message.WhichOneof("body")
            body = None if name is None else _BODIES.get(name)
            if name is None or body is None:
                unread = (("bytes", message.ByteSize()),)
                yield Seen("bus", "unreadable", short(sender), to, name or "unknown", facts=unread)
            else:
                yield self._seen(sender, receiver, to, name, body, getattr(message, name))

    def _receiver(self, topic: str) -> Address | None:
        """Whose topic it is; None: everybody's, or nobody's that we know."""
        known = self._processes.get(topic)
        if known is not None:
            return known
        word = topic.rpartition("/")[2]
        number = int(word) if word.isdecimal() and len(word) <= _MAX_DIGITS else 0
        for kind in (bus_pb2.INTERNAL_SERVER, bus_pb2.MODULE_HANDLER, bus_pb2.EXTERNAL_CLIENT,
                     bus_pb2.TOOL):  # fmt: skip
            address = Address(int(kind), number)
            if address.is_valid and address.topic == topic and len(self._processes) < _MAX_TOPICS:
                self._processes[topic] = address
                return address
        return None

    def _seen(
        self,
        sender: Address,
        receiver: Address | None,
        to: str,
        name: str,
        body: _Body,
        read: _Read,
    ) -> Seen:
        server = sender if sender.kind == _SERVER else receiver
        devices = self._devices(server, name, body, read)
        facts = [
            (_words(field), value)
            for field in body.facts
            if (value := _value(name, field, getattr(read, field))) or (
                field not in _SILENT_WHEN_EMPTY
            )
        ]  # fmt: skip
        if body.subject == "list":
            facts.append(("devices", len(getattr(read, _LISTS[name]))))
        if name == "outbox_ack":
            facts.append(("up_to", ",".join(str(each.sequence) for each in read.acknowledged)))
        if name == "connect_request":
            facts.append(("priority", read.device.priority))
        if name == "presence":
            facts.append(("serves", ",".join(str(each.module) for each in read.served) or "-"))
        if name == "delivery" and read.HasField("error"):
            facts.append(("error_bytes", len(read.error)))
        if name == "buffer_request":
            facts += [("purge", len(read.purge)), ("returned", len(read.returned))]
        payload = getattr(read, body.payload) if body.payload else None
        return Seen(
            "bus", body.kind, short(sender), to, name, devices, tuple(facts), payload,
            body.payload_of,
        )  # fmt: skip

    def _devices(
        self, server: Address | None, name: str, body: _Body, read: _Read
    ) -> tuple[Identity, ...]:
        match body.subject:
            case "device":
                identity = Device.from_message(read.device).identity
                if name == "connect_request" and server is not None:
                    self.connections.learn((server.boot_id, read.instance), identity)
                if name == "command_forward":
                    self._commands.learn((read.endpoint, read.session, read.counter), identity)
                return (identity,)
            case "instance":
                boot_id = 0 if server is None else server.boot_id
                found = self.connections.of((boot_id, read.instance))
                self.unknown += not found
                return found
            case "command":
                return self._commands.of((read.endpoint, read.session, read.counter))
            case "list":
                listed = getattr(read, _LISTS[name])
                identities = tuple(Device.from_message(each.device).identity for each in listed)
                if name == "live_connections" and server is not None:
                    for each, identity in zip(listed, identities, strict=True):
                        self.connections.learn((server.boot_id, each.instance), identity)
                return identities
            case "":
                return ()


_MAX_DIGITS: Final = 20
"""Of a boot id, 2^64 - 1 at most."""

_MAX_TOPICS: Final = 1024
"""Processes that are remembered; see `bus.presence.MAX_PEERS`."""

_ENUMS: Final[dict[tuple[str, str], Callable[[int], str]]] = {
    ("connect_verdict", "response"): lambda number: _enum_word(
        bus_pb2.ConnectVerdict.DESCRIPTOR.fields_by_name["response"].enum_type, number
    ),
    ("command_verdict", "response"): lambda number: (
        CommandResponseType(number).name.lower()
        if number in set(CommandResponseType)
        else str(number)
    ),
    ("session_phase", "phase"): lambda number: _enum_word(
        bus_pb2.SessionPhase.DESCRIPTOR.fields_by_name["phase"].enum_type, number
    ),
}


def _enum_word(enum: Any, number: int) -> str:  # noqa: ANN401 - protobuf has no type for it
    value = enum.values_by_number.get(number)
    return str(number) if value is None else str(value.name).lower()


def _value(name: str, field: str, value: _Read) -> Fact:
    """A field as it is shown: enums in their words, lists as text."""
    if field == "cause":
        return _enum_word(bus_pb2.EndCause.DESCRIPTOR, value)
    if field == "lane":
        return _enum_word(bus_pb2.Lane.DESCRIPTOR, value)
    if (name, field) in _ENUMS:
        return _ENUMS[name, field](value)
    if field == "modules":
        return ",".join(map(str, value)) or "-"
    return (
        bool(value) if isinstance(value, bool) else value if isinstance(value, int) else str(value)
    )


def _words(field: str) -> str:
    """A field's name as people read it."""
    return field.removeprefix("is_")
