from __future__ import annotations

import pytest

from fleet_lab.session import (
    EXPLANATIONS,
    Accepted,
    Commanded,
    DeviceSession,
    Phase,
    Refused,
    explain,
)
from module_gateway.protocol.errors import LocalProtocolError, Reason, RemoteProtocolError
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import (
    ConnectResponseType,
    decode_client_message,
    encode_command,
    encode_connect_response,
)

DEVICE = Device.of(1001, 0, "left_button", "button", 2)
OK = encode_connect_response(DEVICE, ConnectResponseType.OK)


def accepted_session() -> DeviceSession:
    session = DeviceSession(DEVICE)
    assert list(session.receive(OK)) == [Accepted()]
    return session


def test_first_frame_introduces_the_device() -> None:
    frame = DeviceSession(DEVICE).connect_frame()
    assert decode_client_message(frame[4:]).device == DEVICE


def test_status_is_answered_and_the_next_may_go() -> None:
    session = accepted_session()
    for number in range(3):
        session.status_frame(b"s")
        command = b"%d" % number
        assert list(session.receive(encode_command(DEVICE, command))) == [
            Commanded(command, is_pushed=False)
        ]


def test_replies_may_be_split_anywhere() -> None:
    session = accepted_session()
    session.status_frame(b"s")
    frame = encode_command(DEVICE, b"go")
    events = [event for byte in frame for event in session.receive(bytes([byte]))]
    assert events == [Commanded(b"go", is_pushed=False)]


def test_a_command_without_a_status_is_pushed_and_costs_no_turn() -> None:
    session = accepted_session()
    assert list(session.receive(encode_command(DEVICE, b"now"))) == [
        Commanded(b"now", is_pushed=True)
    ]
    assert session.phase is Phase.READY


@pytest.mark.parametrize("is_accepted", [False, True])
def test_no_status_before_the_answer_to_the_last_frame(is_accepted: bool) -> None:
    session = DeviceSession(DEVICE)
    if is_accepted:
        session = accepted_session()
        session.status_frame(b"first")
    with pytest.raises(LocalProtocolError):
        session.status_frame(b"too early")


@pytest.mark.parametrize("response", [1, 2, 3, 4, 77])
def test_a_refusal_ends_the_session(response: int) -> None:
    session = DeviceSession(DEVICE)
    frame = encode_connect_response(DEVICE, response)
    assert list(session.receive(frame + OK)) == [Refused(response)]
    assert session.phase is Phase.OVER


def test_only_a_collision_may_pass_by_itself() -> None:
    assert [Refused(n).is_lasting for n in (1, 2, 3, 4, 77)] == [False, True, True, False, True]


def test_every_refusal_is_explained_in_one_line() -> None:
    lines = [explain(number) for number in (1, 2, 3, 4, 77)]
    assert len(set(lines)) == len(lines) == len(EXPLANATIONS) + 1
    assert all("\n" not in line for line in lines)
    assert lines[1].startswith("MODULE_NOT_SUPPORTED: ")
    assert lines[-1] == "response 77, which the protocol does not define"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (encode_command(DEVICE, b""), Reason.UNEXPECTED_MESSAGE),
        (encode_connect_response(Device.of(1001, 0, "other"), 0), Reason.OTHER_DEVICE),
        (encode_connect_response(Device.of(1001, 0, "left_button"), 0), Reason.OTHER_DEVICE),
        (b"\x00\x00\x00\x00", Reason.FRAME_EMPTY),
        (b"\x02\x00\x00\x00\xff\xff", Reason.UNDECODABLE),
    ],
    ids=["command first", "another role", "another name", "empty frame", "garbage"],
)
def test_a_gateway_that_breaks_the_protocol_is_caught(reply: bytes, reason: Reason) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        list(DeviceSession(DEVICE).receive(reply))
    assert caught.value.reason is reason


def test_a_second_connect_response_is_caught() -> None:
    with pytest.raises(RemoteProtocolError, match="second"):
        list(accepted_session().receive(OK))


def test_an_awaited_reply_is_taken_at_once() -> None:
    session = accepted_session()
    assert session.take_command(encode_command(DEVICE, b"go")) is None
    session.status_frame(b"s")
    assert session.take_command(encode_command(DEVICE, b"go")) == b"go"
    session.status_frame(b"t")
    assert list(session.receive(encode_command(DEVICE, b"on"))) == [Commanded(b"on", False)]


def test_a_reply_after_half_a_frame_is_left_to_the_decoder() -> None:
    session = accepted_session()
    session.status_frame(b"s")
    frame = encode_command(DEVICE, b"go")
    assert list(session.receive(frame[:5])) == []
    assert session.take_command(frame) is None
    assert list(session.receive(frame[5:])) == [Commanded(b"go", is_pushed=False)]
    session.status_frame(b"t")
    assert session.take_command(frame) == b"go"


def test_replies_that_repeat_change_or_grow_are_each_taken() -> None:
    session = accepted_session()
    for command in (b"a", b"a", b"b", b"c" * 2000, b"c" * 2000, b"b", b"", b""):
        session.status_frame(b"s")
        assert session.take_command(encode_command(DEVICE, command)) == command
        assert session.phase is Phase.READY
