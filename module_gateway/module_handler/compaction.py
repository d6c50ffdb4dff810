"""Keeps the outbox within its bounds: the oldest entries of a log become one (contract R8).

Pure. A log gets coarser through the module's error aggregation, it never silently forgets. The
entries are in the store, so each step is a read of the oldest, a fold of what came back, and one
change for the store; one read is under way at a time.

    bound                      what is folded
    entries or bytes of a log  its oldest, until it is an eighth below
    age                        what is older, by the wall clock
    bytes of all logs          the oldest of the largest log, again and again
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from module_gateway.module_handler.outbox import Bounds, Entry, Log, Outbox
from module_gateway.module_handler.store import LogQuery, Page
from module_gateway.protocol.errors import ModuleError, Reason
from module_gateway.protocol.identity import Identity

EXPOSED_FACTOR: Final = 2
"""Entries of a live session are folded only beyond so many times a bound (R8)."""

SLACK: Final = 8
"""A log at its bound folds one part in so many: a few writes for many statuses."""

TOTAL_SLACK: Final = 64
"""The same for all logs together: a smaller part, as it is taken from one log."""

FOLD_ENTRIES: Final = 500
"""Of one step: so long a module is asked without a pause, some 10 ms."""

AGE_CHECK_S: Final = 60.0
"""How often ages are looked at; more often when the bound is short."""


NO_BOUND: Final = 2**40
"""More bytes than a disk has, more seconds than there were."""


class ErrorAggregation(Protocol):
    """What a fold asks of a module; raises ModuleError and nothing else."""

    def aggregate_error(self, error: bytes, status: bytes, device_type: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class OutboxLimits:
    """Bounds of one log, and of all.

    Attributes:
        log: of one identity.
        total_bytes: of all identities.
        age_s: of an entry, by the wall clock.
    """

    log: Bounds
    total_bytes: int = NO_BOUND
    age_s: float = NO_BOUND


@dataclass(frozen=True, slots=True)
class Claim:
    """What must be known of the deliveries of an identity's entries.

    Attributes:
        safe_to: entries up to this number are left alone until twice the bound.
        cut: a fold must not reach across this number; None when it may.
    """

    safe_to: int = 0
    cut: int | None = None


@dataclass(frozen=True, slots=True)
class Folding:
    """One step: `fold` replaces the `taken` entries, all that its identity had up to its number.

    `failure`: a refusal of the module, whose status the error aggregate lacks.
    """

    fold: Entry
    taken: tuple[Entry, ...]
    failure: ModuleError | None


@dataclass(frozen=True, slots=True)
class _Want:
    """Why a log is looked at; without any reason it is, to see whether it is empty.

    `is_over`: it has passed its own bound. `at_unix_ms`: its age was found too high then.
    `is_largest`: all logs together have passed their bound.
    """

    is_over: bool = False
    at_unix_ms: int | None = None
    is_largest: bool = False


class Compactor:
    """Decides what is folded when.

    Args:
        limits: see OutboxLimits.
        outbox: the summary of all logs; `page_read` changes it.
        modules: by number.
        claim: what must be known of an identity's deliveries.
        now: monotonic seconds.
    """

    def __init__(
        self,
        limits: OutboxLimits,
        outbox: Outbox,
        modules: Mapping[int, ErrorAggregation],
        claim: Callable[[Identity], Claim],
        now: float,
    ) -> None:
        self._limits = limits
        self._outbox = outbox
        self._modules = modules
        self._claim = claim
        self._wants: dict[Identity, _Want] = {}
        self._asked: tuple[LogQuery, _Want, int] | None = None
        self._is_shrinking = False
        self._may_shrink = True
        self._period_s = min(AGE_CHECK_S, max(1.0, limits.age_s / 2))
        self._check_at = now + self._period_s

    # What calls for it

    def appended(self, identity: Identity) -> None:
        """A log has grown."""
        log = self._outbox.log(identity)
        bounds = self._limits.log
        if log is None or not bounds.are_exceeded_by(log.entries, log.size_bytes):
            return
        if bounds.scaled(self._factor(identity, log)).are_exceeded_by(log.entries, log.size_bytes):
            self._wants[identity] = _Want(is_over=True)

    def trimmed(self, identity: Identity) -> None:
        """A log has shrunk, and only the store may know that nothing is left of it."""
        log = self._outbox.log(identity)
        if log is not None and log.may_be_empty:
            self._wants.setdefault(identity, _Want())

    def next_due(self) -> float | None:
        """When `expire` has something to do at the earliest."""
        return self._check_at if self._outbox.identities() else None

    def expire(self, now: float, unix_ms: int) -> None:
        """Let time pass: what is too old is folded."""
        if now < self._check_at:
            return
        self._check_at = now + self._period_s
        self._may_shrink = True  # a log that could not shrink may be able to now
        for identity, log in self._outbox.logs():
            if identity.module in self._modules:
                cutoff_ms = self._cutoff_ms(unix_ms, self._factor(identity, log))
                if log.aged_entries(cutoff_ms) > 1:
                    self._wants.setdefault(identity, _Want(at_unix_ms=unix_ms))

    def next_read(self) -> LogQuery | None:
        """What to read now; nothing while a read is under way."""
        if self._asked is not None:
            return None
        if not self._wants:
            self._want_largest()
        for identity in list(self._wants):
            want = self._wants.pop(identity)
            if self._outbox.log(identity) is None or identity.module not in self._modules:
                continue
            query = LogQuery(identity, 1 if want == _Want() else FOLD_ENTRIES)
            self._asked = query, want, self._outbox.last_sequence
            return query
        return None

    # What comes of it

    def page_read(self, page: Page) -> Folding | None:
        """The oldest entries of a log: fold what is beyond a bound.

        What was acknowledged since they were read is left out, and if that brought the log back
        within its bound it is left alone.
        """
        if self._asked is None or page.query != self._asked[0]:
            return None
        query, want, asked_at = self._asked
        self._asked = None
        identity = query.identity
        if not page.entries:
            self._outbox.trim(identity, asked_at)
            return None
        log = self._outbox.log(identity)
        entries = [entry for entry in page.entries if self._outbox.has(entry)]
        if log is None or not entries:
            return None
        folding = self._fold(log, entries, want)
        if len(folding.taken) == 1:
            self._may_shrink = self._may_shrink and not want.is_largest
            return None
        self._outbox.fold(folding.fold, folding.taken)
        failure = folding.failure
        if want.is_over or want.at_unix_ms is not None:
            is_hung = failure is not None and failure.reason is Reason.MODULE_HUNG
            if not is_hung and self._is_left(identity, want):
                self._wants.setdefault(identity, want)
        return folding

    def _fold(self, log: Log, entries: list[Entry], want: _Want) -> Folding:
        """Fold the oldest for as long as that is wanted. A module that hangs is not asked again."""
        fold, failure = entries[0], None
        identity = fold.device.identity
        claim = self._claim(identity)
        factor = EXPOSED_FACTOR if fold.sequence <= claim.safe_to else 1
        is_before_cut = claim.cut is not None and fold.sequence <= claim.cut
        taken, taken_bytes = [fold], fold.size_bytes
        for entry in entries[1:]:
            if is_before_cut and claim.cut is not None and entry.sequence > claim.cut:
                break
            gained_bytes = taken_bytes - fold.size_bytes
            size = Bounds(log.entries + 1 - len(taken), log.size_bytes - gained_bytes)
            if not self._is_wanted(want, factor, size, gained_bytes, entry):
                break
            fold, failed = fold_step(self._modules[identity.module], fold, entry)
            failure = failed or failure
            taken.append(entry)
            taken_bytes += entry.size_bytes
            if failed is not None and failed.reason is Reason.MODULE_HUNG:
                break
        return Folding(fold, tuple(taken), failure)

    def _is_wanted(
        self, want: _Want, factor: int, size: Bounds, gained_bytes: int, entry: Entry
    ) -> bool:
        """Whether a log that has come to `size` is to go on with this entry."""
        if want.is_over:
            return self._target(factor).are_exceeded_by(size.entries, size.size_bytes)
        if want.at_unix_ms is not None:
            return entry.time_unix_ms < self._cutoff_ms(want.at_unix_ms, factor)
        total_bytes = self._outbox.size_bytes - gained_bytes
        most = factor * self._limits.total_bytes * (TOTAL_SLACK - 1) // TOTAL_SLACK
        return want.is_largest and total_bytes > most

    def _is_left(self, identity: Identity, want: _Want) -> bool:
        log = self._outbox.log(identity)
        if log is None:
            return False
        factor = self._factor(identity, log)
        if want.is_over:
            return self._target(factor).are_exceeded_by(log.entries, log.size_bytes)
        return log.aged_entries(self._cutoff_ms(want.at_unix_ms or 0, factor)) > 1

    def _want_largest(self) -> None:
        """All logs together are beyond their bound: the largest gives."""
        size_bytes, bound_bytes = self._outbox.size_bytes, self._limits.total_bytes
        if self._is_shrinking:
            bound_bytes = bound_bytes * (TOTAL_SLACK - 1) // TOTAL_SLACK
        self._is_shrinking = self._may_shrink and size_bytes > bound_bytes
        if not self._is_shrinking:
            return
        largest = max(
            (
                (log.size_bytes, identity)
                for identity, log in self._outbox.logs()
                if log.entries > 1
                and identity.module in self._modules
                and size_bytes > bound_bytes * self._factor(identity, log)
            ),
            default=None,
        )
        if largest is None:
            self._may_shrink = False
        else:
            self._wants[largest[1]] = _Want(is_largest=True)

    def _factor(self, identity: Identity, log: Log) -> int:
        return EXPOSED_FACTOR if log.trimmed_to < self._claim(identity).safe_to else 1

    def _target(self, factor: int) -> Bounds:
        return self._limits.log.scaled(factor).scaled(SLACK - 1, SLACK)

    def _cutoff_ms(self, unix_ms: int, factor: int) -> int:
        return unix_ms - int(factor * self._limits.age_s * 1000)


def fold_step(
    module: ErrorAggregation, older: Entry, newer: Entry
) -> tuple[Entry, ModuleError | None]:
    """Two neighbours become one. The first step begins with the older status itself.

    A module's refusal is returned beside the fold, which lacks that status then.
    """
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
