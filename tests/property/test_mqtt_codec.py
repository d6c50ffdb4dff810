"""The MQTT codec: any split of the bytes gives the same packets, and any bytes are survived."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from module_gateway.bus import mqtt_codec
from module_gateway.bus.mqtt_codec import (
    ConnAck,
    Packet,
    PacketDecoder,
    PingResp,
    PubAck,
    Publish,
    SubAck,
)
from module_gateway.protocol.errors import RemoteProtocolError

MAX_PACKET_BYTES = 2_000

topics = st.text(
    st.characters(exclude_characters="+#\0", exclude_categories=("Cs",)), min_size=1, max_size=50
)
packet_ids = st.integers(1, mqtt_codec.PACKET_ID_MAX)
payloads = st.binary(max_size=300) | st.integers(0, 1_500).map(bytes)
packets = st.one_of(
    st.builds(ConnAck, st.integers(0, 255)),
    st.builds(Publish, topics, payloads, st.just(0) | packet_ids, st.booleans()),
    st.builds(PubAck, packet_ids),
    st.builds(SubAck, packet_ids, st.binary(min_size=1, max_size=200)),
    st.just(PingResp()),
)


def encode(packet: Packet) -> bytes:
    """What a broker says; PUBLISH and PUBACK are the same in both directions."""
    match packet:
        case ConnAck(code):
            return bytes((0x20, 2, 0, code))
        case Publish(topic, payload, packet_id, is_retained):
            encoded = mqtt_codec.encode_publish(topic, payload, packet_id)
            return bytes((encoded[0] | is_retained,)) + encoded[1:]
        case PubAck(packet_id):
            return mqtt_codec.encode_puback(packet_id)
        case SubAck(packet_id, codes):
            length = 2 + len(codes)
            head = bytes((length,)) if length < 128 else bytes((length & 127 | 128, length >> 7))
            return b"\x90" + head + packet_id.to_bytes(2, "big") + codes
        case PingResp():
            return b"\xd0\x00"


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(places)]


def outcome(chunks: list[bytes]) -> tuple[list[Packet], str, bytes]:
    """Packets, the refusal if there was one, and what waits for its rest."""
    decoder, heard = PacketDecoder(MAX_PACKET_BYTES), []
    try:
        for chunk in chunks:
            for packet in decoder.packets(chunk):
                heard.append(packet)  # noqa: PERF402  # what came before a refusal counts
    except RemoteProtocolError as error:
        return heard, error.detail, b""
    return heard, "", bytes(decoder._partial)


@given(st.lists(packets, max_size=8), st.lists(st.integers(0), max_size=10))
def test_any_split_of_what_a_broker_says_gives_the_same_packets(
    said: list[Packet], cuts: list[int]
) -> None:
    stream = b"".join(map(encode, said))
    assert (said, "", b"") == outcome(pieces(stream, cuts))
    assert (said, "", b"") == outcome([bytes((byte,)) for byte in stream])


@given(
    st.lists(packets.map(encode) | st.binary(max_size=20), max_size=8).map(b"".join),
    st.lists(st.integers(0), max_size=10),
)
def test_any_bytes_are_read_or_refused_and_their_split_makes_no_difference(
    stream: bytes, cuts: list[int]
) -> None:
    whole = outcome([stream])
    assert whole == outcome(pieces(stream, cuts))
    assert whole == outcome([bytes((byte,)) for byte in stream])


@given(
    st.lists(packets, min_size=1, max_size=4).map(lambda said: b"".join(map(encode, said))),
    st.data(),
)
def test_a_stream_with_one_damaged_byte_is_read_or_refused(
    stream: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(stream) - 1))
    damaged = stream[:at] + bytes((data.draw(st.integers(0, 255)),)) + stream[at + 1 :]
    heard, refusal, rest = outcome([damaged])
    assert all(isinstance(packet, Packet) for packet in heard)
    assert not (refusal and rest)


@given(topics, payloads, packet_ids)
def test_what_we_publish_is_what_another_client_hears(
    topic: str, payload: bytes, packet_id: int
) -> None:
    packet = mqtt_codec.encode_publish(topic, payload, packet_id)
    expected = [Publish(topic, payload, packet_id, is_retained=False)]
    assert expected == list(PacketDecoder().packets(packet))
