"""The internal server: a listener for devices on one side, the bus on the other.

What relies on the event loop: when file descriptors run out (I18), uvloop (libuv) accepts with a
spare descriptor and closes that client at once, the standard loop stops accepting for one second;
both go on listening by themselves. `max_connections` below the descriptor limit is the first
defence, so that it does not come to that.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from module_gateway.bus.port import Bus
from module_gateway.internal_server import events as ev
from module_gateway.internal_server.connection import DeviceConnection
from module_gateway.internal_server.dialogue import Demand, HandlerDialogue
from module_gateway.internal_server.limits import SharedLimits
from module_gateway.internal_server.offences import Offences
from module_gateway.internal_server.rules import Fault, SessionRules
from module_gateway.internal_server.session import State
from module_gateway.internal_server.validation import Admission, KnownModule, is_role_conventional
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Device
from module_gateway.runtime.health import Progress
from module_gateway.runtime.log import clean_text, get_logger
from module_gateway.runtime.settings import InternalServerSettings, Settings
from module_gateway.runtime.tasks import start_task, stop_tasks

BACKLOG: Final = 1024
"""Devices of a whole site may reconnect in one moment."""

ACCEPTS_PER_TURN: Final = 1
"""The standard loop takes its backlog also for the number of accepts per turn, and when descriptors
run out it complains and sets a timer for each of them: a flood with the kernel's backlog. uvloop
accepts all that wait in any case."""

OTHER_FILES: Final = 64
"""Descriptors that are not devices: bus, log, metrics, store of the process."""

GOODBYE_LIMIT_S: Final = 1.0
"""How long sockets and the bus may take after the last reply of a stop."""

_log = get_logger(__name__)


class InternalServer:
    """Accepts devices, validates them, and carries their statuses to the owning handlers.

    `modules` are the configured ones by number; `fault` is misbehaviour on request. Construct it
    in the event loop that runs it. `started` is set when devices can connect.
    """

    def __init__(
        self,
        settings: Settings,
        modules: Mapping[int, KnownModule],
        bus: Bus,
        fault: Fault = Fault.NONE,
        bus_changed: Callable[[bool, str], None] = lambda _is_up, _reason: None,
        handler_changed: Callable[[bool, str], None] = lambda _is_heard, _detail: None,
        progress: Progress | None = None,
    ) -> None:
        """`bus_changed` and `handler_changed` are told whether bus and handlers are there."""
        own = settings.internal_server_settings
        attached = {n for e in settings.external_connection.endpoints for n in e.modules}
        admission = Admission(modules, frozenset(attached), own.max_text_bytes)
        self.started: Final = asyncio.Event()
        self.offences = Offences()
        self.bound_port = 0
        self._settings = own
        self._ip_address = _ip_address(settings)
        self._heartbeat_s = settings.bus.heartbeat_ms / 1000
        self._rules = SessionRules(
            admit=admission.judge,
            connect_deadline_s=own.connect_deadline_ms / 1000,
            frame_deadline_s=own.frame_deadline_ms / 1000,
            reply_window_s=own.reply_window_ms / 1000,
            inactivity_s=own.inactivity_ms / 1000,
            write_deadline_s=own.write_deadline_ms / 1000,
            max_frame_bytes=own.max_frame_bytes,
            fault=fault,
        )
        self._limits = SharedLimits(
            _possible_connections(own), own.receive_budget_bytes, self._rules.reply_window_s
        )
        self._dialogue = HandlerDialogue(
            bus,
            settings.bus,
            Demand(own.unanswered_requests, own.reply_window_ms / 1000),
            admission.is_pushed_to,
            bus_changed,
            handler_changed,
            progress,
        )
        self._last_instance = 0
        self._is_stopping = False
        self._emptied: Final = asyncio.Event()
        self._digest_timer: asyncio.TimerHandle | None = None

    @property
    def ip_address(self) -> str:
        """Where devices can connect, together with `bound_port`."""
        return self._ip_address

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then let what is in flight end, say goodbye and return.

        Raises:
            OSError: the address cannot be used; the text says which and why.
        """
        loop = asyncio.get_running_loop()
        listening = _listening_socket(self._ip_address, self._settings)
        server = await loop.create_server(self._accept, sock=listening, backlog=ACCEPTS_PER_TURN)
        listening.listen(BACKLOG)
        self.bound_port = listening.getsockname()[1]
        link = start_task(self._dialogue.link.run(), "internal-server-link")
        self._tick()
        try:
            self.started.set()
            await stop.wait()
            server.close()
            await self._say_goodbye()
        finally:
            server.close()
            self._limits.stop()
            if self._digest_timer is not None:
                self._digest_timer.cancel()
            for connection in list(self._limits.connections):
                connection.abort()
            await stop_tasks([link])

    def _accept(self) -> DeviceConnection:
        self._last_instance += 1
        return DeviceConnection(
            self, self._last_instance, self._rules, self._settings.write_buffer_bytes
        )

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._digest_timer = loop.call_later(self._heartbeat_s, self._tick)
        self._dialogue.send_digests()

    async def _say_goodbye(self) -> None:
        """Outstanding answers may still come within their window; then everybody is closed."""
        self._is_stopping = True
        self._emptied.clear()
        for connection in list(self._limits.connections):
            connection.take(ev.FramesHeld())
        deadline = time.monotonic() + self._rules.reply_window_s
        if self._limits.connections:
            await self._wait(self._emptied.wait(), self._rules.reply_window_s)
        for connection in list(self._limits.connections):
            self._order_shutdown(connection)
        if self._limits.connections:
            remaining_s = max(0.0, deadline - time.monotonic()) + GOODBYE_LIMIT_S
            await self._wait(self._emptied.wait(), remaining_s)
        await self._wait(self._dialogue.link.drain(), GOODBYE_LIMIT_S)

    def _order_shutdown(self, connection: DeviceConnection) -> None:
        if connection.session.state is not State.CLOSED:
            connection.take(ev.CloseOrdered(Reason.SHUTDOWN, bus_pb2.SHUTDOWN))

    async def _wait(self, condition: Awaitable[object], limit_s: float) -> None:
        try:
            async with asyncio.timeout(limit_s):
                await condition
        except TimeoutError:
            _log.warning("stop_did_not_wait", limit_s=limit_s)

    # ---- what connections ask (Host) -----------------------------------------------------

    def opened(self, connection: DeviceConnection) -> None:
        """See Host."""
        if not self._limits.enter(connection) or self._is_stopping:
            reason = Reason.SHUTDOWN if self._is_stopping else Reason.TOO_MANY_CONNECTIONS
            connection.take(ev.CloseOrdered(reason, bus_pb2.REFUSED))
        else:
            self._limits.watch(connection)

    def stepped(self, connection: DeviceConnection, now: float) -> None:
        """See Host."""
        self._limits.account(connection)
        self._dialogue.stepped(connection, now)
        self._limits.watch(connection)
        if self._is_stopping and not connection.session.is_waiting:
            self._order_shutdown(connection)

    def answered(self, connection: DeviceConnection, now: float) -> None:
        """See Host."""
        self._dialogue.stepped(connection, now)

    def ended(self, connection: DeviceConnection, close: ev.Close) -> None:
        """See Host."""
        self._dialogue.ended(connection, close.cause)
        self._limits.leave(connection)
        if not self._limits.connections:
            self._emptied.set()

    def is_saturated(self) -> bool:
        """See Host."""
        return self._dialogue.is_saturated()

    def hold(self, connection: DeviceConnection) -> None:
        """See Host."""
        self._dialogue.hold(connection)

    def request_connect(self, connection: DeviceConnection, device: Device, now: float) -> None:
        """See Host."""
        if not is_role_conventional(device.identity.role):
            _log.warning("role_unconventional", role=clean_text(device.identity.role))
        self._limits.expect_answer(connection, now)
        self._dialogue.request_connect(connection, device, now)

    def request_status(
        self, connection: DeviceConnection, sequence: int, status: bytes, now: float
    ) -> None:
        """See Host."""
        self._limits.expect_answer(connection, now)
        self._dialogue.request_status(connection, sequence, status, now)

    def answer_probe(self, connection: DeviceConnection, *, is_alive: bool) -> None:
        """See Host."""
        self._dialogue.answer_probe(connection, is_alive=is_alive)


