"""Whether each row of the store says what its record says, seen through SQLite.

Records are written once with their row; a row that says something else was changed since, and
whoever looks for it by its columns would miss it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.records import (
    LogNamed,
    Record,
    RecordError,
    StoreNamed,
    decode,
)
from module_gateway.module_handler.store_schema import SEGMENT_BITS, STORE_ROW
from module_gateway.protocol.identity import Identity

MAX_WRONG: Final = 1_000
"""After so many nobody needs more."""

_OTHER_TABLES: Final = (
    "SELECT row, record FROM store",
    "SELECT log, record FROM logs",
    "SELECT stretch, record FROM stretches",
    "SELECT device, record FROM devices",
    "SELECT endpoint, record FROM leases",
    "SELECT verdict, record FROM verdicts",
)

_ENTRIES: Final = """
    SELECT sequence, segment, module, log, size_bytes, time_unix_ms, record
    FROM entries NOT INDEXED WHERE sequence > ? ORDER BY sequence LIMIT 2000"""


@dataclass(slots=True)
class Rows:
    """What the rows have shown.

    Attributes:
        records: how many are intact.
        entries: how many of them are entries.
        wrong: records, framed as they stand there, and what is wrong with each.
    """

    records: int = 0
    entries: int = 0
    wrong: list[tuple[bytes, str]] = field(default_factory=list)

    def add(self, framed: bytes, name: str, *, tells_damage: bool) -> bool:
        """Count a record; whether it is intact."""
        try:
            decode(framed)
        except RecordError as error:
            if tells_damage:
                self.wrong.append((framed, f"{name}: a record is damaged: {error.reason}"))
            return False
        self.records += 1
        return True


@dataclass(slots=True)
class _Names:
    """What the rows of entries refer to."""

    identities: dict[int, Identity] = field(default_factory=dict)
    ceiling: int = 0

    def read(self, connection: sqlite3.Connection) -> None:
        """As it is now."""
        for log, framed in connection.execute("SELECT log, record FROM logs"):
            named = _decoded(framed)
            if isinstance(named, LogNamed):
                self.identities[log] = named.identity
        (framed,) = connection.execute(
            "SELECT record FROM store WHERE row = ?", (STORE_ROW,)
        ).fetchone() or (b"",)
        named = _decoded(framed)
        if isinstance(named, StoreNamed):
            self.ceiling = named.ceiling


def read_rows(connection: sqlite3.Connection, *, tells_damage: bool) -> Rows:
    """Every record in every table, page by page: no transaction stays open for long.

    `tells_damage`: also name the records that cannot be read.

    Raises:
        sqlite3.Error: a table cannot be read.
    """
    found = Rows()
    for table in _OTHER_TABLES:
        for row, framed in connection.execute(table):
            found.add(framed, f"row {row}", tells_damage=tells_damage)
    found.wrong += _misplaced_logs(connection)
    names = _Names()
    after: int | None = 0
    while after is not None and len(found.wrong) <= MAX_WRONG:
        rows = _page(connection, after, names)
        for row in rows:
            if found.add(row[-1], f"entry {row[0]}", tells_damage=tells_damage):
                found.entries += 1
                found.wrong += ((row[-1], each) for each in _disagreements(row, names))
        after = rows[-1][0] if rows else None
    return found


def _page(connection: sqlite3.Connection, after: int, names: _Names) -> list[Any]:
    """The next entries, with the names that they need, as of one moment."""
    connection.execute("BEGIN")
    try:
        rows = connection.execute(_ENTRIES, (after,)).fetchall()
        if any(row[3] not in names.identities or row[0] > names.ceiling for row in rows):
            names.read(connection)
    finally:
        connection.execute("ROLLBACK")
    return rows


def _misplaced_logs(connection: sqlite3.Connection) -> Iterator[tuple[bytes, str]]:
    for log, trimmed_to, framed in connection.execute("SELECT log, trimmed_to, record FROM logs"):
        named = _decoded(framed)
        if named is None:
            continue
        if not isinstance(named, LogNamed) or (named.log, named.trimmed_to) != (log, trimmed_to):
            yield framed, f"log {log} up to {trimmed_to} has the record {named}"


def _disagreements(row: Sequence[Any], names: _Names) -> Iterator[str]:
    """What the columns of an entry's row say otherwise than its record."""
    sequence, segment, module, log, size_bytes, time_unix_ms, framed = row
    entry = _decoded(framed)
    if not isinstance(entry, Entry):
        yield f"entry {sequence} is a {type(entry).__name__}"
        return
    identity = entry.device.identity
    told = (sequence, segment, module, size_bytes, time_unix_ms)
    meant = (
        entry.sequence,
        entry.sequence >> SEGMENT_BITS,
        identity.module,
        entry.size_bytes,
        entry.time_unix_ms,
    )
    if told != meant:
        yield f"the index says {told} of entry {sequence}, its record {meant}"
    if names.identities.get(log) != identity:
        yield f"entry {sequence} of {identity} is in the log of {names.identities.get(log)}"
    if not 0 < sequence <= names.ceiling:
        yield f"entry {sequence} is out of order: no number above {names.ceiling} was given out"
    if entry.first_sequence > sequence:
        yield f"entry {sequence} is a fold from {entry.first_sequence} on"


def _decoded(framed: bytes) -> Record | None:
    try:
        return decode(framed)
    except RecordError:
        return None
