"""The server's side of the talk with module handlers: who is asked, who answers, who is gone.

Correlation is by instance: an answer finds the connection that asked for it or nobody. State
about a device is in its session; here is only which handler a connection belongs to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from module_gateway.bus.link import Address, Link
from module_gateway.bus.port import Bus
from module_gateway.internal_server import events as ev
from module_gateway.internal_server import metrics
from module_gateway.internal_server.connection import DeviceConnection
from module_gateway.internal_server.connections import HandlerPeer
from module_gateway.internal_server.routes import Routes
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Device
from module_gateway.runtime.health import Progress
from module_gateway.runtime.log import get_logger
from module_gateway.runtime.settings import BusSettings

_log = get_logger(__name__)

_CAUSE_REASONS: Final[dict[int, Reason]] = {
    bus_pb2.TAKEN_OVER: Reason.TAKEN_OVER,
    bus_pb2.SEQUENCE_GAP: Reason.SEQUENCE_GAP,
    bus_pb2.INACTIVE: Reason.INACTIVE,
    bus_pb2.STATUS_INVALID: Reason.STATUS_INVALID,
    bus_pb2.REPLY_TIMEOUT: Reason.REPLY_TIMEOUT,
}


SLOW_STATUS: Final = 0.5
SLOW_CONNECT: Final = 0.9
"""Shares of the reply window after which an answer is slow. A connect may have to wait for a probe
of 150 ms (R5), which says nothing about how busy its handler is."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What may be asked of one handler: so many requests at once, each answered in time."""

    unanswered_requests: int
    reply_window_s: float


