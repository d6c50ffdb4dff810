from __future__ import annotations

import asyncio
import socket
import sys
import tracemalloc
from itertools import count

import pytest

from fleet_lab.devices.api import Device
from fleet_lab.errors import LabError
from fleet_lab.sinks.fleet_protocol import FleetProtocolSink
from fleet_lab.sinks.urls import sink_factory
from module_gateway.protocol import identity
from module_gateway.protocol.internal import (
    DeviceConnect,
    DeviceStatus,
    encode_command,
    encode_connect_response,
)
from tests.unit.fleet_lab.gateways import echo, gateway
from tests.unit.fleet_lab.sinks.ports import RecordingPort

Message = DeviceConnect | DeviceStatus


def sink_to(port: int) -> FleetProtocolSink:
    sink = sink_factory(f"fleet-protocol://127.0.0.1:{port}")()
    assert isinstance(sink, FleetProtocolSink)
    return sink


async def test_a_status_is_answered_with_its_command() -> None:
    port, seen = RecordingPort(), []

    def remember(message: Message) -> bytes:
        seen.append(message)
        return echo(message)

    async with gateway(remember) as at:
        sink = sink_to(at.port)
        await sink.open(port)
        assert (port.said, sink.can_publish) == ([("connected",)], True)
        sink.publish(1, b"one")
        assert not sink.can_publish
        await port.saw("answered")
        sink.publish(2, b"")
        await port.saw("answered", 2)
        await sink.close()
    me = identity.Device.of(1001, 1, "left_button", "left_button", 2)
    assert seen == [DeviceConnect(me), DeviceStatus(me, b"one"), DeviceStatus(me, b"")]
    assert port.all("answered") == [(1, b"one", True), (2, b"", True)]


async def test_a_second_status_before_the_answer_fails_at_once() -> None:
    port = RecordingPort()
    async with gateway() as at:
        sink = sink_to(at.port)
        await sink.open(port)
        sink.publish(1, b"one")
        sink.publish(2, b"two")
        assert port.all("failed") == [(2, "the last status is unanswered")]
        assert await port.saw("answered") == [(1, b"one", True)]
        await sink.close()


async def test_the_next_status_may_go_from_within_the_answer() -> None:
    numbers = count(2)

    class Closed(RecordingPort):
        def answered(self, number: int, command: bytes, is_own: bool) -> None:
            super().answered(number, command, is_own)
            assert sink.can_publish
            if number < 50:
                sink.publish(next(numbers), b"again")

    port = Closed()
    async with gateway() as at:
        sink = sink_to(at.port)
        await sink.open(port)
        sink.publish(1, b"first")
        answers = await port.saw("answered", 50)
        await sink.close()
    assert [answer[0] for answer in answers] == list(range(1, 51))


async def test_it_connects_again_after_the_gateway_closed() -> None:
    port, messages = RecordingPort(), count()

    def close_at_the_first_status(message: Message) -> bytes | None:
        return None if next(messages) == 1 else echo(message)

    async with gateway(close_at_the_first_status) as at:
        sink = sink_to(at.port)
        await sink.open(port)
        sink.publish(1, b"one")
        await port.saw("connected", 2)
        sink.publish(2, b"two")
        await port.saw("answered")
        await sink.close()
    assert port.said == [
        ("connected",),
        (
            "disconnected",
            "closed by the gateway without an answer to the status (its log says why)",
        ),
        ("connected",),
        ("answered", 2, b"two", True),
    ]


async def test_it_outlasts_a_gateway_that_is_away_and_a_refusal() -> None:
    port, answers = RecordingPort(), count()

    def refuse_first(message: Message) -> bytes:
        if next(answers) == 0:
            return encode_connect_response(message.device, 1)
        return echo(message)

    async with gateway() as at:
        sink = sink_to(at.port)
        await sink.open(port)
    await port.saw("disconnected")
    sink.publish(1, b"lost")
    assert port.all("failed") == [(1, "not connected")]
    async with gateway(refuse_first, port=at.port):
        await port.saw("connected", 2)
        assert [refusal[0] for refusal in port.all("refused")] == [1]
        await sink.close()
    assert len(port.all("disconnected")) == 1


@pytest.mark.parametrize("response", [1, 2, 3, 4, 9])
async def test_a_refused_device_is_one_line(response: int) -> None:
    port = RecordingPort()
    async with gateway(lambda m: encode_connect_response(m.device, response)) as at:
        with pytest.raises(LabError, match=r"^left_button refused: [^\n]+$") as caught:
            await sink_to(at.port).open(port)
    assert caught.value.exit_code == 1
    assert [refusal[0] for refusal in port.all("refused")] == [response]


async def test_an_unreachable_gateway_is_one_line_with_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
    with pytest.raises(LabError, match=rf"^cannot reach a gateway at 127.0.0.1:{number}: [^\n]+$"):
        await sink_to(number).open(RecordingPort())


