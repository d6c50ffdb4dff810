"""The lanes of one lease: what goes where, and how they begin, break and end."""

from __future__ import annotations

from itertools import count

from module_gateway.module_handler.aggregator import Publication
from module_gateway.module_handler.delivery import Lease, Numbered, Window
from module_gateway.module_handler.outbox import ENTRY_OVERHEAD_BYTES, Bounds, Outbox
from module_gateway.module_handler.store import EntriesTrimmed, EntryAppended, MemoryStore
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.identity import Device
from tests.unit.module_handler.rig import CLIENT, MODULE, at_once, device

A = device("a")
PLAIN = Device.of(MODULE + 1, 0, "p")
WIDE = Window(1_000, 1 << 30)
FOLDED, REPLAYED, LIVE = bus_pb2.FOLDED, bus_pb2.REPLAYED, bus_pb2.LIVE


class Desk:
    """A lease of two modules, the first of them with replay if asked, and what is behind it."""

    def __init__(self, window: Window = WIDE, *, is_replayed: bool = False) -> None:
        self.outbox = Outbox(Bounds(1_000, 1 << 30))
        self.store = MemoryStore()
        replayed = frozenset({MODULE} if is_replayed else ())
        modules = frozenset({MODULE, MODULE + 1})
        self.lease = Lease(0, 1, modules, replayed, window, count(1))

    def put(self, *statuses: bytes, who: Device = A) -> None:
        for status in statuses:
            entry = self.outbox.append(who, Publication(status), 0)
            at_once(self.store.commit([EntryAppended(entry)]))
            self.lease.appended(entry)

    def trim(self, sequence: int) -> None:
        self.outbox.trim(A.identity, sequence)
        at_once(self.store.commit([EntriesTrimmed(A.identity, sequence)]))

    def start(self) -> list[tuple[int, bytes]]:
        self.lease.start(CLIENT, self.outbox)
        return self.pump()

    def numbered(self) -> list[Numbered]:
        """Everything that the windows allow, with as many pages as it takes."""
        result = list(self.lease.pump(self.outbox))
        while queries := self.lease.next_reads():
            for query in queries:
                self.lease.page_read(at_once(self.store.read(query)))
            result += self.lease.pump(self.outbox)
        return result

    def pump(self) -> list[tuple[int, bytes]]:
        return [(each.number, each.status) for each in self.numbered()]

    def lanes(self) -> list[tuple[int, int, bytes]]:
        return [(each.lane, each.number, each.status) for each in self.numbered()]

    def phase(self, *, is_exposed: bool, splits: bool = False) -> None:
        self.lease.enter_phase(self.outbox, is_exposed=is_exposed, splits=splits)


def split() -> Desk:
    """An exposed session that splits, with `old` delivered before."""
    desk = Desk(is_replayed=True)
    desk.put(b"old")
    desk.start()
    desk.phase(is_exposed=True, splits=True)
    return desk


def test_a_lease_begins_with_the_oldest_entry_and_goes_on_with_new_ones() -> None:
    desk = Desk()
    desk.put(b"1", b"2")
    assert [(1, b"1"), (2, b"2")] == desk.start()
    desk.put(b"3")
    assert [(3, b"3")] == desk.pump()
    assert [] == desk.pump()


def test_nothing_is_handed_out_before_somebody_asks() -> None:
    desk = Desk()
    desk.put(b"1")
    assert [] == desk.pump()
    assert desk.lease.mark(A, b"1") is None


def test_the_window_closes_by_count_and_opens_with_a_receipt() -> None:
    desk = Desk(Window(2, 1 << 30))
    desk.put(b"1", b"2", b"3", b"4")
    assert [(1, b"1"), (2, b"2")] == desk.start()
    desk.lease.taken(FOLDED, 1)
    assert [(3, b"3")] == desk.pump()
    desk.lease.taken(FOLDED, 3)
    assert [(4, b"4")] == desk.pump()
    assert 1 == desk.lease.untaken


def test_the_window_closes_by_bytes() -> None:
    desk = Desk(Window(1_000, ENTRY_OVERHEAD_BYTES + 1))
    desk.put(b"1", b"2", b"3")
    assert [(1, b"1")] == desk.start()
    desk.lease.taken(FOLDED, 1)
    assert [(2, b"2")] == desk.pump()


