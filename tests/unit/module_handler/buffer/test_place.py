"""Where a gateway's buffer is, and who may change it now."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from module_gateway.module_handler.buffer.figures import BufferBounds
from module_gateway.module_handler.buffer.handler_line import HandlerLine
from module_gateway.module_handler.buffer.owner import StoppedHandler
from module_gateway.module_handler.buffer.place import owner_of, place_of
from module_gateway.module_handler.sqlite_store import SqliteStore
from module_gateway.protocol.errors import StoreError
from module_gateway.runtime.config import default_settings
from module_gateway.runtime.settings import BusSettings, ModuleHandlerSettings, Settings


def settings(state_dir: Path, **own: object) -> Settings:
    handler = ModuleHandlerSettings.model_validate(own)
    return default_settings().model_copy(
        update={
            "state_dir": state_dir,
            "module_handler_settings": handler,
            "bus": BusSettings(socket=state_dir / "no.sock"),
        }
    )


def test_bounds_and_modules_are_those_of_the_settings(tmp_path: Path) -> None:
    place = place_of(settings(tmp_path, outbox_entries=9, outbox_age_s=60, modules=(1, 1000)))
    defaults = ModuleHandlerSettings()
    assert place.store == tmp_path / "store" / "handler.db"
    assert place.bounds == BufferBounds(9, defaults.outbox_bytes, defaults.outbox_total_bytes, 60)
    assert {1: "mission", 1000: "example"} == place.modules
    assert 5 == len(place_of(settings(tmp_path)).modules)


@pytest.mark.parametrize("durability", ["power", "process"])
async def test_without_a_handler_this_process_changes_the_store(
    tmp_path: Path, durability: str
) -> None:
    place = place_of(settings(tmp_path, durability=durability))
    store = SqliteStore(place.store)
    await store.load()
    await store.close()
    assert place.handler_pid() is None
    async with owner_of(place, store.store_id) as owner:
        assert isinstance(owner, StoppedHandler)
        assert os.getpid() == place.handler_pid()
    with pytest.raises(StoreError, match="was replaced meanwhile: nothing is changed"):
        async with owner_of(place, store.store_id ^ 1):
            pass
    assert place.handler_pid() is None


async def test_with_a_handler_it_is_asked(tmp_path: Path) -> None:
    place = place_of(settings(tmp_path))
    store = SqliteStore(place.store)
    await store.load()
    async with owner_of(place, store.store_id) as owner:
        assert isinstance(owner, HandlerLine)
    await store.close()
