"""The small HTTP server of every process."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import pytest

from module_gateway.runtime import metrics
from module_gateway.runtime.health import STARTED, Health
from module_gateway.runtime.metrics import MAX_REQUESTS, page, serve_metrics


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    return answer


async def test_metrics_health_and_readiness_are_served() -> None:
    health = Health()
    async with serve_metrics(0, health) as port:
        exposition = await ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        alive = await ask(port, b"GET /healthz HTTP/1.0\r\n\r\n")
        early = await ask(port, b"GET /readyz?verbose HTTP/1.0\r\n\r\n")
        health.set(STARTED, True)
        ready = await ask(port, b"GET /readyz HTTP/1.0\r\n\r\n")

    assert exposition.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"module_gateway_unexpected_errors_total" in exposition
    assert alive.startswith(b"HTTP/1.0 200 ")
    assert early.startswith(b"HTTP/1.0 503 ")
    assert json.loads(ready.partition(b"\r\n\r\n")[2])["ready"] is True


async def test_head_has_no_body() -> None:
    async with serve_metrics(0, Health()) as port:
        answer = await ask(port, b"HEAD /metrics HTTP/1.0\r\n\r\n")

    assert answer.partition(b"\r\n\r\n")[2] == b""


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/metrics", "405"), ("GET", "/", "404"), ("GET", "/metrics/../x", "404")],
)
def test_nothing_else_is_answered(method: str, path: str, status: str) -> None:
    assert page(method, path, Health()).status.startswith(status)


@pytest.mark.parametrize("request_bytes", [b"GET /" + b"x" * 20_000, b"\r\n\r\n", b"\xff\r\n\r\n"])
async def test_a_strange_request_harms_nobody(request_bytes: bytes) -> None:
    async with serve_metrics(0, Health()) as port:
        with suppress(ConnectionError):  # closed with input unread: also an answer
            await ask(port, request_bytes)
        alive = await ask(port, b"GET /healthz HTTP/1.0\r\n\r\n")

    assert b"200 OK" in alive


async def test_a_client_that_sends_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "REQUEST_TIMEOUT_S", 0.01)
    async with serve_metrics(0, Health()) as port:
        assert await ask(port, b"") == b""


async def test_only_some_are_answered_at_once() -> None:
    async with serve_metrics(0, Health()) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_REQUESTS)]
        assert await ask(port, b"GET /healthz HTTP/1.0\r\n\r\n") == b""
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