def test_what_was_acknowledged_meanwhile_is_not_handed_out() -> None:
    desk = Desk(Window(1, 1 << 30))
    desk.put(b"1", b"2", b"3")
    desk.start()
    desk.trim(2)
    desk.lease.taken(FOLDED, 1)
    assert [(2, b"3")] == desk.pump()


def test_a_marker_is_numbered_like_an_entry() -> None:
    desk = Desk()
    desk.put(b"1")
    desk.start()
    marker = desk.lease.mark(A, b"1")
    assert marker is not None
    assert (2, None) == (marker.number, marker.entry)
    desk.put(b"2")
    assert [(3, b"2")] == desk.pump()


def test_a_marker_is_not_worth_waiting_for() -> None:
    desk = Desk(Window(1, 1 << 30))
    desk.put(b"1")
    desk.start()
    assert desk.lease.mark(A, b"1") is None
    desk.lease.taken(FOLDED, 1)
    desk.put(b"2")
    assert desk.lease.mark(A, b"1") is None


def test_an_interrupted_stream_shows_a_gap_and_starts_over() -> None:
    desk = Desk()
    desk.put(b"1", b"2")
    desk.start()
    desk.lease.interrupt(desk.outbox)
    assert [(4, b"1"), (5, b"2")] == desk.pump()


def test_a_second_lease_of_the_same_epoch_starts_with_number_one() -> None:
    desk = Desk()
    desk.put(b"1")
    desk.start()
    assert [(1, b"1")] == desk.start()


def test_a_silent_client_is_given_nothing() -> None:
    desk = Desk()
    desk.put(b"1")
    desk.start()
    desk.lease.suspend()
    desk.put(b"2")
    assert [] == desk.pump()
    assert desk.lease.mark(A, b"1") is None
    desk.lease.interrupt(desk.outbox)
    assert [(3, b"1"), (4, b"2")] == desk.pump()


def test_a_new_object_goes_on_behind_the_stream_of_a_lost_one() -> None:
    old, new = Desk(), Desk()
    for desk in (old, new):
        desk.put(b"1")
    old.start()
    new.lease.inherit_client(old.lease, new.outbox)
    assert [(3, b"1")] == new.pump()


def test_a_new_object_gives_a_silent_client_nothing_either() -> None:
    old, new = Desk(), Desk()
    for desk in (old, new):
        desk.put(b"1")
    old.start()
    old.lease.suspend()
    new.lease.inherit_client(old.lease, new.outbox)
    assert [] == new.pump()
    new.lease.interrupt(new.outbox)
    assert [(3, b"1")] == new.pump()


def test_exposed_is_what_was_delivered_before_or_during_a_session() -> None:
    desk = Desk()
    desk.put(b"1", b"2")
    desk.start()
    assert 0 == desk.lease.safe_to(MODULE)
    desk.phase(is_exposed=True)
    assert 2 == desk.lease.safe_to(MODULE)
    desk.put(b"3")
    desk.pump()
    assert 3 == desk.lease.safe_to(MODULE)
    desk.start()
    assert 3 == desk.lease.safe_to(MODULE)
    desk.phase(is_exposed=False)
    desk.put(b"4")
    desk.pump()
    assert 0 == desk.lease.safe_to(MODULE)


def test_R18_what_a_client_holds_to_replay_it_is_not_folded_without_need_either() -> None:
    desk = Desk(is_replayed=True)
    desk.put(b"1", b"2")
    desk.put(b"3", who=PLAIN)
    desk.start()
    desk.phase(is_exposed=False)
    assert (2, 0) == (desk.lease.safe_to(MODULE), desk.lease.safe_to(MODULE + 1))


def test_R18_modules_with_replay_have_a_lane_and_a_window_of_their_own() -> None:
    desk = Desk(Window(1, 1 << 30), is_replayed=True)
    desk.put(b"a1", b"a2")
    desk.put(b"p1", b"p2", who=PLAIN)
    desk.lease.start(CLIENT, desk.outbox)
    assert [(FOLDED, 1, b"p1"), (REPLAYED, 1, b"a1")] == sorted(desk.lanes())
    desk.lease.taken(REPLAYED, 1)
    assert [(REPLAYED, 2, b"a2")] == desk.lanes()
    desk.lease.taken(FOLDED, 1)
    assert [(FOLDED, 2, b"p2")] == desk.lanes()


