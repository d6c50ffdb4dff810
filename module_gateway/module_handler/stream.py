"""One lane of a lease: entries in the order of their numbers, out of memory or by page.

Pure. A stream hands out everything behind its cursor. The newest entries wait in a bounded tail;
what the tail does not reach back to is read from the store, one page ahead at most. So a client
that keeps up never makes the store read, and one that is far behind costs no more memory than
another.

    handed out │ page │ only in the store │ tail
               cursor └ page end          └ tail start

A page may be older than what was decided since. Entries that were acknowledged are left out when
their turn comes; one that was folded is replaced by the fold, and what the fold covers is gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from module_gateway.module_handler.outbox import ENTRY_OVERHEAD_BYTES, Entry, Outbox
from module_gateway.module_handler.store import Page, StreamQuery
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.identity import Device, Identity

PAGE_ENTRIES: Final = 512
"""Read at once: some ms of the store's time, and far from a window (settings: 2,000)."""

TAIL_ENTRIES: Final = 1_024
TAIL_BYTES: Final = 2 * 1024 * 1024
"""Of the newest entries of one lane. A second of a busy gateway: a client that is further behind
reads from the store."""


@dataclass(frozen=True, slots=True)
class Window:
    """What may be delivered and not taken by the client yet."""

    deliveries: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Numbered:
    """One delivery: an entry, or a marker that repeats a status and has no entry.

    `lane` is a number of bus_pb2.Lane.
    """

    number: int
    entry: Entry | None
    device: Device
    status: bytes
    lane: int = bus_pb2.FOLDED


