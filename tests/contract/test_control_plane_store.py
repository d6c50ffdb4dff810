"""The same promises of every store of the control plane: in memory, SQLite, PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import permutations
from pathlib import Path

import pytest

from module_gateway.control_plane.events import (
    CommandFinished,
    CommandSent,
    CommandState,
    DeviceLeft,
    SessionEnded,
    SessionReady,
    SessionStarted,
    StatusApplied,
    StatusRepeated,
)
from module_gateway.control_plane.memory_store import MemoryStore
from module_gateway.control_plane.records import CommandRecord, VehicleName
from module_gateway.control_plane.sql_store import SqlStore
from module_gateway.control_plane.store import Store, StoreFullError, StoreLimits
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.external import Position, Stretch
from module_gateway.protocol.identity import Device
from tests.control_plane_script import BUTTON, LAMP, SESSION
from tests.postgresql import PostgresqlServer

VAN = VehicleName("acme", "van")


def applied(
    data: bytes, device: Device = BUTTON, *, error: bytes | None = None, sequence: int = 0
) -> StatusApplied:
    position = Position(9, sequence) if sequence else None
    return StatusApplied(SESSION, device, 1, data, error, position, 0, False, True)


Opener = Callable[..., Awaitable[Store]]


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opener]:
    """Makes a store of each kind with one vehicle in it."""
    made: list[Store] = []

    async def open_store(**limits: int) -> Store:
        if request.param == "memory":
            store: Store = MemoryStore(StoreLimits(**limits))
        elif request.param == "sqlite":
            store = SqlStore(f"sqlite:///{tmp_path}/{len(made)}.db", StoreLimits(**limits))
        else:
            server: PostgresqlServer = request.getfixturevalue("postgresql_server")
            store = SqlStore(server.new_database(), StoreLimits(**limits))
        made.append(store)
        await store.open_vehicle(VAN, 1)
        return store

    yield open_store
    for store in made:
        await store.close()


def command(command_id: str, device: Device = BUTTON) -> CommandRecord:
    return CommandRecord(command_id, VAN, device.identity, b"go", CommandState.WAITING, 1, 1, 31)


async def test_an_opened_vehicle_is_listed_once(opened: Opener) -> None:
    store = await opened()
    await store.open_vehicle(VAN, 5)
    await store.open_vehicle(VehicleName("acme", "bus"), 5)
    assert [str(record.name) for record in await store.vehicles()] == ["acme/bus", "acme/van"]
    assert (await store.vehicle(VAN)).first_seen_unix_ms == 1
    assert await store.vehicle(VehicleName("no", "body")) is None


async def test_a_session_makes_its_devices_known(opened: Opener) -> None:
    store = await opened()
    await store.commit(VAN, [SessionStarted(SESSION, (LAMP, BUTTON)), SessionReady(SESSION)], 7)
    vehicle = await store.vehicle(VAN)
    assert (vehicle.session_id, vehicle.is_ready, vehicle.sessions) == (SESSION, True, 1)
    assert (vehicle.devices, vehicle.devices_connected, vehicle.last_seen_unix_ms) == (2, 0, 7)
    assert [record.device for record in await store.devices(VAN)] == [LAMP, BUTTON]


async def test_a_status_becomes_the_last_one_and_history(opened: Opener) -> None:
    store = await opened()
    await store.commit(VAN, [applied(b"1"), applied(b"2", error=b"e"), applied(b"3")], 7)
    device = await store.device(VAN, BUTTON.identity)
    assert device.is_connected
    assert (device.last_status.status, device.last_status.number) == (b"3", 3)
    assert device.last_error.error == b"e"
    history = await store.history(VAN, BUTTON.identity, None, 2)
    assert [record.status for record in history] == [b"2", b"3"]


async def test_history_since_gives_the_oldest_first(opened: Opener) -> None:
    store = await opened()
    for at in (10, 20, 30):
        await store.commit(VAN, [applied(str(at).encode())], at)
    records = await store.history(VAN, BUTTON.identity, 20, 1)
    assert [record.status for record in records] == [b"20"]
    assert await store.history(VAN, BUTTON.identity, 31, 9) == []
    assert await store.history(VAN, LAMP.identity, None, 9) == []


async def test_history_is_bounded_in_statuses(opened: Opener) -> None:
    store = await opened(history_statuses=2)
    await store.commit(VAN, [applied(b"1"), applied(b"2"), applied(b"3")], 1)
    history = await store.history(VAN, BUTTON.identity, None, 9)
    assert [record.status for record in history] == [b"2", b"3"]


async def test_history_is_bounded_in_bytes_but_keeps_the_last(opened: Opener) -> None:
    store = await opened(history_bytes=5)
    await store.commit(VAN, [applied(b"123"), applied(b"456"), applied(b"7" * 9)], 1)
    history = await store.history(VAN, BUTTON.identity, None, 9)
    assert [record.status for record in history] == [b"7" * 9]


async def test_over_the_total_each_device_keeps_its_share(opened: Opener) -> None:
    store = await opened(history_total_bytes=8)
    await store.commit(VAN, [applied(b"1111"), applied(b"22"), applied(b"a", LAMP)], 1)
    await store.commit(VAN, [applied(b"33", BUTTON)], 1)
    history = await store.history(VAN, BUTTON.identity, None, 9)
    assert [record.status for record in history] == [b"22", b"33"]
    assert len(await store.history(VAN, LAMP.identity, None, 9)) == 1


async def test_R11_positions_are_committed_with_the_statuses(opened: Opener) -> None:
    store = await opened()
    await store.commit(VAN, [applied(b"1", sequence=5)], 1)
    positions = await store.open_vehicle(VAN, 2)
    assert positions.of(BUTTON.identity) == (Position(9, 5),)
    positions.advance(BUTTON.identity, Position(9, 6))
    assert (await store.open_vehicle(VAN, 2)).of(BUTTON.identity) == (Position(9, 5),)


async def test_a_repeat_is_counted_and_changes_no_status(opened: Opener) -> None:
    store = await opened()
    await store.commit(VAN, [applied(b"1", sequence=5)], 1)
    await store.commit(VAN, [StatusRepeated(BUTTON, Position(9, 5), False)], 2)
    device = await store.device(VAN, BUTTON.identity)
    assert (device.statuses, device.repeats, device.is_connected) == (1, 1, False)


async def test_the_end_of_a_session_disconnects_its_devices(opened: Opener) -> None:
    store = await opened()
    await store.commit(VAN, [SessionStarted(SESSION, ()), applied(b"1")], 1)
    await store.commit(VAN, [SessionEnded(SESSION, Reason.SESSION_TIMEOUT)], 2)
    vehicle = await store.vehicle(VAN)
    assert (vehicle.session_id, vehicle.end_reason) == (None, "session_timeout")
    assert vehicle.devices_connected == 0


async def test_a_device_that_left_is_not_connected(opened: Opener) -> None:
    store = await opened()
    await store.commit(VAN, [applied(b"1"), DeviceLeft(BUTTON.identity)], 1)
    await store.commit(VAN, [DeviceLeft(LAMP.identity)], 1)
    assert not (await store.device(VAN, BUTTON.identity)).is_connected
    assert await store.device(VAN, LAMP.identity) is None


async def test_a_device_under_a_new_name_is_the_same_device(opened: Opener) -> None:
    store = await opened()
    renamed = Device(BUTTON.identity, "new name", 0)
    await store.commit(VAN, [applied(b"1"), applied(b"2", renamed)], 1)
    assert [record.device for record in await store.devices(VAN)] == [renamed]


async def test_vehicles_are_bounded(opened: Opener) -> None:
    store = await opened(vehicles=1)
    await store.open_vehicle(VAN, 1)
    with pytest.raises(StoreFullError):
        await store.open_vehicle(VehicleName("acme", "bus"), 1)


async def test_room_counts_down(opened: Opener) -> None:
    store = await opened(devices=2)
    assert await store.room() == 2
    await store.commit(VAN, [applied(b"1"), applied(b"1"), applied(b"1", LAMP)], 1)
    assert await store.room() == 0


async def test_a_command_goes_through_its_states(opened: Opener) -> None:
    store = await opened()
    await store.add_command(command("c1"))
    await store.commit(VAN, [CommandSent("c1", 5)], 2)
    record = await store.command("c1")
    assert (record.state, record.counter, record.changed_unix_ms) == (CommandState.SENT, 5, 2)
    await store.commit(VAN, [CommandFinished("c1", CommandState.OK, 0)], 3)
    record = await store.command("c1")
    assert (record.state, record.counter, record.response) == (CommandState.OK, 5, 0)
    await store.commit(VAN, [CommandFinished("unknown", CommandState.OK, 0)], 3)
    assert await store.command("unknown") is None


async def test_waiting_commands_are_bounded_per_device(opened: Opener) -> None:
    store = await opened(commands_waiting=1)
    await store.add_command(command("c1"))
    await store.add_command(command("c2", LAMP))
    with pytest.raises(StoreFullError):
        await store.add_command(command("c3"))
    await store.commit(VAN, [CommandSent("c1", 0)], 1)
    await store.add_command(command("c4"))


async def test_the_oldest_finished_command_makes_room_for_a_new_one(opened: Opener) -> None:
    store = await opened(commands_kept=2)
    await store.add_command(command("c1"))
    await store.add_command(command("c2"))
    with pytest.raises(StoreFullError):
        await store.add_command(command("c3"))
    await store.commit(VAN, [CommandFinished("c2", CommandState.EXPIRED)], 1)
    await store.add_command(command("c3"))
    assert await store.command("c1") is not None
    assert await store.command("c2") is None


# ---- replay (R18) ------------------------------------------------------------------------------


def sent(
    data: bytes,
    sequence: int,
    *,
    live_from: int = 0,
    time_unix_ms: int = 0,
    store_id: int = 9,
    is_replayed: bool = False,
    error: bytes | None = None,
) -> StatusApplied:
    position = Position(store_id, sequence) if sequence else None
    return StatusApplied(
        SESSION, BUTTON, 1, data, error, position, time_unix_ms, is_replayed, True, live_from
    )


async def history_of(store: Store) -> list[bytes]:
    return [record.status for record in await store.history(VAN, BUTTON.identity, None, 99)]


async def current_of(store: Store) -> bytes:
    return (await store.device(VAN, BUTTON.identity)).last_status.status


async def test_R18_a_replayed_status_goes_to_its_place_and_is_not_current(opened: Opener) -> None:
    store = await opened()
    changes = [
        sent(b"1", 1, is_replayed=True),
        sent(b"8", 8, live_from=8),
        sent(b"2", 2, is_replayed=True),
        sent(b"9", 9, live_from=8),
        sent(b"3", 3, is_replayed=True),
    ]
    await store.commit(VAN, changes, 5)
    assert await history_of(store) == [b"1", b"2", b"3", b"8", b"9"]
    assert await current_of(store) == b"9"
    device = await store.device(VAN, BUTTON.identity)
    assert (device.statuses, device.replayed) == (5, 3)


async def test_R18_a_replayed_status_is_current_while_nothing_newer_is_known(
    opened: Opener,
) -> None:
    store = await opened()
    await store.commit(VAN, [sent(b"1", 1, is_replayed=True)], 5)
    assert await current_of(store) == b"1"
    await store.commit(VAN, [sent(b"2", 2, is_replayed=True)], 5)
    assert await current_of(store) == b"2"
    assert await history_of(store) == [b"1", b"2"]


async def test_R18_a_live_status_is_current_at_once_whatever_its_clock_says(opened: Opener) -> None:
    store = await opened()
    await store.commit(VAN, [sent(b"1", 1, time_unix_ms=900)], 5)
    await store.commit(VAN, [sent(b"8", 8, live_from=8, time_unix_ms=100)], 5)
    assert await current_of(store) == b"8"


async def test_R18_the_repeat_of_a_newer_status_stays_current_during_a_replay(
    opened: Opener,
) -> None:
    store = await opened()
    marker = sent(b"8", 0, time_unix_ms=800)
    await store.commit(VAN, [sent(b"8", 8, live_from=8, time_unix_ms=700), marker], 5)
    await store.commit(VAN, [sent(b"2", 2, is_replayed=True, time_unix_ms=200)], 5)
    assert (await store.device(VAN, BUTTON.identity)).last_status.time_unix_ms == 800
    assert await history_of(store) == [b"2", b"8", b"8"]


async def test_R18_a_repeat_does_not_hide_that_a_newer_number_is_applied(opened: Opener) -> None:
    store = await opened()
    marker = sent(b"8", 0)
    await store.commit(VAN, [sent(b"8", 8, live_from=8), marker], 5)
    await store.commit(VAN, [sent(b"2", 2, is_replayed=True)], 5)
    assert await current_of(store) == b"8"


async def test_R18_between_stores_the_time_decides(opened: Opener) -> None:
    store = await opened()
    await store.commit(VAN, [sent(b"new", 3, store_id=10, time_unix_ms=500)], 5)
    await store.commit(VAN, [sent(b"old", 900, is_replayed=True, time_unix_ms=400)], 5)
    assert await current_of(store) == b"new"
    assert await history_of(store) == [b"old", b"new"]


async def test_R18_an_older_error_does_not_replace_a_newer_one(opened: Opener) -> None:
    store = await opened()
    await store.commit(VAN, [sent(b"8", 8, live_from=8, error=b"new")], 5)
    await store.commit(VAN, [sent(b"2", 2, is_replayed=True, error=b"old")], 5)
    assert (await store.device(VAN, BUTTON.identity)).last_error.error == b"new"


async def test_R18_live_stretches_are_committed_with_their_statuses(opened: Opener) -> None:
    store = await opened()
    await store.commit(VAN, [sent(b"8", 8, live_from=8)], 5)
    await store.commit(VAN, [StatusRepeated(BUTTON, Position(9, 9), True, 8)], 5)
    positions = await store.open_vehicle(VAN, 2)
    assert positions.live_of_all([BUTTON.identity]) == ((BUTTON.identity, Stretch(9, 8, 9)),)


async def test_a_reader_that_pages_by_time_misses_no_replayed_status(opened: Opener) -> None:
    store = await opened()
    for at, change in (
        (10, sent(b"8", 8, live_from=8)),
        (20, sent(b"9", 9, live_from=8)),
        (30, sent(b"2", 2, is_replayed=True)),
    ):
        await store.commit(VAN, [change], at)
    first = await store.history(VAN, BUTTON.identity, 10, 2)
    assert [record.status for record in first] == [b"8", b"9"]
    rest = await store.history(VAN, BUTTON.identity, 21, 2)
    assert [record.status for record in rest] == [b"2"]
    everything = await store.history(VAN, BUTTON.identity, 10, 9)
    assert [record.status for record in everything] == [b"2", b"8", b"9"]


async def test_R18_every_order_of_replay_and_live_gives_one_history(opened: Opener) -> None:
    store = await opened(vehicles=200)
    for order in permutations(range(1, 7)):
        if [number for number in order if number > 3] != [4, 5, 6]:
            continue  # live statuses come in order
        name = VehicleName("acme", "".join(map(str, order)))
        await store.open_vehicle(name, 1)
        changes = [sent(b"%d" % number, number, is_replayed=number <= 3) for number in order]
        await store.commit(name, changes, 5)
        found = await store.history(name, BUTTON.identity, None, 99)
        assert [record.status for record in found] == [b"1", b"2", b"3", b"4", b"5", b"6"], order


async def test_a_long_replay_into_a_gap_keeps_its_order(opened: Opener) -> None:
    store = await opened(history_statuses=2_000)
    await store.commit(VAN, [sent(b"0", 1), sent(b"live", 5_000, live_from=5_000)], 5)
    for start in range(2, 1_000, 100):
        changes = [
            sent(b"%d" % number, number, is_replayed=True) for number in range(start, start + 100)
        ]
        await store.commit(VAN, changes, 6)
    found = await store.history(VAN, BUTTON.identity, None, 2_000)
    expected = [b"0", *(b"%d" % number for number in range(2, 1_002)), b"live"]
    assert [record.status for record in found] == expected


async def test_sessions_are_listed_newest_first_with_what_they_carried(opened: Opener) -> None:
    store = await opened()
    await store.commit(VAN, [SessionStarted("one", (BUTTON,)), SessionReady("one")], 10)
    await store.commit(VAN, [SessionEnded("one", Reason.SESSION_TIMEOUT)], 20)
    changes = [
        SessionStarted(SESSION, (BUTTON, LAMP)),
        sent(b"1", 1, error=b"fold"),
        sent(b"2", 2, is_replayed=True),
    ]
    await store.commit(VAN, changes, 30)
    [second, first] = await store.sessions(VAN, None, 9)
    assert (second.number, second.session_id, second.devices, second.ended_unix_ms) == (
        2, SESSION, 2, None,
    )  # fmt: skip
    assert (second.statuses, second.folds, second.replayed) == (2, 1, 1)
    assert (first.ready_unix_ms, first.ended_unix_ms, first.end_reason) == (
        10, 20, "session_timeout",
    )  # fmt: skip
    assert await store.sessions(VAN, 2, 9) == [first]
    assert await store.sessions(VehicleName("no", "body"), None, 9) == []


async def test_commands_are_listed_newest_first_and_open_ones_oldest_first(opened: Opener) -> None:
    store = await opened()
    for command_id, device in (("c1", BUTTON), ("c2", LAMP), ("c3", BUTTON)):
        await store.add_command(command(command_id, device))
    await store.commit(VAN, [CommandFinished("c1", CommandState.EXPIRED), CommandSent("c3", 1)], 2)
    listed = await store.commands(VAN, None, 2)
    assert [record.command_id for record in listed] == ["c3", "c2"]
    of_button = await store.commands(VAN, BUTTON.identity, 9)
    assert [record.command_id for record in of_button] == ["c3", "c1"]
    assert [record.command_id for record in await store.open_commands(VAN)] == ["c2", "c3"]
