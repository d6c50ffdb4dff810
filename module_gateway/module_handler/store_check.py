"""Looking for damage: in the files before SQLite opens them, and through SQLite."""

from __future__ import annotations

import mmap
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from module_gateway.module_handler.page_images import Bytes, Finding, Part
from module_gateway.module_handler.records import RecordError, decode
from module_gateway.module_handler.salvage import Salvage
from module_gateway.module_handler.store_files import companions
from module_gateway.module_handler.store_lock import StoreLock
from module_gateway.module_handler.store_reader import read_contents
from module_gateway.module_handler.store_schema import (
    APPLICATION_ID,
    expected_schema,
    read_schema,
)
from module_gateway.protocol.errors import StoreError

WHOLE_BYTES: Final = 32 * 1024 * 1024
"""A store up to this size is checked whole before it serves (about half a second)."""

_MAX_MESSAGES: Final = 20
"""Of SQLite's own check: one is enough to know, more help to see what happened."""

_RECORDS: Final = (
    "SELECT sequence, record FROM entries WHERE sequence > ? ORDER BY sequence LIMIT ?"
)


def size_bytes(path: Path) -> int:
    """Of the database and its write-ahead log."""
    return sum(each.stat().st_size for each in companions(path)[:2] if each.exists())


@contextmanager
def salvage_of(path: Path) -> Iterator[Salvage]:
    """The files of a store that nobody has open, for reading past SQLite.

    Raises:
        OSError: they cannot be read.
    """
    with ExitStack() as stack:
        contents = [_content(stack, each) for each in companions(path)]
        salvage = Salvage(*contents)
        yield salvage
        salvage.close()
        for content in contents:
            if isinstance(content, memoryview):
                content.release()


def _content(stack: ExitStack, path: Path) -> Bytes:
    """Small files are read, large ones are mapped; a missing one is empty."""
    if not path.exists():
        return b""
    if path.stat().st_size <= WHOLE_BYTES:
        return path.read_bytes()
    with path.open("rb") as file:
        mapped = stack.enter_context(closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    return memoryview(mapped)


def find_in_files(path: Path) -> list[Finding]:
    """Damage that shows in the bytes of a store that nobody has open.

    Raises:
        StoreError: it is no store of ours at all; nothing of it will be touched.
        OSError: the files cannot be read.
    """
    with salvage_of(path) as salvage:
        has_record = False
        for _ in salvage.records():
            has_record = True
        findings = list(salvage.findings)
        is_ours = has_record or salvage.has_application(APPLICATION_ID)
    if findings and not is_ours and size_bytes(path) > 0:
        raise StoreError(
            f"{path} is no database of the gateway; move it away, or choose another --state-dir"
        )
    return findings


def find_in_tables(connection: sqlite3.Connection) -> list[Finding]:
    """Damage that SQLite finds in its trees and indexes.

    Raises:
        sqlite3.Error: so much of it that SQLite cannot look.
    """
    if read_schema(connection) != expected_schema():
        return [Finding(Part.DATABASE, 0, 1, "the list of tables is not the store's")]
    messages = connection.execute(f"PRAGMA integrity_check({_MAX_MESSAGES})")
    return [
        Finding(Part.DATABASE, 0, 0, message.replace("\n", " "))
        for (message,) in messages
        if message != "ok"
    ]


def check_some(connection: sqlite3.Connection, after: int, limit: int) -> int | None:
    """Check the sums of `limit` entries behind number `after`.

    Returns:
        The number to go on from, None at the end.

    Raises:
        RecordError: one is damaged.
        sqlite3.Error: the file cannot be read.
    """
    last = None
    for sequence, framed in connection.execute(_RECORDS, (after, limit)):
        try:
            decode(framed)
        except RecordError as error:
            raise RecordError(error.offset, f"entry {sequence}: {error.reason}") from error
        last = sequence
    return last


def check(path: Path, progress: Callable[[int], None] = lambda _: None) -> list[Finding]:
    """All damage of a store, whether a handler has it open or not. Nothing is written.

    Args:
        path: of the database.
        progress: is told now and then how many entries were checked.

    Raises:
        StoreError: there is no store, or it is no store of ours.
    """
    if not path.exists():
        raise StoreError(f"there is no store at {path}")
    try:
        lock = StoreLock(path)
    except StoreError:
        return _check_tables(path, progress)
    try:
        return find_in_files(path) or _check_tables(path, progress)
    finally:
        lock.release()


def _check_tables(path: Path, progress: Callable[[int], None]) -> list[Finding]:
    try:
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        ) as connection:
            return find_in_tables(connection) or _check_records(connection, progress)
    except (sqlite3.Error, RecordError) as error:
        return [Finding(Part.DATABASE, 0, 0, str(error))]


def _check_records(
    connection: sqlite3.Connection, progress: Callable[[int], None]
) -> list[Finding]:
    read_contents(connection)
    findings: list[Finding] = []
    after: int | None = 0
    entries = 0
    while after is not None:
        page = connection.execute(_RECORDS, (after, 5_000)).fetchall()
        after = page[-1][0] if page else None
        entries += len(page)
        for sequence, framed in page:
            try:
                decode(framed)
            except RecordError as error:
                findings.append(Finding(Part.DATABASE, 0, 0, f"entry {sequence}: {error.reason}"))
        progress(entries)
    return findings
