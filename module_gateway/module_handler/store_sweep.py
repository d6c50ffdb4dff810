"""Deleting what is acknowledged, and giving its place back, in slices of a few milliseconds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

from module_gateway.module_handler.store_schema import set_synced, transaction

SLICE_ROWS: Final = 250
"""Deleted in one transaction (about 1 ms): what a commit may have to wait for."""

WINDOW: Final = 1_024
"""Numbers looked at in one slice."""

SPARE_PAGES: Final = 256
FREE_PAGES: Final = 1_024
"""The file shrinks when it has 4 MiB of free pages, and keeps 1 MiB for what comes next."""

VACUUM_PAGES: Final = 32
"""Moved in one slice."""

_DEAD: Final = """
    SELECT e.sequence FROM entries e NOT INDEXED CROSS JOIN logs l ON l.log = e.log
    WHERE e.sequence BETWEEN ? AND ? AND (e.sequence <= l.trimmed_to OR EXISTS (
        SELECT 1 FROM stretches s WHERE s.log = e.log
        AND s.first_sequence <= e.sequence AND s.last_sequence >= e.sequence))
    ORDER BY e.sequence LIMIT ?"""


class Sweep:
    """What waits to be deleted, as ranges of numbers.

    A transaction of it does not wait for the disk: should it be lost, the marks are still there.
    """

    def __init__(self, connection: sqlite3.Connection, *, is_synced: bool) -> None:
        self._connection = connection
        self._is_synced = is_synced
        self._added: list[tuple[int, int]] = []
        self._ranges: list[tuple[int, int]] = []
        self._stretches: list[int] = []
        self._is_shrinking = False

    def begin_anew(self, dead: Iterable[tuple[int, int]]) -> None:
        """Forget everything; these ranges have entries that are acknowledged."""
        self._ranges, self._stretches, self._added = [], [], list(dead)

    def add(self, first: int, last: int) -> None:
        """A mark was set, a stretch was stored: somewhere in this range."""
        self._added.append((first, last))

    def has_work(self) -> bool:
        """Whether the next slice has something to do."""
        return bool(self._ranges or self._added or self._has_room_to_give())

    def advance(self) -> None:
        """One slice.

        Raises:
            sqlite3.Error: it did not happen.
        """
        if self._is_synced:
            set_synced(self._connection, is_synced=False)
        try:
            if not self._ranges and self._added:
                self._begin()
            if self._ranges:
                self._delete_slice()
            elif self._has_room_to_give():
                self._shrink()
        finally:
            if self._is_synced:
                set_synced(self._connection, is_synced=True)

    def _begin(self) -> None:
        self._ranges = united(self._added)
        self._added = []
        rows = self._connection.execute("SELECT stretch FROM stretches")
        self._stretches = [row[0] for row in rows]

    def _delete_slice(self) -> None:
        first, last = self._ranges[0]
        start = self._connection.execute(
            "SELECT sequence FROM entries WHERE sequence >= ? ORDER BY sequence LIMIT 1", (first,)
        ).fetchone()
        if start is None or start[0] > last:
            self._range_done()
            return
        end = min(last, start[0] + WINDOW)
        dead = self._connection.execute(_DEAD, (start[0], end, SLICE_ROWS)).fetchall()
        if dead:
            with transaction(self._connection):
                self._connection.executemany("DELETE FROM entries WHERE sequence = ?", dead)
        done_to = dead[-1][0] if len(dead) == SLICE_ROWS else end
        if done_to >= last:
            self._range_done()
        else:
            self._ranges[0] = (done_to + 1, last)

    def _range_done(self) -> None:
        """Stretches that were there when the sweep began have nothing left to hide."""
        del self._ranges[0]
        if not self._ranges and self._stretches:
            with transaction(self._connection):
                self._connection.executemany(
                    "DELETE FROM stretches WHERE stretch = ?",
                    [(each,) for each in self._stretches],
                )
            self._stretches = []

    def _has_room_to_give(self) -> bool:
        free = int(self._connection.execute("PRAGMA freelist_count").fetchone()[0])
        self._is_shrinking = free > (SPARE_PAGES if self._is_shrinking else FREE_PAGES)
        return self._is_shrinking

    def _shrink(self) -> None:
        """SQLite frees one page per step of the statement."""
        self._connection.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()


def united(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same numbers in ranges that do not touch, in order."""
    result: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(last, result[-1][1]))
        else:
            result.append((first, last))
    return result
