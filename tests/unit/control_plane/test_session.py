"""The control plane's side of the connect sequence."""

from __future__ import annotations

import pytest

from module_gateway.control_plane.events import (
    CommandFinished,
    CommandSent,
    CommandState,
    DeviceLeft,
    Effect,
    LinkLost,
    LinkRestored,
    Publish,
    PublishDisconnect,
    SessionEnded,
    SessionReady,
    SessionStarted,
    StatusApplied,
    StopWanted,
)
from module_gateway.control_plane.positions import AppliedPositions
from module_gateway.control_plane.session import (
    COUNTER_LAST,
    RENOTIFY_S,
    TEXT_BYTES,
    Limits,
    Phase,
)
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.external import (
    Command,
    CommandResponse,
    CommandResponseType,
    ConnectResponse,
    ConnectResponseType,
    DeviceState,
    Position,
    StatusResponse,
    Stretch,
)
from module_gateway.protocol.identity import Device
from tests.control_plane_script import (
    BUTTON,
    LAMP,
    SESSION,
    Script,
    acknowledged,
    applied,
    commands,
    connect,
    connect_responses,
    dropped,
    ended,
    is_notified,
    published,
    repeated,
    status,
)

# ---- the sequence ------------------------------------------------------------------------------


def test_connect_is_answered_ok_and_starts_a_session():
    script = Script()
    effects = script.send(connect([BUTTON, LAMP]))
    assert effects == [
        SessionStarted(SESSION, (BUTTON, LAMP)),
        Publish(ConnectResponse(SESSION, ConnectResponseType.OK)),
    ]
    assert script.session.phase is Phase.STATUSES


def test_each_connecting_status_is_applied_before_it_is_acknowledged():
    script = Script()
    script.send(connect([BUTTON, LAMP]))
    effects = script.send(status(1, BUTTON, DeviceState.CONNECTING, b"one", error=b"sum"))
    assert effects == [
        StatusApplied(
            SESSION, BUTTON, DeviceState.CONNECTING, b"one", b"sum", None, 0, False, True
        ),
        Publish(StatusResponse(SESSION, 0, 1)),
    ]


def test_one_empty_command_per_device_follows_the_last_connecting_status():
    script = Script()
    script.send(connect([BUTTON, LAMP]))
    assert commands(script.send(status(1, BUTTON, DeviceState.CONNECTING))) == []
    effects = script.send(status(2, LAMP, DeviceState.CONNECTING))
    assert published(effects)[0] == StatusResponse(SESSION, 0, 2)
    assert commands(effects) == [
        Command(SESSION, 0, Device(BUTTON.identity, BUTTON.name), b""),
        Command(SESSION, 1, Device(LAMP.identity, LAMP.name), b""),
    ]
    assert script.session.phase is Phase.COMMANDS


def test_the_sequence_is_ready_when_every_command_is_answered():
    script = Script()
    script.send(connect([BUTTON, LAMP]))
    script.send(status(1, BUTTON, DeviceState.CONNECTING))
    script.send(status(2, LAMP, DeviceState.CONNECTING))
    assert script.send(CommandResponse(SESSION, 0, 1)) == []
    assert script.send(CommandResponse(SESSION, 0, 0)) == [SessionReady(SESSION)]
    assert script.session.phase is Phase.RUNNING


def test_an_empty_connect_is_accepted_and_ready_at_once():
    script = Script()
    assert script.send(connect([])) == [
        SessionStarted(SESSION, ()),
        Publish(ConnectResponse(SESSION, 0)),
        SessionReady(SESSION),
    ]


def test_a_device_announced_twice_is_awaited_once():
    script = Script()
    script.send(connect([BUTTON, BUTTON]))
    assert len(commands(script.send(status(1, BUTTON, DeviceState.CONNECTING)))) == 1


def test_a_missing_connecting_status_ends_the_session_after_the_step_timeout():
    script = Script()
    script.send(connect([BUTTON, LAMP]))
    script.now += 4
    script.send(status(1, BUTTON, DeviceState.CONNECTING))
    assert script.wait(4.9) == []
    effects = script.wait(0.2)
    assert ended(effects) == [Reason.STEP_TIMEOUT]
    assert is_notified(effects)


