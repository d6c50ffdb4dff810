"""The mission module's rules, under both codecs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from module_gateway.modules.api import ModuleSettings
from module_gateway.modules.mission import MissionModule
from module_gateway.protocol import mission_module_pb2 as pb
from module_gateway.protocol.errors import ModuleError

A, B = ("A", 1.0), ("B", 2.0)
"""Stops: name and latitude."""
Stop = tuple[str, float]


def json_stop(stop: Stop | None) -> Any:
    if stop is None:
        return None
    name, latitude = stop
    return {
        "name": name,
        "position": {"latitude": latitude, "longitude": 2.0, "altitude": 3.0},
    }


class JsonWords:
    """Writes payloads of the JSON codec."""

    module = MissionModule()

    def status(self, state: str = "DRIVE", speed: float = 0.0, stop: Stop | None = A) -> bytes:
        fields = {"state": state, "telemetry": {"speed": speed}, "nextStop": json_stop(stop)}
        return json.dumps(fields).encode()

    def command(self, *stops: Stop) -> bytes:
        fields = {"action": "START", "stops": [json_stop(s) for s in stops], "route": "R"}
        return json.dumps(fields).encode()

    def stops(self, command: bytes) -> list[str]:
        return [stop["name"] for stop in json.loads(command)["stops"]]

    def finished(self, error: bytes) -> list[str]:
        return [stop and stop["name"] for stop in json.loads(error)["finishedStops"]]


class ProtobufWords:
    """Writes payloads of the protobuf codec."""

    module = MissionModule(ModuleSettings(codec="protobuf"))

    def status(self, state: str = "DRIVE", speed: float = 0.0, stop: Stop | None = A) -> bytes:
        message = pb.AutonomyStatus(state=pb.AutonomyStatus.State.Value(state))
        message.telemetry.speed = speed
        if stop is not None:
            message.nextStop.CopyFrom(pb_stop(stop))
        return message.SerializeToString()

    def command(self, *stops: Stop) -> bytes:
        return pb.AutonomyCommand(
            stops=[pb_stop(s) for s in stops], route="R", action=pb.AutonomyCommand.START
        ).SerializeToString()

    def stops(self, command: bytes) -> list[str]:
        return [stop.name for stop in pb.AutonomyCommand.FromString(command).stops]

    def finished(self, error: bytes) -> list[str]:
        return [stop.name for stop in pb.AutonomyError.FromString(error).finishedStops]


def pb_stop(stop: Stop) -> pb.Station:
    name, latitude = stop
    return pb.Station(
        name=name, position=pb.Position(latitude=latitude, longitude=2.0, altitude=3.0)
    )


Words = JsonWords | ProtobufWords
BOTH = pytest.mark.parametrize("words", [JsonWords(), ProtobufWords()], ids=["json", "protobuf"])


def test_number_and_type() -> None:
    assert (MissionModule.name, MissionModule.default_number) == ("mission", 1)
    assert [t for t in range(4) if MissionModule().is_device_type_supported(t)] == [1]


def test_B1_first_command_is_no_action() -> None:
    assert MissionModule().generate_first_command(1) == (
        b'{"action":"NO_ACTION","route":"","stops":[]}'
    )


@BOTH
def test_B1_first_command_is_valid_and_has_no_stops(words: Words) -> None:
    first = words.module.generate_first_command(1)
    assert words.module.command_data_valid(first, 1)
    assert words.stops(first) == []


@BOTH
@pytest.mark.parametrize("state", ["IDLE", "DRIVE", "IN_STOP", "OBSTACLE", "ERROR"])
def test_B1_every_state_is_valid(words: Words, state: str) -> None:
    assert words.module.status_data_valid(words.status(state), 1)


@BOTH
def test_B1_condition_is_true_without_a_current_status(words: Words) -> None:
    assert words.module.send_status_condition(b"", words.status(), 1, 0.0)


@BOTH
@pytest.mark.parametrize(
    ("state", "stop", "expected"),
    [
        ("DRIVE", A, False),
        ("IN_STOP", A, True),
        ("DRIVE", B, True),
        ("DRIVE", ("A", 9.0), True),
        ("DRIVE", None, True),
    ],
)
def test_B1_condition_is_a_changed_state_or_stop(
    words: Words, state: str, stop: Stop | None, expected: bool
) -> None:
    current, new = words.status("DRIVE", 0.9, A), words.status(state, 0.9, stop)
    assert words.module.send_status_condition(current, new, 1, 1e9) is expected


@BOTH
@pytest.mark.parametrize(
    ("speed", "since_s", "expected"),
    [
        (1.0, 2.901, True),
        (1.0, 2.9, False),
        (0.999, 100.0, False),
        (30.0, 2.901, True),
        (-5.0, 100.0, False),
    ],
)
def test_B1_moving_vehicle_is_published_after_the_period(
    words: Words, speed: float, since_s: float, expected: bool
) -> None:
    status = words.status(speed=speed)
    assert words.module.send_status_condition(status, status, 1, since_s) is expected


@BOTH
def test_case54_at_most_one_publication_per_period_and_device(words: Words) -> None:
    status = words.status(speed=1.0)
    published_at, published = 0.0, 0
    for tick in range(1, 101):  # ten seconds at 10 Hz
        now = tick / 10
        if words.module.send_status_condition(status, status, 1, now - published_at):
            published_at, published = now, published + 1
    assert published == 3


@BOTH
def test_condition_of_unreadable_statuses_is_an_error(words: Words) -> None:
    for current, new in ((words.status(), b"\xff"), (b"\xff", words.status())):
        with pytest.raises(ModuleError):
            words.module.send_status_condition(current, new, 1, 9.0)


@BOTH
def test_B1_aggregation_keeps_the_newest(words: Words) -> None:
    assert words.module.aggregate_status(words.status(), b"new", 1) == b"new"


@BOTH
@pytest.mark.parametrize("before", ["IDLE", "DRIVE", "IN_STOP", "OBSTACLE"])
def test_case53_stop_that_is_reached_is_removed(words: Words, before: str) -> None:
    command = words.command(A, B)
    answer = words.module.generate_command(
        words.status("IN_STOP", stop=A), words.status(before, stop=A), command, 1
    )
    assert words.stops(answer) == ["B"]


@BOTH
def test_case53_drive_that_ends_in_a_stop_removes_the_first(words: Words) -> None:
    answer = words.module.generate_command(
        words.status("IN_STOP", stop=None), words.status("DRIVE", stop=None), words.command(A, B), 1
    )
    assert words.stops(answer) == ["B"]


@BOTH
def test_B1_first_status_in_a_stop_removes_the_first(words: Words) -> None:
    answer = words.module.generate_command(
        words.status("IN_STOP", stop=B), b"", words.command(A, B), 1
    )
    assert words.stops(answer) == ["B"]


@BOTH
@pytest.mark.parametrize(
    ("state", "before", "stop"),
    [
        ("IN_STOP", "IN_STOP", B),
        ("IN_STOP", "IDLE", None),
        ("DRIVE", "DRIVE", A),
        ("IDLE", "DRIVE", A),
    ],
)
def test_B1_otherwise_the_command_stays_as_it_is(
    words: Words, state: str, before: str, stop: Stop | None
) -> None:
    command = words.command(A, B)
    answer = words.module.generate_command(
        words.status(state, stop=stop), words.status(before, stop=stop), command, 1
    )
    assert answer == command


def test_B1_json_stops_are_compared_by_full_value() -> None:
    words = JsonWords()
    command = words.command(A, B)
    elsewhere = words.status("IN_STOP", stop=("A", 9.0))
    assert words.module.generate_command(elsewhere, elsewhere, command, 1) == command


def test_B2_protobuf_stops_are_compared_by_name() -> None:
    words = ProtobufWords()
    elsewhere = words.status("IN_STOP", stop=("A", 9.0))
    answer = words.module.generate_command(elsewhere, elsewhere, words.command(A, B), 1)
    assert words.stops(answer) == ["B"]


def test_B1_removal_keeps_the_other_keys() -> None:
    command = json.loads(JsonWords().command(A)) | {"n": 7}
    status = JsonWords().status("IN_STOP")
    answer = MissionModule().generate_command(status, status, json.dumps(command).encode(), 1)
    assert json.loads(answer) == command | {"stops": []}


@BOTH
def test_command_without_stops_passes_whatever_the_status_is(words: Words) -> None:
    for command in (b"", words.command()):
        assert words.module.generate_command(b"\xff", b"\xff", command, 1) == command


@BOTH
@pytest.mark.parametrize("broken", ["new", "previous", "command"])
def test_unreadable_input_has_no_answer(words: Words, broken: str) -> None:
    given = {
        "new": words.status("IN_STOP", stop=B),
        "previous": words.status("IDLE"),
        "command": words.command(A),
    } | {broken: b"\xff"}
    with pytest.raises(ModuleError):
        words.module.generate_command(given["new"], given["previous"], given["command"], 1)


@BOTH
def test_case55_outage_reports_exactly_the_finished_stop(words: Words) -> None:
    error = b""
    for state in ("DRIVE", "IN_STOP", "IN_STOP", "DRIVE"):
        error = words.module.aggregate_error(error, words.status(state, stop=A), 1)
    assert words.finished(error) == ["A"]


@BOTH
def test_B1_finished_stops_are_a_list_without_repeats_in_a_row(words: Words) -> None:
    error = b""
    for state, stop in (("IN_STOP", A), ("DRIVE", B), ("IN_STOP", B), ("IN_STOP", A)):
        error = words.module.aggregate_error(error, words.status(state, stop=stop), 1)
    assert words.finished(error) == ["A", "B", "A"]


@BOTH
def test_B1_error_starts_empty(words: Words) -> None:
    error = words.module.aggregate_error(b"", words.status("DRIVE"), 1)
    assert words.finished(error) == []
    assert words.module.aggregate_error(error, words.status("IN_STOP", stop=None), 1) == error


def test_B1_json_error_has_the_documented_shape() -> None:
    error = MissionModule().aggregate_error(b"", JsonWords().status("IN_STOP", stop=A), 1)
    assert json.loads(error) == {"finishedStops": [json_stop(A)]}


@BOTH
@pytest.mark.parametrize("given", [(b"\xff", None), (None, b"\xff")])
def test_unreadable_fold_is_refused(words: Words, given: tuple[bytes | None, bytes | None]) -> None:
    error, status = given
    with pytest.raises(ModuleError):
        words.module.aggregate_error(error or b"", status or words.status("IN_STOP"), 1)


def test_strict_stop_without_a_name_is_reported_too() -> None:
    strict = MissionModule(ModuleSettings(strict_compat=True))
    status = JsonWords().status("IN_STOP", stop=None)
    assert strict.aggregate_error(b"", status, 1) == b'{"finishedStops":[null]}'


def test_strict_protobuf_accepts_any_bytes() -> None:
    strict = MissionModule(ModuleSettings(strict_compat=True, codec="protobuf"))
    for module, expected in ((strict, True), (ProtobufWords().module, False)):
        assert module.status_data_valid(b"\xff\xff", 1) is expected
        assert module.command_data_valid(b"\xff\xff", 1) is expected
    assert not MissionModule(ModuleSettings(strict_compat=True)).status_data_valid(b"\xff", 1)


def test_schemas_describe_the_payloads() -> None:
    module = MissionModule()
    assert module.StatusPayload is not None
    assert module.CommandPayload is not None
    module.StatusPayload.model_validate_json(JsonWords().status())
    module.CommandPayload.model_validate_json(JsonWords().command(A, B))
