"""Buttons with a light in a car, as the first Python gateway knew them (fleet-protocol 6.5).

That gateway numbered them 2, which is the IO module's number today, so here the number is 1001.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from module_gateway.modules.api import Module, Payload
from module_gateway.modules.button_light import light_after
from module_gateway.modules.json_payload import read_object, write_spaced
from module_gateway.protocol.errors import ModuleError

COUNTERS: Final = ("pressed_count", "not_pressed_count", "total_statuses")


class CarAccessoryStatus(Payload):
    """`{"pressed": true}`; other keys may stand beside it."""

    pressed: bool


class CarAccessoryCommand(Payload):
    """`{"lit_up": true}`; other keys may stand beside it."""

    lit_up: bool


class CarAccessoryModule(Module):
    """The light shows whether the button is pressed; an outage reports how often it was.

    The device types are those of that gateway's module handler (its internal server knew only
    type 0). A command from the control plane stands until the button agrees with it
    (`button_light`). With `strict-compat` it has no effect, and a status without `pressed`
    turns the error aggregate into `{"error": …}` instead of being left out of it.
    """

    name = "car_accessory"
    default_number = 1001
    device_types: ClassVar[frozenset[int] | None] = frozenset({0, 1})
    StatusPayload = CarAccessoryStatus
    CommandPayload = CarAccessoryCommand

    def status_data_valid(self, status: bytes, device_type: int) -> bool:
        del device_type
        return _flag(status, "pressed") is not None

    def command_data_valid(self, command: bytes, device_type: int) -> bool:
        del device_type
        return _flag(command, "lit_up") is not None

    def generate_first_command(self, device_type: int) -> bytes:
        del device_type
        return write_spaced({"lit_up": False})

    def send_status_condition(
        self, current: bytes, new: bytes, device_type: int, since_published_s: float
    ) -> bool:
        del device_type, since_published_s
        return current != new

    def generate_command(
        self, new: bytes, previous: bytes, command: bytes, device_type: int
    ) -> bytes:
        del device_type
        pressed = _flag(new, "pressed")
        if pressed is None:
            raise ModuleError("the status has no 'pressed'")
        if self.settings.strict_compat:
            return write_spaced({"lit_up": pressed})
        commanded = _flag(command, "lit_up")
        lit_up = light_after(
            pressed=pressed, pressed_before=_flag(previous, "pressed"), commanded=commanded
        )
        # The control plane's own bytes, so that what it wrote beside `lit_up` arrives too.
        return command if commanded == lit_up else write_spaced({"lit_up": lit_up})

    def aggregate_error(self, error: bytes, status: bytes, device_type: int) -> bytes:
        del device_type
        so_far = read_object(error) if error else {}
        if "error" in so_far:
            return error
        pressed = _flag(status, "pressed")
        if pressed is None:
            if self.settings.strict_compat:
                return write_spaced({"error": "a status has no 'pressed'"})
            raise ModuleError("the status has no 'pressed'")
        steps = (int(pressed), int(not pressed), 1)
        return write_spaced(
            {name: _count(so_far, name) + step for name, step in zip(COUNTERS, steps, strict=True)}
        )


def _flag(payload: bytes, key: str) -> bool | None:
    """The true or false under `key`, None if the payload has no such thing."""
    try:
        value = read_object(payload).get(key)
    except ModuleError:
        return None
    return value if isinstance(value, bool) else None


def _count(counters: Mapping[str, object], name: str) -> int:
    value = counters.get(name, 0)
    if type(value) is not int:
        raise ModuleError(f"the error aggregate's {name!r} is no number")
    return value
