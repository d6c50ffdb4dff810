"""Registered devices: what a status does, what a command does, what a departure does.

Pure (fleet-protocol 3.4-3.7). A device is registered by its first valid status and forgotten, in
one step, when its connection ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from module_gateway.module_handler import wire
from module_gateway.module_handler.commands import OUR_CLOSES, Commands, judge_command
from module_gateway.module_handler.deadlines import Deadlines
from module_gateway.module_handler.registration import (
    DeviceModule,
    Registration,
    Work,
    commands_from_stored,
    commands_to_stored,
    from_stored,
    to_stored,
    work_out,
    work_out_first,
)
from module_gateway.module_handler.roster import Seat
from module_gateway.module_handler.store import CommandsStored, RegistrationStored
from module_gateway.module_handler.suspension import Suspensions
from module_gateway.module_handler.turn import Turn
from module_gateway.module_handler.upstream import Upstream
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import ModuleError, Reason
from module_gateway.protocol.external import CommandResponseType
from module_gateway.protocol.identity import PARTITIONS, Device, Identity

SHOWN_BYTES: Final = 80
"""Of an invalid status, in the log line about it."""


@dataclass(frozen=True, slots=True)
class DeviceLimits:
    """Constants of the settings that concern devices.

    Attributes:
        heartbeat_s: a merged status is repeated after so long without a publication.
        commands: depth of a device's queue.
        grace_s: a device that we closed keeps its commands for so long (R21).
        heartbeat_jitter_s: after a restart all heartbeats leave within this time (R22).
    """

    heartbeat_s: float = 15.0
    commands: int = 3
    grace_s: float = 2.0
    heartbeat_jitter_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A status was applied; this command answers it."""

    command: bytes


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """A status was not applied: its connection ends with this EndCause number."""

    cause: int
    reason: Reason


Outcome: TypeAlias = Answer | NoAnswer