def test_a_missing_command_response_ends_the_session():
    script = Script()
    script.send(connect([BUTTON]))
    script.send(status(1, BUTTON, DeviceState.CONNECTING))
    effects = script.wait(5)
    assert ended(effects) == [Reason.ACK_TIMEOUT]
    assert is_notified(effects)


def test_answers_on_their_way_extend_the_time_of_the_others_during_the_sequence():
    script = Script()
    script.send(connect([BUTTON, LAMP]))
    script.send(status(1, BUTTON, DeviceState.CONNECTING))
    script.send(status(2, LAMP, DeviceState.CONNECTING))
    script.now += 4
    script.send(CommandResponse(SESSION, 0, 0))
    assert script.wait(4) == []
    assert script.wait(1) != []


def test_statuses_do_not_extend_the_time_of_an_unanswered_command():
    script = Script()
    script.send(connect([BUTTON]))
    script.send(status(1, BUTTON, DeviceState.CONNECTING))
    script.now += 4
    script.send(status(2))
    assert ended(script.wait(1)) == [Reason.ACK_TIMEOUT]


# ---- peer quirks that are not copied -----------------------------------------------------------


def test_connect_with_a_new_session_replaces_the_running_one_and_is_answered():
    script = Script()
    script.run_sequence()
    effects = script.send(connect([BUTTON], "Zz"))
    assert effects == [
        SessionEnded(SESSION, Reason.SESSION_REPLACED),
        SessionStarted("Zz", (BUTTON,)),
        Publish(ConnectResponse("Zz", ConnectResponseType.OK)),
    ]
    assert acknowledged(script.send(status(1, session_id="Zz"))) == [1]


def test_the_rest_of_a_replaced_session_is_dropped_without_a_notification():
    script = Script()
    script.run_sequence()
    script.send(connect([BUTTON], "Zz"))
    effects = script.send(status(2))
    assert dropped(effects) == [Reason.WRONG_SESSION]
    assert published(effects) == []
    assert not is_notified(effects)
    assert script.session.session_id == "Zz"


def test_connect_repeated_before_any_status_is_answered_ok_again():
    script = Script()
    script.send(connect())
    assert connect_responses(script.send(connect())) == [ConnectResponse(SESSION, 0)]
    assert acknowledged(script.send(status(1, state=DeviceState.CONNECTING))) == [1]


def test_connect_with_the_running_session_id_is_already_logged_and_the_session_goes_on():
    script = Script()
    script.run_sequence()
    effects = script.send(connect())
    assert connect_responses(effects) == [
        ConnectResponse(SESSION, ConnectResponseType.ALREADY_LOGGED)
    ]
    assert ended(effects) == []
    assert acknowledged(script.send(status(2))) == [2]


def test_statuses_during_the_command_phase_are_acknowledged():
    script = Script()
    script.send(connect())
    script.send(status(1, state=DeviceState.CONNECTING))
    assert script.session.phase is Phase.COMMANDS
    effects = script.send(status(2, data=b"during"))
    assert applied(effects) == [b"during"]
    assert acknowledged(effects) == [2]


def test_connecting_of_an_announced_device_is_acknowledged():
    script = Script()
    script.run_sequence()
    assert acknowledged(script.send(status(2, state=DeviceState.CONNECTING))) == [2]


@pytest.mark.parametrize("state", [DeviceState.CONNECTING, DeviceState.RUNNING])
def test_a_status_of_an_unknown_device_registers_it(state):
    script = Script()
    script.run_sequence()
    effects = script.send(status(2, LAMP, state))
    assert [e.is_connected for e in effects if isinstance(e, StatusApplied)] == [True]
    assert acknowledged(effects) == [2]


def test_disconnect_of_an_unknown_device_is_kept_and_acknowledged():
    script = Script()
    script.run_sequence()
    effects = script.send(status(2, LAMP, DeviceState.DISCONNECT, b"last"))
    assert [e.is_connected for e in effects if isinstance(e, StatusApplied)] == [False]
    assert acknowledged(effects) == [2]


