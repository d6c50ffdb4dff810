"""The tables of the SQLite store, and how a file of an older version becomes one of today.

Every row ends with a framed record that says everything (`records.py`); the columns in front of
it only find and order rows. All tables have an INTEGER PRIMARY KEY, so records lie in leaf pages
of tables and nowhere else: that is what `salvage.py` reads.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.records import RecordError, StoreNamed, decode, encode
from module_gateway.protocol.errors import ConfigError, StoreError

APPLICATION_ID: Final = 0x4D476874
"""`MGht` in the file's header: no other program's database is taken for ours."""

VERSION: Final = 1
"""Of the tables and records, in `PRAGMA user_version`. Raise it with a step in `STEPS`."""

SEGMENT_BITS: Final = 12
"""The index of entries begins with `sequence >> 12`: what is written at one time lies in one
place of it, however many logs take turns (4,096 entries are about 25 pages of the index)."""

PAGE_SIZE: Final = 4096
"""Of the file: SQLite's default and the block size of the usual file systems."""

STORE_ROW: Final = 1
NUMBER_ROW: Final = 2
"""Rows of the table `store`."""

TABLES: Final = (
    "CREATE TABLE store (row INTEGER PRIMARY KEY, record BLOB NOT NULL)",
    """CREATE TABLE logs (
        log INTEGER PRIMARY KEY, trimmed_to INTEGER NOT NULL, record BLOB NOT NULL)""",
    """CREATE TABLE stretches (
        stretch INTEGER PRIMARY KEY, log INTEGER NOT NULL,
        first_sequence INTEGER NOT NULL, last_sequence INTEGER NOT NULL, record BLOB NOT NULL)""",
    "CREATE INDEX stretches_by_log ON stretches (log, first_sequence, last_sequence)",
    """CREATE TABLE entries (
        sequence INTEGER PRIMARY KEY, segment INTEGER NOT NULL, module INTEGER NOT NULL,
        log INTEGER NOT NULL, size_bytes INTEGER NOT NULL, time_unix_ms INTEGER NOT NULL,
        record BLOB NOT NULL)""",
    """CREATE INDEX entries_by_log ON entries (
        segment, module, log, sequence, size_bytes, time_unix_ms)""",
    "CREATE TABLE devices (device INTEGER PRIMARY KEY, record BLOB NOT NULL)",
    "CREATE TABLE leases (endpoint INTEGER PRIMARY KEY, record BLOB NOT NULL)",
    """CREATE TABLE verdicts (
        verdict INTEGER PRIMARY KEY, endpoint INTEGER NOT NULL, record BLOB NOT NULL)""",
)

INSERT_ENTRY: Final = "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)"
"""For rows of `entry_row`."""

STEPS: Final[Mapping[int, Sequence[str]]] = {}
"""Version → the statements that make version + 1 of it."""

_JOURNAL_LIMIT_BYTES: Final = 4 * 1024 * 1024
"""What the write-ahead log is cut to once its content is in the database."""

_BUSY_MS: Final = 5_000
"""Readers from outside (the command line) and checkpoints hold the file for moments only."""


