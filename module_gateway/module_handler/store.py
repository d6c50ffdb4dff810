"""The port to what survives: state, holders, outbox, verdicts (contract R1, R4, R5, R19, R21).

A decision is a list of changes; the store commits all of them or none. Outbox entries stay in the
store: at the start only their summary is loaded, and they are read page by page, so neither start
nor memory depends on the backlog. Whatever kind of store it is, it passes
`tests/contract/test_store.py`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeAlias, assert_never

from module_gateway.module_handler.command_log import Verdict
from module_gateway.module_handler.outbox import Entry
from module_gateway.module_handler.roster import Connection
from module_gateway.protocol.errors import StoreError
from module_gateway.protocol.identity import Device, Identity

__all__ = [
    "Change",
    "CommandsStored",
    "DeviceForgotten",
    "DeviceStored",
    "EntriesFolded",
    "EntriesTrimmed",
    "EntryAppended",
    "Extent",
    "HolderStored",
    "LeaseStored",
    "LogQuery",
    "LogStored",
    "MemoryStore",
    "Page",
    "Query",
    "RegistrationStored",
    "Store",
    "StoreError",
    "StoredState",
    "StreamQuery",
    "VerdictRecorded",
]


@dataclass(frozen=True, slots=True)
class HolderStored:
    """Who holds an identity, and how far it is."""

    device: Device
    connection: Connection
    last_sequence: int
    reply: bytes | None


@dataclass(frozen=True, slots=True)
class CommandsStored:
    """See `commands.Commands`."""

    last: bytes
    queue: tuple[bytes, ...] = ()
    in_flight: bytes | None = None


@dataclass(frozen=True, slots=True)
class RegistrationStored:
    """A registered device: its merged status and its commands."""

    device: Device
    status: bytes
    has_unpublished: bool
    commands: CommandsStored


@dataclass(frozen=True, slots=True)
class DeviceStored:
    """Everything about one identity beside its outbox, replacing what was known.

    `parked`: commands of a device that we closed and that may be back any moment (R21).
    """

    identity: Identity
    holder: HolderStored | None = None
    registration: RegistrationStored | None = None
    parked: CommandsStored | None = None


@dataclass(frozen=True, slots=True)
class DeviceForgotten:
    """Nothing is known about this identity any more, beside its outbox."""

    identity: Identity


class EntryAppended(NamedTuple):
    """The outbox got an entry; its number is higher than all before."""

    entry: Entry


class EntriesFolded(NamedTuple):
    """This entry replaces all of its identity up to its own number."""

    fold: Entry


class EntriesTrimmed(NamedTuple):
    """The control plane has acknowledged an identity's entries `first_sequence` … `sequence`.

    Only what is older than a replay that goes on beside it is left in front of them (R18).
    """

    identity: Identity
    sequence: int
    first_sequence: int = 0


@dataclass(frozen=True, slots=True)
class LeaseStored:
    """An endpoint's newest epoch, and whether a session of it may be open."""

    endpoint: int
    epoch: int
    modules: frozenset[int]
    is_exposed: bool


@dataclass(frozen=True, slots=True)
class VerdictRecorded:
    """A command was judged. Verdicts of older sessions of the endpoint are void."""

    endpoint: int
    verdict: Verdict


Change: TypeAlias = (
    DeviceStored
    | DeviceForgotten
    | EntryAppended
    | EntriesFolded
    | EntriesTrimmed
    | LeaseStored
    | VerdictRecorded
)


@dataclass(frozen=True, slots=True)
class Extent:
    """A part of one identity's log.

    Attributes:
        last_sequence: of its newest entry; it begins behind the extent before it.
        entries: how many there are.
        size_bytes: the sum of their `Entry.size_bytes`.
        time_unix_ms: of its newest entry.
    """

    last_sequence: int
    entries: int
    size_bytes: int
    time_unix_ms: int


@dataclass(frozen=True, slots=True)
class LogStored:
    """An identity's unacknowledged entries in a few extents, oldest first, at least one."""

    identity: Identity
    extents: tuple[Extent, ...]


@dataclass(frozen=True, slots=True)
class StoredState:
    """Everything that was committed, with the outbox in summary.

    Attributes:
        devices: one per identity.
        logs: one per identity with an unacknowledged entry.
        last_sequence: the highest number that was ever given out, even if acknowledged.
        leases: one per endpoint.
        verdicts: of the newest session of each endpoint, oldest first.
    """

    devices: tuple[DeviceStored, ...] = ()
    logs: tuple[LogStored, ...] = ()
    last_sequence: int = 0
    leases: tuple[LeaseStored, ...] = ()
    verdicts: tuple[VerdictRecorded, ...] = ()


@dataclass(frozen=True, slots=True)
class StreamQuery:
    """Entries `after` < number <= `up_to` of some modules, in order of their numbers.

    `endpoint`, `lane` and `read` mean something only to whoever asks: the page brings them back.
    """

    endpoint: int
    lane: int
    read: int
    modules: frozenset[int]
    after: int
    up_to: int
    limit: int


@dataclass(frozen=True, slots=True)
class LogQuery:
    """The oldest entries of one identity, at most `limit`."""

    identity: Identity
    limit: int


