"""One device whose every entry is sent (contract R18)."""

from __future__ import annotations

from module_gateway.external_client.entries import Acknowledgement, Entry, Flight, Lane, Receipt
from module_gateway.external_client.lane_room import LaneRoom
from module_gateway.external_client.replay_line import MAX_STRETCHES, ReplayLine
from module_gateway.protocol.external import Position, Stretch
from tests.unit.external_client.world import device

A = device("a")
STORE = 11


def make() -> ReplayLine:
    return ReplayLine(A, STORE, [], [], LaneRoom(100, 2**20))


def entry(sequence: int, lane: Lane = Lane.REPLAYED, **more: object) -> Entry:
    lease = more.pop("lease", 1)
    receipt = Receipt(1, lease, sequence, lane)  # type: ignore[arg-type]
    more = {"store_id": STORE, **more}
    return Entry(A, b"%d" % sequence, sequence, receipt=receipt, lane=lane, **more)  # type: ignore[arg-type]


def filled(*sequences: int) -> ReplayLine:
    line = make()
    for sequence in sequences:
        assert line.receive(entry(sequence), is_taken=True)
    return line


def fly(line: ReplayLine, lane: Lane = Lane.REPLAYED) -> Flight:
    run = line.next_run(lane, is_announced=True)
    assert run is not None
    flight = Flight(1, A.identity, 1, 0.0, line.pop(run))
    line.fly(flight)
    return flight


def said(line: ReplayLine) -> list[tuple[int, int]]:
    told = [(each.first_sequence, each.position.sequence) for each in line._acknowledgements]
    line._acknowledgements.clear()
    return told


def released(line: ReplayLine) -> list[tuple[int, int]]:
    receipts = [(each.lease, each.delivery) for each in line._released]
    line._released.clear()
    return receipts


def statuses(line: ReplayLine) -> list[bytes]:
    return [each.status for each in line.replayed.waiting]


def test_R18_entry_is_receipted_when_it_is_acknowledged() -> None:
    line = filled(1)
    flight = fly(line)
    assert [] == released(line)
    line.acknowledge(flight)
    assert [(1, 1)] == released(line)
    assert [Acknowledgement(A.identity, Position(STORE, 1))] == line._acknowledgements
    assert line.is_settled


def test_only_the_contiguous_front_is_acknowledged() -> None:
    line = filled(1, 2, 3)
    flights = [fly(line) for _ in range(3)]
    line.acknowledge(flights[2])
    line.acknowledge(flights[1])
    assert [] == said(line)
    line.acknowledge(flights[0])
    assert [(0, 3)] == said(line)


def test_R18_rewound_entries_wait_in_order_and_those_behind_are_not_forgotten() -> None:
    line = filled(1, 2, 3, 4, 5, 6)
    flights = [fly(line) for _ in range(5)]
    for number in (1, 3, 4):
        line.acknowledge(flights[number])
    line.rewind()
    assert [b"1", b"3", b"6"] == statuses(line)
    again = [fly(line) for _ in range(2)]
    line.acknowledge(again[1])
    line.rewind()
    assert [b"1", b"6"] == statuses(line)
    assert [] == said(line)
    line.acknowledge(fly(line))
    assert [(0, 5)] == said(line)
    line.acknowledge(fly(line))
    assert [(0, 6)] == said(line)


def test_new_lease_takes_the_place_of_the_old_receipts() -> None:
    line = filled(1, 2)
    assert not line.receive(entry(1, lease=2), is_taken=True)
    assert not line.receive(entry(2, lease=2), is_taken=True)
    assert [] == released(line)
    line.acknowledge(fly(line))
    assert [(2, 1)] == released(line)
    assert 1 == line._room.held


def test_known_entry_is_acknowledged_again_only_if_it_was() -> None:
    line = filled(1, 2, 3)
    flights = [fly(line) for _ in range(3)]
    line.acknowledge(flights[0])
    line.acknowledge(flights[2])
    said(line), released(line)
    assert not line.receive(entry(1, lease=2), is_taken=True)
    assert [(0, 1)] == said(line)
    assert not line.receive(entry(3, lease=2), is_taken=True)
    assert [] == said(line)
    assert [(2, 1), (2, 3)] == released(line)


def test_another_store_numbers_anew_and_is_never_acknowledged_for_the_old() -> None:
    line = filled(5, 6)
    old = fly(line)
    assert line.receive(entry(1, store_id=STORE + 1), is_taken=True)
    line.acknowledge(old)
    line.acknowledge(fly(line))
    assert [] == said(line)
    line.acknowledge(fly(line))
    assert [(0, 1)] == said(line)


