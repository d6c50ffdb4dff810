"""One device on one socket."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest
from structlog.testing import capture_logs

from module_gateway.internal_server import connection as connection_module
from module_gateway.internal_server import offences
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import DeviceCommand, encode_connect, encode_status
from tests.golden import BUTTON
from tests.unit.internal_server.peers import (
    LIMIT_S,
    OTHER,
    PUSH_TYPE,
    closed_so_far,
    settings_for_tests,
    site,
)


async def test_W4_pipelined_frames_get_their_replies_in_order():
    async with site() as here:
        client = await here.open()
        frames = [encode_status(BUTTON, b"%d" % number) for number in range(20)]
        client.send(encode_connect(BUTTON) + b"".join(frames))
        await client.answer()
        answers = [await client.answer() for _ in range(20)]
        assert answers == [DeviceCommand(BUTTON, b"to %d" % number) for number in range(20)]


async def test_W8_a_reply_is_one_write_without_delay(monkeypatch):
    async with site() as here:
        client = await here.connected()
        (connection,) = here.server._limits.connections
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        writes: list[bytes] = []

        class Recorded:
            def __init__(self, transport: asyncio.Transport) -> None:
                self._transport = transport

            def write(self, chunk: bytes) -> None:
                writes.append(chunk)
                self._transport.write(chunk)

            def __getattr__(self, name: str) -> object:
                return getattr(self._transport, name)

        connection._transport = Recorded(connection._transport)
        await client.exchange(b"one")
        await client.exchange(b"two")
        assert len(writes) == 2


async def test_accepted_sockets_have_explicit_keepalive():
    settings = settings_for_tests(keepalive_idle_s=11, keepalive_interval_s=4, keepalive_count=5)
    async with site(settings) as here:
        await here.connected()
        (connection,) = here.server._limits.connections
        sock = connection._transport.get_extra_info("socket")
        options = [
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
        ]
        assert options == [1, 11, 4, 5]


async def test_I11_a_status_for_another_device_closes_its_sender_only():
    async with site() as here:
        victim = await here.connected(OTHER)
        liar = await here.connected()
        liar.send(encode_status(OTHER, b"lie"))
        assert await liar.rest() == b""
        assert await victim.exchange(b"truth") == b"to truth"
        assert [r.status for r in here.handler.of("status_request")] == [b"truth"]
        await here.handler.until(lambda: here.handler.ended() == [(2, bus_pb2.PROTOCOL_VIOLATION)])


async def test_I17_a_client_that_does_not_read_delays_nobody_and_is_closed():
    settings = settings_for_tests(write_deadline_ms=1000, write_buffer_bytes=4096)
    async with site(settings) as here:
        here.handler.reply = lambda _request: bytes(60_000)
        good = await here.connected(OTHER)
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(deaf, ("127.0.0.1", here.server.bound_port))
        await loop.sock_sendall(deaf, encode_connect(BUTTON) + encode_status(BUTTON, b"x") * 50)
        before = closed_so_far(Reason.NOT_READING)
        meanwhile = 0
        async with asyncio.timeout(LIMIT_S):
            while closed_so_far(Reason.NOT_READING) == before:
                assert await good.exchange(b"fine") == bytes(60_000)
                meanwhile += closed_so_far(Reason.NOT_READING) == before
        assert meanwhile > 0
        try:
            await here.handler.until(
                lambda: (2, bus_pb2.PROTOCOL_VIOLATION) in here.handler.ended()
            )
        finally:
            deaf.close()


async def test_pushes_to_a_client_that_does_not_read_pile_up_to_the_bound_only():
    device = Device.of(1000, PUSH_TYPE, "horn")
    async with site(settings_for_tests(write_buffer_bytes=4096)) as here:
        client = await here.connected(device)
        client.writer.transport.pause_reading()
        before = closed_so_far(Reason.NOT_READING)
        for _ in range(3):
            here.handler.tell(push_command={"instance": 1, "command": bytes(4_000_000)})
        await here.handler.until(lambda: here.handler.ended() == [(1, bus_pb2.PROTOCOL_VIOLATION)])
        assert closed_so_far(Reason.NOT_READING) == before + 1


async def test_a_command_larger_than_all_buffers_arrives_whole():
    async with site(settings_for_tests(write_buffer_bytes=4096)) as here:
        here.handler.reply = lambda _request: bytes(1_000_000)
        client = await here.connected()
        assert await client.exchange(b"x") == bytes(1_000_000)
        assert await client.exchange(b"y") == bytes(1_000_000)


@pytest.mark.parametrize("state", ["deciding", "connected", "awaiting"])
async def test_I19_a_reset_is_reported_exactly_once_within_100_ms(state: str):
    took_s = []
    while not took_s or (min(took_s) >= 0.1 and len(took_s) < 10):  # the machine may be busy
        took_s.append(await time_of_a_reset(state))
    assert min(took_s) < 0.1


async def time_of_a_reset(state: str) -> float:
    """Until the handler hears of it, in seconds."""
    async with site() as here:
        client = await here.open()
        if state == "deciding":
            here.handler.verdict = lambda _request: None
            client.send(encode_connect(BUTTON))
            await here.handler.hear("connect_request")
        else:
            await client.connect()
        if state == "awaiting":
            here.handler.reply = lambda _request: None
            client.send(encode_status(BUTTON, b"x"))
            await here.handler.hear("status_request")
        began = time.monotonic()
        client.reset()
        await here.handler.hear("connection_ended")
        took_s = time.monotonic() - began
        here.handler.verdict = lambda _request: 0
        await here.connected()
        assert here.handler.ended() == [(1, bus_pb2.CLOSED_BY_PEER)]
        return took_s


async def test_a_reset_before_any_connect_is_reported_to_nobody():
    async with site() as here:
        client = await here.open()
        client.reset()
        await here.connected()
        assert here.handler.ended() == []


async def test_two_bytes_and_a_close_cost_the_loop_nothing():
    async with site() as here:
        for _ in range(200):
            client = await here.open()
            client.send(b"\x10\x00")
            client.writer.write_eof()
            assert await client.rest() == b""
        cpu = time.process_time()
        began = time.monotonic()
        client = await here.connected()
        while time.monotonic() - began < 0.3:
            await client.exchange(b"x")
            await asyncio.sleep(0.02)
        assert time.process_time() - cpu < 0.25  # a spinning connection would take all of it
        assert len(here.server._limits.connections) == 1


async def test_R5_a_probe_finds_an_end_that_still_waits_in_the_kernel():
    async with site() as here:
        client = await here.connected()
        (connection,) = here.server._limits.connections
        connection._transport.pause_reading()  # nobody has looked at the socket yet
        client.reset()
        here.handler.tell(probe={"instance": 1})
        (answer,) = await here.handler.hear("probe_answer")
        assert (answer.instance, answer.is_alive) == (1, False)


async def test_a_defect_in_one_connection_harms_no_other(monkeypatch):
    async with site() as here:
        good = await here.connected(OTHER)
        bad = await here.connected()
        connection = next(c for c in here.server._limits.connections if c.instance == 2)

        class Broken:
            def write(self, _chunk: bytes) -> None:
                raise RuntimeError("a defect of ours")

            def __init__(self, transport: asyncio.Transport) -> None:
                self._transport = transport

            def __getattr__(self, name: str) -> object:
                return getattr(self._transport, name)

        connection._transport = Broken(connection._transport)
        before = closed_so_far(Reason.DEFECT)
        bad.send(encode_status(BUTTON, b"x"))
        good.send(encode_status(OTHER, b"y"))
        assert await bad.rest() == b""
        assert await good.answer() == DeviceCommand(OTHER, b"to y")
        assert closed_so_far(Reason.DEFECT) == before + 1
        await here.handler.until(lambda: here.handler.ended() == [(2, bus_pb2.LOST)])


async def test_a_refusal_is_a_warning_that_says_what_is_missing_where():
    with capture_logs() as logs:
        async with site() as here:
            client = await here.open()
            client.send(encode_connect(Device.of(4711, 0, "lost", "Lost one")))
            await client.answer()
    [line] = [line for line in logs if line["event"] == "device_refused"]

    assert (line["log_level"], line["device"], line["reason"], line["detail"]) == (
        *("warning", "4711/0/lost ('Lost one')", Reason.MODULE_NOT_SUPPORTED),
        "module 4711 is not in module-paths",
    )


async def test_a_device_that_leaves_is_no_warning():
    with capture_logs() as logs:
        async with site() as here:
            client = await here.connected()
            client.writer.close()
            await here.handler.until(lambda: len(here.handler.ended()) == 1)
    [line] = [line for line in logs if line["event"] == "device_closed"]

    assert (line["log_level"], line["reason"]) == ("info", Reason.CLOSED_BY_PEER)


async def test_who_breaks_the_protocol_again_and_again_is_slowed_down_and_logged_less():
    with capture_logs() as logs:
        async with site() as here:
            good = await here.connected(OTHER)
            began = time.monotonic()
            for _ in range(offences.BURST + 3):
                bad = await here.connected()
                bad.send(bytes(4))
                assert await bad.rest() == b""
            took_s = time.monotonic() - began
            ended = offences.BURST + 3
            await here.handler.until(lambda: len(here.handler.ended()) == ended)
            assert await good.exchange(b"fine") == b"to fine"
    closed = [line for line in logs if line["event"] == "device_closed"]
    of_bad = [line for line in closed if line["reason"] == Reason.FRAME_EMPTY]

    assert took_s >= 3 * offences.PAUSE_S
    assert len(of_bad) == offences.BURST
    connected = [line for line in logs if line["event"] == "device_connected"]
    assert len(connected) == 1 + offences.BURST + 1


async def test_a_slowed_offender_counts_as_dead_at_once(monkeypatch):
    monkeypatch.setattr(connection_module, "PAUSE_S", 60.0)
    async with site() as here:
        for _ in range(offences.BURST):
            bad = await here.connected()
            bad.send(bytes(4))
            await bad.rest()
        slowed = await here.connected()
        before = closed_so_far(Reason.FRAME_EMPTY)
        slowed.send(bytes(4))
        async with asyncio.timeout(LIMIT_S):
            while closed_so_far(Reason.FRAME_EMPTY) == before:
                await asyncio.sleep(0)
        here.handler.tell(probe={"instance": offences.BURST + 1})
        (answer,) = await here.handler.hear("probe_answer")
        assert (answer.instance, answer.is_alive) == (offences.BURST + 1, False)
