"""One lane: what waits in memory, what is read by page, and what became of it meanwhile."""

from __future__ import annotations

from itertools import count

from module_gateway.module_handler.aggregator import Publication
from module_gateway.module_handler.outbox import Bounds, Entry, Outbox
from module_gateway.module_handler.store import (
    EntriesFolded,
    EntriesTrimmed,
    EntryAppended,
    MemoryStore,
    Page,
    StreamQuery,
)
from module_gateway.module_handler.stream import (
    PAGE_ENTRIES,
    TAIL_BYTES,
    TAIL_ENTRIES,
    Stream,
    Window,
)
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.identity import Device
from tests.unit.module_handler.rig import MODULE, at_once, device

A, B = device("a"), device("b")
WIDE = Window(1 << 30, 1 << 50)


class Lane:
    """A stream, the outbox and the store behind it."""

    def __init__(self, window: Window = WIDE) -> None:
        self.outbox = Outbox(Bounds(1 << 30, 1 << 50))
        self.store = MemoryStore()
        self.stream = Stream(3, bus_pb2.REPLAYED, frozenset({MODULE}), window, count(1))

    def put(self, *statuses: bytes, who: Device = A) -> list[Entry]:
        entries = [self.outbox.append(who, Publication(status), 0) for status in statuses]
        at_once(self.store.commit([EntryAppended(entry) for entry in entries]))
        for entry in entries:
            self.stream.append(entry)
        return entries

    def trim(self, sequence: int, who: Device = A) -> None:
        self.outbox.trim(who.identity, sequence)
        at_once(self.store.commit([EntriesTrimmed(who.identity, sequence)]))

    def fold(self, *entries: Entry) -> Entry:
        fold = entries[-1]._replace(error=b"fold", first_sequence=entries[0].sequence)
        self.outbox.fold(fold, entries)
        self.stream.folded(fold)
        at_once(self.store.commit([EntriesFolded(fold)]))
        return fold

    def start(self) -> None:
        self.stream.start(self.outbox)

    def pump(self) -> list[int]:
        return [
            each.entry.sequence for each in self.stream.pump(self.outbox) if each.entry is not None
        ]

    def query(self) -> StreamQuery:
        query = self.stream.next_read()
        assert query is not None
        return query

    def read(self) -> Page:
        return at_once(self.store.read(self.query()))

    def drain(self) -> list[int]:
        """Everything, with as many pages as it takes."""
        numbers = self.pump()
        while (query := self.stream.next_read()) is not None:
            self.stream.page_read(at_once(self.store.read(query)))
            numbers += self.pump()
        return numbers


def test_what_is_new_comes_out_of_memory() -> None:
    lane = Lane()
    lane.start()
    lane.put(b"1", b"2")
    assert [1, 2] == lane.pump()
    assert lane.stream.next_read() is None


def test_an_empty_outbox_needs_no_read() -> None:
    lane = Lane()
    lane.put(b"1")
    lane.trim(1)
    lane.start()
    assert lane.stream.next_read() is None
    lane.put(b"2")
    assert [2] == lane.pump()


def test_what_was_there_before_is_read_up_to_the_number_of_that_moment() -> None:
    lane = Lane()
    lane.put(b"1", b"2")
    lane.start()
    assert StreamQuery(3, bus_pb2.REPLAYED, 1, frozenset({MODULE}), 0, 2, PAGE_ENTRIES) == (
        lane.query()
    )


def test_what_comes_while_a_page_is_read_waits_behind_it() -> None:
    lane = Lane()
    lane.put(b"1", b"2")
    lane.start()
    page = lane.read()
    lane.put(b"3")
    assert [] == lane.pump()
    lane.stream.page_read(page)
    assert [1, 2, 3] == lane.pump()


def test_a_long_backlog_is_read_page_by_page() -> None:
    lane = Lane()
    lane.put(*[b"s"] * (3 * PAGE_ENTRIES + 7))
    lane.start()
    assert list(range(1, 3 * PAGE_ENTRIES + 8)) == lane.drain()


