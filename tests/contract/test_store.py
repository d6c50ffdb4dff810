"""What every store keeps, whatever kind it is (contract R1, R4).

A new kind of store joins `STORES`; it then passes all of this.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from module_gateway.module_handler.command_log import Verdict
from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.roster import Connection
from module_gateway.module_handler.sqlite_store import SqliteStore
from module_gateway.module_handler.store import (
    Change,
    CommandsStored,
    DeviceForgotten,
    DeviceStored,
    EntriesFolded,
    EntriesTrimmed,
    EntryAppended,
    HolderStored,
    LeaseStored,
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

A = Device.of(7, 0, "a", "Device A", 3)
B = Device.of(7, 0, "b")


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
    fold = replace(entry(3), error=b"error", first_sequence=1)
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
