"""New files, older files, newer files, other programs' files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from module_gateway.module_handler.records import RecordError, StoreNamed, decode, encode
from module_gateway.module_handler.store_schema import (
    APPLICATION_ID,
    PAGE_SIZE,
    STEPS,
    STORE_ROW,
    VERSION,
    connect,
    empty_log,
    expected_schema,
    prepare,
    read_schema,
    set_synced,
    transaction,
)
from module_gateway.protocol.errors import ConfigError, StoreError

NAMED = StoreNamed(5, 100, VERSION)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "handler.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    connection = connect(path, is_synced=True)
    yield connection
    connection.close()


def asked(connection: sqlite3.Connection, pragma: str) -> object:
    return connection.execute(f"PRAGMA {pragma}").fetchone()[0]


def test_a_new_file_is_what_salvage_and_housekeeping_rely_on(
    connection: sqlite3.Connection, path: Path
) -> None:
    prepare(connection, path, NAMED)
    names = ("page_size", "auto_vacuum", "journal_mode", "application_id", "user_version")
    assert [PAGE_SIZE, 2, "wal", APPLICATION_ID, VERSION] == [
        asked(connection, name) for name in names
    ]
    assert [(STORE_ROW, encode(NAMED))] == connection.execute("SELECT * FROM store").fetchall()
    tables = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%WITHOUT ROWID%'"
    )
    assert [] == tables.fetchall()


def test_power_durability_waits_for_the_disk_and_process_durability_does_not(
    connection: sqlite3.Connection,
) -> None:
    assert 2 == asked(connection, "synchronous")
    set_synced(connection, is_synced=False)
    assert 1 == asked(connection, "synchronous")


def test_a_file_of_today_is_left_alone(connection: sqlite3.Connection, path: Path) -> None:
    prepare(connection, path, NAMED)
    prepare(connection, path, StoreNamed(6, 7))
    assert [(STORE_ROW, encode(NAMED))] == connection.execute("SELECT * FROM store").fetchall()


def test_a_creation_that_was_cut_off_is_begun_again(
    connection: sqlite3.Connection, path: Path
) -> None:
    assert path.stat().st_size > 0
    prepare(connection, path, NAMED)
    assert VERSION == asked(connection, "user_version")


def test_a_newer_file_is_refused_with_what_to_do(
    connection: sqlite3.Connection, path: Path
) -> None:
    prepare(connection, path, NAMED, version=VERSION + 1)
    with pytest.raises(ConfigError) as caught:
        prepare(connection, path, NAMED)
    assert (
        f"the store {path} is 'version {VERSION + 1}'; expected version {VERSION} or older, which "
        "this gateway can read (it was written by a newer gateway: install that one again, or "
        "choose another --state-dir)"
    ) == str(caught.value)
    assert VERSION + 1 == asked(connection, "user_version")


NEXT: Mapping[int, Sequence[str]] = {
    **STEPS,
    VERSION: ("ALTER TABLE devices ADD COLUMN colour TEXT", "INSERT INTO devices VALUES (1, 2, 3)"),
    VERSION + 1: ("UPDATE devices SET colour = 'red'",),
}


def test_an_older_file_goes_through_every_step(connection: sqlite3.Connection, path: Path) -> None:
    prepare(connection, path, NAMED)
    prepare(connection, path, NAMED, version=VERSION + 2, steps=NEXT)
    assert [(1, 2, "red")] == connection.execute("SELECT * FROM devices").fetchall()
    assert VERSION + 2 == asked(connection, "user_version")
    named = decode(connection.execute("SELECT record FROM store").fetchone()[0])
    assert replace(NAMED, version=VERSION + 2) == named


@pytest.mark.parametrize("pragma", ["user_version = 9", "application_id = 9"])
def test_a_header_that_contradicts_the_records_is_damage(
    connection: sqlite3.Connection, path: Path, pragma: str
) -> None:
    prepare(connection, path, NAMED)
    connection.execute(f"PRAGMA {pragma}")
    with pytest.raises(RecordError, match="the header says"):
        prepare(connection, path, NAMED)


def test_the_schema_of_a_sound_file_is_the_expected_one(
    connection: sqlite3.Connection, path: Path
) -> None:
    prepare(connection, path, NAMED)
    assert expected_schema() == read_schema(connection)
    connection.execute("DROP INDEX entries_by_log")
    assert expected_schema() != read_schema(connection)


def test_a_step_that_fails_changes_nothing(connection: sqlite3.Connection, path: Path) -> None:
    prepare(connection, path, NAMED)
    broken = {**NEXT, VERSION + 1: ("SELECT 1", "UPDATE absent SET colour = 'red'")}
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        prepare(connection, path, NAMED, version=VERSION + 2, steps=broken)
    assert VERSION == asked(connection, "user_version")
    assert [] == connection.execute("SELECT * FROM devices").fetchall()


def test_a_missing_step_is_said(connection: sqlite3.Connection, path: Path) -> None:
    prepare(connection, path, NAMED)
    with pytest.raises(StoreError, match=f"no way leads from version {VERSION} to 99"):
        prepare(connection, path, NAMED, version=99)


def test_every_older_version_has_its_step() -> None:
    assert list(range(1, VERSION)) == sorted(STEPS)


def test_another_programs_database_is_not_touched(
    connection: sqlite3.Connection, path: Path
) -> None:
    connection.execute("CREATE TABLE precious (x)")
    with pytest.raises(StoreError, match="is the database of another program; move it away"):
        prepare(connection, path, NAMED)
    assert [("precious",)] == connection.execute("SELECT name FROM sqlite_schema").fetchall()


def test_an_emptied_log_takes_no_place(connection: sqlite3.Connection, path: Path) -> None:
    prepare(connection, path, NAMED)
    log = path.with_name("handler.db-wal")
    assert log.stat().st_size > 0
    empty_log(connection)
    assert 0 == log.stat().st_size


def test_a_transaction_is_all_or_nothing(connection: sqlite3.Connection, path: Path) -> None:
    prepare(connection, path, NAMED)
    with pytest.raises(ZeroDivisionError):
        _delete_and_fail(connection)
    assert not connection.in_transaction
    with transaction(connection):
        connection.execute("INSERT INTO store VALUES (9, x'00')")
    assert [(1,), (9,)] == connection.execute("SELECT row FROM store").fetchall()


def _delete_and_fail(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        connection.execute("DELETE FROM store")
        raise ZeroDivisionError
