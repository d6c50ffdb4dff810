from __future__ import annotations

import pytest

from fleet_lab.frames import command_in, own_field, status_frame
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import encode_command, encode_connect_response, encode_status

DEVICE = Device.of(1001, 0, "left_button", "button", 2)
OWN = own_field(DEVICE)
REPLY = encode_command(DEVICE, b'{"lit_up": true}')


@pytest.mark.parametrize("size_bytes", [0, 1, 127, 128, 20_000])
def test_a_status_of_any_size_is_the_protocols_frame(size_bytes: int) -> None:
    assert status_frame(OWN, b"x" * size_bytes) == encode_status(DEVICE, b"x" * size_bytes)


def test_a_reply_gives_its_command() -> None:
    assert command_in(OWN, REPLY) == b'{"lit_up": true}'
    assert command_in(OWN, encode_command(DEVICE, b"")) == b""
    assert command_in(OWN, encode_command(DEVICE, b"c" * 5000)) == b"c" * 5000


@pytest.mark.parametrize(
    "frame",
    [b"", REPLY[:3], REPLY[:-1], REPLY + b"x", REPLY + REPLY, encode_connect_response(DEVICE, 0),
     encode_command(Device.of(1001, 0, "other"), b""),
     encode_command(Device.of(1001, 0, "tail_button", "button", 2), b"go"),
     encode_command(DEVICE, b"c" * 20_000)],
    ids=["nothing", "part of a header", "part", "more", "two", "no command", "other", "as long",
         "large"],
)  # fmt: skip
def test_anything_else_is_left_to_the_decoder(frame: bytes) -> None:
    assert command_in(OWN, frame) is None
