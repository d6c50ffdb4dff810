"""Reading the SQLite store: what a start needs, and entries page by page.

Functions over a connection; they run in whatever thread owns it, and in other processes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.records import (
    LogNamed,
    NumberGiven,
    Record,
    RecordError,
    StoreNamed,
    StretchTrimmed,
    VerdictGiven,
    decode,
)
from module_gateway.module_handler.store import (
    PAGE_BYTES,
    DeviceStored,
    Extent,
    LeaseStored,
    LogQuery,
    LogStored,
    Page,
    Query,
    StoredState,
    StreamQuery,
    VerdictRecorded,
)
from module_gateway.module_handler.store_schema import SEGMENT_BITS
from module_gateway.protocol.identity import Identity

MAX_EXTENTS: Final = 16
"""Per log: enough to know what a trim leaves, little enough for every log at once."""

_ALIVE: Final = """
    e.sequence > l.trimmed_to AND NOT EXISTS (
        SELECT 1 FROM stretches s WHERE s.log = e.log
        AND s.first_sequence <= e.sequence AND s.last_sequence >= e.sequence)"""

_NEXT_SEGMENT: Final = """
    SELECT segment FROM entries INDEXED BY entries_by_log
    WHERE segment >= ? ORDER BY segment LIMIT 1"""

_OF_MODULE: Final = """
    SELECT 1 FROM entries INDEXED BY entries_by_log WHERE segment = ? AND module = ? LIMIT 1"""

_OF_LOG: Final = f"""
    SELECT e.sequence, e.module, e.record
    FROM entries e INDEXED BY entries_by_log CROSS JOIN logs l ON l.log = e.log
    WHERE e.segment = ? AND e.module = ? AND e.log = ? AND {_ALIVE} ORDER BY e.sequence"""  # noqa: S608 - text of ours

_GROUPS: Final = """
    SELECT segment, log, count(*), sum(size_bytes), max(sequence), time_unix_ms
    FROM entries INDEXED BY entries_by_log GROUP BY segment, module, log"""

_PART: Final = f"""
    SELECT count(*), sum(e.size_bytes), max(e.sequence), e.time_unix_ms
    FROM entries e INDEXED BY entries_by_log CROSS JOIN logs l ON l.log = e.log
    WHERE e.segment = ? AND e.module = ? AND e.log = ? AND {_ALIVE}"""  # noqa: S608 - text of ours

_NOBODY: Final = Identity(0, 0, "")

_Rows: TypeAlias = Iterator[tuple[int, int, bytes]]


@dataclass(slots=True)
class LogState:
    """What the writer knows of one log.

    Attributes:
        number: in the index.
        trimmed_to: its mark: entries up to here are acknowledged, deleted or not.
        first: no entry that is alive has a lower number; more than `newest` when it is empty.
        newest: the highest number that was appended, as far as known.
    """

    number: int
    trimmed_to: int = 0
    first: int = 1
    newest: int = 0


@dataclass(slots=True)
class Contents:
    """Everything in a store beside the entries themselves.

    Attributes:
        store_id, ceiling: see `StoreNamed`.
        state: what `Store.load` gives.
        logs: by identity.
        last_log, last_device, last_verdict: the highest row of each.
        devices: identity → row.
        verdicts: endpoint → rows, oldest first.
        sessions: endpoint → epoch and session of its verdicts.
        dead: ranges of numbers in which acknowledged entries wait for their deletion.
    """

    store_id: int
    ceiling: int
    state: StoredState
    logs: dict[Identity, LogState]
    devices: dict[Identity, int]
    verdicts: dict[int, list[int]]
    sessions: dict[int, tuple[int, int]]
    dead: list[tuple[int, int]]
    last_log: int = 0
    last_device: int = 0
    last_verdict: int = 0

    def __post_init__(self) -> None:
        self.last_log = max((log.number for log in self.logs.values()), default=0)
        self.last_device = max(self.devices.values(), default=0)
        self.last_verdict = max((rows[-1] for rows in self.verdicts.values()), default=0)

    def take_empty_logs(self) -> list[int]:
        """Roles come and go: the numbers of logs that nobody needs, which are forgotten here."""
        if self.dead:
            return []
        alive = {log.identity for log in self.state.logs}
        empty = [identity for identity in self.logs if identity not in alive]
        return [self.logs.pop(identity).number for identity in empty]


def read_contents(connection: sqlite3.Connection) -> Contents:
    """Everything but the entries; of them the summary.

    Raises:
        RecordError: a record is damaged, or a row does not say what its record says.
        sqlite3.Error: the file cannot be read.
    """
    named, last_sequence = StoreNamed(0, 0), 0
    for (framed,) in connection.execute("SELECT record FROM store ORDER BY row"):
        match decode(framed):
            case StoreNamed() as named:
                pass
            case NumberGiven(last_sequence):
                pass
            case other:
                raise _misplaced(other, "store")
    if named.store_id == 0:
        raise RecordError(0, "the record with the store's id is missing")
    logs, identities = _read_logs(connection)
    dead: list[tuple[int, int]] = []
    summaries = _summaries(connection, logs, identities, dead)
    newest = connection.execute("SELECT max(sequence) FROM entries").fetchone()[0] or 0
    marks = max((log.trimmed_to for log in logs.values()), default=0)
    device_rows, devices = _read_devices(connection)
    leases = tuple(_read_leases(connection))
    verdict_rows, verdicts = _read_verdicts(connection)
    state = StoredState(
        tuple(devices), tuple(summaries), max(last_sequence, newest, marks), leases, tuple(verdicts)
    )
    sessions = {each.endpoint: (each.verdict.epoch, each.verdict.session) for each in verdicts}
    return Contents(
        *(named.store_id, named.ceiling, state, logs),
        *(device_rows, verdict_rows, sessions, dead),
    )


def read_page(
    connection: sqlite3.Connection, query: Query, logs: Mapping[Identity, LogState]
) -> Page:
    """Entries of one moment: all rows of a page are seen in one transaction.

    Raises:
        RecordError: an entry is damaged.
        sqlite3.Error: the file cannot be read.
    """
    connection.execute("BEGIN")
    try:
        return _cut(query, _found(connection, query, logs))
    finally:
        connection.execute("ROLLBACK")


def _cut(query: Query, found: _Rows) -> Page:
    entries: list[Entry] = []
    size_bytes = 0
    for sequence, module, framed in found:
        if len(entries) == query.limit or size_bytes > PAGE_BYTES:
            return Page(query, tuple(entries), is_complete=False)
        entry = decode(framed)
        if not isinstance(entry, Entry) or (entry.sequence, entry.device.identity.module) != (
            sequence,
            module,
        ):
            raise _misplaced(entry, f"entries ({sequence})")
        entries.append(entry)
        size_bytes += entry.size_bytes
    return Page(query, tuple(entries), is_complete=True)


def _found(
    connection: sqlite3.Connection, query: Query, logs: Mapping[Identity, LogState]
) -> _Rows:
    match query:
        case LogQuery(identity):
            log = logs.get(identity)
            if log is not None:
                yield from _of_log(connection, identity.module, log.number)
        case StreamQuery():
            yield from _of_modules(connection, query)
        case _:
            assert_never(query)


def _of_log(connection: sqlite3.Connection, module: int, number: int) -> _Rows:
    row = connection.execute("SELECT trimmed_to FROM logs WHERE log = ?", (number,)).fetchone()
    if row is None:
        return
    for segment in _segments(connection, row[0] >> SEGMENT_BITS):
        yield from connection.execute(_OF_LOG, (segment, module, number))


def _of_modules(connection: sqlite3.Connection, query: StreamQuery) -> _Rows:
    modules = sorted(query.modules)
    marks = ", ".join("?" * len(modules))
    select = f"""
        SELECT e.sequence, e.module, e.record
        FROM entries e NOT INDEXED CROSS JOIN logs l ON l.log = e.log
        WHERE e.sequence > ? AND e.sequence <= ? AND e.module IN ({marks}) AND {_ALIVE}
        ORDER BY e.sequence"""  # noqa: S608 - only question marks are put in
    after = query.after
    for segment in _segments(connection, (query.after + 1) >> SEGMENT_BITS):
        if segment > query.up_to >> SEGMENT_BITS:
            return
        if not any(
            connection.execute(_OF_MODULE, (segment, module)).fetchone() for module in modules
        ):
            continue
        last = min(query.up_to, _last_of(segment))
        after = max(after, (segment << SEGMENT_BITS) - 1)
        yield from connection.execute(select, (after, last, *modules))


def _segments(connection: sqlite3.Connection, first: int) -> Iterator[int]:
    """The segments with entries, from `first` on."""
    row = connection.execute(_NEXT_SEGMENT, (first,)).fetchone()
    while row is not None:
        yield row[0]
        row = connection.execute(_NEXT_SEGMENT, (row[0] + 1,)).fetchone()


def _last_of(segment: int) -> int:
    return ((segment + 1) << SEGMENT_BITS) - 1


def _misplaced(record: Record, where: str) -> RecordError:
    return RecordError(0, f"a {type(record).__name__} stands in {where}")


def _read_logs(
    connection: sqlite3.Connection,
) -> tuple[dict[Identity, LogState], dict[int, Identity]]:
    logs: dict[Identity, LogState] = {}
    identities: dict[int, Identity] = {}
    for number, trimmed_to, framed in connection.execute("SELECT * FROM logs"):
        log = decode(framed)
        if not isinstance(log, LogNamed) or (log.log, log.trimmed_to) != (number, trimmed_to):
            raise _misplaced(log, f"logs ({number})")
        logs[log.identity] = LogState(number, trimmed_to, trimmed_to + 1, trimmed_to)
        identities[number] = log.identity
    return logs, identities


def _summaries(
    connection: sqlite3.Connection,
    logs: Mapping[Identity, LogState],
    identities: Mapping[int, Identity],
    dead: list[tuple[int, int]],
) -> Iterator[LogStored]:
    """One pass over the index; where a mark or a stretch cuts a group, that group is counted."""
    stretches = _read_stretches(connection, identities)
    dead += [each for of_log in stretches.values() for each in of_log]
    extents: dict[int, list[tuple[int, int, int, int]]] = {}
    for segment, number, *group in connection.execute(_GROUPS):
        identity = identities.get(number)
        if identity is None:
            raise RecordError(0, f"log {number} of an entry is not known")
        log, start, newest = logs[identity], segment << SEGMENT_BITS, group[2]
        log.newest = newest
        is_marked = log.trimmed_to >= max(start, 1)
        if is_marked:
            dead.append((start, min(log.trimmed_to, _last_of(segment))))
        if is_marked or any(at <= newest and to >= start for at, to in stretches.get(number, ())):
            where = (segment, identity.module, number)
            part = connection.execute(_PART, where).fetchone()
            if part[0]:
                extents.setdefault(number, []).append(part)
        elif number in extents:
            extents[number].append((group[0], group[1], newest, group[3]))
        else:
            extents[number] = [(group[0], group[1], newest, group[3])]
    for identity, log in logs.items():
        if log.number in extents:
            first = extents[log.number][0][2] >> SEGMENT_BITS << SEGMENT_BITS
            log.first = max(log.trimmed_to + 1, first)
            yield LogStored(identity, merged(extents[log.number]))
        else:
            log.first = log.newest + 1


def _read_stretches(
    connection: sqlite3.Connection, identities: Mapping[int, Identity]
) -> dict[int, list[tuple[int, int]]]:
    """Log → its stretches."""
    stretches: dict[int, list[tuple[int, int]]] = {}
    for number, first, last, framed in connection.execute(
        "SELECT log, first_sequence, last_sequence, record FROM stretches"
    ):
        stretch = decode(framed)
        if stretch != StretchTrimmed(identities.get(number, _NOBODY), first, last):
            raise _misplaced(stretch, f"stretches ({number})")
        stretches.setdefault(number, []).append((first, last))
    return stretches


def merged(groups: Sequence[tuple[int, int, int, int]]) -> tuple[Extent, ...]:
    """A log in at most `MAX_EXTENTS` extents of about the same number of groups.

    Args:
        groups: entries, bytes, newest number and its time, in order of the numbers.
    """
    size = -(-len(groups) // MAX_EXTENTS)
    runs = [groups[at : at + size] for at in range(0, len(groups), size)]
    return tuple(
        Extent(
            last_sequence=run[-1][2],
            entries=sum(group[0] for group in run),
            size_bytes=sum(group[1] for group in run),
            time_unix_ms=run[-1][3],
        )
        for run in runs
    )


def _read_devices(
    connection: sqlite3.Connection,
) -> tuple[dict[Identity, int], list[DeviceStored]]:
    rows: dict[Identity, int] = {}
    devices: list[DeviceStored] = []
    for row, framed in connection.execute("SELECT device, record FROM devices"):
        device = decode(framed)
        if not isinstance(device, DeviceStored):
            raise _misplaced(device, f"devices ({row})")
        rows[device.identity] = row
        devices.append(device)
    return rows, devices


def _read_leases(connection: sqlite3.Connection) -> Iterator[LeaseStored]:
    for endpoint, framed in connection.execute("SELECT endpoint, record FROM leases"):
        lease = decode(framed)
        if not isinstance(lease, LeaseStored) or lease.endpoint != endpoint:
            raise _misplaced(lease, f"leases ({endpoint})")
        yield lease


def _read_verdicts(
    connection: sqlite3.Connection,
) -> tuple[dict[int, list[int]], list[VerdictRecorded]]:
    rows: dict[int, list[int]] = {}
    verdicts: list[VerdictRecorded] = []
    for row, endpoint, framed in connection.execute("SELECT * FROM verdicts ORDER BY verdict"):
        given = decode(framed)
        if not isinstance(given, VerdictGiven) or given.endpoint != endpoint:
            raise _misplaced(given, f"verdicts ({row})")
        rows.setdefault(endpoint, []).append(row)
        verdicts.append(VerdictRecorded(endpoint, given.verdict))
    return rows, verdicts
