"""The two spellings of mission payloads: JSON, and the protobuf of older devices.

The mission's rules (`mission.py`) are the same for both; what differs is here. All functions
raise `ModuleError` for bytes that they cannot read and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from google.protobuf.message import DecodeError

from module_gateway.modules.json_payload import is_number, read_object, write
from module_gateway.protocol import mission_module_pb2 as pb
from module_gateway.protocol.errors import ModuleError

STATES: Final = ("IDLE", "DRIVE", "IN_STOP", "OBSTACLE", "ERROR")
ACTIONS: Final = ("NO_ACTION", "STOP", "START")


@dataclass(frozen=True, slots=True)
class AutonomyStatus:
    """What the rules need of a status."""

    state: str
    speed: float
    """Metres per second."""
    next_stop: object
    """None for no stop; otherwise comparable by value with another status' stop."""
    next_stop_mark: object
    """Comparable with what `stop_marks` gives for a command."""


class MissionCodec(Protocol):
    """How statuses, commands and errors of a mission are written."""

    def read_status(self, payload: bytes) -> AutonomyStatus:
        """Read a valid status."""

    def check_command(self, command: bytes) -> None:
        """Return if the command is valid."""

    def first_command(self) -> bytes:
        """No action, no stops, no route."""

    def stop_marks(self, command: bytes) -> list[object]:
        """By what each stop of the command is recognised, in order."""

    def without_first_stop(self, command: bytes) -> bytes:
        """The same command with its stops from the second on."""

    def error_with_stop(self, error: bytes, status: bytes) -> bytes:
        """Append the status' next stop to the finished ones unless it is the last of them."""

    def empty_error(self) -> bytes:
        """An error aggregate without a finished stop."""


class JsonMissionCodec:
    """Payloads of mission devices from 1.3.0 on: JSON with enums as words."""

    def read_status(self, payload: bytes) -> AutonomyStatus:
        status = read_object(payload)
        state = status.get("state")
        if not isinstance(state, str) or state not in STATES:
            raise ModuleError("the status has no known 'state'")
        telemetry = status.get("telemetry")
        speed = telemetry.get("speed") if isinstance(telemetry, dict) else None
        if not is_number(speed):
            raise ModuleError("the status has no number 'telemetry.speed'")
        if "nextStop" not in status:
            raise ModuleError("the status has no 'nextStop'")
        stop = status["nextStop"]
        return AutonomyStatus(state, speed, stop, stop)

    def check_command(self, command: bytes) -> None:
        fields = read_object(command)
        action = fields.get("action")
        if not isinstance(action, str) or action not in ACTIONS:
            raise ModuleError("the command has no known 'action'")
        if not isinstance(fields.get("stops"), list):
            raise ModuleError("the command has no array 'stops'")
        if not isinstance(fields.get("route"), str):
            raise ModuleError("the command has no text 'route'")

    def first_command(self) -> bytes:
        return b'{"action":"NO_ACTION","route":"","stops":[]}'

    def stop_marks(self, command: bytes) -> list[object]:
        stops = read_object(command).get("stops")
        if not isinstance(stops, list):
            raise ModuleError("the command has no array 'stops'")
        return [*stops]

    def without_first_stop(self, command: bytes) -> bytes:
        fields = read_object(command)
        return write(fields | {"stops": self.stop_marks(command)[1:]})

    def error_with_stop(self, error: bytes, status: bytes) -> bytes:
        stops = read_object(error).get("finishedStops") if error else []
        if not isinstance(stops, list):
            raise ModuleError("the error aggregate has no array 'finishedStops'")
        stop = read_object(status).get("nextStop")
        if stops and stops[-1] == stop:
            return error
        return write({"finishedStops": [*stops, stop]})

    def empty_error(self) -> bytes:
        return b'{"finishedStops":[]}'


class ProtobufMissionCodec:
    """Payloads of mission devices before 1.3.0. Stops are recognised by name alone.

    Every field is optional on this wire, so `b""` is a status (standing still, idle) and the
    first command is empty.
    """

    def read_status(self, payload: bytes) -> AutonomyStatus:
        status = self._parse_status(payload)
        if not 0 <= status.state < len(STATES):
            raise ModuleError(f"the status' state {int(status.state)} is unknown")
        has_stop = status.HasField("nextStop")
        return AutonomyStatus(
            STATES[status.state],
            status.telemetry.speed,
            # As bytes, because a position of NaN would differ from itself.
            status.nextStop.SerializeToString(deterministic=True) if has_stop else None,
            status.nextStop.name if has_stop else None,
        )

    def check_command(self, command: bytes) -> None:
        action = self._parse_command(command).action
        if not 0 <= action < len(ACTIONS):
            raise ModuleError(f"the command's action {int(action)} is unknown")

    def first_command(self) -> bytes:
        return pb.AutonomyCommand(action=pb.AutonomyCommand.NO_ACTION).SerializeToString()

    def stop_marks(self, command: bytes) -> list[object]:
        return [stop.name for stop in self._parse_command(command).stops]

    def without_first_stop(self, command: bytes) -> bytes:
        message = self._parse_command(command)
        del message.stops[0]
        return message.SerializeToString()

    def error_with_stop(self, error: bytes, status: bytes) -> bytes:
        message = pb.AutonomyError()
        try:
            message.ParseFromString(error)
        except DecodeError as problem:
            raise ModuleError("the error aggregate is no AutonomyError") from problem
        stop = self._parse_status(status).nextStop
        if message.finishedStops and message.finishedStops[-1].name == stop.name:
            return error
        message.finishedStops.append(stop)
        return message.SerializeToString()

    def empty_error(self) -> bytes:
        return pb.AutonomyError().SerializeToString()

    def _parse_status(self, payload: bytes) -> pb.AutonomyStatus:
        message = pb.AutonomyStatus()
        try:
            message.ParseFromString(payload)
        except DecodeError as problem:
            raise ModuleError("the status is no AutonomyStatus") from problem
        return message

    def _parse_command(self, payload: bytes) -> pb.AutonomyCommand:
        message = pb.AutonomyCommand()
        try:
            message.ParseFromString(payload)
        except DecodeError as problem:
            raise ModuleError("the command is no AutonomyCommand") from problem
        return message
