"""uvicorn inside a loop that somebody else owns: no signals, no logging set-up of its own."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Generator
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.tasks import start_task

CONNECTIONS: Final = 256
"""At once; more are answered 503."""
BACKLOG: Final = 128
STOP_WAIT_S: Final = 2
HEADER_BYTES: Final = 16 * 1024


class _EmbeddedServer(uvicorn.Server):
    """uvicorn that leaves SIGINT and SIGTERM to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Do not."""
        yield


@contextlib.asynccontextmanager
async def serve_http(app: ASGIApp, host: str, port: int) -> AsyncIterator[int]:
    """Answer on `host` while the context is open; yields the port (`port` 0: any free one).

    Raises:
        ConfigError: there is no such address.
        OSError: it is in use.
    """
    listening = _bind(host, port)
    config = uvicorn.Config(
        app,
        loop="none",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        backlog=BACKLOG,
        timeout_graceful_shutdown=STOP_WAIT_S,
        h11_max_incomplete_event_size=HEADER_BYTES,
    )
    server = _EmbeddedServer(config)
    task = start_task(server.serve(sockets=[listening]), "http server")
    try:
        yield int(listening.getsockname()[1])
    finally:
        server.should_exit = True
        await asyncio.wait({task}, timeout=STOP_WAIT_S * 2)
        listening.close()


def _bind(host: str, port: int) -> socket.socket:
    where = "control-plane-settings.http-host and http-port"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(where, got=f"{host}:{port}", expected=f"an address ({error})") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            place = f"{host}:{port} (control-plane-settings.http-port)"
            what = f"cannot listen for page and API on {place}: {error.strerror}"
            raise OSError(what) from error  # as with the port of devices: no fault of the file
        raise ConfigError(
            where,
            got=f"{host}:{port}",
            expected=f"an address of this machine ({error.strerror})",
        ) from error
    listening.setblocking(False)
    return listening
