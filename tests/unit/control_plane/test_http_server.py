from __future__ import annotations

import asyncio
import signal
import socket

import httpx
import pytest

from module_gateway.control_plane.http_server import serve_http
from module_gateway.protocol.errors import ConfigError


async def hello(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def test_it_answers_on_the_port_that_it_names():
    async with serve_http(hello, "127.0.0.1", 0) as port, httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{port}/")).text == "hello"
    with pytest.raises(OSError, match=r"refused|Connect"):
        await asyncio.open_connection("127.0.0.1", port)


async def test_signals_stay_with_the_process():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    async with serve_http(hello, "127.0.0.1", 0) as port, httpx.AsyncClient() as client:
        await client.get(f"http://127.0.0.1:{port}/")
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


async def test_a_taken_port_is_no_fault_of_the_configuration():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=r"http-port\): Address already in use"):
            async with serve_http(hello, "127.0.0.1", port):
                pass


async def test_an_address_that_is_none_is_a_configuration_error():
    with pytest.raises(ConfigError, match="http-host"):
        async with serve_http(hello, "256.1.1.1", 0):
            pass
