"""The commands of one device, and which of them it gets next (fleet-protocol 3.4, 2.10).

Pure. A command is taken from the queue once and repeated until another one comes. What was taken
stays "in flight" until the device's next frame proves that the answer arrived (contract R20).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import ModuleError, Reason
from module_gateway.protocol.external import CommandResponseType

OUR_CLOSES = frozenset({bus_pb2.REPLY_TIMEOUT, bus_pb2.SEQUENCE_GAP, bus_pb2.SHUTDOWN})
"""Ends that the gateway caused for reasons of its own (R21). In every other case the device has
left, was replaced, misbehaved or is gone for nobody knows how long."""


class CommandChecks(Protocol):
    """What a verdict asks of a module; every method raises ModuleError and nothing else."""

    def is_device_type_supported(self, device_type: int) -> bool: ...

    def command_data_valid(self, command: bytes, device_type: int) -> bool: ...


@dataclass(slots=True, eq=False)
class Commands:
    """Queue, last command and command in flight of one registered device.

    Attributes:
        last: what the device got last, or starts from; repeated while nothing is queued.
        queue: what came from the control plane and was not taken yet, oldest first.
        in_flight: the command behind the last answer while nobody knows whether it arrived.
    """

    last: bytes
    queue: deque[bytes] = field(default_factory=deque)
    in_flight: bytes | None = None

    @property
    def undelivered(self) -> int:
        """Commands that are lost if the device does not return."""
        return len(self.queue) + (self.in_flight is not None)

    def enqueue(self, command: bytes, limit: int) -> int:
        """Queue a command. Returns how many of the oldest were superseded to keep `limit`."""
        self.queue.append(command)
        return self._shorten(limit)

    def next(self, *, is_push_only: bool) -> bytes | None:
        """What the next answer is made from, without taking it; None: an empty answer."""
        if self.queue:
            return self.queue[0]
        return None if is_push_only else self.last

    def take(self, answer: bytes) -> None:
        """An answer was made from `next`: what was queued is in flight now, and repeated."""
        self.in_flight = self.queue.popleft() if self.queue else None
        self.last = answer

    def frame_seen(self) -> None:
        """The device has sent another frame: what it was answered has arrived."""
        self.in_flight = None

    def returned(self, limit: int) -> int:
        """The device is back after our close: deliver again what may not have arrived.

        Returns how many were superseded to keep `limit`.
        """
        if self.in_flight is not None:
            self.queue.appendleft(self.in_flight)
            self.in_flight = None
        return self._shorten(limit)

    def _shorten(self, limit: int) -> int:
        superseded = max(0, len(self.queue) - limit)
        for _ in range(superseded):
            self.queue.popleft()
        return superseded


def judge_command(
    module: CommandChecks | None, device_type: int, command: bytes, *, is_registered: bool
) -> CommandResponseType:
    """The verdict on a command, in the order of fleet-protocol 3.4.

    `module` is None when this handler does not serve it. An empty command is OK and has no
    effect. A module that fails has not approved.

    Raises:
        ModuleError: MODULE_HUNG only.
    """
    if module is None or not _is_supported(module, device_type):
        return CommandResponseType.DEVICE_NOT_SUPPORTED
    if not is_registered:
        return CommandResponseType.DEVICE_NOT_CONNECTED
    if command and not _is_valid(module, command, device_type):
        return CommandResponseType.INVALID_COMMAND
    return CommandResponseType.OK


def _is_supported(module: CommandChecks, device_type: int) -> bool:
    try:
        return module.is_device_type_supported(device_type)
    except ModuleError as error:
        return _not_approved(error)


def _is_valid(module: CommandChecks, command: bytes, device_type: int) -> bool:
    try:
        return module.command_data_valid(command, device_type)
    except ModuleError as error:
        return _not_approved(error)


def _not_approved(error: ModuleError) -> bool:
    if error.reason is Reason.MODULE_HUNG:
        raise error
    return False
