"""Framed records: what is written is read, and nothing else is."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from module_gateway.module_handler.command_log import Verdict
from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.records import (
    HEAD_BYTES,
    Kind,
    LogNamed,
    NumberGiven,
    Record,
    RecordError,
    StoreNamed,
    StretchTrimmed,
    VerdictGiven,
    decode,
    encode,
)
from module_gateway.module_handler.roster import Connection
from module_gateway.module_handler.store import (
    CommandsStored,
    DeviceStored,
    HolderStored,
    LeaseStored,
    RegistrationStored,
)
from module_gateway.protocol.identity import Device

DEVICE = Device.of(2**31 - 1, 2**32 - 1, "röle", "Näme", 2**32 - 1)
ENTRY = Entry(2**63 - 1, DEVICE, b"\x00s", True, True, b"", -1, 5)
COMMANDS = CommandsStored(b"", (b"", b"\xff"), b"")
EVERY_KIND: dict[Kind, Record] = {
    Kind.STORE: StoreNamed(2**64 - 1, 7),
    Kind.NUMBER: NumberGiven(2**63),
    Kind.LOG: LogNamed(DEVICE.identity, 3, 99),
    Kind.STRETCH: StretchTrimmed(DEVICE.identity, 4, 5),
    Kind.ENTRY: ENTRY,
    Kind.DEVICE: DeviceStored(
        DEVICE.identity,
        HolderStored(DEVICE, Connection(2**64 - 1, 2**32), 1, b""),
        RegistrationStored(DEVICE, b"", has_unpublished=True, commands=COMMANDS),
        CommandsStored(b"x"),
    ),
    Kind.LEASE: LeaseStored(0, 2**64 - 1, frozenset({1, 1_000}), is_exposed=True),
    Kind.VERDICT: VerdictGiven(1, Verdict(2**64 - 1, 2, 2**32 - 1, DEVICE.identity, -1), 9),
}


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_comes_back(kind: Kind) -> None:
    framed = encode(EVERY_KIND[kind])
    assert kind == framed[0]
    assert EVERY_KIND[kind] == decode(framed)


@pytest.mark.parametrize(
    "record",
    [
        DeviceStored(DEVICE.identity),
        DeviceStored(DEVICE.identity, HolderStored(DEVICE, Connection(0, 0), 0, None)),
        DeviceStored(DEVICE.identity, parked=CommandsStored(b"", (), None)),
        Entry(1, Device.of(0, 0, ""), b""),
    ],
)
def test_absent_and_empty_are_different(record: Record) -> None:
    assert record == decode(encode(record))


def test_no_flipped_bit_goes_unnoticed() -> None:
    framed = encode(ENTRY)
    for position in range(len(framed) * 8):
        damaged = bytearray(framed)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(RecordError):
            decode(bytes(damaged))


def test_no_missing_or_additional_byte_goes_unnoticed() -> None:
    framed = encode(ENTRY)
    for part in [*(framed[:length] for length in range(len(framed))), framed + b"\x00"]:
        with pytest.raises(RecordError):
            decode(part)


def sealed(kind: int, payload: bytes) -> bytes:
    return bytes([kind]) + zlib.crc32(bytes([kind]) + payload).to_bytes(4, "little") + payload


@pytest.mark.parametrize(
    ("framed", "offset", "reason"),
    [
        (b"", 0, "0 bytes are less than a head"),
        (b"\x05\x00\x00\x00\x00", 1, "wrong CRC"),
        (sealed(0, b""), 0, "unknown kind 0"),
        (sealed(Kind.ENTRY, b"\xff"), HEAD_BYTES, "payload is no protobuf message"),
    ],
)
def test_an_error_says_where_and_why(framed: bytes, offset: int, reason: str) -> None:
    with pytest.raises(RecordError) as caught:
        decode(framed)
    assert (offset, reason) == (caught.value.offset, caught.value.reason)


def test_a_record_of_one_kind_is_not_read_as_another() -> None:
    framed = encode(NumberGiven(5))
    with pytest.raises(RecordError, match="wrong CRC"):
        decode(bytes([Kind.STORE]) + framed[1:])


@given(st.binary(max_size=60))
def test_any_bytes_are_a_record_or_an_error(framed: bytes) -> None:
    try:
        record = decode(framed)
    except RecordError:
        return
    assert record == decode(encode(record))


@given(
    st.integers(1, 2**63 - 1),
    st.binary(max_size=300),
    st.none() | st.binary(max_size=50),
    st.text(max_size=20).filter(lambda role: role.isprintable()),
)
def test_any_entry_comes_back(sequence: int, status: bytes, error: bytes | None, role: str) -> None:
    entry = ENTRY._replace(
        sequence=sequence, device=Device.of(1, 2, role), status=status, error=error
    )
    assert entry == decode(encode(entry))
