"""The threads round the SQLite store."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from module_gateway.module_handler.sqlite_store import SqliteStore
from module_gateway.module_handler.store import EntriesTrimmed, EntryAppended, LogQuery
from module_gateway.protocol.errors import ConfigError, StoreError
from tests.unit.module_handler.store_rig import A, entry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "store" / "handler.db"


async def numbers(store: SqliteStore) -> list[int]:
    page = await store.read(LogQuery(A.identity, 10**6))
    return [each.sequence for each in page.entries]


async def test_nothing_is_created_before_it_is_used(path: Path) -> None:
    store = SqliteStore(path)
    await store.close()
    assert not path.parent.exists()


async def test_only_its_user_may_look_into_its_folder(path: Path) -> None:
    store = SqliteStore(path)
    await store.load()
    assert 0o700 == path.parent.stat().st_mode & 0o777
    await store.close()


async def test_commits_that_were_asked_for_at_once_happen_in_order(path: Path) -> None:
    store = SqliteStore(path, "process")
    await asyncio.gather(
        *(store.commit([EntryAppended(entry(each))]) for each in range(1, 101)),
    )
    assert list(range(1, 101)) == await numbers(store)
    await store.close()


async def test_pages_are_read_while_commits_go_on(path: Path) -> None:
    store = SqliteStore(path, "process")
    await store.commit([EntryAppended(entry(each)) for each in range(1, 1_001)])
    commits = [store.commit([EntryAppended(entry(each))]) for each in range(1_001, 1_101)]
    pages = [numbers(store) for _ in range(20)]
    results = await asyncio.gather(*commits, *pages)
    assert all(page == list(range(1, len(page) + 1)) for page in results[100:] if page)
    assert list(range(1, 1_101)) == await numbers(store)
    await store.close()


async def test_the_disk_is_freed_after_a_large_acknowledgement(path: Path) -> None:
    store = SqliteStore(path, "process")
    for first in range(1, 60_001, 5_000):
        await store.commit([EntryAppended(entry(each)) for each in range(first, first + 5_000)])
    await store.commit([EntriesTrimmed(A.identity, 60_000)])
    await store.load()
    async with asyncio.timeout(50):
        while store.is_tidying or path.stat().st_size > 2 * 1024 * 1024:
            await store.load()
    assert [] == await numbers(store)
    await store.close()


async def test_a_newer_store_is_refused_as_a_wrong_configuration(path: Path) -> None:
    store = SqliteStore(path)
    await store.load()
    assert store._writer is not None
    store._writer._connection.execute("PRAGMA user_version = 99")
    await store.close()
    with pytest.raises(ConfigError, match="it was written by a newer gateway"):
        await SqliteStore(path).load()


async def test_a_refused_start_can_be_tried_again(path: Path) -> None:
    first, second = SqliteStore(path), SqliteStore(path)
    await first.load()
    for _ in range(2):
        with pytest.raises(StoreError, match=f"in use by process {os.getpid()}"):
            await second.load()
    await first.close()
    await second.load()
    await second.close()


async def test_a_closed_store_does_not_read(path: Path) -> None:
    store = SqliteStore(path)
    await store.load()
    await store.close()
    with pytest.raises(RuntimeError):
        await store.read(LogQuery(A.identity, 1))
    assert not path.with_name("handler.db-wal").exists()
