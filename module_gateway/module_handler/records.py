"""Records of the store: one kind byte, a CRC-32 over kind and payload, a protobuf payload.

Pure. A record can be judged without its neighbours: the frame says whether it is intact, the
payload says what it concerns (`protocol/store.proto`). So whatever is left of a damaged file can
be put together again.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Final, TypeAlias, assert_never

from google.protobuf.message import DecodeError

from module_gateway.module_handler.command_log import Verdict
from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.roster import Connection
from module_gateway.module_handler.store import (
    CommandsStored,
    DeviceStored,
    HolderStored,
    LeaseStored,
    RegistrationStored,
)
from module_gateway.protocol import store_pb2 as pb
from module_gateway.protocol.errors import StoreError
from module_gateway.protocol.identity import Device, Identity

_HEAD: Final = struct.Struct("<BI")
HEAD_BYTES: Final = _HEAD.size
"""Kind and CRC in front of the payload."""


@unique
class Kind(IntEnum):
    """What a payload is. A number is never given to another kind."""

    STORE = 1
    NUMBER = 2
    LOG = 3
    STRETCH = 4
    ENTRY = 5
    DEVICE = 6
    LEASE = 7
    VERDICT = 8


class RecordError(StoreError):
    """A record is not what was written.

    Attributes:
        offset: of the first byte in the record that says so.
        reason: in words.
    """

    def __init__(self, offset: int, reason: str) -> None:
        self.offset, self.reason = offset, reason
        super().__init__(f"damaged record: {reason} at byte {offset}")


@dataclass(frozen=True, slots=True)
class StoreNamed:
    """The store's id; numbers above `ceiling` were never given out; `version` of its tables."""

    store_id: int
    ceiling: int
    version: int = 1


@dataclass(frozen=True, slots=True)
class NumberGiven:
    """The highest number that was given out when its entry was deleted."""

    last_sequence: int


@dataclass(frozen=True, slots=True)
class LogNamed:
    """An identity's number in the index of entries; all up to `trimmed_to` is acknowledged."""

    identity: Identity
    log: int
    trimmed_to: int


@dataclass(frozen=True, slots=True)
class StretchTrimmed:
    """Entries of an identity that are acknowledged, behind others that are not."""

    identity: Identity
    first_sequence: int
    last_sequence: int


@dataclass(frozen=True, slots=True)
class VerdictGiven:
    """A verdict, and its place among those of its endpoint."""

    endpoint: int
    verdict: Verdict
    position: int


Record: TypeAlias = (
    StoreNamed
    | NumberGiven
    | LogNamed
    | StretchTrimmed
    | Entry
    | DeviceStored
    | LeaseStored
    | VerdictGiven
)


def encode(record: Record) -> bytes:
    """The framed record."""
    kind, payload = _payload(record)
    return _HEAD.pack(kind, zlib.crc32(payload, zlib.crc32(bytes((kind,))))) + payload


def decode(framed: object) -> Record:
    """Read a framed record; whatever else stood in its column is refused.

    Raises:
        RecordError: it is too short, its sum is wrong, or it makes no sense.
    """
    if not isinstance(framed, bytes):
        raise RecordError(0, f"a {type(framed).__name__} instead of a record")
    if len(framed) < HEAD_BYTES:
        raise RecordError(0, f"{len(framed)} bytes are less than a head")
    number, crc = _HEAD.unpack_from(framed)
    payload = framed[HEAD_BYTES:]
    if crc != zlib.crc32(payload, zlib.crc32(framed[:1])):
        raise RecordError(1, "wrong CRC")
    try:
        return _parse(Kind(number), payload)
    except ValueError as error:
        raise RecordError(0, f"unknown kind {number}") from error
    except DecodeError as error:
        raise RecordError(HEAD_BYTES, "payload is no protobuf message") from error


def _payload(record: Record) -> tuple[Kind, bytes]:
    message: (
        pb.StoreRecord
        | pb.NumberRecord
        | pb.LogRecord
        | pb.StretchRecord
        | pb.DeviceRecord
        | pb.LeaseRecord
        | pb.VerdictRecord
    )
    match record:
        case Entry():
            return Kind.ENTRY, _entry_payload(record)
        case DeviceStored():
            kind, message = Kind.DEVICE, _device_message(record)
        case StoreNamed(store_id, ceiling, version):
            kind = Kind.STORE
            message = pb.StoreRecord(store_id=store_id, ceiling=ceiling, version=version)
        case NumberGiven(last_sequence):
            kind, message = Kind.NUMBER, pb.NumberRecord(last_sequence=last_sequence)
        case LogNamed(identity, log, trimmed_to):
            kind, message = Kind.LOG, pb.LogRecord(log=log, trimmed_to=trimmed_to)
            Device(identity).write_to(message.device)
        case StretchTrimmed(identity, first, last):
            kind, message = Kind.STRETCH, pb.StretchRecord(first_sequence=first, last_sequence=last)
            Device(identity).write_to(message.device)
        case LeaseStored(endpoint, epoch, modules, is_exposed):
            kind, message = (
                Kind.LEASE,
                pb.LeaseRecord(
                    endpoint=endpoint, epoch=epoch, modules=sorted(modules), is_exposed=is_exposed
                ),
            )
        case VerdictGiven():
            kind, message = Kind.VERDICT, _verdict_message(record)
        case _:
            assert_never(record)
    return kind, message.SerializeToString()


