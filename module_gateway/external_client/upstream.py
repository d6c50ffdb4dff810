"""One MQTT connection to a control plane's broker (fleet-protocol 4.1)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from module_gateway.bus.lean_connection import LeanConnection
from module_gateway.bus.location import BusLocation
from module_gateway.bus.stream import open_socket
from module_gateway.bus.vigil import ASK_PART
from module_gateway.protocol.errors import BusError
from module_gateway.protocol.external import Topics

MAX_IN_FLIGHT: Final = 20
"""Unconfirmed PUBLISHes towards the broker; the existing gateway's number (fleet-protocol 4.1)."""

LEAVE_S: Final = 0.3
"""For the confirmations of what was published last."""


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

    def __init__(self, connection: LeanConnection, topics: Topics) -> None:
        self._connection = connection
        self._topic = topics.from_gateway

    def publish(self, payload: bytes) -> None:
        """Send to the control plane, in the order of the calls.

        Never raises: a message that cannot be sent, or that the broker does not confirm in time,
        ends the connection.
        """
        try:
            self._connection.send(self._topic, payload, _settled)
        except BusError as error:
            self._connection.lose(str(error))


@asynccontextmanager
async def connect(
    target: Target, tls: ssl.SSLContext | None, on_message: Callable[[str, bytes], None]
) -> AsyncIterator[Upstream]:
    """Connect, subscribe and serve the connection while the context is open.

    With `tls` the broker's certificate and host name are verified as the context says, and
    nothing is ever sent in plaintext. The body is cancelled when the connection is lost, and the
    reason raised. `on_message` gets topic and payload; it must not raise.

    Raises:
        BusError: it could not be opened, or was lost.
    """
    connection = await _open(target, tls, on_message)
    try:
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(_watch(connection, target), name="upstream-watch")
            yield Upstream(connection, target.topics)
            await connection.drain(LEAVE_S)
            watching.cancel()
    except* BusError as group:
        raise BusError(str(group.exceptions[0])) from group
    finally:
        connection.close()


async def _open(
    target: Target, tls: ssl.SSLContext | None, on_message: Callable[[str, bytes], None]
) -> LeanConnection:
    connection: LeanConnection | None = None
    awaited = "TCP connection"
    topics = target.topics
    try:
        async with asyncio.timeout(target.connect_timeout_s):
            stream = await open_socket(BusLocation(None, target.host, target.port))
            connection = LeanConnection(
                stream,
                target.client_id,
                (topics.to_gateway, topics.disconnect),
                lambda: None,
                on_message,
                max_in_flight=MAX_IN_FLIGHT,
            )
            if tls is not None:
                awaited = "TLS handshake"
                await connection.attach(tls, target.host)
            awaited = "MQTT session"
            await connection.open(target.keepalive_s)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, TimeoutError):
            text = f"no {awaited} within {target.connect_timeout_s} s"
            raise BusError(text) from error
        if isinstance(error, OSError):
            raise BusError(f"no {awaited}: {error}") from error
        raise
    return connection


async def _watch(connection: LeanConnection, target: Target) -> None:
    ask_after_s = target.keepalive_s * ASK_PART
    raise BusError(await connection.live(ask_after_s, ask_after_s))


def _settled(_error: BusError | None) -> None:
    """The control plane's own answer counts, and a lost connection ends the session anyway."""
