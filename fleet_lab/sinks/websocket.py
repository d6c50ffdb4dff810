"""Statuses over a WebSocket; `answered` is the pong to a ping that followed the message."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import quote

from fleet_lab.errors import missing_extra
from fleet_lab.sinks.api import DevicePort
from fleet_lab.sinks.paths import expand
from fleet_lab.sinks.retry import OPEN_TIMEOUT_S, REPLY_TIMEOUT_S, cause
from fleet_lab.sinks.session import LostError, SessionSink, until_one_ends

try:
    from websockets.asyncio.client import ClientConnection, connect
    from websockets.exceptions import WebSocketException
except ImportError:
    raise missing_extra("websockets", "lab", "the sink websocket") from None


CLOSE_TIMEOUT_S: Final = 2.0
"""How long a peer may take to answer the closing handshake before its socket is dropped."""


class WebSocketSink(SessionSink):
    """`ws://HOST:PORT/PATH`: a message per status; every message that comes is a command.

    A message is text when it is UTF-8, else binary. The pong shows that the far side has read
    the message off the wire: WebSocket itself acknowledges nothing.
    """

    __slots__ = ()

    async def _live(self, port: DevicePort) -> None:
        path = quote(expand(self.url.path, port.device), safe="/")
        uri = f"{self.url.scheme}://{self.url.netloc}{path}"
        try:
            async with connect(
                uri,
                open_timeout=OPEN_TIMEOUT_S,
                compression=None,
                proxy=None,
                close_timeout=CLOSE_TIMEOUT_S,
            ) as connection:
                self._stands(port)
                await until_one_ends(
                    port.device.id,
                    self._commands(connection, port),
                    self._statuses(connection, port),
                )
        except WebSocketException as error:
            raise LostError(cause(error)) from error

    async def _statuses(self, connection: ClientConnection, port: DevicePort) -> None:
        while True:
            number, payload = await self._outgoing.get()
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                await connection.send(payload, text=_is_text(payload))
                await (await connection.ping())
            self._took(port, number)

    async def _commands(self, connection: ClientConnection, port: DevicePort) -> None:
        async for message in connection:
            port.commanded(message.encode() if isinstance(message, str) else message)


def _is_text(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
