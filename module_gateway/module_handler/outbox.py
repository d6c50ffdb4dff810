"""What must go upstream and is not acknowledged yet, in summary (contract R8).

Pure. Each identity has one log, across all its registrations; numbers grow over all logs
together. The entries themselves are in the store: here is only how many there are, how large, how
old and up to which number, in extents. So memory follows the identities and not the backlog.

A trim within an extent counts it in full until it has passed it; a log that is emptied is exact.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, KeysView
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from module_gateway.module_handler.aggregator import Publication
from module_gateway.protocol.identity import Device, Identity

if TYPE_CHECKING:
    from module_gateway.module_handler.store import LogStored

ENTRY_OVERHEAD_BYTES: Final = 256
"""Counted for each entry beside its payload, so that empty statuses are bounded too."""

EXTENT_ENTRIES: Final = 64
"""Of one extent at most: what a trim within it counts too much."""

EXTENTS_PER_BOUND: Final = 16
"""A small bound has smaller extents, so that what is counted too much stays a small part of it."""

MAX_STRETCHES: Final = 8
"""Per log, of acknowledged stretches that are remembered only to deliver less twice: the client
and the control plane recognise what they have by its number."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One status that was published, or the fold of all that were published until then.

    Attributes:
        sequence: its number in this store, 1 and up.
        ends_registration: the device has left with this status.
        is_repeat: an earlier entry carried the status: a fold leaves it out (R9).
        error: the error aggregate of everything older, this status included; None unless it is
            a fold. A fold stands for all entries of its identity up to its sequence.
        time_unix_ms: wall time of the publication.
        first_sequence: the oldest entry that a fold covers, 0 when it is none.
        indivisible: of a fold that is not stored, up to where there is a stored one in it.
    """

    sequence: int
    device: Device
    status: bytes
    ends_registration: bool = False
    is_repeat: bool = False
    error: bytes | None = None
    time_unix_ms: int = 0
    first_sequence: int = 0
    indivisible: int | None = None

    @property
    def size_bytes(self) -> int:
        """What it counts against the bound."""
        size_bytes = ENTRY_OVERHEAD_BYTES + len(self.status)
        return size_bytes if self.error is None else size_bytes + len(self.error)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one identity's log."""

    entries: int
    size_bytes: int

    def scaled(self, numerator: int, denominator: int = 1) -> Bounds:
        """The same bounds, larger or smaller."""
        return Bounds(
            self.entries * numerator // denominator, self.size_bytes * numerator // denominator
        )

    def are_exceeded_by(self, entries: int, size_bytes: int) -> bool:
        """Whether a log of that size is beyond them."""
        return entries > self.entries or size_bytes > self.size_bytes


@dataclass(slots=True, eq=False)
class _Extent:
    first: int
    last: int
    entries: int
    size_bytes: int
    time_unix_ms: int


