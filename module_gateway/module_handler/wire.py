"""The handler's side of the bus schema: its words as messages. Pure; see `bus.proto`."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import Final

from module_gateway.module_handler.delivery import Numbered
from module_gateway.module_handler.registry import Listed
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Device, Identity
from module_gateway.protocol.internal import ConnectResponseType

RESPONSES: Final = {
    Reason.ALREADY_CONNECTED: ConnectResponseType.ALREADY_CONNECTED,
    Reason.HIGHER_PRIORITY_ALREADY_CONNECTED: ConnectResponseType.HIGHER_PRIORITY_ALREADY_CONNECTED,
    Reason.MODULE_NOT_SUPPORTED: ConnectResponseType.MODULE_NOT_SUPPORTED,
    Reason.DEVICE_NOT_SUPPORTED: ConnectResponseType.DEVICE_NOT_SUPPORTED,
    Reason.TOO_MANY_IDENTITIES: ConnectResponseType.DEVICE_NOT_SUPPORTED,
}
"""How a refusal is told to a device (fleet-protocol 1.2)."""

CAUSE_WORDS: Final = {number: name.lower() for name, number in bus_pb2.EndCause.items()}
"""Names of the EndCause numbers, for the log."""

SNAPSHOT_PART_BYTES: Final = 32 * 1024
"""Of one part of a snapshot: well below a batch (decisions: Bus, 64 KiB)."""


def connect_verdict(instance: int, response: ConnectResponseType) -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.connect_verdict.instance = instance
    message.connect_verdict.response = response.value  # type: ignore[assignment]  # an open enum
    return message


def status_reply(instance: int, sequence: int, command: bytes) -> bus_pb2.Message:
    message = bus_pb2.Message()
    reply = message.status_reply
    reply.instance = instance
    reply.sequence = sequence
    reply.command = command
    return message


def status_refused(instance: int, sequence: int, cause: int, reason: Reason) -> bus_pb2.Message:
    message = bus_pb2.Message()
    refused = message.status_refused
    refused.instance = instance
    refused.sequence = sequence
    refused.cause = cause  # type: ignore[assignment]  # an open enum
    refused.reason = reason
    return message


def probe(instance: int) -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.probe.instance = instance
    return message


def close_connection(instance: int, cause: int) -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.close_connection.instance = instance
    message.close_connection.cause = cause  # type: ignore[assignment]  # an open enum
    return message


def push_command(instance: int, command: bytes) -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.push_command.instance = instance
    message.push_command.command = command
    return message


def live_connections_request() -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.live_connections_request.SetInParent()
    return message


def read_cause(number: int) -> int:
    """An EndCause number; what a newer server may say and we do not know counts as LOST."""
    return number if number in CAUSE_WORDS else bus_pb2.LOST


def read_listed(connections: Iterable[bus_pb2.LiveConnections.Connection]) -> list[Listed]:
    return [
        Listed(line.instance, Device.from_message(line.device), line.last_sequence, line.is_decided)
        for line in connections
    ]


def lease_granted(endpoint: int, epoch: int, store_id: int) -> bus_pb2.Message:
    message = bus_pb2.Message()
    granted = message.lease_granted
    granted.endpoint = endpoint
    granted.epoch = epoch
    granted.store_id = store_id
    return message


def lease_ended(endpoint: int, epoch: int, current: int) -> bus_pb2.Message:
    """`epoch` is superseded; `current` has the lease."""
    message = bus_pb2.Message()
    ended = message.lease_ended
    ended.endpoint = endpoint
    ended.epoch, ended.current_epoch = epoch, current
    ended.reason = Reason.STALE_LEASE
    return message


def snapshot_parts(
    endpoint: int,
    epoch: int,
    request: int,
    registered: Iterable[tuple[Device, bytes]],
    behind: Container[Identity] = (),
) -> Iterator[bus_pb2.Message]:
    """A snapshot, cut into messages of about SNAPSHOT_PART_BYTES; at least one.

    `behind`: whose older statuses are still to come.
    """
    message = _snapshot(endpoint, epoch, request)
    message.snapshot.is_first = True
    size_bytes = 0
    for device, status in registered:
        if size_bytes >= SNAPSHOT_PART_BYTES:
            yield message
            message = _snapshot(endpoint, epoch, request)
            size_bytes = 0
        line = message.snapshot.registered.add()
        device.write_to(line.device)
        line.status = status
        if device.identity in behind:
            line.is_behind = True
        size_bytes += line.ByteSize()
    message.snapshot.is_last = True
    yield message


def _snapshot(endpoint: int, epoch: int, request: int) -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.snapshot.endpoint = endpoint
    message.snapshot.epoch = epoch
    message.snapshot.request = request
    return message


def delivery(endpoint: int, epoch: int, numbered: Numbered, unix_ms: int) -> bus_pb2.Message:
    """An entry, or a marker with sequence 0 and the time `unix_ms`."""
    message = bus_pb2.Message()
    delivered = message.delivery
    delivered.endpoint = endpoint
    delivered.epoch = epoch
    delivered.delivery = numbered.number
    delivered.lane = numbered.lane  # type: ignore[assignment]  # an open enum
    numbered.device.write_to(delivered.device)
    delivered.status = numbered.status
    entry = numbered.entry
    if entry is None:
        delivered.is_repeat = True
        delivered.time_unix_ms = unix_ms
        return message
    delivered.sequence = entry.sequence
    delivered.ends_registration = entry.ends_registration
    delivered.is_repeat = entry.is_repeat
    delivered.time_unix_ms = entry.time_unix_ms
    if entry.error is not None:
        delivered.error = entry.error
        delivered.first_sequence = entry.first_sequence
        if entry.indivisible is not None:
            delivered.indivisible = entry.indivisible
    return message


def deliveries_voided(endpoint: int, epoch: int) -> bus_pb2.Message:
    """What was delivered may not exist any more."""
    message = bus_pb2.Message()
    message.deliveries_voided.endpoint = endpoint
    message.deliveries_voided.epoch = epoch
    return message


def command_verdict(
    endpoint: int, epoch: int, session: int, counter: int, response: int
) -> bus_pb2.Message:
    message = bus_pb2.Message()
    verdict = message.command_verdict
    verdict.endpoint = endpoint
    verdict.epoch = epoch
    verdict.session = session
    verdict.counter = counter
    verdict.response = response
    return message
