"""What carries bytes between the parts, and what it does to them.

Every stream keeps its order; streams overtake each other. The local bus loses and repeats
batches, the way upstream repeats messages (QoS 1) and breaks, taking with it what is under way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from module_gateway.bus import batch
from module_gateway.bus.address import Address
from module_gateway.bus.link import LinkListener
from module_gateway.bus.presence import (
    AnswerPresence,
    PeerLost,
    PeerUp,
    PresenceEvent,
    PresenceTable,
)
from module_gateway.bus.unsent import Unsent
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.external import (
    ClientMessage,
    ServerMessage,
    decode_client_message,
    decode_server_message,
    encode,
)
from tests.simulation.schedule import Alarm, Life, Schedule

HEARTBEAT_S = 1.8
SILENCE_S = 4.0


@dataclass
class Chances:
    """How bad it is at the moment."""

    bus_delay_s: float = 0.01
    bus_loss: float = 0.0
    bus_repeat: float = 0.0
    upstream_delay_s: float = 0.05
    upstream_repeat: float = 0.0
    commit_failure: float = 0.0
    plane_failure: float = 0.0

    def calm(self) -> None:
        self.bus_loss = self.bus_repeat = self.upstream_repeat = 0.0
        self.commit_failure = self.plane_failure = 0.0


class LocalBus:
    """The broker of the gateway's own processes."""

    def __init__(self, schedule: Schedule, chances: Chances) -> None:
        self.is_up = True
        self._schedule, self._chances = schedule, chances
        self._links: dict[Address, SimLink] = {}
        self._streams: dict[tuple[Address, Address], float] = {}
        self._life = Life()

    def attach(self, link: SimLink) -> bool:
        if self.is_up:
            self._links[link.address] = link
        return self.is_up

    def detach(self, link: SimLink) -> None:
        self._links.pop(link.address, None)

    def publish(self, sender: Address, receiver: Address | None, payload: bytes) -> None:
        """To one link, or to all of them (presence)."""
        receivers = list(self._links) if receiver is None else [receiver]
        for each in receivers:
            if each == sender or each not in self._links:
                continue
            is_lossy = receiver is not None and self._may_lose(sender, each)
            if is_lossy and self._schedule.chance(self._chances.bus_loss):
                self._schedule.say("bus lost", sender, "→", each)
                continue
            for _ in range(1 + self._schedule.chance(self._chances.bus_repeat)):
                self._carry(sender, each, payload, is_presence=receiver is None)

    @staticmethod
    def _may_lose(sender: Address, receiver: Address) -> bool:
        """Whom a lost message costs a device's answer, and nobody anything else (design 3.2).

        Between handler and external client only an outage loses messages, which both see: QoS 1,
        and what is unanswered is bounded far below the broker's own limits.
        """
        kinds = {sender.kind, receiver.kind}
        return kinds == {bus_pb2.INTERNAL_SERVER, bus_pb2.MODULE_HANDLER}

    def _carry(
        self, sender: Address, receiver: Address, payload: bytes, *, is_presence: bool
    ) -> None:
        delay_s = self._schedule.rng.expovariate(1.0 / self._chances.bus_delay_s)
        arrival = max(self._schedule.now + delay_s, self._streams.get((sender, receiver), 0.0))
        self._streams[sender, receiver] = arrival
        self._schedule.at(arrival, self._arrive, receiver, payload, is_presence, life=self._life)

    def _arrive(self, receiver: Address, payload: bytes, is_presence: bool) -> None:
        link = self._links.get(receiver)
        if link is not None:
            link.arrived(payload, is_presence=is_presence)

    def stop(self) -> None:
        """An outage: every connection breaks, what is under way is lost."""
        self._schedule.say("bus down")
        self.is_up = False
        self._life.end()
        links, self._links = self._links, {}
        self._streams.clear()
        for link in links.values():
            link.bus_down()

    def start(self) -> None:
        self._schedule.say("bus up")
        self.is_up = True
        self._life = Life()


