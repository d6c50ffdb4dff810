"""The state table of one device connection, row by row."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

import pytest

from module_gateway.internal_server import events as ev
from module_gateway.internal_server.rules import Fault, SessionRules
from module_gateway.internal_server.session import PIPELINE_SIZE_BYTES, DeviceSession, State
from module_gateway.internal_server.validation import Refusal
from module_gateway.protocol import bus_pb2
from module_gateway.protocol import internal_protocol_pb2 as pb
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.framing import encode_frame
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import (
    encode_command,
    encode_connect,
    encode_connect_response,
    encode_status,
)
from tests.golden import BUTTON, CLIENT_FRAMES, SERVER_FRAMES

CONNECT = bytes.fromhex(CLIENT_FRAMES["connect"][0])
STATUS = bytes.fromhex(CLIENT_FRAMES["status"][0])
CONNECT_OK = bytes.fromhex(SERVER_FRAMES["connect_ok"][0])
COMMAND = bytes.fromhex(SERVER_FRAMES["command"][0])
COMMAND_EMPTY = bytes.fromhex(SERVER_FRAMES["command_empty"][0])
OTHER = Device.of(1000, 0, "right_button", "button2")
START = 1000.0


def rules(refusal: Refusal | None = None, fault: Fault = Fault.NONE) -> SessionRules:
    return SessionRules(admit=lambda _device: refusal, fault=fault)


def step(session: DeviceSession, *events: ev.Event, now: float = START) -> list[ev.Effect]:
    return [effect for event in events for effect in session.step(event, now)]


def accepted(**options: object) -> DeviceSession:
    return DeviceSession(rules(**options), START)  # type: ignore[arg-type]


def connected(fault: Fault = Fault.NONE) -> DeviceSession:
    session = accepted(fault=fault)
    step(session, ev.BytesReceived(CONNECT), ev.VerdictArrived(0))
    assert session.state is State.CONNECTED
    return session


def awaiting() -> DeviceSession:
    session = connected()
    step(session, ev.BytesReceived(STATUS))
    assert session.state is State.AWAITING_COMMAND
    return session


def closed(reason: Reason, cause: int, *, flushes: bool = False) -> ev.Close:
    return ev.Close(reason, cause, flushes)  # type: ignore[arg-type]


def without_details(effects: Iterable[ev.Effect]) -> list[ev.Effect]:
    return [
        ev.Close(effect.reason, effect.cause, effect.flushes)
        if isinstance(effect, ev.Close)
        else effect
        for effect in effects
    ]


VIOLATED = bus_pb2.PROTOCOL_VIOLATION


def test_a_whole_session_goes_through_every_state():
    session = accepted()
    assert session.state is State.ACCEPTED
    assert step(session, ev.BytesReceived(CONNECT)) == [ev.RequestConnect(BUTTON)]
    assert (session.state, session.is_decided) == (State.DECIDING, False)
    assert step(session, ev.VerdictArrived(0), now=START + 0.1) == [
        ev.WriteConnectResponse(CONNECT_OK, 0, pytest.approx(0.1))  # type: ignore[arg-type]
    ]
    assert (session.state, session.is_decided) == (State.CONNECTED, True)
    assert step(session, ev.BytesReceived(STATUS), now=START + 1) == [
        ev.RequestStatus(1, b'{"pressed": false}')
    ]
    assert session.state is State.AWAITING_COMMAND
    assert step(session, ev.ReplyArrived(1, b'{"lit_up": true}'), now=START + 1.05) == [
        ev.WriteCommand(COMMAND, pytest.approx(0.05))  # type: ignore[arg-type]
    ]
    assert session.state is State.CONNECTED
    assert step(session, ev.PeerClosed()) == [closed(Reason.CLOSED_BY_PEER, bus_pb2.CLOSED_BY_PEER)]
    assert session.state is State.CLOSED


@pytest.mark.parametrize("position", range(len(CONNECT) + len(STATUS) + 1))
def test_W3_a_session_split_at_any_byte_gives_the_same_effects(position: int):
    both = CONNECT + STATUS
    session = accepted()
    effects = step(session, ev.BytesReceived(both[:position]), ev.BytesReceived(both[position:]))
    effects += step(session, ev.VerdictArrived(0), ev.ReplyArrived(1, b'{"lit_up": true}'))
    assert effects == [
        ev.RequestConnect(BUTTON),
        ev.WriteConnectResponse(CONNECT_OK, 0, 0.0),
        ev.RequestStatus(1, b'{"pressed": false}'),
        ev.WriteCommand(COMMAND, 0.0),
    ]


def test_W4_frames_that_arrive_together_are_answered_in_order():
    session = accepted()
    frames = CONNECT + b"".join(encode_status(BUTTON, b"%d" % number) for number in range(1, 6))
    assert step(session, ev.BytesReceived(frames)) == [ev.RequestConnect(BUTTON)]
    effects = step(session, ev.VerdictArrived(0))
    for number in range(1, 6):
        assert effects[-1] == ev.RequestStatus(number, b"%d" % number)
        effects = step(session, ev.ReplyArrived(number, b"to %d" % number))
        assert effects[0] == ev.WriteCommand(encode_command(BUTTON, b"to %d" % number), 0.0)
    assert len(effects) == 1


def test_case04_connect_and_status_in_one_segment_get_two_replies_in_order():
    session = accepted()
    first = step(session, ev.BytesReceived(CONNECT + STATUS))
    second = step(session, ev.VerdictArrived(0))
    third = step(session, ev.ReplyArrived(1, b""))
    assert [*first, *second, *third] == [
        ev.RequestConnect(BUTTON),
        ev.WriteConnectResponse(CONNECT_OK, 0, 0.0),
        ev.RequestStatus(1, b'{"pressed": false}'),
        ev.WriteCommand(COMMAND_EMPTY, 0.0),
    ]


def test_case05_a_chunk_that_ends_inside_the_third_frame_loses_nothing():
    statuses = [encode_status(BUTTON, b"%d" % number * 400) for number in range(1, 4)]
    stream = b"".join(statuses)
    session = connected()
    effects = step(session, ev.BytesReceived(stream[:1024]))
    effects += step(session, ev.ReplyArrived(1, b""), ev.ReplyArrived(2, b""))
    assert session.state is State.CONNECTED
    effects += step(session, ev.BytesReceived(stream[1024:]), ev.ReplyArrived(3, b""))
    requests = [effect for effect in effects if isinstance(effect, ev.RequestStatus)]
    assert [request.sequence for request in requests] == [1, 2, 3]
    assert [request.status for request in requests] == [b"1" * 400, b"2" * 400, b"3" * 400]
    assert sum(isinstance(effect, ev.WriteCommand) for effect in effects) == 3


@pytest.mark.parametrize(
    ("header", "reason"),
    [(bytes(4), Reason.FRAME_EMPTY), ((2**20 + 1).to_bytes(4, "little"), Reason.FRAME_TOO_LARGE)],
)
def test_W5_an_impossible_length_closes_before_any_body(header: bytes, reason: Reason):
    for session in (accepted(), connected()):
        assert without_details(step(session, ev.BytesReceived(header))) == [
            closed(reason, VIOLATED)
        ]
        assert session.buffered_bytes == 0


def test_case09_a_header_of_zero_closes():
    session = connected()
    effects = step(session, ev.BytesReceived(bytes(4)))
    assert effects == [closed(Reason.FRAME_EMPTY, VIOLATED)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xff\xff\xff", Reason.UNDECODABLE),
        (b"\x1a\x00", Reason.NO_MESSAGE),  # a field that nobody knows, no oneof member
    ],
)
def test_W6_what_is_no_message_closes_without_a_reply(body: bytes, reason: Reason):
    for session in (accepted(), connected()):
        effects = step(session, ev.BytesReceived(encode_frame(body)))
        assert without_details(effects) == [closed(reason, VIOLATED)]


def test_case10_garbage_of_the_announced_length_closes():
    session = connected()
    effects = step(session, ev.BytesReceived(encode_frame(b"\xde\xad\xbe\xef" * 10)))
    assert without_details(effects) == [closed(Reason.UNDECODABLE, VIOLATED)]


def test_case02_a_bare_connect_without_its_envelope_closes_without_a_reply():
    bare = pb.DeviceConnect()
    BUTTON.write_to(bare.device)
    effects = step(accepted(), ev.BytesReceived(encode_frame(bare.SerializeToString())))
    assert [type(effect) for effect in effects] == [ev.Close]


def test_case01_the_header_is_little_endian_both_ways():
    assert CONNECT[:4] == bytes.fromhex("1f000000")
    session = accepted()
    assert step(session, ev.BytesReceived(CONNECT)) == [ev.RequestConnect(BUTTON)]
    (response,) = step(session, ev.VerdictArrived(0))
    assert isinstance(response, ev.WriteConnectResponse)
    assert int.from_bytes(response.frame[:4], "little") == len(response.frame) - 4


@pytest.mark.parametrize("field", [3, 4])
def test_a_role_or_name_that_is_not_utf8_closes(field: int):
    device = bytes([8, 232, 7, field << 3 | 2, 2, 0xC3, 0x28])
    envelope = bytes([10, len(device) + 2, 10, len(device)]) + device
    effects = step(accepted(), ev.BytesReceived(encode_frame(envelope)))
    assert without_details(effects) == [closed(Reason.UNDECODABLE, VIOLATED)]


def test_I1_a_status_before_connect_closes_without_a_reply():
    session = accepted()
    effects = step(session, ev.BytesReceived(STATUS))
    assert without_details(effects) == [closed(Reason.UNEXPECTED_MESSAGE, VIOLATED)]
    assert session.device is None


def test_I10_a_second_connect_closes_without_a_reply():
    effects = step(connected(), ev.BytesReceived(CONNECT))
    assert without_details(effects) == [closed(Reason.UNEXPECTED_MESSAGE, VIOLATED)]


def test_case11_a_message_in_the_wrong_state_closes_without_a_reply():
    for session, frame in ((accepted(), STATUS), (connected(), CONNECT)):
        effects = step(session, ev.BytesReceived(frame))
        assert [type(effect) for effect in effects] == [ev.Close]


def test_I2_replies_carry_the_whole_device_of_the_request():
    device = Device.of(1500, 77, "role with space", "Nämé", 4_000_000_000)
    session = accepted()
    step(session, ev.BytesReceived(encode_connect(device)))
    assert step(session, ev.VerdictArrived(0)) == [
        ev.WriteConnectResponse(encode_connect_response(device, 0), 0, 0.0)
    ]
    refused = accepted()
    step(refused, ev.BytesReceived(encode_connect(device)))
    assert step(refused, ev.VerdictArrived(1))[0] == ev.WriteConnectResponse(
        encode_connect_response(device, 1), 1, 0.0
    )


@pytest.mark.parametrize(
    ("response", "reason"),
    [(2, Reason.MODULE_NOT_SUPPORTED), (3, Reason.DEVICE_NOT_SUPPORTED)],
)
def test_I3_an_unsupported_device_is_refused_closed_and_asked_about_nowhere(
    response: int, reason: Reason
):
    session = accepted(refusal=Refusal(reason, response, "why"))
    assert step(session, ev.BytesReceived(CONNECT + STATUS)) == [
        ev.WriteConnectResponse(encode_connect_response(BUTTON, response), response, 0.0),
        ev.Close(reason, bus_pb2.REFUSED, flushes=True, detail="why"),
    ]
    assert session.state is State.CLOSED


def test_a_device_whose_form_is_wrong_is_closed_without_a_reply():
    session = accepted(refusal=Refusal(Reason.DEVICE_FORM, None, "role of 300 bytes"))
    assert step(session, ev.BytesReceived(CONNECT)) == [
        ev.Close(Reason.DEVICE_FORM, VIOLATED, flushes=False, detail="role of 300 bytes")
    ]


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (1, Reason.ALREADY_CONNECTED),
        (2, Reason.MODULE_NOT_SUPPORTED),
        (3, Reason.DEVICE_NOT_SUPPORTED),
        (4, Reason.HIGHER_PRIORITY_ALREADY_CONNECTED),
    ],
)
def test_a_refusal_of_the_handler_is_written_and_closes(response: int, reason: Reason):
    session = accepted()
    step(session, ev.BytesReceived(CONNECT))
    assert step(session, ev.VerdictArrived(response)) == [
        ev.WriteConnectResponse(encode_connect_response(BUTTON, response), response, 0.0),
        closed(reason, bus_pb2.REFUSED, flushes=True),
    ]
    assert not session.is_decided


@pytest.mark.parametrize(
    "other",
    [
        OTHER,
        Device.of(1000, 1, "left_button", "button1", 1),
        Device.of(1001, 0, "left_button", "button1", 1),
    ],
)
def test_I11_a_status_in_another_devices_name_closes_and_is_not_handed_over(other: Device):
    effects = step(connected(), ev.BytesReceived(encode_status(other, b"x")))
    assert without_details(effects) == [closed(Reason.OTHER_DEVICE, VIOLATED)]


def test_I12_one_command_per_status_with_the_status_own_device():
    renamed = Device.of(1000, 0, "left_button", "another name", 7)
    session = connected()
    step(session, ev.BytesReceived(encode_status(renamed, b"x")))
    assert step(session, ev.ReplyArrived(1, b"c"), ev.ReplyArrived(1, b"c")) == [
        ev.WriteCommand(encode_command(renamed, b"c"), 0.0),
        ev.Drop(Reason.LATE_REPLY),
    ]


def test_case58_an_empty_command_is_a_reply_like_any_other():
    assert step(awaiting(), ev.ReplyArrived(1, b"")) == [ev.WriteCommand(COMMAND_EMPTY, 0.0)]


def test_I13_no_command_within_the_window_closes_and_a_late_one_is_dropped():
    session = awaiting()
    assert session.deadline == START + 0.25
    assert step(session, ev.DeadlineChecked(), now=START + 0.249) == []
    assert step(session, ev.DeadlineChecked(), now=START + 0.25) == [
        closed(Reason.REPLY_TIMEOUT, bus_pb2.REPLY_TIMEOUT)
    ]
    assert step(session, ev.ReplyArrived(1, b"late")) == [ev.Drop(Reason.LATE_REPLY)]


def test_no_verdict_within_the_window_closes():
    session = accepted()
    step(session, ev.BytesReceived(CONNECT))
    assert session.deadline == START + 0.25
    assert step(session, ev.DeadlineChecked(), now=START + 0.25) == [
        closed(Reason.REPLY_TIMEOUT, bus_pb2.REPLY_TIMEOUT)
    ]
    assert step(session, ev.VerdictArrived(0)) == [ev.Drop(Reason.LATE_REPLY)]


@pytest.mark.parametrize("sequence", [0, 2])
def test_a_reply_to_another_status_is_dropped(sequence: int):
    session = awaiting()
    assert step(session, ev.ReplyArrived(sequence, b"x")) == [ev.Drop(Reason.LATE_REPLY)]
    refusal = ev.RefusalArrived(sequence, bus_pb2.STATUS_INVALID, Reason.STATUS_INVALID)
    assert step(session, refusal) == [ev.Drop(Reason.LATE_REPLY)]
    assert session.state is State.AWAITING_COMMAND


def test_a_reply_that_nobody_awaits_is_dropped():
    session = connected()
    assert step(session, ev.ReplyArrived(0, b"x")) == [ev.Drop(Reason.LATE_REPLY)]
    assert step(session, ev.VerdictArrived(0)) == [ev.Drop(Reason.LATE_REPLY)]


def test_a_refused_status_closes_without_a_reply():
    refusal = ev.RefusalArrived(1, bus_pb2.STATUS_INVALID, Reason.STATUS_INVALID)
    assert step(awaiting(), refusal) == [closed(Reason.STATUS_INVALID, bus_pb2.STATUS_INVALID)]


def test_I14_a_frame_that_never_completes_is_cut_off():
    session = connected()
    step(session, ev.BytesReceived(STATUS[:7]), now=START + 1)
    assert session.deadline == START + 11
    step(session, ev.BytesReceived(STATUS[7:8]), now=START + 8)  # dribbling does not help
    assert session.deadline == START + 11
    assert step(session, ev.DeadlineChecked(), now=START + 11) == [
        closed(Reason.FRAME_DEADLINE, VIOLATED)
    ]


def test_case08_two_bytes_of_a_header_and_silence_end_at_the_deadline():
    session = connected()
    step(session, ev.BytesReceived(STATUS[:2]))
    assert step(session, ev.DeadlineChecked(), now=START + 9.9) == []
    assert step(session, ev.DeadlineChecked(), now=START + 10) == [
        closed(Reason.FRAME_DEADLINE, VIOLATED)
    ]


def test_a_completed_frame_ends_its_deadline_and_the_next_one_gets_its_own():
    session = connected()
    step(session, ev.BytesReceived(STATUS[:7]), now=START + 1)
    step(session, ev.BytesReceived(STATUS[7:] + STATUS[:3]), now=START + 2)
    assert session.deadline == START + 2.25
    step(session, ev.ReplyArrived(1, b""), now=START + 2.1)
    assert session.deadline == START + 12.1


def test_I15_a_connection_that_never_connects_is_cut_off():
    session = accepted()
    assert session.deadline == START + 5
    step(session, ev.BytesReceived(CONNECT[:20]), now=START + 4.9)
    assert session.deadline == START + 5
    assert step(session, ev.DeadlineChecked(), now=START + 5) == [
        closed(Reason.CONNECT_DEADLINE, VIOLATED)
    ]


def test_I16_a_connected_device_without_any_status_is_closed():
    session = accepted()
    step(session, ev.BytesReceived(CONNECT), ev.VerdictArrived(0), now=START + 2)
    assert session.deadline == START + 32
    assert step(session, ev.DeadlineChecked(), now=START + 31.9) == []
    assert step(session, ev.DeadlineChecked(), now=START + 32) == [
        closed(Reason.INACTIVE, bus_pb2.INACTIVE)
    ]


def test_R22_inactivity_counts_from_the_last_status():
    session = connected()
    step(session, ev.BytesReceived(STATUS), now=START + 20)
    step(session, ev.ReplyArrived(1, b""), now=START + 20.2)
    assert session.deadline == START + 50


def test_I17_a_device_that_does_not_read_gets_no_further_frame_and_a_deadline():
    session = connected()
    step(session, ev.BytesReceived(STATUS), ev.ReplyArrived(1, b""), ev.WritingStalled())
    assert not session.wants_bytes
    assert step(session, ev.BytesReceived(STATUS), now=START + 1) == []
    assert session.deadline == START + 5
    assert step(session, ev.DeadlineChecked(), now=START + 5) == [
        closed(Reason.NOT_READING, VIOLATED)
    ]


def test_a_device_that_reads_again_goes_on():
    session = connected()
    step(session, ev.WritingStalled(), ev.BytesReceived(STATUS))
    assert step(session, ev.WritingResumed(), now=START + 2) == [
        ev.RequestStatus(1, b'{"pressed": false}')
    ]
    assert session.deadline == START + 2.25


@pytest.mark.parametrize("make", [accepted, connected, awaiting])
def test_I19_a_reset_in_any_state_ends_the_session_exactly_once(make):
    session = make()
    effects = step(session, ev.PeerClosed(), ev.PeerClosed())
    assert effects == [closed(Reason.CLOSED_BY_PEER, bus_pb2.CLOSED_BY_PEER)]
    assert session.deadline == inf


def test_one_byte_then_the_end_costs_nothing():
    session = accepted()
    assert step(session, ev.BytesReceived(CONNECT[:2])) == []
    assert step(session, ev.PeerClosed()) == [closed(Reason.CLOSED_BY_PEER, bus_pb2.CLOSED_BY_PEER)]
    assert session.buffered_bytes == 0


def test_held_frames_wait_without_any_deadline_of_their_own():
    session = connected()
    step(session, ev.BytesReceived(STATUS[:3]), ev.FramesHeld())
    assert step(session, ev.BytesReceived(STATUS[3:] + STATUS[:5]), now=START + 1) == []
    assert not session.wants_bytes
    assert session.deadline == START + 30
    assert step(session, ev.FramesReleased(), now=START + 2) == [
        ev.RequestStatus(1, b'{"pressed": false}')
    ]
    assert session.wants_bytes


def test_a_newcomer_that_is_held_too_long_is_not_blamed():
    session = accepted()
    step(session, ev.FramesHeld(), ev.BytesReceived(CONNECT))
    (effect,) = step(session, ev.DeadlineChecked(), now=session.deadline)
    assert effect == closed(Reason.QUEUE_FULL, bus_pb2.REFUSED)


def test_what_is_sent_ahead_is_bounded_while_an_answer_is_outstanding():
    session = awaiting()
    step(session, ev.BytesReceived(bytes(PIPELINE_SIZE_BYTES - 1)))
    assert session.wants_bytes
    step(session, ev.BytesReceived(bytes(1)))
    assert not session.wants_bytes


def test_a_frame_of_the_largest_size_is_read_to_its_end():
    session = connected()
    frame = encode_status(BUTTON, bytes(2**20 - 60))
    step(session, ev.BytesReceived(frame[:-1]))
    assert session.wants_bytes
    assert [type(effect) for effect in step(session, ev.BytesReceived(frame[-1:]))] == [
        ev.RequestStatus
    ]


def test_R5_a_probe_is_answered_by_what_was_heard_lately():
    session = connected()
    assert step(session, ev.Probed(), now=START + 30) == [ev.AnswerProbe(is_alive=True)]
    assert step(session, ev.Probed(), now=START + 30.1) == [ev.AnswerProbe(is_alive=False)]
    step(session, ev.PeerClosed())
    assert step(session, ev.Probed()) == [ev.AnswerProbe(is_alive=False)]


def test_an_order_closes_with_the_words_of_the_order():
    order = ev.CloseOrdered(Reason.TAKEN_OVER, bus_pb2.TAKEN_OVER)
    assert step(awaiting(), order) == [closed(Reason.TAKEN_OVER, bus_pb2.TAKEN_OVER)]


def test_a_stop_lets_leave_what_was_written():
    order = ev.CloseOrdered(Reason.SHUTDOWN, bus_pb2.SHUTDOWN)
    assert step(connected(), order) == [closed(Reason.SHUTDOWN, bus_pb2.SHUTDOWN, flushes=True)]


def test_a_pushed_command_carries_the_connected_device():
    session = connected()
    step(session, ev.BytesReceived(encode_status(Device.of(1000, 0, "left_button"), b"x")))
    assert step(session, ev.CommandPushed(b"c")) == [
        ev.WriteCommand(encode_command(BUTTON, b"c"), -1.0)
    ]
    assert session.state is State.AWAITING_COMMAND


def test_nothing_is_pushed_to_a_device_that_is_not_connected():
    deciding = accepted()
    step(deciding, ev.BytesReceived(CONNECT))
    gone = connected()
    step(gone, ev.PeerClosed())
    for session in (accepted(), deciding, gone):
        assert step(session, ev.CommandPushed(b"c")) == [ev.Drop(Reason.COMMAND_DEVICE_LEFT)]


def test_a_closed_session_ignores_everything_else():
    session = connected()
    step(session, ev.PeerClosed())
    assert (
        step(
            session,
            ev.BytesReceived(STATUS),
            ev.CloseOrdered(Reason.TAKEN_OVER, bus_pb2.TAKEN_OVER),
            ev.DeadlineChecked(),
            ev.WritingStalled(),
            ev.WritingResumed(),
            ev.FramesHeld(),
            ev.FramesReleased(),
        )
        == []
    )


def test_comm_error_answers_minus_one_and_asks_nobody():
    session = accepted(fault=Fault.COMMUNICATION_ERROR)
    assert step(session, ev.BytesReceived(CONNECT)) == [
        ev.WriteConnectResponse(encode_connect_response(BUTTON, -1), -1, 0.0),
        closed(Reason.FAULT_INJECTED, bus_pb2.REFUSED, flushes=True),
    ]


def test_serv_too_long_sends_no_connect_response_but_goes_on_as_connected():
    session = accepted(fault=Fault.SILENT_CONNECT)
    assert step(session, ev.BytesReceived(CONNECT)) == [ev.RequestConnect(BUTTON)]
    assert step(session, ev.VerdictArrived(0)) == []
    assert step(session, ev.BytesReceived(STATUS)) == [ev.RequestStatus(1, b'{"pressed": false}')]
    assert step(session, ev.ReplyArrived(1, b"")) == [ev.WriteCommand(COMMAND_EMPTY, 0.0)]


TABLE_2_8 = {
    "1-3 bytes": (connected, CONNECT[:3], None),
    "header = 0": (connected, bytes(4), Reason.FRAME_EMPTY),
    "header > limit": (connected, b"\xff\xff\xff\xff", Reason.FRAME_TOO_LARGE),
    "header larger than what follows": (connected, STATUS[:-1], None),
    "body not decodable": (connected, encode_frame(b"\x0a\xff"), Reason.UNDECODABLE),
    "no oneof member": (connected, encode_frame(b"\x1a\x00"), Reason.NO_MESSAGE),
    "status first": (accepted, STATUS, Reason.UNEXPECTED_MESSAGE),
    "connect twice": (connected, CONNECT, Reason.UNEXPECTED_MESSAGE),
    "status for a different device": (connected, encode_status(OTHER, b""), Reason.OTHER_DEVICE),
}


@pytest.mark.parametrize("row", TABLE_2_8)
def test_malformed_input_is_treated_as_the_table_of_2_8_says(row: str):
    make, chunk, reason = TABLE_2_8[row]
    session = make()
    effects = without_details(step(session, ev.BytesReceived(chunk)))
    assert effects == ([] if reason is None else [closed(reason, VIOLATED)])
    if reason is None:
        assert session.deadline == START + 10


def test_extra_bytes_after_a_frame_are_the_next_frame():
    session = connected()
    step(session, ev.BytesReceived(STATUS + encode_frame(b"\xff\xff")))
    first, second = step(session, ev.ReplyArrived(1, b""))
    assert isinstance(first, ev.WriteCommand)
    assert isinstance(second, ev.Close)
    assert second.reason is Reason.UNDECODABLE


def test_a_whole_status_and_its_reply_go_the_short_way():
    session = connected()
    assert session.take_status(STATUS, START + 1) == b'{"pressed": false}'
    assert (session.state, session.last_sequence) == (State.AWAITING_COMMAND, 1)
    assert session.asked_at == START + 1
    assert session.take_reply(1, b'{"lit_up": true}') == COMMAND
    assert (session.state, session.asked_at) == (State.CONNECTED, inf)
    assert session.deadline == START + 31


@pytest.mark.parametrize(
    "chunk",
    [
        STATUS[:-1],
        STATUS + b"x",
        STATUS * 2,
        CONNECT,
        encode_status(OTHER, b"x"),
        encode_frame(b"\xff"),
        b"\x00",
        b"",
    ],
)
def test_any_other_chunk_is_left_to_the_table(chunk: bytes):
    session = connected()
    assert session.take_status(chunk, START) is None
    assert (session.state, session.last_sequence) == (State.CONNECTED, 0)


@pytest.mark.parametrize(
    "disturbance", [ev.WritingStalled(), ev.FramesHeld(), ev.BytesReceived(STATUS[:5])]
)
def test_a_disturbed_connection_takes_nothing_the_short_way(disturbance: ev.Event):
    session = connected()
    step(session, disturbance)
    assert session.take_status(STATUS, START) is None
    waiting = awaiting()
    step(waiting, disturbance)
    assert waiting.take_reply(1, b"c") is None
    assert waiting.state is State.AWAITING_COMMAND


def test_a_late_reply_is_left_to_the_table():
    assert awaiting().take_reply(2, b"c") is None
    assert connected().take_reply(0, b"c") is None