def test_R18_live_run_is_acknowledged_from_its_first_entry_on() -> None:
    line = filled(1)
    for sequence in (7, 9):
        assert line.receive(entry(sequence, Lane.LIVE), is_taken=True)
    line.acknowledge(fly(line, Lane.LIVE))
    line.acknowledge(fly(line, Lane.LIVE))
    assert [(7, 7), (7, 9)] == said(line)
    assert [b"1"] == statuses(line)


def test_R12_device_that_is_not_announced_goes_on_with_its_oldest_entry() -> None:
    line = filled(1)
    line.receive(entry(7, Lane.LIVE), is_taken=True)
    run = line.next_run(Lane.LIVE, is_announced=False)
    assert run is line.replayed
    assert line.live is line.next_run(Lane.LIVE, is_announced=True)


def test_farewell_goes_before_everything() -> None:
    line = filled(1)
    line.farewell = Entry(A, b"bye", ends_registration=True)
    run = line.next_run(Lane.LIVE, is_announced=True)
    assert run is not None
    assert b"bye" == line.pop(run).status
    assert b"1" == fly(line).entry.status  # type: ignore[union-attr]


def test_R14_fold_of_the_handler_needs_a_connecting() -> None:
    line = make()
    line.receive(entry(4, error=b"e", first_sequence=2), is_taken=True)
    assert line.is_fold_next
    assert line.next_run(Lane.REPLAYED, is_announced=True) is None
    assert line.next_run(Lane.REPLAYED, is_announced=False) is line.replayed


def test_R8_fold_of_the_handler_replaces_what_it_covers() -> None:
    line = filled(1, 2, 3)
    line.receive(entry(5, error=b"e", first_sequence=2), is_taken=True)
    assert [b"1", b"5"] == statuses(line)
    assert [(1, 3), (1, 2)] == released(line)


def test_R11_trim_drops_what_is_applied_and_tells_the_handler() -> None:
    line = filled(1, 2, 3)
    line.trim(Position(STORE + 1, 9))
    assert 3 == line.waiting
    line.trim(Position(STORE, 2))
    assert [b"3"] == statuses(line)
    assert [(0, 2)] == said(line)
    assert [(1, 1), (1, 2)] == released(line)
    line.trim(Position(STORE, 2))
    assert [] == said(line)


def test_R11_entries_that_are_delivered_after_a_trim_are_known() -> None:
    line = filled(1)
    line.trim(Position(STORE, 3))
    said(line)
    assert not line.receive(entry(2), is_taken=True)
    assert [(0, 3)] == said(line)
    assert line.receive(entry(4), is_taken=True)


def test_R18_skipped_stretch_is_dropped_whenever_it_is_delivered() -> None:
    line = filled(1, 2, 3)
    line.skip(Stretch(STORE, 2, 4))
    assert [b"1"] == statuses(line)
    assert [(2, 3)] == said(line)
    assert not line.receive(entry(4), is_taken=True)
    assert [(4, 4)] == said(line)
    assert line.receive(entry(5), is_taken=True)
    assert [b"1", b"5"] == statuses(line)


def test_R18_fold_that_reaches_into_a_skipped_stretch_is_not_acknowledged_with_it() -> None:
    line = make()
    fold = entry(3, first_sequence=1, error=b"1 2 3")
    assert line.receive(fold, is_taken=True)
    assert line.receive(entry(4), is_taken=True)
    line.skip(Stretch(STORE, 2, 5))
    assert [b"3"] == statuses(line)
    assert [(4, 4)] == said(line)

    line.skip(Stretch(STORE, 2, 3))
    assert [b"3"] == statuses(line)
    assert [] == said(line)


def test_skipped_stretches_are_bounded() -> None:
    line = make()
    for number in range(3 * MAX_STRETCHES):
        line.skip(Stretch(STORE, 10 * number, 10 * number + 1))
    assert MAX_STRETCHES == len(line._applied)


def test_stretch_of_another_store_skips_nothing() -> None:
    line = filled(1, 2)
    line.skip(Stretch(STORE + 1, 1, 9))
    assert 2 == line.waiting
    assert [] == said(line)


