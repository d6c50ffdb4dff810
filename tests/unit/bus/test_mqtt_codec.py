from __future__ import annotations

import pytest

from module_gateway.bus import mqtt_codec
from module_gateway.bus.mqtt_codec import (
    ConnAck,
    Credentials,
    Packet,
    PacketDecoder,
    PingResp,
    PubAck,
    Publish,
    SubAck,
    Will,
)
from module_gateway.protocol.errors import LocalProtocolError, Reason, RemoteProtocolError


def decode(data: bytes, **options: int) -> list[Packet]:
    return list(PacketDecoder(**options).packets(data))


def test_connect_is_mqtt_311_with_a_clean_session() -> None:
    expected = "10 0e 0004 4d515454 04 02 0005 0002 6162"
    assert bytes.fromhex(expected) == mqtt_codec.encode_connect("ab", 5)


def test_connect_carries_will_user_and_password_in_this_order() -> None:
    packet = mqtt_codec.encode_connect("c", 15, Credentials("user", "pass"), Will("t/1", b"gone"))
    # Flags: user, password, will of QoS 1 that is not retained, clean session.
    head = bytes.fromhex("10 24 0004 4d515454 04 ce 000f")
    assert head + b"\x00\x01c\x00\x03t/1\x00\x04gone\x00\x04user\x00\x04pass" == packet


def test_connect_with_a_user_alone_says_that_there_is_no_password() -> None:
    packet = mqtt_codec.encode_connect("c", 15, Credentials("user"))
    assert 0b1000_0010 == packet[9]
    assert packet.endswith(b"\x00\x01c\x00\x04user")


def test_publish_of_qos_1_has_an_id_and_of_qos_0_none() -> None:
    assert b"\x32\x08\x00\x01t\x01\x02abc" == mqtt_codec.encode_publish("t", b"abc", 0x0102)
    assert b"\x30\x06\x00\x01tabc" == mqtt_codec.encode_publish("t", b"abc", 0)


def test_subscribe_names_each_filter_with_its_qos() -> None:
    packet = mqtt_codec.encode_subscribe(1, ("a/b", "+/#"), 1)
    assert b"\x82\x0e\x00\x01\x00\x03a/b\x01\x00\x03+/#\x01" == packet


def test_packets_without_a_body() -> None:
    assert b"\xc0\x00" == mqtt_codec.PINGREQ
    assert b"\xe0\x00" == mqtt_codec.DISCONNECT
    assert b"\x40\x02\x01\x02" == mqtt_codec.encode_puback(0x0102)


@pytest.mark.parametrize("topic", ["", "a/+/b", "a/#", "a\0b", "x" * 65_536, "\ud800"])
def test_what_is_no_topic_name_is_our_own_mistake(topic: str) -> None:
    with pytest.raises(LocalProtocolError):
        mqtt_codec.encode_publish(topic, b"", 1)


@pytest.mark.parametrize("filters", [(), ("",), ("a", "")])
def test_a_subscription_to_nothing_is_our_own_mistake(filters: tuple[str, ...]) -> None:
    with pytest.raises(LocalProtocolError):
        mqtt_codec.encode_subscribe(1, filters, 1)


@pytest.mark.parametrize("keepalive_s", [-1, 65_536])
def test_a_keepalive_that_does_not_fit_is_our_own_mistake(keepalive_s: int) -> None:
    with pytest.raises(LocalProtocolError):
        mqtt_codec.encode_connect("c", keepalive_s)


def test_a_payload_beyond_the_largest_packet_is_our_own_mistake() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return mqtt_codec.REMAINING_LENGTH_MAX

    with pytest.raises(LocalProtocolError, match="a packet of 268435460 bytes"):
        mqtt_codec.encode_publish("t", Huge(), 1)


@pytest.mark.parametrize(
    ("data", "packet"),
    [
        ("20 02 00 00", ConnAck(0)),
        ("20 02 01 05", ConnAck(5)),
        ("40 02 12 34", PubAck(0x1234)),
        ("90 04 00 01 01 80", SubAck(1, b"\x01\x80")),
        ("d0 00", PingResp()),
        ("30 05 00 01 74 61 62", Publish("t", b"ab", 0, is_retained=False)),
        ("31 03 00 01 74", Publish("t", b"", 0, is_retained=True)),
        ("32 06 00 01 74 00 07 61", Publish("t", b"a", 7, is_retained=False)),
        ("3a 06 00 01 74 00 07 61", Publish("t", b"a", 7, is_retained=False)),
        ("30 83 00 00 01 74", Publish("t", b"", 0, is_retained=False)),
    ],
)
def test_every_packet_of_a_broker_is_read(data: str, packet: Packet) -> None:
    assert [packet] == decode(bytes.fromhex(data))


@pytest.mark.parametrize(
    "data",
    [
        "00 00",  # no packet
        "10 00",  # only clients say CONNECT
        "20 01 00",
        "20 02 02 00",  # reserved flags
        "21 02 00 00",
        "40 01 01",
        "40 02 00 00",  # id 0
        "42 02 00 01",
        "50 02 00 01",  # PUBREC: nobody asked for QoS 2
        "90 02 00 01",  # no code
        "90 03 00 00 01",  # id 0
        "d0 01 00",
        "f0 00",
        "30 00",
        "30 01 00",
        "30 02 00 00",  # an empty topic
        "30 03 00 02 74",  # a topic that is cut off
        "30 03 00 01 2b",  # a wildcard
        "30 03 00 01 23",
        "30 03 00 01 00",
        "30 03 00 01 ff",  # no UTF-8
        "32 03 00 01 74",  # no id
        "32 05 00 01 74 00 00",  # id 0
        "34 05 00 01 74 00 01",  # QoS 2
        "36 05 00 01 74 00 01",
        "30 ff ff ff ff 01",  # a length of five bytes
        "30 80 80 80 80",
    ],
)
def test_what_no_broker_may_say_is_refused(data: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode(bytes.fromhex(data))
    assert Reason.UNDECODABLE == caught.value.reason
    assert caught.value.detail


def test_what_came_before_the_mistake_is_given_first() -> None:
    packets = PacketDecoder().packets(b"\xd0\x00\xf0\x00")
    assert PingResp() == next(packets)
    with pytest.raises(RemoteProtocolError):
        next(packets)


def test_a_packet_that_is_too_large_is_refused_by_its_head() -> None:
    decoder = PacketDecoder(max_packet_bytes=1000)
    assert [] == list(decoder.packets(bytes.fromhex("30 e8 07")))  # 1000
    with pytest.raises(RemoteProtocolError, match="1001 bytes"):
        decode(bytes.fromhex("30 e9 07"), max_packet_bytes=1000)


def test_a_large_packet_in_small_pieces_is_put_together_once() -> None:
    payload = bytes(range(256)) * 4096
    packet = mqtt_codec.encode_publish("t", payload, 9)
    decoder, received = PacketDecoder(), []
    chunks = [packet[at : at + 1000] for at in range(0, len(packet), 1000)]
    for chunk in chunks[:-1]:
        received += decoder.packets(chunk)
        assert len(decoder._partial) < decoder._wanted_bytes == len(packet)
    received += decoder.packets(chunks[-1])
    assert [Publish("t", payload, 9, is_retained=False)] == received
    assert not decoder._partial