@pytest.mark.parametrize("state", [DeviceState.ERROR, 77])
def test_a_state_nobody_sends_is_acknowledged_and_changes_no_registration(state):
    script = Script()
    script.run_sequence()
    effects = script.send(status(2, BUTTON, state))
    assert [e.is_connected for e in effects if isinstance(e, StatusApplied)] == [True]
    assert acknowledged(effects) == [2]


def test_devices_of_any_module_are_accepted():
    strange = Device.of(-5, 2**32 - 1, "Ünknown/role", "")
    script = Script()
    effects = script.send(connect([strange]))
    assert connect_responses(effects) == [ConnectResponse(SESSION, 0)]
    assert acknowledged(script.send(status(1, strange, DeviceState.CONNECTING))) == [1]


def test_session_stays_after_the_last_device_left():
    script = Script()
    script.run_sequence()
    effects = script.send(status(2, state=DeviceState.DISCONNECT))
    assert acknowledged(effects) == [2]
    assert ended(effects) == []
    assert acknowledged(script.send(status(3, LAMP, DeviceState.CONNECTING))) == [3]


def test_a_message_of_an_unknown_session_is_answered_by_one_notification():
    script = Script()
    assert is_notified(script.send(status(5)))
    assert not is_notified(script.send(status(6)))
    script.now += RENOTIFY_S
    assert is_notified(script.send(CommandResponse(SESSION, 0, 3)))
    assert is_notified(script.send(status(1, session_id="other")))


def test_a_status_under_way_when_we_ended_its_session_is_not_notified_again():
    script = Script()
    script.run_sequence()
    assert is_notified(script.wait(30))
    assert not is_notified(script.send(status(2)))


# ---- counters ----------------------------------------------------------------------------------


def test_a_repeated_status_is_acknowledged_again_and_not_applied_again():
    script = Script()
    script.run_sequence()
    script.send(status(2))
    effects = script.send(status(2))
    assert applied(effects) == []
    assert acknowledged(effects) == [2]
    assert dropped(effects) == [Reason.STATUS_REPEATED]


def test_statuses_out_of_order_are_applied_in_order():
    script = Script()
    script.run_sequence()
    assert script.send(status(4, data=b"4")) == []
    assert script.send(status(3, data=b"3")) == []
    effects = script.send(status(2, data=b"2"))
    assert applied(effects) == [b"2", b"3", b"4"]
    assert acknowledged(effects) == [2, 3, 4]


def test_a_gap_that_stays_ends_the_session():
    script = Script()
    script.run_sequence()
    script.send(status(3))
    assert script.wait(4.9) == []
    effects = script.wait(0.1)
    assert ended(effects) == [Reason.SEQUENCE_GAP]
    assert is_notified(effects)


def test_a_gap_that_closes_ends_nothing():
    script = Script()
    script.run_sequence()
    script.send(status(3))
    script.now += 4
    script.send(status(2))
    assert script.wait(10) == []


def test_too_many_early_statuses_end_the_session():
    script = Script(Limits(early_statuses=2))
    script.run_sequence()
    script.send(status(3))
    script.send(status(4))
    effects = script.send(status(5))
    assert ended(effects) == [Reason.SEQUENCE_GAP]
    assert dropped(effects) == [Reason.QUEUE_FULL]


def test_a_zero_after_the_start_is_not_acknowledged():
    script = Script()
    script.run_sequence()
    effects = script.send(status(0))
    assert dropped(effects) == [Reason.UNEXPECTED_MESSAGE]
    assert acknowledged(effects) == []


def test_the_last_counter_ends_the_session_after_its_acknowledgement():
    script = Script()
    script.run_sequence()
    session = script.session._session
    assert session is not None
    session.order._expected = COUNTER_LAST
    effects = script.send(status(COUNTER_LAST))
    assert acknowledged(effects) == [COUNTER_LAST]
    assert ended(effects) == [Reason.COUNTER_EXHAUSTED]


# ---- timers and ends ---------------------------------------------------------------------------


def test_silence_ends_the_session_with_a_notification():
    script = Script()
    script.run_sequence()
    assert script.wait(29.9) == []
    effects = script.wait(0.1)
    assert ended(effects) == [Reason.SESSION_TIMEOUT]
    assert is_notified(effects)


