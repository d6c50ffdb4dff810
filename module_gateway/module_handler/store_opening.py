"""From a path to a store that works: made, checked, repaired, migrated.

Everything here runs in the writer's thread, with the store's lock held.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from module_gateway.module_handler.metrics import STORE_REPAIRS
from module_gateway.module_handler.page_images import Finding, Part
from module_gateway.module_handler.records import RecordError, StoreNamed
from module_gateway.module_handler.store_check import (
    WHOLE_BYTES,
    find_in_files,
    find_in_tables,
    salvage_of,
    size_bytes,
)
from module_gateway.module_handler.store_files import (
    build,
    companions,
    copy_of,
    finish_switch,
    switch,
)
from module_gateway.module_handler.store_repair import Kept, rebuild
from module_gateway.module_handler.store_schema import connect, prepare
from module_gateway.module_handler.store_troubles import Trouble, trouble_of
from module_gateway.module_handler.store_writer import CEILING_STEP, StoreWriter
from module_gateway.runtime.log import get_logger

MAX_REPORTED: Final = 1_000
"""Findings in `report.json`; more are counted."""

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a store is opened."""

    path: Path
    is_synced: bool
    max_verdicts: int


def open_writer(plan: Plan) -> StoreWriter:
    """A writer that has read its store. What is damaged is repaired first.

    Raises:
        ConfigError: the store is of a newer version.
        StoreError: it cannot be used; its text says what to do.
        sqlite3.Error, OSError: the disk refuses.
    """
    path = plan.path
    finish_switch(path, _now())
    if not any(each.exists() for each in companions(path)[:2]):
        _create(path)
    is_small = size_bytes(path) <= WHOLE_BYTES
    if is_small:
        damage = find_in_files(path)
        if damage:
            repair(path, damage)
    try:
        return _open(plan, is_checked=is_small)
    except (sqlite3.DatabaseError, RecordError) as error:
        if trouble_of(error, path.parent) is not Trouble.DAMAGED:
            raise
        findings = error.findings if isinstance(error, _DamageError) else (_about(error),)
    repair(path, findings)
    return _open(plan, is_checked=True)


class _DamageError(RecordError):
    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = findings
        super().__init__(findings[0].offset, findings[0].reason)


def _open(plan: Plan, *, is_checked: bool) -> StoreWriter:
    """A log that was left behind may have lost its end when nothing waited for the disk.

    Then numbers that the control plane has seen may be missing here, and must not come twice.
    """
    log = companions(plan.path)[1]
    was_in_use = log.exists() and log.stat().st_size > 0
    connection = connect(plan.path, is_synced=plan.is_synced)
    try:
        prepare(connection, plan.path, _new_name())
        if is_checked:
            _check_tables(connection)
        writer = StoreWriter(connection, is_synced=plan.is_synced, max_verdicts=plan.max_verdicts)
        writer.skips_numbers = was_in_use and not plan.is_synced
        writer.load()
    except BaseException:
        connection.close()
        raise
    return writer


def _check_tables(connection: sqlite3.Connection) -> None:
    findings = find_in_tables(connection)
    if findings:
        raise _DamageError(findings)


def _create(path: Path) -> None:
    """A new store is whole from the first moment: an empty file is never normal."""

    def fill(draft: Path) -> None:
        with closing(connect(draft, is_synced=False)) as connection:
            prepare(connection, draft, _new_name())

    build(path, fill)
    switch(path, "new", None, _now())


def _new_name() -> StoreNamed:
    return StoreNamed(secrets.randbelow(2**64 - 1) + 1, CEILING_STEP)


def repair(path: Path, findings: Iterable[Finding]) -> Kept:
    """Put everything intact into a new store, and the damaged files aside with a report.

    Nobody has them open.

    Args:
        path: of the store.
        findings: what was found wrong so far; what salvage finds comes in addition.

    Raises:
        sqlite3.Error, OSError: the new store cannot be written; nothing has changed.
    """
    with salvage_of(path) as salvage:
        kept: list[Kept] = []
        build(path, lambda draft: kept.append(rebuild(draft, salvage.records())))
        known = {*salvage.findings}
        found = [*salvage.findings, *(each for each in findings if each not in known)]
        more = salvage.more_findings
    report = _report(Trouble.DAMAGED, found, more, kept[0])
    folder = switch(path, Trouble.DAMAGED.value, report, _now())
    STORE_REPAIRS.labels(reason=Trouble.DAMAGED.value).inc()
    _log.error(
        "store_repaired",
        reason=found[0].reason if found else "as told",
        findings=len(found) + more,
        set_aside=str(folder),
        **asdict(kept[0]),
    )
    return kept[0]


def move(path: Path, connection: sqlite3.Connection, close: Callable[[], None]) -> None:
    """Copy everything to a new file: the disk has refused the old one.

    Args:
        path: of the store.
        connection: reads it.
        close: ends every use of the old file.

    Raises:
        sqlite3.Error, OSError: the new file cannot be written, or the old one not be read.
    """
    build(path, copy_of(connection))
    close()
    report = _report(Trouble.INPUT_OUTPUT, [], 0, None)
    folder = switch(path, Trouble.INPUT_OUTPUT.value, report, _now())
    STORE_REPAIRS.labels(reason=Trouble.INPUT_OUTPUT.value).inc()
    _log.error("store_moved", reason="the disk refused the old file", set_aside=str(folder))


def _report(
    trouble: Trouble, findings: Sequence[Finding], more: int, kept: Kept | None
) -> dict[str, object]:
    return {
        "reason": trouble.value,
        "time": _now().isoformat(timespec="seconds"),
        "findings": [asdict(each) for each in findings[:MAX_REPORTED]],
        "more_findings": len(findings[MAX_REPORTED:]) + more,
        "kept": None if kept is None else asdict(kept),
    }


def _about(error: Exception) -> Finding:
    return Finding(Part.DATABASE, 0, 0, str(error))


def _now() -> datetime:
    return datetime.now(UTC)
