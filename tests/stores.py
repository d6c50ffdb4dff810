"""Stores that misbehave on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from module_gateway.module_handler.store import Change, Page, Query, Store, StoredState
from module_gateway.protocol.errors import StoreError


class FailingStore:
    """Passes everything on to another store, except while it is told to fail or to wait.

    Attributes:
        fails_commits: how many of the next commits fail; nothing of them is applied.
        loses_answers: how many of the next commits are applied and reported as failed.
        fails_loads: how many of the next loads fail.
        fails_reads: how many of the next reads fail.
        gate: commits wait for it.
        commits: what was asked to be committed, successfully or not.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.fails_commits = 0
        self.loses_answers = 0
        self.fails_loads = 0
        self.fails_reads = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()
        self.commits: list[tuple[Change, ...]] = []

    @property
    def store_id(self) -> int:
        return self._store.store_id

    async def load(self) -> StoredState:
        if self.fails_loads:
            self.fails_loads -= 1
            raise StoreError("told to fail to load")
        return await self._store.load()

    async def read(self, query: Query) -> Page:
        if self.fails_reads:
            self.fails_reads -= 1
            raise StoreError("told to fail to read")
        return await self._store.read(query)

    async def close(self) -> None:
        await self._store.close()

    async def commit(self, changes: Sequence[Change]) -> None:
        self.commits.append(tuple(changes))
        self.waiting.set()
        await self.gate.wait()
        if self.fails_commits:
            self.fails_commits -= 1
            raise StoreError("told to fail to commit")
        await self._store.commit(changes)
        if self.loses_answers:
            self.loses_answers -= 1
            raise StoreError("told to lose the answer")