class Stream:
    """The deliveries of one lane.

    Attributes:
        lane: a number of bus_pb2.Lane.
        last_delivered: the highest number that was handed out since it began.
    """

    def __init__(
        self,
        endpoint: int,
        lane: int,
        modules: frozenset[int],
        window: Window,
        reads: Iterator[int],
    ) -> None:
        """`reads` gives each read another number, in all streams of a core."""
        self.lane = lane
        self.last_delivered = 0
        self._endpoint = endpoint
        self._modules = modules
        self._window = window
        self._reads = reads
        self._is_flowing = False
        self._last_number = 0
        self._untaken: deque[tuple[int, int]] = deque()
        self._untaken_bytes = 0
        self._page: deque[Entry] = deque()
        self._page_end = 0
        self._tail: deque[Entry] = deque()
        self._tail_bytes = 0
        self._tail_start = 0
        self._read: int | None = None
        self._hold: int | None = None
        self._folds: dict[Identity, Entry] = {}

    # Where it stands

    @property
    def untaken(self) -> int:
        """Deliveries that are under way or wait at the client."""
        return len(self._untaken)

    @property
    def is_idle(self) -> bool:
        """Nothing waits to be handed out, and something could be."""
        if self._hold is not None:
            return False
        return self._is_flowing and self._is_open and not (self._waits or self._is_behind)

    @property
    def is_exhausted(self) -> bool:
        """Everything was handed out that the window lets through, or a hold."""
        if self._hold is not None:
            return True
        return not self._is_open or not (self._waits or self._is_behind)

    @property
    def _waits(self) -> bool:
        return bool(self._page or self._tail)

    @property
    def _is_behind(self) -> bool:
        return self._page_end < self._tail_start

    @property
    def _is_open(self) -> bool:
        window = self._window
        return len(self._untaken) < window.deliveries and self._untaken_bytes < window.size_bytes

    # Its life

    def start(self, outbox: Outbox) -> None:
        """Begin with the oldest unacknowledged entry."""
        self.stop()
        self._tail_start = outbox.last_sequence
        self._page_end = 0 if outbox.owes(self._modules) else self._tail_start
        self._is_flowing = True

    def start_behind(self, sequence: int) -> None:
        """Begin with the first entry behind a number that no entry has passed yet."""
        self.stop()
        self._page_end = self._tail_start = sequence
        self._is_flowing = True

    def hold(self) -> None:
        """Hand out nothing until `go_on`, but read what is there now: see `take_read`."""
        self._hold = self._tail_start

    def take_read(self) -> list[Entry]:
        """Entries that were read since it is held, in order; each once."""
        taken = list(self._page)
        self._page.clear()
        return taken

    @property
    def has_read_hold(self) -> bool:
        """Whether everything was read that was there when it was held."""
        return self._hold is not None and self._page_end >= self._hold

    def go_on(self, folds: Iterable[Entry] | None) -> None:
        """Hand out these instead of everything that was read, or all of it if there are none."""
        self._hold = None
        if folds is None:
            self._read, self._page_end = None, 0
        else:
            self._page.extend(folds)

    def renumber(self) -> None:
        """The next delivery is number 1."""
        self._last_number = 0

    def skip_number(self) -> None:
        """Something under way may be lost: the client notices the gap."""
        self._last_number += 1

    def go_on_behind(self, former: Stream) -> None:
        """Number on where another object's stream ended."""
        self._last_number = former._last_number

    def stop(self) -> None:
        """Hand out nothing more until it is begun anew."""
        self._is_flowing = False
        self._read = self._hold = None
        self._page.clear()
        self._tail.clear()
        self._tail_bytes = 0
        self._folds.clear()
        self._untaken.clear()
        self._untaken_bytes = 0
        self.last_delivered = 0

    # In

    def append(self, entry: Entry) -> None:
        """The outbox has a new entry of this lane."""
        if not self._is_flowing:
            return
        self._tail.append(entry)
        self._tail_bytes += entry.size_bytes
        while len(self._tail) > TAIL_ENTRIES or self._tail_bytes > TAIL_BYTES:
            self._tail_start = self._pop_tail().sequence

    def folded(self, fold: Entry) -> None:
        """A fold stands for everything of its identity up to its number."""
        if self._read is not None:
            self._folds[fold.device.identity] = fold
        self._page = _with_fold(self._page, fold)
        tail = _with_fold(self._tail, fold)
        if tail is not self._tail:
            self._tail = tail
            self._tail_bytes = sum(entry.size_bytes for entry in tail)

    def page_read(self, page: Page) -> None:
        """What the store had behind the last page. Answers of earlier questions are ignored."""
        query = page.query
        if not isinstance(query, StreamQuery) or query.read != self._read:
            return
        self._read = None
        for entry in page.entries:
            fold = self._folds.get(entry.device.identity)
            if fold is None or entry.sequence > fold.sequence:
                self._page.append(entry)
            elif entry.sequence == fold.sequence:
                self._page.append(fold)
        self._folds.clear()
        is_whole = page.is_complete or not page.entries
        self._page_end = query.up_to if is_whole else page.entries[-1].sequence

    def taken(self, number: int) -> None:
        """All deliveries up to a number have left the client's queue."""
        while self._untaken and self._untaken[0][0] <= number:
            self._untaken_bytes -= self._untaken.popleft()[1]

    # Out

    def pump(self, outbox: Outbox) -> Iterator[Numbered]:
        """Hand out entries while the window is open. The caller sends each of them."""
        while self._is_flowing and self._is_open and self._hold is None:
            entry = self._next()
            if entry is None:
                return
            if not outbox.has(entry):
                continue  # acknowledged since
            self.last_delivered = entry.sequence
            number = self._number(entry.size_bytes)
            yield Numbered(number, entry, entry.device, entry.status, self.lane)

    def mark(self, device: Device, status: bytes) -> Numbered:
        """Hand out a marker. Only while it is idle."""
        number = self._number(ENTRY_OVERHEAD_BYTES + len(status))
        return Numbered(number, None, device, status, self.lane)

    def next_read(self) -> StreamQuery | None:
        """What to read now; nothing while a read is under way or enough was read."""
        if self._read is not None or not self._is_flowing or not self._is_behind:
            return None
        if len(self._page) > PAGE_ENTRIES // 2:
            return None
        if self.has_read_hold:
            return None
        self._read = next(self._reads)
        return StreamQuery(
            self._endpoint,
            self.lane,
            self._read,
            self._modules,
            self._page_end,
            self._tail_start if self._hold is None else self._hold,
            PAGE_ENTRIES,
        )

    def _next(self) -> Entry | None:
        if self._page:
            return self._page.popleft()
        if self._is_behind or not self._tail:
            return None
        entry = self._pop_tail()
        self._page_end = self._tail_start = entry.sequence
        return entry

    def _pop_tail(self) -> Entry:
        entry = self._tail.popleft()
        self._tail_bytes -= entry.size_bytes
        return entry

    def _number(self, size_bytes: int) -> int:
        self._last_number += 1
        self._untaken.append((self._last_number, size_bytes))
        self._untaken_bytes += size_bytes
        return self._last_number


def _with_fold(entries: deque[Entry], fold: Entry) -> deque[Entry]:
    """The same entries with the fold in its place and without what it covers."""
    identity = fold.device.identity
    if not any(
        entry.sequence <= fold.sequence and entry.device.identity == identity for entry in entries
    ):
        return entries
    result: deque[Entry] = deque()
    for entry in entries:
        if entry.device.identity != identity or entry.sequence > fold.sequence:
            result.append(entry)
        elif entry.sequence == fold.sequence:
            result.append(fold)
    return result
