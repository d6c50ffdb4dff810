"""One device's socket: events go into its session, the session's effects come out.

No task, no buffer and no timer of its own; what it shares with other connections is behind
`Host`. Whatever fails here ends this connection and nothing else.
"""

from __future__ import annotations

import asyncio
import socket
import time
from math import inf
from typing import Final, Protocol, assert_never, cast

from module_gateway.internal_server import events as ev
from module_gateway.internal_server import metrics
from module_gateway.internal_server.connections import HandlerPeer
from module_gateway.internal_server.offences import PAUSE_S, Offences
from module_gateway.internal_server.rules import SessionRules
from module_gateway.internal_server.session import DeviceSession, State
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Device
from module_gateway.runtime.log import clean_text, get_logger

_log = get_logger(__name__)

_TCP_ESTABLISHED: Final = 1
"""First byte of Linux' struct tcp_info: neither side has said goodbye."""

MAX_DETAIL_CHARS: Final = 160

_WRONG_CAUSES: Final = (
    bus_pb2.PROTOCOL_VIOLATION,
    bus_pb2.STATUS_INVALID,
    bus_pb2.REPLY_TIMEOUT,
    bus_pb2.INACTIVE,
)
_WRONG_REASONS: Final = (
    Reason.ALREADY_CONNECTED,
    Reason.MODULE_NOT_SUPPORTED,
    Reason.DEVICE_NOT_SUPPORTED,
    Reason.DEVICE_FORM,
    Reason.TOO_MANY_IDENTITIES,
    Reason.MODULE_FAILED,
    Reason.MODULE_HUNG,
)
"""Ends that somebody should look at; every other one is part of a device's life."""

_OFFENCES: Final = (bus_pb2.PROTOCOL_VIOLATION, bus_pb2.STATUS_INVALID)
"""What a device may do a few times only before it is slowed down."""

_AFTER_CLOSE: Final = (ev.Drop, ev.AnswerProbe)
"""Executing one effect may close the connection (a write that overflows); then the rest is void."""


class Host(Protocol):
    """What a connection needs of the server around it."""

    offences: Offences

    def opened(self, connection: DeviceConnection) -> None:
        """A socket was accepted."""

    def stepped(self, connection: DeviceConnection, now: float) -> None:
        """The session has taken an event: deadlines, budgets and counts may have changed."""

    def answered(self, connection: DeviceConnection, now: float) -> None:
        """A status has got its command by the short way: nothing is outstanding any more."""

    def ended(self, connection: DeviceConnection, close: ev.Close) -> None:
        """The socket is gone. Comes once, last."""

    def is_saturated(self) -> bool:
        """Whether no handler may be asked about a newcomer now."""

    def hold(self, connection: DeviceConnection) -> None:
        """Its handler is saturated: give it FramesHeld now and FramesReleased later."""

    def request_connect(self, connection: DeviceConnection, device: Device, now: float) -> None:
        """Ask the owning handler."""

    def request_status(
        self, connection: DeviceConnection, sequence: int, status: bytes, now: float
    ) -> None:
        """Hand a status to the connection's handler."""

    def answer_probe(self, connection: DeviceConnection, *, is_alive: bool) -> None:
        """Tell the connection's handler."""


