"""Which status goes out, and in which state (fleet-protocol 4.5, 4.7)."""

from __future__ import annotations

from module_gateway.external_client.backlog import Backlog
from module_gateway.external_client.effects import Guest, Publish
from module_gateway.external_client.entries import Entry
from module_gateway.external_client.sender import PROMPT_STALL_S, STALL_S, StatusSender
from module_gateway.protocol.external import DeviceState, Status
from tests.unit.external_client.world import MODULE, TraceModule, device

A, B = device("a"), device("b")


def make(window: int = 16, last_counter: int = 100) -> tuple[StatusSender, Backlog]:
    backlog = Backlog({MODULE: TraceModule()})
    return StatusSender("session", backlog, window, 30.0, last_counter), backlog


def statuses(published: list[Publish]) -> list[Status]:
    return [each.message for each in published if isinstance(each.message, Status)]


def add(sender: StatusSender, backlog: Backlog, sequence: int, role: str = "a") -> None:
    backlog.receive(Entry(device(role), b"%d" % sequence, sequence, 11), is_live=True)
    sender.offer(device(role).identity)


def shape(sent: list[Status]) -> list[tuple[DeviceState, int, bytes | None]]:
    return [
        (each.state, each.position.sequence if each.position else 0, each.error) for each in sent
    ]


def test_guest_without_a_fold_says_its_current_status() -> None:
    sender, _ = make()
    counter, publish = sender.connect_guest(Guest(A, b"now"))
    status = statuses([publish])[0]
    assert (1, DeviceState.CONNECTING, b"now", None, None) == (
        counter,
        status.state,
        status.status,
        status.error,
        status.position,
    )
    assert sender.is_announced(A.identity)


def test_devices_take_turns() -> None:
    sender, backlog = make()
    for each in (A, B):
        sender.connect_guest(Guest(each, b""))
    for sequence in (1, 2):
        add(sender, backlog, sequence, "a")
    add(sender, backlog, 3, "b")
    order = [each.device.identity.role for each in statuses(sender.pump(0.0))]
    assert ["a", "b", "a"] == order


def test_window_is_kept_and_refilled() -> None:
    sender, backlog = make(window=2)
    sender.connect_guest(Guest(A, b""))
    for sequence in (1, 2, 3):
        add(sender, backlog, sequence)
    assert [2, 3] == [each.counter for each in statuses(sender.pump(0.0))]
    assert sender.acknowledge(9) is None
    assert sender.acknowledge(3) is not None
    assert [4] == [each.counter for each in statuses(sender.pump(1.0))]
    assert 2 == sender.in_flight


def test_oldest_in_flight_decides_the_expiry() -> None:
    sender, backlog = make()
    sender.connect_guest(Guest(A, b""))
    assert sender.next_expiry() is None
    add(sender, backlog, 1)
    sender.pump(5.0)
    add(sender, backlog, 2)
    sender.pump(6.0)
    assert 35.0 == sender.next_expiry()
    assert [2] == [each.counter for each in sender.expired(35.0)]
    assert [] == sender.expired(34.9)


def test_counters_end_before_they_wrap() -> None:
    sender, backlog = make(last_counter=2)
    sender.connect_guest(Guest(A, b""))
    for sequence in (1, 2):
        add(sender, backlog, sequence)
    assert [2] == [each.counter for each in statuses(sender.pump(0.0))]
    assert not sender.is_exhausted
    sender.acknowledge(2)
    assert sender.is_exhausted


def test_invited_device_is_announced_with_its_fold() -> None:
    sender, backlog = make()
    backlog.receive(Entry(B, b"f", 1, 11), is_live=False)
    sender.invite(Entry(B, b"now"), is_probe=False)
    status = statuses(sender.pump(0.0))[0]
    assert (DeviceState.CONNECTING, b"f", b"[f]") == (status.state, status.status, status.error)
    sender.acknowledge(1)
    assert [1] == [each.position.sequence for each in backlog.acknowledgements]


