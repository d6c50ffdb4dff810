"""Changes of the buffer while no handler runs, and the requests that ask for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from module_gateway.module_handler.buffer.handler_line import RefusedError
from module_gateway.module_handler.buffer.owner import (
    REQUEST_BYTES,
    REQUEST_ITEMS,
    purge_requests,
    return_requests,
    stopped_handler,
)
from module_gateway.module_handler.buffer.selection import Selection
from module_gateway.module_handler.buffer.view import Stretch, open_view
from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.sqlite_store import SqliteStore
from module_gateway.module_handler.store import (
    CommandsStored,
    DeviceStored,
    EntriesTrimmed,
    RegistrationStored,
)
from module_gateway.protocol.errors import StoreError
from tests.unit.module_handler.buffer.stores import (
    OTHER,
    A,
    B,
    appended,
    committed,
    entry,
    store_at,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return store_at(tmp_path)


def waiting(path: Path) -> list[Entry]:
    with open_view(path) as view:
        return [each for each in view.entries(Selection()) if isinstance(each, Entry)]


async def purge(path: Path, *stretches: Stretch) -> None:
    async with stopped_handler(SqliteStore(path), {7}) as owner:
        for request in purge_requests(stretches, "--all"):
            await owner.ask(request)


async def put_back(path: Path, *entries: Entry, unless_registered: bool = False) -> None:
    async with stopped_handler(SqliteStore(path), {7}) as owner:
        for request in return_requests(entries, "file", unless_registered=unless_registered):
            await owner.ask(request)


async def test_what_is_purged_is_gone_and_nothing_else(path: Path) -> None:
    await committed(path, *appended([entry(1), entry(2, B), entry(3), entry(4, B), entry(5, B)]))
    await purge(path, Stretch(A.identity, 0, 3), Stretch(B.identity, 4, 4))
    assert [entry(2, B), entry(5, B)] == waiting(path)


async def test_numbers_go_on_behind_what_was_purged(path: Path) -> None:
    await committed(path, *appended([entry(1), entry(2)]))
    await purge(path, Stretch(A.identity, 0, 2))
    await put_back(path, entry(1), entry(2))
    assert [entry(1)._replace(sequence=3), entry(2)._replace(sequence=4)] == waiting(path)


async def test_entries_keep_their_time_and_flags(path: Path) -> None:
    await committed(path, *appended([entry(1)]), EntriesTrimmed(A.identity, 1))
    old = Entry(77, A, b"s", True, True, b"e", 12_345, 70)
    await put_back(path, old, Entry(78, A, b"t", time_unix_ms=12_346))
    assert [
        old._replace(sequence=2, first_sequence=2), Entry(3, A, b"t", time_unix_ms=12_346),
    ] == waiting(path)  # fmt: skip


async def test_a_fold_must_be_the_first_of_its_device(path: Path) -> None:
    await committed(path, *appended([entry(1)]))
    with pytest.raises(RefusedError, match="7/0/a stands for older ones"):
        await put_back(path, entry(2, B), Entry(0, A, b"s", error=b"e"))
    assert [entry(1)] == waiting(path)
    async with stopped_handler(SqliteStore(path), {7}) as owner:
        for request in purge_requests([Stretch(A.identity, 0, 1)], ""):
            await owner.ask(request)
        for request in return_requests([Entry(0, A, b"s", error=b"e")], ""):
            await owner.ask(request)
    assert [b"e"] == [each.error for each in waiting(path)]


async def test_a_purge_of_the_middle_leaves_the_log_there(path: Path) -> None:
    await committed(path, *appended([entry(1), entry(2), entry(3)]))
    async with stopped_handler(SqliteStore(path), {7}) as owner:
        for stretch in (Stretch(A.identity, 2, 2), Stretch(A.identity, 0, 1)):
            for request in purge_requests([stretch], ""):
                await owner.ask(request)
            assert owner.owes(A.identity)


async def test_a_module_that_is_not_configured_is_refused(path: Path) -> None:
    await committed(path)
    with pytest.raises(RefusedError, match="module 8"):
        await put_back(path, entry(1, OTHER))


async def test_only_devices_that_are_not_there_are_said_to_have_left(path: Path) -> None:
    there = RegistrationStored(A, b"s", has_unpublished=False, commands=CommandsStored(b""))
    await committed(path, DeviceStored(A.identity, registration=there), DeviceStored(B.identity))
    await put_back(path, entry(1), entry(2, B), unless_registered=True)
    assert [B] == [each.device for each in waiting(path)]


async def test_R4_a_store_that_a_handler_has_open_is_left_alone(path: Path) -> None:
    running = SqliteStore(path)
    await running.load()
    with pytest.raises(StoreError, match="is in use by process"):
        await put_back(path, entry(1))
    await running.close()


def test_requests_are_cut_by_their_number_of_items() -> None:
    stretches = [Stretch(A.identity, 0, number) for number in range(REQUEST_ITEMS + 1)]
    assert [REQUEST_ITEMS, 1] == [len(each.purge) for each in purge_requests(stretches, "w")]
    entries = [Entry(0, A, b"") for _ in range(REQUEST_ITEMS + 1)]
    assert [REQUEST_ITEMS, 1] == [len(each.returned) for each in return_requests(entries, "w")]


def test_requests_are_cut_by_their_size() -> None:
    long_role = replace(A, identity=A.identity._replace(role="r" * 1_000))
    stretches = [Stretch(long_role.identity, 0, number) for number in range(100)]
    assert all(each.ByteSize() < 2 * REQUEST_BYTES for each in purge_requests(stretches, "w"))
    assert 1 < len(list(purge_requests(stretches, "w")))
    entries = [Entry(0, A, b"s" * size) for size in (10, 20_000, 20_000, 100_000, 5)]
    assert [2, 1, 1, 1] == [len(each.returned) for each in return_requests(entries, "w")]
    assert [] == list(purge_requests([], "w")) + list(return_requests([], "w"))
