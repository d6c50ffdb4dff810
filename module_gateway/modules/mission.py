"""Autonomous vehicles that drive from stop to stop (fleet-protocol 6.1)."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from pydantic import Field

from module_gateway.modules.api import Module, ModuleSettings, Payload
from module_gateway.modules.mission_codec import (
    JsonMissionCodec,
    MissionCodec,
    ProtobufMissionCodec,
)
from module_gateway.protocol.errors import ModuleError

MOVING_SPEED: Final = 1.0
"""Metres per second from which a position is worth publishing (fleet-protocol 6.1)."""

MOVING_PERIOD_S: Final = 2.9
"""How long a moving vehicle stays quiet between two of them (fleet-protocol 6.1)."""


class Position(Payload):
    """WGS 84 degrees and metres."""

    latitude: float = 0.0
    longitude: float = 0.0
    altitude: float = 0.0


class Station(Payload):
    """A named stop."""

    name: str
    position: Position = Position()


class Telemetry(Payload):
    """Speed in metres per second, fuel from 0 to 1."""

    speed: float
    fuel: float = 0.0
    position: Position = Position()


class MissionStatusPayload(Payload):
    """Where the vehicle is and what it does."""

    state: Literal["IDLE", "DRIVE", "IN_STOP", "OBSTACLE", "ERROR"]
    telemetry: Telemetry
    next_stop: Station | None = Field(alias="nextStop")


class MissionCommandPayload(Payload):
    """STOP and NO_ACTION end the drive; START drives to the first of the stops."""

    action: Literal["NO_ACTION", "STOP", "START"]
    stops: list[Station]
    route: str


class MissionModule(Module):
    """Publishes changes of state and stop, and positions while moving; ticks off stops.

    `codec` "protobuf" is for devices before 1.3.0. The wait between two positions is measured
    per device, from its last publication of any kind (the native module has one clock for all
    devices of the type). With `strict-compat` any bytes are valid under the protobuf codec, and
    a vehicle that stands in a stop without naming it adds an empty stop to the finished ones.
    """

    name = "mission"
    default_number = 1
    device_types: ClassVar[frozenset[int] | None] = frozenset({1})
    StatusPayload = MissionStatusPayload
    CommandPayload = MissionCommandPayload

    def __init__(self, settings: ModuleSettings | None = None) -> None:
        super().__init__(settings)
        is_protobuf = self.settings.codec == "protobuf"
        self._codec: MissionCodec = ProtobufMissionCodec() if is_protobuf else JsonMissionCodec()
        self._accepts_any_bytes = is_protobuf and self.settings.strict_compat

    def status_data_valid(self, status: bytes, device_type: int) -> bool:
        del device_type
        try:
            self._codec.read_status(status)
        except ModuleError:
            return self._accepts_any_bytes
        return True

    def command_data_valid(self, command: bytes, device_type: int) -> bool:
        del device_type
        try:
            self._codec.check_command(command)
        except ModuleError:
            return self._accepts_any_bytes
        return True

    def generate_first_command(self, device_type: int) -> bytes:
        del device_type
        return self._codec.first_command()

    def send_status_condition(
        self, current: bytes, new: bytes, device_type: int, since_published_s: float
    ) -> bool:
        del device_type
        after = self._codec.read_status(new)
        if not current:
            return True
        before = self._codec.read_status(current)
        if (before.state, before.next_stop) != (after.state, after.next_stop):
            return True
        return after.speed >= MOVING_SPEED and since_published_s > MOVING_PERIOD_S

    def generate_command(
        self, new: bytes, previous: bytes, command: bytes, device_type: int
    ) -> bytes:
        del device_type
        stops = self._codec.stop_marks(command) if command else []
        if not stops:
            return command
        after = self._codec.read_status(new)
        if after.state != "IN_STOP":
            return command
        has_arrived = (
            not previous
            or self._codec.read_status(previous).state == "DRIVE"
            or after.next_stop_mark == stops[0]
        )
        return self._codec.without_first_stop(command) if has_arrived else command

    def aggregate_error(self, error: bytes, status: bytes, device_type: int) -> bytes:
        del device_type
        after = self._codec.read_status(status)
        is_finished = after.state == "IN_STOP" and (
            after.next_stop is not None or self.settings.strict_compat
        )
        if is_finished:
            return self._codec.error_with_stop(error, status)
        return error or self._codec.empty_error()
