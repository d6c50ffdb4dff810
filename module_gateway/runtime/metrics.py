"""/metrics, /healthz and /readyz of one process, over a deliberately small HTTP/1.0 server.

Loopback only. Each component declares its own metrics with prometheus-client in its
`metrics.py`; they all end up in the default registry that is rendered here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, Counter, generate_latest

from module_gateway.runtime.health import Health
from module_gateway.runtime.tasks import start_task, stop_tasks

HOST: Final = "127.0.0.1"
REQUEST_BYTES: Final = 8 * 1024
REQUEST_TIMEOUT_S: Final = 5.0
MAX_REQUESTS: Final = 16  # at once; a scraper needs one

UNEXPECTED_ERRORS: Final = Counter(
    "module_gateway_unexpected_errors_total",
    "Exceptions that reached the event loop: defects, each logged with its traceback",
    ["component"],
)


@dataclass(frozen=True, slots=True)
class Page:
    """One answer."""

    status: str
    content_type: str
    body: bytes


def page(method: str, path: str, health: Health) -> Page:
    """The answer to a request; `path` may carry a query, which is ignored."""
    if method not in {"GET", "HEAD"}:
        return Page("405 Method Not Allowed", "text/plain", b"only GET\n")
    match path.partition("?")[0]:
        case "/metrics":
            return Page("200 OK", CONTENT_TYPE_LATEST, generate_latest())
        case "/healthz":
            return Page("200 OK", "application/json", b'{"alive": true}\n')
        case "/readyz":
            status = "200 OK" if health.is_ready else "503 Service Unavailable"
            body = json.dumps(health.report()).encode() + b"\n"
            return Page(status, "application/json", body)
        case _:
            return Page("404 Not Found", "text/plain", b"/metrics, /healthz or /readyz\n")


@asynccontextmanager
async def serve_metrics(port: int, health: Health) -> AsyncIterator[int]:
    """Answer on 127.0.0.1 while the context is open; yields the port (`port` 0: any free one).

    Raises:
        OSError: the port cannot be bound.
    """
    answering: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                await _answer_one(reader, writer, health)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a scraper that went away or sent no request; nobody waits for an answer
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(answering) >= MAX_REQUESTS:
            writer.close()
            return
        task = start_task(answer(reader, writer), "answer-metrics")
        answering.add(task)
        task.add_done_callback(answering.discard)

    server = await asyncio.start_server(accept, HOST, port, limit=REQUEST_BYTES)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await stop_tasks(answering)
        await server.wait_closed()


async def _answer_one(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, health: Health
) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    method, _, rest = head.decode("latin-1").partition("\r\n")[0].partition(" ")
    answer = page(method, rest.partition(" ")[0], health)
    writer.write(
        f"HTTP/1.0 {answer.status}\r\nContent-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\nConnection: close\r\n\r\n".encode("latin-1")
    )
    if method != "HEAD":
        writer.write(answer.body)
    await writer.drain()
