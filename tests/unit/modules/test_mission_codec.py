"""The two spellings of mission payloads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from module_gateway.modules.api import ModuleSettings
from module_gateway.modules.mission import MissionModule
from module_gateway.modules.mission_codec import (
    AutonomyStatus,
    JsonMissionCodec,
    ProtobufMissionCodec,
)
from module_gateway.protocol import mission_module_pb2 as pb
from module_gateway.protocol.errors import ModuleError

STATUS: dict[str, Any] = {
    "state": "DRIVE",
    "telemetry": {
        "speed": 7.2,
        "fuel": 0.62,
        "position": {"latitude": 45.81, "longitude": 15.98, "altitude": 120.7},
    },
    "nextStop": {
        "name": "Train Station",
        "position": {"latitude": 45.81, "longitude": 15.98, "altitude": 125.3},
    },
}
COMMAND: dict[str, Any] = {"action": "START", "stops": [STATUS["nextStop"]], "route": "R"}
MISSING = object()


def changed(fields: dict[str, Any], key: str, value: object) -> bytes:
    whole = fields | {key: value}
    return json.dumps({k: v for k, v in whole.items() if v is not MISSING}).encode()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("extra", 1, True),
        ("nextStop", None, True),
        ("nextStop", 17, True),
        ("nextStop", MISSING, False),
        ("state", MISSING, False),
        ("state", "drive", False),
        ("state", 1, False),
        ("state", ["DRIVE"], False),
        ("telemetry", MISSING, False),
        ("telemetry", None, False),
        ("telemetry", [7.2], False),
        ("telemetry", {}, False),
        ("telemetry", {"speed": "7.2"}, False),
        ("telemetry", {"speed": True}, False),
        ("telemetry", {"speed": 0}, True),
    ],
)
def test_B1_status_validity(key: str, value: object, expected: bool) -> None:
    assert MissionModule().status_data_valid(changed(STATUS, key, value), 1) is expected


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("extra", 1, True),
        ("action", "NO_ACTION", True),
        ("action", "STOP", True),
        ("action", "start", False),
        ("action", 2, False),
        ("action", {}, False),
        ("action", MISSING, False),
        ("stops", [], True),
        ("stops", {}, False),
        ("stops", None, False),
        ("stops", MISSING, False),
        ("route", "", True),
        ("route", None, False),
        ("route", MISSING, False),
    ],
)
def test_B1_command_validity(key: str, value: object, expected: bool) -> None:
    assert MissionModule().command_data_valid(changed(COMMAND, key, value), 1) is expected


def test_documented_status_is_read() -> None:
    stop = STATUS["nextStop"]
    assert JsonMissionCodec().read_status(json.dumps(STATUS).encode()) == AutonomyStatus(
        "DRIVE", 7.2, stop, stop
    )


def test_B2_codec_is_selected_by_the_setting() -> None:
    status = pb.AutonomyStatus(state=pb.AutonomyStatus.DRIVE).SerializeToString()
    assert MissionModule(ModuleSettings(codec="protobuf")).status_data_valid(status, 1)
    assert not MissionModule(ModuleSettings(codec="json")).status_data_valid(status, 1)


def test_B2_protobuf_fields_have_the_numbers_of_the_schema() -> None:
    # Written by hand: telemetry 1 {speed 1}, state 2 = IN_STOP, nextStop 3 {name 1, position 2}.
    status = bytes.fromhex("0a0909000000000000044010021a0c0a0141120709") + bytes(6)
    with pytest.raises(ModuleError):  # the position is cut short
        ProtobufMissionCodec().read_status(status)
    whole = bytes.fromhex("0a0909000000000000044010021a0e0a0141120909") + bytes(8)
    read = ProtobufMissionCodec().read_status(whole)
    assert (read.state, read.speed, read.next_stop_mark) == ("IN_STOP", 2.5, "A")
    stops = bytes.fromhex("0a030a01410a030a0142")
    command = stops + bytes.fromhex("1201521802")
    codec = ProtobufMissionCodec()
    assert codec.stop_marks(command) == ["A", "B"]
    assert codec.without_first_stop(command) == bytes.fromhex("0a030a01421201521802")


def test_B2_protobuf_round_trips_what_it_does_not_know() -> None:
    unknown = bytes.fromhex("fa0101ff")
    command = pb.AutonomyCommand(stops=[pb.Station(name="A")]).SerializeToString() + unknown
    assert ProtobufMissionCodec().without_first_stop(command) == unknown


def test_protobuf_numbers_outside_of_the_enums_are_invalid() -> None:
    module = MissionModule(ModuleSettings(codec="protobuf"))
    assert not module.status_data_valid(bytes.fromhex("1005"), 1)
    assert not module.command_data_valid(bytes.fromhex("1803"), 1)
    assert not module.status_data_valid(bytes.fromhex("10ffffffffffffffffff01"), 1)


def test_protobuf_empty_status_is_an_idle_vehicle() -> None:
    assert ProtobufMissionCodec().read_status(b"") == AutonomyStatus("IDLE", 0.0, None, None)


def test_protobuf_first_command_is_empty() -> None:
    assert ProtobufMissionCodec().first_command() == b""
    assert ProtobufMissionCodec().empty_error() == b""


@pytest.mark.parametrize("command", [b"[]", b"{}", b'{"stops":{}}'])
def test_json_command_without_a_list_of_stops_is_refused(command: bytes) -> None:
    with pytest.raises(ModuleError):
        JsonMissionCodec().stop_marks(command)


@pytest.mark.parametrize("error", [b"[]", b"{}", b'{"finishedStops":1}'])
def test_foreign_error_aggregate_is_refused(error: bytes) -> None:
    with pytest.raises(ModuleError):
        JsonMissionCodec().error_with_stop(error, json.dumps(STATUS).encode())


def test_foreign_protobuf_error_aggregate_is_refused() -> None:
    with pytest.raises(ModuleError):
        ProtobufMissionCodec().error_with_stop(b"\xff", b"")
