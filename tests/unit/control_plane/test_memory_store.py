"""What every store promises is in tests/contract/test_control_plane_store.py; here is the rest."""

from __future__ import annotations

from module_gateway.control_plane.events import SessionStarted, StatusApplied
from module_gateway.control_plane.memory_store import SESSIONS_KEPT, MemoryStore
from module_gateway.control_plane.records import VehicleName
from module_gateway.control_plane.store import StoreLimits
from module_gateway.protocol.external import Position
from tests.control_plane_script import BUTTON, SESSION

VAN = VehicleName("acme", "van")


async def test_sessions_are_bounded() -> None:
    store = MemoryStore(StoreLimits())
    await store.open_vehicle(VAN, 1)
    for number in range(SESSIONS_KEPT + 5):
        await store.commit(VAN, [SessionStarted(str(number), ())], number)
    assert len(await store.sessions(VAN, None, 2 * SESSIONS_KEPT)) == SESSIONS_KEPT


async def test_a_sweep_leaves_what_is_shown() -> None:
    store = MemoryStore(StoreLimits())
    await store.open_vehicle(VAN, 1)
    for at, error in ((1, b"fold"), (2, None), (3, None)):
        change = StatusApplied(SESSION, BUTTON, 1, b"x", error, None, 0, False, True)
        await store.commit(VAN, [change], at)
    await store.sweep(before_unix_ms=100)
    found = await store.history(VAN, BUTTON.identity, None, 9)
    assert [record.number for record in found] == [1, 3]


async def test_R18_a_replayed_status_stands_before_what_is_newer() -> None:
    store = MemoryStore(StoreLimits())
    await store.open_vehicle(VAN, 1)
    for number, is_replayed in ((8, False), (2, True), (3, True)):
        position = Position(9, number)
        change = StatusApplied(
            SESSION, BUTTON, 1, b"%d" % number, None, position, 0, is_replayed, True
        )
        await store.commit(VAN, [change], 1)
    found = await store.history(VAN, BUTTON.identity, None, 9)
    assert [record.status for record in found] == [b"2", b"3", b"8"]
