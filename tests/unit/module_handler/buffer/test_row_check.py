"""Rows are compared with their records while a handler writes beside it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from module_gateway.module_handler.buffer import row_check
from module_gateway.module_handler.buffer.row_check import MAX_WRONG, Rows, read_rows
from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.records import LogNamed, encode
from module_gateway.module_handler.store import EntryAppended
from module_gateway.protocol.identity import Device
from tests.unit.module_handler.buffer.stores import A, B, appended, committed, entry, store_at


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return store_at(tmp_path)


def rows_of(path: Path, *statements: str, tells_damage: bool = True) -> Rows:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
        return read_rows(connection, tells_damage=tells_damage)


async def test_intact_records_are_counted(path: Path) -> None:
    await committed(path, *appended([entry(1), entry(2, B), entry(3)]))
    found = rows_of(path)
    assert ([], 3) == (found.wrong, found.entries)
    assert 6 <= found.records, "the store's name and two logs"


async def test_damaged_records_are_told_when_nobody_else_does(path: Path) -> None:
    await committed(path, *appended([entry(1), entry(2, B)]))
    damage = (
        "UPDATE entries SET record = x'05' WHERE sequence = 2",
        "UPDATE logs SET record = x'00' WHERE log = 1",
    )
    assert [
        (b"\x00", "row 1: a record is damaged: 1 bytes are less than a head"),
        (b"\x05", "entry 2: a record is damaged: 1 bytes are less than a head"),
    ] == [each for each in rows_of(path, *damage).wrong if len(each[0]) == 1]
    assert [] == [each for each in rows_of(path, tells_damage=False).wrong if len(each[0]) == 1]


async def test_a_fold_cannot_begin_behind_itself(path: Path) -> None:
    await committed(path, EntryAppended(Entry(5, A, b"s", error=b"", first_sequence=9)))
    ((_, reason),) = rows_of(path).wrong
    assert "entry 5 is a fold from 9 on" == reason


async def test_a_table_full_of_nonsense_is_not_read_to_its_end(path: Path) -> None:
    count = MAX_WRONG + 4_000
    await committed(path, *appended(entry(number) for number in range(1, count)))
    found = rows_of(path, "UPDATE entries SET time_unix_ms = 1")
    assert MAX_WRONG < len(found.wrong) < count - 1


async def test_a_log_that_begins_meanwhile_is_known(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two pages the handler may make a new log, and give out more numbers."""
    await committed(path, *appended(entry(number) for number in range(1, 11)))
    pages = row_check._page
    late = Entry(11, Device.of(7, 0, "newcomer"), b"s")

    def page(connection: sqlite3.Connection, after: int, names: row_check._Names) -> list[Any]:
        found = pages(connection, after, names)
        if after == 0:
            named = encode(LogNamed(late.device.identity, 99, 0))
            connection.execute("INSERT INTO logs VALUES (99, 0, ?)", (named,))
            row = (late.sequence, 0, 7, 99, late.size_bytes, 0, encode(late))
            connection.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        return found

    monkeypatch.setattr(row_check, "_page", page)
    found = rows_of(path)
    assert ([], 11) == (found.wrong, found.entries)
