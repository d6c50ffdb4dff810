"""Contract rules as the control plane keeps them, on its store and sessions together."""

from __future__ import annotations

from module_gateway.control_plane.events import Change
from module_gateway.control_plane.memory_store import MemoryStore
from module_gateway.control_plane.records import VehicleName
from module_gateway.control_plane.session import Limits, VehicleSession
from module_gateway.control_plane.store import StoreLimits
from module_gateway.protocol.external import DeviceState, Position
from tests.control_plane_script import (
    BUTTON,
    LAMP,
    Script,
    acknowledged,
    applied,
    connect,
    connect_responses,
    repeated,
    status,
)

VAN = VehicleName("acme", "van")


class Life:
    """One life of a control plane: everything it knows comes from the store."""

    def __init__(self, script: Script, store: MemoryStore) -> None:
        self.script, self.store = script, store

    @classmethod
    async def begin(cls, store: MemoryStore) -> Life:
        script = Script()
        positions = await store.open_vehicle(VAN, 1)
        known = [device.identity for device in await store.devices(VAN)]
        script.session = VehicleSession(Limits(), positions, known)
        return cls(script, store)

    async def send(self, message, *, is_committed: bool = True):
        effects = self.script.send(message)
        if is_committed:
            changes = [effect for effect in effects if isinstance(effect, Change)]
            await self.store.commit(VAN, changes, 2)
        return effects


async def test_R11_control_plane_reports_applied_positions():
    """What was committed is reported, per device and store, whatever was answered of it."""
    store = MemoryStore(StoreLimits())
    life = await Life.begin(store)
    await life.send(connect([BUTTON, LAMP]))
    await life.send(status(1, BUTTON, DeviceState.CONNECTING, sequence=3))
    await life.send(status(2, LAMP, DeviceState.CONNECTING, sequence=8))
    await life.send(status(3, BUTTON, sequence=4))
    await life.send(status(4, BUTTON, sequence=1, store_id=55))
    await life.send(status(5, BUTTON, sequence=5), is_committed=False)

    life = await Life.begin(store)
    again = connect([BUTTON, LAMP], "s2", capabilities=("applied",))
    [response] = connect_responses(await life.send(again))
    assert response.applied == (
        (BUTTON.identity, Position(9, 4)),
        (BUTTON.identity, Position(55, 1)),
        (LAMP.identity, Position(9, 8)),
    )


async def test_R11_what_was_reported_is_not_applied_again_and_the_rest_is():
    store = MemoryStore(StoreLimits())
    life = await Life.begin(store)
    await life.send(connect([BUTTON]))
    await life.send(status(1, BUTTON, DeviceState.CONNECTING, b"3", sequence=3, error=b"sum"))
    await life.send(status(2, BUTTON, data=b"4", sequence=4), is_committed=False)

    life = await Life.begin(store)
    await life.send(connect([BUTTON], "s2"))
    first = status(1, BUTTON, DeviceState.CONNECTING, b"3", "s2", sequence=3, error=b"sum")
    effects = await life.send(first)
    assert (applied(effects), len(repeated(effects)), acknowledged(effects)) == ([], 1, [1])
    effects = await life.send(status(2, BUTTON, data=b"4", session_id="s2", sequence=4))
    assert (applied(effects), acknowledged(effects)) == ([b"4"], [2])
    history = await store.history(VAN, BUTTON.identity, None, 9)
    assert [record.status for record in history] == [b"3", b"4"]
