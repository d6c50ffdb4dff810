"""The conversation with the external clients: leases, receipts, acknowledgements, commands.

Pure. What does not come from the current epoch of an endpoint is ignored (contract R17), and a
command is judged once, in its own session (contract R19).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, assert_never

from module_gateway.bus.address import Address
from module_gateway.module_handler.command_log import (
    Dropped,
    Fresh,
    Overtaken,
    Repeated,
    Verdict,
)
from module_gateway.module_handler.connections import Reader
from module_gateway.module_handler.devices import Devices
from module_gateway.module_handler.roster import Seat
from module_gateway.module_handler.turn import Turn
from module_gateway.module_handler.upstream import Upstream
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.external import CommandResponseType
from module_gateway.protocol.identity import Device, Identity


class Clients:
    """All external clients that ask this handler for something.

    Args:
        upstream: what they are given.
        devices: who takes their commands.
        holder: who holds an identity now.
    """

    def __init__(
        self, upstream: Upstream, devices: Devices, holder: Callable[[Identity], Seat | None]
    ) -> None:
        self._upstream = upstream
        self._devices = devices
        self._holder = holder
        self._greeted: set[int] = set()
        self.readers: Final[Mapping[str, Reader]] = {
            "lease": self._lease,
            "delivery_receipt": self._delivery_receipt,
            "outbox_ack": self._outbox_ack,
            "command_forward": self._command_forward,
            "snapshot_request": self._snapshot_request,
            "session_phase": self._session_phase,
        }

    def send_snapshots(self, turn: Turn) -> None:
        """Answer who asked for a snapshot, behind the deliveries. Ends a turn."""
        for lease, request in self._upstream.take_snapshots_due():
            registered = self._devices.registered(lease.modules)
            self._upstream.send_snapshot(lease, request, registered, turn)

    def _lease(self, sender: Address, message: bus_pb2.Message, turn: Turn) -> None:
        lease = self._upstream.grant(sender, message.lease, turn)
        if lease is None:
            return
        registered = self._devices.registered(lease.modules)
        self._upstream.send_snapshot(lease, 0, registered, turn)
        if lease.endpoint not in self._greeted:
            self._greeted.add(lease.endpoint)
            self._devices.beat_soon(lease.modules, turn.now)

    def _delivery_receipt(self, sender: Address, message: bus_pb2.Message, turn: Turn) -> None:
        receipt = message.delivery_receipt
        lease = self._upstream.current(sender, receipt.endpoint, receipt.epoch, turn)
        if lease is not None:
            lease.taken(receipt.lane, receipt.delivery)

    def _outbox_ack(self, sender: Address, message: bus_pb2.Message, turn: Turn) -> None:
        ack = message.outbox_ack
        lease = self._upstream.current(sender, ack.endpoint, ack.epoch, turn)
        if lease is None:
            return
        for stretch in ack.acknowledged:
            identity = Device.from_message(stretch.device).identity
            if identity.module in lease.modules:
                self._upstream.acknowledge(identity, stretch.first_sequence, stretch.sequence, turn)

    def _snapshot_request(self, sender: Address, message: bus_pb2.Message, turn: Turn) -> None:
        request = message.snapshot_request
        lease = self._upstream.current(sender, request.endpoint, request.epoch, turn)
        if lease is not None:
            lease.asked_snapshot = request.request

    def _session_phase(self, sender: Address, message: bus_pb2.Message, turn: Turn) -> None:
        phase = message.session_phase
        lease = self._upstream.current(sender, phase.endpoint, phase.epoch, turn)
        if lease is not None:
            self._upstream.enter_phase(lease, phase, turn)

    def _command_forward(self, sender: Address, message: bus_pb2.Message, turn: Turn) -> None:
        """A command from a control plane: judged once, and only in its own session (R19)."""
        forward = message.command_forward
        lease = self._upstream.current(sender, forward.endpoint, forward.epoch, turn)
        if lease is None:
            return
        identity = Device.from_message(forward.device).identity
        position = (forward.epoch, forward.session, forward.counter)
        finding = self._upstream.command_log(lease.endpoint).look_up(*position, identity)
        match finding:
            case Dropped(reason):
                turn.count(reason)
            case Repeated(response):
                turn.count(Reason.COMMAND_REPEATED)
                self._upstream.answer(lease, Verdict(*position, identity, response), turn)
            case Overtaken():
                turn.count(Reason.COMMAND_OUT_OF_ORDER)
                response = CommandResponseType.INVALID_COMMAND
                self._upstream.record(lease, Verdict(*position, identity, response), turn)
            case Fresh():
                response = CommandResponseType.DEVICE_NOT_SUPPORTED
                if identity.module in lease.modules:
                    holder = self._holder(identity)
                    response = self._devices.take_command(identity, forward.command, holder, turn)
                self._upstream.record(lease, Verdict(*position, identity, response), turn)
            case _:
                assert_never(finding)
