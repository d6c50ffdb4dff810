"""A device's conversation with a gateway over TCP (fleet-protocol 2).

The exchanges run in the transport's callbacks: no task, no timer per status, one write per
status. A coroutine exists only while a connection is being made.
"""

from __future__ import annotations

import asyncio
import socket
from typing import ClassVar, Final, cast

from fleet_lab.devices.api import Device
from fleet_lab.errors import LabError
from fleet_lab.session import Accepted, Commanded, DeviceSession, Event, Phase, Refused, explain
from fleet_lab.sinks.api import DevicePort, Sink, SinkUrl, WrapProtocol
from fleet_lab.sinks.retry import (
    BACKOFF_MAX_S,
    BACKOFF_MIN_S,
    OPEN_TIMEOUT_S,
    REPLY_TIMEOUT_S,
    cause,
)
from module_gateway.protocol import identity
from module_gateway.protocol.errors import Reason, RemoteProtocolError

_READY: Final = Phase.READY
"""Asked for every status; a member of an enumeration is several times slower to find."""


def introduction_of(device: Device) -> identity.Device:
    """Who a gateway is told that the device is (fleet-protocol 1.4)."""
    return identity.Device.of(
        device.module, device.device_type, device.role, device.name, device.priority
    )


class FleetProtocolSink(Sink):
    """One status at a time, strict about every reply, back after every end.

    `answered` is the gateway's command to the status. A reply that names another device is told
    as not its own and ends the connection: nothing after it can be trusted.
    """

    __slots__ = ("_backoff_s", "_connection", "_ends", "_port", "_retry", "_wrap")

    is_stream: ClassVar[bool] = True

    def __init__(self, url: SinkUrl) -> None:
        super().__init__(url)
        self._port: DevicePort | None = None
        self._wrap: WrapProtocol | None = None
        self._connection: _Connection | None = None
        self._retry: asyncio.Task[None] | None = None
        self._backoff_s = BACKOFF_MIN_S
        self._ends = 0

    @property
    def can_publish(self) -> bool:
        """Connected and no reply outstanding."""
        connection = self._connection
        return connection is not None and connection.session.phase is _READY

    def set_link(self, wrap: WrapProtocol) -> None:
        """Every connection from now on goes through the link."""
        self._wrap = wrap

    async def open(self, port: DevicePort) -> None:
        """Connect and be accepted.

        Raises:
            LabError: unreachable, refused, or no gateway at all.
        """
        self._port = port
        ending = await self._connect()
        if ending is None:
            return
        self._port = None
        if isinstance(ending, Refused):
            port.refused(ending.response, explain(ending.response))
            raise LabError(f"{port.device.id} refused: {explain(ending.response)}")
        raise LabError(ending)

    def publish(self, number: int, payload: bytes) -> None:
        """Write the status."""
        connection = self._connection
        if connection is None or connection.session.phase is not _READY:
            if self._port is not None:
                why = "not connected" if connection is None else "the last status is unanswered"
                self._port.failed(number, why)
            return
        connection.send(number, payload)

    async def close(self) -> None:
        """Close at once."""
        self._port = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.end("closed")
        retry, self._retry = self._retry, None
        if retry is not None:
            retry.cancel()
            await asyncio.gather(retry, return_exceptions=True)

    async def _connect(self) -> Refused | str | None:
        """One attempt; how it ended, None when the gateway accepted."""
        port = self._port
        if port is None:
            return "closed"
        loop = asyncio.get_running_loop()
        decided: asyncio.Future[Refused | str | None] = loop.create_future()
        connection = _Connection(self, port, loop, decided)

        def make() -> asyncio.BaseProtocol:
            return connection

        factory = make if self._wrap is None else self._wrap(make)
        try:
            async with self.url.opening, asyncio.timeout(OPEN_TIMEOUT_S):
                await loop.create_connection(factory, self.url.host, self.url.port)
                return await decided
        except TimeoutError:
            connection.end("no answer")
            return f"no answer from a gateway at {self.url.address} within {OPEN_TIMEOUT_S:g} s"
        except OSError as error:
            return f"cannot reach a gateway at {self.url.address}: {cause(error)}"
        except asyncio.CancelledError:
            connection.end("closed")
            raise

    def accepted(self, connection: _Connection) -> None:
        """The gateway took the device."""
        self._connection = connection
        if self._port is not None:
            self._port.connected()

    def exchanged(self) -> None:
        """A status was answered: the connection is worth something."""
        self._backoff_s = BACKOFF_MIN_S

    def ended(self, connection: _Connection, reason: str) -> None:
        """A connection that was accepted ended."""
        if self._connection is not connection or self._port is None:
            return
        self._connection = None
        self._ends += 1
        self._port.disconnected(reason)
        if self._port is not None and self._retry is None:
            self._retry = asyncio.get_running_loop().create_task(
                self._reconnect(self._port), name=f"{self._port.device.id} connects again"
            )

    async def _reconnect(self, port: DevicePort) -> None:
        jitter = port.device.rng.fork("backoff", self._ends)
        try:
            while self._connection is None:
                await asyncio.sleep(self._backoff_s * jitter.uniform(0.5, 1.0))
                self._backoff_s = min(self._backoff_s * 2, BACKOFF_MAX_S)
                ending = await self._connect()
                if isinstance(ending, Refused):
                    port.refused(ending.response, explain(ending.response))
        finally:
            self._retry = None


