"""The core as a whole: what it reads, what it stores, when it wants to be woken."""

from __future__ import annotations

import pytest

from module_gateway.bus.address import Address
from module_gateway.module_handler.core import Core, Heard
from module_gateway.module_handler.outbox import ENTRY_OVERHEAD_BYTES
from module_gateway.module_handler.store import DeviceForgotten, DeviceStored
from module_gateway.module_handler.turn import Turn
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from tests.unit.module_handler.rig import (
    CLIENT,
    LIMITS,
    SERVER,
    Rig,
    answers,
    at_once,
    bodies,
    connect,
    device,
    ended,
    kinds,
    lease,
    live,
    status,
)

A, B = device("a"), device("b")


@pytest.fixture
def rig() -> Rig:
    return Rig()


def probe() -> bus_pb2.Message:
    message = bus_pb2.Message()
    message.probe.instance = 1
    return message


@pytest.mark.parametrize(
    ("sender", "message"),
    [
        (CLIENT, connect(1, A)),
        (SERVER, lease()),
        (SERVER, probe()),
        (SERVER, bus_pb2.Message()),
        (Address(bus_pb2.MODULE_HANDLER, 5), status(1, 1, b"")),
        (Address(99, 5), status(1, 1, b"")),
    ],
)
def test_what_a_sender_may_not_say_is_counted_and_ignored(
    rig: Rig, sender: Address, message: bus_pb2.Message
) -> None:
    turn = rig.hear(message, sender=sender)
    assert {Reason.UNEXPECTED_MESSAGE: 1} == dict(turn.counts)
    assert ([], []) == (turn.sends, turn.changes)


def test_a_device_is_stored_once_per_turn_however_much_it_says(rig: Rig) -> None:
    rig.connected(A)
    turn = rig.hear(*(status(1, n, b"s") for n in range(1, 11)))
    (stored,) = [change for change in turn.changes if isinstance(change, DeviceStored)]
    assert stored.holder is not None
    assert 10 == stored.holder.last_sequence


def test_a_device_of_which_nothing_is_left_is_forgotten(rig: Rig) -> None:
    rig.registered(A)
    turn = rig.hear(ended(1))
    assert [DeviceForgotten(A.identity)] == [
        change for change in turn.changes if isinstance(change, DeviceForgotten | DeviceStored)
    ]


def test_R1_a_status_that_changes_nothing_costs_no_write(rig: Rig) -> None:
    rig.registered(A, payload=b"quiet")
    rig.module.merges = False
    rig.hear(status(1, 2, b"quiet"))  # from now on there is something unpublished
    turn = rig.hear(status(1, 3, b"quiet"))
    assert ([b"first"], []) == (answers(turn), turn.changes)
    rig.hear(lease(), sender=CLIENT)
    assert 0 == rig.command(A, b"go")
    turn = rig.hear(status(1, 4, b"quiet"))
    assert ([b"go"], 1) == (answers(turn), len(turn.changes))


def test_a_device_that_was_never_stored_is_not_forgotten_either(rig: Rig) -> None:
    turn = rig.hear(connect(1, A), ended(1))
    assert [] == turn.changes


def test_R20_after_a_restart_no_reply_of_another_request_is_repeated(rig: Rig) -> None:
    rig.registered(A, payload=b"quiet")
    rig.module.merges = False
    rig.hear(status(1, 2, b"quiet"))
    rig.module.command_of = lambda _: b"another"
    assert [b"another"] == answers(rig.hear(status(1, 3, b"quiet")))
    rig.hear(status(1, 4, b"quiet"))
    rig.restart()
    rig.hear(live((1, A, 4)))
    assert [] == answers(rig.hear(status(1, 4, b"quiet")))
    assert [b"another"] == answers(rig.hear(status(1, 5, b"quiet")))


def test_R2_after_a_failed_turn_only_those_whose_answer_it_was_are_out_of_step(rig: Rig) -> None:
    rig.registered(A, payload=b"quiet")
    rig.registered(B, instance=2, payload=b"quiet")
    rig.module.merges = False
    for sequence in (2, 3):
        rig.hear(status(1, sequence, b"quiet"), status(2, sequence, b"quiet"))
    former = rig.core
    failed = rig.core.decide([Heard(SERVER, [status(1, 4, b"quiet")])], rig.now, 0)
    rig.restart()
    rig.core.inherit(former, failed)
    assert ["status_reply"] == kinds(rig.hear(status(2, 4, b"quiet")))
    assert ["close_connection"] == kinds(rig.hear(status(1, 5, b"quiet")))


def test_an_idle_core_wants_to_be_woken_for_its_timers_only(rig: Rig) -> None:
    assert rig.core.next_due() is None
    rig.registered(A)
    assert rig.now + 15.0 == rig.core.next_due()
    rig.hear(connect(2, A))
    assert rig.now + 0.15 == rig.core.next_due()


def test_a_turn_without_news_changes_nothing(rig: Rig) -> None:
    rig.registered(A)
    turn = rig.pass_time(1.0)
    assert ([], []) == (turn.sends, turn.changes)


def test_sizes_are_what_is_bounded(rig: Rig) -> None:
    rig.registered(A)
    rig.hear(status(1, 2, b"s2"))
    rig.leased()
    assert {
        "registered": 1,
        "seats": 1,
        "outbox_entries": 2,
        "outbox_bytes": 2 * ENTRY_OVERHEAD_BYTES + len(b"s1" + b"s1,s2"),
        "deliveries_untaken": 2,
    } == rig.core.sizes()


def test_stored_devices_of_a_module_that_is_gone_are_left_alone(rig: Rig) -> None:
    rig.registered(A)
    state = at_once(rig.store.load())
    core = Core(LIMITS, {}, rig.store.store_id, state, rig.now)
    assert core.holder(A.identity) is None
    assert {
        "registered": 0,
        "seats": 0,
        "outbox_entries": 1,
        "outbox_bytes": ENTRY_OVERHEAD_BYTES + len(b"s1"),
        "deliveries_untaken": 0,
    } == core.sizes()


def test_the_clients_of_a_core_that_failed_go_on_behind_a_gap(rig: Rig) -> None:
    rig.registered(A)
    rig.leased()
    former = rig.core
    rig.restart()
    rig.core.inherit(former, Turn(rig.now, 0))
    turn = rig.hear(status(1, 2, b"s2"))
    assert [3, 4] == [each.delivery for each in bodies(turn, "delivery")]


def test_R22_after_a_restart_the_first_heartbeat_is_due_within_a_second(rig: Rig) -> None:
    rig.registered(A)
    rig.restart()
    due = rig.core.next_due()
    assert due is not None
    assert rig.now < due <= rig.now + 1.0
