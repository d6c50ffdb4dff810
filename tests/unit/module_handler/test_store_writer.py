"""What a commit costs and leaves, and what it does when it fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from module_gateway.module_handler.records import StoreNamed, decode
from module_gateway.module_handler.store import (
    DeviceForgotten,
    DeviceStored,
    EntriesFolded,
    EntriesTrimmed,
    EntryAppended,
    LogQuery,
)
from module_gateway.module_handler.store_writer import (
    CEILING_STEP,
    LOG_PAGES,
    MOST_AT_ONCE,
    MOST_PER_COMMIT,
    MOST_SEGMENTS,
)
from module_gateway.protocol.identity import Device
from tests.unit.module_handler.store_rig import A, B, Parts, entry, summary


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = Parts(tmp_path)
    yield parts
    parts.writer.close()


def test_few_acknowledged_entries_are_deleted_with_the_commit(parts: Parts) -> None:
    parts.append(*(entry(each) for each in range(1, MOST_AT_ONCE + 2)))
    parts.commit(EntriesTrimmed(A.identity, MOST_AT_ONCE))
    assert (1, False) == (parts.rows(), parts.writer.has_leisure_work)


def test_many_acknowledged_entries_are_marked_and_deleted_later(parts: Parts) -> None:
    parts.append(*(entry(each) for each in range(1, MOST_AT_ONCE + 3)))
    parts.commit(EntriesTrimmed(A.identity, MOST_AT_ONCE + 1))
    assert (MOST_AT_ONCE + 2, [MOST_AT_ONCE + 2]) == (parts.rows(), parts.numbers())
    assert parts.writer.has_leisure_work
    parts.tidy()
    assert (1, [MOST_AT_ONCE + 2]) == (parts.rows(), parts.numbers())


def test_entries_that_lie_far_apart_are_marked(parts: Parts) -> None:
    parts.append(entry(1), entry(4_096 * (MOST_SEGMENTS + 1)), entry(10**9))
    parts.commit(EntriesTrimmed(A.identity, 4_096 * (MOST_SEGMENTS + 1)))
    assert (3, [10**9]) == (parts.rows(), parts.numbers())


def test_one_commit_deletes_only_so_many(parts: Parts) -> None:
    devices = [Device.of(7, 0, f"d{each}") for each in range(MOST_PER_COMMIT // 50 + 10)]
    numbered = [(who, at * 50 + n + 1) for at, who in enumerate(devices) for n in range(50)]
    parts.append(*(entry(number, who) for who, number in numbered))
    parts.commit(*(EntriesTrimmed(who.identity, 10**6) for who in devices))
    assert [] == parts.numbers()
    assert 0 < parts.rows() < len(numbered) - MOST_PER_COMMIT + 1
    parts.tidy()
    assert 0 == parts.rows()


def test_a_trim_beyond_the_last_number_does_not_reach_later_entries(parts: Parts) -> None:
    parts.append(*(entry(each) for each in range(1, 200)))
    parts.commit(EntriesTrimmed(A.identity, 10_000))
    parts.append(entry(200))
    assert [200] == parts.numbers()


def test_marks_survive_a_restart_and_are_worked_off_then(parts: Parts) -> None:
    parts.append(*(entry(each, (A, B)[each % 2]) for each in range(1, 801)))
    parts.commit(EntriesTrimmed(A.identity, 600), EntriesTrimmed(B.identity, 601, 201))
    expected = parts.numbers()
    parts.again()
    assert (expected, True) == (parts.numbers(), parts.writer.has_leisure_work)
    parts.tidy()
    assert (len(expected), expected) == (parts.rows(), parts.numbers())
    assert 0 == parts.rows("stretches")


def test_the_last_number_is_known_when_its_entry_is_marked_and_gone(parts: Parts) -> None:
    parts.append(*(entry(each) for each in range(1, 200)))
    parts.commit(EntriesTrimmed(A.identity, 199))
    parts.tidy()
    assert (0, 199) == (parts.rows(), parts.writer.load().state.last_sequence)
    parts.again()
    assert 199 == parts.again().load().state.last_sequence


def test_a_log_that_nobody_needs_is_forgotten_at_the_start(parts: Parts) -> None:
    parts.append(entry(1), entry(2, B))
    parts.commit(EntriesTrimmed(A.identity, 1))
    assert 2 == parts.rows("logs")
    assert 2 == parts.again().load().state.last_sequence
    parts.append(entry(3, B))
    assert 1 == parts.rows("logs")
    parts.append(entry(4))
    assert ([4], [2, 3]) == (parts.of(A), parts.of(B))


def test_a_fold_after_its_acknowledgement_still_stands(parts: Parts) -> None:
    parts.append(*(entry(each) for each in range(1, 201)))
    parts.commit(EntriesTrimmed(A.identity, 150))
    fold = entry(100)._replace(error=b"e", first_sequence=1)
    parts.commit(EntriesFolded(fold))
    assert (fold, entry(151)) == parts.read(LogQuery(A.identity, 2)).entries
    assert (200, 51, summary(parts)["a"][2]) == summary(parts)["a"]


def test_a_fold_inside_an_acknowledged_stretch_still_stands(parts: Parts) -> None:
    parts.append(*(entry(each) for each in range(1, 301)))
    parts.commit(EntriesTrimmed(A.identity, 200, first_sequence=101))
    fold = entry(150)._replace(error=b"e", first_sequence=1)
    parts.commit(EntriesFolded(fold))
    assert [150, *range(201, 301)] == parts.of(A)


def test_only_the_newest_of_several_states_is_written(parts: Parts) -> None:
    changes = parts.connection.total_changes
    parts.commit(*[DeviceStored(A.identity)] * 50, DeviceForgotten(B.identity))
    assert 1 == parts.connection.total_changes - changes
    parts.commit(DeviceStored(B.identity), DeviceForgotten(B.identity))
    assert 1 == parts.rows("devices")


def test_a_row_of_a_device_is_used_again_by_nobody_else(parts: Parts) -> None:
    parts.commit(DeviceStored(A.identity), DeviceStored(B.identity))
    parts.commit(DeviceForgotten(A.identity))
    parts.commit(DeviceStored(A.identity))
    assert {A.identity, B.identity} == {d.identity for d in parts.writer.load().state.devices}


def test_a_commit_that_fails_leaves_nothing_and_the_next_one_is_right(parts: Parts) -> None:
    parts.append(entry(1))
    parts.connection.execute("CREATE TEMP TRIGGER no BEFORE INSERT ON leases BEGIN SELECT 1; END")
    parts.connection.execute(
        "CREATE TEMP TRIGGER refuse BEFORE INSERT ON devices BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    with pytest.raises(sqlite3.IntegrityError, match="no"):
        parts.commit(EntryAppended(entry(2, B)), DeviceStored(A.identity))
    assert ([1], False) == (parts.numbers(), parts.connection.in_transaction)
    parts.connection.execute("DROP TRIGGER refuse")
    parts.commit(EntryAppended(entry(2, B)), DeviceStored(A.identity))
    assert ([2], 2) == (parts.of(B), parts.rows("logs"))


def ceiling(parts: Parts) -> int:
    record = decode(parts.connection.execute("SELECT record FROM store").fetchone()[0])
    assert isinstance(record, StoreNamed)
    return record.ceiling


def test_numbers_are_always_well_below_the_ceiling(parts: Parts) -> None:
    parts.append(entry(1))
    assert CEILING_STEP == ceiling(parts)
    parts.append(entry(CEILING_STEP // 2 + 1))
    assert CEILING_STEP // 2 + 1 + CEILING_STEP == ceiling(parts)
    parts.append(entry(10 * CEILING_STEP))
    assert 11 * CEILING_STEP == ceiling(parts)
    assert 77 == parts.again().load().store_id


def test_the_log_is_said_to_be_long_once_in_a_while(parts: Parts) -> None:
    assert not parts.writer.is_log_long()
    parts.append(*(entry(each) for each in range(1, LOG_PAGES + 1)))
    assert [True, False] == [parts.writer.is_log_long(), parts.writer.is_log_long()]
    parts.append(entry(LOG_PAGES + 1)._replace(status=bytes(LOG_PAGES * 4_096)))
    assert [True, False] == [parts.writer.is_log_long(), parts.writer.is_log_long()]
