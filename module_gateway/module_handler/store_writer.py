"""Writing the SQLite store: one transaction per commit, and the tidying between commits.

A trim of few entries deletes them at once. A trim of many is a mark, however many they are: their
rows are deleted in slices between commits, so that no commit ever waits for them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final, assert_never

from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.records import (
    LogNamed,
    NumberGiven,
    StoreNamed,
    StretchTrimmed,
    VerdictGiven,
    encode,
)
from module_gateway.module_handler.store import (
    Change,
    DeviceForgotten,
    DeviceStored,
    EntriesFolded,
    EntriesTrimmed,
    EntryAppended,
    LeaseStored,
    VerdictRecorded,
)
from module_gateway.module_handler.store_reader import Contents, LogState, read_contents
from module_gateway.module_handler.store_schema import (
    INSERT_ENTRY,
    NUMBER_ROW,
    PAGE_SIZE,
    SEGMENT_BITS,
    STORE_ROW,
    VERSION,
    entry_row,
    transaction,
    write_back,
)
from module_gateway.module_handler.store_sweep import Sweep
from module_gateway.protocol.identity import Identity

CEILING_STEP: Final = 1_000_000
"""The ceiling is raised by so much when half of it is used: whatever a damaged write-ahead log
loses (it has a few thousand pages), numbers above the last known ceiling were never given out."""

MOST_AT_ONCE: Final = 64
MOST_SEGMENTS: Final = 8
MOST_PER_COMMIT: Final = 1_000
"""A trim of more entries, or of entries that lie further apart, is a mark; so is every trim of
a commit that has deleted so many already (a deletion takes about 10 us)."""

LOG_PAGES: Final = 2_000
PAGES_PER_COMMIT: Final = 3
PAGES_PER_SLICE: Final = 64
"""Estimates, as SQLite does not tell how long its log is: a changed row counts as a page, a commit
as some more. In truth the log has a few MB when it is written back (SQLite's own bound: 4 MB)."""

_FEW: Final = """
    SELECT sequence FROM entries INDEXED BY entries_by_log
    WHERE segment = ? AND module = ? AND log = ? AND sequence BETWEEN ? AND ? LIMIT ?"""

_PURGE: Final = """
    DELETE FROM entries WHERE sequence IN (
        SELECT e.sequence FROM entries e INDEXED BY entries_by_log JOIN logs l ON l.log = e.log
        WHERE e.log = ? AND (e.sequence <= l.trimmed_to OR EXISTS (
            SELECT 1 FROM stretches s WHERE s.log = e.log
            AND s.first_sequence <= e.sequence AND s.last_sequence >= e.sequence)))"""


class StoreWriter:
    """The one writer of a store. Everything here runs in one thread.

    After a method has raised, the next one begins by reading the file again.

    Attributes:
        connection: to the file.
        skips_numbers: the end of the log may be lost, with numbers that were given out: until
            the first commit `load` goes on at the ceiling.
    """

    def __init__(
        self, connection: sqlite3.Connection, *, is_synced: bool, max_verdicts: int
    ) -> None:
        self.connection = connection
        self._max_verdicts = max_verdicts
        self._contents: Contents | None = None
        self._is_current = False
        self._last_sequence = 0
        self._deleted = 0
        self._empty_logs: list[int] = []
        self.skips_numbers = False
        self._changes, self._pages, self._size_bytes = 0, 0, 0
        self._sweep = Sweep(connection, is_synced=is_synced)

    def load(self) -> Contents:
        """Everything beside the entries, read anew.

        Raises:
            RecordError: a record is damaged.
            sqlite3.Error: the file cannot be read or written.
        """
        self._is_current = False
        contents = read_contents(self.connection)
        if self.skips_numbers:
            contents.state = replace(contents.state, last_sequence=contents.ceiling)
        self._last_sequence = contents.state.last_sequence
        self._sweep.begin_anew(contents.dead)
        self._empty_logs = contents.take_empty_logs()
        self._contents, self._is_current = contents, True
        return contents

    @property
    def logs(self) -> Mapping[Identity, LogState]:
        """By identity. Another thread may look up a log's number here."""
        return {} if self._contents is None else self._contents.logs

    @property
    def loaded(self) -> Contents:
        """What `load` gave last; only right after the opening."""
        return self._current()

    def _current(self) -> Contents:
        """What is known; the file is read again when it may have changed behind our back."""
        if self._contents is None or not self._is_current:
            return self.load()
        return self._contents

    def commit(self, changes: Sequence[Change]) -> None:
        """All changes in one transaction.

        Raises:
            RecordError: a record is damaged.
            sqlite3.Error: nothing is committed, or nobody knows.
        """
        contents = self._current()
        self._is_current, self._deleted = False, 0
        with transaction(self.connection):
            if self.skips_numbers:
                self._remember_number()
            self._delete_empty_logs()
            self._apply(contents, changes)
        self._is_current, self.skips_numbers = True, False
        self._pages += PAGES_PER_COMMIT

    @property
    def has_leisure_work(self) -> bool:
        """Whether `tidy` has something to do."""
        return self._sweep.has_work()

    def is_log_long(self) -> bool:
        """Whether the write-ahead log should be written back: about `LOG_PAGES` since last time.

        True once; the caller sees to it (`write_back`).
        """
        changes = self.connection.total_changes
        pages = changes - self._changes + self._pages + self._size_bytes // PAGE_SIZE
        if pages < LOG_PAGES:
            return False
        self._changes, self._pages, self._size_bytes = changes, 0, 0
        return True

    def tidy(self) -> None:
        """One slice of deleting what is acknowledged and of shrinking the file: some ms.

        Raises:
            sqlite3.Error: it did not happen.
        """
        self._current()
        self._sweep.advance()
        self._pages += LOG_PAGES if not self._sweep.has_work() else PAGES_PER_SLICE

    def write_back(self) -> None:
        """See `store_schema.write_back`.

        Raises:
            sqlite3.Error: the disk refuses.
        """
        write_back(self.connection)

    def close(self) -> None:
        """Let go of the file; SQLite writes the log back into the database."""
        self.connection.close()

    def abandon(self) -> None:
        """Let go of the file without a sync: its disk has refused one."""
        with suppress(sqlite3.Error):
            self.connection.execute("PRAGMA synchronous = OFF")
        self.connection.close()

    def _apply(self, contents: Contents, changes: Sequence[Change]) -> None:
        devices: dict[Identity, DeviceStored | None] = {}
        leases: dict[int, LeaseStored] = {}
        verdicts: list[VerdictRecorded] = []
        appended: list[Entry] = []
        for change in changes:
            match change:
                case EntryAppended(entry):
                    appended.append(entry)
                case DeviceStored():
                    devices[change.identity] = change
                case DeviceForgotten(identity):
                    devices[identity] = None
                case EntriesTrimmed(identity, sequence, first_sequence):
                    self._append(contents, appended)
                    self._trim(contents, identity, sequence, first_sequence)
                case EntriesFolded(fold):
                    self._append(contents, appended)
                    self._fold(contents, fold)
                case LeaseStored():
                    leases[change.endpoint] = change
                case VerdictRecorded():
                    verdicts.append(change)
                case _:
                    assert_never(change)
        self._append(contents, appended)
        self._put_devices(contents, devices)
        self.connection.executemany(
            "INSERT OR REPLACE INTO leases VALUES (?, ?)",
            [(lease.endpoint, encode(lease)) for lease in leases.values()],
        )
        self._record(contents, verdicts)

    def _append(self, contents: Contents, appended: list[Entry]) -> None:
        """Write what was collected, and begin to collect again."""
        if not appended:
            return
        rows = []
        for entry in appended:
            log = self._log(contents, entry.device.identity)
            if log.first > log.newest:
                log.first = entry.sequence
            log.newest = max(log.newest, entry.sequence)
            self._last_sequence = max(self._last_sequence, entry.sequence)
            self._size_bytes += entry.size_bytes
            rows.append(entry_row(entry, log.number))
        appended.clear()
        self.connection.executemany(INSERT_ENTRY, rows)
        if self._last_sequence + CEILING_STEP // 2 > contents.ceiling:
            contents.ceiling = self._last_sequence + CEILING_STEP
            named = StoreNamed(contents.store_id, contents.ceiling, VERSION)
            self._put_store(STORE_ROW, encode(named))

    def _log(self, contents: Contents, identity: Identity) -> LogState:
        log = contents.logs.get(identity)
        if log is None:
            contents.last_log += 1
            log = contents.logs[identity] = LogState(contents.last_log)
            self._put_log(identity, log)
        return log

    def _put_log(self, identity: Identity, log: LogState) -> None:
        named = LogNamed(identity, log.number, log.trimmed_to)
        self.connection.execute(
            "INSERT OR REPLACE INTO logs VALUES (?, ?, ?)",
            (log.number, log.trimmed_to, encode(named)),
        )

    def _trim(
        self, contents: Contents, identity: Identity, sequence: int, first_sequence: int
    ) -> None:
        log = contents.logs.get(identity)
        if log is None:
            return
        first, last = max(first_sequence, log.first), min(sequence, log.newest)
        if first > last:
            return
        few = self._few(identity.module, log, first, last)
        if few is not None:
            self._delete(few)
        elif first == log.first:
            log.trimmed_to = last
            self._put_log(identity, log)
            self._sweep.add(first, last)
        else:
            self.connection.execute(
                "INSERT INTO stretches (log, first_sequence, last_sequence, record)"
                " VALUES (?, ?, ?, ?)",
                (log.number, first, last, encode(StretchTrimmed(identity, first, last))),
            )
            self._sweep.add(first, last)
        if last >= self._last_sequence:
            self._remember_number()
        if first == log.first:
            log.first = last + 1

    def _few(self, module: int, log: LogState, first: int, last: int) -> list[int] | None:
        """The numbers of a log in this range, None when there are many or it takes long."""
        segments = range(first >> SEGMENT_BITS, (last >> SEGMENT_BITS) + 1)
        if len(segments) > MOST_SEGMENTS or self._deleted > MOST_PER_COMMIT:
            return None
        few: list[int] = []
        for segment in segments:
            limit = MOST_AT_ONCE + 1 - len(few)
            where = (segment, module, log.number, first, last, limit)
            few += [row[0] for row in self.connection.execute(_FEW, where)]
            if len(few) > MOST_AT_ONCE:
                return None
        return few

    def _delete(self, sequences: list[int]) -> None:
        if not sequences:
            return
        self._deleted += len(sequences)
        self.connection.executemany(
            "DELETE FROM entries WHERE sequence = ?", [(each,) for each in sequences]
        )

    def _remember_number(self) -> None:
        """The newest entry goes: from now on only this row knows which numbers were given out."""
        self._put_store(NUMBER_ROW, encode(NumberGiven(self._last_sequence)))

    def _put_store(self, row: int, record: bytes) -> None:
        self.connection.execute("INSERT OR REPLACE INTO store VALUES (?, ?)", (row, record))

    def _fold(self, contents: Contents, fold: Entry) -> None:
        identity = fold.device.identity
        log = self._log(contents, identity)
        if fold.sequence < log.first or self._is_in_stretch(log, fold.sequence):
            self._purge(identity, log)
        self._trim(contents, identity, fold.sequence - 1, 0)
        self.connection.execute(INSERT_ENTRY, entry_row(fold, log.number))
        log.first = fold.sequence
        log.newest = max(log.newest, fold.sequence)
        self._last_sequence = max(self._last_sequence, fold.sequence)

    def _is_in_stretch(self, log: LogState, sequence: int) -> bool:
        found = self.connection.execute(
            "SELECT 1 FROM stretches WHERE log = ? AND first_sequence <= ? AND last_sequence >= ?",
            (log.number, sequence, sequence),
        )
        return found.fetchone() is not None

    def _purge(self, identity: Identity, log: LogState) -> None:
        """Delete now what is marked: a fold takes the place of something acknowledged.

        It happens when an acknowledgement and a fold cross; takes as long as the log is long.
        """
        self.connection.execute(_PURGE, (log.number,))
        self.connection.execute("DELETE FROM stretches WHERE log = ?", (log.number,))
        log.trimmed_to = 0
        self._put_log(identity, log)
        self._remember_number()

    def _put_devices(
        self, contents: Contents, devices: dict[Identity, DeviceStored | None]
    ) -> None:
        rows = contents.devices
        put: list[tuple[int, bytes]] = []
        for identity, device in devices.items():
            if device is None:
                row = rows.pop(identity, None)
                self.connection.execute("DELETE FROM devices WHERE device = ?", (row,))
                continue
            number = rows.get(identity)
            if number is None:
                contents.last_device += 1
                number = rows[identity] = contents.last_device
            put.append((number, encode(device)))
        self.connection.executemany("INSERT OR REPLACE INTO devices VALUES (?, ?)", put)

    def _record(self, contents: Contents, verdicts: Iterable[VerdictRecorded]) -> None:
        """A new session of an endpoint voids its older verdicts; the oldest go at the bound."""
        for change in verdicts:
            verdict, endpoint = change.verdict, change.endpoint
            rows = contents.verdicts.setdefault(endpoint, [])
            session = (verdict.epoch, verdict.session)
            old: list[int] = []
            if rows and contents.sessions.get(endpoint) != session:
                old, rows[:] = rows[:], []
            contents.sessions[endpoint] = session
            contents.last_verdict += 1
            rows.append(contents.last_verdict)
            old += rows[: -self._max_verdicts]
            del rows[: -self._max_verdicts]
            self.connection.executemany(
                "DELETE FROM verdicts WHERE verdict = ?", [(each,) for each in old]
            )
            given = VerdictGiven(endpoint, verdict, rows[-1])
            self.connection.execute(
                "INSERT INTO verdicts VALUES (?, ?, ?)", (rows[-1], endpoint, encode(given))
            )

    def _delete_empty_logs(self) -> None:
        """With the first commit: a start writes nothing, so it works on a full disk."""
        if not self._empty_logs:
            return
        self._remember_number()
        self.connection.executemany(
            "DELETE FROM logs WHERE log = ?", [(number,) for number in self._empty_logs]
        )
        self._empty_logs = []
