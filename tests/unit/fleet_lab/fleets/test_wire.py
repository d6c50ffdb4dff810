from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_lab.fleets.wire import Decoder, WireError, encode

FRAMES = st.lists(
    st.tuples(st.dictionaries(st.text(), st.integers() | st.text()), st.binary(max_size=50)),
    max_size=5,
)


@given(FRAMES, st.integers(1, 20))
def test_frames_survive_any_cut(frames: list[tuple[dict[str, object], bytes]], step: int) -> None:
    stream = b"".join(encode(fields, attachment) for fields, attachment in frames)
    decoder, found = Decoder(), []
    for at in range(0, len(stream), step):
        found += decoder.receive(stream[at : at + step])
    assert frames == found


@pytest.mark.parametrize(
    "stream",
    [
        struct.pack("<II", 2**31, 0),
        struct.pack("<II", 1, 0) + b"x",
        struct.pack("<II", 2, 0) + b"[]",
    ],
)
def test_a_stranger_is_noticed(stream: bytes) -> None:
    with pytest.raises(WireError):
        list(Decoder().receive(stream))
