"""A tool asks the handler of its store, gets one answer, and knows when it does not know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from module_gateway.bus.address import Address
from module_gateway.bus.link import Link
from module_gateway.bus.memory import MemoryBroker
from module_gateway.module_handler.buffer import handler_line as tested
from module_gateway.module_handler.buffer.handler_line import (
    HandlerLine,
    RefusedError,
    handler_line,
)
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import BusError
from module_gateway.runtime.settings import BusSettings
from module_gateway.runtime.tasks import start_task, stop_tasks

STORE = 2**63 + 7
BUS = BusSettings(heartbeat_ms=50, silence_ms=60_000)


class Handler:
    """The other side: answers as it is told."""

    def __init__(
        self, broker: MemoryBroker, answer: Callable[[bus_pb2.BufferRequest], str | None]
    ) -> None:
        self.link = Link(broker.bus(), bus_pb2.MODULE_HANDLER, BUS, self)
        self.requests: list[int] = []
        self.asked = asyncio.Event()
        self._answer = answer

    def link_up(self) -> None: ...

    def link_down(self, reason: str) -> None: ...

    def peer_up(self, peer: Address, presence: bus_pb2.Presence) -> None: ...

    def peer_lost(self, peer: Address) -> None: ...

    def received(self, sender: Address, messages: Sequence[bus_pb2.Message]) -> None:
        for message in messages:
            request = message.buffer_request
            self.requests.append(request.request)
            self.asked.set()
            refusal = self._answer(request)
            if refusal is not None:
                answer = bus_pb2.Message()
                answer.buffer_answer.store_id = request.store_id
                answer.buffer_answer.request = request.request
                answer.buffer_answer.refusal = refusal
                self.link.send(sender, answer)


@asynccontextmanager
async def line_to(*handlers: Handler, broker: MemoryBroker) -> AsyncIterator[HandlerLine]:
    line = HandlerLine(broker.bus(), BUS, STORE)
    tasks = [start_task(each.link.run(), "handler") for each in handlers]
    tasks.append(start_task(line.run(), "line"))
    try:
        yield line
    finally:
        await stop_tasks(tasks)


def purge() -> bus_pb2.BufferRequest:
    return bus_pb2.BufferRequest(what="--all")


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


async def test_each_request_has_its_number_and_returns_with_its_answer(
    broker: MemoryBroker,
) -> None:
    handler = Handler(broker, lambda _request: "")
    async with line_to(handler, broker=broker) as line:
        await line.ask(purge())
        await line.ask(purge())
    assert [1, 2] == handler.requests


async def test_a_refusal_is_told_in_the_handlers_words(broker: MemoryBroker) -> None:
    async with line_to(Handler(broker, lambda _request: "because"), broker=broker) as line:
        with pytest.raises(RefusedError, match="because"):
            await line.ask(purge())


async def test_only_the_handler_of_this_store_is_listened_to(broker: MemoryBroker) -> None:
    silent = Handler(broker, lambda _request: None)

    def other(request: bus_pb2.BufferRequest) -> str:
        request.store_id = STORE - 1
        return "wrong store"

    stranger = Handler(broker, other)
    right = Handler(broker, lambda _request: "")
    async with line_to(silent, stranger, right, broker=broker) as line:
        await line.ask(purge())
    assert [1] == right.requests


async def test_a_bus_without_a_handler_is_said_to_have_none(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tested, "REACH_LIMIT_S", 0.05)
    async with line_to(broker=broker) as line:
        with pytest.raises(BusError, match="no handler of this store was heard on the bus"):
            await line.ask(purge())


async def test_an_answer_that_does_not_come_is_said_not_to(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tested, "ANSWER_LIMIT_S", 0.05)
    async with line_to(Handler(broker, lambda _request: None), broker=broker) as line:
        with pytest.raises(BusError, match="no handler of this store answered"):
            await line.ask(purge())


async def test_a_bus_that_breaks_meanwhile_leaves_nobody_waiting(broker: MemoryBroker) -> None:
    handler = Handler(broker, lambda _request: None)
    async with line_to(handler, broker=broker) as line:
        asking = asyncio.create_task(line.ask(purge()))
        await handler.asked.wait()
        broker.stop()
        with pytest.raises(BusError, match="went away before it answered"):
            await asking


async def test_a_handler_that_falls_silent_leaves_nobody_waiting(broker: MemoryBroker) -> None:
    handler = Handler(broker, lambda _request: None)
    async with line_to(handler, broker=broker) as line:
        asking = asyncio.create_task(line.ask(purge()))
        await handler.asked.wait()
        line.peer_lost(Address(bus_pb2.EXTERNAL_CLIENT, 3))
        line.peer_lost(handler.link.address)
        with pytest.raises(BusError, match="went away before it answered"):
            await asking


async def test_a_line_uses_the_bus_of_its_gateway(tmp_path: Path) -> None:
    settings = BusSettings(socket=tmp_path / "bus.sock")
    async with handler_line(settings, tmp_path, {}, STORE) as line:
        assert isinstance(line, HandlerLine)
