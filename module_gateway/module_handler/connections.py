"""The conversation with the internal servers: connects, statuses, ends, probes and lists.

Pure. It asks the registry who holds what and carries out what the registry decides; what a status
does is the devices' business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, KeysView, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from module_gateway.bus.address import Address
from module_gateway.module_handler import wire
from module_gateway.module_handler.deadlines import Deadlines
from module_gateway.module_handler.devices import Answer, Devices
from module_gateway.module_handler.outcomes import (
    Accepted,
    Adopted,
    CloseWanted,
    HolderEnded,
    ListWanted,
    Outcome,
    ProbeWanted,
    Refused,
)
from module_gateway.module_handler.registration import DeviceModule
from module_gateway.module_handler.registry import Registry
from module_gateway.module_handler.roster import Connection, Seat, Standing
from module_gateway.module_handler.turn import Turn
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import ModuleError, Reason
from module_gateway.protocol.identity import Device, Identity
from module_gateway.protocol.internal import ConnectResponseType

ALL_PARTITIONS: Final = 2**64 - 1

Reader: TypeAlias = Callable[[Address, bus_pb2.Message, Turn], None]
"""Reads one message of a sender."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Constants of the settings that concern connections.

    Attributes:
        probe_window_s: R5.
        silence_s: T of R6.
        inactivity_s: a holder that was adopted must say something within it (R15).
        max_identities: held or with something in the outbox; more are refused (R8).
        partitions: bit p is set when the handler owns partition p of its modules.
    """

    probe_window_s: float = 0.15
    silence_s: float = 4.0
    inactivity_s: float = 30.0
    max_identities: int = 20_000
    partitions: int = ALL_PARTITIONS


class Connections:
    """All connections of all internal servers with this handler.

    Args:
        limits: see ConnectionLimits.
        modules: by number.
        devices: who applies statuses.
        owed: identities with something in the outbox.
    """

    def __init__(
        self,
        limits: ConnectionLimits,
        modules: Mapping[int, DeviceModule],
        devices: Devices,
        owed: Callable[[], KeysView[Identity]],
    ) -> None:
        self._limits = limits
        self._modules = modules
        self._devices = devices
        self._owed = owed
        self._registry = Registry(limits.probe_window_s, limits.silence_s)
        self._silences: Deadlines[Connection] = Deadlines()
        self.readers: Final[Mapping[str, Reader]] = {
            "status_request": self._status_request,
            "connect_request": self._connect_request,
            "connection_ended": self._connection_ended,
            "probe_answer": self._probe_answer,
            "live_digest": self._live_digest,
            "live_connections": self._live_connections,
        }

    def holder(self, identity: Identity) -> Seat | None:
        """Who holds an identity."""
        return self._registry.holder(identity)

    @property
    def seats(self) -> int:
        """Connections that no server has said to be closed."""
        return self._registry.seats

    def next_due(self) -> float | None:
        """When `expire` has something to do at the earliest."""
        dues = (self._registry.next_due(), self._silences.next_due())
        return min((due for due in dues if due is not None), default=None)

    def server_up(self, server: int, turn: Turn) -> None:
        """A server is heard (again)."""
        self._carry_out(self._registry.server_up(server), turn)

    def server_lost(self, server: int, turn: Turn) -> None:
        """A server was silent for T."""
        self._registry.server_lost(server, turn.now)

    def admit(self, turn: Turn) -> None:
        """Judge the newcomers, when all other input is applied (R3)."""
        self._carry_out(self._registry.admit(turn.now), turn)

    def expire(self, turn: Turn) -> None:
        """Let time pass."""
        self._carry_out(self._registry.expire(turn.now), turn)
        for connection in self._silences.expired(turn.now):
            close = wire.close_connection(connection.instance, bus_pb2.INACTIVE)
            turn.send_to_server(connection.server, close)
            self._silences.arm(connection, turn.now + self._limits.inactivity_s)

    def restore(self, seats: Iterable[Seat], now: float) -> None:
        """Take over the holders that the store remembers. Only for a new object.

        Who is missing after a restart gets one inactivity period (R15), and at least 2T (R6).
        """
        free_at = now + max(self._limits.inactivity_s, 2 * self._limits.silence_s)
        self._registry.restore(seats, free_at)

    # What internal servers say

    def _connect_request(self, sender: Address, message: bus_pb2.Message, turn: Turn) -> None:
        request = message.connect_request
        connection = Connection(sender.boot_id, request.instance)
        device = Device.from_message(request.device)
        if self._devices.is_suspended(device.identity, turn.now):
            # No verdict: a refusal makes some clients give up for good (fleet-protocol 2.5).
            turn.count(Reason.MODULE_HUNG)
            close = wire.close_connection(request.instance, bus_pb2.REPLY_TIMEOUT)
            turn.send(sender, close)
            return
        reason = self._unsupported(device.identity, turn.now)
        if reason is None and self._is_full_for(device.identity):
            reason = Reason.TOO_MANY_IDENTITIES
        if reason is None:
            self._carry_out(self._registry.connect(connection, device), turn)
        else:
            self._carry_out(self._registry.refuse(connection, device, reason), turn)

    def _status_request(self, sender: Address, message: bus_pb2.Message, turn: Turn) -> None:
        request = message.status_request
        instance, sequence = request.instance, request.sequence
        seat = self._registry.seat(sender.boot_id, instance)
        if seat is None or seat.standing is not Standing.HOLDER:
            cause = bus_pb2.LOST if seat is None else seat.over_cause
            self._refuse_status(sender, instance, sequence, cause, Reason.INSTANCE_ENDED, turn)
            return
        if sequence != seat.last_sequence + 1:
            self._out_of_step(sender, seat, sequence, turn)
            return
        outcome = self._devices.take_status(seat, request.status, turn)
        if not isinstance(outcome, Answer):
            self._refuse_status(sender, instance, sequence, outcome.cause, outcome.reason, turn)
            self._carry_out(self._registry.fence(seat, outcome.cause, turn.now), turn)
            return
        seat.last_sequence = sequence
        seat.reply = outcome.command
        seat.is_confirmed = True
        self._silences.disarm(seat.connection)
        turn.touched[seat.device.identity] = None
        turn.send(sender, wire.status_reply(instance, sequence, outcome.command))

    def _out_of_step(self, sender: Address, seat: Seat, sequence: int, turn: Turn) -> None:
        """A repeated request gets the stored reply (R20); a gap ends the instance (R2)."""
        instance = seat.connection.instance
        if sequence == seat.last_sequence and seat.reply is not None:
            turn.send(sender, wire.status_reply(instance, sequence, seat.reply))
            return
        if sequence <= seat.last_sequence:
            return  # an older repetition: its answer arrived, or a later one would be missing
        turn.count(Reason.SEQUENCE_GAP)
        turn.send(sender, wire.close_connection(instance, bus_pb2.SEQUENCE_GAP))
        self._carry_out(self._registry.fence(seat, bus_pb2.SEQUENCE_GAP, turn.now), turn)

    def _refuse_status(
        self,
        sender: Address,
        instance: int,
        sequence: int,
        cause: int,
        reason: Reason,
        turn: Turn,
    ) -> None:
        turn.count(reason)
        turn.send(sender, wire.status_refused(instance, sequence, cause, reason))

    def _connection_ended(self, sender: Address, message: bus_pb2.Message, turn: Turn) -> None:
        ended = message.connection_ended
        connection = Connection(sender.boot_id, ended.instance)
        cause = wire.read_cause(ended.cause)
        self._carry_out(self._registry.end(connection, cause, turn.now), turn)

    def _probe_answer(self, sender: Address, message: bus_pb2.Message, turn: Turn) -> None:
        answer = message.probe_answer
        outcomes = self._registry.answer_probe(
            Connection(sender.boot_id, answer.instance), is_alive=answer.is_alive, now=turn.now
        )
        self._carry_out(outcomes, turn)

    def _live_digest(self, sender: Address, message: bus_pb2.Message, turn: Turn) -> None:
        digest = message.live_digest
        self._carry_out(
            self._registry.compare_digest(sender.boot_id, digest.count, digest.digest), turn
        )

    def _live_connections(self, sender: Address, message: bus_pb2.Message, turn: Turn) -> None:
        part = message.live_connections
        listed = [
            line for line in wire.read_listed(part.connections) if self._owns(line.device.identity)
        ]
        outcomes = self._registry.reconcile(
            sender.boot_id, listed, is_first=part.is_first, is_last=part.is_last, now=turn.now
        )
        self._carry_out(outcomes, turn)

    def _owns(self, identity: Identity) -> bool:
        return identity.module in self._modules and bool(
            self._limits.partitions >> identity.partition & 1
        )

    def _unsupported(self, identity: Identity, now: float) -> Reason | None:
        """Why devices like this may not connect. Asked before anybody is disturbed (I8)."""
        if not self._owns(identity):
            return Reason.MODULE_NOT_SUPPORTED
        try:
            is_supported = self._modules[identity.module].is_device_type_supported(
                identity.device_type
            )
        except ModuleError as error:
            self._devices.note_failure(identity, error, now)
            is_supported = False
        return None if is_supported else Reason.DEVICE_NOT_SUPPORTED

    def _is_full_for(self, identity: Identity) -> bool:
        """Whether one more identity would be too many. Known ones are always welcome."""
        held, owed, most = self._registry.identities(), self._owed(), self._limits.max_identities
        if identity in held or identity in owed or len(held) + len(owed) < most:
            return False
        return len(held | owed) >= most

    # What follows

    def _carry_out(self, outcomes: Iterable[Outcome], turn: Turn) -> None:
        for outcome in outcomes:
            match outcome:
                case Accepted(seat):
                    turn.touched[seat.identity] = None
                    self._verdict(seat, ConnectResponseType.OK, turn)
                    turn.note("device_connected", device=str(seat.device))
                case Refused(seat, reason):
                    turn.count(reason)
                    self._verdict(seat, wire.RESPONSES[reason], turn)
                    turn.note("device_refused", device=str(seat.device), reason=reason)
                case HolderEnded(seat, cause):
                    self._holder_ended(seat, cause, turn)
                case Adopted(seat):
                    turn.touched[seat.identity] = None
                    self._silences.arm(seat.connection, turn.now + self._limits.inactivity_s)
                    turn.note("device_adopted", device=str(seat.device))
                case ProbeWanted(connection):
                    turn.send_to_server(connection.server, wire.probe(connection.instance))
                case CloseWanted(connection, cause, reason):
                    if reason is not None:
                        turn.count(reason)
                    message = wire.close_connection(connection.instance, cause)
                    turn.send_to_server(connection.server, message)
                case ListWanted(server):
                    turn.send_to_server(server, wire.live_connections_request())
                case _:
                    assert_never(outcome)

    def _verdict(self, seat: Seat, response: ConnectResponseType, turn: Turn) -> None:
        server, instance = seat.connection
        turn.send_to_server(server, wire.connect_verdict(instance, response))

    def _holder_ended(self, seat: Seat, cause: int, turn: Turn) -> None:
        turn.touched[seat.identity] = None
        self._silences.disarm(seat.connection)
        self._devices.leave(seat, cause, turn)
        turn.note("device_ended", device=str(seat.device), cause=wire.CAUSE_WORDS[cause])
