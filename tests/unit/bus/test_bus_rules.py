"""Checklist items about the bus as a whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from module_gateway.bus.address import PRESENCE_TOPIC, Address
from module_gateway.bus.link import Link
from module_gateway.bus.location import BusLocation
from module_gateway.bus.mqtt import Adapter, MqttBus
from module_gateway.protocol import bus_pb2
from module_gateway.runtime.settings import BusSettings
from tests.unit.bus.scripted_broker import PUBLISH, SUBSCRIBE, Client, Packet, scripted
from tests.unit.bus.test_link import Ear, running

TOPIC_FORM = re.compile(r"mg/1/(server|handler|client|tool|presence)/[0-9]+")

REQUESTS = {
    "connect_request": "instance",
    "status_request": "instance sequence",
    "connection_ended": "instance",
    "probe_answer": "instance",
    "connect_verdict": "instance",
    "status_reply": "instance sequence",
    "status_refused": "instance sequence",
    "probe": "instance",
    "close_connection": "instance",
    "push_command": "instance",
    "lease": "endpoint epoch",
    "delivery_receipt": "endpoint epoch delivery",
    "outbox_ack": "endpoint epoch acknowledged",
    "command_forward": "endpoint epoch session counter",
    "command_verdict": "endpoint epoch session counter",
    "snapshot_request": "endpoint epoch request",
    "snapshot": "endpoint epoch request",
    "session_phase": "endpoint epoch session",
    "lease_granted": "endpoint epoch",
    "lease_ended": "endpoint epoch",
    "delivery": "endpoint epoch delivery",
    "deliveries_voided": "endpoint epoch",
    "buffer_request": "store_id request",
    "buffer_answer": "store_id request",
}
"""What ties an answer to its question. The rest (presence, digest, lists) states a whole."""


@pytest.mark.parametrize("adapter", ["lean", "paho"])
async def test_O3_topics_hold_numbers_and_requests_have_ids_and_qos_is_1(
    tmp_path: Path, adapter: Adapter
) -> None:
    seen: list[Packet] = []

    async def watch(client: Client) -> None:
        seen.append(await client.accept())
        while True:
            packet = await client.read()
            if packet.kind == PUBLISH:
                seen.append(packet)
                client.write(b"\x40\x02" + packet.published_id)

    async with scripted(tmp_path / "bus.sock", watch):
        ear = Ear()
        bus = MqttBus(BusLocation(tmp_path / "bus.sock"), "test", adapter=adapter)
        link = Link(bus, bus_pb2.INTERNAL_SERVER, BusSettings(), ear)
        async with running(link):
            await ear.until(lambda: link.is_up)
            message = bus_pb2.Message()
            message.connect_request.device.deviceRole = "../#/+/$SYS role"
            for kind in bus_pb2.Kind.values()[1:]:
                link.send(Address(kind, 2**64 - 1), message)
            await link.drain()

    subscribe, *publishes = seen
    assert subscribe.kind == SUBSCRIBE
    assert len(publishes) >= 4
    topics = [_topic(publish) for publish in publishes]
    assert PRESENCE_TOPIC in topics
    assert all(TOPIC_FORM.fullmatch(topic) for topic in topics), topics
    assert {0b0010} == {publish.flags & 0b0110 for publish in publishes}, "QoS 1"
    for topic in (link.address.topic, PRESENCE_TOPIC):
        assert topic.encode() + b"\x01" in subscribe.body, "subscribed with QoS 1"


def test_O3_every_request_and_answer_on_the_bus_carries_its_ids() -> None:
    bodies = {field.name: field.message_type for field in bus_pb2.Message.DESCRIPTOR.fields}
    wholes = {"presence", "live_digest", "live_connections", "live_connections_request"}
    assert bodies.keys() == REQUESTS.keys() | wholes, "say here what correlates a new message"
    for name, ids in REQUESTS.items():
        assert set(ids.split()) <= set(bodies[name].fields_by_name), name


def _topic(publish: Packet) -> str:
    size_bytes = int.from_bytes(publish.body[:2], "big")
    return publish.body[2 : 2 + size_bytes].decode()
