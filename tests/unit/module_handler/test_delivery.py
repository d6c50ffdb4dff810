"""The numbered stream of one lease."""

from __future__ import annotations

from module_gateway.module_handler.aggregator import Publication
from module_gateway.module_handler.delivery import STALE_PENDING, Lease, Window
from module_gateway.module_handler.outbox import ENTRY_OVERHEAD_BYTES, Bounds, Outbox
from tests.unit.module_handler.rig import CLIENT, MODULE, device
from tests.unit.module_handler.scripted_module import ScriptedModule

A = device("a")
WIDE = Window(1_000, 1 << 30)


class Stream:
    """A lease on an outbox of one device."""

    def __init__(self, window: Window = WIDE, entries: int = 1_000) -> None:
        self.outbox = Outbox(Bounds(entries, 1 << 30), {MODULE: ScriptedModule()})
        self.lease = Lease(0, 1, frozenset({MODULE}), window)

    def put(self, *statuses: bytes) -> None:
        for status in statuses:
            entry = self.outbox.append(A, Publication(status), 0)
            self.lease.appended(entry, self.outbox)

    def start(self) -> list[tuple[int, bytes]]:
        self.lease.start(CLIENT, self.outbox)
        return self.pump()

    def pump(self) -> list[tuple[int, bytes]]:
        return [(each.number, each.status) for each in self.lease.pump(self.outbox)]


def test_a_lease_begins_with_the_oldest_entry_and_goes_on_with_new_ones() -> None:
    stream = Stream()
    stream.put(b"1", b"2")
    assert [(1, b"1"), (2, b"2")] == stream.start()
    stream.put(b"3")
    assert [(3, b"3")] == stream.pump()
    assert [] == stream.pump()


def test_nothing_is_handed_out_before_somebody_asks() -> None:
    stream = Stream()
    stream.put(b"1")
    assert [] == stream.pump()
    assert stream.lease.mark(A, b"1") is None


def test_the_window_closes_by_count_and_opens_with_a_receipt() -> None:
    stream = Stream(Window(2, 1 << 30))
    stream.put(b"1", b"2", b"3", b"4")
    assert [(1, b"1"), (2, b"2")] == stream.start()
    stream.lease.taken(1)
    assert [(3, b"3")] == stream.pump()
    stream.lease.taken(3)
    assert [(4, b"4")] == stream.pump()
    assert 1 == stream.lease.untaken


def test_the_window_closes_by_bytes() -> None:
    stream = Stream(Window(1_000, ENTRY_OVERHEAD_BYTES + 1))
    stream.put(b"1", b"2", b"3")
    assert [(1, b"1")] == stream.start()
    stream.lease.taken(1)
    assert [(2, b"2")] == stream.pump()


def test_what_was_acknowledged_meanwhile_is_not_handed_out() -> None:
    stream = Stream(Window(1, 1 << 30))
    stream.put(b"1", b"2", b"3")
    stream.start()
    stream.outbox.trim(A.identity, 2)
    stream.lease.taken(1)
    assert [(2, b"3")] == stream.pump()


def test_a_fold_takes_the_place_of_what_it_covers() -> None:
    stream = Stream(Window(2, 1 << 30), entries=4)
    stream.put(b"1", b"2", b"3", b"4", b"5")
    stream.start()
    stream.outbox.compact(A.identity, exposed_to=0)
    stream.lease.taken(2)
    (fold, last) = stream.lease.pump(stream.outbox)
    assert fold.entry is not None
    assert (3, b"[1][2][3]", 1) == (fold.number, fold.entry.error, fold.entry.first_sequence)
    assert (4, b"4") == (last.number, last.status)


def test_a_marker_is_numbered_like_an_entry() -> None:
    stream = Stream()
    stream.put(b"1")
    stream.start()
    marker = stream.lease.mark(A, b"1")
    assert marker is not None
    assert (2, None) == (marker.number, marker.entry)
    stream.put(b"2")
    assert [(3, b"2")] == stream.pump()


def test_a_marker_is_not_worth_waiting_for() -> None:
    stream = Stream(Window(1, 1 << 30))
    stream.put(b"1")
    stream.start()
    assert stream.lease.mark(A, b"1") is None
    stream.lease.taken(1)
    stream.put(b"2")
    assert stream.lease.mark(A, b"1") is None


def test_an_interrupted_stream_shows_a_gap_and_starts_over() -> None:
    stream = Stream()
    stream.put(b"1", b"2")
    stream.start()
    stream.lease.interrupt(stream.outbox)
    assert [(4, b"1"), (5, b"2")] == stream.pump()


def test_a_second_lease_of_the_same_epoch_starts_with_number_one() -> None:
    stream = Stream()
    stream.put(b"1")
    stream.start()
    assert [(1, b"1")] == stream.start()


def test_a_silent_client_is_given_nothing() -> None:
    stream = Stream()
    stream.put(b"1")
    stream.start()
    stream.lease.suspend()
    stream.put(b"2")
    assert [] == stream.pump()
    assert stream.lease.mark(A, b"1") is None
    stream.lease.interrupt(stream.outbox)
    assert [(3, b"1"), (4, b"2")] == stream.pump()


def test_a_new_object_goes_on_behind_the_stream_of_a_lost_one() -> None:
    old, new = Stream(), Stream()
    for stream in (old, new):
        stream.put(b"1")
    old.start()
    new.lease.inherit_client(old.lease, new.outbox)
    assert [(3, b"1")] == new.pump()


def test_exposed_is_what_was_delivered_before_or_during_a_session() -> None:
    stream = Stream()
    stream.put(b"1", b"2")
    stream.start()
    assert 0 == stream.lease.exposed_to
    stream.lease.enter_phase(is_exposed=True)
    assert 2 == stream.lease.exposed_to
    stream.put(b"3")
    stream.pump()
    assert 3 == stream.lease.exposed_to
    stream.start()
    assert 3 == stream.lease.exposed_to
    stream.lease.enter_phase(is_exposed=False)
    stream.put(b"4")
    stream.pump()
    assert 0 == stream.lease.exposed_to


def test_what_waits_is_bounded_by_the_outbox_even_if_the_client_takes_nothing() -> None:
    stream = Stream(Window(1, 1 << 30), entries=8)
    stream.put(b"0")
    stream.start()
    for _ in range(2 * STALE_PENDING):
        stream.put(b"1")
        stream.outbox.compact(A.identity, exposed_to=0)
    assert len(stream.lease._pending) <= STALE_PENDING + 9


def test_a_new_object_gives_a_silent_client_nothing_either() -> None:
    old, new = Stream(), Stream()
    for stream in (old, new):
        stream.put(b"1")
    old.start()
    old.lease.suspend()
    new.lease.inherit_client(old.lease, new.outbox)
    assert [] == new.pump()
    new.lease.interrupt(new.outbox)
    assert [(3, b"1")] == new.pump()
