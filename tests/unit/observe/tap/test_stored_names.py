from __future__ import annotations

from pathlib import Path

from module_gateway.module_handler.buffer.view import store_path
from module_gateway.module_handler.roster import Connection
from module_gateway.module_handler.store import DeviceStored, HolderStored
from module_gateway.observe.tap.stored_names import stored_connections
from module_gateway.protocol.identity import Device
from tests.unit.module_handler.buffer.stores import committed, store_at

A, B = Device.of(3, 0, "a"), Device.of(3, 0, "b")


async def test_devices_that_hold_their_identity_are_known_by_their_connection(
    tmp_path: Path,
) -> None:
    holder = HolderStored(A, Connection(77, 5), 9, None)
    store = store_at(tmp_path)
    await committed(
        store,
        DeviceStored(A.identity, holder, None, None),
        DeviceStored(B.identity, None, None, None),
    )
    assert stored_connections(store) == {(77, 5): A.identity}


def test_without_a_store_nobody_is_known(tmp_path: Path) -> None:
    assert stored_connections(store_path(tmp_path)) == {}


def test_a_file_that_is_no_store_names_nobody(tmp_path: Path) -> None:
    path = tmp_path / "handler.db"
    path.write_bytes(b"x" * 5000)
    assert stored_connections(path) == {}
