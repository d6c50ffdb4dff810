"""Everything intact in the files of a store, however damaged they are.

Pure: bytes in, records and findings out. No index, no tree and no header is needed to find a
record: every leaf page of a table is read by itself, and every record says what it is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from module_gateway.module_handler.leaf_pages import (
    BTREE_TYPES,
    FILE_HEADER_BYTES,
    TABLE_LEAF,
    Flaw,
    rows,
)
from module_gateway.module_handler.page_images import (
    PAGE_BYTES,
    Bytes,
    Finding,
    Image,
    PageImages,
)
from module_gateway.module_handler.records import Record

MAX_FINDINGS: Final = 10_000
"""More are counted, not kept: a report is for people."""

MAX_PAGES: Final = 2**24
"""64 GiB; a number of pages beyond is not believed."""

_MAP_ENTRIES: Final = PAGE_BYTES // 5
"""A pointer map page describes so many pages behind it (Database File Format, 1.7)."""
_LOCK_PAGE: Final = 2**30 // PAGE_BYTES + 1
"""Holds the byte at 1 GiB that locks are taken on; never used."""
_ROOT, _FREE, _OVERFLOW_FIRST, _OVERFLOW_NEXT, _BTREE = range(1, 6)
"""Kinds in a pointer map."""

_MAGIC: Final = b"SQLite format 3\x00"
_EXPECTED_HEADER: Final = (
    (0, _MAGIC),
    (16, PAGE_BYTES.to_bytes(2, "big")),
    (18, b"\x02\x02\x00\x40\x20\x20"),
    (44, b"\x00\x00\x00\x04"),
    (56, b"\x00\x00\x00\x01"),
    (64, b"\x00\x00\x00\x01"),
    (72, bytes(20)),
)
"""What is the same in the header of every store (Database File Format, 1.3): format, page size,
WAL, payload fractions, schema format, UTF-8, incremental vacuum, nothing reserved."""


class Salvage:
    """What the files of a store hold.

    Attributes:
        findings: what is not as it was written, at most `MAX_FINDINGS`; complete once `records`
            has been read to its end.
        more_findings: how many there are beyond.
    """

    def __init__(self, database: Bytes, log: Bytes, index: Bytes = b"") -> None:
        """Begin with the files' content; `index` is the `-shm` file."""
        self._images = PageImages(database, log, index)
        self.findings: list[Finding] = list(self._images.findings)
        self.more_findings = 0
        self._free, self._doubtful = self._free_pages()

    def records(self) -> Iterator[Record]:
        """All that are intact.

        The same thing may come more than once; the last one is the newest, as far as anybody
        can tell.
        """
        self._check_header()
        for page in sorted(self._doubtful):
            image = self._images.newest(page)
            if image is not None:
                yield from self._rows(image)
        for image in self._images.images():
            if image.page in {1, _LOCK_PAGE} or _is_map(image.page):
                continue
            if image.is_certain and image.page in self._free | self._doubtful:
                continue
            yield from self._rows(image)

    def has_application(self, application_id: int) -> bool:
        """Whether the header, as far as there is one, says that the database is this program's."""
        first = self._images.newest(1)
        header = self._images.beginning() if first is None else bytes(first.content[:72])
        wanted = application_id.to_bytes(4, "big")
        return header[:16] == _MAGIC[: len(header)] and header[68:] in {wanted, b""}

    def close(self) -> None:
        """Let go of the files' content."""
        self._images.close()

    def _rows(self, image: Image) -> Iterator[Record]:
        kind = image.content[0]
        if kind == TABLE_LEAF:
            for found in rows(image.content, self._overflow):
                if not isinstance(found, Flaw):
                    yield found
                elif image.page <= self._images.pages:
                    self._find(image, found.offset, found.reason)
        elif kind not in BTREE_TYPES and image.is_certain:
            expected = self._mapped(image.page)
            if expected not in {_OVERFLOW_FIRST, _OVERFLOW_NEXT}:
                self._find(image, 0, f"page of unknown type {kind}: its rows are lost")

    def _overflow(self, page: int) -> Bytes | None:
        image = self._images.newest(page)
        return None if image is None or page == 1 else image.content

    def _mapped(self, page: int) -> int:
        """What the pointer map says of a page, 0 when it says nothing."""
        map_page = (page - 2) // (_MAP_ENTRIES + 1) * (_MAP_ENTRIES + 1) + 2
        image = self._images.newest(map_page)
        if image is None or page <= map_page:
            return 0
        return image.content[(page - map_page - 1) * 5]

    def _free_pages(self) -> tuple[frozenset[int], frozenset[int]]:
        """Pages that are free, and those of which only the list or only the map says so."""
        first = self._images.newest(1)
        if first is None:
            return frozenset(), frozenset()
        trunk, count = struct.unpack_from(">II", first.content, 32)
        listed: set[int] = set()
        while trunk and len(listed) <= count:
            image = self._images.newest(trunk)
            if image is None or trunk in listed:
                self._find(first, 32, "the list of free pages is damaged")
                break
            listed.add(trunk)
            trunk, leaves = struct.unpack_from(">II", image.content)
            leaves = min(leaves, PAGE_BYTES // 4 - 2)
            listed.update(struct.unpack_from(f">{leaves}I", image.content, 8))
        if len(listed) != count:
            self._find(first, 36, f"{len(listed)} pages are listed as free instead of {count}")
        pages = range(2, self._images.pages + 1)
        if len(pages) > MAX_PAGES:
            pages = range(0)
        mapped = {page for page in pages if not _is_map(page) and self._mapped(page) == _FREE}
        doubtful = listed ^ mapped
        for page in sorted(doubtful)[:MAX_FINDINGS]:
            self._find(first, 32, f"page {page} is free only by half of the accounts")
        return frozenset(listed & mapped), frozenset(doubtful)

    def _check_header(self) -> None:
        first = self._images.newest(1)
        if first is None:
            return
        for offset, expected in _EXPECTED_HEADER:
            if bytes(first.content[offset : offset + len(expected)]) != expected:
                self._find(first, offset, "the header of the database is damaged")
        if first.content[FILE_HEADER_BYTES] not in BTREE_TYPES:
            self._find(first, FILE_HEADER_BYTES, "the list of tables is damaged")

    def _find(self, image: Image, offset: int, reason: str) -> None:
        if len(self.findings) >= MAX_FINDINGS:
            self.more_findings += 1
            return
        self.findings.append(Finding(image.part, image.offset + offset, image.page, reason))


def _is_map(page: int) -> bool:
    return page >= 2 and (page - 2) % (_MAP_ENTRIES + 1) == 0  # noqa: PLR2004 - the first map
