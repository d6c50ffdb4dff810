"""The bus on a real broker: MQTT 3.1.1, QoS 1, clean sessions, reconnecting for ever.

Any MQTT broker will do; the topics need no wildcard, no retained message and no will. The bytes
are the business of an adapter: "lean" is our own, "paho" is the Eclipse library's state machine.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, Protocol

from tenacity import AsyncRetrying, retry_if_exception_type
from tenacity.wait import wait_exponential_jitter

from module_gateway.bus.edge import notify
from module_gateway.bus.lean_connection import LeanConnection
from module_gateway.bus.location import BusLocation
from module_gateway.bus.port import BusListener
from module_gateway.bus.stream import open_socket
from module_gateway.bus.vigil import ASK_PART
from module_gateway.protocol.errors import BusError
from module_gateway.runtime.log import get_logger

if TYPE_CHECKING:
    from module_gateway.bus.mqtt_connection import MqttConnection

Adapter = Literal["lean", "paho"]
"""Who speaks MQTT on the connection."""

KEEPALIVE_S: Final = 5
"""A broker that is silent for 1.5 times as long is gone; one that was killed shows it at once."""

CONNECT_TIMEOUT_S: Final = 2.0
"""Socket, CONNACK and SUBACK together. A frozen broker costs so long per attempt."""

CONFIRM_TIMEOUT_S: Final = 5.0
"""A broker that does not confirm for so long is treated as gone."""

MAX_UNDER_WAY: Final = 64
"""Publishes that wait for their confirmation; more wait for their turn. A link has one."""

_PAUSE_MIN_S: Final = 0.05
_PAUSE_MAX_S: Final = 0.7
_PAUSE_JITTER_S: Final = 0.1
"""Together under 1 s: the bus is back within a second after the broker (design 4)."""

_STABLE_S: Final = 1.0
"""A connection that held for so long starts the pauses from the smallest again."""

_log: Final = get_logger(__name__)


class Connection(Protocol):
    """What an adapter makes of a connected socket; see `lean_connection.LeanConnection`."""

    @property
    def is_up(self) -> bool: ...
    async def open(self, keepalive_s: int) -> None: ...
    async def live(self, confirm_timeout_s: float, ask_after_s: float) -> str: ...
    async def publish(self, topic: str, payload: bytes) -> None: ...
    def close(self) -> None: ...


class MqttBus:
    """`port.Bus` on an MQTT broker."""

    def __init__(
        self,
        location: BusLocation | Callable[[], BusLocation],
        client_id: str,
        *,
        adapter: Adapter = "lean",
        name: str = "bus",
        keepalive_s: int = KEEPALIVE_S,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        confirm_timeout_s: float = CONFIRM_TIMEOUT_S,
    ) -> None:
        """Prepare a client of the broker at `location`.

        Args:
            location: where; a callable is asked before every attempt, so a broker that appears
                on its socket later is found.
            client_id: a word for the broker's log. A random part is added: two clients with one
                id would throw each other out for ever.
            adapter: who speaks MQTT.
            name: what the broker is called in this process' log.
            keepalive_s: MQTT keepalive.
            connect_timeout_s: for one attempt.
            confirm_timeout_s: for the confirmation of one message.
        """
        self._location = location
        self._client_id = f"{client_id}-{secrets.token_hex(4)}"
        self._adapter = adapter
        self._name = name
        self._keepalive_s = keepalive_s
        self._connect_timeout_s = connect_timeout_s
        self._confirm_timeout_s = confirm_timeout_s
        self._under_way = asyncio.Semaphore(MAX_UNDER_WAY)
        self._connection: Connection | None = None
        self._last_failure = ""
        """Reported already: an outage is one log line, not one per attempt."""
        self._is_just_lost = False

    async def run(self, topics: tuple[str, ...], listener: BusListener) -> None:
        """See `port.Bus`. One `run` at a time.

        Raises:
            ConfigError: only from a `location` that is a callable.
        """
        while True:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(BusError),
                wait=wait_exponential_jitter(
                    multiplier=_PAUSE_MIN_S, max=_PAUSE_MAX_S, jitter=_PAUSE_JITTER_S
                ),
            ):
                with attempt:
                    await self._connect_and_live(topics, listener)

    async def publish(self, topic: str, payload: bytes) -> None:
        """See `port.Bus`."""
        async with self._under_way:
            connection = self._connection
            if connection is None:
                raise BusError("the bus is down")
            await connection.publish(topic, payload)

    async def _connect_and_live(self, topics: tuple[str, ...], listener: BusListener) -> None:
        """One connection from its attempt to its end.

        Returns normally when it held for a while: the next attempt needs no pause.

        Raises:
            BusError: it could not be made, or broke at once.
        """
        location = self._location() if callable(self._location) else self._location
        connection: Connection | None = None
        up_since: float | None = None
        now = asyncio.get_running_loop().time

        def tell_up() -> None:
            nonlocal up_since
            up_since, self._connection, self._last_failure = now(), connection, ""
            _log.info(f"{self._name}_up", location=str(location))
            notify(listener.bus_up)

        def tell_message(topic: str, payload: bytes) -> None:
            notify(listener.bus_message, topic, payload)

        try:
            try:
                async with asyncio.timeout(self._connect_timeout_s):
                    stream = await open_socket(location)
                    connection = _connection_class(self._adapter)(
                        stream, self._client_id, topics, tell_up, tell_message
                    )
                    await connection.open(self._keepalive_s)
            except TimeoutError:
                if connection is None or not connection.is_up:
                    raise
                # It was there in time: this process stood still before it looked at the clock.
            ask_after_s = self._keepalive_s * ASK_PART
            reason = await connection.live(self._confirm_timeout_s, ask_after_s)
        except (OSError, TimeoutError, BusError) as error:
            reason = f"no broker at {location}: {_plainly(error)}"
        finally:
            self._connection = None
            if connection is not None:
                connection.close()
        if reason != self._last_failure:
            # That nobody is there right after a loss says nothing new.
            level = logging.DEBUG if self._is_just_lost and up_since is None else logging.WARNING
            self._last_failure = reason
            _log.log(level, f"{self._name}_down", location=str(location), detail=reason)
        self._is_just_lost = up_since is not None
        if up_since is not None:
            notify(listener.bus_down, reason)
            if now() - up_since >= _STABLE_S:
                return
        raise BusError(reason)


def _connection_class(adapter: Adapter) -> type[LeanConnection | MqttConnection]:
    if adapter == "lean":
        return LeanConnection
    # paho takes 4 MiB of each process that imports it.
    from module_gateway.bus.mqtt_connection import MqttConnection  # noqa: PLC0415

    return MqttConnection


def _plainly(error: Exception) -> str:
    """A failed attempt in the system's words, without numbers and Python's names."""
    if isinstance(error, TimeoutError) and not error.errno:
        return "no answer in time"
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    return str(error) or type(error).__name__
