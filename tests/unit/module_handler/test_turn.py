"""What one decision collects."""

from __future__ import annotations

from module_gateway.bus.address import Address
from module_gateway.module_handler.turn import Note, Send, Turn
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason


def test_messages_keep_their_order() -> None:
    turn = Turn(1.0, 2)
    first, second = bus_pb2.Message(), bus_pb2.Message()
    client = Address(bus_pb2.EXTERNAL_CLIENT, 5)
    turn.send(client, first)
    turn.send_to_server(7, second)
    assert [Send(client, first), Send(Address(bus_pb2.INTERNAL_SERVER, 7), second)] == turn.sends


def test_nothing_that_did_not_happen_is_counted() -> None:
    turn = Turn(1.0, 2)
    turn.count(Reason.COMMAND_SUPERSEDED, 0)
    assert {} == dict(turn.counts)
    turn.count(Reason.COMMAND_SUPERSEDED)
    turn.count(Reason.COMMAND_SUPERSEDED, 2)
    assert {Reason.COMMAND_SUPERSEDED: 3} == dict(turn.counts)


def test_notes_have_fields() -> None:
    turn = Turn(1.0, 2)
    turn.note("device_connected", device="a")
    assert [Note("device_connected", {"device": "a"})] == turn.notes


def test_two_turns_share_nothing() -> None:
    one, other = Turn(1.0, 2), Turn(1.0, 2)
    one.count(Reason.BUS_DOWN)
    one.note("x")
    one.send_to_server(1, bus_pb2.Message())
    assert ([], [], {}) == (other.sends, other.notes, dict(other.counts))
