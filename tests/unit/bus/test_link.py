from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from module_gateway.bus import batch, metrics
from module_gateway.bus.link import (
    EARLY_MESSAGES,
    MAX_UNDER_WAY,
    PRESENCE_TOPIC,
    STALL_S,
    Address,
    Link,
)
from module_gateway.bus.memory import MemoryBroker
from module_gateway.bus.port import Bus, BusListener, Settle
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import BusError, Reason
from module_gateway.runtime.health import Progress
from module_gateway.runtime.settings import BusSettings

SERVER, HANDLER = int(bus_pb2.INTERNAL_SERVER), int(bus_pb2.MODULE_HANDLER)
PATIENCE_S = 30.0
QUIET = BusSettings(heartbeat_ms=60_000, silence_ms=240_000)
"""Heartbeats only when something asks for them."""


class Ear:
    """A link listener that remembers what it was told."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.batches: list[tuple[Address, list[bus_pb2.Message]]] = []
        self._changed = asyncio.Event()

    def link_up(self) -> None:
        self._note("up")

    def link_down(self, reason: str) -> None:
        self._note("down")

    def peer_up(self, peer: Address, presence: bus_pb2.Presence) -> None:
        self._note((peer, tuple(served.module for served in presence.served)))

    def peer_lost(self, peer: Address) -> None:
        self._note(("lost", peer))

    def received(self, sender: Address, messages: Sequence[bus_pb2.Message]) -> None:
        self.batches.append((sender, list(messages)))
        self._changed.set()

    def _note(self, event: object) -> None:
        self.events.append(event)
        self._changed.set()

    @property
    def instances(self) -> list[int]:
        return [m.status_request.instance for _, part in self.batches for m in part]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class GatedBus:
    """A bus whose confirmations the test gives, in front of a memory bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.published: list[tuple[str, bytes]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails_with: list[Exception] = []
        self.called = asyncio.Event()

    async def run(self, topics: tuple[str, ...], listener: BusListener) -> None:
        await self._bus.run(topics, listener)

    async def publish(self, topic: str, payload: bytes) -> None:
        await self._bus.publish(topic, payload)

    def send(self, topic: str, payload: bytes, settle: Settle) -> None:
        self.published.append((topic, payload))
        self.called.set()
        if self.fails_with and topic != PRESENCE_TOPIC:
            raise self.fails_with.pop(0)
        if self.gate.is_set():
            self._bus.send(topic, payload, settle)
        else:
            self._held = asyncio.create_task(self._send_later(topic, payload, settle))

    async def _send_later(self, topic: str, payload: bytes, settle: Settle) -> None:
        await self.gate.wait()
        try:
            self._bus.send(topic, payload, settle)
        except BusError as error:
            settle(error)

    def batches(self) -> list[list[int]]:
        return [
            [message.status_request.instance for message in batch.decode(payload)[1]]
            for topic, payload in self.published
            if topic != PRESENCE_TOPIC
        ]


def status(instance: int, size_bytes: int = 0) -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.status_request.instance = instance
    message.status_request.status = bytes(size_bytes)
    return message


def dropped(reason: Reason) -> float:
    return metrics.DROPPED.labels(reason)._value.get()


@contextlib.asynccontextmanager
async def running(*links: Link) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(link.run()) for link in links]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)


class Pair:
    """A server that sends and a handler that receives, both up and known to each other."""

    def __init__(self, settings: BusSettings = QUIET) -> None:
        self.broker = MemoryBroker()
        self.bus = GatedBus(self.broker.bus())
        self.server_ear, self.handler_ear = Ear(), Ear()
        self.server = Link(self.bus, SERVER, settings, self.server_ear, boot_id=1)
        self.handler = Link(self.broker.bus(), HANDLER, settings, self.handler_ear, boot_id=2)
        self.to = self.handler.address

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with running(self.server, self.handler):
            await self.server_ear.until(lambda: (self.to, ()) in self.server_ear.events)
            await self.server.drain()
            await self.handler.drain()
            self.bus.published.clear()
            yield


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    pair = Pair()
    async with pair.running():
        yield pair


async def test_what_one_turn_sends_travels_as_one_batch(pair: Pair) -> None:
    for instance in range(10):
        assert pair.server.send(pair.to, status(instance))
    await pair.handler_ear.until(lambda: len(pair.handler_ear.instances) == 10)
    assert [list(range(10))] == pair.bus.batches()
    assert [pair.server.address] == [sender for sender, _ in pair.handler_ear.batches]


