from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from module_gateway.protocol.errors import LocalProtocolError, Reason, RemoteProtocolError
from module_gateway.protocol.framing import FrameDecoder, encode_frame, encode_varint


def frames_of(decoder: FrameDecoder) -> list[bytes]:
    return list(iter(decoder.next_frame, None))


def test_W2_header_is_little_endian_and_does_not_count_itself():
    assert b"\x03\x00\x00\x00abc" == encode_frame(b"abc")
    assert b"\x00\x01\x00\x00" == encode_frame(bytes(256))[:4]


def test_case01_a_little_endian_header_is_understood():
    decoder = FrameDecoder()
    decoder.receive(bytes.fromhex("1f000000") + bytes(31))

    assert [bytes(31)] == frames_of(decoder)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.randoms())
def test_W3_any_split_and_any_merge_gives_the_same_frames(messages, random):
    stream = b"".join(map(encode_frame, messages))
    decoder = FrameDecoder()
    received: list[bytes] = []
    while stream:
        cut = random.randint(1, len(stream))
        decoder.receive(stream[:cut])
        stream = stream[cut:]
        received += frames_of(decoder)

    assert messages == received
    assert decoder.buffered_bytes == 0


def test_W5_length_zero_is_refused():
    decoder = FrameDecoder()
    decoder.receive(bytes(4))

    with pytest.raises(RemoteProtocolError) as caught:
        decoder.next_frame()

    assert Reason.FRAME_EMPTY == caught.value.reason


@pytest.mark.parametrize("size", [101, 2**31, 2**32 - 1])
def test_W5_a_length_over_the_limit_is_refused_before_the_body(size):
    decoder = FrameDecoder(max_frame_size_bytes=100)
    decoder.receive(size.to_bytes(4, "little"))

    with pytest.raises(RemoteProtocolError) as caught:
        decoder.next_frame()

    assert Reason.FRAME_TOO_LARGE == caught.value.reason


def test_a_message_of_exactly_the_limit_passes():
    decoder = FrameDecoder(max_frame_size_bytes=100)
    decoder.receive(encode_frame(bytes(100)))

    assert [bytes(100)] == frames_of(decoder)


def test_three_header_bytes_are_waited_for():
    decoder = FrameDecoder()
    decoder.receive(b"\x01\x00\x00")

    assert decoder.next_frame() is None
    assert decoder.buffered_bytes == 3


def test_an_empty_message_cannot_be_framed():
    with pytest.raises(LocalProtocolError):
        encode_frame(b"")


@pytest.mark.parametrize(
    ("number", "encoded"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**21, "80808001")],
)
def test_lengths_inside_of_messages_are_varints(number: int, encoded: str):
    assert bytes.fromhex(encoded) == encode_varint(number)


def test_a_decoder_without_waiting_bytes_holds_no_buffer():
    decoder = FrameDecoder()
    decoder.receive(encode_frame(b"one") + b"\x01")
    assert decoder.next_frame() == b"one"
    decoder.receive(b"\x00\x00\x00x")
    assert decoder.next_frame() == b"x"

    assert (decoder.buffered_bytes, decoder._buffer) == (0, None)
