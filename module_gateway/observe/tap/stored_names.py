"""Whose connections are open already: read from the handler's store, beside the running handler.

Who connected before the tap did is not said on the bus again, and asking for it would be work for
the gateway. The store has it: a read-only transaction of a moment, as `buffer stat` makes one.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from module_gateway.module_handler.buffer.view import connect_to
from module_gateway.module_handler.records import RecordError, decode
from module_gateway.module_handler.store import DeviceStored
from module_gateway.protocol.identity import Identity


def stored_connections(store: Path) -> dict[tuple[int, int], Identity]:
    """(boot id of the server, instance) → identity, of the devices that hold theirs.

    Empty where there is no store, or none that can be read: then only connects name devices.
    """
    if not store.exists():
        return {}
    found: dict[tuple[int, int], Identity] = {}
    try:
        with closing(connect_to(store)) as connection:
            for (framed,) in connection.execute("SELECT record FROM devices"):
                record = _record(framed)
                if record is not None and record.holder is not None:
                    server, instance = record.holder.connection
                    found[server, instance] = record.identity
    except sqlite3.Error:
        return {}
    return found


def _record(framed: object) -> DeviceStored | None:
    try:
        record = decode(framed)
    except RecordError:  # `buffer check` is the one to say so
        return None
    return record if isinstance(record, DeviceStored) else None
