"""`check` finds what is damaged and says where, and never cries wolf beside a running handler."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from module_gateway.module_handler.buffer import inspection
from module_gateway.module_handler.buffer.inspection import Inspection, check_text, inspect
from module_gateway.module_handler.page_images import PAGE_BYTES, Finding, Part
from module_gateway.module_handler.records import encode
from module_gateway.module_handler.sqlite_store import SqliteStore
from module_gateway.module_handler.store import EntriesTrimmed, EntryAppended
from module_gateway.protocol.errors import StoreError
from tests.unit.module_handler.buffer.stores import A, B, appended, committed, entry, store_at

COUNT = 300


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return store_at(tmp_path)


async def fill(path: Path) -> None:
    await committed(path, *appended(entry(n, A if n % 2 else B) for n in range(1, COUNT + 1)))


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def position(path: Path, number: int) -> int:
    """Where an entry's record begins in the file; a root that was split has left copies."""
    framed = encode(entry(number, A if number % 2 else B))
    return path.read_bytes().rindex(framed)


async def test_a_sound_store_has_no_findings(path: Path) -> None:
    await fill(path)
    found = inspect(path, is_running=False)
    assert ([], 0, COUNT) == (found.findings, found.more, found.entries)
    assert COUNT + 3 <= found.records, "the store's name and two logs"
    assert found.report()["ok"] is True


async def test_a_flipped_bit_is_found_where_it_is(path: Path) -> None:
    await fill(path)
    at = position(path, 77) + 20
    flip(path, at)
    found = inspect(path, is_running=False)
    assert COUNT - 1 == found.entries
    (finding,) = found.findings
    assert (Part.DATABASE, at // PAGE_BYTES + 1) == (finding.part, finding.page)
    assert at - 60 < finding.offset <= at
    assert "wrong CRC" in finding.reason
    report = found.report()
    assert (False, "database", finding.offset) == (
        report["ok"],
        report["findings"][0]["part"],
        report["findings"][0]["offset"],
    )


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE entries SET time_unix_ms = 5 WHERE sequence = 7", "its record"),
        ("UPDATE entries SET module = 8 WHERE sequence = 7", "its record"),
        ("UPDATE entries SET size_bytes = 1 WHERE sequence = 7", "its record"),
        ("UPDATE entries SET log = 3 - log WHERE sequence = 7", "is in the log of 7/0/b"),
        ("UPDATE entries SET log = 99 WHERE sequence = 7", "is in the log of None"),
    ],
)
async def test_columns_that_do_not_say_what_the_record_says_are_found(
    path: Path, statement: str, said: str
) -> None:
    await fill(path)
    change(path, statement)
    (finding,) = inspect(path, is_running=False).findings
    assert said in finding.reason
    assert position(path, 7) == finding.offset
    assert finding.offset // PAGE_BYTES + 1 == finding.page


async def test_records_in_the_wrong_place_are_found(path: Path) -> None:
    await fill(path)
    change(path, "UPDATE entries SET record = (SELECT record FROM logs) WHERE sequence = 7")
    change(path, "UPDATE logs SET trimmed_to = 3 WHERE log = 1")
    reasons = " ".join(each.reason for each in inspect(path, is_running=False).findings)
    assert "entry 7 is a LogNamed" in reasons
    assert "log 1 up to 3 has the record" in reasons


async def test_numbers_that_were_never_given_out_are_found(path: Path) -> None:
    far = entry(10**12)
    await committed(path, *appended([entry(1)]))
    values = f"{far.sequence}, {far.sequence >> 12}, 7, 1, {far.size_bytes}, {far.time_unix_ms}"
    change(path, f"INSERT INTO entries VALUES ({values}, x'{encode(far).hex()}')")
    (finding,) = inspect(path, is_running=False).findings
    assert f"entry {far.sequence} is out of order" in finding.reason


async def test_a_damaged_index_is_found(path: Path) -> None:
    await fill(path)
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = 'entries_by_log'"
        (root,) = connection.execute(query).fetchone()
    flip(path, (root - 1) * PAGE_BYTES + PAGE_BYTES - 4)
    found = inspect(path, is_running=False)
    assert COUNT == found.entries, "the entries themselves are sound"
    assert found.findings