def _parse(kind: Kind, payload: bytes) -> Record:  # noqa: PLR0911 - one per kind
    match kind:
        case Kind.ENTRY:
            return _entry(pb.EntryRecord.FromString(payload))
        case Kind.DEVICE:
            return _device_stored(pb.DeviceRecord.FromString(payload))
        case Kind.STORE:
            named = pb.StoreRecord.FromString(payload)
            return StoreNamed(named.store_id, named.ceiling, named.version)
        case Kind.NUMBER:
            return NumberGiven(pb.NumberRecord.FromString(payload).last_sequence)
        case Kind.LOG:
            log = pb.LogRecord.FromString(payload)
            return LogNamed(Device.from_message(log.device).identity, log.log, log.trimmed_to)
        case Kind.STRETCH:
            stretch = pb.StretchRecord.FromString(payload)
            identity = Device.from_message(stretch.device).identity
            return StretchTrimmed(identity, stretch.first_sequence, stretch.last_sequence)
        case Kind.LEASE:
            lease = pb.LeaseRecord.FromString(payload)
            modules = frozenset(lease.modules)
            return LeaseStored(lease.endpoint, lease.epoch, modules, lease.is_exposed)
        case Kind.VERDICT:
            return _verdict_given(pb.VerdictRecord.FromString(payload))
        case _:
            assert_never(kind)


def _entry_payload(entry: Entry) -> bytes:
    message = pb.EntryRecord(
        sequence=entry.sequence,
        status=entry.status,
        ends_registration=entry.ends_registration,
        is_repeat=entry.is_repeat,
        error=entry.error,
        time_unix_ms=entry.time_unix_ms,
        first_sequence=entry.first_sequence,
    )
    entry.device.write_to(message.device)
    return message.SerializeToString()


def _entry(message: pb.EntryRecord) -> Entry:
    return Entry(
        message.sequence,
        Device.from_message(message.device),
        message.status,
        message.ends_registration,
        message.is_repeat,
        message.error if message.HasField("error") else None,
        message.time_unix_ms,
        message.first_sequence,
    )


def _commands_message(commands: CommandsStored) -> pb.Commands:
    return pb.Commands(last=commands.last, queue=commands.queue, in_flight=commands.in_flight)


def _commands(message: pb.Commands) -> CommandsStored:
    in_flight = message.in_flight if message.HasField("in_flight") else None
    return CommandsStored(message.last, tuple(message.queue), in_flight)


def _device_message(stored: DeviceStored) -> pb.DeviceRecord:
    message = pb.DeviceRecord()
    Device(stored.identity).write_to(message.device)
    holder, registration = stored.holder, stored.registration
    if holder is not None:
        holder.device.write_to(message.holder.device)
        message.holder.server, message.holder.instance = holder.connection
        message.holder.last_sequence = holder.last_sequence
        if holder.reply is not None:
            message.holder.reply = holder.reply
    if registration is not None:
        registration.device.write_to(message.registration.device)
        message.registration.status = registration.status
        message.registration.has_unpublished = registration.has_unpublished
        message.registration.commands.CopyFrom(_commands_message(registration.commands))
    if stored.parked is not None:
        message.parked.CopyFrom(_commands_message(stored.parked))
    return message


def _device_stored(message: pb.DeviceRecord) -> DeviceStored:
    holder = registration = parked = None
    if message.HasField("holder"):
        held = message.holder
        holder = HolderStored(
            Device.from_message(held.device),
            Connection(held.server, held.instance),
            held.last_sequence,
            held.reply if held.HasField("reply") else None,
        )
    if message.HasField("registration"):
        kept = message.registration
        registration = RegistrationStored(
            Device.from_message(kept.device),
            kept.status,
            kept.has_unpublished,
            _commands(kept.commands),
        )
    if message.HasField("parked"):
        parked = _commands(message.parked)
    identity = Device.from_message(message.device).identity
    return DeviceStored(identity, holder, registration, parked)


def _verdict_message(given: VerdictGiven) -> pb.VerdictRecord:
    verdict = given.verdict
    message = pb.VerdictRecord(
        endpoint=given.endpoint,
        epoch=verdict.epoch,
        session=verdict.session,
        counter=verdict.counter,
        response=verdict.response,
        position=given.position,
    )
    Device(verdict.identity).write_to(message.device)
    return message


def _verdict_given(message: pb.VerdictRecord) -> VerdictGiven:
    identity = Device.from_message(message.device).identity
    verdict = Verdict(message.epoch, message.session, message.counter, identity, message.response)
    return VerdictGiven(message.endpoint, verdict, message.position)
