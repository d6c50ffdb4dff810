# ruff: noqa: ARG002  # a function need not look at everything that it is told
"""A complete module of one's own: thermostats (walked through in docs/modules.md).

Status `{"temperature": 20.5, "heating": false}`, command `{"target": 21.0}`. After an outage the
control plane hears how cold it was.
"""

from __future__ import annotations

from module_gateway.modules.api import Module, ModuleSettings, Payload
from module_gateway.modules.json_payload import Json, is_number, read_object, write
from module_gateway.protocol.errors import ModuleError

COLDEST_TARGET, WARMEST_TARGET = 5, 30


class ThermostatStatus(Payload):
    """Degrees Celsius, and whether the heating is on."""

    temperature: float
    heating: bool


class ThermostatCommand(Payload):
    """Degrees Celsius to reach."""

    target: float


class ThermostatSettings(ModuleSettings):
    """Keys for `module-settings`, beside those that every module has."""

    first_target: float = 18.0
    report_period_s: float = 60.0


class ThermostatModule(Module):
    """Reports once a minute, and at once when the heating is switched."""

    name = "thermostat"
    default_number = 2001
    device_types = frozenset({0})
    Settings = ThermostatSettings
    StatusPayload = ThermostatStatus
    CommandPayload = ThermostatCommand
    settings: ThermostatSettings

    def status_data_valid(self, status: bytes, device_type: int) -> bool:
        fields = _fields(status)
        return is_number(fields.get("temperature")) and type(fields.get("heating")) is bool

    def command_data_valid(self, command: bytes, device_type: int) -> bool:
        target = _fields(command).get("target")
        return is_number(target) and COLDEST_TARGET <= target <= WARMEST_TARGET

    def generate_first_command(self, device_type: int) -> bytes:
        return write({"target": self.settings.first_target})

    def send_status_condition(
        self, current: bytes, new: bytes, device_type: int, since_published_s: float
    ) -> bool:
        is_switched = _fields(current).get("heating") != _fields(new).get("heating")
        return is_switched or since_published_s >= self.settings.report_period_s

    def aggregate_error(self, error: bytes, status: bytes, device_type: int) -> bytes:
        temperature = _fields(status).get("temperature")
        coldest = _fields(error).get("coldest", temperature)
        if not is_number(temperature) or not is_number(coldest):
            raise ModuleError("there is no temperature in it")
        return write({"coldest": min(coldest, temperature)})


def _fields(payload: bytes) -> dict[str, Json]:
    """The object in the payload; empty when there is none, whatever the bytes are."""
    try:
        return read_object(payload)
    except ModuleError:
        return {}