async def test_an_idle_link_sends_a_batch_of_one_at_once(pair: Pair) -> None:
    for instance in range(3):
        pair.server.send(pair.to, status(instance))
        await pair.server.drain()
    assert [[0], [1], [2]] == pair.bus.batches()


async def test_when_enough_is_under_way_the_next_batch_grows(pair: Pair) -> None:
    pair.bus.gate.clear()
    for instance in range(MAX_UNDER_WAY + 50):
        pair.server.send(pair.to, status(instance))
        await asyncio.sleep(0)  # a turn each: beyond the bound they must not leave one by one
    pair.bus.gate.set()
    await pair.server.drain()
    alone = [[instance] for instance in range(MAX_UNDER_WAY)]
    together = list(range(MAX_UNDER_WAY, MAX_UNDER_WAY + 50))
    assert [*alone, together] == pair.bus.batches()


async def test_much_of_one_turn_leaves_before_the_turn_has_ended(pair: Pair) -> None:
    for instance in range(2 * EARLY_MESSAGES + 3):
        pair.server.send(pair.to, status(instance))
    early = [list(range(EARLY_MESSAGES)), list(range(EARLY_MESSAGES, 2 * EARLY_MESSAGES))]
    assert early == pair.bus.batches()
    await pair.server.drain()
    rest = list(range(2 * EARLY_MESSAGES, 2 * EARLY_MESSAGES + 3))
    assert [*early, rest] == pair.bus.batches()


async def test_thousands_of_messages_arrive_in_order_in_bounded_batches(pair: Pair) -> None:
    for instance in range(10_000):
        assert pair.server.send(pair.to, status(instance, size_bytes=50))
    await pair.handler_ear.until(lambda: len(pair.handler_ear.instances) == 10_000)
    assert list(range(10_000)) == pair.handler_ear.instances
    sizes = [len(payload) for _, payload in pair.bus.published]
    assert max(sizes) <= QUIET.batch_bytes
    assert len(sizes) < MAX_UNDER_WAY + 20


async def test_a_message_larger_than_a_batch_travels_alone_in_its_place(pair: Pair) -> None:
    pair.server.send(pair.to, status(0))
    pair.server.send(pair.to, status(1, size_bytes=200_000))
    pair.server.send(pair.to, status(2))
    await pair.server.drain()
    assert [[0], [1], [2]] == pair.bus.batches()
    assert [0, 1, 2] == pair.handler_ear.instances


async def test_receivers_take_turns(pair: Pair) -> None:
    other = Address(HANDLER, 99)
    for instance in range(3):
        pair.server.send(pair.to, status(instance, size_bytes=60_000))
        pair.server.send(other, status(10 + instance, size_bytes=60_000))
    await pair.server.drain()
    assert [[0], [10], [1], [11], [2], [12]] == pair.bus.batches()


async def test_a_full_queue_refuses_by_count_and_recovers() -> None:
    pair = Pair(QUIET.model_copy(update={"unsent_messages": 3}))
    async with pair.running():
        before = dropped(Reason.QUEUE_FULL)
        accepted = [pair.server.send(pair.to, status(instance)) for instance in range(5)]
        assert [True, True, True, False, False] == accepted
        assert before + 2 == dropped(Reason.QUEUE_FULL)
        assert pair.server.send(Address(HANDLER, 99), status(1)), "bounds are per receiver"
        await pair.server.drain()
        assert pair.server.send(pair.to, status(5))
        await pair.server.drain()
    assert [0, 1, 2, 5] == pair.handler_ear.instances


async def test_a_full_queue_refuses_by_bytes() -> None:
    pair = Pair(QUIET.model_copy(update={"unsent_bytes": 1024}))
    async with pair.running():
        assert pair.server.send(pair.to, status(0, size_bytes=900))
        assert not pair.server.send(pair.to, status(1, size_bytes=900))
        assert pair.server.send(pair.to, status(2, size_bytes=50))
        assert not pair.server.send(Address(HANDLER, 99), status(3, size_bytes=2000))
        assert (0, 0) == pair.server.unsent(Address(HANDLER, 99))
        await pair.server.drain()
    assert [0, 2] == pair.handler_ear.instances