class _Connection(asyncio.Protocol):
    """One TCP connection."""

    __slots__ = (
        "_awaited", "_deadline_s", "_decided", "_loop", "_port", "_sink", "_timer", "_transport",
        "session",
    )  # fmt: skip

    def __init__(
        self,
        sink: FleetProtocolSink,
        port: DevicePort,
        loop: asyncio.AbstractEventLoop,
        decided: asyncio.Future[Refused | str | None],
    ) -> None:
        self.session = DeviceSession(introduction_of(port.device))
        self._sink = sink
        self._port = port
        self._loop = loop
        self._decided: asyncio.Future[Refused | str | None] | None = decided
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._awaited = 0
        self._deadline_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.session.phase is Phase.OVER:
            self._transport.abort()
            return
        self._transport.write(self.session.connect_frame())

    def transport_changed(self, transport: asyncio.Transport) -> None:
        """A link stepped between, or the shim of one: write there from now on."""
        self._transport = transport

    def send(self, number: int, payload: bytes) -> None:
        """Write one status; the session must be ready and the transport there."""
        if self._transport is None:
            return
        self._awaited = number
        self._deadline_s = self._loop.time() + REPLY_TIMEOUT_S
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline_s, self._check_deadline)
        self._transport.write(self.session.status_frame(payload))

    def data_received(self, data: bytes) -> None:
        session = self.session
        command = session.take_command(data)
        if command is not None:
            self._sink.exchanged()
            self._port.answered(self._awaited, command, True)
            return
        try:
            for event in session.receive(data):
                self._react(event)
        except RemoteProtocolError as error:
            if error.reason is Reason.OTHER_DEVICE and session.phase is Phase.AWAITING:
                self._port.answered(self._awaited, b"", False)
            self.end(f"the gateway broke the protocol: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        what = "reset" if exc is not None else "closed"
        when = {
            Phase.CONNECTING: " without an answer to the connect (its log says why)",
            Phase.AWAITING: " without an answer to the status (its log says why)",
        }.get(self.session.phase, "")
        self.end(f"{what} by the gateway{when}")

    def end(self, ending: Refused | str) -> None:
        """Close at once and say why, the first time."""
        is_first = self._transport is not None or self._decided is not None
        transport, self._transport = self._transport, None
        timer, self._timer = self._timer, None
        decided, self._decided = self._decided, None
        self.session.phase = Phase.OVER
        if timer is not None:
            timer.cancel()
        if transport is not None:
            transport.abort()
        if decided is not None:
            if not decided.done():
                decided.set_result(ending)
        elif is_first:
            self._sink.ended(self, str(ending))

    def _react(self, event: Event) -> None:
        match event:
            case Accepted():
                decided, self._decided = self._decided, None
                if decided is not None and not decided.done():
                    decided.set_result(None)
                    self._sink.accepted(self)
            case Refused():
                self.end(event)
            case Commanded(command, is_pushed=True):
                self._port.commanded(command)
            case Commanded(command):
                self._sink.exchanged()
                self._port.answered(self._awaited, command, True)

    def _check_deadline(self) -> None:
        self._timer = None
        if self.session.phase is not Phase.AWAITING:
            return
        if self._loop.time() < self._deadline_s:
            self._timer = self._loop.call_at(self._deadline_s, self._check_deadline)
            return
        self.end(f"no answer within {REPLY_TIMEOUT_S:g} s")
