"""A connection to a broker that only listens, and comes back after an outage.

It has a client id of its own with a random part, so it throws nobody out, and it publishes nothing.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from module_gateway.bus.location import BusLocation
from module_gateway.bus.mqtt_connection import MqttConnection
from module_gateway.bus.stream import Stream, open_socket, secure
from module_gateway.bus.vigil import ASK_PART
from module_gateway.protocol.errors import BusError

CONNECT_TIMEOUT_S: Final = 5.0
"""For socket, TLS and subscription together, on a starved machine."""

KEEPALIVE_S: Final = 5
"""A tap that was stopped (Ctrl-Z) takes nothing: the broker ends it after one and a half times
this and forgets what waits, so it costs the broker no memory."""

CONFIRM_TIMEOUT_S: Final = 30.0
"""Nothing is published, so nothing waits for a confirmation."""

PAUSE_S: Final = 1.0
"""Between two attempts."""


@dataclass(frozen=True, slots=True)
class Place:
    """What to watch.

    Attributes:
        name: in words, for people.
        location: of the broker.
        topics: to subscribe to.
        tls: makes the context of each connection; None: plaintext.
    """

    name: str
    location: BusLocation
    topics: tuple[str, ...]
    tls: Callable[[], ssl.SSLContext | None] = lambda: None

    def __str__(self) -> str:
        return f"{self.name} at {self.location}"


class Watch:
    """Watches one place. `run` does it until it is cancelled."""

    def __init__(
        self,
        place: Place,
        on_message: Callable[[str, bytes], None],
        on_news: Callable[[str], None],
        *,
        pause_s: float = PAUSE_S,
    ) -> None:
        """`on_message` gets topic and payload, `on_news` a sentence; neither may raise."""
        self.watching: Final = asyncio.Event()
        self._place = place
        self._on_message = on_message
        self._on_news = on_news
        self._pause_s = pause_s

    async def run(self) -> None:
        """Listen for ever. An outage is told once, and when it is over.

        Raises:
            BusError: the first connection could not be made.
            ConfigError: TLS files cannot be used.
        """
        is_told = False
        while True:
            try:
                reason = await self._listen()
                self._on_news(f"{self._place}: {reason}; trying again")
                is_told = True
            except BusError as error:
                if not self.watching.is_set():
                    raise
                if not is_told:
                    self._on_news(f"{error}; trying again")
                is_told = True
            await asyncio.sleep(self._pause_s)

    async def _listen(self) -> str:
        """One connection; returns why it ended."""
        connection: MqttConnection | None = None
        try:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    stream = await self._open()
                    connection = MqttConnection(
                        stream, _client_id(), self._place.topics, self._up, self._on_message
                    )
                    await connection.open(KEEPALIVE_S)
            except TimeoutError as error:
                raise BusError(
                    f"{self._place} does not answer in {CONNECT_TIMEOUT_S:g} s"
                ) from error
            except (OSError, BusError) as error:
                raise BusError(f"{self._place} cannot be watched: {_plainly(error)}") from error
            return await connection.live(CONFIRM_TIMEOUT_S, KEEPALIVE_S * ASK_PART)
        finally:
            if connection is not None:
                with suppress(OSError):
                    connection.close()

    async def _open(self) -> Stream:
        context = self._place.tls()
        plain = await open_socket(self._place.location)
        return plain if context is None else await secure(plain, context, self._place.location.host)

    def _up(self) -> None:
        self.watching.set()
        self._on_news(f"watching {self._place}")


def _client_id() -> str:
    return f"tap-{os.getpid()}-{secrets.token_hex(4)}"


def _plainly(error: OSError | BusError) -> str:
    is_systems = isinstance(error, OSError) and not isinstance(error, ssl.SSLError)
    if is_systems and isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
