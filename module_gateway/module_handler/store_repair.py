"""A new store out of what is intact of a damaged one."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, assert_never

from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.records import (
    LogNamed,
    NumberGiven,
    Record,
    StoreNamed,
    StretchTrimmed,
    VerdictGiven,
    encode,
)
from module_gateway.module_handler.store import DeviceStored, LeaseStored
from module_gateway.module_handler.store_schema import (
    INSERT_ENTRY,
    NUMBER_ROW,
    STORE_ROW,
    VERSION,
    connect,
    entry_row,
    prepare,
    transaction,
)
from module_gateway.module_handler.store_writer import CEILING_STEP
from module_gateway.protocol.identity import Identity

_BATCH: Final = 5_000
"""Entries in one transaction: memory does not depend on the backlog."""


@dataclass(slots=True)
class Kept:
    """What a repair has found, and what the new store is called.

    Attributes:
        store_id: the old one, unless numbers might be given out twice.
        has_new_id: whether it is another one.
        last_sequence: the new store counts from here.
        entries: how many are unacknowledged, as far as known.
    """

    store_id: int = 0
    has_new_id: bool = False
    last_sequence: int = 0
    entries: int = 0
    devices: int = 0
    leases: int = 0
    verdicts: int = 0


@dataclass(slots=True)
class _Found:
    """Everything but the entries; of each thing the newest."""

    named: StoreNamed | None = None
    last_sequence: int = 0
    trimmed_to: dict[Identity, int] = field(default_factory=dict)
    folds: set[int] = field(default_factory=set)
    stretches: set[StretchTrimmed] = field(default_factory=set)
    devices: dict[Identity, DeviceStored] = field(default_factory=dict)
    leases: dict[int, LeaseStored] = field(default_factory=dict)
    verdicts: dict[int, VerdictGiven] = field(default_factory=dict)
    numbers: dict[Identity, int] = field(default_factory=dict)

    def number(self, identity: Identity) -> int:
        """Of a log in the new store."""
        return self.numbers.setdefault(identity, len(self.numbers) + 1)

    def trim(self, identity: Identity, sequence: int) -> None:
        self.number(identity)
        self.trimmed_to[identity] = max(sequence, self.trimmed_to.get(identity, 0))
        self.last_sequence = max(self.last_sequence, sequence)


def rebuild(draft: Path, records: Iterable[Record]) -> Kept:
    """Write a store with these records; of the same thing the last one counts.

    Numbers go on at the old store's ceiling, above which none was ever given out: even if
    the newest entries are lost, no number comes twice, and the store keeps its id. Without the
    record that tells the ceiling it gets a new one.

    Args:
        draft: where the file is made.
        records: in the order of `Salvage.records`.

    Raises:
        sqlite3.Error, OSError: it cannot be written.
    """
    with closing(connect(draft, is_synced=False)) as connection:
        prepare(connection, draft, StoreNamed(1, CEILING_STEP))
        found = _Found()
        entries = _sorted_out(records, found)
        while batch := list(islice(entries, _BATCH)):
            with transaction(connection):
                connection.executemany(
                    INSERT_ENTRY,
                    [entry_row(entry, found.number(entry.device.identity)) for entry in batch],
                )
        kept = _name(found)
        with transaction(connection):
            _write(connection, found, kept)
        kept.entries = int(connection.execute(_COUNT).fetchone()[0])
        return kept


_COUNT: Final = """
    SELECT count(*) FROM entries e JOIN logs l ON l.log = e.log WHERE e.sequence > l.trimmed_to"""


def _sorted_out(  # noqa: C901 - one case per kind
    records: Iterable[Record], found: _Found
) -> Iterator[Entry]:
    for record in records:
        match record:
            case Entry():
                found.last_sequence = max(found.last_sequence, record.sequence)
                if record.error is not None:
                    found.trim(record.device.identity, record.sequence - 1)
                    found.folds.add(record.sequence)
                    yield record
                elif record.sequence not in found.folds:
                    yield record
            case StoreNamed():
                found.named = record
            case NumberGiven(last_sequence):
                found.last_sequence = max(found.last_sequence, last_sequence)
            case LogNamed(identity, _, trimmed_to):
                found.trim(identity, trimmed_to)
            case StretchTrimmed():
                found.stretches.add(record)
                found.last_sequence = max(found.last_sequence, record.last_sequence)
            case DeviceStored():
                found.devices[record.identity] = record
            case LeaseStored():
                found.leases[record.endpoint] = record
            case VerdictGiven():
                found.verdicts[record.position] = record
            case _:
                assert_never(record)


def _name(found: _Found) -> Kept:
    named, highest = found.named, found.last_sequence
    if named is not None and named.ceiling >= highest:
        return Kept(named.store_id, has_new_id=False, last_sequence=named.ceiling)
    store_id = secrets.randbelow(2**64 - 1) + 1
    return Kept(store_id, has_new_id=True, last_sequence=highest + CEILING_STEP)


def _write(connection: sqlite3.Connection, found: _Found, kept: Kept) -> None:
    named = StoreNamed(kept.store_id, kept.last_sequence + CEILING_STEP, VERSION)
    connection.executemany(
        "INSERT OR REPLACE INTO store VALUES (?, ?)",
        [(STORE_ROW, encode(named)), (NUMBER_ROW, encode(NumberGiven(kept.last_sequence)))],
    )
    stretches = [(found.number(each.identity), each) for each in found.stretches]
    connection.executemany(
        "INSERT INTO logs VALUES (?, ?, ?)",
        [
            (number, trimmed_to, encode(LogNamed(identity, number, trimmed_to)))
            for identity, number in found.numbers.items()
            for trimmed_to in [found.trimmed_to.get(identity, 0)]
        ],
    )
    connection.executemany(
        "INSERT INTO stretches (log, first_sequence, last_sequence, record) VALUES (?, ?, ?, ?)",
        [
            (number, each.first_sequence, each.last_sequence, encode(each))
            for number, each in stretches
        ],
    )
    connection.executemany(
        "INSERT INTO devices VALUES (?, ?)",
        [(row, encode(device)) for row, device in enumerate(found.devices.values(), 1)],
    )
    connection.executemany(
        "INSERT INTO leases VALUES (?, ?)",
        [(lease.endpoint, encode(lease)) for lease in found.leases.values()],
    )
    verdicts = _of_newest_sessions(found.verdicts.values())
    connection.executemany(
        "INSERT INTO verdicts VALUES (?, ?, ?)",
        [(given.position, given.endpoint, encode(given)) for given in verdicts],
    )
    kept.devices, kept.leases, kept.verdicts = (
        len(found.devices),
        len(found.leases),
        len(verdicts),
    )


def _of_newest_sessions(verdicts: Iterable[VerdictGiven]) -> list[VerdictGiven]:
    """An old page may have brought verdicts back that a newer session has voided."""
    ordered = sorted(verdicts, key=lambda each: each.position)
    newest = {each.endpoint: (each.verdict.epoch, each.verdict.session) for each in ordered}
    return [
        each
        for each in ordered
        if newest[each.endpoint] == (each.verdict.epoch, each.verdict.session)
    ]
