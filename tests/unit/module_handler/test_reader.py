"""Reads beside the commits: in order, bounded, and nobody is told what nobody asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.reader import PageReader
from module_gateway.module_handler.store import (
    EntryAppended,
    LogQuery,
    MemoryStore,
    Page,
    Query,
    StreamQuery,
)
from module_gateway.protocol.errors import StoreError
from module_gateway.runtime.tasks import start_task, stop_tasks
from tests.unit.module_handler.rig import MODULE, device

A, B = device("a"), device("b")


class GatedStore(MemoryStore):
    """Answers when it is told to; a query in `fails` fails."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.begun: asyncio.Queue[Query] = asyncio.Queue()
        self.fails: set[Query] = set()

    async def read(self, query: Query) -> Page:
        self.begun.put_nowait(query)
        await self.gate.wait()
        if query in self.fails:
            raise StoreError("told to fail")
        return await super().read(query)


class Desk:
    def __init__(self) -> None:
        self.store = GatedStore()
        self.found: asyncio.Queue[Page] = asyncio.Queue()
        self.failed: asyncio.Queue[StoreError] = asyncio.Queue()
        self.reader = PageReader(self.store, self.found.put_nowait, self.failed.put_nowait)


@asynccontextmanager
async def at_work() -> AsyncIterator[Desk]:
    desk = Desk()
    task = start_task(desk.reader.run(), "reads")
    try:
        async with asyncio.timeout(10):
            yield desk
    finally:
        await stop_tasks([task])


def stream_query(read: int, lane: int = 0) -> StreamQuery:
    return StreamQuery(0, lane, read, frozenset({MODULE}), 0, 100, 10)


async def test_what_is_asked_is_answered_in_order() -> None:
    async with at_work() as desk:
        await desk.store.commit([EntryAppended(Entry(1, A, b"s"))])
        desk.store.gate.set()
        desk.reader.ask([LogQuery(A.identity, 5), stream_query(1)])
        pages = [await desk.found.get() for _ in range(2)]
        assert [LogQuery(A.identity, 5), stream_query(1)] == [page.query for page in pages]
        assert [1, 1] == [len(page.entries) for page in pages]


async def test_a_newer_question_of_the_same_stream_replaces_one_that_has_not_begun() -> None:
    async with at_work() as desk:
        desk.reader.ask([LogQuery(B.identity, 1)])
        await desk.store.begun.get()
        desk.reader.ask([stream_query(1), stream_query(1, lane=2), LogQuery(A.identity, 1)])
        desk.reader.ask([stream_query(2)])
        desk.store.gate.set()
        pages = [await desk.found.get() for _ in range(4)]
        assert [stream_query(2), stream_query(1, lane=2)] == [page.query for page in pages[1:3]]


async def test_nobody_is_told_what_a_former_core_asked() -> None:
    async with at_work() as desk:
        desk.reader.ask([stream_query(1), LogQuery(A.identity, 1)])
        await desk.store.begun.get()
        desk.reader.forget()
        desk.store.gate.set()
        desk.reader.ask([stream_query(7)])
        assert stream_query(7) == (await desk.found.get()).query
        assert desk.found.empty()


async def test_a_store_that_cannot_be_read_is_reported_and_asked_again() -> None:
    async with at_work() as desk:
        desk.store.fails.add(stream_query(1))
        desk.store.gate.set()
        desk.reader.ask([stream_query(1)])
        assert "told to fail" == str(await desk.failed.get())
        desk.reader.ask([stream_query(2)])
        assert stream_query(2) == (await desk.found.get()).query


async def test_a_former_cores_failure_is_nobodys() -> None:
    async with at_work() as desk:
        desk.store.fails.add(stream_query(1))
        desk.reader.ask([stream_query(1)])
        await desk.store.begun.get()
        desk.reader.forget()
        desk.store.gate.set()
        desk.reader.ask([stream_query(2)])
        assert stream_query(2) == (await desk.found.get()).query
        assert desk.failed.empty()