def test_any_message_of_the_session_keeps_it_alive():
    script = Script()
    script.run_sequence()
    script.now += 29
    script.send(status(2))
    assert script.wait(29) == []


def test_a_session_without_devices_ends_quietly():
    script = Script()
    script.run_sequence()
    script.send(status(2, state=DeviceState.DISCONNECT))
    effects = script.wait(30)
    assert ended(effects) == [Reason.SESSION_IDLE]
    assert not is_notified(effects)


def test_stop_notifies_a_vehicle_with_a_session_only():
    script = Script()
    assert script.step(StopWanted()) == []
    script.run_sequence()
    assert script.step(StopWanted()) == [
        SessionEnded(SESSION, Reason.SHUTDOWN),
        PublishDisconnect(),
    ]


def test_lost_broker_ends_the_session_and_the_next_connection_notifies():
    script = Script()
    script.run_sequence()
    assert script.step(LinkLost()) == [SessionEnded(SESSION, Reason.BROKER_LOST)]
    assert script.step(LinkLost()) == []
    assert script.step(LinkRestored()) == [PublishDisconnect()]
    assert script.step(LinkRestored()) == []


def test_no_notification_is_owed_to_a_vehicle_that_had_no_session():
    script = Script()
    script.step(LinkLost())
    assert script.step(LinkRestored()) == []


def test_next_deadline_is_the_nearest_timer():
    script = Script()
    assert script.session.next_deadline is None
    script.send(connect())
    assert script.session.next_deadline == script.now + 5
    script.send(status(1, state=DeviceState.CONNECTING))
    script.send(CommandResponse(SESSION, 0, 0))
    assert script.session.next_deadline == script.now + 30
    script.want("a", LAMP, valid_for_s=7)
    assert script.session.next_deadline == script.now + 7


# ---- commands ----------------------------------------------------------------------------------


def test_a_wanted_command_is_sent_at_once_to_a_connected_device():
    script = Script()
    script.run_sequence()
    effects = script.want("c1", command=b"stop")
    assert effects == [
        CommandSent("c1", 1),
        Publish(Command(SESSION, 1, Device(BUTTON.identity, BUTTON.name), b"stop")),
    ]


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (0, CommandState.OK),
        (1, CommandState.DEVICE_NOT_CONNECTED),
        (2, CommandState.DEVICE_NOT_SUPPORTED),
        (3, CommandState.INVALID_COMMAND),
        (99, CommandState.REFUSED),
    ],
)
def test_the_answer_is_the_outcome_of_the_command(response, outcome):
    script = Script()
    script.run_sequence()
    script.want("c1")
    effects = script.send(CommandResponse(SESSION, response, 1))
    assert CommandFinished("c1", outcome, response) in effects


def test_device_not_connected_makes_the_device_leave_until_its_next_status():
    script = Script()
    script.run_sequence()
    script.want("c1")
    effects = script.send(CommandResponse(SESSION, 1, 1))
    assert DeviceLeft(BUTTON.identity) in effects
    assert script.want("c2") == []
    assert [c.command for c in commands(script.send(status(2)))] == [b"go"]


def test_a_command_waits_for_its_device_and_takes_its_place_in_the_sequence():
    script = Script()
    script.want("c1", command=b"first")
    script.want("c2", command=b"second")
    script.send(connect())
    effects = script.send(status(1, state=DeviceState.CONNECTING))
    assert [c.command for c in commands(effects)] == [b"first"]
    effects = script.send(CommandResponse(SESSION, 0, 0))
    assert [c.command for c in commands(effects)] == [b"second"]


def test_a_command_that_waited_too_long_is_never_sent():
    script = Script()
    script.want("c1", valid_for_s=10)
    script.send(connect())
    script.now += 4
    script.now += 6
    effects = script.send(status(1, state=DeviceState.CONNECTING))
    assert CommandFinished("c1", CommandState.EXPIRED) in effects
    assert [c.command for c in commands(effects)] == [b""]