async def test_a_damaged_write_ahead_log_is_found(path: Path, tmp_path: Path) -> None:
    store = SqliteStore(path, "process")
    await store.load()
    for number in range(1, 30):
        await store.commit([EntryAppended(entry(number))])
    shutil.copytree(path.parent, tmp_path / "copy")
    await store.close()
    log = tmp_path / "copy" / "handler.db-wal"
    flip(log, log.stat().st_size // 2)
    found = inspect(tmp_path / "copy" / "handler.db", is_running=False)
    assert Part.LOG in {each.part for each in found.findings}
    assert all(each.offset <= log.stat().st_size for each in found.findings)


async def test_a_file_that_was_cut_off_gives_what_is_left(path: Path) -> None:
    await fill(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    found = inspect(path, is_running=False)
    assert 0 < found.entries < COUNT
    assert found.findings


async def test_beside_a_handler_that_writes_all_is_sound(path: Path) -> None:
    await fill(path)
    store = SqliteStore(path, "process")
    await store.load()
    number, found = COUNT, list[Inspection]()
    for _ in range(4):
        check = asyncio.create_task(asyncio.to_thread(inspect, path, is_running=True))
        while not check.done():
            number += 1
            await store.commit([EntryAppended(entry(number))])
            await store.commit([EntriesTrimmed(A.identity, number - 50)])
        found.append(await check)
    await store.close()
    assert [[]] * 4 == [each.findings for each in found]
    assert all(each.entries for each in found)


async def test_beside_a_handler_damage_is_found_where_it_is(path: Path) -> None:
    await fill(path)
    store = SqliteStore(path, "process")
    await store.load()
    at = position(path, 77) + 20
    flip(path, at)
    found = inspect(path, is_running=True)
    await store.close()
    (finding,) = found.findings
    assert (at - 20, at // PAGE_BYTES + 1) == (finding.offset, finding.page)
    assert "entry 77: a record is damaged: wrong CRC" == finding.reason
    assert COUNT - 1 == found.entries


async def test_a_log_that_looks_torn_beside_a_handler_is_read_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(path)
    torn = [Finding(Part.LOG, 0, 0, "torn")]
    looks: list[list[Finding]] = [torn, [], torn, torn, torn]
    monkeypatch.setattr(inspection, "PageImages", lambda *_: SimpleNamespace(findings=looks.pop(0)))
    assert [] == inspect(path, is_running=True).findings
    assert torn == inspect(path, is_running=True).findings


async def test_what_sqlite_cannot_read_is_a_finding(path: Path) -> None:
    await fill(path)
    change(path, "DROP TABLE verdicts")
    reasons = [each.reason for each in inspect(path, is_running=False).findings]
    assert any("no such table: verdicts" in reason for reason in reasons)


def test_what_is_no_store_is_said_to_be_none(path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store"):
        inspect(path, is_running=False)
    path.parent.mkdir()
    path.write_bytes(b"something else " * 1_000)
    with pytest.raises(StoreError, match="no store of a module gateway"):
        inspect(path, is_running=False)


def test_people_read_a_line_per_finding() -> None:
    found = Inspection(records=7, entries=5)
    found.find(Finding(Part.DATABASE, 4_200, 2, "wrong \x1b CRC"))
    found.find(Finding(Part.LOG, 0, 0, "the header"))
    found.more = 1_000
    assert check_text(found.report()) == (
        "database offset 4200 (page 2): wrong \\x1b CRC\n"
        "log offset 0: the header\n"
        "and 1,000 more\n"
        "7 records are intact, 5 of them entries\n"
    )


def test_findings_beyond_the_bound_are_counted() -> None:
    found = Inspection()
    for _ in range(inspection.MAX_FINDINGS + 3):
        found.find(Finding(Part.DATABASE, 0, 0, ""))
    assert (inspection.MAX_FINDINGS, 3) == (len(found.findings), found.more)
