"""The internal server as a whole, on real sockets, with a scripted handler."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from module_gateway.bus.memory import MemoryBroker
from module_gateway.internal_server.rules import Fault
from module_gateway.internal_server.server import OTHER_FILES, InternalServer
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import DeviceCommand, encode_connect, encode_status
from tests.golden import BUTTON
from tests.unit.internal_server.peers import (
    LIMIT_S,
    OTHER,
    Client,
    Site,
    settings_for_tests,
    site,
)


async def test_a_device_connects_and_exchanges():
    async with site() as here:
        client = await here.connected()
        assert await client.exchange(b"one") == b"to one"
        assert await client.exchange(b"two") == b"to two"
        requests = here.handler.of("status_request")
        assert [(r.instance, r.sequence, r.status) for r in requests] == [
            (1, 1, b"one"),
            (1, 2, b"two"),
        ]


@pytest.mark.parametrize(
    ("device", "response"),
    [
        (Device.of(5, 0, "role"), 2),
        (Device.of(77, 0, "role"), 2),  # configured, but attached to no endpoint
        (Device.of(1000, 10, "role"), 3),
        (Device.of(1000, 0, ""), 3),
    ],
)
async def test_I3_an_unsupported_device_is_answered_closed_and_never_registered(
    device: Device, response: int
):
    async with site() as here:
        client = await here.open(device)
        assert await client.connect() == response
        assert await client.rest() == b""
        await here.connected()  # the loop has gone round since
        assert [Device.from_message(r.device) for r in here.handler.of("connect_request")] == [
            BUTTON
        ]


async def test_I8_an_unsupported_newcomer_of_a_held_identity_reaches_no_registry():
    async with site() as here:
        incumbent = await here.connected(Device.of(1000, 10 - 1, "role", priority=5))
        newcomer = await here.open(Device.of(1000, 10, "role", priority=0))
        assert await newcomer.connect() == 3
        assert await incumbent.exchange(b"still here") == b"to still here"
        assert len(here.handler.of("connect_request")) == 1


async def test_case10_garbage_closes_one_socket_only():
    async with site() as here:
        good = await here.connected(OTHER)
        bad = await here.connected()
        bad.send(b"\x08\x00\x00\x00" + b"\xff" * 8)
        assert await bad.rest() == b""
        assert await good.exchange(b"fine") == b"to fine"


async def test_I18_running_out_of_descriptors_does_not_stop_the_listener():
    async with site() as here:
        client = await here.connected()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = len(list(Path("/proc/self/fd").iterdir()))
        waiting = [socket.socket() for _ in range(4)]
        hoard: list[int] = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 40, hard))
        try:
            with suppress(OSError):
                while True:
                    hoard.append(os.open(os.devnull, os.O_RDONLY))
            for sock in waiting:
                sock.connect(("127.0.0.1", here.server.bound_port))  # into the backlog
            assert await client.exchange(b"meanwhile") == b"to meanwhile"
        finally:
            for descriptor in hoard:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for sock in waiting:
                sock.close()
        late = await here.connected(OTHER)
        assert await late.exchange(b"after") == b"to after"


async def test_I18_connections_stay_below_the_descriptor_limit():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        server = InternalServer(
            settings_for_tests(max_connections=12_000), {}, MemoryBroker().bus()
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert server._limits.max_connections == 200 - OTHER_FILES


async def fifty(here: Site, statuses: int) -> int:
    """Devices with distinct roles and payloads, all at once; returns the number of right answers.

    How fast that is measures benchmarks/internal_server_echo.py.
    """
    devices = [Device.of(1000, 0, f"role_{n}", f"name {n}", n) for n in range(50)]
    clients: list[Client] = [await here.connected(device) for device in devices]
    answered = 0

    async def run(client: Client) -> None:
        nonlocal answered
        for number in range(statuses):
            status = f"{client.device.identity.role}/{number}".encode()
            assert await client.exchange(status) == b"to " + status
            answered += 1

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(run(client))
    return answered


async def test_I20_fifty_devices_get_every_reply_and_their_own():
    async with site() as here:
        assert await fifty(here, 20) == 1000
        assert len(here.handler.of("status_request")) == 1000
        assert here.handler.ended() == []


async def test_case07_each_of_fifty_devices_receives_exactly_its_own_commands():
    async with site() as here:
        await fifty(here, 20)
        by_instance: dict[int, list[int]] = {}
        for request in here.handler.of("status_request"):
            by_instance.setdefault(request.instance, []).append(request.sequence)
        assert by_instance == {n: list(range(1, 21)) for n in range(1, 51)}


async def test_I21_connects_are_answered_under_that_load():
    async with site() as here, asyncio.TaskGroup() as tasks:
        load = tasks.create_task(fifty(here, 20))
        for number in range(20):
            client = await here.open(Device.of(1, 0, f"late_{number}"))
            assert await client.connect() == 0  # later than the window it would be closed
        assert await load == 1000


async def test_a_stop_lets_a_reply_in_flight_out_and_says_goodbye():
    async with site() as here:
        idle = await here.connected(OTHER)
        busy = await here.connected()
        here.handler.reply = lambda _request: None
        busy.send(encode_status(BUTTON, b"x") + encode_status(BUTTON, b"never read"))
        (request,) = await here.handler.hear("status_request")
        here.stop.set()
        assert await idle.rest() == b""
        here.handler.answer(request, b"last")
        assert await busy.answer() == DeviceCommand(BUTTON, b"last")
        assert await busy.rest() == b""
        async with asyncio.timeout(LIMIT_S):
            await here.run
        await here.handler.until(lambda: len(here.handler.ended()) == 2)
        assert here.handler.ended() == [(1, bus_pb2.SHUTDOWN), (2, bus_pb2.SHUTDOWN)]
        with pytest.raises(ConnectionRefusedError):
            await here.open()


async def test_a_stop_does_not_wait_for_a_silent_handler_beyond_the_window():
    async with site(settings_for_tests(inactivity_ms=600_000)) as here:
        here.handler.reply = lambda _request: None
        client = await here.connected()
        client.send(encode_status(BUTTON, b"x"))
        await here.handler.hear("status_request")
        here.stop.set()
        async with asyncio.timeout(LIMIT_S):
            await here.run


async def test_comm_error_answers_minus_one():
    async with site(fault=Fault.COMMUNICATION_ERROR) as here:
        client = await here.open()
        assert await client.connect() == -1
        assert here.handler.of("connect_request") == []


async def test_serv_too_long_answers_statuses_but_no_connect():
    async with site(fault=Fault.SILENT_CONNECT) as here:
        client = await here.open()
        client.send(encode_connect(BUTTON))
        await here.handler.hear("connect_request")
        assert await client.exchange(b"x") == b"to x"


async def test_an_address_in_use_is_said_clearly():
    async with site() as here:
        settings = settings_for_tests(port=here.server.bound_port)
        second = InternalServer(settings, {}, here.broker.bus())
        with pytest.raises(OSError, match=r"cannot listen for devices on 127\.0\.0\.1:"):
            await second.run(asyncio.Event())


async def test_it_is_told_whether_any_handler_is_heard():
    heard: list[tuple[bool, str]] = []
    changed = asyncio.Event()

    def handler_changed(is_heard: bool, detail: str) -> None:
        heard.append((is_heard, detail))
        changed.set()

    settings = settings_for_tests(bus={"heartbeat_ms": 50, "silence_ms": 1_000})
    async with site(settings, handlers=0) as here:
        here.server._dialogue._handler_changed = handler_changed
        first, second = await here.add_handler(), await here.add_handler((77,))
        heard.clear()
        changed.clear()
        await first.die()
        async with asyncio.timeout(LIMIT_S):
            while len(here.server._dialogue._peers) > 1:
                await asyncio.sleep(0.01)
            assert heard == []
            await second.die()
            await changed.wait()
    assert heard == [(False, "no module handler is heard on the bus")]
