"""What a commit writes into which table, and what is deleted to keep the bounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Table, and_, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from module_gateway.control_plane import sql_rows as rows
from module_gateway.control_plane.fleet import Fleet, Touched
from module_gateway.control_plane.places import Placed, Places
from module_gateway.control_plane.positions import STORES_KEPT, AppliedPositions
from module_gateway.control_plane.records import (
    CommandRecord,
    DeviceRecord,
    StatusRecord,
    VehicleName,
)
from module_gateway.control_plane.sql_rows import Fields
from module_gateway.control_plane.sql_schema import (
    COMMANDS,
    DEVICES,
    POSITIONS,
    SESSIONS,
    STATUSES,
    VEHICLES,
)
from module_gateway.control_plane.store import StoreLimits
from module_gateway.protocol.identity import Identity

LOOKED_AT: Final = 256
"""Statuses per look for the place of a replayed one."""

SLACK: Final = 20
"""A history is cut when it exceeds its bound by a twentieth: not with each status."""

SWEPT_AT_ONCE: Final = 50
"""Devices per transaction that forgets what is too old."""


@dataclass(slots=True)
class Batch:
    """The rows of one commit, made when it was asked for."""

    tables: dict[str, list[Fields]] = field(default_factory=dict)
    statuses: list[tuple[Shelf, StatusRecord]] = field(default_factory=list)
    shelves: dict[int, Shelf] = field(default_factory=dict)
    driven_out: str | None = None


@dataclass(slots=True, eq=False)
class Shelf:
    """What is known of one device's history, beside its record."""

    device_id: int
    places: Places
    kept: int = 0
    kept_bytes: int = 0
    stores: set[int] = field(default_factory=set)
    last: frozenset[int] = frozenset()
    """Numbers of the statuses that are shown as the last ones: never deleted."""


