"""The SQLite store against the one in memory: the same changes, the same answers.

With bounds so small that marks, slices and segments meet in every possible way.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from module_gateway.module_handler import (
    store_reader,
    store_schema,
    store_sweep,
    store_writer,
)
from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.sqlite_store import SqliteStore
from module_gateway.module_handler.store import (
    Change,
    EntriesFolded,
    EntriesTrimmed,
    EntryAppended,
    LogQuery,
    MemoryStore,
    Query,
    Store,
    StoredState,
    StreamQuery,
)
from module_gateway.protocol.identity import Device, Identity

DEVICES = [Device.of(module, 0, role) for module in (7, 8) for role in "abc"]
STEPS = 40


@pytest.fixture
def tiny_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (store_reader, store_schema, store_writer):
        monkeypatch.setattr(module, "SEGMENT_BITS", 3)
    monkeypatch.setattr(store_writer, "MOST_AT_ONCE", 2)
    monkeypatch.setattr(store_writer, "MOST_SEGMENTS", 2)
    monkeypatch.setattr(store_writer, "LOG_PAGES", 50)
    monkeypatch.setattr(store_sweep, "SLICE_ROWS", 3)
    monkeypatch.setattr(store_sweep, "WINDOW", 5)


class Schedule:
    """Random changes that the handler could ask for."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.last = 0

    async def changes(self, memory: MemoryStore) -> list[Change]:
        return [await self._change(memory) for _ in range(self.random.randrange(1, 10))]

    async def _change(self, memory: MemoryStore) -> Change:
        random, device = self.random, self.random.choice(DEVICES)
        kind = random.random()
        if kind < 0.6 or not self.last:
            self.last += random.choice((1, 1, 1, 2, 30))
            return EntryAppended(Entry(self.last, device, b"s" * random.randrange(9)))
        number = random.randrange(max(1, self.last - 60), self.last + 5)
        if kind < 0.8:
            return EntriesTrimmed(device.identity, number)
        if kind < 0.9:
            return EntriesTrimmed(device.identity, number + random.randrange(20), number)
        log = (await memory.read(LogQuery(device.identity, 10**6))).entries
        if not log:
            return EntriesTrimmed(device.identity, number)
        return EntriesFolded(random.choice(log)._replace(error=b"e", first_sequence=1))

    def queries(self) -> list[Query]:
        random = self.random
        bounds = (random.randrange(self.last + 1), random.randrange(self.last + 5))
        return [
            StreamQuery(0, 0, 0, frozenset({7, 8}), 0, 2**62, 10**6),
            StreamQuery(0, 0, 0, frozenset({8}), *bounds, random.randrange(1, 9)),
            LogQuery(random.choice(DEVICES).identity, random.randrange(1, 9)),
        ]


async def answers(store: Store, query: Query) -> tuple[list[Entry], bool]:
    page = await store.read(query)
    return sorted(page.entries, key=lambda entry: entry.sequence), page.is_complete


def totals(state: StoredState) -> tuple[int, dict[Identity, tuple[int, int, int, int]]]:
    return state.last_sequence, {
        log.identity: (
            log.extents[-1].last_sequence,
            sum(extent.entries for extent in log.extents),
            sum(extent.size_bytes for extent in log.extents),
            log.extents[-1].time_unix_ms,
        )
        for log in state.logs
    }


async def run(seed: int, path: Path) -> None:
    schedule, memory, sqlite = Schedule(seed), MemoryStore(), SqliteStore(path, "process")
    try:
        for _ in range(STEPS):
            changes = await schedule.changes(memory)
            await memory.commit(changes)
            await sqlite.commit(changes)
            for query in schedule.queries():
                assert await answers(memory, query) == await answers(sqlite, query), query
            if schedule.random.random() < 0.1:
                await sqlite.close()
                sqlite = SqliteStore(path, "process")
            if schedule.random.random() < 0.2:
                assert totals(await memory.load()) == totals(await sqlite.load())
    finally:
        await sqlite.close()


@pytest.mark.usefixtures("tiny_bounds")
@pytest.mark.parametrize("seed", range(25))
def test_R1_both_stores_answer_alike(seed: int, tmp_path: Path) -> None:
    asyncio.run(run(seed, tmp_path / "handler.db"))


@pytest.mark.parametrize("seed", range(100, 105))
def test_R1_both_stores_answer_alike_at_the_real_bounds(seed: int, tmp_path: Path) -> None:
    asyncio.run(run(seed, tmp_path / "handler.db"))
