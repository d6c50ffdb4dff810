"""Rows in a leaf page of a SQLite table: the last column of each is a record of the store.

Pure. Whatever the page says is checked against its bounds; nothing in it can lead outside.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from module_gateway.module_handler.page_images import PAGE_BYTES, Bytes
from module_gateway.module_handler.records import Record, RecordError, decode

TABLE_LEAF: Final = 0x0D
BTREE_TYPES: Final = frozenset({0x02, 0x05, 0x0A, 0x0D})
"""Interior and leaf pages of indexes and tables."""

HEADER_BYTES: Final = 8
FILE_HEADER_BYTES: Final = 100
"""In front of the header of page 1."""

MAX_LOCAL: Final = PAGE_BYTES - 35
MIN_LOCAL: Final = (PAGE_BYTES - 12) * 32 // 255 - 23
OVERFLOW_BYTES: Final = PAGE_BYTES - 4
"""How much of a payload lies in the leaf and in each overflow page (Database File Format, 1.6)."""

MAX_PAYLOAD_BYTES: Final = 256 * 1024 * 1024
"""No record is larger: a damaged length must not make us read the whole file."""

_FIXED_BYTES: Final = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)
"""Of the serial types 0 to 9 (Database File Format, 2.1)."""
_FIRST_BLOB: Final = 12

Overflow = Callable[[int], Bytes | None]
"""The content of an overflow page, None when there is none of that number."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something in a page that is not as it was written; `offset` is in the page."""

    offset: int
    reason: str


def rows(page: Bytes, overflow: Overflow) -> Iterator[Record | Flaw]:
    """The records of a table's leaf page that are intact, and what is wrong with the rest."""
    _, first_free, cells, start, fragments = struct.unpack_from(">BHHHB", page)
    start = start or 65_536
    pointers_end = HEADER_BYTES + 2 * cells
    if pointers_end > PAGE_BYTES:
        yield Flaw(3, f"{cells} rows do not fit into a page")
        cells = (PAGE_BYTES - HEADER_BYTES) // 2
        pointers_end = HEADER_BYTES + 2 * cells
    used_bytes, is_readable = 0, True
    last_row: int | None = None
    for number in range(cells):
        (cell,) = struct.unpack_from(">H", page, HEADER_BYTES + 2 * number)
        try:
            row, size_bytes, payload = _cell(page, cell, pointers_end, overflow)
            used_bytes += size_bytes
            if last_row is not None and row <= last_row:
                yield Flaw(cell, f"row number {row} follows {last_row}")
            last_row = row
            yield _record(payload, cell)
        except _FlawError as error:
            is_readable = False
            yield error.flaw
    if not is_readable:
        return
    free_bytes = _free_bytes(page, first_free)
    if free_bytes is None or start + used_bytes + free_bytes + fragments != PAGE_BYTES:
        yield Flaw(1, "its rows and its free space are not the whole page")


class _FlawError(Exception):
    def __init__(self, offset: int, reason: str) -> None:
        self.flaw = Flaw(offset, reason)
        super().__init__(reason)


def _cell(page: Bytes, cell: int, first: int, overflow: Overflow) -> tuple[int, int, bytes]:
    """Row number, bytes in the page, payload; `first` is where rows may begin."""
    if not first <= cell <= PAGE_BYTES - 4:
        raise _FlawError(min(cell, PAGE_BYTES), "a row lies outside of its page")
    length, at = _varint(page, cell)
    row, at = _varint(page, at)
    if length > MAX_PAYLOAD_BYTES:
        raise _FlawError(cell, f"a row of {length} bytes")
    local = length
    if length > MAX_LOCAL:
        local = MIN_LOCAL + (length - MIN_LOCAL) % OVERFLOW_BYTES
        local = local if local <= MAX_LOCAL else MIN_LOCAL
    end = at + local + (4 if local < length else 0)
    if end > PAGE_BYTES:
        raise _FlawError(cell, f"row {row} ends outside of its page")
    payload = bytes(page[at : at + local])
    if local < length:
        (following,) = struct.unpack_from(">I", page, at + local)
        payload += _chain(following, length - local, cell, overflow)
    return row, max(4, end - cell), payload


def _chain(following: int, missing: int, cell: int, overflow: Overflow) -> bytes:
    """The rest of a payload; no page can belong to it twice."""
    parts: list[bytes] = []
    seen: set[int] = {0}
    while missing > 0:
        content = None if following in seen else overflow(following)
        seen.add(following)
        if content is None:
            raise _FlawError(cell, f"{missing} bytes of a row are missing: no page {following}")
        (following,) = struct.unpack_from(">I", content)
        parts.append(bytes(content[4 : 4 + min(missing, OVERFLOW_BYTES)]))
        missing -= OVERFLOW_BYTES
    if following:
        raise _FlawError(cell, "a row has more pages than bytes")
    return b"".join(parts)


def _record(payload: bytes, cell: int) -> Record:
    """The last column: header length, serial types, values (Database File Format, 2.1)."""
    header_bytes, at = _varint(payload, 0)
    if not 0 < header_bytes <= len(payload):
        raise _FlawError(cell, "a row's header is longer than the row")
    sizes: list[int] = []
    kind = 0
    while at < header_bytes:
        kind, at = _varint(payload, at)
        sizes.append(_value_bytes(kind))
    if kind < _FIRST_BLOB or kind % 2 or header_bytes + sum(sizes) != len(payload):
        raise _FlawError(cell, "a row does not end with a record")
    try:
        return decode(payload[len(payload) - sizes[-1] :])
    except RecordError as error:
        raise _FlawError(cell, f"a record is damaged: {error.reason}") from error


def _value_bytes(kind: int) -> int:
    if kind >= _FIRST_BLOB:
        return (kind - _FIRST_BLOB) // 2
    return _FIXED_BYTES[kind] if kind < len(_FIXED_BYTES) else 0


def _varint(content: Bytes, at: int) -> tuple[int, int]:
    """A number of 1 to 9 bytes, and where it ends."""
    value = 0
    for position in range(9):
        if at + position >= len(content):
            raise _FlawError(min(at, PAGE_BYTES), "a number ends outside of its page")
        byte = content[at + position]
        if position == 8:  # noqa: PLR2004 - the ninth byte has no flag
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:  # noqa: PLR2004 - the flag of the varint
            return value, at + position + 1
    raise AssertionError


def _free_bytes(page: Bytes, first: int) -> int | None:
    """Of the chain of free blocks, which ascends; None when it is damaged."""
    total, at = 0, first
    while at:
        if at > PAGE_BYTES - 4:
            return None
        following, size_bytes = struct.unpack_from(">HH", page, at)
        if following and following <= at:
            return None
        total += size_bytes
        at = following
    return total
