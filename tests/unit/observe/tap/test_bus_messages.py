from __future__ import annotations

from collections import deque

import pytest

from module_gateway.bus import batch
from module_gateway.bus.address import PRESENCE_TOPIC, Address
from module_gateway.observe.tap.bus_messages import _BODIES, BusReader, short, topics_for
from module_gateway.observe.tap.seen import KINDS, Filter, Seen
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.identity import Device

SERVER = Address(int(bus_pb2.INTERNAL_SERVER), 0xABCD1234)
HANDLER = Address(int(bus_pb2.MODULE_HANDLER), 0x0F01)
CLIENT = Address(int(bus_pb2.EXTERNAL_CLIENT), 7)
A = Device.of(3, 0, "a", "a", 2)


def payload(sender: Address, *messages: bus_pb2.Message) -> bytes:
    entries = deque(batch.encode_entry(each) for each in messages)
    return batch.pack(batch.encode_header(sender), entries, 2**20)[0]


def connect(instance: int, device: Device = A) -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.connect_request.instance = instance
    device.write_to(message.connect_request.device)
    return message


def status(instance: int, sequence: int = 1) -> bus_pb2.Message:
    body = bus_pb2.StatusRequest(instance=instance, sequence=sequence, status=b"{}")
    return bus_pb2.Message(status_request=body)


def read(
    reader: BusReader, receiver: Address, sender: Address, *messages: bus_pb2.Message
) -> list[Seen]:
    return list(reader.read(receiver.topic, payload(sender, *messages)))


def test_every_message_of_the_schema_has_its_kind() -> None:
    names = {field.name for field in bus_pb2.Message.DESCRIPTOR.oneofs_by_name["body"].fields}
    assert names == set(_BODIES)
    assert {body.kind for body in _BODIES.values()} <= set(KINDS)


@pytest.mark.parametrize("name", sorted(_BODIES))
def test_every_message_of_the_schema_can_be_shown(name: str) -> None:
    message = bus_pb2.Message()
    getattr(message, name).SetInParent()
    (seen,) = read(BusReader(), HANDLER, SERVER, message)
    assert (seen.name, seen.kind, seen.hop) == (name, _BODIES[name].kind, "bus")


def test_a_status_and_its_reply_belong_to_the_device_that_connected() -> None:
    reader = BusReader()
    first, second = read(reader, HANDLER, SERVER, connect(5), status(5, 9))
    reply = bus_pb2.StatusReply(instance=5, sequence=9, command=b"go")
    (third,) = read(reader, SERVER, HANDLER, bus_pb2.Message(status_reply=reply))
    assert first.devices == second.devices == third.devices == (A.identity,)
    assert dict(first.facts) == {"instance": 5, "priority": 2}
    assert (second.sender, second.receiver) == ("server/1234", "handler/0f01")
    assert (third.sender, third.receiver) == ("handler/0f01", "server/1234")
    assert dict(third.facts) == {"instance": 5, "sequence": 9}
    assert (second.payload, second.payload_of) == (b"{}", "status")
    assert (third.payload, third.payload_of) == (b"go", "command")


def test_instances_of_another_server_are_others() -> None:
    reader = BusReader()
    read(reader, HANDLER, SERVER, connect(5))
    other = Address(int(bus_pb2.INTERNAL_SERVER), 99)
    (seen,) = read(reader, HANDLER, other, status(5))
    assert seen.devices == ()
    assert reader.unknown == 1


def test_a_list_of_live_connections_names_them() -> None:
    reader = BusReader()
    message = bus_pb2.Message()
    A.write_to(message.live_connections.connections.add(instance=8).device)
    (listed,) = read(reader, HANDLER, SERVER, message)
    (seen,) = read(reader, HANDLER, SERVER, status(8))
    assert (listed.devices, seen.devices) == ((A.identity,), (A.identity,))


def test_the_verdict_on_a_command_belongs_to_its_device() -> None:
    reader = BusReader()
    forward = bus_pb2.Message()
    forward.command_forward.session, forward.command_forward.counter = 2, 3
    A.write_to(forward.command_forward.device)
    read(reader, HANDLER, CLIENT, forward)
    verdict = bus_pb2.CommandVerdict(session=2, counter=3, response=1)
    (seen,) = read(reader, CLIENT, HANDLER, bus_pb2.Message(command_verdict=verdict))
    assert seen.devices == (A.identity,)
    assert dict(seen.facts)["response"] == "device_not_connected"


def test_numbers_of_the_schema_are_shown_in_its_words() -> None:
    refused = bus_pb2.StatusRefused(instance=1, sequence=2, cause=6, reason="status_invalid")
    (seen,) = read(BusReader(), SERVER, HANDLER, bus_pb2.Message(status_refused=refused))
    assert dict(seen.facts)["cause"] == "status_invalid"
    ended = bus_pb2.Message()
    ended.connection_ended.cause = 77
    (odd,) = read(BusReader(), HANDLER, SERVER, ended)
    assert dict(odd.facts)["cause"] == "77"


def test_a_delivery_says_its_lane_and_what_a_fold_carries() -> None:
    message = bus_pb2.Message()
    message.delivery.lane, message.delivery.error = bus_pb2.LIVE, b"12345"
    A.write_to(message.delivery.device)
    (seen,) = read(BusReader(), CLIENT, HANDLER, message)
    assert dict(seen.facts) == {
        "endpoint": 0, "lane": "live", "delivery": 0, "sequence": 0, "error_bytes": 5,
    }  # fmt: skip


@pytest.mark.parametrize(
    "junk", [b"\xff\xff", b"", payload(Address(99, 1), status(1))], ids=["bytes", "empty", "sender"]
)
def test_bytes_that_are_no_batch_are_shown_as_such(junk: bytes) -> None:
    (seen,) = BusReader().read(HANDLER.topic, junk)
    assert seen.kind == "unreadable"
    assert dict(seen.facts)["bytes"] == len(junk)


def test_a_message_of_a_later_schema_is_told_apart() -> None:
    later = bus_pb2.Message.FromString(bytes.fromhex("fa3f0161"))  # field 1023
    (seen,) = read(BusReader(), HANDLER, SERVER, later)
    assert (seen.kind, seen.name) == ("unreadable", "unknown")


@pytest.mark.parametrize("topic", [PRESENCE_TOPIC, "mg/1/handler/" + "9" * 5000, "mg/1/x/1", ""])
def test_a_topic_of_nobody_is_everybodys(topic: str) -> None:
    (seen,) = BusReader().read(topic, payload(SERVER, status(1)))
    assert seen.receiver == "all"


def test_a_process_is_shown_by_its_kind_and_the_end_of_its_number() -> None:
    assert short(HANDLER) == "handler/0f01"


def test_only_topics_that_carry_what_is_wanted_are_asked_for() -> None:
    def topics(*kinds: str) -> set[str]:
        return set(topics_for(Filter(frozenset(kinds)).wants_kind))

    assert topics("presence") == {"mg/1/presence/0"}
    assert topics("status") == {"mg/1/handler/+"}
    assert topics("reply") == {"mg/1/server/+", "mg/1/handler/+"}
    assert topics("answer") == {"mg/1/client/+", "mg/1/handler/+"}
    assert "mg/1/presence/0" not in topics()
    assert topics("unreadable") != set()
