"""Damage is found, in the bytes and through SQLite, and nothing else is."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from module_gateway.module_handler.page_images import PAGE_BYTES, Part
from module_gateway.module_handler.records import RecordError
from module_gateway.module_handler.store_check import (
    check,
    check_some,
    find_in_files,
    find_in_tables,
    salvage_of,
    size_bytes,
)
from module_gateway.module_handler.store_files import companions
from module_gateway.module_handler.store_lock import StoreLock
from module_gateway.protocol.errors import StoreError
from tests.unit.module_handler.store_rig import A, B, Parts, entry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a store that was closed."""
    parts = Parts(tmp_path)
    parts.append(*(entry(each, (A, B)[each % 2]) for each in range(1, 501)))
    parts.writer.close()
    return parts.path


def reasons(path: Path) -> list[str]:
    return [each.reason for each in check(path)]


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def test_a_sound_store_has_no_findings(path: Path) -> None:
    told: list[int] = []
    assert [] == check(path, told.append)
    assert 500 == told[-1]


def test_a_store_in_use_is_checked_without_disturbing_it(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    lock = StoreLock(parts.path)
    parts.append(*(entry(each) for each in range(1, 501)))
    assert [] == check(parts.path)
    parts.connection.execute("UPDATE entries SET record = x'05' WHERE sequence = 7")
    assert ["entry 7: 1 bytes are less than a head"] == reasons(parts.path)
    parts.append(entry(501))
    parts.writer.close()
    lock.release()


def test_checking_writes_nothing(path: Path) -> None:
    change(path, "UPDATE entries SET record = x'05' WHERE sequence = 7")
    before = path.read_bytes()
    assert [] != check(path)
    assert before == path.read_bytes()
    assert not any(each.exists() for each in companions(path)[1:])


def test_a_store_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store at"):
        check(tmp_path / "handler.db")


def test_a_damaged_record_is_named_with_its_place(path: Path) -> None:
    content = bytearray(path.read_bytes())
    at = content.index(b"s250")
    content[at] ^= 1
    path.write_bytes(content)
    (finding,) = check(path)
    assert (Part.DATABASE, at // PAGE_BYTES + 1, "a record is damaged: wrong CRC") == (
        finding.part,
        finding.page,
        finding.reason,
    )
    assert (finding.page - 1) * PAGE_BYTES < finding.offset <= at


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DROP INDEX entries_by_log", "the list of tables is not the store's"),
        ("CREATE TABLE more (x)", "the list of tables is not the store's"),
        ("UPDATE logs SET trimmed_to = 5", "stands in logs"),
    ],
)
def test_what_contradicts_itself_is_found(path: Path, statement: str, words: str) -> None:
    change(path, statement)
    assert any(words in reason for reason in reasons(path))


def test_an_index_that_does_not_fit_its_table_is_found(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, 'size_bytes, time', 'time_unix_ms, time')"
            " WHERE name = 'entries_by_log'"
        )
        connection.commit()
    with closing(sqlite3.connect(path)) as connection:
        assert [] != find_in_tables(connection)


def test_the_sums_of_entries_are_checked_some_at_a_time(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert [200, 400, 500, None] == [
            check_some(connection, after, 200) for after in (0, 200, 400, 500)
        ]
        connection.execute("UPDATE entries SET record = x'05' WHERE sequence = 450")
        assert 400 == check_some(connection, 200, 200)
        with pytest.raises(RecordError, match="entry 450: 1 bytes"):
            check_some(connection, 400, 200)


def test_large_files_are_mapped_and_let_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("module_gateway.module_handler.store_check.WHOLE_BYTES", 100)
    assert size_bytes(path) > 100
    with salvage_of(path) as salvage:
        assert 500 < len(list(salvage.records()))
    assert [] == find_in_files(path)
