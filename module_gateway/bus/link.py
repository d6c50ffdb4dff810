"""The link: how one process talks to the others over the bus.

It batches what it is asked to send, announces its process, watches who else is there, and tells
its listener. It remembers nothing across an outage: recovery is end to end (contract, design 3).

What one turn of the event loop enqueued leaves at its end, or as soon as it is much, over all
receivers in turns. Only so many batches wait for their confirmation; beyond them the next ones
grow: an idle process has batches of one, a busy one large ones.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol, assert_never

from module_gateway.bus import batch, metrics
from module_gateway.bus.address import PRESENCE_TOPIC, Address, new_boot_id
from module_gateway.bus.edge import notify
from module_gateway.bus.port import Bus
from module_gateway.bus.presence import (
    AnswerPresence,
    PeerLost,
    PeerRefused,
    PeerUp,
    PresenceEvent,
    PresenceTable,
)
from module_gateway.bus.unsent import Parcel, Unsent
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import BusError, Reason, RemoteProtocolError
from module_gateway.runtime.health import Progress
from module_gateway.runtime.log import get_logger
from module_gateway.runtime.settings import BusSettings

__all__ = ["PRESENCE_TOPIC", "Address", "Link", "LinkListener"]

REFUSALS_SILENT_S: Final = 10.0
"""Between two log lines about batches that cannot be read; all of them are counted."""

STALL_S: Final = 30.0
"""A broker that is gone is noticed after at most 10 s (keepalive), and then nothing waits: who is
still publishing after so long hangs, and with him the heartbeats of his process."""

MAX_UNDER_WAY: Final = 16
"""Batches that wait for their confirmation; meanwhile the next ones grow."""

EARLY_MESSAGES: Final = 25
"""So many leave before their turn of the loop has ended. In one batch the requests of a hundred
devices keep one process at a time busy, in four of them server, handler and broker together
(100 devices, unchanged: 26,000 -> 33,000 round trips per second; 500: 28,000 -> 36,000)."""

_log: Final = get_logger(__name__)


class LinkListener(Protocol):
    """Who is told what the link hears. Called in the event loop's thread; must not block."""

    def link_up(self) -> None:
        """Connected and subscribed. Peers known from before an outage may still be there."""

    def link_down(self, reason: str) -> None:
        """The bus is gone, and with it everything unsent and under way."""

    def peer_up(self, peer: Address, presence: bus_pb2.Presence) -> None:
        """Heard first of this boot id, heard again after it was lost, or its presence changed."""

    def peer_lost(self, peer: Address) -> None:
        """Silent for `silence_ms` (also while the link is down). What waited for it is dropped."""

    def received(self, sender: Address, messages: Sequence[bus_pb2.Message]) -> None:
        """One batch for this process, in the order in which its sender sent.

        A body that this version of the schema does not have reads as `WhichOneof` None.
        """


