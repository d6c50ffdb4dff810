"""The threads round the SQLite store."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from module_gateway.module_handler import (
    sqlite_store,
    store_files,
    store_opening,
    store_schema,
)
from module_gateway.module_handler.records import StoreNamed
from module_gateway.module_handler.sqlite_store import SqliteStore
from module_gateway.module_handler.store import EntriesTrimmed, EntryAppended, LogQuery
from module_gateway.module_handler.store_files import set_aside_folders
from module_gateway.module_handler.store_schema import VERSION, connect, prepare
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
    path.parent.mkdir(parents=True)
    with closing(connect(path, is_synced=True)) as connection:
        prepare(connection, path, StoreNamed(1, 1), version=VERSION + 1)
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


async def test_a_close_amid_housekeeping_leaves_no_log_behind(path: Path) -> None:
    for first in (1, 101, 201):
        store = SqliteStore(path, "process")
        assert first - 1 == (await store.load()).last_sequence
        await store.commit([EntryAppended(entry(each)) for each in range(first, first + 100)])
        await store.commit([EntriesTrimmed(A.identity, first + 99)])
        await store.close()
        assert not path.with_name("handler.db-wal").exists()


async def test_a_closed_store_does_not_read(path: Path) -> None:
    store = SqliteStore(path)
    await store.load()
    await store.close()
    with pytest.raises(RuntimeError):
        await store.read(LogQuery(A.identity, 1))
    assert not path.with_name("handler.db-wal").exists()


async def test_a_full_disk_is_said_and_it_goes_on_when_there_is_space(path: Path) -> None:
    store = SqliteStore(path)
    await store.commit([EntryAppended(entry(1))])
    assert store._writer is not None
    connection = store._writer.connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    large = replace(entry(2), status=bytes(200_000))
    for _ in range(2):
        with pytest.raises(StoreError, match="no space left for the store"):
            await store.commit([EntryAppended(large)])
        assert 1 == (await store.load()).last_sequence
        assert [1] == await numbers(store)
    connection.execute(f"PRAGMA max_page_count = {pages + 1_000}")
    await store.commit([EntryAppended(large)])
    assert [1, 2] == await numbers(store)
    assert not (path.parent / "set-aside").exists()
    await store.close()


async def test_a_full_disk_is_helped_by_the_place_of_the_log(path: Path) -> None:
    store = SqliteStore(path)
    await store.commit([EntryAppended(entry(each)) for each in range(1, 1_001)])
    log = path.with_name("handler.db-wal")
    assert log.stat().st_size > 0
    store._is_short_of_space = True
    assert 1_000 == (await store.load()).last_sequence
    assert 0 == log.stat().st_size
    await store.close()


class BadDisk(sqlite3.Connection):
    """A connection whose next commits the disk refuses at the sync."""

    refusals = 0
    told: ClassVar[list[str]] = []

    def execute(self, text: str, *arguments: object) -> sqlite3.Cursor:  # type: ignore[override]
        BadDisk.told.append(text)
        if text == "COMMIT" and BadDisk.refusals:
            BadDisk.refusals -= 1
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
            super().execute("ROLLBACK")
            raise error
        return super().execute(text, *arguments)  # type: ignore[arg-type]


@pytest.fixture
def bad_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[BadDisk]]:
    real = sqlite3.connect
    monkeypatch.setattr(
        store_schema.sqlite3,
        "connect",
        lambda *args, **options: real(*args, **{"factory": BadDisk, **options}),
    )
    BadDisk.refusals, BadDisk.told = 0, []
    yield BadDisk
    BadDisk.refusals = 0


async def test_a_file_whose_sync_failed_is_never_synced_again(
    path: Path, bad_disk: type[BadDisk]
) -> None:
    store = SqliteStore(path)
    await store.commit([EntryAppended(entry(each)) for each in range(1, 300)])
    old_inode, store_id = path.stat().st_ino, store.store_id
    bad_disk.refusals = 1
    with pytest.raises(StoreError, match=r"the disk of the store .* failed"):
        await store.commit([EntryAppended(entry(300))])
    bad_disk.told.clear()
    with pytest.raises(StoreError, match="has to be loaded again: io-error"):
        await store.commit([EntryAppended(entry(300))])
    with pytest.raises(StoreError, match="has to be loaded again: io-error"):
        await store.read(LogQuery(A.identity, 1))
    assert [] == bad_disk.told
    assert 299 == (await store.load()).last_sequence
    assert bad_disk.told.index("PRAGMA synchronous = OFF") < bad_disk.told.index(
        "PRAGMA synchronous = FULL"
    )
    assert (store_id, False) == (store.store_id, old_inode == path.stat().st_ino)
    await store.commit([EntryAppended(entry(300))])
    assert list(range(1, 301)) == await numbers(store)
    await store.close()
    (folder,) = set_aside_folders(path)
    assert folder.name.endswith("-io-error")
    assert (folder / "handler.db").stat().st_ino == old_inode
    assert "io-error" == json.loads((folder / "report.json").read_text())["reason"]


async def test_a_copy_that_cannot_be_written_either_is_tried_again(
    path: Path, bad_disk: type[BadDisk], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(path)
    await store.commit([EntryAppended(entry(1))])
    bad_disk.refusals = 1
    with pytest.raises(StoreError):
        await store.commit([EntryAppended(entry(2))])
    with monkeypatch.context() as patched:
        patched.setattr(store_files, "_sync_file", refuse)
        for _ in range(2):
            with pytest.raises(StoreError, match="no space left"):
                await store.load()
    assert 1 == (await store.load()).last_sequence
    await store.commit([EntryAppended(entry(2))])
    assert [1, 2] == await numbers(store)
    await store.close()


def refuse(path: Path) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


async def test_a_damaged_entry_is_found_by_reading_and_repaired_by_loading(path: Path) -> None:
    store = SqliteStore(path)
    await store.commit([EntryAppended(entry(each)) for each in range(1, 10)])
    assert store._writer is not None
    store._writer.connection.execute(
        "UPDATE entries SET record = substr(record, 1, 20) WHERE sequence = 5"
    )
    with pytest.raises(StoreError, match="is damaged"):
        await numbers(store)
    with pytest.raises(StoreError, match="has to be loaded again: damaged"):
        await store.commit([EntryAppended(entry(10))])
    state = await store.load()
    assert [1, 2, 3, 4, 6, 7, 8, 9] == await numbers(store)
    assert 9 < state.last_sequence
    await store.commit([EntryAppended(entry(state.last_sequence + 1))])
    await store.close()
    (folder,) = set_aside_folders(path)
    report = json.loads((folder / "report.json").read_text())
    assert ["a record is damaged: wrong CRC"] == [
        each["reason"] for each in report["findings"] if each["page"]
    ]


async def test_a_large_store_is_checked_while_it_serves(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "WHOLE_BYTES", 0)
    monkeypatch.setattr(store_opening, "WHOLE_BYTES", 0)
    store = SqliteStore(path)
    await store.commit([EntryAppended(entry(each)) for each in range(1, 2_001)])
    assert store._writer is not None
    store._writer.connection.execute("UPDATE entries SET record = x'00' WHERE sequence = 1999")
    await store.close()
    store = SqliteStore(path)
    assert 2_000 == (await store.load()).last_sequence
    async with asyncio.timeout(50):
        with pytest.raises(StoreError, match="has to be loaded again: damaged"):
            await commit_for_ever(store)
    await store.load()
    assert [*range(1, 1_999), 2_000] == await numbers(store)
    await store.close()


async def test_the_check_of_a_large_store_gives_way_to_commits(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "WHOLE_BYTES", 0)
    monkeypatch.setattr(store_opening, "WHOLE_BYTES", 0)
    monkeypatch.setattr(sqlite_store, "CHECK_PAUSE_S", 3_600.0)
    asked: list[int] = []

    def check_some(_: sqlite3.Connection, after: int, limit: int) -> int:
        asked.append(after)
        return after + limit

    monkeypatch.setattr(sqlite_store, "check_some", check_some)
    store = SqliteStore(path)
    for _ in range(50):
        await store.commit([])
    await store.read(LogQuery(A.identity, 1))  # behind the check's slices in its thread
    assert [0] == asked
    await store.close()


async def commit_for_ever(store: SqliteStore) -> None:
    while True:
        await store.commit([])


async def test_a_file_of_another_kind_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("Dear diary, today I wrote more than a hundred bytes. " * 3)
    before = path.read_bytes()
    store = SqliteStore(path)
    with pytest.raises(StoreError, match="is no database of the gateway; move it away"):
        await store.load()
    assert before == path.read_bytes()
    await store.close()


async def test_a_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE precious (x)")
    before = path.read_bytes()
    store = SqliteStore(path)
    with pytest.raises(StoreError, match="move it away"):
        await store.load()
    assert before == path.read_bytes()
    await store.close()


async def test_a_store_that_was_cut_to_nothing_is_reported(path: Path) -> None:
    store = SqliteStore(path)
    await store.commit([EntryAppended(entry(1))])
    await store.close()
    path.write_bytes(b"")
    again = SqliteStore(path)
    assert () == (await again.load()).logs
    assert again.store_id != store.store_id
    await again.close()
    (folder,) = set_aside_folders(path)
    report = json.loads((folder / "report.json").read_text())
    assert "the database is empty" in [each["reason"] for each in report["findings"]]