def test_a_command_expires_without_a_session():
    script = Script()
    script.want("c1", valid_for_s=10)
    assert script.wait(10) == [CommandFinished("c1", CommandState.EXPIRED)]


def test_a_command_under_way_when_the_session_ends_is_not_sent_again():
    script = Script()
    script.run_sequence()
    script.want("c1")
    effects = script.send(connect([BUTTON], "Zz"))
    assert CommandFinished("c1", CommandState.UNANSWERED) in effects
    effects = script.send(status(1, state=DeviceState.CONNECTING, session_id="Zz"))
    assert [c.command for c in commands(effects)] == [b""]


def test_an_unknown_command_response_is_dropped():
    script = Script()
    script.run_sequence()
    assert dropped(script.send(CommandResponse(SESSION, 0, 55))) == [Reason.ACK_UNKNOWN]


def test_no_more_commands_than_the_window_are_under_way():
    script = Script(Limits(command_window=2))
    script.run_sequence()
    assert len(commands(script.want("c1") + script.want("c2") + script.want("c3"))) == 2
    assert len(commands(script.send(CommandResponse(SESSION, 0, 1)))) == 1


def test_command_counters_go_on_across_sessions():
    script = Script()
    script.run_sequence()
    script.send(connect([BUTTON], "Zz"))
    effects = script.send(status(1, state=DeviceState.CONNECTING, session_id="Zz"))
    assert [c.counter for c in commands(effects)] == [1]


# ---- positions ---------------------------------------------------------------------------------


def test_R11_an_applied_position_is_acknowledged_but_not_applied_again():
    script = Script()
    script.run_sequence()
    script.send(status(2, data=b"five", sequence=5))
    script.send(connect([BUTTON], "Zz"))
    effects = script.send(
        status(1, state=DeviceState.CONNECTING, session_id="Zz", data=b"five", sequence=5)
    )
    assert applied(effects) == []
    assert [repeat.is_connected for repeat in repeated(effects)] == [True]
    assert acknowledged(effects) == [1]
    effects = script.send(status(2, session_id="Zz", data=b"six", sequence=6))
    assert applied(effects) == [b"six"]


def test_R11_connect_response_lists_applied_positions_of_the_announced_devices():
    positions = AppliedPositions({BUTTON.identity: [Position(9, 5)], LAMP.identity: [(4, 1)]})
    script = Script(positions=positions, known=[BUTTON.identity, LAMP.identity])
    responses = connect_responses(script.send(connect([BUTTON], capabilities=("x", "applied"))))
    applied_positions = ((BUTTON.identity, Position(9, 5)),)
    assert responses == [ConnectResponse(SESSION, 0, applied_positions, (), ("listens",))]


def test_R11_a_plain_gateway_gets_a_plain_connect_response():
    positions = AppliedPositions({BUTTON.identity: [Position(9, 5)]})
    script = Script(positions=positions)
    assert connect_responses(script.send(connect())) == [ConnectResponse(SESSION, 0)]


def test_positions_of_another_store_are_new():
    script = Script()
    script.run_sequence()
    script.send(status(2, data=b"old store", sequence=5))
    effects = script.send(status(3, data=b"new store", sequence=1, store_id=10))
    assert applied(effects) == [b"new store"]


def test_a_marker_without_a_sequence_is_applied_every_time():
    script = Script()
    script.run_sequence()
    script.send(status(2, sequence=5))
    for counter in (3, 4):
        effects = script.send(status(counter, sequence=0))
        assert applied(effects) == [b"{}"]
        assert repeated(effects) == []


def test_a_repeated_position_still_moves_the_registration():
    script = Script()
    script.run_sequence()
    script.send(status(2, sequence=5))
    effects = script.send(status(3, state=DeviceState.DISCONNECT, sequence=5))
    assert [repeat.is_connected for repeat in repeated(effects)] == [False]


# ---- replay (R18) ------------------------------------------------------------------------------

LANES = ("applied", "replay")


def test_R18_connect_response_answers_the_lanes_of_a_gateway_that_has_them():
    script = Script()
    [with_lanes] = connect_responses(script.send(connect(capabilities=LANES)))
    [plain] = connect_responses(script.send(connect(session_id="Zz", capabilities=("applied",))))
    assert with_lanes.capabilities == ("replay", "listens")
    assert plain.capabilities == ("listens",)