async def test_unsent_counts_what_is_under_way_until_it_is_confirmed(pair: Pair) -> None:
    assert (0, 0) == pair.server.unsent(pair.to)
    pair.bus.gate.clear()
    pair.bus.called.clear()
    pair.server.send(pair.to, status(0))
    await pair.bus.called.wait()
    pair.server.send(pair.to, status(1))
    entries = [batch.encode_entry(status(instance)) for instance in (0, 1)]
    assert (2, sum(map(len, entries))) == pair.server.unsent(pair.to)
    pair.bus.gate.set()
    await pair.server.drain()
    assert (0, 0) == pair.server.unsent(pair.to)


async def test_an_outage_drops_and_counts_what_is_unsent(pair: Pair) -> None:
    pair.bus.gate.clear()
    pair.bus.called.clear()
    before = dropped(Reason.BUS_DOWN)
    pair.server.send(pair.to, status(0))
    await pair.bus.called.wait()
    for instance in range(1, 5):
        pair.server.send(pair.to, status(instance))
    pair.broker.stop()
    await pair.server_ear.until(lambda: pair.server_ear.events[-1] == "down")
    assert not pair.server.is_up
    assert (0, 0) == pair.server.unsent(pair.to)
    assert before + 5 == dropped(Reason.BUS_DOWN)
    assert not pair.server.send(pair.to, status(5))
    assert before + 6 == dropped(Reason.BUS_DOWN)
    pair.bus.gate.set()
    pair.broker.start()
    await pair.server_ear.until(lambda: pair.server_ear.events[-1] == "up")
    await pair.handler_ear.until(lambda: pair.handler_ear.events[-1] == "up")
    pair.server.send(pair.to, status(6))
    await pair.handler_ear.until(lambda: pair.handler_ear.instances == [6])
    assert before + 6 == dropped(Reason.BUS_DOWN)


@pytest.mark.parametrize("failure", [BusError("no"), RuntimeError("a defect"), OSError("socket")])
async def test_a_failed_publish_loses_its_batch_and_never_wedges_the_link(
    pair: Pair, failure: Exception
) -> None:
    pair.bus.fails_with.append(failure)
    before = dropped(Reason.BUS_DOWN)
    pair.server.send(pair.to, status(0))
    pair.server.send(pair.to, status(1))
    await pair.server.drain()
    assert before + 2 == dropped(Reason.BUS_DOWN)
    assert (0, 0) == pair.server.unsent(pair.to)
    pair.server.send(pair.to, status(2))
    await pair.handler_ear.until(lambda: pair.handler_ear.instances == [2])


async def test_a_presence_that_cannot_be_asked_does_not_wedge_the_link() -> None:
    def presence() -> bus_pb2.Presence:
        raise RuntimeError("a defect of the process")

    broker, ear, handler_ear = MemoryBroker(), Ear(), Ear()
    server = Link(broker.bus(), SERVER, QUIET, ear, presence)
    handler = Link(broker.bus(), HANDLER, QUIET, handler_ear)
    async with running(server, handler):
        await ear.until(lambda: server.is_up)
        await handler_ear.until(lambda: handler.is_up)
        server.send(handler.address, status(1))
        await handler_ear.until(lambda: handler_ear.instances == [1])


async def test_a_listener_that_raises_gets_the_next_batch_all_the_same(pair: Pair) -> None:
    heard = pair.handler_ear.received

    def touchy(sender: Address, messages: Sequence[bus_pb2.Message]) -> None:
        heard(sender, messages)
        raise ValueError("cannot digest it")

    pair.handler_ear.received = touchy
    for instance in range(3):
        pair.server.send(pair.to, status(instance))
        await pair.server.drain()
    await pair.handler_ear.until(lambda: pair.handler_ear.instances == [0, 1, 2])


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xff\xff", Reason.UNDECODABLE),
        (b"", Reason.BUS_VERSION),
        (
            bus_pb2.Batch(
                version=2, sender_kind=bus_pb2.INTERNAL_SERVER, sender_boot_id=5
            ).SerializeToString(),
            Reason.BUS_VERSION,
        ),
    ],
)
async def test_a_batch_that_cannot_be_read_is_counted_and_ignored(
    pair: Pair, payload: bytes, reason: Reason
) -> None:
    before = dropped(reason)
    await pair.bus.publish(pair.to.topic, payload)
    await pair.bus.publish(PRESENCE_TOPIC, payload)
    pair.server.send(pair.to, status(1))
    await pair.handler_ear.until(lambda: pair.handler_ear.instances == [1])
    # One for the handler's topic, one each at both ends of the presence topic.
    assert before + 3 == dropped(reason)


