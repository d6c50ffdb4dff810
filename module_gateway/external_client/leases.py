"""The handlers of one endpoint: leases, snapshots, deliveries and receipts (contract R8, R17).

Pure. A lease may be asked for again at any time: the handler then delivers everything that is not
acknowledged once more, and the backlog knows what it has already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from module_gateway.external_client.delivery_stream import DeliveryStream
from module_gateway.external_client.effects import Count, Superseded, Tell
from module_gateway.external_client.entries import (
    Acknowledgement,
    Entry,
    Lane,
    Receipt,
    longest,
)
from module_gateway.external_client.known_devices import KnownDevices
from module_gateway.external_client.rules import Verdict
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import PARTITIONS, Device, Identity

RETRY_S: Final = 1.0
"""A lease that is not granted is asked for again; the bus may have lost either message."""

START_S: Final = 5.0
"""So long after its first request a client has just started: time for every handler to answer."""


FROM_HANDLER: Final = frozenset(
    {
        "lease_granted",
        "lease_ended",
        "snapshot",
        "delivery",
        "command_verdict",
        "deliveries_voided",
    }
)
"""Bodies of what a handler says to an endpoint; all of them name it and the epoch."""

_IN_LEASE: Final = frozenset({"snapshot", "delivery"})
_LANES: Final = tuple(Lane)
_ALL_PARTITIONS: Final = 2**PARTITIONS - 1


@dataclass(frozen=True, slots=True)
class Registered:
    """A handler's complete list of registered devices with their merged status of now.

    `behind`: those of whom older statuses are still to come.
    """

    peer: int
    devices: tuple[tuple[Device, bytes], ...]
    answers: int
    behind: frozenset[Identity] = frozenset()


@dataclass(frozen=True, slots=True)
class Granted:
    """A handler delivers from now on, entries of this store."""

    peer: int
    store_id: int = 0


@dataclass(frozen=True, slots=True)
class Voided:
    """An operator has purged entries that this handler may have delivered."""

    peer: int


LeaseEvent = Entry | Registered | Granted | Voided | Verdict | Count | Tell | Superseded
"""What a message of a handler means; an Entry was delivered."""


def _streams() -> dict[Lane, DeliveryStream]:
    return {lane: DeliveryStream() for lane in Lane}


@dataclass(eq=False, slots=True)
class _Handler:
    served: Mapping[int, int]
    retry_at: float = 0.0
    lease: int = 0
    is_granted: bool = False
    was_granted: bool = False
    store_id: int = 0
    streams: dict[Lane, DeliveryStream] = field(default_factory=_streams)
    parts: list[tuple[Device, bytes]] = field(default_factory=list)
    behind: set[Identity] = field(default_factory=set)


class Leases:
    """Who delivers to this endpoint, in which lease, and how far.

    The later start wins an endpoint (R17). The wall clock, from which epochs come, may have gone
    back since an earlier start: a client that is refused when it has just started therefore rises
    above the epochs that the handlers tell it, once. Any other refusal says that a later client
    is there.
    """

    def __init__(self, endpoint: int, epoch: int, modules: Iterable[int]) -> None:
        """`epoch` grows from client to client of this endpoint, as far as clocks are right."""
        self._endpoint, self._epoch = endpoint, epoch
        self._modules = frozenset(modules)
        self._handlers: dict[int, _Handler] = {}
        self._known = KnownDevices()
        self._held: set[int] = set()
        self._last_lease = 0
        self._last_request = 0
        self._started_at: float | None = None
        self._rises_at: float | None = None
        self._rises_to = 0

    # Peers

    def handler_up(self, peer: int, presence: bus_pb2.Presence, now: float) -> list[Tell]:
        """A handler was heard for the first time, or what it serves has changed."""
        served = {each.module: each.partitions for each in presence.served}
        known = self._handlers.get(peer)
        if not self._modules & served.keys():
            if known is not None:
                del self._handlers[peer]
            return []
        if known is not None:
            known.served = served
            return []
        handler = self._handlers[peer] = _Handler(served)
        return [self._lease(peer, handler, now)]

    def handler_lost(self, peer: int) -> bool:
        """A handler is gone; whether it was one of ours."""
        return self._handlers.pop(peer, None) is not None

    def link_up(self, now: float) -> list[Tell]:
        """The bus is back: what was under way is lost, so every lease starts again."""
        return [self._lease(peer, handler, now) for peer, handler in self._handlers.items()]

    def resync(self, now: float) -> list[Tell]:
        """Ask for everything that is not acknowledged again."""
        return self.link_up(now)

    def owner(self, identity: Identity) -> int | None:
        """The handler that owns the device; of two the newer life."""
        for peer in reversed(self._handlers):
            partitions = self._handlers[peer].served.get(identity.module, 0)
            if partitions == _ALL_PARTITIONS or partitions & 1 << identity.partition:
                return peer
        return None

    @property
    def granted(self) -> list[int]:
        """Handlers that deliver now."""
        return [peer for peer, handler in self._handlers.items() if handler.is_granted]

    @property
    def peers(self) -> list[int]:
        """Handlers of this endpoint, granted or asked."""
        return list(self._handlers)

    # Time

    def next_retry(self) -> float | None:
        """When an unanswered Lease is repeated, or a refused one is asked for above its epoch."""
        waiting = [each.retry_at for each in self._handlers.values() if not each.is_granted]
        if self._is_rising and self._rises_at is not None:
            waiting.append(self._rises_at)
        return min(waiting, default=None)

    def tick(self, now: float) -> list[Tell]:
        """Repeat what was not answered."""
        if self._is_rising and self._rises_at is not None and self._rises_at <= now:
            self._epoch = self._rises_to
            return self.resync(now)
        return [
            self._lease(peer, handler, now)
            for peer, handler in self._handlers.items()
            if not handler.is_granted and handler.retry_at <= now
        ]

    # Out

    def request_snapshots(self) -> tuple[int, list[Tell]]:
        """Ask every handler who is registered now; the request's number and what to send."""
        self._last_request += 1
        tells = [self.request_snapshot(peer, self._last_request) for peer in self.granted]
        return self._last_request, tells

    def request_snapshot(self, peer: int, number: int) -> Tell:
        """Ask one handler within an earlier request."""
        message = bus_pb2.Message()
        request = message.snapshot_request
        request.endpoint, request.epoch, request.request = self._endpoint, self._epoch, number
        return Tell(peer, message)

    def tell_phase(
        self, session: int, *, is_exposed: bool, splits_live: bool = False
    ) -> list[Tell]:
        """Whether what was delivered may reach the control plane from now on.

        `splits_live`: live entries of modules with replay may overtake older ones (R18).
        """
        message = bus_pb2.Message()
        phase = message.session_phase
        phase.endpoint, phase.epoch, phase.session = self._endpoint, self._epoch, session
        phase.phase = bus_pb2.SessionPhase.EXPOSED if is_exposed else bus_pb2.SessionPhase.OFFLINE
        phase.splits_live = splits_live
        return [Tell(peer, message) for peer in self.granted]

    def acknowledge(self, acknowledged: Iterable[Acknowledgement]) -> list[Tell]:
        """Tell each handler which of its entries are acknowledged upstream, in one message.

        One that gets lost is said again when the entry is delivered again. Entries of another
        store than the owner's say nothing of its own: they are not told (R4).
        """
        messages: dict[int, bus_pb2.Message] = {}
        for identity, position, first_sequence in longest(acknowledged):
            peer = self.owner(identity)
            if peer is None or self._handlers[peer].store_id != position.store_id:
                continue
            message = messages.get(peer)
            if message is None:
                message = messages[peer] = bus_pb2.Message()
                message.outbox_ack.endpoint = self._endpoint
                message.outbox_ack.epoch = self._epoch
            stretch = message.outbox_ack.acknowledged.add()
            stretch.sequence, stretch.first_sequence = position.sequence, first_sequence
            identity.write_to(stretch.device)
        return [Tell(peer, message) for peer, message in messages.items()]

    def forward(self, session: int, counter: int, device: Device, command: bytes) -> list[Tell]:
        """A command for a device; nothing while nobody owns it."""
        peer = self.owner(device.identity)
        if peer is None:
            return []
        message = bus_pb2.Message()
        forward = message.command_forward
        forward.endpoint, forward.epoch = self._endpoint, self._epoch
        forward.session, forward.counter, forward.command = session, counter, command
        device.write_to(forward.device)
        return [Tell(peer, message)]

    def settle(self, acknowledged: list[Acknowledgement], released: list[Receipt]) -> list[Tell]:
        """Tell the handlers what is acknowledged and what has left this process; empty both."""
        tells = [*self.acknowledge(acknowledged), *self.release(released)]
        acknowledged.clear()
        released.clear()
        return tells

    def release(self, receipts: Sequence[Receipt]) -> list[Tell]:
        """These deliveries have left the process; tells each handler the contiguous fronts."""
        if not receipts:
            return []
        for receipt in receipts:
            handler = self._handlers.get(receipt.peer)
            if handler is None or handler.lease != receipt.lease or not handler.is_granted:
                continue
            handler.streams[receipt.lane].release(receipt.delivery)
        tells: list[Tell] = []
        for peer, handler in self._handlers.items():
            for lane, stream in handler.streams.items():
                if handler.is_granted and stream.released > stream.told:
                    stream.told = stream.released
                    tells.append(Tell(peer, self._receipt(lane, stream.released)))
        return tells

    def _receipt(self, lane: Lane, delivery: int) -> bus_pb2.Message:
        message = bus_pb2.Message()
        receipt = message.delivery_receipt
        receipt.endpoint, receipt.epoch = self._endpoint, self._epoch
        receipt.lane, receipt.delivery = lane.value, delivery  # type: ignore[assignment]
        return message

    # In

    def receive(  # noqa: PLR0911  # a table, one row per return
        self, peer: int, message: bus_pb2.Message, now: float
    ) -> list[LeaseEvent]:
        """What a handler said; of another endpoint, an older life or no lease it is nothing."""
        kind = message.WhichOneof("body")
        if kind == "lease_ended":
            return self._ended(peer, message.lease_ended, now)
        handler = self._handlers.get(peer)
        if handler is None or kind not in FROM_HANDLER:
            return [Count(Reason.STALE_LEASE)]
        body = getattr(message, kind)
        is_ours = body.endpoint == self._endpoint and body.epoch == self._epoch
        if not is_ours or (kind in _IN_LEASE and not handler.is_granted):
            return [Count(Reason.STALE_LEASE)]
        match kind:
            case "delivery":
                return self._delivery(peer, handler, body, now)
            case "lease_granted":
                return self._granted(peer, handler, body)
            case "deliveries_voided":
                return [Voided(peer)]
            case "command_verdict":
                return [Verdict(body.session, body.counter, body.response)]
            case _:
                return self._snapshot(peer, handler, body)

    def _ended(self, peer: int, ended: bus_pb2.LeaseEnded, now: float) -> list[LeaseEvent]:
        if ended.endpoint != self._endpoint or ended.epoch < self._epoch:
            return [Count(Reason.STALE_LEASE)]
        if ended.current_epoch <= self._epoch or not self._has_just_started(peer, now):
            return [Superseded(ended.reason)]
        if self._rises_at is None:
            self._rises_at = now + RETRY_S  # the other handlers may know even later epochs
        self._rises_to = max(self._rises_to, ended.current_epoch + 1)
        return [Count(Reason.STALE_LEASE)]

    @property
    def _is_rising(self) -> bool:
        return self._rises_to > self._epoch

    def _has_just_started(self, peer: int, now: float) -> bool:
        """Whether this peer's refusal can be that of an earlier client, and is the first answer."""
        handler = self._handlers.get(peer)
        if handler is None or handler.was_granted or self._started_at is None:
            return False
        has_risen = self._rises_at is not None and not self._is_rising
        return not has_risen and now - self._started_at < START_S

    def _granted(
        self, peer: int, handler: _Handler, granted: bus_pb2.LeaseGranted
    ) -> list[LeaseEvent]:
        self._last_lease += 1
        handler.lease = self._last_lease
        handler.is_granted = handler.was_granted = True
        handler.store_id = granted.store_id
        handler.streams = _streams()
        handler.parts.clear()
        return [Granted(peer, granted.store_id)]

    def _snapshot(
        self, peer: int, handler: _Handler, snapshot: bus_pb2.Snapshot
    ) -> list[LeaseEvent]:
        if snapshot.is_first:
            handler.parts.clear()
            handler.behind.clear()
        for each in snapshot.registered:
            device = Device.from_message(each.device)
            handler.parts.append((device, each.status))
            if each.is_behind:
                handler.behind.add(device.identity)
        if not snapshot.is_last:
            return []
        behind = frozenset(handler.behind)
        complete = Registered(peer, tuple(handler.parts), snapshot.request, behind)
        handler.parts.clear()
        return [complete]

    def _delivery(
        self, peer: int, handler: _Handler, delivery: bus_pb2.Delivery, now: float
    ) -> list[LeaseEvent]:
        lane = _LANES[delivery.lane]
        stream = handler.streams[lane]
        if delivery.delivery != stream.received + 1:
            # The bus lost one: whatever it was, a new lease brings it again.
            return [Count(Reason.SEQUENCE_GAP), self._lease(peer, handler, now)]
        stream.received = delivery.delivery
        self._held.add(handler.store_id)
        entry = Entry(
            self._known.read(delivery.device),
            delivery.status,
            delivery.sequence,
            handler.store_id,
            delivery.ends_registration,
            delivery.is_repeat,
            delivery.error if delivery.HasField("error") else None,
            delivery.first_sequence,
            delivery.time_unix_ms,
            Receipt(peer, handler.lease, delivery.delivery, lane),
            lane,
            delivery.indivisible if delivery.HasField("indivisible") else None,
        )
        return [entry]

    def _lease(self, peer: int, handler: _Handler, now: float) -> Tell:
        if self._started_at is None:
            self._started_at = now
        handler.is_granted = False
        handler.retry_at = now + RETRY_S
        message = bus_pb2.Message()
        lease = message.lease
        lease.endpoint, lease.epoch = self._endpoint, self._epoch
        lease.modules.extend(sorted(self._modules))
        lease.held_stores.extend(sorted(self._held))
        return Tell(peer, message)
