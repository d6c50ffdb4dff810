"""What the server and the handlers say to each other."""

from __future__ import annotations

import asyncio
import socket
import time

from module_gateway.internal_server import connections, dialogue
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import DeviceCommand, encode_connect, encode_status
from module_gateway.protocol.live_digest import mix64
from tests.golden import BUTTON
from tests.unit.internal_server.peers import (
    LIMIT_S,
    OTHER,
    PUSH_TYPE,
    closed_so_far,
    dropped_so_far,
    settings_for_tests,
    site,
)

TCP_CLOSE_WAIT = 8
"""Linux' word for: the other side has closed."""


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


async def test_case60_a_handler_that_decides_slowly_still_gets_its_answer_through():
    async with site(settings_for_tests(reply_window_ms=10_000)) as here:
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
        assert 0.29 < time.monotonic() - began


async def test_case60_a_connect_is_never_left_open_beyond_the_window():
    async with site(settings_for_tests(connect_deadline_ms=600_000)) as here:
        here.handler.verdict = lambda _request: None
        client = await here.open()
        client.send(encode_connect(BUTTON))
        assert await client.rest() == b""


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


async def test_R5_a_probe_of_a_live_connection_is_confirmed():
    async with site() as here:
        await here.connected()
        here.handler.tell(probe={"instance": 1})
        (answer,) = await here.handler.hear("probe_answer")
        assert (answer.instance, answer.is_alive) == (1, True)


async def test_R5_a_probe_of_an_unknown_instance_is_denied():
    async with site() as here:
        here.handler.tell(probe={"instance": 4711})
        (answer,) = await here.handler.hear("probe_answer")
        assert (answer.instance, answer.is_alive) == (4711, False)


async def test_I6_an_ordered_close_is_reported_when_the_socket_is_closed():
    async with site() as here:
        client = await here.connected()
        client.writer.transport.pause_reading()
        sock = client.writer.get_extra_info("socket")
        here.handler.tell(close_connection={"instance": 1, "cause": bus_pb2.TAKEN_OVER})
        await here.handler.until(lambda: here.handler.ended() == [(1, bus_pb2.TAKEN_OVER)])
        state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        assert state == TCP_CLOSE_WAIT  # the goodbye has arrived at the device by now


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
    async with site(settings_for_tests({"heartbeat_ms": 20, "silence_ms": 20_000})) as here:
        client = await here.connected()
        await client.exchange(b"x")
        await here.handler.die()
        reborn = await here.add_handler()
        (entry,) = reborn.of("live_connections")[-1].connections
        assert (entry.instance, entry.last_sequence, entry.is_decided) == (1, 1, True)
        assert await client.exchange(b"y") == b"to y"
        assert [r.sequence for r in reborn.of("status_request")] == [2]


async def test_R6_the_list_is_said_again_when_the_bus_is_back():
    async with site() as here:
        await here.connected()
        seen = len(here.handler.of("live_connections"))
        here.broker.stop()
        here.broker.start()
        (entry,) = (await here.handler.hear("live_connections", seen + 1))[-1].connections
        assert entry.instance == 1


async def test_R6_a_list_that_cannot_be_sent_whole_is_left_unfinished(monkeypatch):
    monkeypatch.setattr(connections, "PART_SIZE", 1)
    async with site() as here:
        devices = [Device.of(1000, 0, f"role_{n}") for n in range(3)]
        for device in devices:
            await here.connected(device)
        link, sent = here.server._dialogue.link, []

        def send(receiver, message):
            sent.append(message.live_connections)
            return len(sent) == 1

        with monkeypatch.context() as full:
            full.setattr(link, "send", send)
            here.server._dialogue.link_up()
        assert [(part.is_first, part.is_last) for part in sent] == [(True, False), (False, False)]


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


async def test_a_saturated_handler_holds_devices_back_until_it_answers():
    settings = settings_for_tests(unanswered_requests=2, reply_window_ms=20_000)
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
        peers = here.server._dialogue._peers.values()
        assert [peer.unanswered for peer in peers] == [0]


async def test_newcomers_of_a_saturated_handler_wait_their_turn_and_are_asked_about_then():
    settings = settings_for_tests(
        unanswered_requests=2, reply_window_ms=20_000, connect_deadline_ms=60_000
    )
    async with site(settings) as here:
        here.handler.verdict = lambda _request: None
        clients = [await here.open(Device.of(1000, 0, f"role_{n}")) for n in range(5)]
        for number, client in enumerate(clients, 1):
            client.send(encode_connect(client.device))
            own = here.server._dialogue
            async with asyncio.timeout(LIMIT_S):
                while len(own._asked) + len(own._held) < number:
                    await asyncio.sleep(0)
        waiting = await here.handler.hear("connect_request", 2)
        assert len(waiting) == 2
        here.handler.verdict = lambda _request: 0
        for request in waiting:
            here.handler.tell(connect_verdict={"instance": request.instance, "response": 0})
        for client in clients:
            assert (await client.answer()).response == 0
        asked = [r.device.deviceRole for r in here.handler.of("connect_request")]
        assert asked == [client.device.identity.role for client in clients]


async def test_a_handler_that_is_slow_is_asked_less_at_once():
    async with site(settings_for_tests(unanswered_requests=100)) as here:
        client = await here.connected()
        (peer,) = here.server._dialogue._peers.values()
        assert peer.limit == 100
        here.handler.reply = lambda _request: None
        client.send(encode_status(BUTTON, b"x"))
        assert await client.rest() == b""
        async with asyncio.timeout(LIMIT_S):
            while peer.limit == 100:
                await asyncio.sleep(0)


async def test_the_time_of_a_probe_does_not_make_a_handler_slow(monkeypatch):
    monkeypatch.setattr(dialogue, "SLOW_STATUS", 0.02)
    async with site(settings_for_tests(unanswered_requests=100, reply_window_ms=20_000)) as here:
        here.handler.verdict = lambda _request: None
        client = await here.open()
        client.send(encode_connect(BUTTON))
        (request,) = await here.handler.hear("connect_request")
        verdict = {"instance": request.instance, "response": 0}
        asyncio.get_running_loop().call_later(
            0.5, lambda: here.handler.tell(connect_verdict=verdict)
        )
        assert (await client.answer()).response == 0
        (peer,) = here.server._dialogue._peers.values()
        assert (peer.limit, peer.unanswered) == (100, 0)


async def test_R6_a_held_device_goes_on_behind_the_list_that_names_it():
    settings = settings_for_tests(
        {"heartbeat_ms": 20, "silence_ms": 20_000}, unanswered_requests=2, reply_window_ms=20_000
    )
    async with site(settings) as here:
        devices = [Device.of(1000, 0, f"role_{n}") for n in range(4)]
        clients = [await here.connected(device) for device in devices]
        here.handler.reply = lambda _request: None
        for client in clients:
            client.send(encode_status(client.device, b"x"))
        async with asyncio.timeout(LIMIT_S):
            while len(here.server._dialogue._held) < 2:
                await asyncio.sleep(0)
        await here.handler.die()
        reborn = await here.add_handler()
        await reborn.hear("status_request", 2)
        kinds = [kind for kind, _ in reborn.heard if kind != "live_digest"]
        assert kinds == ["live_connections", "status_request", "status_request"]
        (listed,) = reborn.of("live_connections")
        assert len(listed.connections) == 4
