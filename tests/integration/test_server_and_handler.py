"""Internal servers and a module handler, the real ones, on real sockets and a bus in memory."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from module_gateway.bus import batch
from module_gateway.bus.memory import MemoryBroker
from module_gateway.internal_server.server import InternalServer
from module_gateway.module_handler.handler import ModuleHandler
from module_gateway.module_handler.store import MemoryStore
from module_gateway.modules.catalog import load_modules
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import encode_status
from module_gateway.runtime.settings import Settings
from tests.unit.internal_server.peers import LIMIT_S, Client, settings_for_tests

STATUS = json.dumps({"pressed": False}).encode()
TCP_CLOSE_WAIT = 8
OK, ALREADY, HIGHER = 0, 1, 4


def button(priority: int = 0, name: str = "button", role: str = "left_button") -> Device:
    return Device.of(1000, 0, role, name, priority)


@dataclass
class Running:
    """One process' shell and how to end it."""

    shell: InternalServer | ModuleHandler
    stop: asyncio.Event
    task: asyncio.Task[None]

    async def end(self) -> None:
        self.stop.set()
        async with asyncio.timeout(2 * LIMIT_S):
            await self.task

    async def kill(self) -> None:
        """Gone without a word, as far as the others can tell."""
        self.task.cancel()
        await asyncio.wait([self.task])


@dataclass
class Gateway:
    """Servers and one handler that know each other."""

    settings: Settings
    broker: MemoryBroker = field(default_factory=MemoryBroker)
    store: MemoryStore = field(default_factory=MemoryStore)
    servers: list[Running] = field(default_factory=list)
    handler: Running | None = None
    clients: list[Client] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.modules = load_modules(self.settings.module_paths, self.settings.module_settings)

    async def start_handler(self) -> None:
        shell = ModuleHandler(self.settings, self.modules, self.broker.bus(), self.store)
        stop = asyncio.Event()
        task = asyncio.create_task(shell.run(stop), name="module-handler")
        self.handler = Running(shell, stop, task)
        async with asyncio.timeout(LIMIT_S):
            await shell.started.wait()

    async def start_server(self) -> None:
        shell = InternalServer(self.settings, self.modules, self.broker.bus())
        stop = asyncio.Event()
        task = asyncio.create_task(shell.run(stop), name="internal-server")
        self.servers.append(Running(shell, stop, task))
        async with asyncio.timeout(LIMIT_S):
            await shell.started.wait()
            while shell._dialogue._routes.owner(button().identity) is None:
                await asyncio.sleep(0)

    async def open(self, device: Device, server: int = 0) -> Client:
        shell = self.servers[server].shell
        assert isinstance(shell, InternalServer)
        reader, writer = await asyncio.open_connection("127.0.0.1", shell.bound_port)
        client = Client(reader, writer, device)
        self.clients.append(client)
        return client

    async def connected(self, device: Device, server: int = 0) -> Client:
        client = await self.open(device, server)
        assert await client.connect() == OK
        return client


@asynccontextmanager
async def gateway(
    servers: int = 1, reply_window_ms: int = 10_000, probe_window_ms: int = 1_000
) -> AsyncIterator[Gateway]:
    """Windows are wide: only tests of the windows themselves depend on the machine's speed."""
    settings = settings_for_tests(
        {"heartbeat_ms": 50, "silence_ms": 20_000}, reply_window_ms=reply_window_ms
    )
    own = settings.module_handler_settings.model_copy(update={"probe_window_ms": probe_window_ms})
    here = Gateway(settings.model_copy(update={"module_handler_settings": own}))
    try:
        await here.start_handler()
        for _ in range(servers):
            await here.start_server()
        yield here
    finally:
        for one in (*here.servers, here.handler):
            if one is not None and not one.task.done():
                await one.end()
        for client in here.clients:
            client.writer.close()
            await asyncio.wait([asyncio.ensure_future(client.writer.wait_closed())])


def has_heard_goodbye(client: Client) -> bool:
    """Whether the server's end has arrived in the device's kernel; its reading must be paused."""
    sock = client.writer.get_extra_info("socket")
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE_WAIT


