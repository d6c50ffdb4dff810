"""What a message on the upstream broker says to the ledger."""

from __future__ import annotations

import asyncio
import json

import aiomqtt
import pytest

from fleet_lab.ledger.events import Accepted, Acknowledged, Opened, Upstream
from fleet_lab.ledger.tap import MqttTap, TapDecoder
from module_gateway.protocol.external import (
    Command,
    CommandResponse,
    Connect,
    ConnectResponse,
    Position,
    Status,
    StatusResponse,
    Topics,
    encode,
)
from module_gateway.protocol.identity import Device

TOPICS = Topics.of("firm", "car")
DEVICE = Device.of(1001, 0, "button", "a name", 2)
V = "firm/car"
BODY = json.dumps({"n": 7, "id": "cars/1"}).encode()


@pytest.mark.parametrize(
    ("topic", "message", "event"),
    [
        (TOPICS.from_gateway, Connect("s", "firm", "car", (DEVICE,)), Opened(V, "s", 5.0)),
        (
            TOPICS.to_gateway,
            ConnectResponse("s", 0, ((DEVICE.identity, Position(3, 4)),)),
            Accepted(V, "s", 5.0, {DEVICE.identity: Position(3, 4)}),
        ),
        (TOPICS.to_gateway, ConnectResponse("s", 1), None),
        (
            TOPICS.from_gateway,
            Status("s", 0, 9, DEVICE, BODY, b"{}", Position(3, 5), 1, is_replayed=True),
            Upstream(
                V, "s", 9, DEVICE.identity, 7, 0, 5.0, b"{}", Position(3, 5), "cars/1",
                is_replayed=True,
            ),
        ),
        (
            TOPICS.from_gateway,
            Status("s", 1, 9, DEVICE, b"\xff"),
            Upstream(V, "s", 9, DEVICE.identity, None, 1, 5.0),
        ),
        (TOPICS.to_gateway, StatusResponse("s", 0, 9), Acknowledged(V, "s", 9, 5.0)),
        (TOPICS.to_gateway, Command("s", 0, DEVICE, b"x"), None),
        (TOPICS.from_gateway, CommandResponse("s", 0, 0), None),
        (TOPICS.disconnect, Connect("s", "firm", "car", ()), None),
        ("firm/car", Connect("s", "firm", "car", ()), None),
        ("a/b/c/module_gateway", Connect("s", "firm", "car", ()), None),
    ],
    ids=[
        "connect", "accepted", "refused", "status", "unreadable-status", "acknowledgement",
        "command", "command-response", "disconnect-topic", "short-topic", "long-topic",
    ],
)  # fmt: skip
def test_a_message_becomes_its_event(topic, message, event):
    decoder = TapDecoder()
    assert decoder.decode(topic, encode(message), 5.0) == event
    assert decoder.undecodable == 0


@pytest.mark.parametrize("topic", [TOPICS.from_gateway, TOPICS.to_gateway])
@pytest.mark.parametrize("payload", [b"", b"\xff\xff\xff", b"hello"])
def test_what_cannot_be_decoded_is_counted_and_has_no_effect(topic, payload):
    decoder = TapDecoder()
    assert decoder.decode(topic, payload, 5.0) is None
    assert decoder.undecodable == 1


async def test_a_tap_ends_although_its_library_answers_with_an_error():
    class Stubborn(MqttTap):
        async def _listen(self, ready):
            ready.set_result(None)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise aiomqtt.MqttError("disconnected") from None

    async with asyncio.timeout(30), Stubborn("127.0.0.1", 1, lambda event: None).running():
        pass
