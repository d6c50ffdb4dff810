"""A store as a long outage leaves it, written directly: a million statuses in seconds."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

from benchmarks.stage.gateways import MODULE
from module_gateway.module_handler.app import STORE_FILE
from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.sqlite_store import SqliteStore
from module_gateway.module_handler.store import (
    Change,
    CommandsStored,
    DeviceStored,
    EntryAppended,
    RegistrationStored,
)
from module_gateway.protocol.identity import Device

BATCH: Final = 5_000
PADDING: Final = "x" * 40


def status_of(number: int) -> bytes:
    """Like those of the generator."""
    return f'{{"pressed": true , "n": {number:10}, "salt": "{PADDING}"}}'.encode()


def fill(state_dir: Path, devices: int, entries: int) -> None:
    """So many unacknowledged statuses, spread over the generator's first devices."""
    path = state_dir / STORE_FILE
    path.parent.mkdir(mode=0o700, parents=True)
    state_dir.chmod(0o700)
    if entries:
        asyncio.run(_fill(path, devices, entries))


async def _fill(path: Path, count: int, entries: int) -> None:
    store = SqliteStore(path, "process")
    roles = [f"d{number:06}" for number in range(count)]
    devices = [Device.of(MODULE, 0, role, role) for role in roles]
    await store.load()
    commands = CommandsStored(b'{"lit_up": false}')
    changes: list[Change] = [
        DeviceStored(
            device.identity, None, RegistrationStored(device, status_of(1), False, commands)
        )
        for device in devices
    ]
    now_ms = int(time.time() * 1000)
    for sequence in range(1, entries + 1):
        device = devices[sequence % count]
        status = status_of(1 + sequence // count)
        changes.append(EntryAppended(Entry(sequence, device, status, time_unix_ms=now_ms)))
        if len(changes) >= BATCH:
            await store.commit(changes)
            changes = []
    await store.commit(changes)
    await store.close()
