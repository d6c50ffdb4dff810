"""The store that survives: SQLite in WAL mode, a thread that writes, a thread that reads.

The loop never waits for the disk. Commits and pages run at the same time; a page sees everything
that was committed before it was asked for.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, TypeVar

from module_gateway.module_handler.command_log import MAX_VERDICTS
from module_gateway.module_handler.page_images import Finding, Part
from module_gateway.module_handler.records import RecordError
from module_gateway.module_handler.store import Change, Page, Query, StoredState
from module_gateway.module_handler.store_check import WHOLE_BYTES, check_some, size_bytes
from module_gateway.module_handler.store_files import check_place
from module_gateway.module_handler.store_lock import StoreLock
from module_gateway.module_handler.store_opening import Plan, move, open_writer, repair
from module_gateway.module_handler.store_reader import read_page
from module_gateway.module_handler.store_schema import connect, empty_log, write_back
from module_gateway.module_handler.store_troubles import Trouble, sentence, trouble_of
from module_gateway.module_handler.store_writer import StoreWriter
from module_gateway.protocol.errors import StoreError

_T = TypeVar("_T")

CHECKED_AT_ONCE: Final = 200
"""Entries of a large store whose sums are checked between two pages (about 1 ms)."""

CHECK_PAUSE_S: Final = 0.05
"""Between two such checks while pages are read or commits wait: a fiftieth of their time. A million
entries of a busy gateway are checked in four minutes."""

_NEED_A_NEW_FILE: Final = frozenset({Trouble.INPUT_OUTPUT, Trouble.DAMAGED})


class SqliteStore:
    """See `Store`. Nothing is opened before it is used."""

    def __init__(
        self,
        path: Path,
        durability: Literal["power", "process"] = "power",
        max_verdicts: int = MAX_VERDICTS,
    ) -> None:
        """Name a store.

        Args:
            path: of the database; its lock and its write-ahead log lie beside it.
            durability: "power": a commit is on the disk when it returns; "process": it survives
                the end of this process, not that of the machine.
            max_verdicts: kept per endpoint.
        """
        self._path = path
        self._is_synced = durability == "power"
        self._max_verdicts = max_verdicts
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        self._lock: StoreLock | None = None
        self._writer: StoreWriter | None = None
        self._reader: sqlite3.Connection | None = None
        self._store_id = 0
        self._is_tidying = False
        self._is_closing = False
        self._is_used = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_short_of_space = False
        self._trouble: Trouble | None = None

    @property
    def store_id(self) -> int:
        """See `Store`. Opens the store when nobody has done that yet."""
        if not self._store_id:
            self._writing.submit(self._guarded, self._open_writer).result()
        return self._store_id

    @property
    def is_tidying(self) -> bool:
        """Whether acknowledged entries wait for their deletion, or the file for being cut."""
        return self._is_tidying

    async def load(self) -> StoredState:
        """See `Store`."""
        return await self._in(self._writing, self._load)

    async def read(self, query: Query) -> Page:
        """See `Store`."""
        if self._writer is None:
            await self._in(self._writing, self._open_writer)
        return await self._in(self._reading, lambda: self._read(query))

    async def commit(self, changes: Sequence[Change]) -> None:
        """See `Store`."""
        await self._in(self._writing, lambda: self._commit(changes))

    async def close(self) -> None:
        """See `Store`. Waits for what is under way."""
        self._is_closing = True
        await self._in(self._reading, self._close_reader)
        await self._in(self._writing, self._close_writer)
        self._reading.shutdown()
        self._writing.shutdown()

    async def _in(self, thread: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        self._is_used = True
        self._loop = asyncio.get_running_loop()
        return await self._loop.run_in_executor(thread, self._guarded, work)

    def _guarded(self, work: Callable[[], _T]) -> _T:
        """What SQLite and the system say becomes one sentence, and is remembered.

        Raises:
            StoreError: the work failed.
        """
        try:
            return work()
        except (sqlite3.Error, OSError, RecordError) as error:
            trouble = trouble_of(error, self._path.parent)
            if self._trouble is None and trouble in _NEED_A_NEW_FILE:
                self._trouble = trouble
            self._is_short_of_space |= trouble is Trouble.NO_SPACE
            raise StoreError(sentence(trouble, error, self._path)) from error

    def _load(self) -> StoredState:
        if self._trouble is not None and self._writer is not None:
            self._leave(self._writer, self._trouble)
        if self._writer is None:
            return self._open_writer().loaded.state
        if self._is_short_of_space:
            self._make_room(self._writer)
        return self._writer.load().state

    def _make_room(self, writer: StoreWriter) -> None:
        """Empty the write-ahead log, which may have taken the last of the space."""
        self._is_short_of_space = False
        with suppress(sqlite3.OperationalError):
            empty_log(writer.connection)
            self._after_writing(writer)

    def _leave(self, writer: StoreWriter, trouble: Trouble) -> None:
        """Give the file up that the disk refuses, or that is damaged, for a new one."""
        self._reading.submit(self._close_reader).result()
        if trouble is Trouble.INPUT_OUTPUT:
            try:
                move(self._path, writer.connection, self._abandon_writer)
            except sqlite3.DatabaseError as error:
                if trouble_of(error, self._path.parent) is Trouble.NO_SPACE:
                    raise
                trouble = Trouble.DAMAGED
        if trouble is Trouble.DAMAGED:
            self._abandon_writer()
            repair(self._path, [Finding(Part.DATABASE, 0, 0, "found while it was used")])
        self._trouble = None

    def _abandon_writer(self) -> None:
        """Close the file without a sync."""
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None

    def _check_trouble(self) -> None:
        if self._trouble is not None:
            raise StoreError(
                f"the store {self._path} has to be loaded again: {self._trouble.value}"
            )

    def _commit(self, changes: Sequence[Change]) -> None:
        self._check_trouble()
        writer = self._open_writer()
        writer.commit(changes)
        self._after_writing(writer)

    def _after_writing(self, writer: StoreWriter) -> None:
        """Put the rest of the work in line behind the commits that wait."""
        if writer.is_log_long():
            self._reading.submit(self._write_back)
        if writer.has_leisure_work and not self._is_tidying:
            self._is_tidying = True
            self._writing.submit(self._tidy)

    def _write_back(self) -> None:
        """The bulk beside the writer; what was added meanwhile follows in its own thread."""
        if self._is_closing:
            return
        if self._trouble is None and self._writer is not None:
            self._guarded(lambda: write_back(self._open_reader()))
            self._writing.submit(self._finish_writing_back)

    def _finish_writing_back(self) -> None:
        """With nobody writing the log comes to its end, and begins anew."""
        if self._trouble is None and self._writer is not None:
            self._guarded(self._writer.write_back)

    def _open_writer(self) -> StoreWriter:
        if self._writer is None:
            check_place(self._path)
            if self._lock is None:
                self._lock = StoreLock(self._path)
            plan = Plan(self._path, self._is_synced, self._max_verdicts)
            self._writer = open_writer(plan)
            self._store_id = self._writer.loaded.store_id
            self._trouble = None
            if size_bytes(self._path) > WHOLE_BYTES:
                self._reading.submit(self._check_entries, 0)
        return self._writer

    def _check_entries(self, after: int) -> None:
        """A large store is checked while it serves: whatever it is asked for goes first."""
        if self._trouble is not None or self._writer is None or self._is_closing:
            return
        following = self._guarded(lambda: check_some(self._open_reader(), after, CHECKED_AT_ONCE))
        if following is None:
            return
        if not self._is_used or self._loop is None:
            self._reading.submit(self._check_entries, following)
            return
        self._is_used = False
        with suppress(RuntimeError):  # the loop has ended: so does the check
            self._loop.call_soon_threadsafe(self._check_later, following)

    def _check_later(self, after: int) -> None:
        asyncio.get_running_loop().call_later(CHECK_PAUSE_S, self._check_on, after)

    def _check_on(self, after: int) -> None:
        if not self._is_closing:
            self._reading.submit(self._check_entries, after)

    def _read(self, query: Query) -> Page:
        self._check_trouble()
        writer = self._writer
        if writer is None:
            raise StoreError(f"the store {self._path} is closed")
        return read_page(self._open_reader(), query, writer.logs)

    def _open_reader(self) -> sqlite3.Connection:
        if self._reader is None:
            self._reader = connect(self._path, is_synced=self._is_synced)
        return self._reader

    def _tidy(self) -> None:
        """A slice between commits."""
        try:
            if self._trouble is None and self._writer is not None:
                self._guarded(self._writer.tidy)
        finally:
            self._is_tidying = False
        if self._trouble is None and self._writer is not None:
            self._after_writing(self._writer)

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _close_writer(self) -> None:
        if self._writer is not None:
            if self._trouble is None:
                self._writer.close()
            else:
                self._writer.abandon()
            self._writer = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None
