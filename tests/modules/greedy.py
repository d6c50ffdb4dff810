"""The echo module with an appetite: some statuses make it ask for more memory than there is."""

from __future__ import annotations

from tests.modules.echo import EchoModule

ASKED_BYTES = 2 * 1024**3


class GreedyModule(EchoModule):
    """A status with `allocate` in it costs ASKED_BYTES."""

    name = "greedy"

    def generate_command(
        self, new: bytes, previous: bytes, command: bytes, device_type: int
    ) -> bytes:
        if b"allocate" in new:
            return bytes(ASKED_BYTES)
        return super().generate_command(new, previous, command, device_type)
