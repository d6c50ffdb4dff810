"""What a control plane's database promises beyond its life: SQLite and PostgreSQL alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from module_gateway.control_plane.events import (
    CommandSent,
    CommandState,
    SessionReady,
    SessionStarted,
    StatusApplied,
    StatusRepeated,
)
from module_gateway.control_plane.records import CommandRecord, VehicleName
from module_gateway.control_plane.sql_schema import VERSION
from module_gateway.control_plane.sql_store import SqlStore
from module_gateway.control_plane.store import Store, StoreLimits
from module_gateway.protocol.errors import StoreError
from module_gateway.protocol.external import Position
from module_gateway.protocol.identity import Device
from tests.control_plane_script import BUTTON, LAMP, SESSION
from tests.postgresql import PostgresqlServer

VAN = VehicleName("acme", "van")
BUS = VehicleName("acme", "bus")
HUGE = 2**64 - 1


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/control_plane.db"
    server: PostgresqlServer = request.getfixturevalue("postgresql_server")
    return server.new_database()


@pytest.fixture
async def life(url: str) -> AsyncIterator[Callable[..., SqlStore]]:
    """Begins one more life on the same database; the last one is closed at the end."""
    lives: list[SqlStore] = []

    def begin(**limits: int) -> SqlStore:
        lives.append(SqlStore(url, StoreLimits(**limits)))
        return lives[-1]

    yield begin
    await lives[-1].close()


def status(number: int, device: Device = BUTTON, **changes: object) -> StatusApplied:
    fields = {
        "session_id": SESSION,
        "device": device,
        "state": 1,
        "status": b"%d" % number,
        "error": None,
        "position": Position(HUGE, number),
        "time_unix_ms": 100 + number,
        "is_replayed": False,
        "is_connected": True,
        "live_from": 0,
    }
    return StatusApplied(**{**fields, **changes})  # type: ignore[arg-type]  # any field of it


async def everything(store: Store) -> list[object]:
    """All that can be asked."""
    found: list[object] = [await store.vehicles(), await store.room()]
    for vehicle in await store.vehicles():
        name = vehicle.name
        devices = await store.devices(name)
        found += [devices, await store.sessions(name, None, 99)]
        found += [await store.commands(name, None, 99), await store.open_commands(name)]
        positions = await store.open_vehicle(name, 0)
        identities = [device.identity for device in devices]
        found += [positions.of_all(identities), positions.live_of_all(identities)]
        for device in devices:
            found.append(await store.history(name, device.identity, None, 999))
    return found


async def fill(store: Store) -> None:
    await store.open_vehicle(VAN, 1)
    await store.open_vehicle(BUS, 2)
    await store.commit(VAN, [SessionStarted(SESSION, (BUTTON, LAMP)), SessionReady(SESSION)], 3)
    await store.commit(VAN, [status(1), status(2, error=b"\0fold"), status(3, LAMP)], 4)
    await store.commit(VAN, [status(9, live_from=9), status(5, is_replayed=True)], 5)
    await store.commit(VAN, [StatusRepeated(LAMP, Position(7, 3), False)], 6)
    waiting = CommandState.WAITING
    for number in (1, 2):
        record = CommandRecord(f"c{number}", VAN, BUTTON.identity, b"go", waiting, 7, 7, 99)
        await store.add_command(record)
    await store.commit(VAN, [CommandSent("c1", HUGE // 2**33)], 8)


async def test_everything_is_there_in_the_next_life(life: Callable[..., SqlStore]) -> None:
    store = life()
    await fill(store)
    before = await everything(store)
    await store.close()

    assert await everything(life()) == before


async def test_the_next_life_goes_on_where_the_last_one_ended(
    life: Callable[..., SqlStore],
) -> None:
    store = life()
    await fill(store)
    await store.close()
    store = life()
    await store.open_vehicle(VAN, 9)
    await store.commit(VAN, [status(6, is_replayed=True), status(10, live_from=9)], 9)

    found = await store.history(VAN, BUTTON.identity, None, 99)
    numbers = [record.position.sequence for record in found if record.position is not None]

    assert numbers == [1, 2, 5, 6, 9, 10]
    assert [record.number for record in found] == [1, 2, 4, 5, 3, 6]


async def test_vehicles_that_commit_at_once_share_transactions(
    life: Callable[..., SqlStore],
) -> None:
    store = life()
    names = [VehicleName("acme", f"car_{number}") for number in range(50)]
    await asyncio.gather(*(store.open_vehicle(name, 1) for name in names))
    await asyncio.gather(
        *(store.commit(name, [status(number)], number) for name in names for number in range(1, 6))
    )

    for name in names:
        found = await store.history(name, BUTTON.identity, None, 99)
        assert [record.status for record in found] == [b"1", b"2", b"3", b"4", b"5"]


async def test_what_a_failed_transaction_held_has_not_happened(
    life: Callable[..., SqlStore], url: str
) -> None:
    store = life()
    await fill(store)
    before = await everything(store)
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE statuses RENAME TO hidden"))
    with pytest.raises(StoreError, match="the database failed"):
        await store.commit(VAN, [status(20)], 9)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE hidden RENAME TO statuses"))
    engine.dispose()

    assert await everything(store) == before
    await store.commit(VAN, [status(20)], 9)
    found = await store.history(VAN, BUTTON.identity, None, 1)
    assert [record.status for record in found] == [b"20"]


async def test_a_second_control_plane_is_refused(life: Callable[..., SqlStore], url: str) -> None:
    store = life()
    await fill(store)
    other = SqlStore(url, StoreLimits())
    with pytest.raises(StoreError, match="another control plane uses the database"):
        await other.vehicles()
    await other.close()

    assert len(await store.vehicles()) == 2


async def test_a_database_of_a_newer_version_is_refused(
    life: Callable[..., SqlStore], url: str
) -> None:
    store = life()
    await store.vehicles()
    await store.close()
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE about SET version = {VERSION + 1}"))
    engine.dispose()
    with pytest.raises(StoreError, match=f"has version {VERSION + 1}"):
        await life().vehicles()


async def test_old_statuses_are_forgotten_but_not_the_last_ones(
    life: Callable[..., SqlStore],
) -> None:
    store = life()
    await store.open_vehicle(VAN, 1)
    for number in range(1, 6):
        error = b"fold" if number == 2 else None
        await store.commit(VAN, [status(number, error=error)], number)
    await store.sweep(before_unix_ms=100)

    found = await store.history(VAN, BUTTON.identity, None, 99)

    assert [record.number for record in found] == [2, 5]
    await store.close()
    assert (await life().device(VAN, BUTTON.identity)).last_error.number == 2


async def test_a_history_at_its_bound_is_cut_now_and_then(life: Callable[..., SqlStore]) -> None:
    store = life(history_statuses=100)
    await store.open_vehicle(VAN, 1)
    lengths = set()
    for number in range(1, 200):
        await store.commit(VAN, [status(number)], number)
        lengths.add(len(await store.history(VAN, BUTTON.identity, None, 999)))

    assert max(lengths) == 105
    found = await store.history(VAN, BUTTON.identity, None, 999)
    assert found[-1].status == b"199"
    assert len(found) >= 100
