"""A deep backlog is folded for a client that begins anew (contract R8).

Pure. A client that begins behind a long outage would fold what it is given one by one, and what it
is not given by the time it connects would follow one by one. So its lane is held instead:
everything in it is read page by page in the order of its numbers, as a lane is read anyway, and
folded here, which costs a fraction. In the end the lane hands out one fold for each device and
goes on with whatever came meanwhile.

A fold of this kind is only a way to deliver: the entries stay in the store until the control plane
has acknowledged them. Should it turn out that it has some of them already, they are delivered
anew, without those. And only a client that holds nothing of this store gets such folds, for it
could not tell them from what it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from module_gateway.module_handler.compaction import ErrorAggregation, add_error
from module_gateway.module_handler.outbox import Entry, Outbox
from module_gateway.protocol.errors import ModuleError, Reason
from module_gateway.protocol.identity import Identity

DEEP_ENTRIES: Final = 4_000
"""A lane with more is condensed: with fewer a client is through within a second."""

MOST_BYTES: Final = 16 * 1024 * 1024
"""Of all folds in the making. Modules whose aggregates are larger get their backlog uncondensed."""


@dataclass(slots=True, eq=False)
class _Part:
    """The fold of one log so far; `error` is None while it is a single entry."""

    newest: Entry
    first: int
    indivisible: int
    error: bytes | None

    @property
    def size_bytes(self) -> int:
        return len(self.newest.status) + len(self.error or b"")


class Condenser:
    """The folds of one lane in the making.

    Args:
        modules: by number.
        outbox: knows which entries are acknowledged.

    Attributes:
        has_given_up: a module hangs, its aggregates are too large, or entries were acknowledged
            meanwhile: the lane is to be delivered as it is.
    """

    def __init__(self, modules: Mapping[int, ErrorAggregation], outbox: Outbox) -> None:
        self._modules = modules
        self._outbox = outbox
        self._parts: dict[Identity, _Part] = {}
        self._size_bytes = 0
        self.has_given_up = False

    def add(self, entries: Iterable[Entry]) -> list[tuple[Identity, ModuleError]]:
        """Fold what was read, in order. Returns what modules refused, which the folds lack."""
        failures = []
        for entry in entries:
            if self.has_given_up:
                break
            failure = self._add(entry)
            if failure is not None:
                failures.append((entry.device.identity, failure))
        return failures

    def result(self) -> list[Entry]:
        """One entry for each log, in order of their numbers."""
        folds = (_made(part) for part in self._parts.values())
        return sorted(folds, key=lambda entry: entry.sequence)

    def _add(self, entry: Entry) -> ModuleError | None:
        identity = entry.device.identity
        part = self._parts.get(identity)
        if part is None or entry.error is not None:
            self._begin(identity, entry)
            return None
        module = self._modules[identity.module]
        error, failure = part.error, None
        if error is None:
            error, failure = add_error(module, b"", part.newest)
        if not _is_hang(failure):
            error, failed = add_error(module, error, entry)
            failure = failed or failure
        if _is_hang(failure):
            self.has_given_up = True
            return failure
        self._size_bytes -= part.size_bytes
        part.newest, part.error = entry, error
        self._grow(part)
        return failure

    def _begin(self, identity: Identity, entry: Entry) -> None:
        """A fold of the store stands for everything before it, whatever was read of that."""
        if identity.module not in self._modules:
            self.has_given_up = True
            return
        former = self._parts.get(identity)
        if former is not None:
            self._size_bytes -= former.size_bytes
        else:
            self._outbox.delivered(entry)
        first = entry.first_sequence or entry.sequence
        indivisible = 0 if entry.error is None else entry.sequence
        part = self._parts[identity] = _Part(entry, first, indivisible, entry.error)
        self._grow(part)

    def _grow(self, part: _Part) -> None:
        self._size_bytes += part.size_bytes
        if self._size_bytes > MOST_BYTES:
            self.has_given_up = True


class Condensing:
    """Says which lane is condensed.

    Args:
        outbox: the summary of all logs.
        modules: by number.
        deep_entries: a lane with more is.
    """

    def __init__(
        self, outbox: Outbox, modules: Mapping[int, ErrorAggregation], deep_entries: int
    ) -> None:
        self._outbox = outbox
        self._modules = modules
        self._deep_entries = deep_entries

    def begin(self, modules: frozenset[int]) -> Condenser | None:
        """A condenser for the lane of these modules, if it is deep."""
        logs = self._outbox.logs()
        entries = sum(log.entries for identity, log in logs if identity.module in modules)
        return Condenser(self._modules, self._outbox) if entries > self._deep_entries else None


def _is_hang(failure: ModuleError | None) -> bool:
    return failure is not None and failure.reason is Reason.MODULE_HUNG


def _made(part: _Part) -> Entry:
    newest = part.newest
    if part.error is None or part.indivisible == newest.sequence:
        return newest
    return Entry(
        newest.sequence,
        newest.device,
        newest.status,
        newest.ends_registration,
        is_repeat=False,
        error=part.error,
        time_unix_ms=newest.time_unix_ms,
        first_sequence=part.first,
        indivisible=part.indivisible,
    )
