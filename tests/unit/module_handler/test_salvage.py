"""Everything intact is found without SQLite, and what is not is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.page_images import PAGE_BYTES, Part
from module_gateway.module_handler.records import LogNamed, Record, StoreNamed
from module_gateway.module_handler.salvage import Salvage
from module_gateway.module_handler.store import DeviceStored, EntriesTrimmed, LeaseStored
from module_gateway.module_handler.store_files import companions
from module_gateway.module_handler.store_schema import APPLICATION_ID, write_back
from tests.unit.module_handler.store_rig import A, B, Parts, entry


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = Parts(tmp_path)
    yield parts
    parts.writer.close()


def files(parts: Parts) -> list[bytes]:
    return [each.read_bytes() for each in companions(parts.path)]


def salvaged(*contents: bytes) -> tuple[list[Record], list[str]]:
    salvage = Salvage(*contents)
    records = list(salvage.records())
    return records, [each.reason for each in salvage.findings]


def numbers(records: list[Record]) -> list[int]:
    return [each.sequence for each in records if isinstance(each, Entry)]


def test_every_record_is_found_in_the_log_and_in_the_database(parts: Parts) -> None:
    large = Entry(301, A, bytes(range(256)) * 60)
    lease = LeaseStored(0, 1, frozenset({7}), is_exposed=True)
    parts.append(*(entry(each, (A, B)[each % 2]) for each in range(1, 301)), large)
    parts.commit(DeviceStored(A.identity), lease)
    for step in ("log", "database"):
        records, findings = salvaged(*files(parts))
        assert ([], [*range(1, 302)]) == (findings, numbers(records)), step
        assert {large, lease, DeviceStored(A.identity), StoreNamed(77, 1_000_000)} <= set(records)
        assert 2 == sum(isinstance(each, LogNamed) for each in records)
        write_back(parts.connection)


def test_deleted_rows_and_free_pages_do_not_come_back(parts: Parts) -> None:
    parts.append(*(entry(each) for each in range(1, 2_001)))
    parts.commit(EntriesTrimmed(A.identity, 1_990))
    parts.tidy()
    write_back(parts.connection)
    records, findings = salvaged(*files(parts))
    assert ([], [*range(1_991, 2_001)]) == (findings, numbers(records))


def test_a_damaged_page_costs_its_own_rows(parts: Parts) -> None:
    parts.append(*(entry(each) for each in range(1, 1_001)))
    write_back(parts.connection)
    database = bytearray(files(parts)[0])
    page = database.index(b"s500") // PAGE_BYTES
    database[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = bytes(PAGE_BYTES)
    records, findings = salvaged(bytes(database), b"")
    assert ["page of unknown type 0: its rows are lost"] == findings
    assert 500 not in numbers(records)
    assert 900 < len(numbers(records)) < 1_000


def test_a_damaged_header_costs_nothing(parts: Parts) -> None:
    parts.append(*(entry(each) for each in range(1, 101)))
    write_back(parts.connection)
    database = bytearray(files(parts)[0])
    database[:100] = bytes(100)
    records, findings = salvaged(bytes(database), b"")
    assert [*range(1, 101)] == numbers(records)
    assert "the header of the database is damaged" in findings
    assert not Salvage(bytes(database), b"").has_application(APPLICATION_ID)
    assert Salvage(*files(parts)).has_application(APPLICATION_ID)


def test_findings_say_where(parts: Parts) -> None:
    parts.append(*(entry(each) for each in range(1, 101)))
    write_back(parts.connection)
    database = bytearray(files(parts)[0])
    at = database.index(b"s100")
    database[at] ^= 0x80
    salvage = Salvage(bytes(database), b"")
    list(salvage.records())
    (finding,) = salvage.findings
    assert (Part.DATABASE, at // PAGE_BYTES + 1) == (finding.part, finding.page)
    assert 0 < at - finding.offset < 100


@pytest.mark.parametrize("length", [1, 15, 16, 60, 68, 72, 100, 4_000])
def test_the_beginning_of_a_store_is_known_for_ours(parts: Parts, length: int) -> None:
    write_back(parts.connection)
    beginning = files(parts)[0][:length]
    assert Salvage(beginning, b"").has_application(APPLICATION_ID)
    assert not Salvage(b"x" * length, b"").has_application(APPLICATION_ID)
    other = beginning.replace(b"MGht", b"none")
    assert (length < 72) == Salvage(other, b"").has_application(APPLICATION_ID)


@pytest.mark.parametrize("content", [b"", b"x", bytes(PAGE_BYTES), b"\x0d" * 3 * PAGE_BYTES])
def test_nothing_comes_out_of_nothing(content: bytes) -> None:
    records, findings = salvaged(content, b"")
    assert [] == records
    assert [] != findings
