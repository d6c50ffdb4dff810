"""One MQTT connection to a control plane's broker (fleet-protocol 4.1).

aiomqtt on a socket of ours: connected on the loop, so an attempt can be broken off at any time,
and shut down by us, so that nothing of a failed attempt stays behind.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import aiomqtt
from paho.mqtt import client as paho
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from module_gateway.bus.location import BusLocation
from module_gateway.bus.mqtt_connection import open_socket
from module_gateway.protocol.errors import BusError
from module_gateway.protocol.external import Topics

QOS: Final = 1

MAX_IN_FLIGHT: Final = 20
"""Unconfirmed PUBLISHes towards the broker; the existing gateway's number (fleet-protocol 4.1)."""

PROBE_PART: Final = 0.6
"""Of the keep-alive: the broker is asked after so long and must answer within so long. Together
1.2 of 1.5 keep-alives (E16); paho alone needs 2."""

LEAVE_S: Final = 0.3
"""For the MQTT DISCONNECT at the end."""

MAX_WAITING: Final = 10_000
"""Received messages that wait to be read; the loop reads them in the same turn."""

_NOWHERE: Final = "nothing"
"""A topic that is never subscribed: unsubscribing from it asks the broker for a sign of life."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect and as whom. Durations in seconds."""

    host: str
    port: int
    client_id: str
    topics: Topics
    keepalive_s: int = 15
    connect_timeout_s: float = 5.0


class Upstream:
    """A connection that is up: CONNACK and both SUBACKs were received."""

    def __init__(self, client: aiomqtt.Client, target: Target, tasks: asyncio.TaskGroup) -> None:
        self._client = client
        self._target = target
        self._tasks = tasks
        self._confirm_s = target.keepalive_s * PROBE_PART
        self._publishing: set[asyncio.Task[None]] = set()

    def publish(self, payload: bytes) -> None:
        """Send to the control plane, in the order of the calls.

        A message that the broker does not confirm in time ends the connection.
        """
        task = self._tasks.create_task(self._publish(payload), name="upstream-publish")
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def _publish(self, payload: bytes) -> None:
        topic = self._target.topics.from_gateway
        await self._client.publish(topic, payload, qos=QOS, timeout=self._confirm_s)

    async def drain(self) -> None:
        """Give what was published a moment to be confirmed; what is not is given up."""
        under_way = set(self._publishing)
        if under_way:
            await asyncio.wait(under_way, timeout=LEAVE_S)
        for task in under_way:
            task.cancel()

    async def watch(self) -> None:
        """Raise when the broker gives no sign of life."""
        topic = f"{self._target.topics.from_gateway}/{_NOWHERE}"
        while True:
            await asyncio.sleep(self._confirm_s)
            await self._client.unsubscribe(topic, timeout=self._confirm_s)

    async def receive(self, on_message: Callable[[str, bytes], None]) -> None:
        """Hand over what arrives until the connection is lost."""
        async for message in self._client.messages:
            if message.retain:
                continue  # of a time before this connection (R17)
            payload = message.payload
            on_message(message.topic.value, payload if isinstance(payload, bytes) else b"")


