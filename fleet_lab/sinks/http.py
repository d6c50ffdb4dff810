"""Statuses as HTTP requests; `answered` is a 2xx, whose body is a command when there is one."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from urllib.parse import quote

from fleet_lab.errors import missing_extra
from fleet_lab.sinks.api import DevicePort
from fleet_lab.sinks.paths import expand
from fleet_lab.sinks.retry import OPEN_TIMEOUT_S, REPLY_TIMEOUT_S, cause
from fleet_lab.sinks.session import LostError, SessionSink

try:
    import httpx
except ImportError:
    raise missing_extra("httpx", "lab", "the sink http") from None


class HttpSink(SessionSink):
    """`http://HOST:PORT/PATH`: one POST per status over a connection that is kept."""

    __slots__ = ()

    async def _live(self, port: DevicePort) -> None:
        await self._reach()
        path = quote(expand(self.url.path, port.device), safe="/")
        target = f"{self.url.scheme}://{self.url.netloc}{path}"
        is_tls = self.url.scheme == "https"
        async with httpx.AsyncClient(
            verify=is_tls, trust_env=False, timeout=REPLY_TIMEOUT_S
        ) as client:
            self._stands(port)
            while True:
                number, payload = await self._outgoing.get()
                await self._post(client, target, number, payload, port)

    async def _reach(self) -> None:
        """HTTP has no connection to speak of, but whether somebody listens can be asked."""
        async with asyncio.timeout(OPEN_TIMEOUT_S), AsyncExitStack() as stack:
            _, writer = await asyncio.open_connection(self.url.host, self.url.port)
            stack.callback(writer.close)

    async def _post(
        self, client: httpx.AsyncClient, target: str, number: int, payload: bytes, port: DevicePort
    ) -> None:
        try:
            answer = await client.post(
                target, content=payload, headers={"content-type": "application/json"}
            )
        except httpx.ConnectError as error:
            port.failed(number, cause(error))
            raise LostError(cause(error)) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise LostError(cause(error)) from error
        if answer.is_success:
            self._took(port, number, answer.content)
        else:
            port.failed(number, f"{answer.status_code} {answer.reason_phrase}")
