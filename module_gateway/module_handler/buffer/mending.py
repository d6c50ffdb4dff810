"""`module-gateway buffer repair`: what is intact goes on, what is damaged is set aside."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from module_gateway.module_handler.buffer.inspection import Inspection, inspect
from module_gateway.module_handler.buffer.surroundings import set_aside
from module_gateway.module_handler.store_files import finish_switch
from module_gateway.module_handler.store_lock import StoreLock
from module_gateway.module_handler.store_opening import repair
from module_gateway.protocol.errors import GatewayError, StoreError


class HandlerRunsError(GatewayError):
    """The handler has the store open: what is damaged cannot be exchanged under it."""


def mend(path: Path, handler_pid: int | None) -> dict[str, Any]:
    """Repair the store at `path` if anything in it is damaged.

    Returns:
        The report of the check, with `repaired`, and with `set_aside` and `kept` when it was.

    Raises:
        HandlerRunsError: it is damaged, and a handler has it open.
        StoreError: there is no store, or another program's.
        OSError: the new store cannot be written; nothing is changed.
    """
    if handler_pid is not None:
        found = inspect(path, is_running=True)
        if found.findings:
            raise HandlerRunsError(
                f"{len(found.findings) + found.more} findings, and process {handler_pid or '?'} "
                "has the store open: stop the gateway and say it again, or restart it, as a "
                "handler repairs what it finds damaged at its start"
            )
        return {**found.report(), "repaired": False}
    if not path.parent.is_dir():
        raise StoreError(f"there is no store at {path}")
    lock = StoreLock(path)
    try:
        finish_switch(path, datetime.now(UTC))
        return _mend(path, inspect(path, is_running=False))
    finally:
        lock.release()


def _mend(path: Path, found: Inspection) -> dict[str, Any]:
    if not found.findings:
        return {**found.report(), "repaired": False}
    repair(path, found.findings)
    newest = set_aside(path)[-1]
    kept = newest.report.get("kept")
    return {**found.report(), "repaired": True, "set_aside": str(newest.path), "kept": kept}