class Writer:
    """The way into the database. `gather` in the loop's thread, `write` in the writer's."""

    def __init__(self, limits: StoreLimits) -> None:
        self._limits = limits
        self._vehicles: dict[VehicleName, int] = {}
        self._shelves: dict[tuple[VehicleName, Identity], Shelf] = {}
        self._ordinals: dict[str, int] = {}
        self._ordinal = 0
        self._advanced = 0
        self._kept_bytes = 0

    def vehicle_id(self, name: VehicleName) -> int | None:
        """Its key, if it is known."""
        return self._vehicles.get(name)

    def device_id(self, name: VehicleName, identity: Identity) -> int | None:
        """Its key, if it is known."""
        shelf = self._shelves.get((name, identity))
        return None if shelf is None else shelf.device_id

    # ---- gathering ----------------------------------------------------------------------------

    def gather(self, fleet: Fleet, name: VehicleName, touched: Touched | None) -> Batch:
        """What a vehicle is now, and what was touched of it."""
        known, batch = fleet.vehicles[name], Batch()
        vehicle_id = self._vehicles.setdefault(name, len(self._vehicles) + 1)
        batch.tables[VEHICLES.name] = [rows.vehicle_row(vehicle_id, known.record)]
        if touched is None:
            return batch
        devices, positions = [], []
        for identity in touched.devices:
            record = known.devices[identity]
            shelf = self._shelf(name, identity)
            devices.append(self._device(shelf, vehicle_id, record, batch))
        for identity in touched.positions:
            self._advanced += 1
            newest = known.positions.newest(identity)
            shelf = self._shelf(name, identity)
            positions.append(rows.position_row(shelf.device_id, self._advanced, *newest))
        batch.tables[DEVICES.name] = devices
        batch.tables[POSITIONS.name] = positions
        batch.statuses = [(self._shelf(name, key), status) for key, status in touched.statuses]
        batch.tables[SESSIONS.name] = [
            rows.session_row(vehicle_id, record) for record in touched.sessions.values()
        ]
        batch.tables[COMMANDS.name] = [
            rows.command_row(vehicle_id, self._ordinals[key], fleet.commands[key])
            for key in touched.commands
            if key in fleet.commands
        ]
        return batch

    def gather_command(self, record: CommandRecord, driven_out: CommandRecord | None) -> Batch:
        """A command that was posted."""
        self._ordinal += 1
        self._ordinals[record.command_id] = self._ordinal
        row = rows.command_row(self._vehicles[record.vehicle], self._ordinal, record)
        batch = Batch({COMMANDS.name: [row]})
        if driven_out is not None:
            batch.driven_out = driven_out.command_id
            self._ordinals.pop(driven_out.command_id, None)
        return batch

    def _shelf(self, name: VehicleName, identity: Identity) -> Shelf:
        key = (name, identity)
        shelf = self._shelves.get(key)
        if shelf is None:
            shelf = self._shelves[key] = Shelf(len(self._shelves) + 1, Places())
        return shelf

    def _device(self, shelf: Shelf, vehicle_id: int, record: DeviceRecord, batch: Batch) -> Fields:
        row = rows.device_row(shelf.device_id, vehicle_id, record)
        shelf.last = frozenset(
            number for number in (row["last_status"], row["last_error"]) if number is not None
        )
        batch.shelves[shelf.device_id] = shelf
        return row

    # ---- writing ------------------------------------------------------------------------------

    def write(self, connection: Connection, batches: Sequence[Batch]) -> None:
        """All of them; the caller's transaction holds it."""
        shelves: dict[int, Shelf] = {}
        for batch in batches:
            shelves |= batch.shelves
        self._write_statuses(connection, batches)
        for table in (VEHICLES, SESSIONS, COMMANDS, POSITIONS):
            newest = _newest(table, (row for b in batches for row in b.tables.get(table.name, ())))
            if newest:
                connection.execute(_upsert(connection, table), newest)
        self._forget_stores(connection, batches)
        gone = [batch.driven_out for batch in batches if batch.driven_out is not None]
        if gone:
            connection.execute(delete(COMMANDS).where(COMMANDS.c.command_id.in_(gone)))
        for shelf in shelves.values():
            self._trim(connection, shelf)
        devices = _newest(DEVICES, (row for b in batches for row in b.tables.get("devices", ())))
        for row in devices:
            shelf = shelves[row["id"]]
            row["kept"], row["kept_bytes"] = shelf.kept, shelf.kept_bytes
        if devices:
            connection.execute(_upsert(connection, DEVICES), devices)

    def _write_statuses(self, connection: Connection, batches: Sequence[Batch]) -> None:
        """In one go; before the place of a replayed one is looked for, what is gathered."""
        pending: list[Fields] = []

        def flush() -> None:
            if pending:
                connection.execute(STATUSES.insert(), pending)
                pending.clear()

        for batch in batches:
            for shelf, status in batch.statuses:

                def downwards(place: int, shelf: Shelf = shelf) -> Iterator[Placed]:
                    flush()
                    return _downwards(connection, shelf.device_id, place)

                place = shelf.places.next(status, downwards)
                pending.append(rows.status_row(shelf.device_id, place, status))
                shelf.kept += 1
                shelf.kept_bytes += status.size_bytes
                self._kept_bytes += status.size_bytes
        flush()

    def _forget_stores(self, connection: Connection, batches: Sequence[Batch]) -> None:
        """Positions of stores that are too many for their device."""
        for batch in batches:
            for row in batch.tables.get(POSITIONS.name, ()):
                shelf = batch.shelves[row["device_id"]]
                shelf.stores.add(row["store_id"])
                if len(shelf.stores) <= STORES_KEPT:
                    continue
                of_device = POSITIONS.c.device_id == shelf.device_id
                query = select(POSITIONS.c.store_id).where(of_device)
                newest = query.order_by(POSITIONS.c.advanced.desc()).limit(STORES_KEPT)
                shelf.stores = set(connection.execute(newest).scalars())
                outside = POSITIONS.c.store_id.not_in(shelf.stores)
                connection.execute(delete(POSITIONS).where(and_(of_device, outside)))

    # ---- bounds -------------------------------------------------------------------------------

    def _trim(self, connection: Connection, shelf: Shelf) -> None:
        """Oldest first, to the device's bounds; over the total, to an equal share of it."""
        limits = self._limits
        bound_bytes = limits.history_bytes
        if self._kept_bytes > limits.history_total_bytes:
            share = limits.history_total_bytes // max(1, len(self._shelves))
            bound_bytes = min(bound_bytes, share)
        is_long = shelf.kept > limits.history_statuses + limits.history_statuses // SLACK
        is_large = shelf.kept_bytes > bound_bytes + bound_bytes // SLACK
        if shelf.kept <= 1 or not (is_long or is_large):
            return
        size = func.length(STATUSES.c.status) + func.coalesce(func.length(STATUSES.c.error), 0)
        query = select(STATUSES.c.number, size.label("size")).where(
            and_(STATUSES.c.device_id == shelf.device_id, STATUSES.c.number.not_in(shelf.last))
        )
        gone: list[int] = []
        for row in connection.execute(query.order_by(STATUSES.c.place)):
            if shelf.kept <= limits.history_statuses and shelf.kept_bytes <= bound_bytes:
                break
            gone.append(row.number)
            shelf.kept -= 1
            shelf.kept_bytes -= row.size
            self._kept_bytes -= row.size
        for start in range(0, len(gone), LOOKED_AT):
            self._delete(connection, shelf, gone[start : start + LOOKED_AT])

    def _delete(self, connection: Connection, shelf: Shelf, numbers: Sequence[int]) -> None:
        chosen = STATUSES.c.number.in_(numbers)
        of_device = STATUSES.c.device_id == shelf.device_id
        connection.execute(delete(STATUSES).where(and_(of_device, chosen)))

    def slices(self) -> list[Sequence[int]]:
        """Keys of all devices, so many as one sweep takes at once."""
        keys = [shelf.device_id for shelf in self._shelves.values()]
        return [keys[at : at + SWEPT_AT_ONCE] for at in range(0, len(keys), SWEPT_AT_ONCE)]

    def sweep(self, connection: Connection, device_ids: Sequence[int], before_unix_ms: int) -> None:
        """Forget what these devices sent earlier, but their last statuses."""
        wanted = set(device_ids)
        for shelf in [each for each in self._shelves.values() if each.device_id in wanted]:
            of_device = STATUSES.c.device_id == shelf.device_id
            is_old = STATUSES.c.received_unix_ms < before_unix_ms
            is_shown = STATUSES.c.number.in_(shelf.last)
            gone = connection.execute(delete(STATUSES).where(and_(of_device, is_old, ~is_shown)))
            if gone.rowcount:
                self._count_again(connection, shelf)

    def _count_again(self, connection: Connection, shelf: Shelf) -> None:
        size = func.length(STATUSES.c.status) + func.coalesce(func.length(STATUSES.c.error), 0)
        query = select(func.count(), func.coalesce(func.sum(size), 0))
        found = connection.execute(query.where(STATUSES.c.device_id == shelf.device_id)).one()
        self._kept_bytes += int(found[1]) - shelf.kept_bytes
        shelf.kept, shelf.kept_bytes = int(found[0]), int(found[1])
        counts = {"kept": shelf.kept, "kept_bytes": shelf.kept_bytes}
        connection.execute(update(DEVICES).where(DEVICES.c.id == shelf.device_id), counts)

    # ---- loading ------------------------------------------------------------------------------

    def load(self, connection: Connection, fleet: Fleet) -> None:
        """Restore what the database holds into an empty fleet."""
        names: dict[int, VehicleName] = {}
        devices = _by(connection.execute(select(DEVICES).order_by(DEVICES.c.id)), "vehicle_id")
        shown = _shown(connection)
        highest = select(STATUSES.c.device_id, func.max(STATUSES.c.place))
        tops = {row[0]: row[1] for row in connection.execute(highest.group_by("device_id"))}
        by_age = select(POSITIONS).order_by(POSITIONS.c.advanced)
        positions = _by(connection.execute(by_age), "device_id")
        for row in connection.execute(select(VEHICLES).order_by(VEHICLES.c.id)):
            record = rows.vehicle_of(row)
            names[row.id] = record.name
            self._vehicles[record.name] = row.id
            applied, records = AppliedPositions(), []
            for each in devices.get(row.id, ()):
                last_status = shown.get((each.id, each.last_status))
                last_error = shown.get((each.id, each.last_error))
                device = rows.device_of(each, last_status, last_error)
                records.append(device)
                shelf = Shelf(each.id, Places(tops.get(each.id, 0)), each.kept, each.kept_bytes)
                shelf.last = frozenset({each.last_status, each.last_error} - {None})
                self._shelves[record.name, device.identity] = shelf
                self._kept_bytes += each.kept_bytes
                for entry in positions.get(each.id, ()):
                    applied.restore(device.identity, *rows.position_of(entry))
                    shelf.stores.add(entry.store_id)
                    self._advanced = max(self._advanced, entry.advanced)
            running = _session(connection, row) if row.session_id is not None else None
            fleet.restore_vehicle(record, records, applied, running)
        for row in connection.execute(select(COMMANDS).order_by(COMMANDS.c.ordinal)):
            fleet.restore_command(rows.command_of(row, names[row.vehicle_id]))
            self._ordinals[row.command_id] = self._ordinal = row.ordinal


