"""Stores to look at, made through the port that the handler uses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.sqlite_store import SqliteStore
from module_gateway.module_handler.store import Change, EntryAppended
from module_gateway.protocol.identity import Device

NOW = 1_800_000_000_000
A, B, C = (Device.of(7, 0, role) for role in "abc")
OTHER = Device.of(8, 1, "other")


def store_at(state_dir: Path) -> Path:
    return state_dir / "store" / "handler.db"


async def committed(path: Path, *changes: Change) -> int:
    """Commit these changes; gives the store's id."""
    store = SqliteStore(path, "process")
    try:
        await store.load()
        await store.commit(changes)
        return store.store_id
    finally:
        await store.close()


def entry(sequence: int, who: Device = A, age_s: float = 0, status: bytes = b"") -> Entry:
    time_unix_ms = NOW - round(age_s * 1000)
    return Entry(sequence, who, status or b'{"n": %d}' % sequence, time_unix_ms=time_unix_ms)


def appended(entries: Iterable[Entry]) -> Sequence[Change]:
    return [EntryAppended(each) for each in entries]
