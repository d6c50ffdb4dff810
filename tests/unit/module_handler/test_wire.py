"""Words of the handler as bus messages."""

from __future__ import annotations

import pytest

from module_gateway.module_handler import wire
from module_gateway.module_handler.delivery import Numbered
from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.registry import Listed
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import ConnectResponseType
from tests.unit.module_handler.rig import device, live

A = device("a", priority=3)


def test_a_reply_names_instance_and_sequence() -> None:
    reply = wire.status_reply(2**64 - 1, 7, b"\x00go").status_reply
    assert (2**64 - 1, 7, b"\x00go") == (reply.instance, reply.sequence, reply.command)


def test_a_refusal_carries_cause_and_reason() -> None:
    refused = wire.status_refused(1, 2, bus_pb2.STATUS_INVALID, Reason.STATUS_INVALID)
    body = refused.status_refused
    assert (1, 2, bus_pb2.STATUS_INVALID, "status_invalid") == (
        body.instance,
        body.sequence,
        body.cause,
        body.reason,
    )


def test_an_empty_request_is_still_a_message() -> None:
    assert "live_connections_request" == wire.live_connections_request().WhichOneof("body")


@pytest.mark.parametrize(
    ("reason", "response"),
    [
        (Reason.ALREADY_CONNECTED, 1),
        (Reason.MODULE_NOT_SUPPORTED, 2),
        (Reason.DEVICE_NOT_SUPPORTED, 3),
        (Reason.HIGHER_PRIORITY_ALREADY_CONNECTED, 4),
    ],
)
def test_refusals_have_the_numbers_of_the_protocol(reason: Reason, response: int) -> None:
    verdict = wire.connect_verdict(9, wire.RESPONSES[reason]).connect_verdict
    assert (9, response) == (verdict.instance, verdict.response)


def test_an_ok_verdict_is_a_message() -> None:
    message = wire.connect_verdict(0, ConnectResponseType.OK)
    assert "connect_verdict" == message.WhichOneof("body")


def test_a_plain_entry_has_no_error() -> None:
    entry = Entry(5, A, b"s", time_unix_ms=9)
    body = wire.delivery(1, 2, Numbered(3, entry, A, b"s"), unix_ms=77).delivery
    assert (1, 2, 3, 5, b"s", 9, 0) == (
        body.endpoint,
        body.epoch,
        body.delivery,
        body.sequence,
        body.status,
        body.time_unix_ms,
        body.first_sequence,
    )
    assert not body.HasField("error")
    assert Device.from_message(body.device) == A


def test_a_fold_with_an_empty_error_is_still_a_fold() -> None:
    entry = Entry(5, A, b"s", error=b"", first_sequence=2)
    body = wire.delivery(1, 2, Numbered(3, entry, A, b"s"), unix_ms=0).delivery
    assert (True, b"", 2) == (body.HasField("error"), body.error, body.first_sequence)


def test_a_marker_repeats_and_has_no_sequence() -> None:
    body = wire.delivery(1, 2, Numbered(3, None, A, b"s"), unix_ms=77).delivery
    assert (0, True, b"s", 77) == (body.sequence, body.is_repeat, body.status, body.time_unix_ms)


def test_a_list_is_read_line_by_line() -> None:
    message = live((4, A, 6))
    assert [Listed(4, A, 6, is_decided=True)] == wire.read_listed(
        message.live_connections.connections
    )


def test_unknown_causes_count_as_lost() -> None:
    assert bus_pb2.LOST == wire.read_cause(1_000)
    assert bus_pb2.INACTIVE == wire.read_cause(bus_pb2.INACTIVE)
