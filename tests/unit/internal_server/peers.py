"""Both neighbours of an internal server: a scripted handler on the bus and devices on sockets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import REGISTRY

from module_gateway.bus.link import Address, Link
from module_gateway.bus.memory import MemoryBroker
from module_gateway.internal_server.rules import Fault
from module_gateway.internal_server.server import InternalServer
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.framing import HEADER_SIZE_BYTES
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import (
    DeviceCommand,
    DeviceConnectResponse,
    decode_server_message,
    encode_connect,
    encode_status,
)
from module_gateway.runtime.settings import (
    BusSettings,
    Endpoint,
    ExternalConnection,
    InternalServerSettings,
    Settings,
)
from tests.golden import BUTTON

LIMIT_S = 30.0 * float(os.environ.get("MODULE_GATEWAY_TEST_PATIENCE", "1"))
"""For anything that should come at once: it only ends what hangs, and nothing is measured by it."""

MODULES = (1, 1000)
PUSH_TYPE = 9
OTHER = Device.of(1000, 0, "right_button", "button2", 3)


def closed_so_far(reason: Reason) -> float:
    """Connections that ended for this reason, in this process."""
    return _counted("module_gateway_internal_server_closed_total", reason)


def dropped_so_far(reason: Reason) -> float:
    """Messages that were thrown away for this reason, in this process."""
    return _counted("module_gateway_internal_server_dropped_total", reason)


def _counted(name: str, reason: Reason) -> float:
    return REGISTRY.get_sample_value(name, {"reason": reason}) or 0.0


class EveryType:
    """Supports types below 10; pushes to PUSH_TYPE."""

    def is_device_type_supported(self, device_type: int) -> bool:
        return device_type < 10

    def forward_command_on_receive(self, device_type: int) -> bool:
        return device_type == PUSH_TYPE


class ScriptedHandler:
    """A handler without any rules: answers what the script says, remembers what it was told.

    `verdict` and `reply` get the request and return the answer, None for silence.
    """

    def __init__(
        self, broker: MemoryBroker, settings: BusSettings, modules: Sequence[int] = MODULES
    ) -> None:
        self.modules = tuple(modules)
        self.verdict: Callable[[bus_pb2.ConnectRequest], int | None] = lambda _request: 0
        self.reply: Callable[[bus_pb2.StatusRequest], bytes | None] = lambda r: b"to " + r.status
        self.heard: list[tuple[str, Any]] = []
        self.server: Address | None = None
        self.link = Link(broker.bus(), bus_pb2.MODULE_HANDLER, settings, self, self._presence)
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def _presence(self) -> bus_pb2.Presence:
        served = [
            bus_pb2.Presence.Served(module=module, partitions=2**64 - 1) for module in self.modules
        ]
        return bus_pb2.Presence(served=served)

    # LinkListener
    def link_up(self) -> None:
        pass

    def link_down(self, reason: str) -> None:
        pass

    def peer_up(self, peer: Address, presence: bus_pb2.Presence) -> None:
        if peer.kind == bus_pb2.INTERNAL_SERVER:
            self.server = peer

    def peer_lost(self, peer: Address) -> None:
        pass

    def received(self, sender: Address, messages: Sequence[bus_pb2.Message]) -> None:
        for message in messages:
            kind = message.WhichOneof("body")
            assert kind is not None
            body = getattr(message, kind)
            self.heard.append((kind, body))
            if kind == "connect_request" and (verdict := self.verdict(body)) is not None:
                self.tell(connect_verdict={"instance": body.instance, "response": verdict})
            if kind == "status_request" and (reply := self.reply(body)) is not None:
                self.answer(body, reply)
        self._changed.set()

    # Script
    def tell(self, **body: Any) -> None:
        assert self.server is not None
        assert self.link.send(self.server, bus_pb2.Message(**body))

    def answer(self, request: bus_pb2.StatusRequest, command: bytes) -> None:
        self.tell(
            status_reply={
                "instance": request.instance,
                "sequence": request.sequence,
                "command": command,
            }
        )

    def of(self, kind: str) -> list[Any]:
        """All bodies of one kind heard so far."""
        return [body for heard, body in self.heard if heard == kind]

    def ended(self) -> list[tuple[int, int]]:
        """(instance, cause) of every end heard so far."""
        return [(body.instance, body.cause) for body in self.of("connection_ended")]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something heard makes the condition true."""
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def hear(self, kind: str, count: int = 1) -> list[Any]:
        """Wait for `count` bodies of a kind."""
        await self.until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)

    def start(self) -> None:
        self._task = asyncio.create_task(self.link.run(), name="scripted-handler")

    async def die(self) -> None:
        """Be gone without a word."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


@dataclass
class Client:
    """One device on a real socket."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    device: Device

    def send(self, chunk: bytes) -> None:
        self.writer.write(chunk)

    async def answer(self) -> DeviceConnectResponse | DeviceCommand:
        async with asyncio.timeout(LIMIT_S):
            header = await self.reader.readexactly(HEADER_SIZE_BYTES)
            size_bytes = int.from_bytes(header, "little")
            return decode_server_message(await self.reader.readexactly(size_bytes))

    async def connect(self) -> int:
        self.send(encode_connect(self.device))
        response = await self.answer()
        assert isinstance(response, DeviceConnectResponse)
        assert response.device == self.device
        return response.response

    async def exchange(self, status: bytes) -> bytes:
        self.send(encode_status(self.device, status))
        command = await self.answer()
        assert isinstance(command, DeviceCommand)
        assert command.device == self.device
        return command.command

    async def rest(self) -> bytes:
        """What still comes before the server closes."""
        async with asyncio.timeout(LIMIT_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    def reset(self) -> None:
        self.writer.transport.abort()


@dataclass
class Site:
    """A running server, its handler and the devices that were opened."""

    broker: MemoryBroker
    settings: Settings
    server: InternalServer
    handler: ScriptedHandler
    stop: asyncio.Event
    run: asyncio.Task[None]
    clients: list[Client] = field(default_factory=list)
    handlers: list[ScriptedHandler] = field(default_factory=list)

    async def open(self, device: Device = BUTTON) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.bound_port)
        client = Client(reader, writer, device)
        self.clients.append(client)
        return client

    async def connected(self, device: Device = BUTTON) -> Client:
        client = await self.open(device)
        assert await client.connect() == 0
        return client

    async def add_handler(self, modules: Sequence[int] = MODULES) -> ScriptedHandler:
        """Start another handler and wait until the server has told it what is open."""
        handler = ScriptedHandler(self.broker, self.settings.bus, modules)
        self.handlers.append(handler)
        handler.start()
        await handler.hear("live_connections")
        return handler