async def test_what_is_no_presence_on_the_presence_topic_is_counted_and_ignored(
    pair: Pair,
) -> None:
    before = dropped(Reason.UNEXPECTED_MESSAGE)
    stranger = bus_pb2.Batch(version=1, sender_kind=bus_pb2.INTERNAL_SERVER, sender_boot_id=5)
    stranger.messages.append(status(1))
    await pair.bus.publish(PRESENCE_TOPIC, stranger.SerializeToString())
    await pair.server_ear.until(lambda: dropped(Reason.UNEXPECTED_MESSAGE) == before + 2)
    assert pair.handler_ear.instances == []
    assert Address(SERVER, 5) not in pair.handler.peers()


async def test_R6_peers_find_each_other_without_waiting_for_a_heartbeat_period() -> None:
    broker, ears = MemoryBroker(), [Ear() for _ in range(4)]
    links = [
        Link(broker.bus(), HANDLER, QUIET, ear, boot_id=number + 1)
        for number, ear in enumerate(ears)
    ]
    async with running(*links[:2]):
        await ears[0].until(lambda: len(links[0].peers()) == 1)
        async with running(*links[2:]):
            for ear, link in zip(ears, links, strict=True):
                await ear.until(lambda link=link: len(link.peers()) == 3)


async def test_peer_up_tells_what_a_peer_serves_and_again_when_that_changes() -> None:
    broker, ear = MemoryBroker(), Ear()
    modules = [1]

    def presence() -> bus_pb2.Presence:
        return bus_pb2.Presence(
            served=[bus_pb2.Presence.Served(module=module) for module in modules]
        )

    server = Link(broker.bus(), SERVER, QUIET, ear)
    handler = Link(broker.bus(), HANDLER, QUIET, Ear(), presence)
    async with running(server, handler):
        await ear.until(lambda: (handler.address, (1,)) in ear.events)
        handler.announce()
        await handler.drain()
        modules.append(2)
        handler.announce()
        await ear.until(lambda: (handler.address, (1, 2)) in ear.events)
    assert ["up", (handler.address, (1,)), (handler.address, (1, 2))] == ear.events


async def test_R6_a_silent_peer_is_lost_its_queue_dropped_and_its_return_told() -> None:
    settings = BusSettings(heartbeat_ms=20, silence_ms=1000)
    broker, ear = MemoryBroker(), Ear()
    bus = GatedBus(broker.bus())
    server = Link(bus, SERVER, settings, ear)
    handler = Link(broker.bus(), HANDLER, settings, Ear())
    async with running(server):
        async with running(handler):
            await ear.until(lambda: (handler.address, ()) in ear.events)
            bus.called.clear()
            bus.gate.clear()
        await server_is_stuck(server, bus, handler.address)
        before = dropped(Reason.PEER_LOST)
        await ear.until(lambda: ear.events[-1] == ("lost", handler.address))
        assert (0, 0) == server.unsent(handler.address)
        assert before + 3 == dropped(Reason.PEER_LOST)
        bus.gate.set()
        again = Link(broker.bus(), HANDLER, settings, Ear(), boot_id=handler.address.boot_id)
        async with running(again):
            await ear.until(lambda: ear.events[-1] == (handler.address, ()))


async def server_is_stuck(server: Link, bus: GatedBus, receiver: Address) -> None:
    """Three messages wait behind a publish that is not confirmed: this one, or a heartbeat."""
    server.announce()
    await bus.called.wait()
    for instance in range(3):
        server.send(receiver, status(instance))


async def test_peers_get_lost_during_an_outage_too() -> None:
    settings = BusSettings(heartbeat_ms=20, silence_ms=100)
    broker, ear = MemoryBroker(), Ear()
    server = Link(broker.bus(), SERVER, settings, ear)
    handler = Link(broker.bus(), HANDLER, settings, Ear())
    async with running(server, handler):
        await ear.until(lambda: (handler.address, ()) in ear.events)
        broker.stop()
        await ear.until(lambda: ("lost", handler.address) in ear.events)
        assert ear.events.index("down") < ear.events.index(("lost", handler.address))
        broker.start()
        await ear.until(lambda: ear.events[-1] == (handler.address, ()))


