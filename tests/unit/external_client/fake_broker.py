"""An MQTT 3.1.1 broker on a socket that shows every packet and misbehaves on demand."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK = 1, 2, 3, 4, 8, 9
PINGREQ, DISCONNECT = 12, 14


@dataclass
class Packet:
    """One packet of the client; `connection` counts from 1."""

    connection: int
    kind: int
    flags: int
    body: bytes


@dataclass
class FakeBroker:
    """Accepts connections until it is closed. `answers` decides per kind of packet."""

    tls: ssl.SSLContext | None = None
    answers: set[int] = field(default_factory=lambda: {CONNECT, SUBSCRIBE, PUBLISH, PINGREQ})
    subscription: int = 1
    refuses: bool = False
    packets: list[Packet] = field(default_factory=list)
    connections: int = 0
    closed: int = 0

    async def __aenter__(self) -> Self:
        self._news = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def of(self, kind: int) -> list[Packet]:
        return [each for each in self.packets if each.kind == kind]

    def drop_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def stop_listening(self) -> None:
        """Refuse new connections; those that are up go on."""
        self._server.close()

    async def listen_again(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        name = topic.encode()
        body = len(name).to_bytes(2, "big") + name + b"\x00\x07" + payload
        self._writers[-1].write(bytes([0x32 | retain, len(body)]) + body)
        await self._writers[-1].drain()

    async def confirm_all(self) -> None:
        """Confirm every PUBLISH of the newest connection."""
        for each in self.of(PUBLISH):
            if each.connection == self.connections:
                self._answer(self._writers[-1], each.kind, each.flags, each.body)
        await self._writers[-1].drain()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        self._writers.append(writer)
        if self.refuses:
            writer.transport.abort()
        try:
            while True:
                first = (await reader.readexactly(1))[0]
                size = shift = 0
                while True:
                    part = (await reader.readexactly(1))[0]
                    size |= (part & 0x7F) << shift
                    shift += 7
                    if part < 0x80:
                        break
                body = await reader.readexactly(size)
                self.packets.append(Packet(number, first >> 4, first & 15, body))
                self._answer(writer, first >> 4, first & 15, body)
                self._news.set()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self.closed += 1
            self._news.set()
            writer.close()

    def _answer(self, writer: asyncio.StreamWriter, kind: int, flags: int, body: bytes) -> None:
        if kind not in self.answers:
            return
        match kind:
            case 1:
                writer.write(b"\x20\x02\x00\x00")
            case 8:
                codes = bytes([self.subscription] * 2)
                writer.write(bytes([0x90, 4]) + body[:2] + codes)
            case 3 if flags & 6:
                size = int.from_bytes(body[:2], "big")
                writer.write(b"\x40\x02" + body[2 + size : 4 + size])
            case 12:
                writer.write(b"\xd0\x00")
