"""The MQTT bus against brokers that misbehave; what a good one gives is in tests/contract."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop
from structlog.testing import capture_logs

from module_gateway.bus import mqtt
from module_gateway.bus.location import BusLocation
from module_gateway.bus.mqtt import MqttBus
from module_gateway.protocol.errors import BusError, ConfigError
from tests.brokers import MosquittoBroker
from tests.unit.bus.scripted_broker import (
    CONNACK_NOT_AUTHORISED,
    CONNACK_OK,
    PUBACK,
    PUBLISH,
    Client,
    Packet,
    scripted,
    until_it_leaves,
)

PATIENCE_S = 30.0
TOPIC = "mg/1/server/1"


@pytest.fixture(params=["lean", "paho"], autouse=True)
def adapter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who speaks MQTT in every bus of these tests."""
    monkeypatch.setitem(MqttBus.__init__.__kwdefaults__, "adapter", request.param)
    return request.param


class Ear:
    def __init__(self) -> None:
        self.events: list[str] = []
        self.payloads: list[bytes] = []
        self._changed = asyncio.Event()

    def bus_up(self) -> None:
        self.note("up")

    def bus_down(self, reason: str) -> None:
        self.note(f"down: {reason}")

    def bus_message(self, topic: str, payload: bytes) -> None:
        self.payloads.append(payload)
        self._changed.set()

    def note(self, event: str) -> None:
        self.events.append(event)
        self._changed.set()

    @property
    def kinds(self) -> list[str]:
        return [event.split(":")[0] for event in self.events]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@contextlib.asynccontextmanager
async def running(bus: MqttBus, *topics: str, ear: Ear | None = None) -> AsyncIterator[Ear]:
    ear = ear or Ear()
    task = asyncio.create_task(bus.run(topics or (TOPIC,), ear))
    try:
        yield ear
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            async with asyncio.timeout(PATIENCE_S):
                await task


def bus_at(path: Path, **options: float) -> MqttBus:
    return MqttBus(BusLocation(path), "test", **options)


async def accept_and_serve(client: Client) -> None:
    await client.accept()
    await until_it_leaves(client)


async def test_it_speaks_mqtt_311_with_a_clean_session_and_qos_1(tmp_path: Path) -> None:
    seen: list[Packet] = []

    async def watch(client: Client) -> None:
        seen.append(await client.read())
        client.write(CONNACK_OK)
        seen.append(await client.read())
        client.write(b"\x90\x04" + seen[-1].subscribed_id + b"\x01\x01")
        seen.append(await client.read())
        client.write(b"\x40\x02" + seen[-1].published_id)
        seen.append(await client.read())

    async with scripted(tmp_path / "bus.sock", watch):
        bus = bus_at(tmp_path / "bus.sock")
        async with running(bus, TOPIC, "mg/1/presence/0") as ear:
            await ear.until(lambda: ear.kinds == ["up"])
            await bus.publish(TOPIC, b"payload")
    connect, subscribe, publish, disconnect = seen
    assert connect.body.startswith(b"\x00\x04MQTT\x04\x02\x00\x05"), "level 4, clean, 5 s"
    assert b"test-" in connect.body
    topics = b"\x00\x0dmg/1/server/1\x01" + b"\x00\x0fmg/1/presence/0\x01"
    assert subscribe.body[2:] == topics
    assert (publish.kind, publish.flags) == (PUBLISH, 0b0010), "QoS 1, not retained"
    assert publish.body.endswith(b"payload")
    assert disconnect.kind == 14


async def test_two_clients_of_one_name_do_not_throw_each_other_out(tmp_path: Path) -> None:
    with MosquittoBroker(tmp_path, has_tcp=False) as broker:
        one, two = (MqttBus(broker.unix_location, "same") for _ in range(2))
        async with running(one) as ear_one, running(two) as ear_two:
            await ear_one.until(lambda: ear_one.kinds == ["up"])
            await ear_two.until(lambda: ear_two.kinds == ["up"])
            await two.publish(TOPIC, b"hello")
            await ear_one.until(lambda: ear_one.payloads == [b"hello"])
            assert ear_one.kinds == ["up"]


async def test_bus_up_waits_for_the_subscription(tmp_path: Path) -> None:
    may_confirm, ear_at_subscribe = asyncio.Event(), asyncio.Event()

    async def slow(client: Client) -> None:
        await client.read()
        client.write(CONNACK_OK)
        subscribe = await client.read()
        ear_at_subscribe.set()
        await may_confirm.wait()
        client.write(b"\x90\x03" + subscribe.subscribed_id + b"\x01")
        await until_it_leaves(client)

    async with scripted(tmp_path / "bus.sock", slow):
        bus = bus_at(tmp_path / "bus.sock")
        async with running(bus) as ear:
            await ear_at_subscribe.wait()
            assert [] == ear.events
            with pytest.raises(BusError):
                await bus.publish(TOPIC, b"too early")
            may_confirm.set()
            await ear.until(lambda: ear.kinds == ["up"])