async def test_a_process_that_stood_still_does_not_blame_its_peers() -> None:
    settings = BusSettings(heartbeat_ms=150, silence_ms=200)
    broker, ear = MemoryBroker(), Ear()
    time_s = [0.0]
    bus = GatedBus(broker.bus())
    server = Link(bus, SERVER, settings, ear, clock=lambda: time_s[0])
    handler = Link(broker.bus(), HANDLER, QUIET, Ear())
    async with running(server):
        async with running(handler):
            await ear.until(lambda: (handler.address, ()) in ear.events)
            await handler.drain()
        # The process was frozen: far more than a period lies between two looks.
        bus.called.clear()
        time_s[0] += 3600.0
        async with asyncio.timeout(PATIENCE_S):
            await bus.called.wait()  # it looked again: a heartbeat was due
        assert [handler.address] == list(server.peers())
        time_s[0] += 0.1  # the rest of the silence, counted from before the freeze
        await ear.until(lambda: ear.events[-1] == ("lost", handler.address))


async def test_a_heartbeat_goes_out_every_period() -> None:
    broker, ear = MemoryBroker(), Ear()
    bus = GatedBus(broker.bus())
    link = Link(bus, SERVER, BusSettings(heartbeat_ms=10, silence_ms=1000), ear)
    async with running(link):
        async with asyncio.timeout(PATIENCE_S):
            while len(bus.published) < 5:
                bus.called.clear()
                await bus.called.wait()
    assert {PRESENCE_TOPIC} == {topic for topic, _ in bus.published}
    assert [] == [event for event in ear.events if event != "up"], "own heartbeats mean nothing"


async def test_the_first_thing_a_new_process_says_is_its_presence() -> None:
    broker, ear = MemoryBroker(), Ear()
    bus = GatedBus(broker.bus())
    link = Link(bus, SERVER, QUIET, ear)
    receiver = Address(HANDLER, 7)

    def send_at_once() -> None:
        link.send(receiver, status(1))

    ear.link_up = send_at_once
    async with running(link):
        async with asyncio.timeout(PATIENCE_S):
            while len(bus.published) < 2:
                bus.called.clear()
                await bus.called.wait()
    assert [PRESENCE_TOPIC, receiver.topic] == [topic for topic, _ in bus.published]


async def test_before_it_runs_and_after_it_was_cancelled_a_link_sends_nothing() -> None:
    link = Link(MemoryBroker().bus(), SERVER, QUIET, Ear())
    assert not link.is_up
    assert not link.send(Address(HANDLER, 1), status(1))
    task = asyncio.create_task(link.run())
    while not link.is_up:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not link.is_up
    assert not link.send(Address(HANDLER, 1), status(1))
    await link.drain()


async def test_two_links_of_one_kind_have_different_addresses() -> None:
    broker = MemoryBroker()
    one, two = (Link(broker.bus(), SERVER, QUIET, Ear()) for _ in range(2))
    assert one.address != two.address
    assert one.address.is_valid


class Moment:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_what_waits_for_the_bus_for_too_long_is_no_progress() -> None:
    moment, ear = Moment(), Ear()
    progress = Progress(moment)
    bus = GatedBus(MemoryBroker().bus())
    link = Link(bus, SERVER, QUIET, ear, progress=progress)
    async with running(link):
        await ear.until(lambda: "up" in ear.events)
        await link.drain()
        moment.now += 1000.0
        assert progress.stalled() == ""

        bus.gate.clear()
        bus.called.clear()
        link.announce()
        await bus.called.wait()
        moment.now += STALL_S + 1
        assert progress.stalled() == "what goes to the bus for 31 s"

        bus.gate.set()
        await link.drain()
        assert progress.stalled() == ""


async def test_what_was_dropped_with_the_bus_waits_no_longer() -> None:
    moment, ear = Moment(), Ear()
    progress = Progress(moment)
    link = Link(GatedBus(MemoryBroker().bus()), SERVER, QUIET, ear, progress=progress)
    async with running(link):
        await ear.until(lambda: "up" in ear.events)
        link.bus_down("cut")
        link.announce()
        await link.drain()
        moment.now += STALL_S + 1

        assert progress.stalled() == ""
