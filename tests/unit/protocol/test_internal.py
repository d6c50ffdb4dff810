from __future__ import annotations

import pytest

from module_gateway.protocol import internal
from module_gateway.protocol import internal_protocol_pb2 as pb
from module_gateway.protocol.errors import Reason, RemoteProtocolError
from module_gateway.protocol.framing import FrameDecoder
from module_gateway.protocol.identity import Device
from tests.golden import BUTTON, CLIENT_FRAMES, SERVER_FRAMES


def encode(message: object) -> bytes:
    match message:
        case internal.DeviceConnect(device):
            return internal.encode_connect(device)
        case internal.DeviceStatus(device, status):
            return internal.encode_status(device, status)
        case internal.DeviceConnectResponse(device, response):
            return internal.encode_connect_response(device, response)
        case internal.DeviceCommand(device, command):
            return internal.encode_command(device, command)
    raise AssertionError(message)


def only_frame(stream: bytes) -> bytes:
    decoder = FrameDecoder()
    decoder.receive(stream)
    frame = decoder.next_frame()
    assert frame is not None
    assert decoder.buffered_bytes == 0
    return frame


@pytest.mark.parametrize("name", CLIENT_FRAMES)
def test_W1_client_frames_are_golden_in_both_directions(name):
    golden, message = CLIENT_FRAMES[name]

    assert golden == encode(message).hex()
    assert message == internal.decode_client_message(only_frame(bytes.fromhex(golden)))


@pytest.mark.parametrize("name", SERVER_FRAMES)
def test_W1_server_frames_are_golden_in_both_directions(name):
    golden, message = SERVER_FRAMES[name]

    assert golden == encode(message).hex()
    assert message == internal.decode_server_message(only_frame(bytes.fromhex(golden)))


@pytest.mark.parametrize("module", [0, 3, 1500, 2**31 - 1])
def test_W7_unknown_module_numbers_survive_a_round_trip(module):
    device = Device.of(module, 7, "r", "n", 3)

    assert internal.DeviceStatus(device, b"x") == internal.decode_client_message(
        only_frame(internal.encode_status(device, b"x"))
    )


@pytest.mark.parametrize("decode", [internal.decode_client_message, internal.decode_server_message])
def test_garbage_is_undecodable(decode):
    with pytest.raises(RemoteProtocolError) as caught:
        decode(b"\xff\xff\xff")

    assert Reason.UNDECODABLE == caught.value.reason


@pytest.mark.parametrize("decode", [internal.decode_client_message, internal.decode_server_message])
def test_an_envelope_without_a_message_is_refused(decode):
    with pytest.raises(RemoteProtocolError) as caught:
        decode(b"")

    assert Reason.NO_MESSAGE == caught.value.reason


def test_case02_a_bare_connect_without_its_envelope_is_refused():
    bare = pb.DeviceConnect()
    BUTTON.write_to(bare.device)

    with pytest.raises(RemoteProtocolError):
        internal.decode_client_message(bare.SerializeToString())


def test_text_that_is_not_utf8_is_undecodable():
    frame = only_frame(internal.encode_connect(BUTTON))

    with pytest.raises(RemoteProtocolError) as caught:
        internal.decode_client_message(frame.replace(b"left", b"le\xfft"))

    assert Reason.UNDECODABLE == caught.value.reason


@pytest.mark.parametrize("size_bytes", [0, 1, 100, 127, 128, 20_000, 1_000_000])
def test_a_command_is_encoded_as_protobuf_does_it(size_bytes: int):
    command = bytes(size_bytes)
    envelope = pb.InternalServer()
    BUTTON.write_to(envelope.deviceCommand.device)
    envelope.deviceCommand.commandData = command

    assert envelope.SerializeToString() == only_frame(internal.encode_command(BUTTON, command))


def test_a_status_is_read_without_its_device_when_that_is_the_known_one():
    known = internal.encode_device(BUTTON)

    assert internal.status_of(only_frame(internal.encode_status(BUTTON, b"x")), known) == b"x"
    assert internal.status_of(only_frame(internal.encode_status(BUTTON, b"")), known) == b""


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff",
        only_frame(internal.encode_connect(BUTTON)),
        only_frame(internal.encode_status(Device(BUTTON.identity, "renamed"), b"x")),
        only_frame(internal.encode_command(BUTTON, b"x")) + b"\x98\x06\x01",
    ],
)
def test_any_other_message_is_no_status_of_the_known_device(message: bytes):
    known = internal.encode_device(Device.of(1000, 0, "left_button", "somebody"))

    assert internal.status_of(message, known) is None
