"""What the API shows: models of vehicles, devices, statuses, commands and events.

Times are Unix milliseconds. Numbers that exceed what a browser's numbers hold are text.
"""

from __future__ import annotations

import json
from typing import Final, assert_never

from pydantic import BaseModel

from module_gateway.control_plane.decode import Decoder, Payload
from module_gateway.control_plane.events import (
    Change,
    CommandFinished,
    CommandSent,
    CommandState,
    DeviceLeft,
    SessionEnded,
    SessionReady,
    SessionStarted,
    StatusApplied,
    StatusRepeated,
)
from module_gateway.control_plane.feed import News
from module_gateway.control_plane.records import (
    CommandRecord,
    DeviceRecord,
    StatusRecord,
    VehicleName,
    VehicleRecord,
)
from module_gateway.protocol.external import DeviceState, Position
from module_gateway.protocol.identity import Identity

EVENT_PAYLOAD_BYTES: Final = 64 * 1024
"""Larger payloads are not repeated in events; the API has them."""

STATES: Final = {state.value: state.name.lower() for state in DeviceState}


class PositionView(BaseModel):
    """Where in its gateway's outbox a status stood."""

    store_id: str
    sequence: int


class StatusView(BaseModel):
    """One applied status."""

    number: int
    received_unix_ms: int
    recorded_unix_ms: int | None
    """When the gateway recorded it, null when it did not say."""
    state: str
    is_replayed: bool
    """Recorded during an outage: newer statuses may have been received before it."""
    status: Payload
    error: Payload | None
    position: PositionView | None


class DeviceView(BaseModel):
    """One device with its latest news."""

    module: int
    device_type: int
    role: str
    name: str
    priority: int
    is_connected: bool
    first_seen_unix_ms: int
    last_seen_unix_ms: int
    statuses: int
    replayed: int
    """How many of them were recorded during an outage and sent after it."""
    repeats: int
    """Statuses recognised as applied before and not applied again."""
    last_status: StatusView | None
    """The current one: never a replayed one while a newer one is known."""
    last_error: StatusView | None
    """The last status that came with an error aggregate."""


class VehicleView(BaseModel):
    """One vehicle."""

    company: str
    vehicle: str
    is_connected: bool
    is_ready: bool
    """The connect sequence of its session is complete."""
    session_id: str | None
    sessions: int
    end_reason: str
    """Why the last session ended, "" while one is open."""
    device_count: int
    devices_connected: int
    first_seen_unix_ms: int
    last_seen_unix_ms: int


class VehicleDetail(VehicleView):
    """One vehicle with its devices."""

    devices: list[DeviceView]


class CommandView(BaseModel):
    """One posted command and how far it has come."""

    id: str
    company: str
    vehicle: str
    module: int
    device_type: int
    role: str
    state: CommandState
    is_final: bool
    command: Payload
    created_unix_ms: int
    changed_unix_ms: int
    expires_unix_ms: int
    response: int | None
    """The gateway's CommandResponse number."""


def view_status(record: StatusRecord, module: int, decoder: Decoder) -> StatusView:
    """One status of a device of `module`."""
    return StatusView(
        number=record.number,
        received_unix_ms=record.received_unix_ms,
        recorded_unix_ms=record.time_unix_ms or None,
        state=state_name(record.state),
        is_replayed=record.is_replayed,
        status=decoder.status(module, record.status),
        error=None if record.error is None else decoder.error(record.error),
        position=view_position(record.position),
    )


def view_position(position: Position | None) -> PositionView | None:
    """A position whose store is readable for a browser."""
    if position is None:
        return None
    return PositionView(store_id=str(position.store_id), sequence=position.sequence)


