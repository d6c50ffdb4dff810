"""The module to try things with: a button with a light (fleet-protocol 6.4)."""

from __future__ import annotations

from typing import ClassVar, Final

from module_gateway.modules.api import Module, Payload
from module_gateway.modules.button_light import light_after
from module_gateway.protocol.errors import ModuleError

PRESSED: Final = {b'{"pressed": true}': True, b'{"pressed": false}': False}
"""The only two statuses, byte for byte."""
LIT_UP: Final = {b'{"lit_up": true}': True, b'{"lit_up": false}': False}
"""The only two commands, byte for byte."""
LIGHT: Final = {lit_up: command for command, lit_up in LIT_UP.items()}


class ExampleStatus(Payload):
    """Exactly `{"pressed": true}` or `{"pressed": false}`."""

    pressed: bool


class ExampleCommand(Payload):
    """Exactly `{"lit_up": true}` or `{"lit_up": false}`."""

    lit_up: bool


class ExampleModule(Module):
    """The light shows whether the button is pressed.

    A command from the control plane stands until the button agrees with it (`button_light`).
    With `strict-compat` it is as the native module has it: commands have no effect and the
    light is the opposite of the button.
    """

    name = "example"
    default_number = 1000
    device_types: ClassVar[frozenset[int] | None] = frozenset({0})
    StatusPayload = ExampleStatus
    CommandPayload = ExampleCommand

    def status_data_valid(self, status: bytes, device_type: int) -> bool:
        del device_type
        return status in PRESSED

    def command_data_valid(self, command: bytes, device_type: int) -> bool:
        del device_type
        return command in LIT_UP

    def generate_first_command(self, device_type: int) -> bytes:
        del device_type
        return LIGHT[False]

    def send_status_condition(
        self, current: bytes, new: bytes, device_type: int, since_published_s: float
    ) -> bool:
        del device_type, since_published_s
        return current != new

    def generate_command(
        self, new: bytes, previous: bytes, command: bytes, device_type: int
    ) -> bytes:
        del device_type
        pressed = PRESSED.get(new)
        if pressed is None:
            raise ModuleError("the status is none of the two that exist")
        if self.settings.strict_compat:
            return LIGHT[not pressed]
        return LIGHT[
            light_after(
                pressed=pressed,
                pressed_before=PRESSED.get(previous),
                commanded=LIT_UP.get(command),
            )
        ]

    def aggregate_error(self, error: bytes, status: bytes, device_type: int) -> bytes:
        del status, device_type
        return error or b"Default error"
