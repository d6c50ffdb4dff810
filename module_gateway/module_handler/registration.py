"""One registered device, and what a status makes of it (fleet-protocol 3.5, ours).

Pure. Every question to the module comes before the first change, so a status is applied if and
only if it is answered.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from module_gateway.module_handler.aggregator import (
    Aggregate,
    Merge,
    Merging,
    Publication,
    merge_status,
    register,
)
from module_gateway.module_handler.commands import CommandChecks, Commands
from module_gateway.module_handler.compaction import ErrorAggregation
from module_gateway.module_handler.store import CommandsStored, RegistrationStored
from module_gateway.protocol.errors import ModuleError
from module_gateway.protocol.identity import Device


class DeviceModule(Merging, CommandChecks, ErrorAggregation, Protocol):
    """What a handler asks of a module; `modules.containment.ContainedModule` has it all.

    Every method raises ModuleError and nothing else.
    """

    def status_data_valid(self, status: bytes, device_type: int) -> bool: ...

    def generate_first_command(self, device_type: int) -> bytes: ...

    def forward_command_on_receive(self, device_type: int) -> bool: ...

    def generate_command(
        self, new: bytes, previous: bytes, command: bytes, device_type: int
    ) -> bytes: ...


@dataclass(slots=True, eq=False)
class Registration:
    """One registered device. Nothing in it is shared with another one."""

    device: Device
    aggregate: Aggregate
    commands: Commands
    is_push_only: bool


@dataclass(frozen=True, slots=True)
class Work:
    """What the module answered about one status; nothing has changed until `apply`.

    Attributes:
        registration: of the device; a new one if this status registers it.
        first: the publication of a first status, None for any other.
        merge: what a later status makes of the aggregate, None for a first one.
        answer: for the device.
        is_taken: the answer was made from a command, which is thereby delivered.
    """

    registration: Registration
    first: Publication | None
    merge: Merge | None
    answer: bytes
    is_taken: bool

    @property
    def failure(self) -> ModuleError | None:
        """A refusal of the module that did not cost the device its answer."""
        return None if self.merge is None else self.merge.failure

    def apply(self, now: float) -> Publication | None:
        """Change the registration accordingly; returns what is to be published."""
        registration = self.registration
        if self.is_taken:
            registration.commands.take(self.answer)
        else:
            registration.commands.frame_seen()
        if self.merge is None:
            return self.first
        return registration.aggregate.apply(self.merge, now)


def work_out(registration: Registration, module: DeviceModule, status: bytes, now: float) -> Work:
    """Ask the module about a valid status of a registered device.

    Raises:
        ModuleError: a question without which there is no answer failed.
    """
    aggregate, device_type = registration.aggregate, registration.device.identity.device_type
    merge = merge_status(aggregate, module, status, device_type, now)
    picked = registration.commands.next(is_push_only=registration.is_push_only)
    previous = aggregate.status
    answer = _answer(module, status, previous, picked, device_type)
    return Work(registration, None, merge, answer, picked is not None)


def work_out_first(
    device: Device, module: DeviceModule, status: bytes, parked: Commands | None, now: float
) -> Work:
    """Ask the module about the valid status that registers a device.

    There is no previous status and no condition is asked. `parked` are the commands of a device
    that is back after our close, otherwise it starts from the first command.

    Raises:
        ModuleError: a question without which there is no answer failed.
    """
    device_type = device.identity.device_type
    is_push_only = module.forward_command_on_receive(device_type)
    commands = parked
    if commands is None:
        commands = Commands(module.generate_first_command(device_type))
    picked = commands.next(is_push_only=is_push_only)
    answer = _answer(module, status, b"", picked, device_type)
    aggregate, publication = register(status, now)
    registration = Registration(device, aggregate, commands, is_push_only)
    return Work(registration, publication, None, answer, picked is not None)


def _answer(
    module: DeviceModule, status: bytes, previous: bytes, picked: bytes | None, device_type: int
) -> bytes:
    """The module's command; empty, without asking, for a push-only device with nothing queued."""
    if picked is None:
        return b""
    return module.generate_command(status, previous, picked, device_type)


def to_stored(registration: Registration) -> RegistrationStored:
    """For the store."""
    aggregate = registration.aggregate
    return RegistrationStored(
        registration.device,
        aggregate.status,
        aggregate.has_unpublished,
        commands_to_stored(registration.commands),
    )


def from_stored(stored: RegistrationStored, now: float, *, is_push_only: bool) -> Registration:
    """Out of the store. Monotonic time does not survive: it counts as published now."""
    return Registration(
        stored.device,
        Aggregate(stored.status, now, stored.has_unpublished),
        commands_from_stored(stored.commands),
        is_push_only,
    )


def commands_to_stored(commands: Commands) -> CommandsStored:
    """For the store."""
    return CommandsStored(commands.last, tuple(commands.queue), commands.in_flight)


def commands_from_stored(stored: CommandsStored) -> Commands:
    """Out of the store."""
    return Commands(stored.last, deque(stored.queue), stored.in_flight)