class HandlerDialogue:
    """Routes requests to handlers and their answers to connections (contract R2, R5, R6)."""

    def __init__(
        self,
        bus: Bus,
        settings: BusSettings,
        demand: Demand,
        is_pushed_to: Callable[[Device], bool],
        bus_changed: Callable[[bool, str], None],
        handler_changed: Callable[[bool, str], None] = lambda _is_heard, _detail: None,
        progress: Progress | None = None,
    ) -> None:
        kind = bus_pb2.INTERNAL_SERVER
        self.link: Final = Link(bus, kind, settings, self, progress=progress)
        self._demand = demand
        self._is_pushed_to = is_pushed_to
        self._bus_changed = bus_changed
        self._handler_changed = handler_changed
        self._routes = Routes()
        self._peers: dict[Address, HandlerPeer] = {}
        self._asked: dict[int, DeviceConnection] = {}
        self._held: dict[DeviceConnection, None] = {}

    # ---- what connections want -----------------------------------------------------------

    def request_connect(self, connection: DeviceConnection, device: Device, now: float) -> None:
        """Ask the owning handler; without one the reply window runs out (I13)."""
        owner = self._routes.owner(device.identity)
        peer = self._peers.get(owner) if owner is not None else None
        if peer is None:
            metrics.DROPPED.labels(Reason.NO_HANDLER).inc()
            return
        if peer.is_saturated:
            metrics.DROPPED.labels(Reason.QUEUE_FULL).inc()
            return
        message = bus_pb2.Message()
        message.connect_request.instance = connection.instance
        device.write_to(message.connect_request.device)
        if self.link.send(peer.address, message):
            connection.peer = peer
            peer.add(connection.instance, connection.session)
            self._asked[connection.instance] = connection
            self._count(connection, peer, now + SLOW_CONNECT * self._demand.reply_window_s)

    def request_status(
        self, connection: DeviceConnection, sequence: int, status: bytes, now: float
    ) -> None:
        """Hand a status over. One that cannot be sent leaves a gap and no answer: both close."""
        metrics.STATUSES.add()
        peer = connection.peer
        if peer is None:
            return
        message = bus_pb2.Message()
        request = message.status_request
        request.instance, request.sequence, request.status = connection.instance, sequence, status
        if self.link.send(peer.address, message):
            self._count(connection, peer, now + SLOW_STATUS * self._demand.reply_window_s)

    def answer_probe(self, connection: DeviceConnection, *, is_alive: bool) -> None:
        """Tell the connection's handler whether it lives."""
        if connection.peer is not None:
            self._send_probe_answer(connection.peer.address, connection.instance, is_alive=is_alive)

    def stepped(self, connection: DeviceConnection, now: float) -> None:
        """Its answer may have come, or is not waited for any more."""
        if connection.slow_at is not None and not connection.session.is_waiting:
            self._settle(connection, now)

    def is_saturated(self) -> bool:
        """Whether every handler that owns something is; a newcomer's owner is not known yet."""
        owners = self._routes.owners
        return bool(owners) and all(self._peers[owner].is_saturated for owner in owners)

    def hold(self, connection: DeviceConnection) -> None:
        """Its handler is saturated: look at no further frame of it until it is not."""
        if connection not in self._held:
            self._held[connection] = None
            metrics.HELD.inc()
            connection.take(ev.FramesHeld())

    def ended(self, connection: DeviceConnection, cause: bus_pb2.EndCause) -> None:
        """Its socket is closed: say so, once, if the handler was ever asked about it."""
        self._held.pop(connection, None)
        self._settle(connection, time.monotonic())
        peer = connection.peer
        if peer is None:
            return
        del self._asked[connection.instance]
        peer.remove(connection.instance)
        self._send_ended(peer.address, connection.instance, cause)

    def send_digests(self) -> None:
        """Tell every handler what is open towards it (R6); due once per heartbeat."""
        metrics.UNANSWERED.set(sum(peer.unanswered for peer in self._peers.values()))
        metrics.UNANSWERED_LIMIT.set(sum(peer.limit for peer in self._peers.values()))
        if not self.link.is_up:
            return
        for peer in self._peers.values():
            message = bus_pb2.Message()
            message.live_digest.CopyFrom(peer.digest())
            self.link.send(peer.address, message)

    def _count(self, connection: DeviceConnection, peer: HandlerPeer, slow_at: float) -> None:
        if connection.slow_at is None:
            connection.slow_at = slow_at
            peer.asked()

    def _settle(self, connection: DeviceConnection, now: float) -> None:
        if self._uncount(connection, now):
            self._release()

    def _uncount(self, connection: DeviceConnection, now: float) -> bool:
        """No answer is outstanding any more. True when its handler can take more again."""
        slow_at, connection.slow_at = connection.slow_at, None
        if slow_at is None or connection.peer is None:
            return False
        return connection.peer.settled(was_slow=now >= slow_at)

    def _release(self) -> None:
        """Let held connections go on whose handler can take more, first come, first served."""
        for connection in list(self._held):
            peer = connection.peer
            if not (peer.is_saturated if peer is not None else self.is_saturated()):
                self._held.pop(connection, None)
                connection.take(ev.FramesReleased())

    # ---- what the link tells (LinkListener) ----------------------------------------------

    def link_up(self) -> None:
        """See LinkListener. What was said or heard meanwhile is lost: every list is said again.

        Handlers ask for it as well, but one whose bus was back before ours asked nobody (R6).
        """
        self._bus_changed(True, "")
        for peer in self._peers.values():
            self._send_live_connections(peer)

    def link_down(self, reason: str) -> None:
        """See LinkListener. What was asked is lost; the reply windows close those who wait."""
        self._bus_changed(False, reason)

    def peer_up(self, peer: Address, presence: bus_pb2.Presence) -> None:
        """See LinkListener. A handler is new, back, or serves something else."""
        if peer.kind != bus_pb2.MODULE_HANDLER:
            return
        if peer not in self._peers:
            self._peers[peer] = HandlerPeer(peer, self._demand.unanswered_requests)
            _log.info("handler_found", handler=str(peer))
            self._handler_changed(True, "")
        self._routes.announce(peer, presence)
        self._hand_over(also=peer)

    def peer_lost(self, peer: Address) -> None:
        """See LinkListener. Devices of a silent handler are closed, unless another owns them."""
        lost = self._peers.pop(peer, None)
        if lost is None:
            return
        _log.warning("handler_lost", handler=str(peer), connections=len(lost))
        if not self._peers:
            self._handler_changed(False, "no module handler is heard on the bus")
        self._routes.forget(peer)
        self._hand_over()
        for connection in list(self._asked.values()):
            if connection.peer is lost:
                connection.take(ev.CloseOrdered(Reason.NO_HANDLER, bus_pb2.LOST))

    def received(self, sender: Address, messages: Sequence[bus_pb2.Message]) -> None:
        """See LinkListener."""
        if sender.kind != bus_pb2.MODULE_HANDLER:
            metrics.DROPPED.labels(Reason.UNEXPECTED_MESSAGE).inc(len(messages))
            return
        peer = self._peers.get(sender)
        for message in messages:
            if not message.HasField("status_reply"):
                self._take(sender, message)
                continue
            reply = message.status_reply
            connection = self._asked.get(reply.instance)
            if connection is None or connection.peer is not peer:
                metrics.DROPPED.labels(Reason.LATE_REPLY).inc()
            else:
                connection.reply(reply.sequence, reply.command)

    def _take(self, sender: Address, message: bus_pb2.Message) -> None:
        match message.WhichOneof("body"):
            case "connect_verdict":
                verdict = message.connect_verdict
                self._pass_on(sender, verdict.instance, ev.VerdictArrived(verdict.response))
            case "status_refused":
                refused = message.status_refused
                reason = _reason_of(refused.reason, refused.cause)
                event = ev.RefusalArrived(refused.sequence, refused.cause, reason)
                self._pass_on(sender, refused.instance, event)
            case "push_command":
                self._push(sender, message.push_command)
            case "probe":
                self._probe(sender, message.probe.instance)
            case "close_connection":
                self._close(sender, message.close_connection)
            case "live_connections_request":
                peer = self._peers.get(sender)
                if peer is not None:
                    self._send_live_connections(peer)
            case _:
                metrics.DROPPED.labels(Reason.UNEXPECTED_MESSAGE).inc()

    # ---- what handlers want --------------------------------------------------------------

    def _of(self, sender: Address, instance: int) -> DeviceConnection | None:
        """The connection, if it is this handler's to command."""
        connection = self._asked.get(instance)
        if connection is None or connection.peer is None or connection.peer.address != sender:
            return None
        return connection

    def _pass_on(self, sender: Address, instance: int, event: ev.Event) -> None:
        connection = self._of(sender, instance)
        if connection is None:
            metrics.DROPPED.labels(Reason.LATE_REPLY).inc()
        else:
            connection.take(event)

    def _push(self, sender: Address, push: bus_pb2.PushCommand) -> None:
        connection = self._of(sender, push.instance)
        device = connection.session.device if connection is not None else None
        if connection is None or device is None:
            metrics.DROPPED.labels(Reason.COMMAND_DEVICE_LEFT).inc()
        elif not self._is_pushed_to(device):  # it would be taken for the next reply (G-43)
            metrics.DROPPED.labels(Reason.UNEXPECTED_MESSAGE).inc()
            _log.warning("push_refused", device=str(device.identity.module), handler=str(sender))
        else:
            connection.take(ev.CommandPushed(push.command))

    def _probe(self, sender: Address, instance: int) -> None:
        connection = self._of(sender, instance)
        if connection is None:
            self._send_probe_answer(sender, instance, is_alive=False)
            return
        if connection.has_pending_end():
            connection.take(ev.PeerClosed())
        connection.take(ev.Probed())

    def _close(self, sender: Address, order: bus_pb2.CloseConnection) -> None:
        connection = self._of(sender, order.instance)
        if connection is None:
            self._send_ended(sender, order.instance, order.cause)
            return
        connection.take(ev.CloseOrdered(_reason_of("", order.cause), order.cause))

    # ---- sending -------------------------------------------------------------------------

    def _send_ended(self, receiver: Address, instance: int, cause: bus_pb2.EndCause) -> None:
        message = bus_pb2.Message()
        message.connection_ended.instance = instance
        message.connection_ended.cause = cause
        self.link.send(receiver, message)

    def _send_probe_answer(self, receiver: Address, instance: int, *, is_alive: bool) -> None:
        message = bus_pb2.Message()
        message.probe_answer.instance = instance
        message.probe_answer.is_alive = is_alive
        self.link.send(receiver, message)

    def _send_live_connections(self, peer: HandlerPeer) -> None:
        """All parts of the list, or none after one that cannot be sent.

        The handler ends whoever is in no part of a complete list; an unfinished one does no harm.
        """
        for part in peer.live_connections():
            message = bus_pb2.Message()
            message.live_connections.CopyFrom(part)
            if not self.link.send(peer.address, message):
                return

    def _hand_over(self, also: Address | None = None) -> None:
        """Give connections to those who own them now, tell these and `also` their lists.

        Only then held devices go on: a status must not be there before the list that names its
        connection.
        """
        receivers = self._move_connections()
        if also is not None:
            receivers.add(also)
        for address in receivers:
            self._send_live_connections(self._peers[address])
        self._release()

    def _move_connections(self) -> set[Address]:
        """Give connections to the handlers that own them now; returns who got some."""
        receivers: set[Address] = set()
        now = time.monotonic()
        for connection in list(self._asked.values()):
            device, old = connection.session.device, connection.peer
            owner = self._routes.owner(device.identity) if device is not None else None
            if owner is None or old is None or owner == old.address:
                continue
            self._uncount(connection, now)
            old.remove(connection.instance)
            connection.peer = self._peers[owner]
            connection.peer.add(connection.instance, connection.session)
            receivers.add(owner)
        return receivers


def _reason_of(word: str, cause: int) -> Reason:
    """The word that a handler gave, or the one that fits the cause."""
    try:
        return Reason(word)
    except ValueError:
        return _CAUSE_REASONS.get(cause, Reason.INSTANCE_ENDED)