class Devices:
    """All registered devices of a handler."""

    def __init__(
        self, modules: Mapping[int, DeviceModule], limits: DeviceLimits, upstream: Upstream
    ) -> None:
        self._modules = modules
        self._limits = limits
        self._upstream = upstream
        self._registrations: dict[Identity, Registration] = {}
        self._parked: dict[Identity, Commands] = {}
        self._heartbeats: Deadlines[Identity] = Deadlines()
        self._graces: Deadlines[Identity] = Deadlines()
        self._suspensions = Suspensions()
        self._push_only_types: dict[tuple[int, int], bool] = {}
        self._unfoldable: set[Identity] = set()

    # Questions

    def __len__(self) -> int:
        return len(self._registrations)

    def registered(self, modules: frozenset[int]) -> Iterator[tuple[Device, bytes]]:
        """The registered devices of these modules with their merged statuses."""
        for identity, registration in self._registrations.items():
            if identity.module in modules:
                yield registration.device, registration.aggregate.status

    def is_registered(self, identity: Identity) -> bool:
        """Whether a valid status of it was applied since it connected."""
        return identity in self._registrations

    def is_suspended(self, identity: Identity, now: float) -> bool:
        """Whether its module hung so often that it is left alone for a while."""
        return self._suspensions.is_suspended(identity, now)

    def note_failure(self, identity: Identity, error: ModuleError, now: float) -> None:
        """A module call for a device, connected or not, failed: hangs are remembered."""
        if error.reason is Reason.MODULE_HUNG:
            self._suspensions.hung(identity, now)

    def note_fold(self, identity: Identity, failure: ModuleError | None, now: float) -> None:
        """Entries of a device were folded. Statuses that work do not excuse a fold that hangs."""
        if failure is not None and failure.reason is Reason.MODULE_HUNG:
            self._unfoldable.add(identity)
            self._suspensions.hung(identity, now)
        else:
            self._unfoldable.discard(identity)

    def next_due(self) -> float | None:
        """When `expire` has something to do at the earliest."""
        dues = (self._heartbeats.next_due(), self._graces.next_due())
        return min((due for due in dues if due is not None), default=None)

    def stored_registration(self, identity: Identity) -> RegistrationStored | None:
        """Its state for the store."""
        registration = self._registrations.get(identity)
        return None if registration is None else to_stored(registration)

    def stored_parked(self, identity: Identity) -> CommandsStored | None:
        """Its commands for the store, if it may be back any moment."""
        commands = self._parked.get(identity)
        return None if commands is None else commands_to_stored(commands)

    # Statuses

    def take_status(self, seat: Seat, status: bytes, turn: Turn) -> Outcome:
        """Apply one status of a holder and answer it, or do neither."""
        identity = seat.device.identity
        if self._suspensions.is_suspended(identity, turn.now):
            return NoAnswer(bus_pb2.REPLY_TIMEOUT, Reason.MODULE_HUNG)
        try:
            work = self._work_out(seat.device, status, turn.now)
        except ModuleError as error:
            self.note_failure(identity, error, turn.now)
            turn.note("module_failed", device=str(seat.device), detail=error.detail)
            return NoAnswer(bus_pb2.REPLY_TIMEOUT, error.reason)
        if work is None:
            turn.note("status_invalid", device=str(seat.device), status=status[:SHOWN_BYTES])
            return NoAnswer(bus_pb2.STATUS_INVALID, Reason.STATUS_INVALID)
        self._apply(identity, work, turn)
        if identity not in self._unfoldable:
            self._suspensions.worked(identity)
        return Answer(work.answer)

    def _work_out(self, device: Device, status: bytes, now: float) -> Work | None:
        """Ask the module everything about a status; None if it is invalid.

        Raises:
            ModuleError: a question without which there is no answer failed.
        """
        identity = device.identity
        module = self._modules[identity.module]
        if not module.status_data_valid(status, identity.device_type):
            return None
        registration = self._registrations.get(identity)
        if registration is None:
            return work_out_first(device, module, status, self._parked.get(identity), now)
        return work_out(registration, module, status, now)

    def _apply(self, identity: Identity, work: Work, turn: Turn) -> None:
        """Change what the status changes."""
        registration = work.registration
        if identity not in self._registrations:
            self._registrations[identity] = registration
            self._parked.pop(identity, None)
            self._graces.disarm(identity)
            turn.note("device_registered", device=str(registration.device))
        publication = work.apply(turn.now)
        if work.failure is not None:
            turn.count(work.failure.reason)
        turn.applied += 1
        if publication is None:
            return
        self._heartbeats.arm(identity, turn.now + self._limits.heartbeat_s)
        self._upstream.publish(registration.device, publication, turn)

    # Commands

    def take_command(
        self, identity: Identity, command: bytes, holder: Seat | None, turn: Turn
    ) -> CommandResponseType:
        """Judge a command from upstream; if it is OK and not empty, queue it or push it."""
        registration = self._registrations.get(identity)
        response = self._judge(identity, command, turn)
        if response is not CommandResponseType.OK or registration is None or not command:
            turn.count(_COMMAND_REASONS[response])
            return response
        superseded = registration.commands.enqueue(command, self._limits.commands)
        turn.count(Reason.COMMAND_SUPERSEDED, superseded)
        turn.touched[identity] = None
        if registration.is_push_only and holder is not None and holder.is_confirmed:
            self._push(registration, holder, turn)
        return response

    def _judge(self, identity: Identity, command: bytes, turn: Turn) -> CommandResponseType:
        """The verdict. A module that hangs has not approved, a suspended one is not asked."""
        if self.is_suspended(identity, turn.now):
            turn.count(Reason.MODULE_HUNG)
            return CommandResponseType.INVALID_COMMAND
        try:
            return judge_command(
                self._modules.get(identity.module),
                identity.device_type,
                command,
                is_registered=identity in self._registrations,
            )
        except ModuleError as error:
            turn.count(error.reason)
            self.note_failure(identity, error, turn.now)
            return CommandResponseType.INVALID_COMMAND

    def _push(self, registration: Registration, holder: Seat, turn: Turn) -> None:
        """Send what is queued now, made from the status that is known."""
        identity, commands = registration.device.identity, registration.commands
        module, status = self._modules[identity.module], registration.aggregate.status
        while commands.queue and not self.is_suspended(identity, turn.now):
            picked = commands.queue[0]
            try:
                answer = module.generate_command(status, status, picked, identity.device_type)
            except ModuleError as error:
                self.note_failure(identity, error, turn.now)
                turn.count(error.reason)
                return  # it stays queued; the next status takes it
            commands.take(answer)
            server, instance = holder.connection
            turn.send_to_server(server, wire.push_command(instance, answer))

    # Departures and time

    def leave(self, seat: Seat, cause: int, turn: Turn) -> None:
        """The holder's connection ended: publish its last word, forget it."""
        identity = seat.identity
        registration = self._registrations.pop(identity, None)
        if registration is None:
            if cause not in OUR_CLOSES:
                self._drop_parked(identity, turn)
            return
        self._heartbeats.disarm(identity)
        self._upstream.publish(registration.device, registration.aggregate.final(), turn)
        commands = registration.commands
        if cause not in OUR_CLOSES:
            turn.count(Reason.COMMAND_DEVICE_LEFT, commands.undelivered)
            return
        turn.count(Reason.COMMAND_SUPERSEDED, commands.returned(self._limits.commands))
        self._parked[identity] = commands
        self._graces.arm(identity, turn.now + self._limits.grace_s)

    def expire(self, turn: Turn) -> None:
        """Heartbeats that are due, and devices that did not return in time."""
        for identity in self._graces.expired(turn.now):
            self._drop_parked(identity, turn)
        for identity in self._heartbeats.expired(turn.now):
            registration = self._registrations[identity]
            publication = registration.aggregate.heartbeat(turn.now)
            if publication.is_repeat:
                self._upstream.mark(registration.device, publication.status, turn)
            else:
                self._upstream.publish(registration.device, publication, turn)
                turn.touched[identity] = None
            self._heartbeats.arm(identity, turn.now + self._limits.heartbeat_s)

    def beat_soon(self, modules: frozenset[int], now: float) -> None:
        """Let the devices of these modules say a heartbeat within the jitter (R22).

        Not at once: what is delivered before it may have to be read first.
        """
        for identity in self._registrations:
            if identity.module in modules:
                due = self._heartbeats.due(identity)
                soon = now + self._jitter_s(identity)
                if due is None or not now < due < soon:
                    self._heartbeats.arm(identity, soon)

    def restore(
        self,
        identity: Identity,
        registration: RegistrationStored | None,
        parked: CommandsStored | None,
        now: float,
    ) -> None:
        """Take over what the store remembers of one identity. Only for a new object.

        Whoever was parked has had his grace: monotonic time does not survive a restart.
        """
        if registration is not None:
            is_push_only = self._is_push_only(identity)
            self._registrations[identity] = from_stored(
                registration, now, is_push_only=is_push_only
            )
            self._heartbeats.arm(identity, now + self._jitter_s(identity))
        if parked is not None:
            self._parked[identity] = commands_from_stored(parked)
            self._graces.arm(identity, now)

    def _is_push_only(self, identity: Identity) -> bool:
        """Asked once per device type while restoring: a module that hangs costs one time limit."""
        key = (identity.module, identity.device_type)
        if key not in self._push_only_types:
            module = self._modules[identity.module]
            try:
                is_push_only = module.forward_command_on_receive(identity.device_type)
            except ModuleError:
                is_push_only = False
            self._push_only_types[key] = is_push_only
        return self._push_only_types[key]

    def _drop_parked(self, identity: Identity, turn: Turn) -> None:
        commands = self._parked.pop(identity, None)
        self._graces.disarm(identity)
        if commands is not None:
            turn.count(Reason.COMMAND_DEVICE_LEFT, commands.undelivered)
            turn.touched[identity] = None

    def _jitter_s(self, identity: Identity) -> float:
        """Different for different partitions, the same in every run."""
        return self._limits.heartbeat_jitter_s * (identity.partition + 1) / PARTITIONS


_COMMAND_REASONS: Final = {
    CommandResponseType.OK: Reason.COMMAND_EMPTY,
    CommandResponseType.DEVICE_NOT_SUPPORTED: Reason.DEVICE_NOT_SUPPORTED,
    CommandResponseType.DEVICE_NOT_CONNECTED: Reason.DEVICE_NOT_CONNECTED,
    CommandResponseType.INVALID_COMMAND: Reason.COMMAND_INVALID,
}
"""Under which word a command without effect is counted."""