def _ip_address(settings: Settings) -> str:
    """Loopback without an own setting; the existing gateway's form asks for all interfaces."""
    own = settings.internal_server_settings.ip_address
    if own is not None:
        return own
    return "0.0.0.0" if settings.config_version is None else "127.0.0.1"  # noqa: S104


def _possible_connections(settings: InternalServerSettings) -> int:
    """`max_connections`, or what the descriptor limit of this process leaves (I18)."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = soft - OTHER_FILES
    if soft == resource.RLIM_INFINITY or possible >= settings.max_connections:
        return settings.max_connections
    _log.warning("fewer_connections", wanted=settings.max_connections, possible=possible)
    return max(1, possible)


def _listening_socket(ip_address: str, settings: InternalServerSettings) -> socket.socket:
    """A bound socket whose options every accepted one inherits (fleet-protocol 2.1, 2.9).

    Raises:
        OSError: with a text for the operator.
    """
    family = socket.AF_INET6 if ":" in ip_address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # A client that stops reading may make the kernel keep so much, not megabytes (I17).
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.write_buffer_bytes)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for name, value in (
            ("TCP_KEEPIDLE", settings.keepalive_idle_s),
            ("TCP_KEEPINTVL", settings.keepalive_interval_s),
            ("TCP_KEEPCNT", settings.keepalive_count),
        ):
            if hasattr(socket, name):
                listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        listening.bind((ip_address, settings.port))
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        where = f"{ip_address}:{settings.port}"
        raise OSError(f"cannot listen for devices on {where}: {error.strerror}") from error
    return listening
