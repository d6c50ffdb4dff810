"""Pages and summaries of the SQLite store, and what they refuse to believe."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from module_gateway.module_handler.records import RecordError, encode
from module_gateway.module_handler.store import (
    DeviceStored,
    EntriesTrimmed,
    LeaseStored,
    StreamQuery,
)
from module_gateway.module_handler.store_reader import MAX_EXTENTS, merged
from tests.unit.module_handler.store_rig import A, B, C, Parts, entry, summary


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = Parts(tmp_path)
    yield parts
    parts.writer.close()


@pytest.mark.parametrize("groups", [1, 2, MAX_EXTENTS, MAX_EXTENTS + 1, 1_000])
def test_extents_are_few_and_lose_nothing(groups: int) -> None:
    extents = merged([(at, 10 * at, 100 * at, 1_000 * at) for at in range(1, groups + 1)])
    assert MAX_EXTENTS >= len(extents)
    assert groups * (groups + 1) // 2 == sum(extent.entries for extent in extents)
    assert groups * (groups + 1) * 5 == sum(extent.size_bytes for extent in extents)
    assert (100 * groups, 1_000 * groups) == (
        extents[-1].last_sequence,
        extents[-1].time_unix_ms,
    )


def test_a_summary_counts_what_a_mark_leaves_of_a_group(parts: Parts) -> None:
    parts.append(*(entry(each, (A, B)[each % 2]) for each in range(1, 10_001)))
    parts.commit(EntriesTrimmed(A.identity, 5_000), EntriesTrimmed(B.identity, 6_001, 4_001))
    a, b = summary(parts)["a"], summary(parts)["b"]
    assert (10_000, 2_500, 9_999, 3_999) == (*a[:2], *b[:2])
    assert sum(entry(each).size_bytes for each in range(5_002, 10_001, 2)) == a[2]


def test_R18_a_stretch_is_hidden_before_it_is_deleted(parts: Parts) -> None:
    parts.append(*(entry(each) for each in range(1, 301)))
    parts.commit(EntriesTrimmed(A.identity, 200, first_sequence=101))
    left = [*range(1, 101), *range(201, 301)]
    assert (300, left, left) == (parts.rows(), parts.numbers(), parts.of(A))
    assert (300, 200, sum(entry(each).size_bytes for each in left)) == summary(parts)["a"]


def test_modules_that_are_absent_from_a_part_of_the_outbox_cost_nothing(parts: Parts) -> None:
    parts.append(entry(1, C), *(entry(each) for each in range(2, 20_000)), entry(20_000, C))
    read: list[str] = []
    parts.connection.set_trace_callback(read.append)
    query = StreamQuery(0, 0, 0, frozenset({8}), 0, 2**62, 10)
    assert [1, 20_000] == parts.numbers(query)
    parts.connection.set_trace_callback(None)
    assert 2 == len([text for text in read if "NOT INDEXED" in text])


def test_pages_and_summaries_use_the_index(parts: Parts) -> None:
    parts.append(entry(1))
    plan = parts.connection.execute(
        "EXPLAIN QUERY PLAN SELECT segment, log, count(*), sum(size_bytes), max(sequence),"
        " time_unix_ms FROM entries INDEXED BY entries_by_log GROUP BY segment, module, log"
    ).fetchall()
    assert ["SCAN entries USING COVERING INDEX entries_by_log"] == [row[3] for row in plan]


OTHER = encode(LeaseStored(5, 1, frozenset(), is_exposed=False))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE store SET record = :other",
        "DELETE FROM store",
        "UPDATE logs SET record = :other",
        "UPDATE logs SET trimmed_to = trimmed_to + 1",
        "DELETE FROM logs",
        "UPDATE devices SET record = :other",
        "UPDATE leases SET endpoint = 3",
        "UPDATE devices SET record = x'00'",
        "INSERT INTO verdicts VALUES (1, 1, :other)",
    ],
)
def test_a_start_believes_no_row_that_contradicts_its_record(parts: Parts, statement: str) -> None:
    parts.append(entry(1))
    parts.commit(DeviceStored(A.identity), LeaseStored(1, 1, frozenset(), is_exposed=True))
    parts.connection.execute(statement, {"other": OTHER})
    with pytest.raises(RecordError):
        parts.writer.load()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET record = substr(record, 2)",
        "UPDATE entries SET record = :other",
        "UPDATE entries SET sequence = 5",
        "UPDATE entries SET module = 8",
    ],
)
def test_a_page_believes_no_row_that_contradicts_its_record(parts: Parts, statement: str) -> None:
    parts.append(entry(1))
    parts.connection.execute(statement, {"other": OTHER})
    with pytest.raises(RecordError):
        parts.numbers()
    assert not parts.connection.in_transaction


def test_a_page_is_of_one_moment(parts: Parts) -> None:
    parts.append(entry(1))
    parts.connection.execute("BEGIN")
    with pytest.raises(sqlite3.OperationalError):
        parts.numbers()
