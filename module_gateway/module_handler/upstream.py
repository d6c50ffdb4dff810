"""Towards the control planes: outbox, leases and verdicts of one handler, tied together.

Pure. Every endpoint has at most one lease; what does not come from its current epoch is ignored
(contract R17).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count

from module_gateway.bus.address import Address
from module_gateway.module_handler import wire
from module_gateway.module_handler.aggregator import Publication
from module_gateway.module_handler.command_log import CommandLog, Verdict
from module_gateway.module_handler.compaction import (
    NO_BOUND,
    Claim,
    Compactor,
    ErrorAggregation,
    OutboxLimits,
)
from module_gateway.module_handler.condensing import DEEP_ENTRIES, Condensing
from module_gateway.module_handler.delivery import Lease, Numbered, Window
from module_gateway.module_handler.outbox import Bounds, Entry, Outbox
from module_gateway.module_handler.store import (
    EntriesFolded,
    EntriesTrimmed,
    EntryAppended,
    LeaseStored,
    LogQuery,
    Page,
    StoredState,
    VerdictRecorded,
)
from module_gateway.module_handler.turn import Turn
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import ModuleError, Reason
from module_gateway.protocol.identity import Device, Identity


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """Bounds of the outbox, and of what is delivered and not taken.

    Attributes:
        log: of one identity's log.
        window: of each lane of a lease.
        total_bytes: of all logs together.
        age_s: of an entry, by the wall clock.
        replayed: modules whose every status goes upstream after an outage (R18).
        deep_entries: a lane with more is condensed before a new client gets it.
    """

    log: Bounds
    window: Window
    total_bytes: int = NO_BOUND
    age_s: float = NO_BOUND
    replayed: frozenset[int] = frozenset()
    deep_entries: int = DEEP_ENTRIES


class Upstream:
    """What a handler owes the control planes, and to whom it hands it."""

    def __init__(
        self,
        limits: UpstreamLimits,
        modules: Mapping[int, ErrorAggregation],
        store_id: int,
        now: float,
    ) -> None:
        bounds = OutboxLimits(limits.log, limits.total_bytes, limits.age_s)
        self.outbox = Outbox(limits.log)
        self._compactor = Compactor(bounds, self.outbox, modules, self._claim, now)
        self._condensing = Condensing(self.outbox, modules, limits.deep_entries)
        self._limits = limits
        self._store_id = store_id
        self._leases: dict[int, Lease] = {}
        self._by_module: dict[int, Lease] = {}
        self._logs: dict[int, CommandLog] = {}
        self._reads = count(1)

    def restore(self, state: StoredState) -> None:
        """Take over what the store remembers. Only for a new object.

        What was open when it was written may have reached the control plane since.
        """
        self.outbox.restore(state.logs, state.last_sequence)
        for stored in state.leases:
            lease = self._make_lease(stored.endpoint, stored.epoch, stored.modules)
            lease.is_exposed = stored.is_exposed
            lease.exposed_to = state.last_sequence if stored.is_exposed else 0
            lease.held_to = state.last_sequence
        for identity in self.outbox.identities():
            self._compactor.appended(identity)  # the bounds may be lower than they were
        for recorded in state.verdicts:
            self.command_log(recorded.endpoint).record(recorded.verdict)

    # From the devices

    def publish(self, device: Device, publication: Publication, turn: Turn) -> None:
        """Put a status into the outbox; a log beyond its bound becomes coarser soon."""
        self._appended(self.outbox.append(device, publication, turn.unix_ms), turn)
        turn.publications += 1

    def _appended(self, entry: Entry, turn: Turn) -> None:
        turn.changes.append(EntryAppended(entry))
        identity = entry.device.identity
        lease = self._by_module.get(identity.module)
        if lease is not None:
            lease.appended(entry)
        self._compactor.appended(identity)

    def mark(self, device: Device, status: bytes, turn: Turn) -> None:
        """Repeat a status that is in the outbox or was acknowledged: never stored (R9).

        Without a client, or while it is behind, nobody needs the repetition.
        """
        lease = self._by_module.get(device.identity.module)
        if lease is None:
            return
        self._pump(lease, turn)
        marker = lease.mark(device, status)
        if marker is not None:
            self._deliver(lease, marker, turn)

    def deliver(self, turn: Turn) -> None:
        """Hand out whatever the windows allow, and ask for what is missing. Ends a turn."""
        for lease in self._leases.values():
            self._pump(lease, turn)
            turn.reads += lease.next_reads()
        query = self._compactor.next_read()
        if query is not None:
            turn.reads.append(query)

    # Time, and what the store has found

    def next_due(self) -> float | None:
        """When `expire` has something to do at the earliest."""
        return self._compactor.next_due()

    def expire(self, turn: Turn) -> None:
        """Look for entries that are too old."""
        self._compactor.expire(turn.now, turn.unix_ms)

    def page_read(self, page: Page, turn: Turn) -> list[tuple[Identity, ModuleError | None]]:
        """A read of an earlier turn was answered.

        Returns:
            Whose entries a module was asked to fold, and what it refused, counted already.
        """
        if not isinstance(page.query, LogQuery):
            lease = self._leases.get(page.query.endpoint)
            if lease is None:
                return []
            lease.page_read(page)
            if lease.condenser is None:
                return []
            failures = lease.fold_read(lease.condenser)
            for _, refusal in failures:
                turn.count(refusal.reason)
            return [*failures]
        folding = self._compactor.page_read(page)
        if folding is None:
            return []
        turn.changes.append(EntriesFolded(folding.fold))
        turn.count(Reason.OUTBOX_COMPACTED, len(folding.taken))
        identity = page.query.identity
        lease = self._by_module.get(identity.module)
        if lease is not None:
            lease.folded(folding.fold)
        if folding.failure is not None:
            turn.count(folding.failure.reason)
        return [(identity, folding.failure)]

    # From an operator: see `buffer_desk.Owed`

    def owes(self, identity: Identity) -> bool:
        """Whether an entry of this identity waits."""
        return self.outbox.log(identity) is not None

    def purge(self, identity: Identity, first: int, last: int, turn: Turn) -> None:
        """Nobody is to get these entries, whatever is known of them here."""
        self.outbox.trim(identity, last, first)
        turn.changes.append(EntriesTrimmed(identity, last, first))
        self._trimmed(identity)

    def void(self, turn: Turn) -> None:
        """Make every client forget what it was given, and ask for what is left."""
        for lease in self._leases.values():
            if lease.client is not None:
                turn.send(lease.client, wire.deliveries_voided(lease.endpoint, lease.epoch))
        self.interrupt()

    def put_back(self, entry: Entry, turn: Turn) -> None:
        """Deliver an entry of before under the next number, with its own time."""
        self._appended(self.outbox.put_back(entry), turn)

    # From the external clients

    def current(self, sender: Address, endpoint: int, epoch: int, turn: Turn) -> Lease | None:
        """The lease that a client's message speaks of; None, and a count, if it is not current.

        A superseded client is told again: the first telling may have been lost.
        """
        lease = self._leases.get(endpoint)
        if lease is not None and lease.epoch == epoch and lease.client == sender:
            return lease
        turn.count(Reason.STALE_LEASE)
        if lease is not None and epoch < lease.epoch:
            turn.send(sender, wire.lease_ended(endpoint, epoch, lease.epoch))
        return None

    def grant(self, sender: Address, request: bus_pb2.Lease, turn: Turn) -> Lease | None:
        """A client asks for the outbox of its endpoint, or for all of it once more.

        Returns:
            The lease, whose stream begins anew; None when a newer epoch has it.
        """
        endpoint, epoch, modules = request.endpoint, request.epoch, frozenset(request.modules)
        lease = self._leases.get(endpoint)
        if lease is not None and epoch < lease.epoch:
            return self.current(sender, endpoint, epoch, turn)
        if lease is None or (lease.epoch, lease.modules) != (epoch, modules):
            lease = self._succeed(lease, request, sender, turn)
            self._store(lease, turn)
            turn.note("lease_granted", endpoint=endpoint, client=str(sender))
        holds_nothing = self._store_id not in request.held_stores
        lease.start(sender, self.outbox, self._condensing.begin if holds_nothing else None)
        turn.send(sender, wire.lease_granted(endpoint, epoch, self._store_id))
        return lease

    def send_snapshot(
        self, lease: Lease, request: int, registered: Iterable[tuple[Device, bytes]], turn: Turn
    ) -> None:
        """All registered devices of the lease's modules; request 0 belongs to the lease itself."""
        if lease.client is None:
            return
        parts = wire.snapshot_parts(
            *(lease.endpoint, lease.epoch, request, registered), lease.behind(self.outbox)
        )
        for part in parts:
            turn.send(lease.client, part)

    def take_snapshots_due(self) -> list[tuple[Lease, int]]:
        """Whose request for a snapshot can be answered now, and with which number.

        The answer comes behind everything that was published until then (as far as the window
        allows), out of memory or by page: a current status must not overtake older ones.
        """
        due = [lease for lease in self._leases.values() if lease.is_snapshot_due()]
        answers = [(lease, lease.asked_snapshot) for lease in due]
        for lease in due:
            lease.asked_snapshot = 0
        return answers

    def enter_phase(self, lease: Lease, phase: bus_pb2.SessionPhase, turn: Turn) -> None:
        """The client opens a session, or has none any more."""
        is_exposed = phase.phase == bus_pb2.SessionPhase.EXPOSED
        lease.enter_phase(self.outbox, is_exposed=is_exposed, splits=phase.splits_live)
        self._store(lease, turn)

    def acknowledge(
        self, identity: Identity, first_sequence: int, sequence: int, turn: Turn
    ) -> None:
        """The control plane has an identity's entries between two numbers, both included."""
        sequence = min(sequence, self.outbox.last_sequence)
        first = self.outbox.acknowledge(identity, sequence, first_sequence)
        if first is not None:
            turn.changes.append(EntriesTrimmed(identity, sequence, first))
            self._trimmed(identity)

    def command_log(self, endpoint: int) -> CommandLog:
        """The verdicts of an endpoint."""
        log = self._logs.get(endpoint)
        if log is None:
            log = self._logs[endpoint] = CommandLog()
        return log

    def record(self, lease: Lease, verdict: Verdict, turn: Turn) -> None:
        """A command was judged: remember it with the commit, then answer."""
        self.command_log(lease.endpoint).record(verdict)
        turn.changes.append(VerdictRecorded(lease.endpoint, verdict))
        self.answer(lease, verdict, turn)

    def answer(self, lease: Lease, verdict: Verdict, turn: Turn) -> None:
        """Tell the client a verdict."""
        if lease.client is not None:
            epoch, session, counter, _, response = verdict
            turn.send(
                lease.client,
                wire.command_verdict(lease.endpoint, epoch, session, counter, response),
            )

    # From the bus

    def client_lost(self, client: Address) -> None:
        """A client is silent."""
        for lease in self._leases.values():
            if lease.client == client:
                lease.suspend()

    def client_up(self, client: Address) -> None:
        """A client is heard. If it was lost, what went to it meanwhile is lost, too."""
        for lease in self._leases.values():
            if lease.client == client and lease.is_suspended:
                lease.interrupt(self.outbox)

    def interrupt(self) -> None:
        """What was said to or by the clients may be lost: make them notice and ask again.

        A client that is silent is told when it is heard again.
        """
        for lease in self._leases.values():
            if lease.client is not None and not lease.is_suspended:
                lease.interrupt(self.outbox)

    def inherit_clients(self, former: Upstream) -> None:
        """Serve the clients of a former life of this state, whose streams are broken."""
        for endpoint, lease in self._leases.items():
            known = former._leases.get(endpoint)
            if known is not None and known.epoch == lease.epoch:
                lease.inherit_client(known, self.outbox)

    @property
    def untaken(self) -> int:
        """Deliveries that clients have not taken yet."""
        return sum(lease.untaken for lease in self._leases.values())

    # Inside

    def _trimmed(self, identity: Identity) -> None:
        self._compactor.trimmed(identity)
        lease = self._by_module.get(identity.module)
        if lease is not None and lease.condenser is not None:
            lease.condenser.has_given_up = True

    def _claim(self, identity: Identity) -> Claim:
        lease = self._by_module.get(identity.module)
        if lease is None:
            return Claim()
        return Claim(lease.safe_to(identity.module), lease.cut)

    def _succeed(
        self, former: Lease | None, request: bus_pb2.Lease, sender: Address, turn: Turn
    ) -> Lease:
        """Replace an endpoint's lease. What a former session may have shown stays exposed."""
        endpoint = request.endpoint
        lease = self._make_lease(endpoint, request.epoch, frozenset(request.modules))
        if former is not None:
            lease.exposed_to = former.exposed_to
            if former.client is not None and former.client != sender:
                ended = wire.lease_ended(endpoint, former.epoch, lease.epoch)
                turn.send(former.client, ended)
        return lease

    def _make_lease(self, endpoint: int, epoch: int, modules: frozenset[int]) -> Lease:
        limits = self._limits
        lease = Lease(endpoint, epoch, modules, limits.replayed, limits.window, self._reads)
        self._leases[endpoint] = lease
        self._by_module = {
            module: each for each in self._leases.values() for module in each.modules
        }
        return lease

    def _store(self, lease: Lease, turn: Turn) -> None:
        turn.changes.append(
            LeaseStored(
                lease.endpoint,
                lease.epoch,
                lease.modules,
                is_exposed=lease.is_exposed or lease.exposed_to > 0,
            )
        )

    def _pump(self, lease: Lease, turn: Turn) -> None:
        if lease.client is not None:
            for numbered in lease.pump(self.outbox):
                self._deliver(lease, numbered, turn)

    def _deliver(self, lease: Lease, numbered: Numbered, turn: Turn) -> None:
        if numbered.entry is not None:
            self.outbox.delivered(numbered.entry)
        if lease.client is not None:
            message = wire.delivery(lease.endpoint, lease.epoch, numbered, turn.unix_ms)
            turn.send(lease.client, message)
