"""Devices whose payloads nobody here understands (fleet-protocol 6.3)."""

from __future__ import annotations

from typing import ClassVar

from module_gateway.modules.api import Module
from module_gateway.modules.json_payload import write
from module_gateway.protocol.errors import ModuleError


class TransparentModule(Module):
    """Carries every status up and every command down, unread and unchanged.

    With `strict-compat`, from a device's second status on, the status travels as a JSON string
    that holds the raw text, as the native module has it; a status that is not UTF-8 is then
    refused at its aggregation. There is no error aggregate: it is always `{}`.
    """

    name = "transparent"
    default_number = 3
    device_types: ClassVar[frozenset[int] | None] = None

    def status_data_valid(self, status: bytes, device_type: int) -> bool:
        del status, device_type
        return True

    def command_data_valid(self, command: bytes, device_type: int) -> bool:
        del command, device_type
        return True

    def generate_first_command(self, device_type: int) -> bytes:
        del device_type
        return b'"default_command"'

    def send_status_condition(
        self, current: bytes, new: bytes, device_type: int, since_published_s: float
    ) -> bool:
        del current, new, device_type, since_published_s
        return True

    def aggregate_status(self, current: bytes, new: bytes, device_type: int) -> bytes:
        del current, device_type
        if not self.settings.strict_compat:
            return new
        try:
            return write(new.decode("utf-8"))
        except UnicodeDecodeError as problem:
            raise ModuleError("the status is not UTF-8") from problem

    def aggregate_error(self, error: bytes, status: bytes, device_type: int) -> bytes:
        del error, status, device_type
        return b"{}"
