"""Where the buffer of this configuration is, and who may change it now."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from module_gateway.module_handler.buffer.figures import BufferBounds
from module_gateway.module_handler.buffer.handler_line import handler_line
from module_gateway.module_handler.buffer.owner import Owner, stopped_handler
from module_gateway.module_handler.buffer.surroundings import holder_pid
from module_gateway.module_handler.buffer.view import store_path
from module_gateway.module_handler.sqlite_store import SqliteStore
from module_gateway.protocol.errors import StoreError
from module_gateway.runtime.settings import Settings
from module_gateway.runtime.state import find_state_dir


@dataclass(frozen=True, slots=True)
class Place:
    """One gateway's buffer.

    Attributes:
        settings: of its gateway.
        state_dir: its state folder.
        store: its store file, which need not exist.
    """

    settings: Settings
    state_dir: Path
    store: Path

    @property
    def bounds(self) -> BufferBounds:
        """What may wait."""
        own = self.settings.module_handler_settings
        return BufferBounds(
            own.outbox_entries, own.outbox_bytes, own.outbox_total_bytes, own.outbox_age_s
        )

    @property
    def modules(self) -> dict[int, str]:
        """The modules that a handler of these settings serves, with their names."""
        chosen = self.settings.module_handler_settings.modules
        named = {int(key): value for key, value in self.settings.module_paths.items()}
        return {
            number: name for number, name in named.items() if chosen is None or number in chosen
        }

    def handler_pid(self) -> int | None:
        """The process that has the store open; see `surroundings.holder_pid`."""
        return holder_pid(self.store)


def place_of(settings: Settings) -> Place:
    """The buffer of a gateway with these settings, in this user's environment."""
    state_dir = find_state_dir(settings.state_dir, os.environ)
    return Place(settings, state_dir, store_path(state_dir))


@asynccontextmanager
async def owner_of(place: Place, store_id: int) -> AsyncIterator[Owner]:
    """Who changes the store now: its running handler, or nobody but this process.

    Raises:
        StoreError: the store cannot be opened, or a handler has opened it meanwhile.
        ConfigError: the bus' address cannot be right.
    """
    if place.handler_pid() is not None:
        bus = place.settings.bus
        async with handler_line(bus, place.state_dir, os.environ, store_id) as line:
            yield line
        return
    durability = place.settings.module_handler_settings.durability
    store = SqliteStore(place.store, "process" if durability == "process" else "power")
    async with stopped_handler(store, place.modules) as stopped:
        if store.store_id != store_id:
            raise StoreError(f"the store {place.store} was replaced meanwhile: nothing is changed")
        yield stopped