def test_R18_live_statuses_overtake_and_nothing_of_the_replay_is_refused():
    script = Script()
    script.send(connect(capabilities=LANES))
    effects = script.send(
        status(1, state=DeviceState.CONNECTING, data=b"1", sequence=1, is_replayed=True)
    )
    effects += script.send(status(2, data=b"8", sequence=8, is_live=True))
    effects += script.send(status(3, data=b"2", sequence=2, is_replayed=True))
    effects += script.send(status(4, data=b"9", sequence=9, is_live=True))
    assert (applied(effects), acknowledged(effects)) == ([b"1", b"8", b"2", b"9"], [1, 2, 3, 4])
    assert repeated(effects) == []


def test_R18_after_a_break_what_was_live_is_listed_and_not_applied_again():
    script = Script()
    script.send(connect(capabilities=LANES))
    script.send(status(1, state=DeviceState.CONNECTING, sequence=1, is_replayed=True))
    for counter, sequence in ((2, 8), (3, 9)):
        script.send(status(counter, sequence=sequence, is_live=True))
    [response] = connect_responses(script.send(connect(session_id="Zz", capabilities=LANES)))
    assert response.applied == ((BUTTON.identity, Position(9, 1)),)
    assert response.applied_live == ((BUTTON.identity, Stretch(9, 8, 9)),)
    effects: list[Effect] = []
    for counter, sequence in enumerate((2, 8, 9, 10), start=1):
        again = status(
            counter, data=b"%d" % sequence, session_id="Zz", sequence=sequence, is_replayed=True
        )
        effects += script.send(again)
    assert applied(effects) == [b"2", b"10"]


def test_R18_no_waiting_command_is_sent_because_of_a_replayed_status():
    script = Script()
    script.run_sequence()
    script.want("c0")
    script.send(CommandResponse(SESSION, CommandResponseType.DEVICE_NOT_CONNECTED, 1))
    script.want("c1")
    effects = script.send(status(2, sequence=2, is_replayed=True))
    assert (commands(effects), acknowledged(effects)) == ([], [2])
    assert len(applied(effects)) == 1
    effects = script.send(status(3, sequence=3))
    assert [command.command for command in commands(effects)] == [b"go"]


def test_R18_a_replayed_end_of_a_registration_counts():
    script = Script()
    script.run_sequence()
    script.send(status(2, state=DeviceState.DISCONNECT, sequence=2, is_replayed=True))
    assert commands(script.want("c1")) == []
    effects = script.send(status(3, state=DeviceState.CONNECTING, sequence=3, is_replayed=True))
    assert len(commands(effects)) == 1


# ---- bounds ------------------------------------------------------------------------------------


def test_a_device_beyond_the_room_is_not_acknowledged_and_disturbs_nobody():
    script = Script()
    script.room = 1
    effects = script.send(connect([BUTTON, LAMP]))
    assert dropped(effects) == [Reason.TOO_MANY_IDENTITIES]
    script.room = 0
    effects = script.send(status(1, LAMP, DeviceState.CONNECTING))
    assert dropped(effects) == [Reason.TOO_MANY_IDENTITIES]
    assert acknowledged(effects) == []
    effects = script.send(status(2, BUTTON, DeviceState.CONNECTING))
    assert acknowledged(effects) == [2]
    assert len(commands(effects)) == 1


def test_a_known_device_needs_no_room():
    script = Script(known=[BUTTON.identity])
    script.room = 0
    script.send(connect())
    assert acknowledged(script.send(status(1, state=DeviceState.CONNECTING))) == [1]


@pytest.mark.parametrize(
    "device",
    [Device.of(1, 1, "r" * (TEXT_BYTES + 1)), Device.of(1, 1, "r", "ß" * (TEXT_BYTES // 2 + 1))],
)
def test_a_device_with_endless_text_is_refused(device):
    script = Script()
    assert dropped(script.send(connect([device]))) == [Reason.DEVICE_FORM]
