"""A new store out of records: nothing that was acknowledged comes back, no number comes twice."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from module_gateway.module_handler.command_log import Verdict
from module_gateway.module_handler.records import (
    LogNamed,
    NumberGiven,
    Record,
    StoreNamed,
    StretchTrimmed,
    VerdictGiven,
)
from module_gateway.module_handler.store import (
    DeviceStored,
    LeaseStored,
    LogQuery,
    StoredState,
)
from module_gateway.module_handler.store_reader import read_contents, read_page
from module_gateway.module_handler.store_repair import Kept, rebuild
from module_gateway.module_handler.store_schema import connect
from module_gateway.module_handler.store_writer import CEILING_STEP
from tests.unit.module_handler.store_rig import A, B, entry

NAMED = StoreNamed(77, 5_000)


def rebuilt(folder: Path, records: Iterable[Record]) -> tuple[Kept, StoredState, list[int]]:
    """What the repair says, what the new store says, and the numbers of A's entries in it."""
    path = folder / "draft.db"
    kept = rebuild(path, records)
    with closing(connect(path, is_synced=False)) as connection:
        contents = read_contents(connection)
        page = read_page(connection, LogQuery(A.identity, 10**6), contents.logs)
        assert kept.store_id == contents.store_id
        assert kept.last_sequence == contents.state.last_sequence
        assert contents.ceiling >= kept.last_sequence + CEILING_STEP // 2
    assert not path.with_name("draft.db-wal").exists()
    return kept, contents.state, [each.sequence for each in page.entries]


def test_numbers_go_on_where_none_was_ever_given_out(tmp_path: Path) -> None:
    kept, _, found = rebuilt(tmp_path, [entry(7), NAMED, NumberGiven(9)])
    assert (77, False, 5_000, [7]) == (kept.store_id, kept.has_new_id, kept.last_sequence, found)


def test_R4_without_a_ceiling_the_store_is_another_one(tmp_path: Path) -> None:
    kept, _, found = rebuilt(tmp_path, [entry(7)])
    assert (True, 7 + CEILING_STEP, [7]) == (kept.has_new_id, kept.last_sequence, found)
    assert kept.store_id not in {0, 1, 77}


def test_R4_a_ceiling_that_was_passed_is_not_believed(tmp_path: Path) -> None:
    kept, _, _ = rebuilt(tmp_path, [StoreNamed(77, 100), NumberGiven(101)])
    assert (True, 101 + CEILING_STEP) == (kept.has_new_id, kept.last_sequence)


def test_what_is_acknowledged_stays_so(tmp_path: Path) -> None:
    records = [
        *(entry(each) for each in range(1, 11)),
        LogNamed(A.identity, 3, 4),
        StretchTrimmed(A.identity, 7, 8),
        NAMED,
    ]
    kept, _, found = rebuilt(tmp_path, records)
    assert [5, 6, 9, 10] == found
    assert 6 == kept.entries


def test_a_fold_stands_for_everything_before_it_wherever_that_comes_from(tmp_path: Path) -> None:
    fold = entry(5)._replace(error=b"e", first_sequence=1)
    for records in ([fold, entry(5), entry(3), entry(6)], [entry(3), entry(5), entry(6), fold]):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        _, _, found = rebuilt(folder, [*records, NAMED])
        assert [5, 6] == found


def test_of_the_same_thing_the_last_one_counts(tmp_path: Path) -> None:
    lease = LeaseStored(0, 1, frozenset({7}), is_exposed=True)
    newer = replace(lease, epoch=2)
    bare, other = DeviceStored(A.identity), DeviceStored(B.identity)
    records = [lease, newer, bare, other, bare, StoreNamed(5, 1), NAMED]
    kept, state, _ = rebuilt(tmp_path, records)
    assert ((newer,), {bare, other}) == (state.leases, set(state.devices))
    assert (77, 2, 1) == (kept.store_id, kept.devices, kept.leases)


def test_verdicts_of_older_sessions_do_not_come_back(tmp_path: Path) -> None:
    def given(position: int, session: int, endpoint: int = 0) -> VerdictGiven:
        return VerdictGiven(endpoint, Verdict(1, session, position, A.identity, 0), position)

    records = [given(4, 2), given(1, 1), given(3, 2), given(2, 9, endpoint=1), NAMED]
    kept, state, _ = rebuilt(tmp_path, records)
    assert [3, 4] == [each.verdict.counter for each in state.verdicts if each.endpoint == 0]
    assert (3, 3) == (kept.verdicts, len(state.verdicts))


def test_a_store_of_nothing_is_a_store(tmp_path: Path) -> None:
    kept, state, found = rebuilt(tmp_path, [])
    assert (True, (), []) == (kept.has_new_id, state.logs, found)