class Overheard:
    """Counts the messages on a broker by kind; loses none."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.kinds: Counter[str] = Counter()
        self._changed = asyncio.Event()
        broker.loses = self._hear

    def _hear(self, _topic: str, payload: bytes) -> bool:
        _, messages = batch.decode(payload)
        self.kinds.update(message.WhichOneof("body") or "" for message in messages)
        self._changed.set()
        return False

    async def until(self, kind: str, count: int) -> None:
        async with asyncio.timeout(LIMIT_S):
            while self.kinds[kind] < count:
                self._changed.clear()
                await self._changed.wait()


async def test_R6_server_and_handler_agree_about_the_digest_of_open_connections():
    async with gateway() as here:
        client = await here.connected(button())
        await client.exchange(STATUS)
        overheard = Overheard(here.broker)
        await overheard.until("live_digest", 4)
        assert not overheard.kinds["live_connections_request"]
        assert not overheard.kinds["live_connections"]


async def test_a_status_is_answered_by_the_module():
    async with gateway() as here:
        client = await here.connected(button())
        assert json.loads(await client.exchange(STATUS)) == {"lit_up": False}


SEQUENCES = [
    ((0, 0, 0), (OK, ALREADY, ALREADY)),
    ((0, 0, 1), (OK, ALREADY, HIGHER)),
    ((1, 1, 0), (OK, ALREADY, OK)),
    ((1, 2, 1), (OK, HIGHER, ALREADY)),
    ((1, 0, 1), (OK, OK, HIGHER)),
    ((1, 2, 2), (OK, HIGHER, HIGHER)),
    ((1, 2, 0), (OK, HIGHER, OK)),
    ((2, 1, 0), (OK, OK, OK)),
    ((2, 1, 1), (OK, OK, ALREADY)),
]


@pytest.mark.parametrize(("priorities", "responses"), SEQUENCES)
@pytest.mark.parametrize("servers", [1, 2])
async def test_I7_three_priorities_on_one_identity_get_the_listed_answers(
    priorities: Sequence[int], responses: Sequence[int], servers: int
):
    async with gateway(servers) as here:
        actual = []
        holder: Client | None = None
        for number, priority in enumerate(priorities):
            client = await here.open(button(priority), server=number % servers)
            actual.append(await client.connect())
            if actual[-1] == OK:
                if holder is not None:
                    assert await holder.rest() == b""
                holder = client
            else:
                assert await client.rest() == b""
        assert tuple(actual) == tuple(responses)
        assert holder is not None
        assert await holder.exchange(STATUS)


@pytest.mark.parametrize("servers", [1, 2])
async def test_I6_the_incumbents_socket_is_closed_before_the_newcomer_hears_ok(servers: int):
    async with gateway(servers) as here:
        incumbent = await here.connected(button(5))
        incumbent.writer.transport.pause_reading()
        newcomer = await here.connected(button(0), server=servers - 1)
        assert has_heard_goodbye(incumbent)
        assert await newcomer.exchange(STATUS)


async def test_case03_each_higher_priority_evicts_the_one_before():
    async with gateway() as here:
        first = await here.connected(button(2))
        second = await here.connected(button(1))
        assert await first.rest() == b""
        third = await here.connected(button(0))
        assert await second.rest() == b""
        assert await third.exchange(STATUS)


async def test_case14_a_device_that_differs_only_in_name_is_the_same_device():
    async with gateway() as here:
        incumbent = await here.connected(button(name="one"))
        newcomer = await here.open(button(name="two"))
        assert await newcomer.connect() == ALREADY
        assert await newcomer.rest() == b""
        assert await incumbent.exchange(STATUS)


async def test_case57_a_device_whose_answer_was_lost_reconnects_and_resends():
    async with gateway(reply_window_ms=1_000) as here:
        client = await here.connected(button())
        await client.exchange(STATUS)
        assert here.handler is not None
        own = here.handler.shell.link
        assert own is not None
        here.broker.loses = lambda topic, _payload: topic == own.address.topic
        client.send(encode_status(client.device, STATUS))
        while here.servers[0].shell._limits.connections:  # until its reply window has run out
            await asyncio.sleep(0)
        here.broker.loses = None
        again = await here.connected(button())
        assert await again.exchange(STATUS)


@pytest.mark.parametrize("servers", [1, 2])
async def test_R5_a_reset_incumbent_does_not_keep_an_equal_newcomer_out(servers: int):
    async with gateway(servers) as here:
        for _ in range(10):
            incumbent = await here.connected(button())
            incumbent.reset()
            newcomer = await here.connected(button(), server=servers - 1)
            assert await newcomer.exchange(STATUS)
            newcomer.reset()


async def test_R5_an_incumbent_on_a_dead_server_does_not_keep_an_equal_newcomer_out():
    took_s = []
    while not took_s or (min(took_s) >= 0.25 and len(took_s) < 10):  # the machine may be busy
        async with gateway(servers=2, probe_window_ms=150) as here:
            await here.connected(button(), server=0)
            await here.servers[0].kill()
            began = time.monotonic()
            newcomer = await here.connected(button(), server=1)
            took_s.append(time.monotonic() - began)
            assert await newcomer.exchange(STATUS)
    assert min(took_s) < 0.25, "the device's reply window"


async def test_a_live_incumbent_on_another_server_keeps_its_place():
    async with gateway(servers=2) as here:
        incumbent = await here.connected(button(), server=0)
        newcomer = await here.open(button(), server=1)
        assert await newcomer.connect() == ALREADY
        assert await incumbent.exchange(STATUS)


async def test_R6_a_device_stays_connected_while_its_handler_restarts():
    async with gateway() as here:
        client = await here.connected(button())
        await client.exchange(STATUS)
        assert here.handler is not None
        await here.handler.kill()
        await here.start_handler()
        async with asyncio.timeout(LIMIT_S):
            routes = here.servers[0].shell._dialogue._routes
            while routes.owner(button().identity) != here.handler.shell.address:
                await asyncio.sleep(0)
        assert await client.exchange(STATUS)
        newcomer = await here.open(button())
        assert await newcomer.connect() == ALREADY


async def test_a_stopped_server_frees_its_identities_at_once():
    async with gateway(servers=2) as here:
        client = await here.connected(button(), server=0)
        await client.exchange(STATUS)
        await here.servers[0].end()
        assert await client.rest() == b""
        assert await (await here.connected(button(), server=1)).exchange(STATUS)


async def test_an_invalid_status_closes_its_sender_only():
    async with gateway() as here:
        good = await here.connected(button(role="right_button"))
        bad = await here.connected(button())
        bad.send(encode_status(bad.device, b"nonsense"))
        assert await bad.rest() == b""
        assert await good.exchange(STATUS)
