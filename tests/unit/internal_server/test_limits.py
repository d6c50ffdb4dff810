"""Deadlines and bounds that connections share, on real sockets."""

from __future__ import annotations

import asyncio
import time

from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.internal import DeviceCommand, encode_status
from tests.golden import BUTTON
from tests.unit.internal_server.peers import (
    OTHER,
    closed_so_far,
    settings_for_tests,
    site,
)


async def test_I14_an_unfinished_frame_is_cut_off_alone():
    async with site(settings_for_tests(frame_deadline_ms=100)) as here:
        good = await here.connected(OTHER)
        bad = await here.connected()
        bad.send(encode_status(BUTTON, b"x")[:-1])
        assert await bad.rest() == b""
        assert await good.exchange(b"fine") == b"to fine"


async def test_case08_half_a_header_closes_one_socket_only():
    async with site(settings_for_tests(frame_deadline_ms=100)) as here:
        good = await here.connected(OTHER)
        bad = await here.connected()
        bad.send(b"\x10\x00")
        assert await bad.rest() == b""
        assert await good.exchange(b"fine") == b"to fine"


async def test_I15_a_connection_that_never_connects_is_closed():
    async with site(settings_for_tests(connect_deadline_ms=80)) as here:
        before = closed_so_far(Reason.CONNECT_DEADLINE)
        client = await here.open()
        assert await client.rest() == b""
        assert closed_so_far(Reason.CONNECT_DEADLINE) == before + 1
        assert here.handler.ended() == []


async def test_I16_a_device_without_any_status_is_closed_as_inactive():
    async with site(settings_for_tests(inactivity_ms=120)) as here:
        client = await here.connected()
        assert await client.rest() == b""
        await here.handler.until(lambda: here.handler.ended() == [(1, bus_pb2.INACTIVE)])


async def test_a_device_that_sends_statuses_is_not_inactive():
    async with site(settings_for_tests(inactivity_ms=1000)) as here:
        client = await here.connected()
        began = time.monotonic()
        while time.monotonic() - began < 1.5:
            await client.exchange(b"alive")
        assert here.handler.ended() == []


async def test_one_connection_too_many_is_closed_at_once():
    async with site(settings_for_tests(max_connections=1)) as here:
        client = await here.connected()
        before = closed_so_far(Reason.TOO_MANY_CONNECTIONS)
        refused = await here.open(OTHER)
        assert await refused.rest() == b""
        assert closed_so_far(Reason.TOO_MANY_CONNECTIONS) == before + 1
        assert await client.exchange(b"x") == b"to x"


async def test_beyond_the_receive_budget_the_largest_goes():
    settings = settings_for_tests(receive_budget_bytes=40_000)
    async with site(settings) as here:
        small = await here.connected(OTHER)
        large = await here.connected()
        before = closed_so_far(Reason.BUFFER_BUDGET)
        small.send(encode_status(OTHER, bytes(10_000))[:9_000])
        large.send(encode_status(BUTTON, bytes(100_000))[:80_000])
        assert await large.rest() == b""
        assert closed_so_far(Reason.BUFFER_BUDGET) == before + 1
        small.send(encode_status(OTHER, bytes(10_000))[9_000:])
        assert await small.answer() == DeviceCommand(OTHER, b"to " + bytes(10_000))
        assert here.server._limits._buffered_bytes == 0


async def test_R3_after_a_standstill_what_arrived_in_time_is_read_first():
    async with site(settings_for_tests(reply_window_ms=250)) as here:
        here.handler.reply = lambda _request: None
        client = await here.connected()
        client.send(encode_status(BUTTON, b"x"))
        (request,) = await here.handler.hear("status_request")
        here.handler.answer(request, b"in time")
        time.sleep(0.4)  # the process stands still while the answer waits to be read
        assert await client.answer() == DeviceCommand(BUTTON, b"in time")


async def test_deadlines_are_kept_by_a_loop_that_is_always_late():
    async with site(settings_for_tests(connect_deadline_ms=50)) as here:
        client = await here.open()
        loop = asyncio.get_running_loop()

        def stand_still() -> None:
            time.sleep(0.07)
            if here.server._limits.connections:
                loop.call_soon(stand_still)

        loop.call_soon(stand_still)
        assert await client.rest() == b""