@dataclass(slots=True, eq=False)
class Log:
    """One identity's unacknowledged entries.

    Attributes:
        trimmed_to: nothing up to this number is left.
        entries, size_bytes: of all extents.
        open_from: nothing unacknowledged is older, in the oldest entry either if it is a fold.
        fold_to: the number of the oldest entry, if it is a fold; 0 when it is none.
        is_oldest_unknown: it is not known whether the oldest entry is a fold, but that it would
            not end behind `fold_to`.
    """

    trimmed_to: int
    entries: int = 0
    size_bytes: int = 0
    is_sealed: bool = False
    open_from: int = 0
    fold_to: int = 0
    is_oldest_unknown: bool = False
    extents: deque[_Extent] = field(default_factory=deque)
    stretches: deque[tuple[int, int]] = field(default_factory=deque)

    def has(self, sequence: int) -> bool:
        """Whether the entry of that number, if there was one, is not acknowledged or folded."""
        if not self.stretches:  # nearly always
            return sequence > self.trimmed_to
        return sequence > self.trimmed_to and not any(
            first <= sequence <= last for first, last in self.stretches
        )

    def is_done(self, first: int, last: int) -> bool:
        """Whether everything between two numbers, both included, is acknowledged already."""
        return last <= self.trimmed_to or any(
            known_first <= first and last <= known_last
            for known_first, known_last in self.stretches
        )

    def acknowledged_from(self, first: int, last: int) -> int:
        """Where an acknowledgement of these numbers, both included, begins to count.

        A fold that begins before them stands for more than they say: it stays (R8).
        """
        if first > self.open_from:
            return max(first, self.fold_to + 1)
        self.open_from = max(self.open_from, last + 1)
        return first

    def meet_oldest(self, entry: Entry) -> None:
        """Know what the oldest entry of a restored log is."""
        self.is_oldest_unknown = False
        self.fold_to = entry.sequence if entry.first_sequence else 0
        self.open_from = max(self.open_from, entry.first_sequence)

    @property
    def may_be_empty(self) -> bool:
        """Only the store knows: what is left may lie within an extent that was counted in full."""
        if len(self.extents) != 1 or not self.stretches:
            return False
        return self.extents[0].last <= max(self.trimmed_to, self.stretches[-1][1])

    def aged_entries(self, cutoff_ms: int) -> int:
        """How many are in the leading extents that are older than a wall time as a whole."""
        aged = 0
        for extent in self.extents:
            if extent.time_unix_ms >= cutoff_ms:
                break
            aged += extent.entries
        return aged

    def put(self, extent: _Extent) -> None:
        self.extents.append(extent)
        self.entries += extent.entries
        self.size_bytes += extent.size_bytes

    def extend(self, entry: Entry) -> None:
        """The entry belongs to the newest extent."""
        newest = self.extents[-1]
        size_bytes = entry.size_bytes
        newest.last, newest.time_unix_ms = entry.sequence, entry.time_unix_ms
        newest.entries += 1
        newest.size_bytes += size_bytes
        self.entries += 1
        self.size_bytes += size_bytes

    def trim(self, sequence: int) -> None:
        """Forget everything up to a number."""
        self.trimmed_to = max(self.trimmed_to, sequence)
        if self.trimmed_to >= self.fold_to:
            self.fold_to = 0
        while self.extents and self.extents[0].last <= sequence:
            self._forget(self.extents.popleft())
        while self.stretches and self.stretches[0][1] <= self.trimmed_to:
            self.stretches.popleft()

    def trim_stretch(self, first: int, last: int) -> None:
        """Forget what is between two numbers, both included."""
        newer = []
        while self.extents and first <= self.extents[-1].first:
            extent = self.extents.pop()
            if extent.last <= last:
                self._forget(extent)
            else:
                newer.append(extent)
        self.extents.extend(reversed(newer))
        apart = []
        for known_first, known_last in self.stretches:
            if known_last + 1 < first or last + 1 < known_first:
                apart.append((known_first, known_last))
            else:
                first, last = min(first, known_first), max(last, known_last)
        self.stretches = deque(sorted([*apart, (first, last)])[-MAX_STRETCHES:])

    def fold(self, fold: Entry, taken: Iterable[Entry]) -> None:
        """The fold stands for everything up to its number; `taken` went into it."""
        while self.extents and self.extents[0].last <= fold.sequence:
            self._forget(self.extents.popleft())
        if self.extents and self.extents[0].first <= fold.sequence:
            self._shorten(self.extents[0], fold.sequence, taken)
        size_bytes = fold.size_bytes
        self.extents.appendleft(
            _Extent(fold.sequence, fold.sequence, 1, size_bytes, fold.time_unix_ms)
        )
        self.entries += 1
        self.size_bytes += size_bytes
        self.trimmed_to = fold.sequence - 1
        self.meet_oldest(fold)

    def _shorten(self, extent: _Extent, sequence: int, taken: Iterable[Entry]) -> None:
        within = [entry.size_bytes for entry in taken if entry.sequence >= extent.first]
        entries = min(len(within), extent.entries - 1)
        size_bytes = min(sum(within), extent.size_bytes)
        extent.first = sequence + 1
        extent.entries -= entries
        extent.size_bytes -= size_bytes
        self.entries -= entries
        self.size_bytes -= size_bytes

    def _forget(self, extent: _Extent) -> None:
        self.entries -= extent.entries
        self.size_bytes -= extent.size_bytes


