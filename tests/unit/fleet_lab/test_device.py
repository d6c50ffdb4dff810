from __future__ import annotations

import asyncio
import socket
from itertools import count

import pytest

from fleet_lab.device import DeviceListener, Gateway, VirtualDevice
from fleet_lab.devices.builtin import CarAccessory
from fleet_lab.devices.generators import Stream
from fleet_lab.errors import LabError
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import (
    ConnectResponseType,
    DeviceConnect,
    DeviceStatus,
    encode_command,
    encode_connect_response,
)
from tests.unit.fleet_lab.gateways import echo, gateway

DEVICE = Device.of(1001, 0, "left_button", "button", 2)


class Recorder(DeviceListener):
    """Remembers what it is told and lets a test wait for it."""

    def __init__(self) -> None:
        self.events: list[tuple[str, object]] = []
        self.changed = asyncio.Event()

    def _add(self, event: str, detail: object) -> None:
        self.events.append((event, detail))
        self.changed.set()

    async def saw(self, event: str) -> object:
        while True:
            for seen, detail in self.events:
                if seen == event:
                    return detail
            self.changed.clear()
            await self.changed.wait()

    def connected(self, device: Device) -> None:
        self._add("connected", device)

    def refused(self, device: Device, explanation: str) -> None:
        self._add("refused", explanation)

    def disconnected(self, device: Device, reason: str) -> None:
        self._add("disconnected", reason)

    def answered(self, device: Device, status: bytes, command: bytes, latency_s: float) -> None:
        self._add("answered", (status, command))

    def pushed(self, device: Device, command: bytes) -> None:
        self._add("pushed", command)


def virtual_device(at: Gateway, listener: DeviceListener | None = None, **plan: object):
    plan = {"period_s": 0.001, "statuses": 3, **plan}
    return VirtualDevice(car_accessory(), gateway=at, listener=listener, **plan)


def car_accessory() -> CarAccessory:
    return CarAccessory("left_button", Stream(1), {"name": "button", "priority": 2})


def statuses_of(device: CarAccessory, count: int) -> list[bytes]:
    sent: list[bytes] = []
    device.attach(lambda _, payload: sent.append(payload))
    for _ in range(count):
        device.report_sample()
    return sent


async def test_sends_its_statuses_one_by_one_and_ends() -> None:
    recorder = Recorder()
    async with gateway() as at:
        device = virtual_device(at, recorder)
        await device.run()
    statuses = statuses_of(car_accessory(), 3)
    assert recorder.events == [
        ("connected", DEVICE),
        *(("answered", (status, status)) for status in statuses),
    ]
    assert (device.counts.sent, device.counts.answered, device.counts.connects) == (3, 3, 1)


async def test_connects_again_after_the_gateway_closed_and_goes_on_counting() -> None:
    recorder = Recorder()
    messages = count()

    def close_at_the_second_status(message: DeviceConnect | DeviceStatus) -> bytes | None:
        return None if next(messages) == 2 else echo(message)

    async with gateway(close_at_the_second_status) as at:
        device = virtual_device(at, recorder)
        await device.run()
    assert [event for event, _ in recorder.events] == [
        "connected", "answered", "disconnected", "connected", "answered", "answered",
    ]  # fmt: skip
    assert recorder.events[2][1] == (
        "closed by the gateway without an answer to the status (its log says why)"
    )
    assert (device.counts.sent, device.counts.answered) == (4, 3)


async def test_a_gateway_that_goes_away_is_said_once_and_found_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder, failed = Recorder(), asyncio.Event()
    monkeypatch.setattr("fleet_lab.sinks.fleet_protocol.cause", lambda _: failed.set() or "refused")
    async with gateway() as at:
        device = virtual_device(at, recorder, statuses=None)
        running = asyncio.create_task(device.run())
        await recorder.saw("answered")
    await recorder.saw("disconnected")
    await failed.wait()
    async with gateway(port=at.port):
        while device.counts.connects < 2:
            recorder.changed.clear()
            await recorder.changed.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    changes = [event for event, _ in recorder.events if event != "answered"]
    assert changes == ["connected", "disconnected", "connected"]


