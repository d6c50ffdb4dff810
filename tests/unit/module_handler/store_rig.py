"""A store's parts without threads, for the unit tests of the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.records import StoreNamed
from module_gateway.module_handler.store import (
    Change,
    EntryAppended,
    LogQuery,
    Page,
    Query,
    StreamQuery,
)
from module_gateway.module_handler.store_reader import read_page
from module_gateway.module_handler.store_schema import connect, prepare
from module_gateway.module_handler.store_writer import CEILING_STEP, StoreWriter
from module_gateway.protocol.identity import Device

A = Device.of(7, 0, "a", "Device A", 3)
B = Device.of(7, 0, "b")
C = Device.of(8, 0, "c")


def entry(sequence: int, who: Device = A) -> Entry:
    return Entry(sequence, who, b"s%d" % sequence, time_unix_ms=1_700_000_000_000 + sequence)


class Parts:
    """A writer and its connection over a new file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "handler.db"
        self.connection: sqlite3.Connection = connect(self.path, is_synced=False)
        prepare(self.connection, self.path, StoreNamed(77, CEILING_STEP))
        self.writer = StoreWriter(self.connection, is_synced=False, max_verdicts=4)

    def commit(self, *changes: Change) -> None:
        self.writer.commit(changes)

    def append(self, *entries: Entry) -> None:
        self.writer.commit([EntryAppended(each) for each in entries])

    def read(self, query: Query) -> Page:
        return read_page(self.connection, query, self.writer.logs)

    def numbers(self, query: Query | None = None) -> list[int]:
        everything = StreamQuery(0, 0, 0, frozenset({7, 8}), 0, 2**62, 10**6)
        return [each.sequence for each in self.read(query or everything).entries]

    def of(self, who: Device) -> list[int]:
        return self.numbers(LogQuery(who.identity, 10**6))

    def rows(self, table: str = "entries") -> int:
        """How many are in the file, acknowledged or not."""
        return int(self.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def tidy(self) -> int:
        """All of it; returns the number of slices."""
        slices = 0
        while self.writer.has_leisure_work:
            self.writer.tidy()
            slices += 1
        return slices

    def again(self) -> StoreWriter:
        """Another writer over the same file, as after a restart."""
        self.writer = StoreWriter(self.connection, is_synced=False, max_verdicts=4)
        self.writer.load()
        return self.writer


def summary(parts: Parts) -> dict[str, Sequence[int]]:
    """Role → newest number, entries, bytes."""
    return {
        log.identity.role: (
            log.extents[-1].last_sequence,
            sum(extent.entries for extent in log.extents),
            sum(extent.size_bytes for extent in log.extents),
        )
        for log in parts.writer.load().state.logs
    }