def test_R8_only_the_acknowledgement_of_its_connecting_lets_a_device_that_joins_go_on() -> None:
    """It had left just before: that DISCONNECT is acknowledged while the fold is under way."""
    sender, backlog = make()
    sender.connect_guest(Guest(A, b"1"))
    backlog.put_first(sender.farewell(A.identity))
    backlog.receive(Entry(A, b"3", 3, 11, error=b"[2][3]", first_sequence=2), is_live=True)
    sender.offer(A.identity)
    sender.pump(0.0)
    sender.invite(Entry(A, b"3"), is_probe=False)
    joining = statuses(sender.pump(0.0))
    assert [(DeviceState.CONNECTING, 3, b"[2][3]")] == shape(joining)
    backlog.receive(Entry(A, b"4", 4, 11, ends_registration=True), is_live=True)
    add(sender, backlog, 5)
    sender.acknowledge(2)
    assert [] == sender.pump(0.0)
    sender.acknowledge(3)
    assert [(DeviceState.DISCONNECT, 4, None), (DeviceState.CONNECTING, 5, None)] == shape(
        statuses(sender.pump(0.0))
    )


def test_probes_do_not_use_the_window() -> None:
    sender, backlog = make(window=1)
    sender.connect_guest(Guest(A, b""))
    sender.invite(Entry(B, b"b"), is_probe=True)
    assert 1 == sender.probes
    sender.pump(0.0)
    add(sender, backlog, 1)
    assert 1 == len(sender.pump(0.0))
    assert (2, 1) == (sender.in_flight, sender.probes)


def test_given_up_device_is_folded_again_and_may_be_invited_later() -> None:
    sender, backlog = make()
    add(sender, backlog, 1)
    sender.pump(0.0)
    add(sender, backlog, 2)
    flight = sender.expired(30.0)[0]
    assert not sender.is_unknown_device(flight)
    sender.give_up(flight)
    assert b"[1][2]" == backlog.folds.get_error(A.identity)
    assert not sender.is_announced(A.identity)
    assert sender.is_idle


def test_farewell_repeats_the_last_status() -> None:
    sender, backlog = make()
    sender.connect_guest(Guest(A, b"first"))
    add(sender, backlog, 1)
    sender.pump(0.0)
    marker = sender.farewell(A.identity)
    assert (b"1", True, True) == (marker.status, marker.ends_registration, marker.is_marker)


def test_disconnect_all_empties_the_announced_set() -> None:
    sender, backlog = make(window=1)
    for each in (A, B):
        sender.connect_guest(Guest(each, b"x"))
    add(sender, backlog, 1)
    states = [each.state for each in statuses(sender.disconnect_all(0.0))]
    assert [DeviceState.DISCONNECT] * 2 == states
    assert () == sender.announced


def test_full_window_that_stalls_lets_one_more_through_to_wake_a_restarted_peer() -> None:
    sender, backlog = make(window=2)
    sender.connect_guest(Guest(A, b""))
    for sequence in range(1, 6):
        add(sender, backlog, sequence)
    assert 2 == len(sender.pump(0.0))
    assert STALL_S == sender.next_stall()
    assert [] == sender.pump(STALL_S - 0.1)
    assert 1 == len(sender.pump(STALL_S))
    assert 2 * STALL_S == sender.next_stall()
    assert [] == sender.pump(STALL_S)


def test_window_stalls_earlier_towards_a_peer_that_listens() -> None:
    sender, backlog = make(window=1)
    sender.stall_s = PROMPT_STALL_S
    sender.connect_guest(Guest(A, b""))
    for sequence in (1, 2):
        add(sender, backlog, sequence)
    assert 1 == len(sender.pump(0.0))
    assert PROMPT_STALL_S == sender.next_stall()
    assert 1 == len(sender.pump(PROMPT_STALL_S))


def test_window_that_is_acknowledged_does_not_stall() -> None:
    sender, backlog = make(window=2)
    sender.connect_guest(Guest(A, b""))
    for sequence in range(1, 6):
        add(sender, backlog, sequence)
    first = statuses(sender.pump(0.0))[0]
    sender.acknowledge(first.counter)
    assert 1 == len(sender.pump(1.5))
    assert 1.5 + STALL_S == sender.next_stall()


def test_session_without_counters_does_not_wait_for_a_stall() -> None:
    sender, backlog = make(window=2, last_counter=2)
    sender.connect_guest(Guest(A, b""))
    for sequence in range(1, 6):
        add(sender, backlog, sequence)
    sender.pump(0.0)
    assert sender.next_stall() is None
    assert [] == sender.pump(STALL_S)