class Outbox:
    """All logs of a handler."""

    def __init__(self, bounds: Bounds) -> None:
        """`bounds` of one log only say how fine the extents are."""
        self._extent = Bounds(
            max(1, min(EXTENT_ENTRIES, bounds.entries // EXTENTS_PER_BOUND)),
            bounds.size_bytes // EXTENTS_PER_BOUND,
        )
        self._logs: dict[Identity, Log] = {}
        self._entries = 0
        self._size_bytes = 0
        self._last_sequence = 0

    def __len__(self) -> int:
        return self._entries

    @property
    def size_bytes(self) -> int:
        """Of all logs."""
        return self._size_bytes

    @property
    def last_sequence(self) -> int:
        """The highest number that was ever given out."""
        return self._last_sequence

    def identities(self) -> KeysView[Identity]:
        """Everybody with an unacknowledged entry."""
        return self._logs.keys()

    def log(self, identity: Identity) -> Log | None:
        """The log of one identity, None when it is empty. Only to look at."""
        return self._logs.get(identity)

    def logs(self) -> Iterator[tuple[Identity, Log]]:
        """Every log that is not empty."""
        return iter(self._logs.items())

    def owes(self, modules: frozenset[int]) -> bool:
        """Whether any device of these modules has an entry."""
        return any(identity.module in modules for identity in self._logs)

    def has(self, entry: Entry) -> bool:
        """Whether an entry that was read before is not acknowledged or folded since."""
        log = self._logs.get(entry.device.identity)
        return log is not None and log.has(entry.sequence)

    def append(self, device: Device, publication: Publication, time_unix_ms: int) -> Entry:
        """Number a publication and count it at the end of its identity's log."""
        self._last_sequence += 1
        entry = Entry(
            self._last_sequence,
            device,
            publication.status,
            publication.ends_registration,
            publication.is_repeat,
            None,
            time_unix_ms,
        )
        self._count(entry)
        return entry

    def put_back(self, former: Entry) -> Entry:
        """Give an entry of an export the next number. A fold covers nothing but itself then."""
        self._last_sequence += 1
        first = 0 if former.error is None else self._last_sequence
        entry = replace(former, sequence=self._last_sequence, first_sequence=first)
        self._count(entry)
        return entry

    def _count(self, entry: Entry) -> None:
        identity = entry.device.identity
        log = self._logs.get(identity)
        if log is None:
            log = self._logs[identity] = Log(entry.sequence - 1)
        size_bytes = entry.size_bytes
        if self._has_room(log):
            log.extend(entry)
        else:
            log.is_sealed = False
            log.put(_Extent(entry.sequence, entry.sequence, 1, size_bytes, entry.time_unix_ms))
        self._entries += 1
        self._size_bytes += size_bytes

    def seal(self, modules: frozenset[int]) -> None:
        """Begin new extents: what comes from now on is acknowledged apart from what is there."""
        for identity, log in self._logs.items():
            if identity.module in modules:
                log.is_sealed = True

    def trim(self, identity: Identity, sequence: int, first_sequence: int = 0) -> bool:
        """Forget the entries `first_sequence` … `sequence` of an identity; whether it had any."""
        log = self._logs.get(identity)
        sequence = min(sequence, self._last_sequence)  # nobody has what is not made yet
        if log is None or sequence < first_sequence or log.is_done(first_sequence, sequence):
            return False
        entries, size_bytes = log.entries, log.size_bytes
        if first_sequence <= log.trimmed_to + 1:
            log.trim(sequence)
        else:
            log.trim_stretch(first_sequence, sequence)
        self._changed(identity, log, entries, size_bytes)
        return True

    def acknowledge(self, identity: Identity, sequence: int, first_sequence: int) -> int | None:
        """Forget what the control plane has: the entries `first_sequence` … `sequence`.

        Returns where that begins, which is later if a fold must stay; None for nothing.
        """
        log = self._logs.get(identity)
        if log is None:
            return None
        sequence = min(sequence, self._last_sequence)
        first = log.acknowledged_from(first_sequence, sequence)
        return first if self.trim(identity, sequence, first) else None

    def delivered(self, entry: Entry) -> None:
        """An entry is handed out; of a log that was restored, the oldest is the first."""
        log = self._logs.get(entry.device.identity)
        if log is not None and log.is_oldest_unknown and entry.sequence <= log.fold_to:
            log.meet_oldest(entry)

    def fold(self, fold: Entry, taken: Iterable[Entry]) -> None:
        """Let a fold stand for everything of its identity up to its number.

        `taken` are the entries that it was made of.
        """
        identity = fold.device.identity
        log = self._logs[identity]
        entries, size_bytes = log.entries, log.size_bytes
        log.fold(fold, taken)
        self._changed(identity, log, entries, size_bytes)

    def restore(self, logs: Iterable[LogStored], last_sequence: int) -> None:
        """Take over what the store remembers. Only for a new outbox."""
        for stored in logs:
            log = self._logs[stored.identity] = Log(0, is_sealed=True)
            first = 1
            for each in stored.extents:
                log.put(
                    _Extent(
                        first, each.last_sequence, each.entries, each.size_bytes, each.time_unix_ms
                    )
                )
                first = each.last_sequence + 1
            log.fold_to, log.is_oldest_unknown = log.extents[0].last, True
            self._entries += log.entries
            self._size_bytes += log.size_bytes
        self._last_sequence = last_sequence

    def _has_room(self, log: Log) -> bool:
        if log.is_sealed or not log.extents:
            return False
        newest = log.extents[-1]
        return newest.entries < self._extent.entries and newest.size_bytes < self._extent.size_bytes

    def _changed(self, identity: Identity, log: Log, entries: int, size_bytes: int) -> None:
        self._entries += log.entries - entries
        self._size_bytes += log.size_bytes - size_bytes
        if not log.extents:
            del self._logs[identity]