async def test_a_gateway_that_never_answers_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet_lab.sinks.fleet_protocol.REPLY_TIMEOUT_S", 0.05)
    port = RecordingPort()

    def mute(message: Message) -> bytes:
        return echo(message) if isinstance(message, DeviceConnect) else b""

    async with gateway(mute) as at:
        sink = sink_to(at.port)
        await sink.open(port)
        sink.publish(1, b"one")
        assert await port.saw("disconnected") == [("no answer within 0.05 s",)]
        await sink.close()


async def test_a_silent_listener_is_no_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet_lab.sinks.fleet_protocol.OPEN_TIMEOUT_S", 0.05)
    async with gateway(lambda _: b"") as at:
        with pytest.raises(LabError, match=r"^no answer from a gateway at .* within 0.05 s$"):
            await sink_to(at.port).open(RecordingPort())


async def test_a_reply_to_another_device_is_told_and_ends_the_connection() -> None:
    other = identity.Device.of(1001, 1, "right_button")

    def cross(message: Message) -> bytes:
        return encode_command(other, b"x") if isinstance(message, DeviceStatus) else echo(message)

    port = RecordingPort()
    async with gateway(cross) as at:
        sink = sink_to(at.port)
        await sink.open(port)
        sink.publish(1, b"one")
        reason = await port.saw("disconnected")
        await sink.close()
    assert port.all("answered") == [(1, b"", False)]
    assert str(reason[0][0]).startswith("the gateway broke the protocol: other_device")


async def test_pushed_and_split_commands_arrive() -> None:
    port = RecordingPort()

    def push(message: Message) -> bytes:
        pushed = b"" if isinstance(message, DeviceStatus) else encode_command(message.device, b"!")
        return echo(message) + pushed

    async with gateway(push) as at:
        sink = sink_to(at.port)
        await sink.open(port)
        assert await port.saw("commanded") == [(b"!",)]
        sink.publish(1, b"x" * 200_000)
        assert await port.saw("answered") == [(1, b"x" * 200_000, True)]
        await sink.close()


async def test_closing_is_silent_and_may_be_repeated() -> None:
    port = RecordingPort()
    async with gateway() as at:
        sink = sink_to(at.port)
        await sink.close()
        await sink.open(port)
        await sink.close()
        await sink.close()
        sink.publish(1, b"late")
    assert port.said == [("connected",)]


async def test_closing_ends_the_attempts_to_come_back() -> None:
    port = RecordingPort()
    async with gateway() as at:
        sink = sink_to(at.port)
        await sink.open(port)
    await port.saw("disconnected")
    await sink.close()
    assert not [t for t in asyncio.all_tasks() if "connects again" in t.get_name()]


async def test_a_fleet_that_lost_its_gateway_comes_back_a_few_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    most = 0
    monkeypatch.setattr("fleet_lab.sinks.api.OPENING_AT_ONCE", 3)

    def count_connects(message: Message) -> bytes:
        nonlocal most
        if isinstance(message, DeviceConnect):
            most = max(most, 3 - sinks[0].url.opening._value)
        return echo(message)

    async with gateway(count_connects) as at:
        make = sink_factory(f"fleet-protocol://127.0.0.1:{at.port}")
        ports = [RecordingPort(Device(f"d{n}")) for n in range(20)]
        sinks = [make() for _ in ports]
        await asyncio.gather(*(s.open(p) for s, p in zip(sinks, ports, strict=True)))
    async with gateway(count_connects, port=at.port):
        for port in ports:
            await port.saw("connected", 2)
        await asyncio.gather(*(sink.close() for sink in sinks))
    assert most == 3


async def test_a_link_is_put_into_the_stream() -> None:
    wrapped = []

    def wrap(make):
        wrapped.append(make)
        return make

    async with gateway() as at:
        sink = sink_to(at.port)
        sink.set_link(wrap)
        await sink.open(RecordingPort())
        await sink.close()
    assert len(wrapped) == 1


async def test_small_frames_are_not_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    original = socket.socket.setsockopt
    monkeypatch.setattr(
        socket.socket,
        "setsockopt",
        lambda self, *args: asked.append(args) or original(self, *args),
    )
    async with gateway() as at:
        sink = sink_to(at.port)
        await sink.open(RecordingPort())
        await sink.close()
    assert (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in asked


@pytest.mark.skipif(sys.platform != "linux", reason="counts what Linux' transports take")
async def test_an_idle_device_takes_at_most_eight_kibibytes() -> None:
    # The gateway lives in another process in reality: only our side is counted, by subtraction.
    async with gateway() as at:
        ports = [RecordingPort(Device(f"d{n}")) for n in range(100)]
        sinks = [sink_to(at.port) for _ in ports]
        await sinks[0].open(ports[0])
        tracemalloc.start()
        try:
            for sink, port in zip(sinks[1:], ports[1:], strict=True):
                await sink.open(port)
            snapshot = tracemalloc.take_snapshot()
        finally:
            tracemalloc.stop()
        ours = snapshot.filter_traces([tracemalloc.Filter(True, "*/fleet_lab/*", all_frames=True)])
        await asyncio.gather(*(sink.close() for sink in sinks))
    assert sum(trace.size for trace in ours.traces) / 99 <= 8192
