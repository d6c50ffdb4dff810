"""Asks the store for pages, one after the other, beside the commits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, NoReturn, TypeAlias, assert_never

from module_gateway.module_handler import metrics
from module_gateway.module_handler.store import LogQuery, Page, Query, Store, StreamQuery
from module_gateway.protocol.errors import StoreError
from module_gateway.protocol.identity import Identity

_Asker: TypeAlias = Identity | tuple[int, int]


class PageReader:
    """The reads that were asked for and not answered yet.

    Each stream, and each log, has one at most: a newer one takes the place of an older one that
    has not begun, so they are bounded by the leases.

    Args:
        store: whom it asks.
        found: told each page.
        failed: told that the store could not be read; it goes on with what is asked afterwards.
    """

    def __init__(
        self, store: Store, found: Callable[[Page], None], failed: Callable[[StoreError], None]
    ) -> None:
        self._store = store
        self._found: Final = found
        self._failed: Final = failed
        self._waiting: dict[_Asker, Query] = {}
        self._has_work = asyncio.Event()
        self._generation = 0

    def ask(self, queries: Iterable[Query]) -> None:
        """Read these. Everything that they ask for must be committed."""
        for query in queries:
            self._waiting[_asker(query)] = query
        if self._waiting:
            self._has_work.set()

    def forget(self) -> None:
        """Whoever asked is no more: nobody is told what is found from now on."""
        self._waiting.clear()
        self._generation += 1

    async def run(self) -> NoReturn:
        """Read until cancelled."""
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            while self._waiting:
                query = self._waiting.pop(next(iter(self._waiting)))
                await self._read(query)

    async def _read(self, query: Query) -> None:
        generation = self._generation
        try:
            with metrics.READ_DURATION.time():
                page = await self._store.read(query)
        except StoreError as error:
            if generation == self._generation:
                self._failed(error)
            return
        if generation == self._generation:
            self._found(page)


def _asker(query: Query) -> _Asker:
    match query:
        case LogQuery(identity):
            return identity
        case StreamQuery(endpoint, lane):
            return endpoint, lane
        case _:
            assert_never(query)