def view_device(record: DeviceRecord, decoder: Decoder) -> DeviceView:
    """One device."""
    identity = record.identity

    def shown(status: StatusRecord | None) -> StatusView | None:
        return None if status is None else view_status(status, identity.module, decoder)

    return DeviceView(
        module=identity.module,
        device_type=identity.device_type,
        role=identity.role,
        name=record.device.name,
        priority=record.device.priority,
        is_connected=record.is_connected,
        first_seen_unix_ms=record.first_seen_unix_ms,
        last_seen_unix_ms=record.last_seen_unix_ms,
        statuses=record.statuses,
        replayed=record.replayed,
        repeats=record.repeats,
        last_status=shown(record.last_status),
        last_error=shown(record.last_error),
    )


def view_vehicle(record: VehicleRecord) -> VehicleView:
    """One vehicle."""
    return VehicleView(
        company=record.name.company,
        vehicle=record.name.vehicle,
        is_connected=record.session_id is not None,
        is_ready=record.is_ready,
        session_id=record.session_id,
        sessions=record.sessions,
        end_reason=record.end_reason,
        device_count=record.devices,
        devices_connected=record.devices_connected,
        first_seen_unix_ms=record.first_seen_unix_ms,
        last_seen_unix_ms=record.last_seen_unix_ms,
    )


def view_command(record: CommandRecord, decoder: Decoder) -> CommandView:
    """One command."""
    return CommandView(
        id=record.command_id,
        company=record.vehicle.company,
        vehicle=record.vehicle.vehicle,
        module=record.identity.module,
        device_type=record.identity.device_type,
        role=record.identity.role,
        state=record.state,
        is_final=record.state.is_final,
        command=decoder.command(record.identity.module, record.command),
        created_unix_ms=record.created_unix_ms,
        changed_unix_ms=record.changed_unix_ms,
        expires_unix_ms=record.expires_unix_ms,
        response=record.response,
    )


def state_name(state: int) -> str:
    """The deviceState in small letters, or its number."""
    return STATES.get(state, str(state))


def news_of(name: VehicleName, change: Change, at_unix_ms: int, decoder: Decoder) -> News:
    """What listeners are told about a change."""
    kind, content = _kind_and_content(change, decoder)
    head = {"company": name.company, "vehicle": name.vehicle, "unix_ms": at_unix_ms}
    return News(kind, json.dumps({**head, **content}, separators=(",", ":")))


def _kind_and_content(change: Change, decoder: Decoder) -> tuple[str, dict[str, object]]:
    content: dict[str, object]
    match change:
        case SessionStarted(session_id):
            kind, content = "session", {"state": "started", "session_id": session_id}
        case SessionReady(session_id):
            kind, content = "session", {"state": "ready", "session_id": session_id}
        case SessionEnded(session_id, reason):
            kind = "session"
            content = {"state": "ended", "session_id": session_id, "reason": str(reason)}
        case StatusApplied():
            kind, content = "status", _status_content(change, decoder)
        case StatusRepeated(device, _, is_connected):
            kind, content = "repeat", {**_device(device.identity), "is_connected": is_connected}
        case DeviceLeft(identity):
            kind, content = "device", {**_device(identity), "is_connected": False}
        case CommandSent(command_id):
            kind, content = "command", {"id": command_id, "state": CommandState.SENT}
        case CommandFinished(command_id, outcome, response):
            kind = "command"
            content = {"id": command_id, "state": outcome, "response": response}
        case _:
            assert_never(change)
    return kind, content


def _status_content(change: StatusApplied, decoder: Decoder) -> dict[str, object]:
    identity = change.device.identity
    content: dict[str, object] = {
        **_device(identity),
        "name": change.device.name,
        "is_connected": change.is_connected,
        "state": state_name(change.state),
        "is_replayed": change.is_replayed,
    }
    size_bytes = len(change.status) + len(change.error or b"")
    if size_bytes > EVENT_PAYLOAD_BYTES:
        return {**content, "omitted_bytes": size_bytes}
    content["status"] = decoder.status(identity.module, change.status).model_dump()
    if change.error is not None:
        content["error"] = decoder.error(change.error).model_dump()
    return content


def _device(identity: Identity) -> dict[str, object]:
    return {
        "module": identity.module,
        "device_type": identity.device_type,
        "role": identity.role,
    }