def connect(path: Path, *, is_synced: bool) -> sqlite3.Connection:
    """Open or create the file with everything that a connection needs to be told.

    Args:
        path: of the database; its folder exists.
        is_synced: whether a commit waits for the disk (durability "power").

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_LIMIT_BYTES}").fetchone()
        connection.execute("PRAGMA secure_delete = OFF").fetchone()
        connection.execute("PRAGMA wal_autocheckpoint = 0").fetchone()
        set_synced(connection, is_synced=is_synced)
    except BaseException:
        connection.close()
        raise
    return connection


def set_synced(connection: sqlite3.Connection, *, is_synced: bool) -> None:
    """Whether commits from now on wait for the disk. Only between transactions."""
    connection.execute(f"PRAGMA synchronous = {'FULL' if is_synced else 'NORMAL'}")


def write_back(connection: sqlite3.Connection) -> None:
    """Bring what the write-ahead log holds into the database, without stopping the writer.

    Raises:
        sqlite3.Error: the disk refuses.
    """
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


def empty_log(connection: sqlite3.Connection) -> None:
    """Bring everything into the database and give the place of the log back.

    Raises:
        sqlite3.Error: the disk refuses.
    """
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def prepare(
    connection: sqlite3.Connection,
    path: Path,
    named: StoreNamed,
    *,
    version: int = VERSION,
    steps: Mapping[int, Sequence[str]] = STEPS,
) -> None:
    """Create the tables in a new file, bring an older file to this version.

    Args:
        connection: to the file.
        path: of the file, for messages.
        named: what a new file is called.
        version: what this gateway writes.
        steps: how to get there.

    Raises:
        ConfigError: the file was written by a newer version of the gateway.
        StoreError: it is the database of another program, or no step leads here from its version.
        RecordError: its header and its records contradict each other.
        sqlite3.Error: it cannot be read or written.
    """
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if application == 0 and found == 0 and _is_empty(connection):
        _create(connection, path, replace(named, version=version))
        return
    present = _named(connection)
    if application != APPLICATION_ID:
        if present is not None:
            raise RecordError(0, f"the header says application {application:#x}")
        raise StoreError(
            f"{path} is the database of another program; move it away or choose another --state-dir"
        )
    if present is not None and present.version != found:
        raise RecordError(0, f"the header says version {found}, the record {present.version}")
    if found > version:
        raise ConfigError(
            f"the store {path}",
            got=f"version {found}",
            expected=f"version {version} or older, which this gateway can read",
            hint="it was written by a newer gateway: install that one again, or choose another "
            "--state-dir",
        )
    if found < version:
        _migrate(connection, path, present, (found, version), steps)


def _named(connection: sqlite3.Connection) -> StoreNamed | None:
    """The record with the store's name, None when there is none that can be read."""
    try:
        rows = connection.execute("SELECT record FROM store WHERE row = ?", (STORE_ROW,))
        row = rows.fetchone()
        record = None if row is None else decode(row[0])
    except (sqlite3.OperationalError, RecordError):
        return None
    return record if isinstance(record, StoreNamed) else None


def expected_schema() -> set[tuple[str, str]]:
    """Names and texts of all tables and indexes as a sound file has them."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in TABLES:
            connection.execute(statement)
        return read_schema(connection)


def read_schema(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    """Names and texts of all tables and indexes of a file.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    return set(connection.execute("SELECT name, sql FROM sqlite_schema"))


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is None


def _create(connection: sqlite3.Connection, path: Path, named: StoreNamed) -> None:
    with transaction(connection):
        for statement in TABLES:
            connection.execute(statement)
        _name(connection, named)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    sync_folder(path.parent)
    sync_folder(path.parent.parent)


def _name(connection: sqlite3.Connection, named: StoreNamed) -> None:
    row = (STORE_ROW, encode(named))
    connection.execute("INSERT OR REPLACE INTO store VALUES (?, ?)", row)
    connection.execute(f"PRAGMA user_version = {named.version}")


def _migrate(
    connection: sqlite3.Connection,
    path: Path,
    present: StoreNamed | None,
    versions: tuple[int, int],
    steps: Mapping[int, Sequence[str]],
) -> None:
    found, version = versions
    missing = [each for each in range(found, version) if each not in steps]
    if missing:
        raise StoreError(
            f"the store {path} has version {found} and no way leads from version {missing[0]} to "
            f"{version}; install a gateway between the two first, or choose another --state-dir"
        )
    if present is None:
        raise RecordError(0, "the record with the store's id is missing")
    with transaction(connection):
        for each in range(found, version):
            for statement in steps[each]:
                connection.execute(statement)
        _name(connection, replace(present, version=version))


def entry_row(entry: Entry, log: int) -> tuple[int, int, int, int, int, int, bytes]:
    """The row of an entry; `log` is the number of its identity's log."""
    return (
        *(entry.sequence, entry.sequence >> SEGMENT_BITS, entry.device.identity.module, log),
        *(entry.size_bytes, entry.time_unix_ms, encode(entry)),
    )


class transaction:  # noqa: N801 - reads as the statement that it is
    """All statements inside, or none: what fails is rolled back and raised on."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            try:
                self._connection.execute("COMMIT")
            except sqlite3.Error:
                self._roll_back()
                raise
        else:
            self._roll_back()

    def _roll_back(self) -> None:
        """SQLite has rolled back by itself after some errors."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder permanent.

    Raises:
        OSError: the disk refuses.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
