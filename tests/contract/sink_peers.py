"""The far side of every sink, as real as it gets on one machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
from abc import ABC, abstractmethod
from pathlib import Path

import aiomqtt
import simplefix
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from fleet_lab.cancelling import cancel_all
from module_gateway.protocol.framing import FrameDecoder
from module_gateway.protocol.internal import (
    DeviceConnect,
    decode_client_message,
    encode_command,
    encode_connect_response,
)
from tests.brokers import MosquittoBroker, free_port

LIMIT_S = 30.0


class Peer(ABC):
    """Collects statuses, sends commands, can go away and come back."""

    is_local = False
    notices_by_itself = True
    """Whether the sink hears of the peer's end without sending anything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.received: list[bytes] = []
        self._changed = asyncio.Event()

    @property
    @abstractmethod
    def url(self) -> str: ...

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def stop(self) -> None: ...

    @abstractmethod
    async def command(self, payload: bytes) -> None:
        """Send it now, or with the answer to the next status."""

    def took(self, payload: bytes) -> None:
        self.received.append(payload)
        self._changed.set()

    async def got(self, count: int) -> list[bytes]:
        async with asyncio.timeout(LIMIT_S):
            while len(self.received) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.received


class TcpPeer(Peer):
    """One asyncio server; `talk` is one connection."""

    _server: asyncio.Server | None = None

    async def start(self) -> None:
        self._writers: set[asyncio.StreamWriter] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self.talk(reader, writer)
        self._writers.discard(writer)
        writer.close()

    @abstractmethod
    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...


class GatewayPeer(TcpPeer):
    """Answers every status with the next command, or an empty one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._next = b""

    @property
    def url(self) -> str:
        return f"fleet-protocol://127.0.0.1:{self.port}"

    async def command(self, payload: bytes) -> None:
        self._next = payload

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = FrameDecoder()
        while chunk := await reader.read(65536):
            decoder.receive(chunk)
            while frame := decoder.next_frame():
                message = decode_client_message(frame)
                if isinstance(message, DeviceConnect):
                    writer.write(encode_connect_response(message.device, 0))
                    continue
                self.took(message.status)
                payload, self._next = self._next, b""
                writer.write(encode_command(message.device, payload))


class MqttPeer(Peer):
    """A real Mosquitto and a subscriber."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._broker = MosquittoBroker(folder, has_unix=False)
        self._listening: asyncio.Task[None] | None = None
        self._commands: asyncio.Queue[bytes] = asyncio.Queue()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self._broker.port}/fleet/{{id}}"

    async def start(self) -> None:
        await asyncio.to_thread(self._broker.start)
        subscribed = asyncio.Event()
        self._listening = asyncio.create_task(self._listen(subscribed))
        await asyncio.wait_for(subscribed.wait(), LIMIT_S)

    async def stop(self) -> None:
        if self._listening is None:
            return
        listening, self._listening = self._listening, None
        await cancel_all(listening)
        await asyncio.gather(listening, return_exceptions=True)
        await asyncio.to_thread(self._broker.kill)

    async def command(self, payload: bytes) -> None:
        assert self._broker.port is not None
        async with aiomqtt.Client("127.0.0.1", self._broker.port) as client:
            await client.publish("fleet/probe/command", payload, qos=1)

    async def _listen(self, subscribed: asyncio.Event) -> None:
        assert self._broker.port is not None
        async with aiomqtt.Client("127.0.0.1", self._broker.port) as client:
            await client.subscribe("fleet/probe", qos=1)
            subscribed.set()
            async for message in client.messages:
                self.took(bytes(message.payload))  # type: ignore[arg-type]  # a status is bytes


class HttpPeer(TcpPeer):
    """Just enough of HTTP/1.1; the next command is the body of the next answer."""

    notices_by_itself = False
    status_line = "200 OK"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._next = b""
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/fleet/{{id}}"

    async def command(self, payload: bytes) -> None:
        self._next = payload

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.paths.append(head.split()[1])
            fields = dict(
                line.lower().split(": ", 1) for line in head.splitlines()[1:] if ": " in line
            )
            self.took(await reader.readexactly(int(fields["content-length"])))
            payload, self._next = self._next, b""
            writer.write(
                f"HTTP/1.1 {self.status_line}\r\ncontent-length: {len(payload)}\r\n\r\n".encode()
                + payload
            )


class WebSocketPeer(Peer):
    """The websockets library's server."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server: Server | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/fleet/{{id}}"

    async def start(self) -> None:
        self._server = await serve(self._talk, "127.0.0.1", self.port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def command(self, payload: bytes) -> None:
        assert self._server is not None
        for connection in self._server.connections:
            await connection.send(payload)

    async def _talk(self, connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in connection:
                self.took(message.encode() if isinstance(message, str) else message)


class FixPeer(TcpPeer):
    """An acceptor that answers Logon, TestRequest and Logout, made of simplefix alone."""

    rejects = False
    is_mute = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.kinds: list[bytes] = []
        self._sequence = 0

    @property
    def url(self) -> str:
        return f"fix://127.0.0.1:{self.port}/GATEWAY"

    async def until_kinds(self, count: int) -> None:
        async with asyncio.timeout(LIMIT_S):
            while len(self.kinds) < count:
                self._changed.clear()
                await self._changed.wait()

    async def command(self, payload: bytes) -> None:
        for writer in self._writers:
            writer.write(self._message(b"B", (148, "c"), (33, 1), (58, "c"), *_raw(payload)))

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = simplefix.FixParser()
        self._sequence = 0
        while chunk := await reader.read(65536):
            parser.append_buffer(chunk)
            while (message := parser.get_message()) is not None:
                self.kinds.append(message.message_type)
                self._changed.set()
                match message.message_type:
                    case b"A" if self.is_mute:
                        pass
                    case b"B" if self.rejects:
                        about = message.get(34)
                        writer.write(self._message(b"3", (45, about), (58, "not today")))
                    case b"A":
                        writer.write(self._message(b"A", (98, 0), (108, 30), (141, "Y")))
                    case b"1":
                        writer.write(self._message(b"0", (112, message.get(112))))
                    case b"B":
                        assert (message.get(49), message.get(56)) == (b"probe", b"GATEWAY")
                        self.took(message.get(96) or b"")
                    case b"5":
                        return

    def _message(self, kind: bytes, *pairs: tuple[int, object]) -> bytes:
        self._sequence += 1
        message = simplefix.FixMessage()
        for tag, value in (
            (8, "FIX.4.4"), (35, kind), (49, "GATEWAY"), (56, "probe"), (34, self._sequence),
            (52, "20261120-12:00:00.000"), *pairs,
        ):  # fmt: skip
            message.append_pair(tag, value)
        return bytes(message.encode())


def _raw(payload: bytes) -> tuple[tuple[int, object], ...]:
    return ((95, len(payload)), (96, payload))


class FilePeer(Peer):
    """A file of JSON lines."""

    is_local = True

    @property
    def url(self) -> str:
        return f"file:{self.folder}/{{id}}.jsonl"

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def command(self, payload: bytes) -> None: ...

    async def got(self, count: int) -> list[bytes]:
        text = (self.folder / "probe.jsonl").read_text()
        return [json.loads(line)["status"].encode() for line in text.splitlines()]


PEERS = {
    "fleet-protocol": GatewayPeer,
    "mqtt": MqttPeer,
    "http": HttpPeer,
    "websocket": WebSocketPeer,
    "fix": FixPeer,
    "file": FilePeer,
}
