from __future__ import annotations

import asyncio
import socket

import pytest
from aiomqtt import Client

from module_gateway.control_plane.link import UpstreamLink
from module_gateway.protocol.errors import BusError
from tests.brokers import MosquittoBroker, free_port


class Ear:
    """Remembers what the link tells, as a queue."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()

    def bus_up(self) -> None:
        self.heard.put_nowait(("up",))

    def bus_down(self, reason: str) -> None:
        self.heard.put_nowait(("down",))

    def bus_message(self, topic: str, payload: bytes) -> None:
        self.heard.put_nowait((topic, payload.decode()))

    async def next(self) -> tuple[str, ...]:
        return await asyncio.wait_for(self.heard.get(), 20)


@pytest.fixture
def broker(tmp_path):
    with MosquittoBroker(tmp_path, has_unix=False) as running:
        yield running


@pytest.fixture
async def linked(broker):
    link, ear = UpstreamLink("127.0.0.1", broker.port), Ear()
    task = asyncio.create_task(link.run(("+/+/module_gateway",), ear))
    assert await ear.next() == ("up",)
    yield link, ear
    task.cancel()
    await asyncio.wait({task})


async def test_messages_of_every_vehicle_are_heard_and_others_not(broker, linked):
    _, ear = linked
    async with Client("127.0.0.1", broker.port) as client:
        for topic in ("a/b/external_server", "a/b/module_gateway", "c/d/module_gateway"):
            await client.publish(topic, topic, qos=1)
    assert await ear.next() == ("a/b/module_gateway", "a/b/module_gateway")
    assert await ear.next() == ("c/d/module_gateway", "c/d/module_gateway")


async def test_overlapping_publishes_keep_their_order(linked):
    link, ear = linked
    texts = [str(number) for number in range(100)]
    await asyncio.gather(*(link.publish("a/b/module_gateway", text.encode()) for text in texts))
    assert [(await ear.next())[1] for _ in texts] == texts


async def test_the_socket_does_not_wait_to_fill_segments(linked):
    link, _ = linked
    connection = link._client._client.socket()
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_it_comes_back_after_the_broker_did_and_subscribes_again(broker, linked):
    link, ear = linked
    broker.kill()
    assert await ear.next() == ("down",)
    with pytest.raises(BusError):
        await link.publish("a/b/module_gateway", b"lost")
    broker.start()
    assert await ear.next() == ("up",)
    await link.publish("a/b/module_gateway", b"again")
    assert await ear.next() == ("a/b/module_gateway", "again")


async def test_it_waits_for_a_broker_that_is_not_there_yet(tmp_path, monkeypatch):
    port = free_port()
    failed = asyncio.Event()
    report = UpstreamLink._report_failure

    def report_and_tell(self, state):
        report(self, state)
        failed.set()

    monkeypatch.setattr(UpstreamLink, "_report_failure", report_and_tell)
    link, ear = UpstreamLink("127.0.0.1", port), Ear()
    task = asyncio.create_task(link.run(("+/+/module_gateway",), ear))
    await asyncio.wait_for(failed.wait(), 10)
    broker = MosquittoBroker(tmp_path, has_unix=False)
    broker.port = port
    with broker:
        assert await ear.next() == ("up",)
        task.cancel()
        await asyncio.wait({task})


async def test_nothing_is_published_before_the_link_is_up():
    with pytest.raises(BusError):
        await UpstreamLink("127.0.0.1", 1).publish("a/b/module_gateway", b"")
