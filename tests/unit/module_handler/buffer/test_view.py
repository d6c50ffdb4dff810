"""The store's file seen from outside: what waits, and nothing else."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from module_gateway.module_handler.buffer.figures import DeviceFigures
from module_gateway.module_handler.buffer.selection import Selection
from module_gateway.module_handler.buffer.view import (
    PAGE_ENTRIES,
    SCAN_ENTRIES,
    Chosen,
    Damaged,
    Stretch,
    open_view,
    store_path,
)
from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.sqlite_store import SqliteStore
from module_gateway.module_handler.store import EntriesFolded, EntriesTrimmed, EntryAppended
from module_gateway.protocol.errors import ConfigError, StoreError
from tests.unit.module_handler.buffer.stores import (
    NOW,
    OTHER,
    A,
    B,
    C,
    appended,
    committed,
    entry,
    store_at,
)

ALL = Selection()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return store_at(tmp_path)


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def numbers(path: Path, selection: Selection = ALL) -> list[int]:
    with open_view(path) as view:
        return [each.sequence for each in view.entries(selection)]


def test_the_store_has_its_place_in_the_state_folder(tmp_path: Path, path: Path) -> None:
    assert path == store_path(tmp_path)


async def test_an_empty_store_has_nothing(path: Path) -> None:
    store_id = await committed(path)
    with open_view(path) as view:
        assert store_id == view.store_id
        assert [] == view.figures(NOW)
        assert Chosen((), 0, 0, 0) == view.choose(ALL)
    assert [] == numbers(path)


async def test_figures_are_those_of_what_waits(path: Path) -> None:
    a = [entry(1, A, 900), entry(2, A, 299), entry(4, A, 1)]
    await committed(path, *appended([*a[:2], entry(3, B, 400), a[2]]))
    with open_view(path) as view:
        first, second = view.figures(NOW)
    size_bytes = a[0].size_bytes
    assert first == DeviceFigures(
        A.identity, 3, 3 * size_bytes, NOW - 900_000, NOW - 1_000, 2, 2 * size_bytes
    )
    assert (B.identity, 1, 0) == (second.identity, second.entries, second.recent_entries)


async def test_what_is_acknowledged_does_not_wait(path: Path) -> None:
    """Whether it is deleted already or not: that follows behind the acknowledgement."""
    entries = [entry(number, A if number % 2 else B) for number in range(1, 13)]
    await committed(path, *appended(entries))
    change(path, "UPDATE logs SET trimmed_to = 3 WHERE log = 1")
    change(path, "INSERT INTO stretches VALUES (1, 2, 6, 8, x'00')")
    assert [2, 4, 5, 7, 9, 10, 11, 12] == numbers(path)
    with open_view(path) as view:
        assert [4, 4] == [each.entries for each in view.figures(NOW)]
        assert 8 == view.choose(ALL).entries
        assert 8 == view.choose(Selection(since_unix_ms=0)).entries


async def test_a_fold_stands_for_what_it_covers(path: Path) -> None:
    fold = Entry(2, A, b"s", error=b"e", first_sequence=1)
    await committed(path, *appended(entry(number) for number in (1, 2, 3)), EntriesFolded(fold))
    with open_view(path) as view:
        assert [fold, entry(3)] == list(view.entries(ALL))


async def test_a_running_handler_does_not_mind_and_is_seen(path: Path) -> None:
    store = SqliteStore(path)
    await store.load()
    await store.commit([EntryAppended(entry(1))])
    with open_view(path) as view:
        assert 1 == len(view.figures(NOW))
        await store.commit([EntryAppended(entry(2))])
        assert 2 == view.figures(NOW)[0].entries
        found = view.entries(ALL)
        next(found)
        await store.commit([EntriesTrimmed(A.identity, 2)])
    await store.close()


async def test_a_page_after_the_other_gives_everything_in_order(path: Path) -> None:
    count = 2 * PAGE_ENTRIES + 1
    await committed(path, *appended(entry(n, A if n % 3 else B) for n in range(1, count + 1)))
    assert list(range(1, count + 1)) == numbers(path)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(frozenset({8})), [3]),
        (Selection(devices=frozenset({A.identity, B.identity})), [1, 2]),
        (Selection(since_unix_ms=NOW - 20_000), [2, 3]),
        (Selection(before_unix_ms=NOW - 20_000), [1]),
        (Selection(frozenset({7}), since_unix_ms=NOW - 20_000), [2]),
    ],
)
async def test_a_selection_means_the_same_to_both_readers(
    path: Path, selection: Selection, expected: list[int]
) -> None:
    await committed(path, *appended([entry(1, A, 30), entry(2, B, 20), entry(3, OTHER, 10)]))
    assert expected == numbers(path, selection)
    with open_view(path) as view:
        chosen = view.choose(selection)
    assert (len(expected), len(expected)) == (chosen.entries, chosen.devices)


async def test_a_whole_log_is_one_stretch_from_its_beginning(path: Path) -> None:
    await committed(path, *appended([entry(1), entry(2, B), entry(3)]))
    with open_view(path) as view:
        chosen = view.choose(Selection(frozenset({7})))
    assert {Stretch(A.identity, 0, 3), Stretch(B.identity, 0, 2)} == set(chosen.stretches)
    assert 3 * entry(1).size_bytes == chosen.size_bytes


async def test_entries_that_are_not_old_enough_are_in_no_stretch(path: Path) -> None:
    ages = {1: 90, 2: 10, 3: 95, 4: 80, 5: 5, 6: 70}
    entries = [entry(number, A, age) for number, age in ages.items()]
    await committed(path, *appended([*entries, entry(7, C, 1), entry(8, B, 99)]))
    with open_view(path) as view:
        chosen = view.choose(Selection(before_unix_ms=NOW - 60_000))
    assert {
        Stretch(A.identity, 0, 1),
        Stretch(A.identity, 3, 4),
        Stretch(A.identity, 6, 6),
        Stretch(B.identity, 0, 8),
    } == set(chosen.stretches)
    assert (2, 5) == (chosen.devices, chosen.entries)


async def test_a_choice_by_time_reads_on_behind_its_first_look(path: Path) -> None:
    count = SCAN_ENTRIES + 5
    await committed(path, *appended(entry(number, A, 9) for number in range(1, count + 1)))
    with open_view(path) as view:
        chosen = view.choose(Selection(before_unix_ms=NOW))
    assert ((Stretch(A.identity, 0, count),), count) == (chosen.stretches, chosen.entries)


async def test_a_damaged_entry_is_told_and_the_others_are_read(path: Path) -> None:
    await committed(path, *appended([entry(1), entry(2), entry(3)]))
    change(path, "UPDATE entries SET record = x'00' WHERE sequence = 2")
    change(path, "UPDATE entries SET record = (SELECT record FROM store) WHERE sequence = 3")
    with open_view(path) as view:
        first, second, third = view.entries(ALL)
    assert entry(1) == first
    assert isinstance(second, Damaged)
    assert isinstance(third, Damaged)
    assert (2, 3) == (second.sequence, third.sequence)
    assert "another place" in third.reason


def test_no_store_is_said_to_be_none(path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store"), open_view(path):
        pass


async def broken(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"nothing of SQLite's" * 1_000)


async def foreign(path: Path) -> None:
    path.parent.mkdir()
    change(path, "CREATE TABLE t (x)")


async def nameless(path: Path) -> None:
    await committed(path)
    change(path, "DELETE FROM store")


async def mislabelled(path: Path) -> None:
    await committed(path, *appended([entry(1)]))
    change(path, "UPDATE logs SET record = (SELECT record FROM store)")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (broken, "buffer check says what is wrong"),
        (foreign, "no store of a module gateway"),
        (nameless, "the store's id is missing"),
        (mislabelled, "stands in logs"),
    ],
)
async def test_what_cannot_be_read_is_one_sentence(
    path: Path, make: Callable[[Path], object], said: str
) -> None:
    await make(path)  # type: ignore[misc]
    with pytest.raises(StoreError, match=said), open_view(path) as view:
        view.figures(NOW)


@pytest.mark.parametrize(("version", "said"), [(9_999, "that wrote it"), (0, "start this gateway")])
async def test_another_version_says_which_command_to_use(
    path: Path, version: int, said: str
) -> None:
    await committed(path)
    change(path, f"PRAGMA user_version = {version}")
    with pytest.raises(ConfigError, match=said), open_view(path):
        pass