class DeviceConnection(asyncio.Protocol):
    """The protocol object of one accepted socket.

    Attributes:
        instance: names this connection among all of its server's boot; 1, 2, 3 …
        peer: the handler that was asked about it, None before.
        slow_at: when its outstanding answer, counted at its handler, is late; None without one.
        buffered_bytes: what its host has accounted for.
        watched_at: belongs to `Deadlines`.
    """

    __slots__ = (
        "_close",
        "_host",
        "_is_reading",
        "_transport",
        "_write_buffer_bytes",
        "buffered_bytes",
        "instance",
        "peer",
        "session",
        "slow_at",
        "watched_at",
    )

    def __init__(
        self, host: Host, instance: int, rules: SessionRules, write_buffer_bytes: int
    ) -> None:
        self.instance: Final = instance
        self.session: Final = DeviceSession(rules, time.monotonic())
        self.peer: HandlerPeer | None = None
        self.slow_at: float | None = None
        self.buffered_bytes = 0
        self.watched_at = inf
        self._host: Final = host
        self._write_buffer_bytes: Final = write_buffer_bytes
        self._transport: asyncio.Transport | None = None
        self._is_reading = True
        self._close: ev.Close | None = None

    @property
    def deadline(self) -> float:
        """See `DeviceSession.deadline`."""
        return self.session.deadline

    @property
    def asked_at(self) -> float:
        """See `DeviceSession.asked_at`."""
        return self.session.asked_at

    @property
    def peer_name(self) -> str:
        """Address and port of the device, for the log."""
        name = self._transport.get_extra_info("peername") if self._transport is not None else None
        return f"{name[0]}:{name[1]}" if name else "unknown"

    # ---- from the socket -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        # A stream socket's transport is one in all but name (uvloop's does not derive from it).
        self._transport = cast("asyncio.Transport", transport)
        # Told at the first byte that the kernel does not take, and again when all have left.
        self._transport.set_write_buffer_limits(high=0)
        self._host.opened(self)

    def data_received(self, chunk: bytes) -> None:
        """See asyncio.Protocol."""
        peer = self.peer
        if peer.is_saturated if peer is not None else self._host.is_saturated():
            self._host.hold(self)
        try:
            now = time.monotonic()
            status = self.session.take_status(chunk, now)
            if status is None:
                self._step(ev.BytesReceived(chunk), now)
            else:
                self._host.request_status(self, self.session.last_sequence, status, now)
        except Exception:  # noqa: BLE001  # the supervisor edge of `take`
            self._fail()

    def reply(self, sequence: int, command: bytes) -> None:
        """The handler answers status `sequence`: it is committed."""
        try:
            now = time.monotonic()
            asked_at = self.session.asked_at
            frame = self.session.take_reply(sequence, command)
            if frame is None:
                self._step(ev.ReplyArrived(sequence, command), now)
            else:
                metrics.REPLY_WAIT.observe(now - asked_at)
                self._write(frame)
                self._host.answered(self, now)
        except Exception:  # noqa: BLE001  # the supervisor edge of `take`
            self._fail()

    def eof_received(self) -> None:
        """See asyncio.Protocol: a device that says goodbye wants no answer any more."""
        self.take(ev.PeerClosed())

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol. Only now the socket is closed, so only now the handler hears."""
        del exc  # a reset, or nothing: the session has been told why, or it was the peer
        self.take(ev.PeerClosed())
        close = self._close or ev.Close(Reason.DEFECT, bus_pb2.LOST, flushes=False)
        self._host.ended(self, close)

    def pause_writing(self) -> None:
        """See asyncio.Protocol: the kernel's buffer is full."""
        self.take(ev.WritingStalled())

    def resume_writing(self) -> None:
        """See asyncio.Protocol: everything has left."""
        self.take(ev.WritingResumed())

    # ---- to and from the session ---------------------------------------------------------

    def take(self, event: ev.Event) -> None:
        """Step the session and execute what it wants; an exception ends this connection only."""
        try:
            self._step(event, time.monotonic())
        except Exception:  # noqa: BLE001  # a named supervisor edge: one connection must not harm another
            self._fail()

    def _step(self, event: ev.Event, now: float) -> None:
        for effect in self.session.step(event, now):
            if self._close is None or isinstance(effect, _AFTER_CLOSE):
                self._execute(effect, now)
        self._host.stepped(self, now)
        self._read_or_not()

    def has_pending_end(self) -> bool:
        """Whether the kernel knows more than we: the peer has closed or reset (I9, contract R3)."""
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        if sock is None or not hasattr(socket, "TCP_INFO"):
            return False
        try:
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        except OSError:
            return True
        return bool(info[0] != _TCP_ESTABLISHED)

    def abort(self) -> None:
        """Give up on everything that the device did not take yet."""
        if self._transport is not None:
            self._transport.abort()

    def _execute(self, effect: ev.Effect, now: float) -> None:
        match effect:
            case ev.RequestStatus(sequence, status):
                self._host.request_status(self, sequence, status, now)
            case ev.WriteCommand(frame, waited_s):
                if waited_s >= 0:
                    metrics.REPLY_WAIT.observe(waited_s)
                else:
                    metrics.PUSHES.inc()
                self._write(frame)
            case ev.RequestConnect(device):
                self._host.request_connect(self, device, now)
            case ev.WriteConnectResponse(frame, response, waited_s):
                metrics.CONNECT_WAIT.observe(waited_s)
                metrics.CONNECT_RESPONSES.labels(response).inc()
                self._write(frame)
                if response == 0 and not self._host.offences.is_slowed(self._offender()):
                    _log.info("device_connected", **self._names())
            case ev.AnswerProbe(is_alive):
                self._host.answer_probe(self, is_alive=is_alive)
            case ev.Drop(reason):
                metrics.DROPPED.labels(reason).inc()
            case ev.Close():
                self._end(effect, now)
            case _:
                assert_never(effect)

    def _write(self, frame: bytes) -> None:
        """One write per frame.

        A device that does not read gets no further replies, because its frames are not taken;
        what is pushed to it may pile up only so much (I17).
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() > self._write_buffer_bytes:
            self.take(ev.CloseOrdered(Reason.NOT_READING, bus_pb2.PROTOCOL_VIOLATION))
        else:
            transport.write(frame)

    def _end(self, close: ev.Close, now: float) -> None:
        """Close the socket: at once, or after a pause for somebody who offends again and again."""
        self._close = close
        metrics.CLOSED.labels(close.reason).inc()
        unlogged: int | None = 0
        if close.cause in _OFFENCES or close.cause == bus_pb2.REFUSED:
            unlogged = self._host.offences.note(self._offender(), now)
        if unlogged is not None:
            self._log_end(close, unlogged)
        transport = self._transport
        if transport is None:
            return
        if unlogged is None and close.cause in _OFFENCES:
            metrics.SLOWED.inc()
            asyncio.get_running_loop().call_later(PAUSE_S, transport.abort)
        elif close.flushes:
            transport.close()
        else:
            transport.abort()

    def _log_end(self, close: ev.Close, unlogged: int) -> None:
        is_wrong = close.cause in _WRONG_CAUSES or close.reason in _WRONG_REASONS
        event = "device_refused" if close.cause == bus_pb2.REFUSED else "device_closed"
        facts: dict[str, str | int | None] = {**self._names(), "reason": close.reason}
        facts["detail"] = clean_text(close.detail, MAX_DETAIL_CHARS) if close.detail else None
        if unlogged:
            facts["unlogged"] = unlogged
        if is_wrong:
            _log.warning(event, **facts)
        else:
            del facts["peer"]  # said when it connected; the instance leads there
            _log.info(event, **facts)

    def _offender(self) -> str:
        """Who answers for what comes over this connection."""
        session = self.session
        if session.is_decided and session.device is not None:
            return str(session.device.identity)
        return self.peer_name.rpartition(":")[0]

    def _read_or_not(self) -> None:
        transport = self._transport
        wants_bytes = self.session.wants_bytes
        if wants_bytes is self._is_reading or transport is None or transport.is_closing():
            return
        self._is_reading = wants_bytes
        if wants_bytes:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def _fail(self) -> None:
        """A defect of ours ends this connection: called while its exception is handled."""
        metrics.DEFECTS.inc()
        _log.exception("connection_failed", peer=self.peer_name, instance=self.instance)
        self.session.state = State.CLOSED
        if self._close is None:
            self._close = ev.Close(Reason.DEFECT, bus_pb2.LOST, flushes=False)
            metrics.CLOSED.labels(Reason.DEFECT).inc()
        if self._transport is not None:
            self._transport.abort()

    def _names(self) -> dict[str, str | int]:
        device = self.session.device
        return {
            "device": clean_text(device) if device is not None else "",
            "peer": self.peer_name,
            "instance": self.instance,
        }
