from __future__ import annotations

import asyncio

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.utils import accept_key

from fleet_lab.sinks.urls import sink_factory
from fleet_lab.sinks.websocket import WebSocketSink
from tests.unit.fleet_lab.sinks.ports import RecordingPort


async def test_text_travels_as_text_and_the_rest_as_binary() -> None:
    seen: list[str | bytes] = []

    async def talk(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.append(connection.request.path)
        seen.extend([message async for message in connection])
        await connection.wait_closed()

    async with serve(talk, "127.0.0.1", 0) as server:
        number = next(iter(server.sockets)).getsockname()[1]
        sink, port = sink_factory(f"ws://127.0.0.1:{number}/x/{{id}}")(), RecordingPort()
        assert isinstance(sink, WebSocketSink)
        await sink.open(port)
        for count, payload in enumerate((b"\xc4\x8d", b"\xff"), 1):
            sink.publish(count, payload)
            await port.saw("answered", count)
        await sink.close()
    assert seen == ["/x/left_button", "č", b"\xff"]


async def test_a_peer_that_reads_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet_lab.sinks.websocket.REPLY_TIMEOUT_S", 0.05)
    hold = asyncio.Event()

    async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line.split(": ")[1] for line in head.splitlines() if "Sec-WebSocket-Key" in line)
        writer.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n".encode()
        )
        await hold.wait()
        writer.close()

    server = await asyncio.start_server(upgrade, "127.0.0.1", 0)
    number = server.sockets[0].getsockname()[1]
    sink, port = sink_factory(f"ws://127.0.0.1:{number}/")(), RecordingPort()
    monkeypatch.setattr("fleet_lab.sinks.websocket.CLOSE_TIMEOUT_S", 0.05)
    await sink.open(port)
    sink.publish(1, b"{}")
    assert await port.saw("disconnected") == [("no answer in time",)]
    await sink.close()
    hold.set()
    server.close()
    await server.wait_closed()
