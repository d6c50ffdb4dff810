"""The ledger of one endpoint: what of each device's log is folded, waiting, under way or done.

Pure. Every entry that a handler delivered is in exactly one of these places: covered by a fold,
waiting, in flight, or acknowledged (contract R8, R10, R11). Repeated deliveries are recognised
by store and sequence, so a new lease may deliver everything again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from module_gateway.external_client.entries import Acknowledgement, Entry, Flight, Fold, Receipt
from module_gateway.external_client.error_aggregator import ErrorAggregator, ErrorModule
from module_gateway.external_client.lane_room import LANE_BYTES, LANE_DELIVERIES
from module_gateway.external_client.replay_log import ReplayLog
from module_gateway.protocol.external import Position
from module_gateway.protocol.identity import Device, Identity

MAX_LOGS: Final = 40_000
"""Twice the handler's bound of identities: those that left need only be known while an
acknowledgement may have been lost on the bus."""


@dataclass(eq=False, slots=True)
class _Log:
    device: Device
    store_id: int
    received: int = 0
    acknowledged: int = 0
    in_flight: deque[Flight] = field(default_factory=deque)
    waiting: deque[Entry] = field(default_factory=deque)

    @property
    def is_settled(self) -> bool:
        return not self.in_flight and not self.waiting


class Backlog:
    """All devices of one endpoint.

    Attributes:
        folds: the error aggregator.
        replay: the devices whose entries are never folded here (R18).
        acknowledgements: for the handlers, in order; whoever drives the backlog empties it.
        released: deliveries that left this process; likewise.
    """

    def __init__(
        self,
        modules: Mapping[int, ErrorModule],
        replay_modules: frozenset[int] = frozenset(),
        lane_window: tuple[int, int] = (LANE_DELIVERIES, LANE_BYTES),
    ) -> None:
        self.folds = ErrorAggregator(modules)
        self.acknowledgements: list[Acknowledgement] = []
        self.released: list[Receipt] = []
        self.replay = ReplayLog(replay_modules, self.acknowledgements, self.released, lane_window)
        self._logs: dict[Identity, _Log] = {}

    # In

    def receive(self, entry: Entry, *, is_live: bool) -> bool:
        """Take an entry with a sequence.

        Args:
            entry: as delivered.
            is_live: a session is up or coming up and takes statuses of this device.

        Returns:
            True when it waits to be sent, False when it was folded or known already.
        """
        if self.replay.covers(entry.identity):
            is_waiting = self.replay.receive(entry)
            if not is_live:
                self.replay.settle(entry.identity)
            return is_waiting and is_live
        log = self._log_of(entry)
        if entry.sequence <= log.received:
            self._release(entry)
            if entry.sequence <= log.acknowledged:
                self._acknowledge(log, entry.sequence)
            return False
        if entry.indivisible is not None and entry.first_sequence <= log.received:
            self._ask_anew(log, entry)
            return False
        log.received = entry.sequence
        is_sent = entry.error is None or not self._is_first(log)
        if is_live and is_sent and not self.folds.accepts(entry.identity):
            log.waiting.append(entry)
            return True
        self._fold(entry)
        self._settle(entry.identity)
        return False

    def _is_first(self, log: _Log) -> bool:
        """Nothing of this device is under way or waits."""
        return log.is_settled and self.folds.frozen(log.device.identity) is None

    def hold_marker(self, marker: Entry) -> bool:
        """Take a marker while a session is up. False: something newer than it waits already."""
        if self.replay.covers(marker.identity):
            return self.replay.hold_marker(marker)
        log = self._log_of(marker)
        if (log.waiting and not marker.ends_registration) or self.folds.accepts(marker.identity):
            self._release(marker)
            return False
        log.waiting.append(marker)
        return True

    def put_first(self, marker: Entry) -> None:
        """A marker of our own that must go before anything that waits."""
        if self.replay.covers(marker.identity):
            self.replay.put_first(marker)
        else:
            self._log_of(marker).waiting.appendleft(marker)

    def drop(self, entry: Entry) -> None:
        """A marker that nobody will see."""
        self._release(entry)

    # Out

    def waiting(self, identity: Identity) -> int:
        """How many entries and markers wait."""
        if self.replay.covers(identity):
            return self.replay.waiting(identity)
        log = self._logs.get(identity)
        return len(log.waiting) if log is not None else 0

    def identities_waiting(self) -> list[Identity]:
        """Every device with something to send in a session."""
        folded = [identity for identity, log in self._logs.items() if log.waiting]
        return folded + self.replay.identities_waiting()

    def is_sendable(self, identity: Identity) -> bool:
        """Something waits, and it need not wait for what is in flight.

        A fold of the handler does: it can only travel in a CONNECTING, after what is before it.
        """
        log = self._logs.get(identity)
        if log is None or not log.waiting:
            return False
        return log.waiting[0].error is None or not log.in_flight

    def pop(self, identity: Identity) -> Entry | None:
        """The oldest one that `is_sendable`, to be sent or swallowed; None when there is none.

        A fold of the handler is none: it and all behind it are folded now.
        """
        log = self._logs.get(identity)
        if log is None or not log.waiting:
            return None
        if log.waiting[0].error is None:
            return log.waiting.popleft()
        if not log.in_flight:
            self._fold_waiting(log)
        return None

    def fly(self, flight: Flight) -> None:
        """A status was published."""
        entry = flight.entry
        if self.replay.covers(flight.identity):
            self.replay.fly(flight)
        elif entry is None:
            pass  # a fold, which is frozen
        elif entry.is_marker:
            self._release(entry)  # nobody keeps it: a session may end before its answer
        else:
            self._logs[flight.identity].in_flight.append(flight)

    def swallow(self, entry: Entry) -> None:
        """It says nothing that upstream does not know: done without being sent."""
        flight = Flight(0, entry.identity, 0, 0.0, entry)
        self.fly(flight)
        self.acknowledge(flight)

    def acknowledge(self, flight: Flight) -> None:
        """The control plane acknowledged it; the handler hears of the contiguous front only."""
        if self.replay.covers(flight.identity):
            self.replay.acknowledge(flight)
            return
        flight.is_acknowledged = True
        entry = flight.entry
        if entry is None:
            self.acknowledge_fold(flight.identity)
            return
        if entry.is_marker:
            return
        self._release(entry)
        log = self._logs.get(flight.identity)
        if log is None:
            return
        last: Entry | None = None
        while log.in_flight and log.in_flight[0].is_acknowledged:
            last = log.in_flight.popleft().entry
        if last is not None and last.store_id == log.store_id:
            self._acknowledge(log, last.sequence)

    def acknowledge_fold(self, identity: Identity) -> Fold | None:
        """The oldest fold was delivered."""
        fold = self.folds.clear(identity)
        log = self._logs.get(identity)
        if fold is not None and log is not None and fold.store_id == log.store_id:
            self._acknowledge(log, fold.last)
        return fold

    def deliver_guest(self, identity: Identity) -> None:
        """What the CONNECTING of a connect sequence carried is certainly upstream (R11).

        A device that left before it was announced gets its DISCONNECT after the sequence.
        """
        self.replay.acknowledge_guest(identity)
        if self.folds.frozen(identity) is not None:
            self.deliver_fold(identity)

    def deliver_fold(self, identity: Identity) -> None:
        """The fold that is under way is upstream."""
        fold = self.folds.frozen(identity)
        if fold is not None and fold.ends_registration:
            self.put_first(Entry(fold.device, fold.status, ends_registration=True))
        self.acknowledge_fold(identity)

    # A session ends

    def refold(self, identity: Identity) -> None:
        """Nothing more will be sent of this device: unacknowledged first, then what waited."""
        if self.replay.covers(identity):
            self.replay.rewind(identity)
            return
        self.folds.thaw(identity)
        log = self._logs.get(identity)
        if log is None:
            return
        while log.in_flight:
            flight = log.in_flight.popleft()
            entry = flight.entry
            if entry is None:
                continue
            if flight.is_acknowledged:
                self.folds.pass_status(entry)
            else:
                self._fold(entry)
        self._fold_waiting(log)
        self._settle(identity)

    def refold_all(self) -> None:
        """The session is over."""
        self.replay.end_session()
        for identity in tuple(self.folds):
            self.folds.thaw(identity)
        for identity, log in self._logs.items():
            if not log.is_settled:
                self.refold(identity)
        for identity in tuple(self.folds):
            self._settle(identity)

    def trim(self, identity: Identity, sequence: int) -> None:
        """The control plane has applied part of the fold: the rest must be delivered again."""
        log = self._logs.get(identity)
        if log is None:
            return
        for entry in log.waiting:
            self._release(entry)
        log.waiting.clear()
        self.folds.forget(identity)
        log.received = sequence
        self._acknowledge(log, sequence)

    def know_applied(self, identity: Identity, position: Position) -> None:
        """The control plane has this entry and all before it, whoever has sent them."""
        if self.replay.covers(identity) or identity in self.folds:
            return
        log = self._logs.get(identity)
        if log is None:
            log = self._logs[identity] = _Log(Device(identity), position.store_id)
        if log.store_id == position.store_id and log.is_settled:
            log.received = max(log.received, position.sequence)
            log.acknowledged = max(log.acknowledged, position.sequence)

    # Lifetime

    def forget_all(self) -> None:
        """Nothing that was delivered counts any more: what is left is delivered anew.

        Only without a session. What was acknowledged upstream has been told to the handlers.
        """
        self.folds.forget_all()
        self.replay.forget_all()
        self._logs.clear()

    def prune(self, keep: int = MAX_LOGS) -> None:
        """Forget devices that left long ago, oldest first, beyond `keep`."""
        self.replay.prune(keep)
        if len(self._logs) <= keep:
            return
        for identity, log in tuple(self._logs.items()):
            if len(self._logs) <= keep:
                return
            if log.is_settled and identity not in self.folds:
                del self._logs[identity]

    # How

    def _log_of(self, entry: Entry) -> _Log:
        log = self._logs.get(entry.identity)
        if log is None:
            log = self._logs[entry.identity] = _Log(entry.device, entry.store_id)
        elif entry.store_id != log.store_id and not entry.is_marker:
            # Another store numbers from its own start; what came from the old one is still
            # delivered, but nobody waits for its acknowledgement (R4).
            log.store_id, log.received, log.acknowledged = entry.store_id, 0, 0
        log.device = entry.device
        return log

    def _ask_anew(self, log: _Log, fold: Entry) -> None:
        """A fold holds some of what was delivered or applied before: only its entries can tell."""
        self._release(fold)
        if log.acknowledged:
            self._acknowledge(log, log.acknowledged)
        self.replay.needs_lease = True

    def _fold_waiting(self, log: _Log) -> None:
        while log.waiting:
            entry = log.waiting.popleft()
            if entry.is_marker:
                self._release(entry)
            else:
                self._fold(entry)

    def _fold(self, entry: Entry) -> None:
        self.folds.add_status(entry)
        self._release(entry)

    def _settle(self, identity: Identity) -> None:
        """A fold that only repeats needs no session: the end of the last one said as much."""
        fold = self.folds.oldest(identity)
        if fold is not None and not fold.has_news and self.folds.frozen(identity) is None:
            self.acknowledge_fold(identity)

    def _acknowledge(self, log: _Log, sequence: int) -> None:
        log.acknowledged = max(log.acknowledged, sequence)
        position = Position(log.store_id, log.acknowledged)
        self.acknowledgements.append(Acknowledgement(log.device.identity, position))

    def _release(self, entry: Entry) -> None:
        if entry.receipt is not None:
            self.released.append(entry.receipt)
