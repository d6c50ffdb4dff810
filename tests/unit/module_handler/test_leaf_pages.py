"""Rows of a table's leaf page, written by SQLite, read by us; nothing in a page leads outside."""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from module_gateway.module_handler.leaf_pages import TABLE_LEAF, Flaw, rows
from module_gateway.module_handler.page_images import PAGE_BYTES, Bytes
from module_gateway.module_handler.records import Kind, NumberGiven, Record, encode


def pages_of(path: Path, sizes: list[int], deleted: tuple[int, ...] = ()) -> list[bytes]:
    """A database with a table of records of these sizes, without those rows."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, a, b, record BLOB NOT NULL)")
        connection.executemany(
            "INSERT INTO t VALUES (?, ?, NULL, ?)",
            [(row + 1, row * 1_000_003, blob(row, size)) for row, size in enumerate(sizes)],
        )
        connection.executemany("DELETE FROM t WHERE n = ?", [(row,) for row in deleted])
        connection.commit()
    content = path.read_bytes()
    return [content[at : at + PAGE_BYTES] for at in range(0, len(content), PAGE_BYTES)]


def blob(row: int, size: int) -> bytes:
    """A record with an unknown field that makes it large: it is intact all the same."""
    plain = encode(NumberGiven(row + 1))[5:]
    payload = plain + (b"\x7a" + varint(size) + bytes(size) if size else b"")
    head = bytes([Kind.NUMBER])
    return head + zlib.crc32(head + payload).to_bytes(4, "little") + payload


def varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def read(pages: list[bytes]) -> list[Record | Flaw]:
    def overflow(page: int) -> Bytes | None:
        return pages[page - 1] if 0 < page <= len(pages) else None

    return [each for page in pages[1:] if page[0] == TABLE_LEAF for each in rows(page, overflow)]


def given(*numbers: int) -> list[NumberGiven]:
    return [NumberGiven(each) for each in numbers]


@pytest.mark.parametrize("size", [0, 1, 100, 4_000, 4_040, 4_050, 4_061, 4_100, 9_000, 100_000])
def test_a_record_of_any_size_is_read(size: int, tmp_path: Path) -> None:
    assert given(1, 2, 3) == read(pages_of(tmp_path / "t.db", [size, 0, size]))


def test_rows_around_a_deleted_one_are_read(tmp_path: Path) -> None:
    found = read(pages_of(tmp_path / "t.db", [30, 40, 50, 60, 70, 80], deleted=(2, 4, 5)))
    assert given(1, 3, 6) == found


def test_every_size_about_the_limits_of_a_page_is_read(tmp_path: Path) -> None:
    sizes = [*range(470, 500), *range(4_030, 4_080), *range(8_100, 8_200, 3)]
    assert given(*range(1, len(sizes) + 1)) == read(pages_of(tmp_path / "t.db", sizes))


def test_a_missing_overflow_page_costs_its_row(tmp_path: Path) -> None:
    pages = pages_of(tmp_path / "t.db", [0, 20_000, 0])
    found = read(pages[:-1])
    assert given(1, 3) == [each for each in found if not isinstance(each, Flaw)]
    (flaw,) = [each for each in found if isinstance(each, Flaw)]
    assert "bytes of a row are missing: no page" in flaw.reason


def test_every_flipped_bit_is_noticed_or_harmless(tmp_path: Path) -> None:
    pages = pages_of(tmp_path / "t.db", [10] * 40)
    (at,) = [number for number, page in enumerate(pages) if number and page[0] == TABLE_LEAF]
    sound = read(pages)
    for position in range(0, PAGE_BYTES * 8, 7):
        damaged = bytearray(pages[at])
        damaged[position // 8] ^= 1 << position % 8
        found = read([*pages[:at], bytes(damaged), *pages[at + 1 :]])
        records = [each for each in found if not isinstance(each, Flaw)]
        assert set(records) <= set(sound)
        if len(records) < len(sound) and damaged[0] == TABLE_LEAF:
            assert len(found) > len(records), position


def test_no_page_leads_outside() -> None:
    for seed in range(200):
        look_at_noise(seed)


def look_at_noise(seed: int) -> None:
    random = Random(seed)
    page = bytearray(random.randbytes(PAGE_BYTES))
    page[0] = TABLE_LEAF
    if seed % 2:
        page[3:5] = random.randrange(200).to_bytes(2, "big")
    if seed % 3:
        for at in range(8, 400, 2):
            page[at : at + 2] = random.randrange(400, PAGE_BYTES).to_bytes(2, "big")
    found = list(rows(bytes(page), lambda _: bytes(page)))
    assert found
    assert all(isinstance(each, Flaw) for each in found)
    assert all(0 <= each.offset <= PAGE_BYTES for each in found if isinstance(each, Flaw))