Query: TypeAlias = StreamQuery | LogQuery


@dataclass(frozen=True, slots=True)
class Page:
    """What a query found.

    `is_complete`: nothing else matches; False when `limit`, or the store's own bound of a page's
    bytes, cut it short (there is at least one entry then).
    """

    query: Query
    entries: tuple[Entry, ...]
    is_complete: bool


PAGE_BYTES: Final = 1024 * 1024
"""A page ends with the entry that passes this size, however many were asked for."""


class Store(Protocol):
    """Keeps what was committed. One process uses it at a time (R4)."""

    @property
    def store_id(self) -> int:
        """Random, 1 … 2^64-1; a replaced store has another one, as its numbers begin anew."""

    async def load(self) -> StoredState:
        """Everything that was committed, entries in summary. Repairs what is damaged first.

        Raises:
            StoreError: it cannot be read.
        """

    async def read(self, query: Query) -> Page:
        """Entries of the outbox. Everything that was committed before the call is seen.

        Raises:
            StoreError: it cannot be read; load again before going on.
        """

    async def commit(self, changes: Sequence[Change]) -> None:
        """Make all changes permanent, in order, or none of them.

        Raises:
            StoreError: they are not permanent, or nobody knows; load again before going on.
        """

    async def close(self) -> None:
        """Let go of it. Whoever opens it next finds everything that was committed."""


class MemoryStore:
    """A store that lives as long as its process: for tests and for `durability = "memory"`."""

    def __init__(self, max_verdicts: int = 1_024) -> None:
        self._store_id = secrets.randbelow(2**64 - 1) + 1
        self._max_verdicts = max_verdicts
        self._devices: dict[Identity, DeviceStored] = {}
        self._logs: dict[Identity, dict[int, Entry]] = {}
        self._last_sequence = 0
        self._leases: dict[int, LeaseStored] = {}
        self._verdicts: dict[int, list[VerdictRecorded]] = {}

    @property
    def store_id(self) -> int:
        """See `Store`."""
        return self._store_id

    async def load(self) -> StoredState:
        """See `Store`."""
        return StoredState(
            tuple(self._devices.values()),
            tuple(_summary(identity, log) for identity, log in self._logs.items()),
            self._last_sequence,
            tuple(self._leases.values()),
            tuple(verdict for verdicts in self._verdicts.values() for verdict in verdicts),
        )

    async def read(self, query: Query) -> Page:
        """See `Store`. Cannot fail."""
        match query:
            case LogQuery(identity):
                found = iter(self._logs.get(identity, {}).values())
            case StreamQuery():
                found = iter(self._matching(query))
            case _:
                assert_never(query)
        entries: list[Entry] = []
        size_bytes = 0
        for entry in found:
            if len(entries) == query.limit or size_bytes > PAGE_BYTES:
                return Page(query, tuple(entries), is_complete=False)
            entries.append(entry)
            size_bytes += entry.size_bytes
        return Page(query, tuple(entries), is_complete=True)

    def _matching(self, query: StreamQuery) -> list[Entry]:
        entries = [
            entry
            for identity, log in self._logs.items()
            if identity.module in query.modules
            for entry in log.values()
            if query.after < entry.sequence <= query.up_to
        ]
        return sorted(entries, key=lambda entry: entry.sequence)

    async def close(self) -> None:
        """See `Store`."""

    async def commit(self, changes: Sequence[Change]) -> None:
        """See `Store`. Cannot fail."""
        for change in changes:
            self._apply(change)

    def _apply(self, change: Change) -> None:
        match change:
            case DeviceStored():
                self._devices[change.identity] = change
            case EntryAppended(entry):
                self._logs.setdefault(entry.device.identity, {})[entry.sequence] = entry
                self._last_sequence = max(self._last_sequence, entry.sequence)
            case EntriesTrimmed(identity, sequence, first_sequence):
                self._trim(identity, sequence, first_sequence)
            case DeviceForgotten(identity):
                self._devices.pop(identity, None)
            case EntriesFolded(fold):
                identity = fold.device.identity
                self._trim(identity, fold.sequence)
                self._logs[identity] = {fold.sequence: fold, **self._logs.get(identity, {})}
            case LeaseStored():
                self._leases[change.endpoint] = change
            case VerdictRecorded():
                self._record(change)
            case _:
                assert_never(change)

    def _trim(self, identity: Identity, sequence: int, first_sequence: int = 0) -> None:
        log = self._logs.get(identity, {})
        for number in [each for each in log if first_sequence <= each <= sequence]:
            del log[number]
        if not log:
            self._logs.pop(identity, None)

    def _record(self, change: VerdictRecorded) -> None:
        known = self._verdicts.setdefault(change.endpoint, [])
        session = (change.verdict.epoch, change.verdict.session)
        if known and (known[-1].verdict.epoch, known[-1].verdict.session) != session:
            known.clear()
        known.append(change)
        del known[: -self._max_verdicts]


def _summary(identity: Identity, log: Mapping[int, Entry]) -> LogStored:
    newest = log[max(log)]
    size_bytes = sum(entry.size_bytes for entry in log.values())
    extent = Extent(newest.sequence, len(log), size_bytes, newest.time_unix_ms)
    return LogStored(identity, (extent,))