async def refuse_connection(client: Client) -> None:
    await client.read()
    client.write(CONNACK_NOT_AUTHORISED)
    await client.writer.drain()
    await client.read()


async def refuse_subscription(client: Client) -> None:
    await client.read()
    client.write(CONNACK_OK)
    subscribe = await client.read()
    client.write(b"\x90\x03" + subscribe.subscribed_id + b"\x80")
    await client.read()


async def close_at_once(client: Client) -> None:
    await client.read()


async def send_garbage(client: Client) -> None:
    await client.read()
    client.write(b"\x30\xff\xff\xff\xff\xff\xff" + bytes(100))
    await client.read()


async def send_malformed_packets(client: Client) -> None:
    await client.read()
    client.write(b"\x20\x00" + b"\x90\x00" + b"\x40\x01\x00" + b"\x30\x02\x00\xff")
    await client.read()


@pytest.mark.parametrize(
    "misbehave",
    [
        refuse_connection,
        refuse_subscription,
        close_at_once,
        send_garbage,
        send_malformed_packets,
    ],
)
async def test_a_broker_that_misbehaves_is_tried_again_until_it_behaves(
    tmp_path: Path, misbehave: Callable[[Client], asyncio.Future[None]]
) -> None:
    async with scripted(tmp_path / "bus.sock", misbehave, misbehave, accept_and_serve) as broker:
        bus = bus_at(tmp_path / "bus.sock")
        async with running(bus) as ear:
            await ear.until(lambda: ear.kinds == ["up"])
            await bus.publish(TOPIC, b"works")
        assert broker.connections == 3


async def test_garbage_on_a_working_connection_is_an_outage_and_no_more(tmp_path: Path) -> None:
    async def turn_bad(client: Client) -> None:
        await client.accept()
        packet = await client.read()
        assert packet.kind == PUBLISH
        client.write(b"\xf0\x7f" + bytes(127))
        await client.read()

    async with scripted(tmp_path / "bus.sock", turn_bad, accept_and_serve):
        bus = bus_at(tmp_path / "bus.sock")
        async with running(bus) as ear:
            await ear.until(lambda: ear.kinds == ["up"])
            with pytest.raises(BusError):
                await bus.publish(TOPIC, b"unconfirmed")
            await ear.until(lambda: ear.kinds == ["up", "down", "up"])
            await bus.publish(TOPIC, b"works")


async def test_a_broker_that_never_answers_costs_one_timeout_per_attempt(tmp_path: Path) -> None:
    async def mute(client: Client) -> None:
        await client.reader.read()

    bus = bus_at(tmp_path / "bus.sock", connect_timeout_s=0.1)
    async with scripted(tmp_path / "bus.sock", mute, accept_and_serve), running(bus) as ear:
        await ear.until(lambda: ear.kinds == ["up"])


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_process_that_stands_still_when_the_bus_is_up_keeps_it(
    tmp_path: Path, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    class Slow(Ear):
        def bus_up(self) -> None:
            time.sleep(0.5)  # the whole process, beyond the time that an attempt has
            super().bus_up()

    async def run() -> None:
        async with scripted(tmp_path / "bus.sock", accept_and_serve):
            bus = bus_at(tmp_path / "bus.sock", connect_timeout_s=0.4)
            async with running(bus, ear=Slow()) as ear:
                await ear.until(lambda: ear.kinds != [])
                await bus.publish(TOPIC, b"works")
                assert ear.kinds == ["up"]

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run())


async def test_a_broker_that_does_not_confirm_is_left(tmp_path: Path) -> None:
    async def swallow(client: Client) -> None:
        await client.accept()
        await client.reader.read()

    async with scripted(tmp_path / "bus.sock", swallow, accept_and_serve):
        bus = bus_at(tmp_path / "bus.sock", confirm_timeout_s=0.1)
        async with running(bus) as ear:
            await ear.until(lambda: ear.kinds == ["up"])
            with pytest.raises(BusError, match="confirmation"):
                await bus.publish(TOPIC, b"swallowed")
            await ear.until(lambda: ear.kinds == ["up", "down", "up"])
            await bus.publish(TOPIC, b"works")


async def test_a_broker_that_answers_no_ping_is_left(tmp_path: Path) -> None:
    async def deaf(client: Client) -> None:
        await client.accept()
        await client.reader.read()

    async with scripted(tmp_path / "bus.sock", deaf, accept_and_serve):
        bus = bus_at(tmp_path / "bus.sock", keepalive_s=1)
        async with running(bus) as ear:
            await ear.until(lambda: ear.kinds == ["up", "down", "up"])


