"""The handler's decisions, all together: a batch of what was heard in, what to do out.

Pure. The shell gives it everything that has arrived, commits the changes of the returned `Turn`,
and only then sends its messages (contract R1). Order within a turn is contract R3: statuses,
ends and lists as they came, then the newcomers, then the timers, then the deliveries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias, assert_never

from module_gateway.bus.address import Address
from module_gateway.module_handler.buffer_desk import TOOL, BufferDesk
from module_gateway.module_handler.clients import Clients
from module_gateway.module_handler.connections import ConnectionLimits, Connections
from module_gateway.module_handler.devices import DeviceLimits, Devices
from module_gateway.module_handler.registration import DeviceModule
from module_gateway.module_handler.roster import Connection, Seat, Standing
from module_gateway.module_handler.store import (
    CommandsStored,
    DeviceForgotten,
    DeviceStored,
    HolderStored,
    Page,
    RegistrationStored,
    StoredState,
)
from module_gateway.module_handler.turn import SERVER, Turn
from module_gateway.module_handler.upstream import Upstream, UpstreamLimits
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Device, Identity

CLIENT: Final = int(bus_pb2.EXTERNAL_CLIENT)

_Lasting: TypeAlias = tuple[
    tuple[Device, Connection] | None, RegistrationStored | None, CommandsStored | None
]
"""What is stored of an identity, without what alone is not worth a write."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Messages of one process, in its order."""

    sender: Address
    messages: Sequence[bus_pb2.Message]


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A process is there (again)."""

    peer: Address


@dataclass(frozen=True, slots=True)
class PeerLost:
    """A process was silent for T."""

    peer: Address


@dataclass(frozen=True, slots=True)
class LinkBroken:
    """Our own link was down: what we sent may be lost. `peers` are those known from before."""

    peers: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class MessagesMissed:
    """Messages of others were refused, receipts of clients perhaps among them.

    A client that has returned everything says nothing more, so a window whose last receipt is
    lost would stay closed. Servers notice by themselves: by silence, gaps and digests.
    """


@dataclass(frozen=True, slots=True)
class PageRead:
    """The store has answered one of the reads of an earlier turn."""

    page: Page


Event: TypeAlias = Heard | PeerUp | PeerLost | LinkBroken | MessagesMissed | PageRead


@dataclass(frozen=True, slots=True)
class CoreLimits:
    """Every bound and period of the core."""

    upstream: UpstreamLimits
    devices: DeviceLimits = field(default_factory=DeviceLimits)
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)


class Core:
    """The truth about all devices of a handler."""

    def __init__(
        self,
        limits: CoreLimits,
        modules: Mapping[int, DeviceModule],
        store_id: int,
        state: StoredState,
        now: float,
    ) -> None:
        """Begin where the store left off.

        Args:
            limits: see CoreLimits.
            modules: by number.
            store_id: of the store that `state` comes from.
            state: everything that was committed.
            now: monotonic seconds.
        """
        self._modules = modules
        self._upstream = Upstream(limits.upstream, modules, store_id, now)
        self._devices = Devices(modules, limits.devices, self._upstream)
        owed = self._upstream.outbox.identities
        self._connections = Connections(limits.connections, modules, self._devices, owed)
        self._clients = Clients(self._upstream, self._devices, self._connections.holder)
        desk = BufferDesk(self._upstream, modules, self._devices.is_registered, store_id)
        self._readers: Final = {
            SERVER: self._connections.readers,
            CLIENT: self._clients.readers,
            TOOL: desk.readers,
        }
        self._stored: dict[Identity, _Lasting] = {}
        self._upstream.restore(state)
        self._restore(state, now)

    # Questions

    def next_due(self) -> float | None:
        """When `decide` has something to do without any event, at the earliest."""
        parts = (self._connections, self._devices, self._upstream)
        dues = (part.next_due() for part in parts)
        return min((due for due in dues if due is not None), default=None)

    def holder(self, identity: Identity) -> Seat | None:
        """Who holds an identity."""
        return self._connections.holder(identity)

    def sizes(self) -> dict[str, int]:
        """How much it holds of what is bounded, for gauges."""
        return {
            "registered": len(self._devices),
            "seats": self._connections.seats,
            "outbox_entries": len(self._upstream.outbox),
            "outbox_bytes": self._upstream.outbox.size_bytes,
            "deliveries_untaken": self._upstream.untaken,
        }

    # The one way in

    def decide(
        self, events: Iterable[Event], now: float, unix_ms: int, *, is_drained: bool = True
    ) -> Turn:
        """Apply what was heard, then admit newcomers and let time pass until `now`.

        The latter two wait while `is_drained` is False: more has arrived that is not among
        `events`, and a connection's end may be in it (R3).
        """
        turn = Turn(now, unix_ms)
        for event in events:
            match event:
                case Heard(sender, messages):
                    self._read(sender, messages, turn)
                case PeerUp(peer):
                    self._peer_up(peer, turn)
                case PeerLost(peer):
                    self._peer_lost(peer, turn)
                case LinkBroken(peers):
                    self._upstream.interrupt()
                    for peer in peers:
                        self._peer_up(peer, turn)
                case MessagesMissed():
                    self._upstream.interrupt()
                case PageRead(page):
                    self._page_read(page, turn)
                case _:
                    assert_never(event)
        if is_drained:
            self._connections.admit(turn)
            self._connections.expire(turn)
            self._devices.expire(turn)
            self._upstream.expire(turn)
        self._upstream.deliver(turn)
        self._clients.send_snapshots(turn)
        self._store_touched(turn)
        return turn

    def inherit(self, former: Core, failed: Turn) -> None:
        """Go on where a core ended whose last turn could not be committed.

        What that turn was to send is lost: to clients, whose streams show it, and to devices,
        whose servers close them for it. Of everybody else it is known how far he was answered.
        """
        self._upstream.inherit_clients(former._upstream)
        for identity in self._stored.keys() - failed.touched.keys():
            seat, known = self.holder(identity), former.holder(identity)
            if seat is not None and known is not None and seat.connection == known.connection:
                seat.last_sequence, seat.reply = known.last_sequence, known.reply

    def _read(self, sender: Address, messages: Sequence[bus_pb2.Message], turn: Turn) -> None:
        readers = self._readers.get(sender.kind, {})
        for message in messages:
            reader = readers.get(message.WhichOneof("body") or "")
            if reader is None:
                turn.count(Reason.UNEXPECTED_MESSAGE)
            else:
                reader(sender, message, turn)

    def _peer_up(self, peer: Address, turn: Turn) -> None:
        if peer.kind == SERVER:
            self._connections.server_up(peer.boot_id, turn)
        elif peer.kind == CLIENT:
            self._upstream.client_up(peer)

    def _peer_lost(self, peer: Address, turn: Turn) -> None:
        if peer.kind == SERVER:
            self._connections.server_lost(peer.boot_id, turn)
        elif peer.kind == CLIENT:
            self._upstream.client_lost(peer)

    def _page_read(self, page: Page, turn: Turn) -> None:
        for identity, failure in self._upstream.page_read(page, turn):
            self._devices.note_fold(identity, failure, turn.now)

    def _store_touched(self, turn: Turn) -> None:
        """What has changed. How far a connection is, is no change by itself: its server knows."""
        for identity in turn.touched:
            seat = self._connections.holder(identity)
            registration = self._devices.stored_registration(identity)
            parked = self._devices.stored_parked(identity)
            if seat is None and registration is None and parked is None:
                if self._stored.pop(identity, None) is not None:
                    turn.changes.append(DeviceForgotten(identity))
                continue
            connected = None if seat is None else (seat.device, seat.connection)
            lasting = (connected, registration, parked)
            if self._stored.get(identity) == lasting:
                continue
            self._stored[identity] = lasting
            holder = None
            if seat is not None:
                holder = HolderStored(seat.device, seat.connection, seat.last_sequence, seat.reply)
            turn.changes.append(DeviceStored(identity, holder, registration, parked))

    def _restore(self, state: StoredState, now: float) -> None:
        seats = []
        for stored in state.devices:
            if stored.identity.module not in self._modules:
                continue
            self._devices.restore(stored.identity, stored.registration, stored.parked, now)
            holder = stored.holder
            connected = None if holder is None else (holder.device, holder.connection)
            self._stored[stored.identity] = (connected, stored.registration, stored.parked)
            if holder is not None:
                seat = Seat(holder.connection, holder.device, Standing.HOLDER)
                seat.last_sequence, seat.reply = holder.last_sequence, holder.reply
                seats.append(seat)
        self._connections.restore(seats, now)