def _session(connection: Connection, vehicle: Any) -> Any:  # noqa: ANN401 - rows
    """The vehicle's last session."""
    number = SESSIONS.c.number == vehicle.sessions
    query = select(SESSIONS).where(and_(SESSIONS.c.vehicle_id == vehicle.id, number))
    found = connection.execute(query).one_or_none()
    return None if found is None else rows.session_of(found)


def _shown(connection: Connection) -> dict[tuple[int, int], StatusRecord]:
    """The statuses that devices have as their last ones."""
    is_shown = STATUSES.c.number.in_([DEVICES.c.last_status, DEVICES.c.last_error])
    join = STATUSES.join(DEVICES, and_(STATUSES.c.device_id == DEVICES.c.id, is_shown))
    found = connection.execute(select(STATUSES).select_from(join))
    return {(row.device_id, row.number): rows.status_of(row) for row in found}


def _by(found: Iterable[Any], column: str) -> dict[int, list[Any]]:
    """Rows by one of their columns, each list in the order in which they came."""
    groups: dict[int, list[Any]] = {}
    for row in found:
        groups.setdefault(getattr(row, column), []).append(row)
    return groups


def _newest(table: Table, found: Iterable[Fields]) -> list[Fields]:
    """Of rows with the same key only the last one."""
    names = [column.name for column in table.primary_key]
    return list({tuple(row[name] for name in names): row for row in found}.values())


def _upsert(connection: Connection, table: Table) -> Any:  # noqa: ANN401 - per dialect
    """Insert, or replace what has the same key."""
    is_sqlite = connection.dialect.name == "sqlite"
    insert = sqlite.insert(table) if is_sqlite else postgresql.insert(table)
    keys = [column.name for column in table.primary_key]
    news: Mapping[str, Any] = {
        column.name: insert.excluded[column.name]
        for column in table.columns
        if column.name not in keys
    }
    return insert.on_conflict_do_update(index_elements=keys, set_=dict(news))


def _downwards(connection: Connection, device_id: int, below: int) -> Iterator[Placed]:
    """A device's statuses below a place, highest first."""
    while True:
        query = (
            select(STATUSES)
            .where(and_(STATUSES.c.device_id == device_id, STATUSES.c.place < below))
            .order_by(STATUSES.c.place.desc())
            .limit(LOOKED_AT)
        )
        found = list(connection.execute(query))
        for row in found:
            yield row.place, rows.status_of(row)
            below = row.place
        if len(found) < LOOKED_AT:
            return