class SimLink:
    """The shell of `bus.link.Link` without its tasks, round the same pure parts."""

    def __init__(
        self,
        bus: LocalBus,
        schedule: Schedule,
        life: Life,
        kind: int,
        listener: LinkListener,
        presence: Callable[[], bus_pb2.Presence] = bus_pb2.Presence,
    ) -> None:
        self.address = Address(kind, schedule.rng.getrandbits(63) + 1)
        self.is_up = False
        self._bus, self._schedule, self._life = bus, schedule, life
        self._listener, self._presence = listener, presence
        self._table = PresenceTable(self.address, SILENCE_S)
        self._unsent = Unsent(self.address, 64 * 1024, 20_000, 16 * 1024 * 1024)
        self._is_flushing = self._announces = False
        self._next_heartbeat = schedule.now
        self._alarm = Alarm(schedule, life, self._beat)

    def start(self) -> None:
        self._connect()

    def end(self) -> None:
        """The process is gone."""
        self._bus.detach(self)

    def peers(self) -> dict[Address, bus_pb2.Presence]:
        return self._table.peers()

    def send(self, receiver: Address, message: bus_pb2.Message) -> bool:
        if not self.is_up or not self._unsent.put(receiver, message):
            return False
        self._flush_soon()
        return True

    def announce(self) -> None:
        self._announces = True
        self._flush_soon()

    def _connect(self) -> None:
        if self.is_up:
            return
        if not self._bus.attach(self):
            self._schedule.after(0.1 + self._schedule.rng.random(), self._connect, life=self._life)
            return
        self.is_up = True
        self.announce()
        self._beat()
        self._listener.link_up()

    def bus_down(self) -> None:
        self.is_up = self._announces = False
        self._unsent.drop_all()
        self._listener.link_down("the simulated bus is down")
        self._schedule.after(0.1 + self._schedule.rng.random(), self._connect, life=self._life)

    def arrived(self, payload: bytes, *, is_presence: bool) -> None:
        sender, messages = batch.decode(payload)
        if not is_presence:
            self._table.spoke(self._schedule.now, sender)
            self._listener.received(sender, messages)
            return
        for message in messages:
            self._tell(self._table.heard(self._schedule.now, sender, message.presence))
        self._set_alarm()

    def _tell(self, events: tuple[PresenceEvent, ...]) -> None:
        for event in events:
            match event:
                case AnswerPresence():
                    self.announce()
                case PeerUp(peer, presence):
                    self._listener.peer_up(peer, presence)
                case PeerLost(peer):
                    self._unsent.drop(peer)
                    self._listener.peer_lost(peer)

    def _beat(self) -> None:
        now = self._schedule.now
        if now >= self._next_heartbeat:
            if self.is_up:
                self.announce()
            self._next_heartbeat = now + HEARTBEAT_S
        self._tell(self._table.expire(now))
        self._set_alarm()

    def _set_alarm(self) -> None:
        expiry = self._table.next_expiry()
        due = self._next_heartbeat if expiry is None else min(self._next_heartbeat, expiry)
        self._alarm.set(due)

    def _flush_soon(self) -> None:
        if not self._is_flushing:
            self._is_flushing = True
            self._schedule.after(0.0, self._flush, life=self._life)

    def _flush(self) -> None:
        self._is_flushing = False
        if not self.is_up:
            return
        if self._announces:
            self._announces = False
            message = bus_pb2.Message()
            message.presence.CopyFrom(self._presence())
            self._bus.publish(self.address, None, self._unsent.one(message))
        while self._unsent:
            parcel = self._unsent.take()
            self._bus.publish(self.address, parcel.receiver, parcel.payload)
            self._unsent.settle(parcel)


class Socket:
    """One direction of a device's connection: bytes in order, until somebody closes."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._last = 0.0

    def carry(self, call: Callable[..., None], *args: Any) -> None:
        arrival = max(self._schedule.now + self._schedule.rng.random() * 0.01, self._last)
        self._last = arrival
        self._schedule.at(arrival, call, *args)


class UpstreamSide:
    """One client of the upstream broker."""

    def __init__(self) -> None:
        self.is_up = False
        self.connection = 0
        self.heard: Callable[[bytes | None], None] = lambda payload: None
        self.came: Callable[[], None] = lambda: None
        self.went: Callable[[], None] = lambda: None
        self.sent_until: dict[int, float] = {}
        self._last = 0.0


class UpstreamBroker:
    """The broker between the gateway and its control plane; None as a payload is the notification.

    A connection that breaks takes with it what its side has not received yet; of what it had sent
    the beginning arrives, or all, or nothing.
    """

    def __init__(self, schedule: Schedule, chances: Chances) -> None:
        self._schedule, self._chances = schedule, chances
        self.gateway = UpstreamSide()
        self.plane = UpstreamSide()

    def from_gateway(self, message: ClientMessage) -> None:
        self._send(self.gateway, self.plane, encode(message))

    def from_plane(self, message: ServerMessage | None) -> None:
        self._send(self.plane, self.gateway, None if message is None else encode(message))

    def up(self, side: UpstreamSide) -> None:
        if not side.is_up:
            side.is_up = True
            side.connection += 1
            side.came()

    def down(self, side: UpstreamSide) -> None:
        """Cut; the side itself notices at once or a while later."""
        if side.is_up:
            rng = self._schedule.rng
            side.sent_until[side.connection] = self._schedule.now + rng.choice((0.0, 0.1, 1.0))
            side.is_up = False
            side.connection += 1
            side.went()

    def _send(self, sender: UpstreamSide, receiver: UpstreamSide, payload: bytes | None) -> None:
        if not sender.is_up:
            return
        rng = self._schedule.rng
        delay_s = rng.expovariate(1.0 / self._chances.upstream_delay_s)
        arrival = max(self._schedule.now + delay_s, sender._last)
        sender._last = arrival
        places = (sender.connection, receiver.connection)
        self._schedule.at(arrival, self._arrive, sender, receiver, payload, places)
        if self._schedule.chance(self._chances.upstream_repeat):
            later = arrival + rng.choice((0.0, 0.0, 0.2)) * rng.random()
            self._schedule.at(later, self._arrive, sender, receiver, payload, places)

    def _arrive(
        self,
        sender: UpstreamSide,
        receiver: UpstreamSide,
        payload: bytes | None,
        places: tuple[int, int],
    ) -> None:
        is_cut = self._schedule.now > sender.sent_until.get(places[0], self._schedule.now)
        if receiver.is_up and receiver.connection == places[1] and not is_cut:
            receiver.heard(payload)


def read_client_message(payload: bytes | None) -> ClientMessage:
    assert payload is not None
    return decode_client_message(payload)


def read_server_message(payload: bytes) -> ServerMessage:
    return decode_server_message(payload)
