from __future__ import annotations

import pytest

from module_gateway.observe.tap.seen import Seen
from module_gateway.observe.tap.upstream_messages import UpstreamReader
from module_gateway.protocol.external import (
    ClientMessage,
    Command,
    CommandResponse,
    Connect,
    ConnectResponse,
    Position,
    ServerMessage,
    Status,
    StatusResponse,
    Topics,
    encode,
)
from module_gateway.protocol.identity import Device

TOPICS = Topics.of("acme", "van_1")
A = Device.of(3, 0, "a")
ID = "Xy12Zz99"


def up(reader: UpstreamReader, message: ClientMessage) -> Seen:
    return reader.read(TOPICS.from_gateway, encode(message))


def down(reader: UpstreamReader, message: ServerMessage) -> Seen:
    return reader.read(TOPICS.to_gateway, encode(message))


def test_a_status_and_its_acknowledgement_belong_together() -> None:
    reader = UpstreamReader(TOPICS)
    sent = up(reader, Status(ID, 1, 4, A, b"{}", b"err", Position(9, 77), 0, is_replayed=True))
    acknowledged = down(reader, StatusResponse(ID, 0, 4))
    strange = down(reader, StatusResponse(ID, 0, 5))
    assert (sent.kind, sent.sender, sent.receiver) == ("status", "gateway", "control plane")
    assert dict(sent.facts) == {
        "session": "Xy12…", "counter": 4, "state": "running", "sequence": 77, "replayed": True,
        "error_bytes": 3,
    }  # fmt: skip
    assert (sent.payload, sent.payload_of) == (b"{}", "status")
    assert (acknowledged.kind, acknowledged.devices) == ("reply", (A.identity,))
    assert (acknowledged.sender, acknowledged.receiver) == ("control plane", "gateway")
    assert strange.devices == ()


def test_a_command_and_what_became_of_it_belong_together() -> None:
    reader = UpstreamReader(TOPICS)
    sent = down(reader, Command(ID, 1, A, b"go"))
    answered = up(reader, CommandResponse(ID, 3, 1))
    assert (sent.kind, sent.payload, sent.payload_of) == ("command", b"go", "command")
    assert (answered.kind, answered.devices) == ("answer", (A.identity,))
    assert dict(answered.facts)["response"] == "invalid_command"


def test_a_session_is_opened_for_devices_and_answered() -> None:
    reader = UpstreamReader(TOPICS)
    opened = up(reader, Connect(ID, "acme", "van_1", (A,), ("applied",)))
    answered = down(reader, ConnectResponse(ID, 1, ((A.identity, Position(1, 2)),)))
    assert opened.devices == (A.identity,)
    assert dict(opened.facts) == {
        "session": "Xy12…", "vehicle": "acme/van_1", "devices": 1, "capabilities": "applied",
    }  # fmt: skip
    assert dict(answered.facts) == {
        "session": "Xy12…", "response": "already_logged", "applied": 1,
    }  # fmt: skip


def test_a_session_cannot_be_joined_with_what_is_shown_of_its_id() -> None:
    reader = UpstreamReader(TOPICS)
    assert ID not in str(up(reader, Status(ID, 1, 4, A, b"{}")))


def test_the_disconnect_notification_has_no_content() -> None:
    seen = UpstreamReader(TOPICS).read(TOPICS.disconnect, b"")
    assert (seen.kind, seen.sender) == ("end", "control plane")


@pytest.mark.parametrize("topic", [TOPICS.from_gateway, TOPICS.to_gateway])
@pytest.mark.parametrize("junk", [b"", b"\xff"])
def test_bytes_that_are_no_message_are_shown_as_such(topic: str, junk: bytes) -> None:
    seen = UpstreamReader(TOPICS).read(topic, junk)
    assert seen.kind == "unreadable"
    assert dict(seen.facts)["bytes"] == len(junk)


def test_numbers_that_nobody_defined_are_shown_as_numbers() -> None:
    reader = UpstreamReader(TOPICS)
    assert dict(up(reader, Status(ID, 9, 1, A, b"")).facts)["state"] == "9"
    assert dict(down(reader, StatusResponse(ID, 5, 1)).facts)["response"] == "5"
