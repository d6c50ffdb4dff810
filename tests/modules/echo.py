"""A module whose commands cannot be right by accident: the digest of the status they answer."""

from __future__ import annotations

import hashlib
from typing import ClassVar

from module_gateway.modules.api import Module


def answer_to(status: bytes) -> bytes:
    """The only right command for a status."""
    return hashlib.sha256(status).hexdigest().encode()


class EchoModule(Module):
    """Every status is valid, published and answered with its digest."""

    name = "echo"
    default_number = 2000
    device_types: ClassVar[frozenset[int] | None] = None

    def status_data_valid(self, status: bytes, device_type: int) -> bool:
        return bool(status)

    def command_data_valid(self, command: bytes, device_type: int) -> bool:
        return True

    def generate_first_command(self, device_type: int) -> bytes:
        return b"first"

    def send_status_condition(
        self, current: bytes, new: bytes, device_type: int, since_published_s: float
    ) -> bool:
        return True

    def generate_command(
        self, new: bytes, previous: bytes, command: bytes, device_type: int
    ) -> bytes:
        return answer_to(new)

    def aggregate_error(self, error: bytes, status: bytes, device_type: int) -> bytes:
        return b"%d" % (int(error or b"0") + 1)
