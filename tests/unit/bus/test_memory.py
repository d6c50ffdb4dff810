"""What the memory bus has beyond the contract (tests/contract/test_bus.py)."""

from __future__ import annotations

import asyncio

import pytest

from module_gateway.bus.memory import MemoryBroker
from module_gateway.protocol.errors import BusError


class Ear:
    def __init__(self) -> None:
        self.events: list[str] = []
        self.payloads: list[bytes] = []

    def bus_up(self) -> None:
        self.events.append("up")

    def bus_down(self, reason: str) -> None:
        self.events.append("down")

    def bus_message(self, topic: str, payload: bytes) -> None:
        self.payloads.append(payload)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_it_loses_what_a_test_wants_lost_and_confirms_it_all_the_same() -> None:
    broker, ear = MemoryBroker(), Ear()
    bus = broker.bus()
    task = asyncio.create_task(bus.run(("t",), ear))
    await turns()
    broker.loses = lambda topic, payload: (topic, payload) == ("t", b"2")
    for payload in (b"1", b"2", b"3"):
        await bus.publish("t", payload)
    await turns()
    assert [b"1", b"3"] == ear.payloads
    task.cancel()


async def test_an_outage_loses_what_is_under_way_and_fails_its_publish() -> None:
    broker, ear = MemoryBroker(), Ear()
    bus = broker.bus()
    task = asyncio.create_task(bus.run(("t",), ear))
    await turns()
    publish = asyncio.create_task(bus.publish("t", b"under way"))
    asyncio.get_running_loop().call_soon(broker.stop)
    with pytest.raises(BusError):
        await publish
    assert not broker.is_running
    broker.start()
    await turns()
    assert ["up", "down", "up"] == ear.events
    assert [] == ear.payloads
    task.cancel()


async def test_a_message_is_delivered_in_a_later_turn() -> None:
    broker, ear = MemoryBroker(), Ear()
    task = asyncio.create_task(broker.bus().run(("t",), ear))
    await turns()
    broker.distribute("t", b"1")
    assert [] == ear.payloads
    await turns(1)
    assert [b"1"] == ear.payloads
    task.cancel()