class _Client(aiomqtt.Client):
    """aiomqtt on a socket that is connected already."""

    def __init__(self, stream: socket.socket, target: Target, tls: ssl.SSLContext | None) -> None:
        super().__init__(
            target.host,
            target.port,
            identifier=target.client_id,
            protocol=aiomqtt.ProtocolVersion.V311,
            clean_session=True,
            keepalive=target.keepalive_s,
            timeout=target.connect_timeout_s,
            max_inflight_messages=MAX_IN_FLIGHT,
            max_queued_incoming_messages=MAX_WAITING,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        self.pending_calls_threshold = MAX_WAITING  # a connect sequence publishes many at once
        # paho would connect in a thread that nobody can interrupt.
        self._client._create_socket_connection = lambda: _secured(stream, target, tls)  # type: ignore[method-assign]  # noqa: SLF001

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: object,
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        """A broker that hangs up before CONNACK has answered: aiomqtt would wait on."""
        if self._connected.done():
            super()._on_disconnect(client, userdata, flags, reason_code, properties)
        else:
            self._connected.set_exception(aiomqtt.MqttError(f"the broker hung up: {reason_code}"))

    async def finish(self) -> None:
        """Leave nothing behind: no task, no callback of the loop, no unseen exception."""
        if self._misc_task is not None:
            self._misc_task.cancel()
            await asyncio.gather(self._misc_task, return_exceptions=True)
        self._client._sock_close()  # noqa: SLF001
        for ended in (self._connected, self._disconnected):
            if ended.done() and not ended.cancelled():
                ended.exception()


def _secured(stream: socket.socket, target: Target, tls: ssl.SSLContext | None) -> socket.socket:
    """Called by paho in a thread: the TLS handshake, which verifies certificate and host name."""
    if tls is None:
        return stream
    stream.settimeout(target.connect_timeout_s)
    secured = tls.wrap_socket(stream, server_hostname=target.host, do_handshake_on_connect=False)
    try:
        secured.do_handshake()
    except BaseException:
        secured.close()
        raise
    return secured


@asynccontextmanager
async def connect(
    target: Target, tls: ssl.SSLContext | None, on_message: Callable[[str, bytes], None]
) -> AsyncIterator[Upstream]:
    """Connect, subscribe and serve the connection while the context is open.

    The body is cancelled when the connection is lost, and the reason raised.

    Raises:
        BusError: it could not be opened, or was lost.
    """
    try:
        async with asyncio.timeout(target.connect_timeout_s):
            stream = await open_socket(BusLocation(None, target.host, target.port))
    except (OSError, TimeoutError) as error:
        raise BusError(str(error) or "no answer") from error
    breaker = stream.dup()
    client = _Client(stream, target, tls)
    try:
        await _open(client, breaker, target)
        async with asyncio.TaskGroup() as tasks:
            upstream = Upstream(client, target, tasks)
            serving = [
                tasks.create_task(upstream.receive(on_message), name="upstream-receive"),
                tasks.create_task(upstream.watch(), name="upstream-watch"),
            ]
            yield upstream
            await upstream.drain()
            for task in serving:
                task.cancel()
    except* (aiomqtt.MqttError, OSError, TimeoutError) as group:
        raise BusError(_first_text(group)) from group
    finally:
        await _close(client, breaker)
        stream.close()


async def _open(client: aiomqtt.Client, breaker: socket.socket, target: Target) -> None:
    entering = asyncio.ensure_future(client.__aenter__())
    try:
        async with asyncio.timeout(target.connect_timeout_s):
            await asyncio.shield(entering)
            topics = target.topics
            granted = await client.subscribe([(topics.to_gateway, QOS), (topics.disconnect, QOS)])
            if any(code != QOS for code in granted):
                raise aiomqtt.MqttError("the broker refused a subscription")
    finally:
        if not entering.done():
            _break(breaker)
            entering.cancel()
        with suppress(aiomqtt.MqttError, asyncio.CancelledError):
            await entering


async def _close(client: _Client, breaker: socket.socket) -> None:
    """DISCONNECT if the broker still takes it, then the end of the socket in any case."""
    try:
        async with asyncio.timeout(LEAVE_S):
            with suppress(aiomqtt.MqttError, OSError):
                await client.__aexit__(None, None, None)
    except TimeoutError:
        pass
    finally:
        _break(breaker)
        await client.finish()
        breaker.close()


def _break(breaker: socket.socket) -> None:
    with suppress(OSError):
        breaker.shutdown(socket.SHUT_RDWR)


def _first_text(group: BaseExceptionGroup[BaseException]) -> str:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return str(first) or type(first).__name__
