"""What a running fleet tells about its devices: the one line between engine and ledger.

`device` is a device's index in its fleet, `number` the number of one send attempt (1, 2, 3 … per
device, a new one for each attempt). Times are `time.monotonic()` seconds, the same clock in every
process of one machine. Calls come from the event loop, very often, and must neither block nor
raise.
"""

from __future__ import annotations

from typing import Protocol


class Recorder(Protocol):
    """Hears everything that happened to every attempt."""

    def sent(self, device: int, number: int, scheduled_s: float, sent_s: float) -> None:
        """The attempt was handed to the sink; its load wanted it at `scheduled_s`."""
        ...

    def answered(self, device: int, number: int, answered_s: float, is_own: bool) -> None:  # noqa: FBT001  # called with positions, millions of times
        """The gateway answered. `is_own` is False when the reply named another device."""
        ...

    def closed(self, device: int, reason: str, at_s: float) -> None:
        """The device's connection ended; what it had sent and got no answer for is in doubt."""
        ...

    def refused(self, device: int, response: int) -> None:
        """The gateway did not take the device (connect response, fleet-protocol 2.2)."""
        ...

    def connected(self, device: int, at_s: float) -> None:
        """The gateway accepted the device."""
        ...


class NullRecorder:
    """Forgets everything: for devices that run without a verdict."""

    __slots__ = ()

    def sent(self, device: int, number: int, scheduled_s: float, sent_s: float) -> None:
        """Forget."""

    def answered(self, device: int, number: int, answered_s: float, is_own: bool) -> None:  # noqa: FBT001  # as the protocol above
        """Forget."""

    def closed(self, device: int, reason: str, at_s: float) -> None:
        """Forget."""

    def refused(self, device: int, response: int) -> None:
        """Forget."""

    def connected(self, device: int, at_s: float) -> None:
        """Forget."""
