"""Between the control plane's records and the rows of its tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from module_gateway.control_plane.events import CommandState
from module_gateway.control_plane.records import (
    CommandRecord,
    DeviceRecord,
    SessionRecord,
    StatusRecord,
    VehicleName,
    VehicleRecord,
)
from module_gateway.control_plane.sql_schema import to_signed, to_unsigned
from module_gateway.protocol.external import Position
from module_gateway.protocol.identity import Device, Identity

Fields = dict[str, Any]
"""One row by the names of its columns."""

Stretches = Sequence[tuple[int, int]]


def vehicle_row(vehicle_id: int, record: VehicleRecord) -> Fields:
    """Of a vehicle; its devices are counted, not kept."""
    return {
        "id": vehicle_id,
        "company": record.name.company,
        "vehicle": record.name.vehicle,
        "first_seen_unix_ms": record.first_seen_unix_ms,
        "last_seen_unix_ms": record.last_seen_unix_ms,
        "session_id": record.session_id,
        "is_ready": record.is_ready,
        "sessions": record.sessions,
        "end_reason": record.end_reason,
    }


def vehicle_of(row: Row[Any]) -> VehicleRecord:
    """The other way."""
    return VehicleRecord(
        VehicleName(row.company, row.vehicle),
        row.first_seen_unix_ms,
        row.last_seen_unix_ms,
        row.session_id,
        row.is_ready,
        row.sessions,
        row.end_reason,
    )


def device_row(device_id: int, vehicle_id: int, record: DeviceRecord) -> Fields:
    """Of a device, without what is counted of its history."""
    identity, last_status, last_error = record.identity, record.last_status, record.last_error
    return {
        "id": device_id,
        "vehicle_id": vehicle_id,
        "module": identity.module,
        "device_type": identity.device_type,
        "role": identity.role,
        "name": record.device.name,
        "priority": record.device.priority,
        "first_seen_unix_ms": record.first_seen_unix_ms,
        "last_seen_unix_ms": record.last_seen_unix_ms,
        "is_connected": record.is_connected,
        "statuses": record.statuses,
        "repeats": record.repeats,
        "replayed": record.replayed,
        "last_status": None if last_status is None else last_status.number,
        "last_error": None if last_error is None else last_error.number,
    }


def device_of(
    row: Row[Any], last_status: StatusRecord | None, last_error: StatusRecord | None
) -> DeviceRecord:
    """The other way."""
    identity = Identity(row.module, row.device_type, row.role)
    return DeviceRecord(
        Device(identity, row.name, row.priority),
        row.first_seen_unix_ms,
        row.last_seen_unix_ms,
        row.is_connected,
        last_status,
        last_error,
        row.statuses,
        row.repeats,
        row.replayed,
    )


def status_row(device_id: int, place: int, record: StatusRecord) -> Fields:
    """Of a status at its place."""
    position = record.position
    return {
        "device_id": device_id,
        "number": record.number,
        "place": place,
        "received_unix_ms": record.received_unix_ms,
        "state": record.state,
        "status": record.status,
        "error": record.error,
        "time_unix_ms": record.time_unix_ms,
        "store_id": None if position is None else to_signed(position.store_id),
        "sequence": None if position is None else to_signed(position.sequence),
        "is_replayed": record.is_replayed,
    }


def status_of(row: Row[Any]) -> StatusRecord:
    """The other way."""
    position = None
    if row.store_id is not None:
        position = Position(to_unsigned(row.store_id), to_unsigned(row.sequence))
    return StatusRecord(
        row.number,
        row.received_unix_ms,
        row.state,
        row.status,
        row.error,
        row.time_unix_ms,
        position,
        row.is_replayed,
    )


def position_row(device_id: int, advanced: int, position: Position, stretches: Stretches) -> Fields:
    """Up to where a device's store is applied; `advanced` orders its stores."""
    return {
        "device_id": device_id,
        "store_id": to_signed(position.store_id),
        "advanced": advanced,
        "up_to": to_signed(position.sequence),
        "stretches": json.dumps(stretches) if stretches else "",
    }


def position_of(row: Row[Any]) -> tuple[Position, Stretches]:
    """The other way."""
    stretches = [(first, last) for first, last in json.loads(row.stretches or "[]")]
    return Position(to_unsigned(row.store_id), to_unsigned(row.up_to)), stretches


def session_row(vehicle_id: int, record: SessionRecord) -> Fields:
    """Of a session."""
    names = SessionRecord.__dataclass_fields__
    return {"vehicle_id": vehicle_id, **{name: getattr(record, name) for name in names}}


def session_of(row: Row[Any]) -> SessionRecord:
    """The other way."""
    return SessionRecord(*(getattr(row, name) for name in SessionRecord.__dataclass_fields__))


def command_row(vehicle_id: int, ordinal: int, record: CommandRecord) -> Fields:
    """Of a command; `ordinal` counts them in the order of posting."""
    return {
        "command_id": record.command_id,
        "ordinal": ordinal,
        "vehicle_id": vehicle_id,
        "module": record.identity.module,
        "device_type": record.identity.device_type,
        "role": record.identity.role,
        "command": record.command,
        "state": str(record.state),
        "created_unix_ms": record.created_unix_ms,
        "changed_unix_ms": record.changed_unix_ms,
        "expires_unix_ms": record.expires_unix_ms,
        "counter": record.counter,
        "response": record.response,
    }


def command_of(row: Row[Any], vehicle: VehicleName) -> CommandRecord:
    """The other way."""
    return CommandRecord(
        row.command_id,
        vehicle,
        Identity(row.module, row.device_type, row.role),
        row.command,
        CommandState(row.state),
        row.created_unix_ms,
        row.changed_unix_ms,
        row.expires_unix_ms,
        row.counter,
        row.response,
    )
