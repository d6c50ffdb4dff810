"""The store's file as a reader from outside sees it: read-only, beside the handler or without.

Nothing here takes the store's lock or writes. Each page is a read transaction of its own, so that
a slow reader never keeps the handler's write-ahead log from shrinking, and memory does not depend
on the backlog.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from module_gateway.module_handler.buffer.figures import WINDOW_S, DeviceFigures
from module_gateway.module_handler.buffer.selection import Selection
from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.records import LogNamed, RecordError, StoreNamed, decode
from module_gateway.module_handler.store_schema import APPLICATION_ID, STORE_ROW, VERSION
from module_gateway.protocol.errors import ConfigError, StoreError
from module_gateway.protocol.identity import Identity

STORE_FOLDER: Final = "store"
STORE_FILE: Final = "handler.db"

PAGE_ENTRIES: Final = 500
"""Read at once: about a hundred KiB of small statuses."""

SCAN_ENTRIES: Final = 20_000
"""Looked at together where only numbers and times are read."""

BUSY_MS: Final = 5_000
"""The handler holds the file for moments only; see `store_schema`."""

_ALIVE: Final = """
    e.sequence > l.trimmed_to AND (NOT EXISTS (SELECT 1 FROM stretches) OR NOT EXISTS (
        SELECT 1 FROM stretches s WHERE s.log = e.log
        AND s.first_sequence <= e.sequence AND s.last_sequence >= e.sequence))"""
"""Not acknowledged. SQLite asks once whether there are stretches at all."""

_FIGURES: Final = f"""
    SELECT log, sum(n), sum(size), min(oldest), max(newest), sum(recent_n), sum(recent_size) FROM (
        SELECT e.log AS log, count(*) AS n, sum(e.size_bytes) AS size,
            min(e.time_unix_ms) AS oldest, max(e.time_unix_ms) AS newest,
            sum(e.time_unix_ms >= :recent) AS recent_n,
            sum((e.time_unix_ms >= :recent) * e.size_bytes) AS recent_size
        FROM entries e INDEXED BY entries_by_log CROSS JOIN logs l ON l.log = e.log
        WHERE {_ALIVE} GROUP BY e.segment, e.module, e.log
    ) GROUP BY log"""  # noqa: S608 - only words of ours are put in

_BOUNDS: Final = f"""
    SELECT log, max(newest), sum(n), sum(size) FROM (
        SELECT e.log AS log, max(e.sequence) AS newest, count(*) AS n, sum(e.size_bytes) AS size
        FROM entries e INDEXED BY entries_by_log CROSS JOIN logs l ON l.log = e.log
        WHERE {_ALIVE} GROUP BY e.segment, e.module, e.log
    ) GROUP BY log"""  # noqa: S608 - only words of ours are put in

_TIMES: Final = f"""
    SELECT e.sequence, e.log, e.time_unix_ms, e.size_bytes
    FROM entries e NOT INDEXED CROSS JOIN logs l ON l.log = e.log
    WHERE e.sequence > ? AND {_ALIVE} ORDER BY e.sequence LIMIT {SCAN_ENTRIES}"""  # noqa: S608 - only words of ours are put in

_PAGE: Final = f"""
    SELECT e.sequence, e.record
    FROM entries e NOT INDEXED CROSS JOIN logs l ON l.log = e.log
    WHERE e.sequence > :after AND {_ALIVE}
    AND (:logs IS NULL OR e.log IN (SELECT value FROM json_each(:logs)))
    AND (:since IS NULL OR e.time_unix_ms >= :since)
    AND (:before IS NULL OR e.time_unix_ms < :before)
    ORDER BY e.sequence LIMIT {PAGE_ENTRIES}"""  # noqa: S608 - only words of ours are put in


def store_path(state_dir: Path) -> Path:
    """Where the handler keeps its store."""
    return state_dir / STORE_FOLDER / STORE_FILE


@dataclass(frozen=True, slots=True)
class Damaged:
    """An entry that cannot be read any more."""

    sequence: int
    reason: str


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive entries of one identity; `first` is 0 when they begin with its oldest."""

    identity: Identity
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a selection found."""

    stretches: tuple[Stretch, ...]
    devices: int
    entries: int
    size_bytes: int


class StoreView:
    """An open store file. Use `open_view`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.store_id: Final = self._read_store_id()

    def _read_store_id(self) -> int:
        row = self._connection.execute(
            "SELECT record FROM store WHERE row = ?", (STORE_ROW,)
        ).fetchone()
        named = None if row is None else decode(row[0])
        if not isinstance(named, StoreNamed):
            raise RecordError(0, "the record with the store's id is missing")
        return named.store_id

    def figures(self, now_unix_ms: int) -> list[DeviceFigures]:
        """One per identity with entries, in the order of the identities."""
        recent = now_unix_ms - WINDOW_S * 1000
        with self._moment():
            identities = self._identities()
            rows = self._connection.execute(_FIGURES, {"recent": recent})
            found = [DeviceFigures(identities[log], *numbers) for log, *numbers in rows]
        return sorted(found, key=lambda each: each.identity)

    def entries(self, selection: Selection) -> Iterator[Entry | Damaged]:
        """The selected entries in order of their numbers, as they are when their turn comes.

        Of a device that has none when this begins, none may be found.
        """
        wanted = {
            "logs": self._logs(selection),
            "since": selection.since_unix_ms,
            "before": selection.before_unix_ms,
        }
        after = 0
        while True:
            page = self._connection.execute(_PAGE, {**wanted, "after": after}).fetchall()
            for sequence, framed in page:
                after = sequence
                yield _entry(sequence, framed)
            if len(page) < PAGE_ENTRIES:
                return

    def _logs(self, selection: Selection) -> str | None:
        """Numbers of the selected logs as JSON, None for all."""
        if not selection.modules and not selection.devices:
            return None
        identities = self._identities()
        return json.dumps([log for log, each in identities.items() if selection.has_device(each)])

    def choose(self, selection: Selection) -> Chosen:
        """Which stretches of which logs the selection means, and how much that is."""
        with self._moment():
            identities = {
                log: identity
                for log, identity in self._identities().items()
                if selection.has_device(identity)
            }
            if selection.is_timed:
                return self._choose_by_time(selection, identities)
            return self._choose_whole(identities)

    def _choose_whole(self, identities: dict[int, Identity]) -> Chosen:
        rows = [row for row in self._connection.execute(_BOUNDS) if row[0] in identities]
        stretches = tuple(Stretch(identities[log], 0, last) for log, last, _, _ in rows)
        entries, size_bytes = sum(row[2] for row in rows), sum(row[3] for row in rows)
        return Chosen(stretches, len(rows), entries, size_bytes)

    def _choose_by_time(self, selection: Selection, identities: dict[int, Identity]) -> Chosen:
        """Runs of selected entries of each log; an entry that is not selected ends one."""
        begun: set[int] = set()
        open_runs: dict[int, tuple[int, int]] = {}
        stretches: list[Stretch] = []
        devices: set[int] = set()
        entries = size_bytes = after = 0
        while True:
            page = self._connection.execute(_TIMES, (after,)).fetchall()
            for after, log, time_unix_ms, entry_bytes in page:
                if log not in identities:
                    continue
                if selection.has_time(time_unix_ms):
                    start = after if log in begun else 0
                    open_runs[log] = (open_runs.get(log, (start, 0))[0], after)
                    devices.add(log)
                    entries, size_bytes = entries + 1, size_bytes + entry_bytes
                elif log in open_runs:
                    stretches.append(Stretch(identities[log], *open_runs.pop(log)))
                begun.add(log)
            if not page:
                break
        stretches += [Stretch(identities[log], *run) for log, run in sorted(open_runs.items())]
        return Chosen(tuple(stretches), len(devices), entries, size_bytes)

    def _identities(self) -> dict[int, Identity]:
        found: dict[int, Identity] = {}
        for log, framed in self._connection.execute("SELECT log, record FROM logs"):
            named = decode(framed)
            if not isinstance(named, LogNamed):
                raise RecordError(0, f"a {type(named).__name__} stands in logs ({log})")
            found[log] = named.identity
        return found

    @contextmanager
    def _moment(self) -> Iterator[None]:
        """Everything inside sees the store as it is at one moment."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")


@contextmanager
def open_view(path: Path) -> Iterator[StoreView]:
    """Open the store file at `path`; what goes wrong inside is told as what it means.

    Raises:
        StoreError: there is none, it cannot be read, or it is damaged.
        ConfigError: a newer gateway wrote it.
    """
    if not path.exists():
        raise StoreError(f"there is no store at {path}")
    try:
        with closing(connect_to(path)) as connection:
            _check_kind(connection, path)
            yield StoreView(connection)
    except sqlite3.Error as error:
        hint = "module-gateway buffer check says what is wrong with it"
        raise StoreError(f"{path} cannot be read: {error}; {hint}") from error


def connect_to(path: Path) -> sqlite3.Connection:
    """A connection that can only read.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    name = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(name, uri=True, isolation_level=None)
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _check_kind(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise StoreError(f"{path} is no store of a module gateway")
    if version != VERSION:
        raise ConfigError(
            f"the store {path}",
            got=f"version {version}",
            expected=f"version {VERSION}",
            hint="use the command of the gateway that wrote it"
            if version > VERSION
            else "start this gateway once: it brings the store to its version",
        )


def _entry(sequence: int, framed: bytes) -> Entry | Damaged:
    try:
        record = decode(framed)
    except RecordError as error:
        return Damaged(sequence, error.reason)
    if not isinstance(record, Entry) or record.sequence != sequence:
        return Damaged(sequence, f"a {type(record).__name__} of another place stands there")
    return record