async def test_a_frozen_broker_is_an_outage_and_its_thaw_ends_it(tmp_path: Path) -> None:
    with MosquittoBroker(tmp_path, has_tcp=False) as broker:
        bus = bus_at(broker.unix_location.socket, confirm_timeout_s=0.2, connect_timeout_s=0.2)
        async with running(bus) as ear:
            await ear.until(lambda: ear.kinds == ["up"])
            broker.freeze()
            try:
                with pytest.raises(BusError):
                    await bus.publish(TOPIC, b"into the ice")
                await ear.until(lambda: ear.kinds == ["up", "down"])
            finally:
                broker.thaw()
            await ear.until(lambda: ear.kinds == ["up", "down", "up"])


async def test_while_there_is_no_broker_it_pauses_between_attempts(tmp_path: Path) -> None:
    asked: list[float] = []
    enough = asyncio.Event()

    def location() -> BusLocation:
        asked.append(time.monotonic())
        if len(asked) == 5:
            enough.set()
        return BusLocation(tmp_path / "nobody.sock")

    async with running(MqttBus(location, "test")):
        async with asyncio.timeout(PATIENCE_S):
            await enough.wait()
    pauses = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert pauses[0] >= 0.05
    assert pauses[-1] >= 0.4
    assert mqtt._PAUSE_MAX_S < 1.0, "the bus is back within a second"


async def test_a_broker_that_appears_on_another_socket_is_found(tmp_path: Path) -> None:
    places = [tmp_path / "old.sock"]
    bus = MqttBus(lambda: BusLocation(places[-1]), "test")
    async with scripted(tmp_path / "new.sock", accept_and_serve), running(bus) as ear:
        places.append(tmp_path / "new.sock")
        await ear.until(lambda: ear.kinds == ["up"])


async def test_an_outage_is_one_warning_in_plain_words(tmp_path: Path) -> None:
    path, leave = tmp_path / "scripted.sock", asyncio.Event()

    async def accept_and_leave(client: Client) -> None:
        await client.accept()
        await leave.wait()
        path.unlink()  # nobody is there for a while

    with capture_logs() as logs:
        async with scripted(path, accept_and_leave), running(bus_at(path)) as ear:
            await ear.until(lambda: ear.kinds == ["up"])
            leave.set()
            async with asyncio.timeout(PATIENCE_S):
                while len(logs) < 3:
                    await asyncio.sleep(0.01)
    said = [(line["log_level"], line["event"], line.get("detail")) for line in logs[:3]]

    assert said == [
        ("info", "bus_up", None),
        ("warning", "bus_down", "connection lost"),
        ("debug", "bus_down", f"no broker at {path}: No such file or directory"),
    ]


async def test_a_location_that_is_misconfigured_ends_the_run_with_its_error() -> None:
    def location() -> BusLocation:
        raise ConfigError("IPC_MQTT_PORT", got="x", expected="a number")

    with pytest.raises(ConfigError):
        await MqttBus(location, "test").run((TOPIC,), Ear())


async def test_an_unresolvable_host_is_an_outage_like_any_other() -> None:
    bus = MqttBus(BusLocation(None, "no host has this name", 1883), "test")
    async with running(bus) as ear:
        await asyncio.sleep(0)
        with pytest.raises(BusError):
            await bus.publish(TOPIC, b"nowhere")
        assert [] == ear.events


async def test_R17_a_new_connection_neither_repeats_nor_delivers_what_the_old_one_had(
    tmp_path: Path,
) -> None:
    second: list[Packet] = []

    async def break_off(client: Client) -> None:
        await client.accept()
        assert (await client.read()).kind == PUBLISH
        # Half a message: its rest must not be found at the start of the next connection.
        client.write(b"\x32\x20\x00\x0dmg/1/server/1\x00\x01old")
        await client.writer.drain()

    async def watch(client: Client) -> None:
        second.append(await client.read())
        client.write(CONNACK_OK)
        second.append(await client.read())
        client.write(b"\x90\x03" + second[-1].subscribed_id + b"\x01")
        client.write(b"\x32\x14\x00\x0dmg/1/server/1\x00\x01new")
        second.append(await client.read())
        second.append(await client.read())
        client.write(b"\x40\x02" + second[-1].published_id)
        await until_it_leaves(client)

    bus = bus_at(tmp_path / "bus.sock")
    async with scripted(tmp_path / "bus.sock", break_off, watch), running(bus) as ear:
        await ear.until(lambda: ear.kinds == ["up"])
        with pytest.raises(BusError):
            await bus.publish(TOPIC, b"lost")
        await ear.until(lambda: ear.payloads != [])
        await bus.publish(TOPIC, b"fresh")
    assert [b"new"] == ear.payloads
    connect, _, puback, publish = second
    assert connect.body[7] == 0b10, "a clean session"
    assert puback.kind == PUBACK
    assert publish.body.endswith(b"fresh"), "the lost one is not sent again"
