"""Acknowledged entries go in slices, and the file gets smaller."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from module_gateway.module_handler.store import EntriesTrimmed
from module_gateway.module_handler.store_schema import write_back
from module_gateway.module_handler.store_sweep import SLICE_ROWS, united
from tests.unit.module_handler.store_rig import A, B, Parts, entry


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    parts = Parts(tmp_path)
    yield parts
    parts.writer.close()


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ([], []),
        ([(3, 5)], [(3, 5)]),
        ([(6, 9), (1, 2), (3, 5)], [(1, 9)]),
        ([(1, 9), (2, 3)], [(1, 9)]),
        ([(1, 2), (4, 5)], [(1, 2), (4, 5)]),
    ],
)
def test_ranges_that_touch_are_one(
    ranges: list[tuple[int, int]], expected: list[tuple[int, int]]
) -> None:
    assert expected == united(ranges)


def test_no_slice_deletes_more_than_its_share(parts: Parts) -> None:
    parts.append(*(entry(each, (A, B)[each % 2]) for each in range(1, 4 * SLICE_ROWS)))
    parts.commit(EntriesTrimmed(A.identity, 10**6))
    counts = [parts.rows()]
    while parts.writer.has_leisure_work:
        parts.writer.tidy()
        counts.append(parts.rows())
    steps = [before - after for before, after in itertools.pairwise(counts)]
    assert SLICE_ROWS >= max(steps)
    assert [*range(1, 4 * SLICE_ROWS, 2)] == parts.numbers()
    assert len(parts.numbers()) == parts.rows()


def test_what_is_marked_during_a_sweep_is_deleted_by_the_next(parts: Parts) -> None:
    parts.append(*(entry(each) for each in range(1, 2_001)))
    parts.commit(EntriesTrimmed(A.identity, 1_000))
    parts.writer.tidy()
    parts.commit(EntriesTrimmed(A.identity, 1_900, first_sequence=1_500))
    assert 1 == parts.rows("stretches")
    parts.tidy()
    assert [*range(1_001, 1_500), *range(1_901, 2_001)] == parts.numbers()
    assert (len(parts.numbers()), 0) == (parts.rows(), parts.rows("stretches"))


def test_the_file_shrinks_when_much_is_free(parts: Parts) -> None:
    size_bytes = 200
    for first in range(1, 50_001, 5_000):
        parts.append(
            *(entry(each, B if each % 5_000 == 1 else A) for each in range(first, first + 5_000))
        )
    write_back(parts.connection)
    before = parts.path.stat().st_size
    parts.commit(EntriesTrimmed(A.identity, 10**6))
    parts.tidy()
    parts.writer.write_back()
    assert 10 == parts.rows()
    assert 50_000 * size_bytes // 4 < before
    assert 2 * 1024 * 1024 > parts.path.stat().st_size
    assert "ok" == parts.connection.execute("PRAGMA integrity_check").fetchone()[0]