def test_R18_after_the_split_what_is_new_overtakes() -> None:
    desk = Desk(Window(1, 1 << 30), is_replayed=True)
    desk.put(b"1", b"2")
    desk.start()
    desk.phase(is_exposed=True, splits=True)
    desk.put(b"3", b"4")
    assert [(LIVE, 1, b"3")] == desk.lanes()
    desk.lease.taken(REPLAYED, 1)
    assert [(REPLAYED, 2, b"2")] == desk.lanes()
    desk.lease.taken(REPLAYED, 2)
    assert [] == desk.lanes()
    desk.lease.taken(LIVE, 1)
    assert [(LIVE, 2, b"4")] == desk.lanes()


def test_R18_the_live_lane_does_not_repeat_what_is_replayed() -> None:
    desk = Desk(Window(1, 1 << 30), is_replayed=True)
    desk.put(b"1", b"2")
    desk.start()
    desk.phase(is_exposed=True, splits=True)
    assert [] == desk.lanes()


def test_R18_a_split_that_is_told_twice_has_one_cut() -> None:
    desk = split()
    desk.put(b"new")
    desk.phase(is_exposed=True, splits=True)
    assert 1 == desk.lease.cut
    assert [(LIVE, 1, b"new")] == desk.lanes()


def test_R18_a_session_that_does_not_split_has_one_order() -> None:
    desk = Desk(is_replayed=True)
    desk.start()
    desk.phase(is_exposed=True)
    desk.put(b"1")
    assert [(REPLAYED, 1, b"1")] == desk.lanes()


def test_R18_only_modules_with_replay_split() -> None:
    desk = Desk()
    desk.start()
    desk.phase(is_exposed=True, splits=True)
    assert desk.lease.cut is None
    desk.put(b"1")
    assert [(FOLDED, 1, b"1")] == desk.lanes()


def test_R18_after_the_end_of_a_split_the_next_lease_has_one_order_again() -> None:
    desk = split()
    desk.put(b"new")
    desk.pump()
    desk.phase(is_exposed=False)
    desk.put(b"later")
    desk.put(b"p", who=PLAIN)
    assert [(FOLDED, 1, b"p")] == desk.lanes()
    desk.lease.start(CLIENT, desk.outbox)
    assert [(1, b"old"), (2, b"new"), (3, b"later")] == [
        (number, status) for lane, number, status in desk.lanes() if lane == REPLAYED
    ]


def test_R18_an_interruption_ends_the_split_and_shows_in_the_lane_that_goes_on() -> None:
    desk = split()
    desk.put(b"new")
    desk.pump()
    desk.lease.interrupt(desk.outbox)
    assert desk.lease.cut is None
    assert [(REPLAYED, 3, b"old"), (REPLAYED, 4, b"new")] == desk.lanes()


def test_R18_an_unserved_lease_does_not_split() -> None:
    desk = Desk(is_replayed=True)
    desk.phase(is_exposed=True, splits=True)
    assert desk.lease.cut is None


def test_R18_markers_travel_in_the_folded_lane_unless_their_devices_lane_is_behind() -> None:
    desk = Desk(Window(1, 1 << 30), is_replayed=True)
    desk.put(b"1", b"2")
    desk.start()
    assert desk.lease.mark(A, b"2") is None
    desk.phase(is_exposed=True, splits=True)
    marker = desk.lease.mark(A, b"2")
    assert marker is not None
    assert (FOLDED, 1) == (marker.lane, marker.number)


def test_R8_what_was_delivered_live_is_exposed() -> None:
    desk = split()
    desk.put(b"new")
    desk.pump()
    assert 2 == desk.lease.exposed_to


def test_R18_a_log_that_is_emptied_beside_a_replay_is_known_to_be_empty() -> None:
    desk = split()
    desk.put(b"new")
    desk.outbox.trim(A.identity, 2, first_sequence=2)
    desk.trim(1)
    assert 0 == len(desk.outbox)
