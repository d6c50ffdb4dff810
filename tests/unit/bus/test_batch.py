from __future__ import annotations

from collections import deque
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from module_gateway.bus import batch
from module_gateway.bus.address import Address
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason, RemoteProtocolError

SENDER = Address(bus_pb2.INTERNAL_SERVER, 2**64 - 1)
HEADER = batch.encode_header(SENDER)


def status(instance: int, payload: bytes) -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.status_request.instance = instance
    message.status_request.status = payload
    return message


@st.composite
def messages(draw: st.DrawFn) -> bus_pb2.Message:
    kind = draw(st.sampled_from(["status", "reply", "empty", "presence"]))
    if kind == "empty":
        return bus_pb2.Message()
    message = bus_pb2.Message()
    if kind == "presence":
        served = message.presence.served.add()
        served.module = draw(st.integers(0, 2**32 - 1))
        return message
    payload = draw(st.binary(max_size=40)) * draw(st.sampled_from([1, 1, 1, 10, 100]))
    if kind == "reply":
        message.status_reply.command = payload
        return message
    return status(draw(st.integers(0, 2**64 - 1)), payload)


@given(sent=st.lists(messages(), max_size=60), batch_bytes=st.integers(1, 5000))
@settings(max_examples=200)
def test_any_messages_come_out_in_order_and_no_batch_is_too_large(
    sent: list[bus_pb2.Message], batch_bytes: int
) -> None:
    entries = deque(batch.encode_entry(message) for message in sent)
    payloads = []
    while entries:
        payloads.append(batch.pack(HEADER, entries, batch_bytes))
    received = []
    for payload, count in payloads:
        sender, part = batch.decode(payload)
        assert SENDER == sender
        assert count == len(part)
        assert len(payload) <= batch_bytes or count == 1
        received.extend(part)
    assert sent == received


@given(sent=st.lists(messages(), min_size=1, max_size=60), batch_bytes=st.integers(1, 5000))
def test_batches_are_as_large_as_the_limit_lets_them(
    sent: list[bus_pb2.Message], batch_bytes: int
) -> None:
    entries = deque(batch.encode_entry(message) for message in sent)
    firsts, payloads = [], []
    while entries:
        firsts.append(len(entries[0]))
        payloads.append(batch.pack(HEADER, entries, batch_bytes)[0])
    for (payload, _), (_, next_first) in pairwise(zip(payloads, firsts, strict=True)):
        assert len(payload) + next_first > batch_bytes


@given(sent=st.lists(messages(), max_size=20))
def test_a_packed_batch_is_the_serialised_message_of_the_schema(
    sent: list[bus_pb2.Message],
) -> None:
    expected = bus_pb2.Batch(
        version=1,
        sender_kind=bus_pb2.INTERNAL_SERVER,
        sender_boot_id=2**64 - 1,
        messages=sent or [bus_pb2.Message()],
    )
    entries = deque(batch.encode_entry(message) for message in sent or [bus_pb2.Message()])
    payload, _ = batch.pack(HEADER, entries, 10**9)
    assert expected == bus_pb2.Batch.FromString(payload)


def test_a_message_larger_than_the_limit_travels_alone() -> None:
    sent = [status(1, b"a"), status(2, bytes(10_000)), status(3, b"b"), status(4, b"c")]
    entries = deque(batch.encode_entry(message) for message in sent)
    counts = []
    while entries:
        counts.append(batch.pack(HEADER, entries, 1024)[1])
    assert [1, 1, 2] == counts


def test_the_message_is_read_when_it_is_encoded() -> None:
    message = status(1, b"before")
    entry = batch.encode_entry(message)
    message.status_request.status = b"after"
    payload, _ = batch.pack(HEADER, deque([entry]), 1024)
    assert b"before" == batch.decode(payload)[1][0].status_request.status


@pytest.mark.parametrize("version", [0, 2, 2**32 - 1])
def test_another_version_is_refused(version: int) -> None:
    payload = bus_pb2.Batch(
        version=version, sender_kind=bus_pb2.INTERNAL_SERVER, sender_boot_id=1
    ).SerializeToString()
    with pytest.raises(RemoteProtocolError) as refused:
        batch.decode(payload)
    assert refused.value.reason is Reason.BUS_VERSION


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff",
        b"\x0a\x05abc",
        bus_pb2.Batch(version=1, sender_boot_id=1).SerializeToString(),
        bus_pb2.Batch(version=1, sender_kind=bus_pb2.INTERNAL_SERVER).SerializeToString(),
    ],
)
def test_what_is_no_batch_is_refused(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        batch.decode(payload)
    assert refused.value.reason is Reason.UNDECODABLE


@given(payload=st.binary(max_size=200))
@settings(max_examples=500)
def test_any_bytes_are_a_batch_or_a_remote_protocol_error(payload: bytes) -> None:
    reason: Reason | None = None
    try:
        sender, _ = batch.decode(payload)
    except RemoteProtocolError as error:
        reason = error.reason
    else:
        assert sender.is_valid
    assert reason in {None, Reason.BUS_VERSION, Reason.UNDECODABLE}


def test_a_kind_that_this_version_does_not_know_is_refused() -> None:
    payload = b"\x08\x01\x10\x09\x19" + bytes([1] * 8)
    with pytest.raises(RemoteProtocolError) as refused:
        batch.decode(payload)
    assert refused.value.reason is Reason.UNDECODABLE
