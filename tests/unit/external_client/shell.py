"""A real external client between a fake handler on a memory bus and a scripted peer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from module_gateway.bus.link import Address, Link
from module_gateway.bus.memory import MemoryBroker
from module_gateway.external_client.client import ExternalClient
from module_gateway.protocol import bus_pb2
from module_gateway.runtime.settings import (
    Endpoint,
    ExternalClientSettings,
    ExternalConnection,
    MqttSettings,
    Settings,
)
from tests.unit.external_client.world import MODULE, Handler, TraceModule


class LinkedHandler(Handler):
    """The virtual handler of the pure tests on a real link."""

    def attach(self, broker: MemoryBroker, settings: Settings) -> None:
        self.link = Link(broker.bus(), bus_pb2.MODULE_HANDLER, settings.bus, self, self.presence)
        self.client: Address | None = None
        self.news = asyncio.Event()

    def link_up(self) -> None: ...

    def link_down(self, reason: str) -> None: ...

    def peer_up(self, peer: Address, presence: bus_pb2.Presence) -> None: ...

    def peer_lost(self, peer: Address) -> None: ...

    def received(self, sender: Address, messages: Sequence[bus_pb2.Message]) -> None:
        self.client = sender
        for message in messages:
            self.index = getattr(message, message.WhichOneof("body") or "").endpoint
            self.epoch_of(message)
            self.told(message)
        self.flush()
        self.news.set()

    def epoch_of(self, message: bus_pb2.Message) -> None:
        self.current_epoch = getattr(message, message.WhichOneof("body") or "").epoch

    def flush(self) -> None:
        """Send what the handler said."""
        while self.said and self.client is not None:
            message = self.said.popleft()
            body = getattr(message, message.WhichOneof("body") or "")
            body.endpoint, body.epoch = self.index, self.current_epoch
            self.link.send(self.client, message)

    async def until(self, condition, timeout_s: float = 30.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                self.news.clear()
                await self.news.wait()


def make_settings(
    *ports: int,
    modules: Sequence[tuple[int, ...]] = (),
    tls: MqttSettings | None = None,
    **own: int,
) -> Settings:
    endpoints = tuple(
        Endpoint(
            server_ip="127.0.0.1",
            port=port,
            modules=modules[index] if modules else (MODULE,),
            mqtt_settings=tls or MqttSettings(),
        )
        for index, port in enumerate(ports)
    )
    return Settings(
        external_connection=ExternalConnection(
            company="acme", vehicle_name="van", endpoints=endpoints
        ),
        external_client_settings=ExternalClientSettings(**own),
    )


@asynccontextmanager
async def running_client(
    settings: Settings,
    handler: LinkedHandler,
    modules: tuple[int, ...] = (MODULE,),
    checks: dict[str, bool] | None = None,
) -> AsyncIterator[tuple[ExternalClient, asyncio.Event, asyncio.Task[None]]]:
    """The client, the event that stops it, and the task that it runs in."""
    broker = MemoryBroker()
    handler.attach(broker, settings)
    module = TraceModule()
    noted = {} if checks is None else checks
    client = ExternalClient(
        settings,
        dict.fromkeys(modules, module),
        broker.bus(),
        health_changed=lambda name, is_ok, _: noted.update({name: is_ok}),
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    handling = loop.create_task(handler.link.run())
    running = loop.create_task(client.run(stop))
    try:
        await asyncio.wait_for(client.ready(), 30)
        yield client, stop, running
    finally:
        stop.set()
        await asyncio.wait((running,), timeout=30)
        handling.cancel()
        await asyncio.gather(handling, return_exceptions=True)


def listening_socket() -> socket.socket:
    """A port that accepts connections and says nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    return listener
