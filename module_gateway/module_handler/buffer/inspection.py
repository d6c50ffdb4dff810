"""`module-gateway buffer check`: whether everything in the store's files is as it was written.

Nothing is changed. The files of a stopped handler are read page by page as a salvage reads them,
which finds every damaged record and where it lies. Those of a running one change meanwhile, so
their records are read through SQLite, a few at a time. In both cases SQLite tells what it finds
in its trees, and each row is compared with its record.
"""

from __future__ import annotations

import mmap
import os
import re
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from module_gateway.module_handler.buffer.row_check import read_rows
from module_gateway.module_handler.buffer.view import connect_to
from module_gateway.module_handler.leaf_pages import HEADER_BYTES, TABLE_LEAF
from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.page_images import (
    PAGE_BYTES,
    Bytes,
    Finding,
    PageImages,
    Part,
)
from module_gateway.module_handler.records import HEAD_BYTES
from module_gateway.module_handler.salvage import Salvage
from module_gateway.module_handler.store_schema import APPLICATION_ID
from module_gateway.protocol.errors import StoreError
from module_gateway.runtime.log import clean_text

MAX_FINDINGS: Final = 1_000
"""More are counted, not shown."""

ATTEMPTS: Final = 3
"""A write-ahead log that is read while it is written may look torn once, but not again."""

REASON_CHARS: Final = 300
"""Of a line."""

_MARK_BYTES: Final = 32
"""Of a record, sum included: enough to find it again in its page."""

_COLUMNS_BYTES: Final = 64
"""In front of the record in its row: lengths, types and six numbers, at most."""

_PAGE_WORD: Final = re.compile(r"\b[Pp]age (\d+)")


@dataclass(slots=True)
class Inspection:
    """What a check has found.

    Attributes:
        records: how many are intact.
        entries: how many of them are entries.
        findings: at most MAX_FINDINGS.
        more: how many there are beyond.
    """

    records: int = 0
    entries: int = 0
    findings: list[Finding] = field(default_factory=list)
    more: int = 0

    def find(self, finding: Finding) -> None:
        """Keep it, or count it."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)
        else:
            self.more += 1

    def report(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "ok": not self.findings,
            "records": self.records,
            "entries": self.entries,
            "findings": [{**asdict(each), "page": each.page or None} for each in self.findings],
            "more_findings": self.more,
        }


def inspect(path: Path, *, is_running: bool) -> Inspection:
    """Look at everything in the store at `path`.

    Args:
        path: of the database.
        is_running: a handler has it open and may write meanwhile.

    Raises:
        StoreError: there is none, or it is another program's.
        OSError: its files cannot be read.
    """
    if not path.exists():
        raise StoreError(f"there is no store at {path}")
    found = Inspection()
    if is_running:
        _read_log(path, found)
    else:
        _read_pages(path, found)
    try:
        with closing(connect_to(path)) as connection:
            _ask_sqlite(connection, found)
            rows = read_rows(connection, tells_damage=is_running)
    except sqlite3.Error as error:
        found.find(Finding(Part.DATABASE, 0, 0, f"SQLite cannot read it: {error}"))
    else:
        if is_running:
            found.records, found.entries = rows.records, rows.entries
        for finding in _located(path, rows.wrong):
            found.find(finding)
    return found


def check_text(report: dict[str, Any]) -> str:
    """The report as a person reads it: a line per finding, then what is intact."""
    lines = [
        f"{each['part']} offset {each['offset']}"
        + (f" (page {each['page']})" if each["page"] else "")
        + f": {clean_text(each['reason'], REASON_CHARS)}"
        for each in report["findings"]
    ]
    if report["more_findings"]:
        lines.append(f"and {report['more_findings']:,} more")
    intact = f"{report['records']:,} records are intact, {report['entries']:,} of them entries"
    return "".join(f"{line}\n" for line in [*lines, intact])


@contextmanager
def _files(path: Path, *, has_index: bool) -> Iterator[tuple[Bytes, Bytes, Bytes]]:
    """Database, write-ahead log and its index. The database is not read into memory."""
    log = _content(path.with_name(path.name + "-wal"))
    index = _content(path.with_name(path.name + "-shm")) if has_index else b""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if not os.fstat(descriptor).st_size:
            yield b"", log, index
            return
        # Closed by whoever forgets the last view of it: until then it must stay.
        database = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        yield memoryview(database), log, index
    finally:
        os.close(descriptor)


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _read_pages(path: Path, found: Inspection) -> None:
    """Everything in the files of a store that nobody has open."""
    with _files(path, has_index=True) as files:
        salvage = Salvage(*files)
        for record in salvage.records():
            found.records += 1
            found.entries += isinstance(record, Entry)
        if not found.records and not salvage.has_application(APPLICATION_ID):
            raise StoreError(f"{path} is no store of a module gateway")
    for each in salvage.findings:
        found.find(each)
    found.more += salvage.more_findings


def _read_log(path: Path, found: Inspection) -> None:
    """The write-ahead log beside a handler: while it is written it may look torn, but not twice."""
    findings: list[Finding] = []
    for _ in range(ATTEMPTS):
        log = _content(path.with_name(path.name + "-wal"))
        images = PageImages(b"", log)
        findings = [each for each in images.findings if each.part is Part.LOG]
        if not findings:
            return
    for each in findings:
        found.find(each)


def _ask_sqlite(connection: sqlite3.Connection, found: Inspection) -> None:
    """Trees and indexes, in SQLite's words."""
    for (said,) in connection.execute(f"PRAGMA integrity_check({MAX_FINDINGS})"):
        if said != "ok":
            page = _page_in(said)
            offset = (page - 1) * PAGE_BYTES if page else 0
            found.find(Finding(Part.DATABASE, offset, page, said.replace("\n", " ")))


def _located(path: Path, wrong: Sequence[tuple[bytes, str]]) -> Iterator[Finding]:
    """Where these records lie: found by their first bytes, which have their sums."""
    if not wrong:
        return
    with _files(path, has_index=False) as files:
        images = [image for image in PageImages(*files).images() if image.is_certain]
    for framed, reason in wrong:
        mark = framed[:_MARK_BYTES]
        for image in images:
            at = _place_in(bytes(image.content), mark) if len(mark) > HEAD_BYTES else -1
            if at >= 0:
                yield Finding(image.part, image.offset + at, image.page, reason)
                break
        else:
            yield Finding(Part.DATABASE, 0, 0, reason)


def _place_in(page: bytes, mark: bytes) -> int:
    """Where a row of a leaf page has these bytes, -1: nowhere. Rows that left are no rows."""
    if page[0] != TABLE_LEAF or mark not in page:
        return -1
    (rows,) = struct.unpack_from(">H", page, 3)
    rows = min(rows, (PAGE_BYTES - HEADER_BYTES) // 2)
    for cell in struct.unpack_from(f">{rows}H", page, HEADER_BYTES):
        at = page.find(mark, cell, cell + _COLUMNS_BYTES + len(mark))
        if at >= 0:
            return at
    return -1


def _page_in(said: str) -> int:
    named = _PAGE_WORD.search(said)
    return 0 if named is None else int(named[1])