def settings_for_tests(bus: dict[str, int] | None = None, **server: Any) -> Settings:
    """Loopback, any port; `server` are internal server settings, `bus` bus settings.

    The reply window is wide: only tests of the window itself should depend on the machine's speed.
    """
    endpoint = Endpoint(server_ip="127.0.0.1", port=1, modules=MODULES)
    return Settings(
        config_version=1,
        bus=BusSettings(**(bus or {})),
        internal_server_settings=InternalServerSettings(
            **{"ip_address": "127.0.0.1", "port": 0, "reply_window_ms": 1000, **server}
        ),
        external_connection=ExternalConnection(endpoints=(endpoint,)),
    )


@asynccontextmanager
async def site(
    settings: Settings | None = None, fault: Fault = Fault.NONE, handlers: int = 1
) -> AsyncIterator[Site]:
    """A server with its handler, stopped and checked at the end."""
    settings = settings or settings_for_tests()
    broker = MemoryBroker()
    modules = {number: EveryType() for number in (*MODULES, 77)}
    server = InternalServer(settings, modules, broker.bus(), fault)
    stop = asyncio.Event()
    run = asyncio.create_task(server.run(stop), name="internal-server")
    handler = ScriptedHandler(broker, settings.bus)
    here = Site(broker, settings, server, handler, stop, run)
    try:
        async with asyncio.timeout(LIMIT_S):
            await server.started.wait()
        if handlers:
            here.handlers.append(handler)
            handler.start()
            await handler.hear("live_connections")
        yield here
    finally:
        stop.set()
        try:
            async with asyncio.timeout(LIMIT_S):
                await run
        finally:
            for one in here.handlers:
                await one.die()
            for client in here.clients:
                client.writer.close()
                await asyncio.wait([asyncio.ensure_future(client.writer.wait_closed())])