def test_one_page_at_most_is_read_ahead() -> None:
    lane = Lane(Window(1, 1 << 50))
    lane.put(*[b"s"] * (3 * PAGE_ENTRIES))
    lane.start()
    lane.stream.page_read(lane.read())
    assert [1] == lane.pump()
    assert lane.stream.next_read() is None
    for number in range(1, PAGE_ENTRIES // 2):
        lane.stream.taken(number)
        lane.pump()
    assert lane.stream.next_read() is not None
    assert lane.stream.next_read() is None


def test_a_client_that_takes_nothing_costs_no_memory() -> None:
    lane = Lane(Window(1, 1 << 50))
    lane.start()
    lane.put(*[b"s"] * (2 * TAIL_ENTRIES))
    assert len(lane.stream._tail) <= TAIL_ENTRIES
    lane.put(*[b"x" * (TAIL_BYTES // 4)] * 8)
    assert lane.stream._tail_bytes <= TAIL_BYTES
    lane.stream._window = WIDE
    assert 2 * TAIL_ENTRIES + 8 == max(lane.drain())


def test_nothing_is_missing_where_the_tail_was_too_long() -> None:
    lane = Lane(Window(10, 1 << 50))
    lane.start()
    expected = [entry.sequence for entry in lane.put(*[b"s"] * (3 * TAIL_ENTRIES))]
    numbers: list[int] = []
    while len(numbers) < len(expected):
        numbers += lane.drain()
        lane.stream.taken(1 << 40)
    assert expected == numbers


def test_a_page_of_an_earlier_question_is_ignored() -> None:
    lane = Lane()
    lane.put(b"1", b"2")
    lane.start()
    late = lane.read()
    lane.start()
    lane.stream.page_read(late)
    assert [] == lane.pump()
    page = lane.read()
    lane.stream.page_read(late)
    assert [] == lane.pump()
    lane.stream.page_read(page)
    lane.stream.page_read(page)
    assert [1, 2] == lane.pump()


def test_what_was_acknowledged_since_its_page_was_read_is_not_handed_out() -> None:
    lane = Lane()
    lane.put(b"1", b"2", b"3")
    lane.start()
    page = lane.read()
    lane.trim(2)
    lane.stream.page_read(page)
    assert [3] == lane.pump()


def test_R8_a_fold_takes_the_place_of_what_it_covers_in_the_tail() -> None:
    lane = Lane(Window(1, 1 << 50))
    lane.start()
    entries = lane.put(b"1", b"2", b"3")
    other = lane.put(b"b", who=B)
    assert [1] == lane.pump()
    fold = lane.fold(*entries)
    lane.stream._window = WIDE
    assert [fold, *other] == [each.entry for each in lane.stream.pump(lane.outbox)]


def test_R8_a_fold_takes_the_place_of_what_it_covers_in_a_page() -> None:
    lane = Lane()
    entries = lane.put(b"1", b"2", b"3")
    lane.start()
    lane.stream.page_read(lane.read())
    fold = lane.fold(*entries[:2])
    assert [fold, entries[2]] == [each.entry for each in lane.stream.pump(lane.outbox)]


def test_R8_a_fold_takes_the_place_of_what_it_covers_in_a_page_that_is_under_way() -> None:
    lane = Lane()
    entries = lane.put(b"1", b"2", b"3")
    lane.start()
    page = lane.read()
    fold = lane.fold(*entries[:2])
    lane.stream.page_read(page)
    assert [fold, entries[2]] == [each.entry for each in lane.stream.pump(lane.outbox)]


def test_a_page_that_knows_of_the_fold_has_it_once() -> None:
    lane = Lane()
    entries = lane.put(b"1", b"2", b"3")
    lane.start()
    query = lane.query()
    fold = lane.fold(*entries[:2])
    lane.stream.page_read(at_once(lane.store.read(query)))
    assert [fold, entries[2]] == [each.entry for each in lane.stream.pump(lane.outbox)]


def test_a_fold_of_what_was_handed_out_already_is_not_handed_out() -> None:
    lane = Lane()
    lane.start()
    entries = lane.put(b"1", b"2", b"3")
    assert [1, 2, 3] == lane.pump()
    lane.fold(*entries)
    assert [] == lane.drain()


def test_the_window_counts_what_was_not_taken() -> None:
    lane = Lane(Window(2, 1 << 50))
    lane.start()
    lane.put(b"1", b"2", b"3")
    assert [1, 2] == lane.pump()
    assert (2, False) == (lane.stream.untaken, lane.stream.is_idle)
    lane.stream.taken(1)
    assert [3] == lane.pump()
    lane.stream.taken(3)
    assert (0, True) == (lane.stream.untaken, lane.stream.is_idle)


def test_it_can_begin_behind_a_number() -> None:
    lane = Lane()
    lane.put(b"1")
    lane.stream.start_behind(1)
    lane.put(b"2")
    assert [2] == lane.drain()


def test_a_stopped_stream_keeps_and_gives_nothing() -> None:
    lane = Lane()
    lane.put(b"1")
    lane.start()
    page = lane.read()
    lane.stream.stop()
    lane.put(b"2")
    lane.stream.page_read(page)
    assert ([], None, False) == (lane.pump(), lane.stream.next_read(), lane.stream.is_idle)
