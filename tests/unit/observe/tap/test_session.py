from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest

from module_gateway.bus.location import BusLocation
from module_gateway.bus.mqtt import MqttBus
from module_gateway.observe.tap.lines import Lines
from module_gateway.observe.tap.seen import Filter
from module_gateway.observe.tap.session import Tap, TapPlace
from module_gateway.observe.tap.watch import Place
from module_gateway.protocol.errors import BusError
from module_gateway.protocol.external import Status, Topics, encode
from module_gateway.protocol.identity import Device
from module_gateway.runtime.tasks import start_task, stop_tasks
from tests.brokers import MosquittoBroker
from tests.unit.observe.tap.test_bus_messages import HANDLER, SERVER, A, connect, payload, status
from tests.unit.observe.tap.test_watch import LIMIT_S, Nobody

TOPICS = Topics.of("acme", "van_1")


class Told:
    def __init__(self) -> None:
        self.texts: list[str] = []
        self.watching = asyncio.Event()

    def __call__(self, text: str) -> None:
        self.texts.append(text)
        self.watching.set()


async def shown(
    broker: MosquittoBroker, wanted: Filter, published: list[tuple[str, bytes]], count: int | None
) -> tuple[list[str], Tap]:
    """The lines about what is published once the tap listens."""
    places = [
        TapPlace(Place("the bus", broker.unix_location, ("mg/1/#",)), None),
        TapPlace(Place("the broker", broker.tcp_location, tuple(TOPICS)), TOPICS),
    ]
    told, listener, stream = Told(), Nobody(), io.StringIO()
    tap = Tap(places, wanted, Lines(None, is_json=False), Path("/nowhere"), told)
    bus = MqttBus(broker.unix_location, "other")
    tasks = [start_task(bus.run(("x",), listener), "other")]
    running = start_task(tap.run(stream, asyncio.Event(), count, None), "tap")
    async with asyncio.timeout(LIMIT_S):
        await listener.up.wait()
        while len(told.texts) < len(places):
            told.watching.clear()
            await told.watching.wait()
        for topic, content in published:
            await bus.publish(topic, content)
        await running
    await stop_tasks(tasks)
    return stream.getvalue().splitlines(), tap


async def test_both_hops_are_shown_until_enough_lines_are_written(tmp_path: Path) -> None:
    upstream = encode(Status("12345678", 1, 4, Device.of(3, 0, "a"), b"{}"))
    published = [
        (HANDLER.topic, payload(SERVER, connect(5), status(5))),
        (TOPICS.from_gateway, upstream),
        (HANDLER.topic, payload(SERVER, status(5, 2), status(5, 3))),
    ]
    with MosquittoBroker(tmp_path) as broker:
        lines, tap = await shown(broker, Filter(frozenset({"status"})), published, 3)
    assert len(lines) == tap.shown == 3
    assert all(" 3/0/a " in line for line in lines)
    assert sum(" upstream " in line for line in lines) == 1
    assert tap.summary(2.0) == "3 messages shown in 2.0 s"


async def test_connections_that_nobody_named_are_counted_in_the_summary(tmp_path: Path) -> None:
    published = [(HANDLER.topic, payload(SERVER, status(9)))]
    with MosquittoBroker(tmp_path) as broker:
        lines, tap = await shown(broker, Filter(), published, 1)
    assert " ? " in lines[0]
    assert "1 were of connections whose device is not known" in tap.summary(1.0)


async def test_a_time_ends_it_and_nothing_is_an_answer(tmp_path: Path) -> None:
    with MosquittoBroker(tmp_path) as broker:
        place = TapPlace(Place("the bus", broker.unix_location, ("mg/1/#",)), None)
        wanted = Filter(devices=frozenset({A.identity}))
        tap = Tap([place], wanted, Lines(None, is_json=False), tmp_path, lambda _text: None)
        async with asyncio.timeout(LIMIT_S):
            await tap.run(io.StringIO(), asyncio.Event(), None, 0.01)
    assert tap.shown == 0


async def test_a_stop_ends_it(tmp_path: Path) -> None:
    with MosquittoBroker(tmp_path) as broker:
        place = TapPlace(Place("the bus", broker.unix_location, ("mg/1/#",)), None)
        stop = asyncio.Event()
        tap = Tap([place], Filter(), Lines(None, is_json=False), tmp_path, lambda _text: stop.set())
        async with asyncio.timeout(LIMIT_S):
            await tap.run(io.StringIO(), stop, None, None)


async def test_a_place_that_is_not_there_ends_it_with_the_reason(tmp_path: Path) -> None:
    place = TapPlace(Place("the bus", BusLocation(tmp_path / "no.sock"), ("a",)), None)
    tap = Tap([place], Filter(), Lines(None, is_json=False), tmp_path, lambda _text: None)
    with pytest.raises(BusError, match="cannot be watched"):
        await tap.run(io.StringIO(), asyncio.Event(), None, 5.0)
