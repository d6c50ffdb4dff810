"""What must go upstream and is not acknowledged yet, per identity and in order (contract R8).

Pure. Each identity has one log, across all its registrations; numbers grow over all logs
together. A log that reaches its bound folds its oldest entries into one, through the module's
error aggregation: it gets coarser, it never silently forgets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, KeysView, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from module_gateway.module_handler.aggregator import Publication
from module_gateway.protocol.errors import ModuleError, Reason
from module_gateway.protocol.identity import Device, Identity

ENTRY_OVERHEAD_BYTES: Final = 256
"""Counted for each entry beside its payload, so that empty statuses are bounded too."""

EXPOSED_FACTOR: Final = 2
"""Entries of a live session are folded only beyond so many times the bound (R8)."""

SLACK: Final = 8
"""A log at its bound folds one part in so many at once: one store write for many statuses."""


class ErrorAggregation(Protocol):
    """What a fold asks of a module; raises ModuleError and nothing else."""

    def aggregate_error(self, error: bytes, status: bytes, device_type: int) -> bytes: ...


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
    """

    sequence: int
    device: Device
    status: bytes
    ends_registration: bool = False
    is_repeat: bool = False
    error: bytes | None = None
    time_unix_ms: int = 0
    first_sequence: int = 0

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


@dataclass(slots=True, eq=False)
class _Log:
    entries: deque[Entry] = field(default_factory=deque)
    size_bytes: int = 0

    def exceeds(self, bounds: Bounds, fold: Entry | None = None) -> bool:
        """Whether it is beyond the bounds, with `fold` at its front if there is one."""
        entries, size_bytes = len(self.entries), self.size_bytes
        if fold is not None:
            entries, size_bytes = entries + 1, size_bytes + fold.size_bytes
        return entries > bounds.entries or size_bytes > bounds.size_bytes

    def append(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.size_bytes += entry.size_bytes

    def prepend(self, entry: Entry) -> None:
        self.entries.appendleft(entry)
        self.size_bytes += entry.size_bytes

    def pop_oldest(self) -> Entry:
        entry = self.entries.popleft()
        self.size_bytes -= entry.size_bytes
        return entry


@dataclass(frozen=True, slots=True)
class Compaction:
    """A log has become coarser.

    Attributes:
        fold: replaces all entries of its identity up to its number.
        folded: how many entries it took.
        failure: a refusal of the module, whose status the error aggregate lacks.
    """

    fold: Entry
    folded: int
    failure: ModuleError | None


class Outbox:
    """All logs of a handler."""

    def __init__(self, bounds: Bounds, modules: Mapping[int, ErrorAggregation]) -> None:
        self._bounds = bounds
        self._modules = modules
        self._logs: dict[Identity, _Log] = {}
        self._entries: dict[int, Entry] = {}
        self._last_sequence = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def last_sequence(self) -> int:
        """The highest number that was ever given out."""
        return self._last_sequence

    def identities(self) -> KeysView[Identity]:
        """Everybody with an unacknowledged entry."""
        return self._logs.keys()

    def entry(self, sequence: int) -> Entry | None:
        """The entry of that number, None when it was acknowledged or folded."""
        return self._entries.get(sequence)

    def log(self, identity: Identity) -> tuple[Entry, ...]:
        """The unacknowledged entries of one identity, oldest first."""
        log = self._logs.get(identity)
        return () if log is None else tuple(log.entries)

    def sequences(self, modules: frozenset[int]) -> list[int]:
        """The numbers of all unacknowledged entries of these modules, in order."""
        return sorted(
            entry.sequence
            for identity, log in self._logs.items()
            if identity.module in modules
            for entry in log.entries
        )

    def append(self, device: Device, publication: Publication, time_unix_ms: int) -> Entry:
        """Number a publication and put it at the end of its identity's log."""
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
        self._put(entry)
        return entry

    def compact(self, identity: Identity, exposed_to: int) -> Compaction | None:
        """Fold the oldest entries of a log that has passed its bound.

        Entries up to the number `exposed_to` may have reached the control plane in a live
        session: they are left alone until the log has twice its bound. A module that hangs is
        not asked for more than one step.

        Returns:
            What was folded, None when nothing was.
        """
        log = self._logs.get(identity)
        if log is None or not log.exceeds(self._bounds):
            return None
        is_exposed = log.entries[0].sequence <= exposed_to
        bounds = self._bounds.scaled(EXPOSED_FACTOR) if is_exposed else self._bounds
        if not log.exceeds(bounds):
            return None
        target = bounds.scaled(SLACK - 1, SLACK)
        fold = self._take_oldest(log)
        folded, failure = 1, None
        while log.entries and (folded == 1 or log.exceeds(target, fold)):
            fold, failed = self._fold(fold, self._take_oldest(log))
            folded, failure = folded + 1, failed or failure
            if failed is not None and failed.reason is Reason.MODULE_HUNG:
                break
        log.prepend(fold)
        self._entries[fold.sequence] = fold
        return Compaction(fold, folded, failure) if folded > 1 else None

    def trim(self, identity: Identity, sequence: int) -> int:
        """Forget the entries of an identity up to a number; returns how many there were."""
        log = self._logs.get(identity)
        if log is None:
            return 0
        trimmed = 0
        while log.entries and log.entries[0].sequence <= sequence:
            self._take_oldest(log)
            trimmed += 1
        if not log.entries:
            del self._logs[identity]
        return trimmed

    def restore(self, entries: Iterable[Entry], last_sequence: int) -> None:
        """Take over what the store remembers, in order of the numbers. Only for a new outbox."""
        for entry in entries:
            self._put(entry)
        self._last_sequence = last_sequence

    def _put(self, entry: Entry) -> None:
        identity = entry.device.identity
        log = self._logs.get(identity)
        if log is None:
            log = self._logs[identity] = _Log()
        log.append(entry)
        self._entries[entry.sequence] = entry

    def _take_oldest(self, log: _Log) -> Entry:
        entry = log.pop_oldest()
        del self._entries[entry.sequence]
        return entry

    def _fold(self, older: Entry, newer: Entry) -> tuple[Entry, ModuleError | None]:
        """One step of a fold. The first one begins with the older status itself."""
        module = self._modules[older.device.identity.module]
        error, failure = older.error, None
        if error is None:
            error, failure = add_error(module, b"", older)
        if failure is None or failure.reason is not Reason.MODULE_HUNG:
            error, failed = add_error(module, error, newer)
            failure = failed or failure
        fold = Entry(
            newer.sequence,
            newer.device,
            newer.status,
            newer.ends_registration,
            is_repeat=False,
            error=error,
            time_unix_ms=newer.time_unix_ms,
            first_sequence=older.first_sequence or older.sequence,
        )
        return fold, failure


def add_error(
    module: ErrorAggregation, error: bytes, entry: Entry
) -> tuple[bytes, ModuleError | None]:
    """An error aggregate with one more entry; a repeat adds nothing.

    A module's refusal keeps the previous error (fleet-protocol 3.2) and is returned beside it.
    """
    if entry.is_repeat:
        return error, None
    try:
        device_type = entry.device.identity.device_type
        return module.aggregate_error(error, entry.status, device_type), None
    except ModuleError as failure:
        return error, failure
