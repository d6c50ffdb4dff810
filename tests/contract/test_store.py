"""What every store keeps, whatever kind it is (contract R1, R4).

A new kind of store joins `STORES`; it then passes all of this.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from module_gateway.module_handler.command_log import Verdict
from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.roster import Connection
from module_gateway.module_handler.sqlite_store import SqliteStore
from module_gateway.module_handler.store import (
    PAGE_BYTES,
    Change,
    CommandsStored,
    DeviceForgotten,
    DeviceStored,
    EntriesFolded,
    EntriesTrimmed,
    EntryAppended,
    HolderStored,
    LeaseStored,
    LogQuery,
    MemoryStore,
    RegistrationStored,
    Store,
    StoredState,
    StreamQuery,
    VerdictRecorded,
)
from module_gateway.protocol.errors import StoreError
from module_gateway.protocol.identity import Device
from tests.stores import FailingStore

STORES: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _: MemoryStore(),
    "failing": lambda _: FailingStore(MemoryStore()),
    "sqlite": lambda folder: SqliteStore(folder / "store" / "handler.db"),
    "sqlite-process": lambda folder: SqliteStore(folder / "store" / "handler.db", "process"),
}

DURABLE = tuple(kind for kind in STORES if kind.startswith("sqlite"))

A = Device.of(7, 0, "a", "Device A", 3)
B = Device.of(7, 0, "b")
C = Device.of(8, 0, "c")


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store = STORES[request.param](tmp_path)
    yield store
    await store.close()


def entry(sequence: int, who: Device = A) -> Entry:
    return Entry(sequence, who, b"s%d" % sequence, time_unix_ms=1_700_000_000_000)


async def entries_of(store: Store) -> tuple[Entry, ...]:
    query = StreamQuery(0, 0, 0, frozenset({7}), 0, 2**63 - 1, 2**31)
    return (await store.read(query)).entries


async def numbers(store: Store) -> list[int]:
    return [each.sequence for each in await entries_of(store)]


async def append(store: Store, *entries: Entry) -> None:
    await store.commit([EntryAppended(each) for each in entries])


def device_stored(who: Device = A) -> DeviceStored:
    commands = CommandsStored(b"last", (b"1", b"\x00\xff"), b"flying")
    return DeviceStored(
        who.identity,
        HolderStored(who, Connection(2**64 - 1, 5), 17, b"reply"),
        RegistrationStored(who, b"\x00status", has_unpublished=True, commands=commands),
        None,
    )


async def test_a_new_store_is_empty(store: Store) -> None:
    assert StoredState() == await store.load()


async def test_its_id_is_a_64_bit_number_and_stays(store: Store) -> None:
    before = store.store_id
    await append(store, entry(1))
    assert before == store.store_id
    assert 0 < before < 2**64


@pytest.mark.parametrize("kind", STORES)
async def test_R4_a_replaced_store_is_never_mistaken_for_the_old_one(
    kind: str, tmp_path: Path
) -> None:
    old, new = STORES[kind](tmp_path / "old"), STORES[kind](tmp_path / "new")
    assert old.store_id != new.store_id
    await old.close()
    await new.close()


async def test_a_device_comes_back_as_it_was_stored(store: Store) -> None:
    await store.commit([device_stored()])
    assert (device_stored(),) == (await store.load()).devices


async def test_empty_and_absent_are_different(store: Store) -> None:
    bare = DeviceStored(A.identity, HolderStored(A, Connection(1, 1), 0, None))
    await store.commit([bare])
    assert (bare,) == (await store.load()).devices
    answered = DeviceStored(A.identity, HolderStored(A, Connection(1, 1), 1, b""))
    await store.commit([answered])
    assert (answered,) == (await store.load()).devices


async def test_the_newest_state_of_a_device_wins(store: Store) -> None:
    parked = DeviceStored(A.identity, parked=CommandsStored(b"", ()))
    await store.commit([device_stored(), device_stored(B), parked])
    assert {parked, device_stored(B)} == set((await store.load()).devices)


async def test_a_forgotten_device_leaves_its_entries(store: Store) -> None:
    await store.commit([device_stored(), EntryAppended(entry(1))])
    await store.commit([DeviceForgotten(A.identity), DeviceForgotten(B.identity)])
    state = await store.load()
    assert ((), (entry(1),)) == (state.devices, await entries_of(store))


async def test_entries_come_back_in_order_of_their_numbers(store: Store) -> None:
    everything = [entry(1), entry(2, B), entry(3), entry(4, B)]
    await append(store, *everything)
    assert tuple(everything) == await entries_of(store)


async def test_every_attribute_of_an_entry_comes_back(store: Store) -> None:
    special = Entry(
        2**63 - 1,
        A,
        b"",
        ends_registration=True,
        is_repeat=True,
        error=b"",
        time_unix_ms=-1,
        first_sequence=5,
    )
    await append(store, special)
    assert (special,) == await entries_of(store)


async def test_trimming_concerns_one_identity(store: Store) -> None:
    await append(store, entry(1), entry(2, B), entry(3), entry(4))
    await store.commit([EntriesTrimmed(A.identity, 3)])
    assert [2, 4] == await numbers(store)
    await store.commit([EntriesTrimmed(A.identity, 99), EntriesTrimmed(B.identity, 1)])
    assert [2] == await numbers(store)


async def test_a_fold_replaces_everything_up_to_its_number(store: Store) -> None:
    await append(store, entry(1), entry(2, B), entry(3), entry(4))
    fold = entry(3)._replace(error=b"error", first_sequence=1)
    await store.commit([EntriesFolded(fold)])
    assert (entry(2, B), fold, entry(4)) == await entries_of(store)


async def test_the_last_number_outlives_its_entry(store: Store) -> None:
    await append(store, entry(1), entry(7))
    await store.commit([EntriesTrimmed(A.identity, 7)])
    state = await store.load()
    assert ((), 7) == (state.logs, state.last_sequence)


async def test_changes_of_one_commit_apply_in_order(store: Store) -> None:
    await store.commit(
        [
            EntryAppended(entry(1)),
            EntriesTrimmed(A.identity, 1),
            EntryAppended(entry(2)),
            device_stored(),
            DeviceForgotten(A.identity),
        ]
    )
    state = await store.load()
    assert ((entry(2),), ()) == (await entries_of(store), state.devices)


async def test_one_lease_per_endpoint(store: Store) -> None:
    old = LeaseStored(0, 1, frozenset({7}), is_exposed=True)
    new = LeaseStored(0, 2**64 - 1, frozenset({7, 8}), is_exposed=False)
    other = LeaseStored(1, 5, frozenset(), is_exposed=True)
    await store.commit([old, other, new])
    assert {new, other} == set((await store.load()).leases)


def verdict(session: int, counter: int, endpoint: int = 0) -> VerdictRecorded:
    return VerdictRecorded(endpoint, Verdict(2**64 - 1, session, counter, A.identity, 3))


async def test_verdicts_of_the_newest_session_come_back_in_order(store: Store) -> None:
    await store.commit([verdict(1, 5), verdict(1, 6), verdict(3, 9, endpoint=1)])
    await store.commit([verdict(2, 2**32 - 1), verdict(2, 0)])
    recorded = (await store.load()).verdicts
    assert [verdict(2, 2**32 - 1), verdict(2, 0)] == [v for v in recorded if v.endpoint == 0]
    assert [verdict(3, 9, endpoint=1)] == [v for v in recorded if v.endpoint == 1]


async def test_what_was_loaded_does_not_change_afterwards(store: Store) -> None:
    await append(store, entry(1))
    state = await store.load()
    await append(store, entry(2))
    assert [1] == [log.extents[-1].last_sequence for log in state.logs]


async def test_an_empty_commit_is_fine(store: Store) -> None:
    await store.commit([])
    assert StoredState() == await store.load()


async def test_R1_a_failed_commit_leaves_nothing_behind() -> None:
    store = FailingStore(MemoryStore())
    changes: list[Change] = [EntryAppended(entry(1)), device_stored()]
    store.fails_commits = 1
    with pytest.raises(StoreError):
        await store.commit(changes)
    assert StoredState() == await store.load()
    await store.commit(changes)
    assert [1] == await numbers(store)


def stream(*modules: int, after: int = 0, up_to: int = 2**62, limit: int = 1_000) -> StreamQuery:
    return StreamQuery(3, 1, 9, frozenset(modules or {7, 8}), after, up_to, limit)


async def found(store: Store, query: StreamQuery | LogQuery) -> tuple[list[int], bool]:
    page = await store.read(query)
    assert query == page.query
    return [each.sequence for each in page.entries], page.is_complete


async def test_a_page_ends_at_its_limit_and_says_whether_more_follows(store: Store) -> None:
    await append(store, *(entry(number) for number in range(1, 6)))
    assert ([1, 2, 3], False) == await found(store, stream(limit=3))
    assert ([4, 5], True) == await found(store, stream(after=3, limit=3))
    assert ([3, 4, 5], True) == await found(store, stream(after=2, limit=3))


async def test_a_page_begins_after_one_number_and_ends_with_another(store: Store) -> None:
    await append(store, *(entry(number) for number in range(1, 9)))
    assert ([4, 5, 6], True) == await found(store, stream(after=3, up_to=6))
    assert ([], True) == await found(store, stream(after=8))
    assert ([], True) == await found(store, stream(after=5, up_to=5))


async def test_a_page_has_the_entries_of_its_modules_in_order(store: Store) -> None:
    await append(store, entry(1, C), entry(2, B), entry(3, A), entry(4, C), entry(5, B))
    assert ([1, 2, 3, 4, 5], True) == await found(store, stream(7, 8))
    assert ([1, 4], True) == await found(store, stream(8))
    assert ([2, 3], False) == await found(store, stream(7, limit=2))
    assert ([], True) == await found(store, stream(9))


async def test_a_page_ends_with_the_entry_that_passes_its_bytes(store: Store) -> None:
    large = [entry(number)._replace(status=bytes(PAGE_BYTES // 2)) for number in range(1, 6)]
    await append(store, *large)
    assert ([1, 2], False) == await found(store, stream())
    assert ([3, 4], False) == await found(store, stream(after=2))
    assert ([5], True) == await found(store, stream(after=4))


async def test_a_page_finds_entries_whose_numbers_lie_far_apart(store: Store) -> None:
    far = [1, 4_095, 4_096, 1_000_000, 2**40]
    await append(store, *(entry(number, C if number == 4_096 else A) for number in far))
    assert (far, True) == await found(store, stream())
    assert ([4_096], True) == await found(store, stream(8))
    assert ([4_095, 1_000_000], False) == await found(store, stream(7, after=1, limit=2))


async def test_the_oldest_entries_of_a_log_are_one_page(store: Store) -> None:
    await append(store, entry(1), entry(2, B), entry(3), entry(9_000), entry(9_001))
    assert ([1, 3], False) == await found(store, LogQuery(A.identity, 2))
    assert ([1, 3, 9_000, 9_001], True) == await found(store, LogQuery(A.identity, 4))
    assert ([2], True) == await found(store, LogQuery(B.identity, 2))
    assert ([], True) == await found(store, LogQuery(C.identity, 2))


async def test_R18_a_stretch_is_acknowledged_before_what_is_older(store: Store) -> None:
    await append(store, *(entry(number) for number in (1, 2, 4, 6, 7)), entry(3, B), entry(5, B))
    await store.commit([EntriesTrimmed(A.identity, 6, first_sequence=4)])
    assert [1, 2, 3, 5, 7] == await numbers(store)
    assert ([1, 2, 7], True) == await found(store, LogQuery(A.identity, 9))
    assert [(7, 3)] == summary(await store.load(), A)
    await store.commit([EntriesTrimmed(A.identity, 7)])
    assert [3, 5] == await numbers(store)


async def test_R18_many_stretches_and_a_prefix_leave_what_lies_between(store: Store) -> None:
    await append(store, *(entry(number) for number in range(1, 1_001)))
    for first in (100, 300, 500):
        await store.commit([EntriesTrimmed(A.identity, first + 99, first_sequence=first)])
    await store.commit([EntriesTrimmed(A.identity, 150)])
    left = [*range(200, 300), *range(400, 500), *range(600, 1_001)]
    assert left == await numbers(store)
    assert [(1_000, len(left))] == summary(await store.load(), A)


def summary(state: StoredState, who: Device) -> list[tuple[int, int]]:
    """The newest number of a log, and how many entries its extents count."""
    logs = [log for log in state.logs if log.identity == who.identity]
    return [(log.extents[-1].last_sequence, sum(e.entries for e in log.extents)) for log in logs]


async def test_the_extents_of_a_log_add_up_to_its_entries(store: Store) -> None:
    for first in range(1, 100_000, 5_000):
        await append(store, *(entry(first + each, (A, B)[each % 2]) for each in range(10)))
    await store.commit([EntriesTrimmed(A.identity, 20_003)])
    log = next(log for log in (await store.load()).logs if log.identity == A.identity)
    entries = (await store.read(LogQuery(A.identity, 10_000))).entries
    assert 0 < len(log.extents) <= 16
    assert len(entries) == sum(extent.entries for extent in log.extents)
    assert sum(e.size_bytes for e in entries) == sum(extent.size_bytes for extent in log.extents)
    begin = 0
    for extent in log.extents:
        inside = [each for each in entries if begin < each.sequence <= extent.last_sequence]
        assert (len(inside), inside[-1].sequence) == (extent.entries, extent.last_sequence)
        assert inside[-1].time_unix_ms == extent.time_unix_ms
        begin = extent.last_sequence


async def test_a_log_without_entries_has_no_summary(store: Store) -> None:
    await append(store, entry(1), entry(2, B))
    await store.commit([EntriesTrimmed(A.identity, 1)])
    assert [B.identity] == [log.identity for log in (await store.load()).logs]


async def test_a_large_trim_is_seen_at_once(store: Store) -> None:
    await append(store, *(entry(number, (A, B)[number % 2]) for number in range(1, 3_001)))
    await store.commit([EntriesTrimmed(A.identity, 2_999)])
    state = await store.load()
    assert ([], [(2_999, 1_500)]) == (summary(state, A)[1:], summary(state, B))
    assert ([3_000], True) == await found(store, LogQuery(A.identity, 10))
    assert (list(range(1, 20, 2)), False) == await found(store, stream(limit=10))


async def test_a_fold_of_many_entries_replaces_all_of_them(store: Store) -> None:
    await append(store, *(entry(number) for number in range(1, 600)))
    fold = entry(500)._replace(error=b"all", first_sequence=1)
    await store.commit([EntriesFolded(fold)])
    page = await store.read(LogQuery(A.identity, 2))
    assert (fold, entry(501)) == page.entries
    assert [(599, 100)] == summary(await store.load(), A)


async def test_verdicts_are_bounded(store: Store) -> None:
    await store.commit([verdict(1, counter) for counter in range(1_100)])
    recorded = [each.verdict.counter for each in (await store.load()).verdicts]
    assert list(range(76, 1_100)) == recorded


async def everything(store: Store) -> tuple[object, ...]:
    state = await store.load()
    return (
        store.store_id,
        set(state.devices),
        sorted(state.logs, key=lambda log: log.identity),
        (state.last_sequence, set(state.leases), state.verdicts),
        await entries_of(store),
    )


@pytest.mark.parametrize("kind", DURABLE)
async def test_R4_whoever_opens_it_next_finds_everything(kind: str, tmp_path: Path) -> None:
    store = STORES[kind](tmp_path)
    await append(store, *(entry(number, (A, B, C)[number % 3]) for number in range(1, 400)))
    await store.commit([device_stored(), device_stored(B), DeviceForgotten(B.identity)])
    await store.commit([LeaseStored(0, 5, frozenset({7}), is_exposed=True), verdict(1, 5)])
    await store.commit([EntriesTrimmed(A.identity, 300), EntriesTrimmed(B.identity, 200, 100)])
    await store.commit([EntriesTrimmed(C.identity, 1_000), verdict(1, 6), verdict(1, 7)])
    before = await everything(store)
    await store.close()
    again = STORES[kind](tmp_path)
    assert before == await everything(again)
    await append(again, entry(400, C))
    assert 400 == (await again.load()).last_sequence
    await again.close()


@pytest.mark.parametrize("kind", DURABLE)
async def test_the_last_number_outlives_its_entry_and_its_process(
    kind: str, tmp_path: Path
) -> None:
    for trim in (1, 100):
        store = STORES[kind](tmp_path)
        last = (await store.load()).last_sequence
        await append(store, *(entry(last + each) for each in range(1, trim + 1)))
        await store.commit([EntriesTrimmed(A.identity, last + trim)])
        await store.close()
        again = STORES[kind](tmp_path)
        assert last + trim == (await again.load()).last_sequence
        await again.close()


@pytest.mark.parametrize("kind", DURABLE)
async def test_R4_a_second_one_is_refused_while_the_first_lives(kind: str, tmp_path: Path) -> None:
    first, second = STORES[kind](tmp_path), STORES[kind](tmp_path)
    await append(first, entry(1))
    with pytest.raises(StoreError, match=f"in use by process {os.getpid()}"):
        await second.load()
    await first.close()
    assert [(1, 1)] == summary(await second.load(), A)
    await second.close()