def test_R4_stretches_of_every_store_are_remembered_and_told_for_the_own_one_only() -> None:
    line = filled(1)
    line.skip(Stretch(STORE + 1, 5, 6))
    line.receive(entry(4, store_id=STORE + 1), is_taken=True)
    assert not line.receive(entry(5, store_id=STORE + 1), is_taken=True)
    assert [(5, 5)] == said(line)


def test_R18_entry_below_an_applied_stretch_says_nothing_of_now() -> None:
    line = filled(1)
    assert not line.is_overtaken(entry(1))
    line.skip(Stretch(STORE, 3, 4))
    assert line.is_overtaken(entry(1))
    assert not line.is_overtaken(entry(5))
    assert not line.is_overtaken(entry(1, store_id=STORE + 1))


def test_R16_another_store_has_refused_nothing() -> None:
    line = filled(1, 2)
    line.park()
    line.is_parked = False
    assert line.receive(entry(1, store_id=STORE + 1), is_taken=True)


def test_R15_repeated_end_alone_is_settled_without_a_session() -> None:
    line = make()
    line.receive(entry(1, ends_registration=True, is_repeat=True), is_taken=True)
    line.settle()
    assert [(0, 1)] == said(line)
    assert line.is_settled


def test_repeated_end_behind_something_waits_for_it() -> None:
    line = filled(1)
    line.receive(entry(2, ends_registration=True, is_repeat=True), is_taken=True)
    line.settle()
    assert 2 == line.waiting
    guest = line.pop_for_guest()
    assert guest is not None
    line.fly(Flight(1, A.identity, 0, 0.0, guest), is_guest=True)
    line.settle()
    assert [] == said(line)
    line.acknowledge_guest()
    line.acknowledge_guest()
    assert [(0, 1)] == said(line)


def test_connect_sequence_does_not_carry_a_repeated_end() -> None:
    line = make()
    line.receive(entry(1, ends_registration=True, is_repeat=True), is_taken=True)
    assert line.pop_for_guest() is None


def test_R9_marker_is_superfluous_while_something_waits_unless_it_ends() -> None:
    line = filled(1)
    marker = Entry(A, b"m", receipt=Receipt(1, 1, 7))
    assert not line.hold_marker(marker)
    assert [(1, 7)] == released(line)
    assert line.hold_marker(Entry(A, b"m", ends_registration=True))
    assert 2 == line.waiting
    line.rewind()
    assert [b"1"] == statuses(line)


def test_R18_forgotten_line_takes_everything_anew_but_what_was_acknowledged() -> None:
    line = filled(1, 2, 3)
    line.acknowledge(fly(line))
    line.receive(entry(7, Lane.LIVE), is_taken=True)
    line.forget()
    assert 0 == line.waiting == line._room.held
    assert not line.has_live
    assert not line.receive(entry(1, lease=2), is_taken=True)
    assert line.receive(entry(2, lease=2), is_taken=True)
    assert line.receive(entry(7, lease=2), is_taken=True)


def test_R18_live_entry_whose_acknowledgement_was_lost_is_acknowledged_again_and_not_sent() -> None:
    line = filled(1)
    for sequence in (7, 8):
        line.receive(entry(sequence, Lane.LIVE), is_taken=True)
    line.acknowledge(fly(line, Lane.LIVE))
    assert [(7, 7)] == said(line)
    line.forget()
    assert line.receive(entry(1, lease=2), is_taken=True)
    assert not line.receive(entry(7, lease=2), is_taken=True)
    assert [(7, 7)] == said(line)
    assert line.receive(entry(8, lease=2), is_taken=True)
    assert [b"1", b"8"] == statuses(line)


def test_R16_parked_line_keeps_its_oldest_entry_and_no_receipt() -> None:
    line = filled(1, 2, 3)
    fly(line)
    line.park()
    assert 0 == line._room.held
    assert [b"1"] == statuses(line)
    assert not line.receive(entry(4), is_taken=True)
    assert line.is_lossy
    assert line.next_run(Lane.REPLAYED, is_announced=False) is None
    oldest = line.pop_oldest()
    assert oldest is not None
    assert 1 == oldest.sequence


def test_R16_what_was_refused_comes_before_what_is_new() -> None:
    line = filled(1, 2)
    line.park()
    line.is_parked = False
    line.trim(Position(STORE, 1))
    assert not line.receive(entry(3), is_taken=True)
    line.is_lossy = False  # a new lease
    assert line.receive(entry(2, lease=2), is_taken=True)
    assert line.receive(entry(3, lease=2), is_taken=True)