class Link:
    """One process' connection with all others. Also the `BusListener` of its bus."""

    def __init__(
        self,
        bus: Bus,
        kind: int,
        settings: BusSettings,
        listener: LinkListener,
        presence: Callable[[], bus_pb2.Presence] = bus_pb2.Presence,
        boot_id: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        progress: Progress | None = None,
    ) -> None:
        """Prepare a link; `run` brings it to life.

        Args:
            bus: the way to the others; this link is its only user.
            kind: `bus_pb2.Kind` number of this process.
            settings: periods and bounds.
            listener: who is told.
            presence: what this process serves now; asked for each heartbeat.
            boot_id: only tests choose it.
            clock: monotonic seconds.
            progress: of the process; what waits for the bus must not stand still.
        """
        self._sending = (progress or Progress()).expect("what goes to the bus", STALL_S)
        self.address: Final = Address(kind, new_boot_id() if boot_id is None else boot_id)
        self._bus = bus
        self._settings = settings
        self._listener = listener
        self._presence = presence
        self._clock = clock
        self._table = PresenceTable(self.address, settings.silence_ms / 1000)
        self._refusals_silent_until = -math.inf
        self._is_up = False
        self._announcement_due = False
        self._unsent = Unsent(
            self.address, settings.batch_bytes, settings.unsent_messages, settings.unsent_bytes
        )
        self._under_way = 0
        self._fresh = 0
        """Messages enqueued since something was sent last."""
        self._is_flush_due = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def is_up(self) -> bool:
        """Whether `send` can succeed."""
        return self._is_up

    def peers(self) -> dict[Address, bus_pb2.Presence]:
        """Everybody who was heard lately, with what he serves."""
        return self._table.peers()

    def send(self, receiver: Address, message: bus_pb2.Message) -> bool:
        """Enqueue; what one turn of the loop enqueues for a receiver leaves as one batch, or few.

        The message is read now and may be reused afterwards. Messages to one receiver arrive in
        order; after a loss the link does not repeat, the receiver sees a gap.

        Returns:
            False, and a count under `bus_down` or `queue_full`, when it was not enqueued.
        """
        if not self._is_up:
            metrics.DROPPED.labels(Reason.BUS_DOWN).inc()
            return False
        if not self._unsent.put(receiver, message):
            metrics.DROPPED.labels(Reason.QUEUE_FULL).inc()
            return False
        self._wake()
        self._fresh += 1
        if self._fresh >= EARLY_MESSAGES:
            self._flush()
        return True

    def unsent(self, receiver: Address) -> tuple[int, int]:
        """Messages and bytes that the bus has not confirmed yet."""
        return self._unsent.size(receiver)

    def announce(self) -> None:
        """Send a heartbeat now, before anything that waits. While down: with the next `link_up`."""
        self._announcement_due = True
        self._wake()

    async def drain(self) -> None:
        """Wait until nothing is unsent: confirmed, or dropped because the link went down."""
        await self._idle.wait()

    async def run(self) -> None:
        """Connect and stay connected until cancelled. Runs once."""
        try:
            async with asyncio.TaskGroup() as tasks:
                topics = (self.address.topic, PRESENCE_TOPIC)
                tasks.create_task(self._bus.run(topics, self), name="link-bus")
                tasks.create_task(self._keep_presence(), name="link-presence")
        finally:
            self._set_down()

    # What the bus tells

    def bus_up(self) -> None:
        """See `port.BusListener`."""
        self._is_up = True
        metrics.IS_UP.set(1)
        self.announce()
        notify(self._listener.link_up)

    def bus_down(self, reason: str) -> None:
        """See `port.BusListener`."""
        metrics.OUTAGES.inc()
        self._set_down()
        notify(self._listener.link_down, reason)

    def bus_message(self, topic: str, payload: bytes) -> None:
        """See `port.BusListener`. What cannot be read is counted and ignored."""
        try:
            sender, messages = batch.decode(payload)
        except RemoteProtocolError as error:
            self._refuse(error)
            return
        now = self._clock()
        if topic == PRESENCE_TOPIC:
            for message in messages:
                self._heard(now, sender, message)
            return
        self._table.spoke(now, sender)
        metrics.RECEIVED_BATCHES.inc()
        metrics.RECEIVED_MESSAGES.inc(len(messages))
        notify(self._listener.received, sender, messages)

    def _refuse(self, error: RemoteProtocolError) -> None:
        metrics.DROPPED.labels(error.reason).inc()
        now = self._clock()
        if now >= self._refusals_silent_until:
            self._refusals_silent_until = now + REFUSALS_SILENT_S
            _log.warning("bus_batch_refused", reason=error.reason, detail=error.detail)

    # Presence

    def _heard(self, now: float, sender: Address, message: bus_pb2.Message) -> None:
        if message.WhichOneof("body") != "presence":
            metrics.DROPPED.labels(Reason.UNEXPECTED_MESSAGE).inc()
            return
        self._tell(self._table.heard(now, sender, message.presence))

    def _tell(self, events: Sequence[PresenceEvent]) -> None:
        for event in events:
            match event:
                case AnswerPresence():
                    self.announce()
                case PeerUp(peer, presence):
                    notify(self._listener.peer_up, peer, presence)
                case PeerLost(peer):
                    metrics.DROPPED.labels(Reason.PEER_LOST).inc(self._unsent.drop(peer))
                    notify(self._listener.peer_lost, peer)
                case PeerRefused():
                    metrics.DROPPED.labels(Reason.QUEUE_FULL).inc()
                case _:
                    assert_never(event)
        if events:
            metrics.PEERS.set(len(self._table.peers()))

    async def _keep_presence(self) -> None:
        """Heartbeats, and the end of peers that have none."""
        period_s = self._settings.heartbeat_ms / 1000
        next_heartbeat = self._clock() + period_s
        while True:
            expiry = self._table.next_expiry()
            wake_at = next_heartbeat if expiry is None else min(next_heartbeat, expiry)
            await asyncio.sleep(max(0.0, wake_at - self._clock()))
            now = self._clock()
            if now - wake_at > period_s:
                # This process stood still, not the others: their heartbeats wait in the socket.
                self._table.excuse(now - wake_at)
            if now >= next_heartbeat:
                self.announce()
                next_heartbeat = now + period_s
            self._tell(self._table.expire(now))

    # Sending

    def _wake(self) -> None:
        if not self._is_up:
            return
        self._idle.clear()
        self._sending.wait()
        if not self._is_flush_due:
            self._is_flush_due = True
            asyncio.get_running_loop().call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._is_flush_due = False
        self._flush()

    def _flush(self) -> None:
        """Send as much as may be under way."""
        self._fresh = 0
        while self._is_up and self._under_way < MAX_UNDER_WAY:
            if self._announcement_due:
                self._announcement_due = False
                self._send_presence()
            elif self._unsent:
                parcel = self._unsent.take()
                self._send(parcel.receiver.topic, parcel.payload, parcel)
            else:
                break
        if not self._under_way:
            self._sending.done()
            self._idle.set()

    def _send_presence(self) -> None:
        try:
            message = bus_pb2.Message()
            message.presence.CopyFrom(self._presence())
            payload = self._unsent.one(message)
        except Exception:  # noqa: BLE001  # a named supervisor edge: the next heartbeat may work
            metrics.LISTENER_FAILURES.inc()
            _log.exception("bus_heartbeat_failed")
        else:
            self._send(PRESENCE_TOPIC, payload, None)

    def _send(self, topic: str, payload: bytes, parcel: Parcel | None) -> None:
        """Hand one batch to the bus; a heartbeat is no parcel."""
        self._under_way += 1
        try:
            self._bus.send(topic, payload, partial(self._settled, parcel))
        except BusError as error:
            self._account(parcel, error)
        except Exception as error:  # noqa: BLE001  # a named supervisor edge: one batch must not stop the rest
            metrics.LISTENER_FAILURES.inc()
            _log.exception("bus_publish_failed", topic=topic)
            self._account(parcel, BusError(repr(error)))

    def _settled(self, parcel: Parcel | None, error: BusError | None) -> None:
        self._account(parcel, error)
        self._sending.done(is_more=self._announcement_due or bool(self._unsent))
        self._flush()

    def _account(self, parcel: Parcel | None, error: BusError | None) -> None:
        """A batch is no longer under way."""
        self._under_way -= 1
        if parcel is None:
            if error is not None:
                metrics.DROPPED.labels(Reason.BUS_DOWN).inc()
            return
        was_expected = self._unsent.settle(parcel)
        if error is None:
            metrics.SENT_BATCHES.inc()
            metrics.SENT_MESSAGES.inc(parcel.messages)
            metrics.SENT_BYTES.inc(len(parcel.payload))
            return
        _log.info("bus_batch_lost", receiver=str(parcel.receiver), detail=str(error))
        if was_expected:
            metrics.DROPPED.labels(Reason.BUS_DOWN).inc(parcel.messages)

    def _set_down(self) -> None:
        self._is_up = False
        metrics.IS_UP.set(0)
        metrics.DROPPED.labels(Reason.BUS_DOWN).inc(self._unsent.drop_all())
        self._announcement_due = False
        self._sending.done()
        self._idle.set()