@pytest.mark.parametrize("response", [1, 2, 3, 4, 9])
async def test_a_refused_device_fails_with_one_line(response: int) -> None:
    async with gateway(lambda m: encode_connect_response(m.device, response)) as at:
        with pytest.raises(LabError, match=r"^refused: [^\n]+$"):
            await virtual_device(at).run()


async def test_a_patient_device_outlasts_a_refusal() -> None:
    recorder, answers = Recorder(), count()

    def refuse_twice(message: DeviceConnect | DeviceStatus) -> bytes:
        if next(answers) < 2:
            return encode_connect_response(message.device, ConnectResponseType.ALREADY_CONNECTED)
        return echo(message)

    async with gateway(refuse_twice) as at:
        device = virtual_device(at, recorder, is_patient=True, statuses=1)
        await device.run()
    assert [event for event, _ in recorder.events] == ["refused", "connected", "answered"]
    assert device.counts.refusals == 2


async def test_a_device_that_was_connected_outlasts_a_collision() -> None:
    answers = count()

    def collide_once(message: DeviceConnect | DeviceStatus) -> bytes | None:
        match next(answers):
            case 1:
                return None
            case 2:
                return encode_connect_response(message.device, 1)
            case _:
                return echo(message)

    async with gateway(collide_once) as at:
        device = virtual_device(at, statuses=1)
        await device.run()
    assert (device.counts.connects, device.counts.refusals) == (2, 1)


async def test_an_unreachable_gateway_is_one_line_with_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(LabError, match=f"^cannot reach a gateway at 127.0.0.1:{port}: [^\n]+$"):
        await virtual_device(Gateway("127.0.0.1", port)).run()


async def test_a_gateway_that_breaks_the_protocol_at_once_is_one_line() -> None:
    async with gateway(lambda m: encode_command(m.device, b"")) as at:
        with pytest.raises(LabError, match=r"^the gateway broke the protocol: unexpected_message"):
            await virtual_device(at).run()


async def test_a_sample_that_fails_costs_one_status() -> None:
    class Moody(CarAccessory):
        def sample(self) -> dict[str, object]:
            self.is_pressed = not self.is_pressed
            if self.is_pressed:
                raise RuntimeError("no")
            return {"pressed": False}

    async with gateway() as at:
        device = VirtualDevice(Moody("m"), gateway=at, period_s=0.001, statuses=3)
        await device.run()
    assert (device.counts.answered, device.device.errors) == (3, 3)


async def test_a_gateway_that_never_answers_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet_lab.sinks.fleet_protocol.REPLY_TIMEOUT_S", 0.05)
    recorder = Recorder()

    def mute(message: DeviceConnect | DeviceStatus) -> bytes:
        return echo(message) if isinstance(message, DeviceConnect) else b""

    async with gateway(mute) as at:
        running = asyncio.create_task(virtual_device(at, recorder).run())
        assert await recorder.saw("disconnected") == "no answer within 0.05 s"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_pushed_command_reaches_the_device_between_statuses() -> None:
    recorder = Recorder()

    def push_after_accepting(message: DeviceConnect | DeviceStatus) -> bytes:
        pushed = b""
        if isinstance(message, DeviceConnect):
            pushed = encode_command(message.device, b'{"lit_up": true}')
        return echo(message) + pushed

    async with gateway(push_after_accepting) as at:
        device = virtual_device(at, recorder)
        await device.run()
    assert await recorder.saw("pushed") == b'{"lit_up": true}'
    assert (device.counts.pushed, device.counts.answered) == (1, 3)


async def test_small_frames_are_not_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    original = socket.socket.setsockopt
    monkeypatch.setattr(
        socket.socket,
        "setsockopt",
        lambda self, *args: asked.append(args) or original(self, *args),
    )
    async with gateway() as at:
        await virtual_device(at, statuses=1).run()
    assert (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in asked
