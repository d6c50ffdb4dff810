from __future__ import annotations

import json

import pytest

from module_gateway.control_plane.decode import Decoder
from module_gateway.control_plane.events import (
    CommandFinished,
    CommandSent,
    CommandState,
    DeviceLeft,
    SessionEnded,
    SessionReady,
    SessionStarted,
    StatusApplied,
    StatusRepeated,
)
from module_gateway.control_plane.records import (
    CommandRecord,
    DeviceRecord,
    StatusRecord,
    VehicleName,
    VehicleRecord,
)
from module_gateway.control_plane.views import (
    EVENT_PAYLOAD_BYTES,
    news_of,
    state_name,
    view_command,
    view_device,
    view_status,
    view_vehicle,
)
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.external import Position
from tests.control_plane_script import BUTTON, SESSION

VAN = VehicleName("acme", "van")
DECODER = Decoder({})


def test_a_status_view_is_readable():
    record = StatusRecord(3, 50, 3, b'{"a": 1}', b"\xff", 40, Position(2**63, 8), True)
    assert view_status(record, 1, DECODER).model_dump() == {
        "number": 3,
        "received_unix_ms": 50,
        "recorded_unix_ms": 40,
        "state": "disconnect",
        "is_replayed": True,
        "status": {"encoding": "json", "data": {"a": 1}, "problem": None},
        "error": {"encoding": "base64", "data": "/w==", "problem": None},
        "position": {"store_id": str(2**63), "sequence": 8},
    }


def test_what_is_absent_is_null():
    view = view_status(StatusRecord(1, 50, 1, b""), 1, DECODER)
    assert (view.recorded_unix_ms, view.error, view.position) == (None, None, None)


def test_a_device_view_shows_its_last_status():
    last = StatusRecord(1, 50, 1, b"1")
    view = view_device(DeviceRecord(BUTTON, 1, 2, True, last, None, 9, 4, 3), DECODER)
    assert (view.module, view.device_type, view.role) == (1000, 0, "left_button")
    assert (view.name, view.priority, view.is_connected) == ("button1", 1, True)
    assert (view.last_status.status.data, view.last_error) == (1, None)
    assert (view.statuses, view.repeats, view.replayed) == (9, 4, 3)


def test_a_vehicle_view_says_whether_it_is_connected():
    assert view_vehicle(VehicleRecord(VAN, 1, 2, session_id="s")).is_connected
    away = view_vehicle(VehicleRecord(VAN, 1, 2, end_reason="shutdown"))
    assert (away.is_connected, away.end_reason) == (False, "shutdown")


def test_a_command_view_says_whether_it_is_final():
    record = CommandRecord("c", VAN, BUTTON.identity, b"1", CommandState.OK, 1, 2, 3, 4, 0)
    view = view_command(record, DECODER)
    assert (view.state, view.is_final, view.command.data, view.response) == ("ok", True, 1, 0)


def test_an_unknown_state_is_its_number():
    assert [state_name(state) for state in (0, 1, 2, 3, 9)] == [
        "connecting",
        "running",
        "error",
        "disconnect",
        "9",
    ]


def applied(data: bytes, error: bytes | None = None) -> StatusApplied:
    return StatusApplied(SESSION, BUTTON, 1, data, error, None, 0, False, True)


@pytest.mark.parametrize(
    ("change", "kind", "content"),
    [
        (SessionStarted(SESSION, ()), "session", {"state": "started", "session_id": SESSION}),
        (SessionReady(SESSION), "session", {"state": "ready", "session_id": SESSION}),
        (
            SessionEnded(SESSION, Reason.SHUTDOWN),
            "session",
            {"state": "ended", "session_id": SESSION, "reason": "shutdown"},
        ),
        (StatusRepeated(BUTTON, Position(1, 1), True), "repeat", {"is_connected": True}),
        (DeviceLeft(BUTTON.identity), "device", {"is_connected": False, "module": 1000}),
        (CommandSent("c", 1), "command", {"id": "c", "state": "sent"}),
        (
            CommandFinished("c", CommandState.OK, 0),
            "command",
            {"id": "c", "state": "ok", "response": 0},
        ),
        (applied(b"17"), "status", {"state": "running", "name": "button1"}),
    ],
)
def test_every_change_is_news(change, kind, content):
    news = news_of(VAN, change, 7, DECODER)
    assert news.kind == kind
    told = json.loads(news.content)
    assert {key: told[key] for key in content} == content
    assert (told["company"], told["vehicle"], told["unix_ms"]) == ("acme", "van", 7)


def test_a_status_event_carries_the_payloads():
    told = json.loads(news_of(VAN, applied(b"17", b"\xff"), 7, DECODER).content)
    assert (told["status"]["data"], told["error"]["data"]) == (17, "/w==")


def test_a_large_payload_is_left_out_of_events():
    size_bytes = EVENT_PAYLOAD_BYTES + 1
    told = json.loads(news_of(VAN, applied(b"x" * size_bytes), 7, DECODER).content)
    assert told["omitted_bytes"] == size_bytes
    assert "status" not in told


def test_news_is_one_line_of_ascii():
    session_id = "a\nb\u2028ž"
    content = news_of(VAN, SessionReady(session_id), 7, DECODER).content
    assert content.isascii()
    assert "\n" not in content
