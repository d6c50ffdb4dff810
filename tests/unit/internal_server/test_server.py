"""The internal server on real sockets, with a scripted handler."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from module_gateway.internal_server import metrics
from module_gateway.internal_server.connections import mix64
from module_gateway.internal_server.server import InternalServer
from module_gateway.internal_server.session import Fault
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import DeviceCommand, encode_connect, encode_status
from tests.golden import BUTTON
from tests.unit.internal_server.peers import (
    LIMIT_S,
    PUSH_TYPE,
    Client,
    settings_for_tests,
    site,
)

OTHER = Device.of(1000, 0, "right_button", "button2", 3)


def closed_so_far(reason: Reason) -> float:
    name = "module_gateway_internal_server_closed_total"
    return REGISTRY.get_sample_value(name, {"reason": reason}) or 0.0


def dropped_so_far(reason: Reason) -> float:
    name = "module_gateway_internal_server_dropped_total"
    return REGISTRY.get_sample_value(name, {"reason": reason}) or 0.0


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


async def test_I11_a_status_for_another_device_closes_its_sender_only():
    async with site() as here:
        victim = await here.connected(OTHER)
        liar = await here.connected()
        liar.send(encode_status(OTHER, b"lie"))
        assert await liar.rest() == b""
        assert await victim.exchange(b"truth") == b"to truth"
        assert [r.status for r in here.handler.of("status_request")] == [b"truth"]
        await here.handler.until(lambda: here.handler.ended() == [(2, bus_pb2.PROTOCOL_VIOLATION)])


async def test_case12_a_silent_handler_costs_the_connection_and_the_device_may_come_back():
    async with site() as here:
        client = await here.connected()
        here.handler.reply = lambda _request: None
        client.send(encode_status(BUTTON, b"x"))
        began = time.monotonic()
        assert await client.rest() == b""
        assert time.monotonic() - began >= 0.2
        await here.handler.until(lambda: here.handler.ended() == [(1, bus_pb2.REPLY_TIMEOUT)])
        here.handler.reply = lambda request: b"to " + request.status
        again = await here.connected()
        assert await again.exchange(b"y") == b"to y"


async def test_I13_a_late_command_is_never_given_to_the_next_connection():
    async with site() as here:
        client = await here.connected()
        here.handler.reply = lambda _request: None
        client.send(encode_status(BUTTON, b"x"))
        assert await client.rest() == b""
        (late,) = here.handler.of("status_request")
        again = await here.connected()
        before = dropped_so_far(Reason.LATE_REPLY)
        again.send(encode_status(BUTTON, b"y"))
        await here.handler.hear("status_request", 2)
        here.handler.answer(late, b"late")
        here.handler.answer(here.handler.of("status_request")[1], b"right")
        assert await again.answer() == DeviceCommand(BUTTON, b"right")
        assert dropped_so_far(Reason.LATE_REPLY) == before + 1


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


async def test_case10_garbage_closes_one_socket_only():
    async with site() as here:
        good = await here.connected(OTHER)
        bad = await here.connected()
        bad.send(b"\x08\x00\x00\x00" + b"\xff" * 8)
        assert await bad.rest() == b""
        assert await good.exchange(b"fine") == b"to fine"


async def test_I15_a_connection_that_never_connects_is_closed():
    async with site(settings_for_tests(connect_deadline_ms=80)) as here:
        client = await here.open()
        before = closed_so_far(Reason.CONNECT_DEADLINE)
        assert await client.rest() == b""
        assert closed_so_far(Reason.CONNECT_DEADLINE) == before + 1
        assert here.handler.ended() == []


async def test_I16_a_device_without_any_status_is_closed_as_inactive():
    async with site(settings_for_tests(inactivity_ms=120)) as here:
        client = await here.connected()
        assert await client.rest() == b""
        await here.handler.until(lambda: here.handler.ended() == [(1, bus_pb2.INACTIVE)])


async def test_a_device_that_sends_statuses_is_not_inactive():
    async with site(settings_for_tests(inactivity_ms=150)) as here:
        client = await here.connected()
        began = time.monotonic()
        while time.monotonic() - began < 0.4:
            await client.exchange(b"alive")
        assert here.handler.ended() == []


async def test_I17_a_client_that_does_not_read_delays_nobody_and_is_closed():
    settings = settings_for_tests(write_deadline_ms=200, write_buffer_bytes=4096)
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
        slowest = 0.0
        while closed_so_far(Reason.NOT_READING) == before:
            began = time.monotonic()
            assert await good.exchange(b"fine") == bytes(60_000)
            slowest = max(slowest, time.monotonic() - began)
        deaf.close()
        assert slowest < 0.2
        await here.handler.until(lambda: (2, bus_pb2.PROTOCOL_VIOLATION) in here.handler.ended())


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


async def test_I18_running_out_of_descriptors_does_not_stop_the_listener():
    async with site() as here:
        client = await here.connected()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, _context: None)
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


@pytest.mark.parametrize("state", ["deciding", "connected", "awaiting"])
async def test_I19_a_reset_is_reported_exactly_once_within_100_ms(state: str):
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
        assert time.monotonic() - began < 0.1
        here.handler.verdict = lambda _request: 0
        await here.connected()
        assert here.handler.ended() == [(1, bus_pb2.CLOSED_BY_PEER)]


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


async def fifty(here, statuses: int) -> list[float]:
    """Devices with distinct roles and payloads, all at once; returns the waits in seconds."""
    devices = [Device.of(1000, 0, f"role_{n}", f"name {n}", n) for n in range(50)]
    clients: list[Client] = [await here.connected(device) for device in devices]
    waits: list[float] = []

    async def run(client: Client) -> None:
        for number in range(statuses):
            status = f"{client.device.identity.role}/{number}".encode()
            began = time.monotonic()
            assert await client.exchange(status) == b"to " + status
            waits.append(time.monotonic() - began)

    async with asyncio.timeout(30):
        await asyncio.gather(*(run(client) for client in clients))
    return waits


async def test_I20_fifty_devices_get_every_reply_and_their_own():
    async with site() as here:
        waits = sorted(await fifty(here, 20))
        assert len(waits) == 1000
        assert len(here.handler.of("status_request")) == 1000
        assert here.handler.ended() == []
        assert waits[990] < 0.25


async def test_case07_each_of_fifty_devices_receives_exactly_its_own_commands():
    async with site() as here:
        await fifty(here, 20)
        by_instance: dict[int, list[int]] = {}
        for request in here.handler.of("status_request"):
            by_instance.setdefault(request.instance, []).append(request.sequence)
        assert by_instance == {n: list(range(1, 21)) for n in range(1, 51)}


async def test_I21_connects_are_answered_within_the_window_under_load():
    async with site() as here:
        load = asyncio.create_task(fifty(here, 20))
        waits = []
        for number in range(20):
            client = await here.open(Device.of(1, 0, f"late_{number}"))
            began = time.monotonic()
            assert await client.connect() == 0
            waits.append(time.monotonic() - began)
        await load
        assert max(waits) < 0.25


async def test_case60_a_handler_that_decides_slowly_still_gets_its_answer_through():
    async with site(settings_for_tests(reply_window_ms=900)) as here:
        here.handler.verdict = lambda _request: None
        client = await here.open()
        client.send(encode_connect(BUTTON))
        (request,) = await here.handler.hear("connect_request")
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        loop.call_later(
            0.3,
            lambda: here.handler.tell(
                connect_verdict={"instance": request.instance, "response": 0}
            ),
        )
        assert (await client.answer()).device == BUTTON
        assert 0.29 < time.monotonic() - began < 1.0


async def test_case60_a_connect_is_never_left_open_beyond_the_window():
    async with site() as here:
        here.handler.verdict = lambda _request: None
        client = await here.open()
        began = time.monotonic()
        client.send(encode_connect(BUTTON))
        assert await client.rest() == b""
        assert time.monotonic() - began < 1.0


async def test_case57_a_client_whose_connection_we_closed_reconnects_and_resends():
    async with site() as here:
        client = await here.connected()
        here.handler.reply = lambda _request: None
        client.send(encode_status(BUTTON, b"x"))
        assert await client.rest() == b""
        here.handler.reply = lambda request: b"to " + request.status
        again = await here.open()
        assert await again.connect() == 0
        assert await again.exchange(b"x") == b"to x"


# ---- the handler's orders --------------------------------------------------------------------


async def test_R5_a_probe_of_a_live_connection_is_confirmed():
    async with site() as here:
        await here.connected()
        here.handler.tell(probe={"instance": 1})
        (answer,) = await here.handler.hear("probe_answer")
        assert (answer.instance, answer.is_alive) == (1, True)


async def test_R5_a_probe_finds_an_end_that_still_waits_in_the_kernel():
    async with site() as here:
        client = await here.connected()
        (connection,) = here.server._limits.connections
        connection._transport.pause_reading()  # nobody has looked at the socket yet
        client.reset()
        here.handler.tell(probe={"instance": 1})
        (answer,) = await here.handler.hear("probe_answer")
        assert (answer.instance, answer.is_alive) == (1, False)


async def test_R5_a_probe_of_an_unknown_instance_is_denied():
    async with site() as here:
        here.handler.tell(probe={"instance": 4711})
        (answer,) = await here.handler.hear("probe_answer")
        assert (answer.instance, answer.is_alive) == (4711, False)


async def test_I6_an_ordered_close_is_reported_when_the_socket_is_closed():
    async with site() as here:
        client = await here.connected()
        here.handler.tell(close_connection={"instance": 1, "cause": bus_pb2.TAKEN_OVER})
        await here.handler.until(lambda: here.handler.ended() == [(1, bus_pb2.TAKEN_OVER)])
        assert here.server._limits.connections == set()
        assert await client.rest() == b""


async def test_an_order_for_an_unknown_instance_is_confirmed_all_the_same():
    async with site() as here:
        here.handler.tell(close_connection={"instance": 99, "cause": bus_pb2.SEQUENCE_GAP})
        await here.handler.until(lambda: here.handler.ended() == [(99, bus_pb2.SEQUENCE_GAP)])


async def test_a_refused_status_closes_with_its_reason():
    async with site() as here:
        here.handler.reply = lambda _request: None
        client = await here.connected()
        client.send(encode_status(BUTTON, b"nonsense"))
        await here.handler.hear("status_request")
        before = closed_so_far(Reason.STATUS_INVALID)
        here.handler.tell(
            status_refused={
                "instance": 1,
                "sequence": 1,
                "cause": bus_pb2.STATUS_INVALID,
                "reason": "status_invalid",
            }
        )
        assert await client.rest() == b""
        assert closed_so_far(Reason.STATUS_INVALID) == before + 1
        await here.handler.until(lambda: here.handler.ended() == [(1, bus_pb2.STATUS_INVALID)])


async def test_a_refusal_by_the_handler_ends_with_refused():
    async with site() as here:
        here.handler.verdict = lambda _request: 1
        client = await here.open()
        assert await client.connect() == 1
        assert await client.rest() == b""
        await here.handler.until(lambda: here.handler.ended() == [(1, bus_pb2.REFUSED)])


async def test_a_command_is_pushed_to_a_push_only_device():
    device = Device.of(1000, PUSH_TYPE, "horn", "h", 6)
    async with site() as here:
        client = await here.connected(device)
        here.handler.tell(push_command={"instance": 1, "command": b"now"})
        assert await client.answer() == DeviceCommand(device, b"now")


async def test_nothing_is_pushed_to_a_request_response_device():
    async with site() as here:
        client = await here.connected()
        here.handler.tell(push_command={"instance": 1, "command": b"now"})
        assert await client.exchange(b"x") == b"to x"


# ---- presence --------------------------------------------------------------------------------


async def test_R6_the_digest_tells_what_is_open_each_heartbeat():
    async with site(settings_for_tests({"heartbeat_ms": 20})) as here:
        await here.connected()
        leaver = await here.connected(OTHER)
        both = (2, mix64(1) ^ mix64(2))
        await here.handler.until(
            lambda: both in [(d.count, d.digest) for d in here.handler.of("live_digest")]
        )
        leaver.reset()
        await here.handler.hear("connection_ended")
        seen = len(here.handler.of("live_digest"))
        await here.handler.hear("live_digest", seen + 1)
        last = here.handler.of("live_digest")[-1]
        assert (last.count, last.digest) == (1, mix64(1))


async def test_R6_the_list_is_sent_on_request():
    async with site() as here:
        client = await here.connected()
        await client.exchange(b"x")
        seen = len(here.handler.of("live_connections"))
        here.handler.tell(live_connections_request={})
        lists = await here.handler.hear("live_connections", seen + 1)
        (entry,) = lists[-1].connections
        assert Device.from_message(entry.device) == BUTTON
        assert (entry.instance, entry.last_sequence, entry.is_decided) == (1, 1, True)


async def test_R6_a_new_life_of_the_handler_gets_the_list_and_the_statuses():
    async with site(settings_for_tests({"heartbeat_ms": 20, "silence_ms": 2000})) as here:
        client = await here.connected()
        await client.exchange(b"x")
        await here.handler.die()
        reborn = await here.add_handler()
        (entry,) = reborn.of("live_connections")[-1].connections
        assert (entry.instance, entry.last_sequence, entry.is_decided) == (1, 1, True)
        assert await client.exchange(b"y") == b"to y"
        assert [r.sequence for r in reborn.of("status_request")] == [2]


async def test_R6_a_handler_that_falls_silent_costs_its_devices_their_connections():
    async with site(settings_for_tests({"heartbeat_ms": 20, "silence_ms": 150})) as here:
        client = await here.connected()
        before = closed_so_far(Reason.NO_HANDLER)
        await here.handler.die()
        assert await client.rest() == b""
        assert closed_so_far(Reason.NO_HANDLER) == before + 1


async def test_devices_go_to_the_handler_of_their_module():
    async with site() as here:
        here.handler.modules = (1,)
        here.handler.link.announce()
        other = await here.add_handler([1000])
        await here.connected(Device.of(1, 0, "role"))
        await here.connected(BUTTON)
        assert [r.device.module for r in here.handler.of("connect_request")] == [1]
        assert [r.device.module for r in other.of("connect_request")] == [1000]


async def test_without_a_handler_a_connect_runs_into_its_window():
    async with site(handlers=0) as here:
        client = await here.open()
        before = dropped_so_far(Reason.NO_HANDLER)
        client.send(encode_connect(BUTTON))
        assert await client.rest() == b""
        assert dropped_so_far(Reason.NO_HANDLER) == before + 1


async def test_a_bus_outage_costs_a_waiting_device_its_connection_and_nothing_more():
    async with site() as here:
        client = await here.connected()
        quiet = await here.connected(OTHER)
        here.broker.stop()
        client.send(encode_status(BUTTON, b"x"))
        assert await client.rest() == b""
        here.broker.start()
        await here.handler.until(lambda: here.handler.link.is_up)
        async with asyncio.timeout(LIMIT_S):
            while not here.server._dialogue.link.is_up:
                await asyncio.sleep(0)
        assert await quiet.exchange(b"y") == b"to y"


# ---- bounds ----------------------------------------------------------------------------------


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


async def test_a_saturated_handler_holds_devices_back_until_it_answers():
    settings = settings_for_tests(unanswered_requests=2, reply_window_ms=3000)
    async with site(settings) as here:
        devices = [Device.of(1000, 0, f"role_{n}") for n in range(4)]
        clients = [await here.connected(device) for device in devices]
        here.handler.reply = lambda _request: None
        for client in clients:
            client.send(encode_status(client.device, client.device.identity.role.encode()))
        await here.handler.hear("status_request", 2)
        async with asyncio.timeout(LIMIT_S):
            while len(here.server._dialogue._held) < 2:
                await asyncio.sleep(0)
        assert len(here.handler.of("status_request")) == 2
        here.handler.reply = lambda request: b"to " + request.status
        for request in here.handler.of("status_request"):
            here.handler.answer(request, b"to " + request.status)
        for client in clients:
            expected = b"to " + client.device.identity.role.encode()
            assert await client.answer() == DeviceCommand(client.device, expected)
        assert metrics.UNANSWERED._value.get() == 0


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


# ---- stop and faults -------------------------------------------------------------------------


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
    async with site() as here:
        here.handler.reply = lambda _request: None
        client = await here.connected()
        client.send(encode_status(BUTTON, b"x"))
        await here.handler.hear("status_request")
        began = time.monotonic()
        here.stop.set()
        async with asyncio.timeout(LIMIT_S):
            await here.run
        assert time.monotonic() - began < 1.0


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
