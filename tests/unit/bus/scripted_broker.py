"""A broker that does what a test says, on bytes: no MQTT library has a part in it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

CONNECT, PUBLISH, PUBACK, SUBSCRIBE, PINGREQ, DISCONNECT = 1, 3, 4, 8, 12, 14

CONNACK_OK = bytes.fromhex("20020000")
CONNACK_NOT_AUTHORISED = bytes.fromhex("20020005")
PINGRESP = bytes.fromhex("d000")


@dataclass
class Packet:
    kind: int
    flags: int
    body: bytes

    @property
    def subscribed_id(self) -> bytes:
        return self.body[:2]

    @property
    def published_id(self) -> bytes:
        start = 2 + int.from_bytes(self.body[:2], "big")
        return self.body[start : start + 2]


@dataclass
class Client:
    """One accepted connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def read(self) -> Packet:
        first = (await self.reader.readexactly(1))[0]
        size, shift = 0, 0
        while True:
            group = (await self.reader.readexactly(1))[0]
            size |= (group & 0x7F) << shift
            shift += 7
            if group < 0x80:
                break
        return Packet(first >> 4, first & 0x0F, await self.reader.readexactly(size))

    def write(self, packet: bytes) -> None:
        self.writer.write(packet)

    async def accept(self) -> Packet:
        """Let it connect and subscribe; returns its SUBSCRIBE."""
        await self.read()
        self.write(CONNACK_OK)
        subscribe = await self.read()
        topics = subscribe.body.count(b"mg/")
        self.write(bytes([0x90, 2 + topics]) + subscribe.subscribed_id + bytes([1] * topics))
        return subscribe


Script = Callable[[Client], Awaitable[None]]


@dataclass
class ScriptedBroker:
    """Serves every connection by the script that is next, the last one for ever."""

    path: Path
    scripts: list[Script]
    connections: int = 0
    failures: list[BaseException] = field(default_factory=list)
    serving: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self.scripts[min(self.connections, len(self.scripts) - 1)]
        self.connections += 1
        self.serving.add(asyncio.current_task())
        try:
            await script(Client(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except AssertionError as error:
            self.failures.append(error)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def scripted(path: Path, *scripts: Script) -> AsyncIterator[ScriptedBroker]:
    broker = ScriptedBroker(path, list(scripts))
    server = await asyncio.start_unix_server(broker.serve, str(path))
    try:
        yield broker
    finally:
        server.close()
        await server.wait_closed()
        async with asyncio.timeout(30):
            await asyncio.gather(*broker.serving)
    assert [] == broker.failures


async def until_it_leaves(client: Client) -> None:
    """Answer pings and publishes until the client is gone."""
    while True:
        packet = await client.read()
        match packet.kind:
            case 12:
                client.write(PINGRESP)
            case 3:
                client.write(b"\x40\x02" + packet.published_id)
            case 14:
                return
            case _:
                raise AssertionError(f"unexpected packet {packet}")
