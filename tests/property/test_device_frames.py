"""The lab's short way to a frame says what the protocol's long way says."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from fleet_lab.frames import command_in, own_field, status_frame
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import (
    DeviceCommand,
    decode_server_message,
    encode_command,
    encode_connect_response,
    encode_status,
)

NUMBERS = st.integers(0, 2**31 - 1)
DEVICES = st.builds(
    Device.of, NUMBERS, NUMBERS, st.text(max_size=200), st.text(max_size=5), NUMBERS
)
LENGTHS = st.sampled_from([0, 1, 90, 100, 110, 120, 126, 127, 128, 129, 300, 16370, 16400])
PAYLOADS = st.binary(max_size=140) | LENGTHS.map(bytes)


@given(DEVICES, PAYLOADS)
def test_a_status_is_the_same_frame(device: Device, status: bytes) -> None:
    assert status_frame(own_field(device), status) == encode_status(device, status)


@given(DEVICES, PAYLOADS)
@example(Device.of(0, 0, ""), bytes(16383 - 6))
@example(Device.of(0, 0, ""), bytes(16384 - 6))
@example(Device.of(0, 0, "r"), bytes(16370))
def test_a_small_reply_gives_its_command(device: Device, command: bytes) -> None:
    frame = encode_command(device, command)
    header_bytes = 4 + 1 + 2  # length, tag, and a length of two bytes
    expected = command if len(frame) - header_bytes < 16384 else None
    assert command_in(own_field(device), frame) == expected


@given(DEVICES, DEVICES, PAYLOADS)
def test_a_reply_to_another_device_gives_none(one: Device, other: Device, command: bytes) -> None:
    if one != other:
        assert command_in(own_field(one), encode_command(other, command)) is None


OWN = Device.of(1, 2, "r")


@given(st.binary(max_size=200), st.integers(0, 60), st.integers(0, 255))
@example(b"", 0, 0)
def test_whatever_gives_a_command_is_one(payload: bytes, at: int, value: int) -> None:
    for frame in (encode_command(OWN, payload), encode_connect_response(OWN, 0), payload):
        broken = bytearray(frame)
        if at < len(broken):
            broken[at] = value
        command = command_in(own_field(OWN), bytes(broken))
        if command is not None:
            assert decode_server_message(bytes(broken[4:])) == DeviceCommand(OWN, command)
