"""Who changes the buffer for a tool: the handler while it runs, this process while none does.

Both do it by the same rules, those of `buffer_desk`. A stopped handler's store is opened under its
lock (contract R4), so a handler that starts meanwhile waits for its supervisor's next attempt.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

from module_gateway.bus.address import Address
from module_gateway.module_handler.buffer.handler_line import RefusedError
from module_gateway.module_handler.buffer.view import Stretch
from module_gateway.module_handler.buffer_desk import TOOL, BufferDesk
from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.store import (
    EntriesTrimmed,
    EntryAppended,
    Store,
    StoredState,
)
from module_gateway.module_handler.turn import Turn
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.identity import Device, Identity
from module_gateway.runtime.log import get_logger

REQUEST_BYTES: Final = 32 * 1024
"""Of one request: half a batch of the bus, so that nothing else waits long (decisions: Bus)."""

REQUEST_ITEMS: Final = 500
"""Of one request, so that a turn of the handler stays short."""

_ITEM_BYTES: Final = 64
"""What an item takes beside its texts, generously."""

_HERE: Final = Address(TOOL, 1)

_log: Final = get_logger(__name__)


class Owner(Protocol):
    """Does what a request asks for."""

    async def ask(self, request: bus_pb2.BufferRequest) -> None:
        """Returns when it is done and committed.

        Raises:
            RefusedError: nothing of it was done.
            BusError, StoreError: nobody knows whether it was done.
        """


class StoppedHandler:
    """A store whose handler does not run, with just as much of a handler as a tool needs."""

    def __init__(self, store: Store, state: StoredState, modules: Collection[int]) -> None:
        self._store = store
        self._last_sequence = state.last_sequence
        self._logs = {log.identity: log.extents[-1].last_sequence for log in state.logs}
        registered = {each.identity for each in state.devices if each.registration is not None}
        self._desk = BufferDesk(self, modules, registered.__contains__, store.store_id)
        self._requests = 0

    async def ask(self, request: bus_pb2.BufferRequest) -> None:
        """See `Owner`. What was done goes to the log."""
        self._requests += 1
        message = bus_pb2.Message()
        message.buffer_request.CopyFrom(request)
        message.buffer_request.store_id = self._store.store_id
        message.buffer_request.request = self._requests
        turn = Turn(0.0, int(time.time() * 1000))
        self._desk.readers["buffer_request"](_HERE, message, turn)
        if turn.changes:
            await self._store.commit(turn.changes)
        for note in turn.notes:
            _log.warning(note.event, **{**note.fields, "by": "this command"})
        (answer,) = (send.message.buffer_answer for send in turn.sends)
        if answer.refusal:
            raise RefusedError(answer.refusal)

    # What the desk changes

    def owes(self, identity: Identity) -> bool:
        """See `buffer_desk.Owed`."""
        return identity in self._logs

    def purge(self, identity: Identity, first: int, last: int, turn: Turn) -> None:
        """See `buffer_desk.Owed`."""
        turn.changes.append(EntriesTrimmed(identity, last, first))
        if not first and self._logs.get(identity, last + 1) <= last:
            del self._logs[identity]

    def put_back(self, entry: Entry, turn: Turn) -> None:
        """See `buffer_desk.Owed`."""
        self._last_sequence += 1
        numbered = Entry(
            self._last_sequence,
            entry.device,
            entry.status,
            entry.ends_registration,
            entry.is_repeat,
            entry.error,
            entry.time_unix_ms,
            0 if entry.error is None else self._last_sequence,
        )
        self._logs[entry.device.identity] = numbered.sequence
        turn.changes.append(EntryAppended(numbered))

    def void(self, turn: Turn) -> None:
        """See `buffer_desk.Owed`. Nobody listens."""


@asynccontextmanager
async def stopped_handler(store: Store, modules: Collection[int]) -> AsyncIterator[StoppedHandler]:
    """Open the store, which nobody else must have open, and close it.

    Raises:
        StoreError: it is in use, or it cannot be read.
    """
    try:
        state = await store.load()
        yield StoppedHandler(store, state, modules)
    finally:
        await store.close()


def purge_requests(stretches: Iterable[Stretch], what: str) -> Iterator[bus_pb2.BufferRequest]:
    """Requests that together purge these stretches."""
    request = bus_pb2.BufferRequest(what=what)
    for stretch in stretches:
        if len(request.purge) == REQUEST_ITEMS or request.ByteSize() > REQUEST_BYTES:
            yield request
            request = bus_pb2.BufferRequest(what=what)
        item = request.purge.add(first_sequence=stretch.first, last_sequence=stretch.last)
        Device(stretch.identity).write_to(item.device)
    if request.purge:
        yield request


def return_requests(
    entries: Iterable[Entry], what: str, *, unless_registered: bool = False
) -> Iterator[bus_pb2.BufferRequest]:
    """Requests that together put these entries back, in order; read as they are asked for."""
    request = bus_pb2.BufferRequest(what=what)
    size_bytes = 0
    for entry in entries:
        item_bytes = _ITEM_BYTES + len(entry.status) + len(entry.error or b"")
        item_bytes += len(entry.device.identity.role) + len(entry.device.name)
        is_full = len(request.returned) == REQUEST_ITEMS or size_bytes + item_bytes > REQUEST_BYTES
        if request.returned and is_full:
            yield request
            request, size_bytes = bus_pb2.BufferRequest(what=what), 0
        size_bytes += item_bytes
        item = request.returned.add(
            status=entry.status,
            ends_registration=entry.ends_registration,
            is_repeat=entry.is_repeat,
            error=entry.error,
            time_unix_ms=entry.time_unix_ms,
            unless_registered=unless_registered,
        )
        entry.device.write_to(item.device)
    if request.returned:
        yield request
