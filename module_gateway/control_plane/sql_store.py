"""The store that survives: a database behind the `Store` port, one transaction for many vehicles.

What vehicles are at this moment stands in memory (`fleet`), their histories only in the database.
While one transaction syncs, the changes of all vehicles gather for the next one. A transaction
that fails has not happened: what is in memory is loaded again before anything else is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from sqlalchemy import Engine, and_, select
from sqlalchemy.exc import SQLAlchemyError

from module_gateway.control_plane import sql_rows as rows
from module_gateway.control_plane.events import Change
from module_gateway.control_plane.fleet import Fleet
from module_gateway.control_plane.positions import AppliedPositions
from module_gateway.control_plane.records import (
    CommandRecord,
    DeviceRecord,
    SessionRecord,
    StatusRecord,
    VehicleName,
    VehicleRecord,
)
from module_gateway.control_plane.sql_schema import (
    SESSIONS,
    STATUSES,
    Owner,
    make_engine,
    prepare,
)
from module_gateway.control_plane.sql_writer import Batch, Writer
from module_gateway.control_plane.store import StoreLimits
from module_gateway.protocol.errors import StoreError
from module_gateway.protocol.identity import Identity
from module_gateway.runtime.tasks import start_task

_T = TypeVar("_T")


@dataclass(slots=True)
class _Open:
    """Everything that exists only while the database is open."""

    owner: Owner
    fleet: Fleet
    writer: Writer


class SqlStore:
    """See `Store`. Nothing is opened before it is used; call its methods from one event loop."""

    def __init__(self, url: str, limits: StoreLimits) -> None:
        """Name a store.

        Args:
            url: as SQLAlchemy writes it; SQLite and PostgreSQL are known.
            limits: what to keep.

        Raises:
            ConfigError: the URL is of no use.
        """
        self._engine: Final[Engine] = make_engine(url)
        self._limits = limits
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        self._opening = asyncio.Lock()
        self._open: _Open | None = None
        self._owner: Owner | None = None
        self._batches: list[tuple[Batch, asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None

    # ---- writing ------------------------------------------------------------------------------

    async def open_vehicle(self, name: VehicleName, at_unix_ms: int) -> AppliedPositions:
        """See `Store`."""
        it = await self._opened()
        if it.fleet.open_vehicle(name, at_unix_ms):
            await self._commit(it.writer.gather(it.fleet, name, None))
        return it.fleet.vehicles[name].positions.copy()

    async def commit(self, name: VehicleName, changes: Sequence[Change], at_unix_ms: int) -> None:
        """See `Store`."""
        it = await self._opened()
        touched = it.fleet.apply(name, changes, at_unix_ms)
        await self._commit(it.writer.gather(it.fleet, name, touched))

    async def add_command(self, record: CommandRecord) -> None:
        """See `Store`."""
        it = await self._opened()
        if record.vehicle not in it.fleet.vehicles:
            raise StoreError(f"no vehicle {record.vehicle} is known")
        driven_out = it.fleet.add_command(record)
        await self._commit(it.writer.gather_command(record, driven_out))

    async def _commit(self, batch: Batch) -> None:
        """Wait until the batch is kept, together with all that gather meanwhile."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._batches.append((batch, done))
        if self._flushing is None:
            self._flushing = start_task(self._flush(), "control plane store")
        await done

    async def _flush(self) -> None:
        try:
            while self._batches:
                waiting, self._batches = self._batches, []
                try:
                    await self._in(self._writing, partial(self._write, waiting))
                except StoreError as error:
                    self._fail([*waiting, *self._batches], error)
                else:
                    for _, done in waiting:
                        if not done.done():
                            done.set_result(None)
        finally:
            self._flushing = None

    def _fail(
        self, waiting: Sequence[tuple[Batch, asyncio.Future[None]]], error: StoreError
    ) -> None:
        """None of these happened: what is in memory is not true any more."""
        self._open, self._batches = None, []
        for _, done in waiting:
            if not done.done():
                done.set_exception(StoreError(str(error)))

    def _write(self, waiting: Sequence[tuple[Batch, asyncio.Future[None]]]) -> None:
        it = self._open
        if it is None:
            raise StoreError("the database is closed")
        with self._engine.begin() as connection:
            it.writer.write(connection, [batch for batch, _ in waiting])

    async def sweep(self, before_unix_ms: int) -> None:
        """See `Store`."""
        it = await self._opened()
        for device_ids in it.writer.slices():
            await self._in(self._writing, partial(self._sweep, device_ids, before_unix_ms))

    def _sweep(self, device_ids: Sequence[int], before_unix_ms: int) -> None:
        it = self._open
        if it is not None:
            with self._engine.begin() as connection:
                it.writer.sweep(connection, device_ids, before_unix_ms)

    # ---- reading ------------------------------------------------------------------------------

    async def room(self) -> int:
        """See `Store`."""
        return (await self._opened()).fleet.room

    async def vehicles(self) -> list[VehicleRecord]:
        """See `Store`."""
        return (await self._opened()).fleet.all_vehicles()

    async def vehicle(self, name: VehicleName) -> VehicleRecord | None:
        """See `Store`."""
        return (await self._opened()).fleet.vehicle(name)

    async def devices(self, name: VehicleName) -> list[DeviceRecord]:
        """See `Store`."""
        return (await self._opened()).fleet.devices_of(name)

    async def device(self, name: VehicleName, identity: Identity) -> DeviceRecord | None:
        """See `Store`."""
        return (await self._opened()).fleet.device(name, identity)

    async def history(
        self, name: VehicleName, identity: Identity, since_unix_ms: int | None, limit: int
    ) -> list[StatusRecord]:
        """See `Store`."""
        device_id = (await self._opened()).writer.device_id(name, identity)
        if device_id is None:
            return []
        return await self._in(self._reading, lambda: self._history(device_id, since_unix_ms, limit))

    def _history(self, device_id: int, since_unix_ms: int | None, limit: int) -> list[StatusRecord]:
        of_device = STATUSES.c.device_id == device_id
        if since_unix_ms is None:
            query = select(STATUSES).where(of_device).order_by(STATUSES.c.place.desc())
        else:
            since = STATUSES.c.received_unix_ms >= since_unix_ms
            query = select(STATUSES).where(and_(of_device, since)).order_by(STATUSES.c.number)
        with self._engine.connect() as connection:
            found = list(connection.execute(query.limit(limit)))
        return [rows.status_of(row) for row in sorted(found, key=lambda row: row.place)]

    async def command(self, command_id: str) -> CommandRecord | None:
        """See `Store`."""
        return (await self._opened()).fleet.commands.get(command_id)

    async def commands(
        self, name: VehicleName, identity: Identity | None, limit: int
    ) -> list[CommandRecord]:
        """See `Store`."""
        return (await self._opened()).fleet.commands_of(name, identity, limit)

    async def open_commands(self, name: VehicleName) -> list[CommandRecord]:
        """See `Store`."""
        return (await self._opened()).fleet.open_commands(name)

    async def sessions(
        self, name: VehicleName, before: int | None, limit: int
    ) -> list[SessionRecord]:
        """See `Store`."""
        vehicle_id = (await self._opened()).writer.vehicle_id(name)
        if vehicle_id is None:
            return []
        return await self._in(self._reading, lambda: self._sessions(vehicle_id, before, limit))

    def _sessions(self, vehicle_id: int, before: int | None, limit: int) -> list[SessionRecord]:
        query = select(SESSIONS).where(SESSIONS.c.vehicle_id == vehicle_id)
        if before is not None:
            query = query.where(SESSIONS.c.number < before)
        with self._engine.connect() as connection:
            found = connection.execute(query.order_by(SESSIONS.c.number.desc()).limit(limit))
            return [rows.session_of(row) for row in found]

    # ---- opening and closing ------------------------------------------------------------------

    async def close(self) -> None:
        """See `Store`."""
        if self._flushing is not None:
            await asyncio.wait({self._flushing})
        await asyncio.get_running_loop().run_in_executor(self._writing, self._close)
        self._writing.shutdown()
        self._reading.shutdown()

    def _close(self) -> None:
        self._open = None
        if self._owner is not None:
            self._owner.release()
            self._owner = None
        self._engine.dispose()

    async def _opened(self) -> _Open:
        if self._open is not None:
            return self._open
        async with self._opening:
            if self._open is None:
                self._open = await self._in(self._writing, self._load)
            return self._open

    def _load(self) -> _Open:
        if self._owner is None:
            self._owner = Owner(self._engine)
        with self._engine.begin() as connection:
            prepare(connection)
            fleet = Fleet(self._limits)
            writer = Writer(self._limits)
            writer.load(connection, fleet)
        return _Open(self._owner, fleet, writer)

    async def _in(self, thread: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        """Run `work` there; what the database says becomes one sentence.

        Raises:
            StoreError: it failed.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, work)
        except (SQLAlchemyError, OSError) as error:
            cause = getattr(error, "orig", None) or error
            raise StoreError(f"the database failed: {str(cause).strip()[:300]}") from error
