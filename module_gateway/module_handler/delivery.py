"""One endpoint's claim on the outbox, in lanes (contract R8, R17, R18).

Pure. A lease belongs to one epoch of one client. It delivers in lanes, each with its own numbers
1, 2, 3 … and its own window; a client that misses a number leases again and all of them start
over, so nothing here is ever repeated.

    lane       carries
    FOLDED     entries of modules without replay, and every marker
    REPLAYED   entries of modules with replay, oldest first
    LIVE       while the session splits: those of them that are newer than the split, the cut
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from module_gateway.bus.address import Address
from module_gateway.module_handler.condensing import Condenser
from module_gateway.module_handler.outbox import Entry, Outbox
from module_gateway.module_handler.store import Page, StreamQuery
from module_gateway.module_handler.stream import Numbered, Stream, Window
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import ModuleError
from module_gateway.protocol.identity import Device, Identity

__all__ = ["Lease", "Numbered", "Window"]

Condense: TypeAlias = Callable[[frozenset[int]], Condenser | None]


class Lease:
    """One endpoint's claim on the outbox, and how far its deliveries are.

    Attributes:
        endpoint, epoch: whose it is; only messages of this very epoch count.
        client: where deliveries go, None until somebody has asked in this life of the handler.
        is_suspended: the client is silent: nothing is handed out.
        modules: the modules of the endpoint.
        is_exposed: a session is being opened or open (SessionPhase).
        exposed_to: entries up to this number may have reached the control plane.
        held_to: entries with replay up to this number may wait at the client, which sends them
            one by one: a fold of them would count them twice.
        asked_snapshot: the client's last request for a snapshot that is not answered; 0: none.
        condenser: folds FOLDED, which is held meanwhile; None when there is no need.
        cut: while live and replayed entries are delivered beside each other, the last number
            that REPLAYED carries.
    """

    def __init__(
        self,
        endpoint: int,
        epoch: int,
        modules: frozenset[int],
        replayed: frozenset[int],
        window: Window,
        reads: Iterator[int],
    ) -> None:
        """`replayed`: the modules with replay, of whichever endpoint. `reads`: see `Stream`."""
        self.endpoint = endpoint
        self.epoch = epoch
        self.modules = modules
        self.client: Address | None = None
        self.is_suspended = False
        self.is_exposed = False
        self.exposed_to = 0
        self.held_to = 0
        self.asked_snapshot = 0
        self.condenser: Condenser | None = None
        self.cut: int | None = None
        self._condense: Condense | None = None
        self._replayed_modules: Final = modules & replayed

        def stream(lane: int, carried: frozenset[int]) -> Stream:
            return Stream(endpoint, lane, carried, window, reads)

        self._folded_modules: Final = modules - replayed
        self._folded = stream(bus_pb2.FOLDED, self._folded_modules)
        self._replayed = stream(bus_pb2.REPLAYED, self._replayed_modules)
        self._live = stream(bus_pb2.LIVE, self._replayed_modules)
        # What is fresh goes first: a turn may hand out a whole window of each.
        self._streams: Final = (self._live, self._folded, self._replayed)

    # Its life

    def start(self, client: Address, outbox: Outbox, condense: Condense | None = None) -> None:
        """Begin all lanes anew, with the oldest unacknowledged entry, as delivery 1.

        `condense`, for a client that holds nothing, gets the modules of FOLDED; what it gives
        folds that lane first, None: it is not deep.
        """
        self.client = client
        self._condense = condense
        for stream in self._streams:
            stream.renumber()
        self._begin(outbox)

    def interrupt(self, outbox: Outbox) -> None:
        """Something under way may be lost: skip a number, so that the client notices."""
        for stream in self._streams:
            stream.skip_number()
        self._begin(outbox)

    def inherit_client(self, former: Lease, outbox: Outbox) -> None:
        """Go on behind another object's lanes of this epoch, with a gap."""
        self.client = former.client
        self.held_to = max(self.held_to, former.held_to)
        for stream, known in zip(self._streams, former._streams, strict=True):
            stream.go_on_behind(known)
        if former.is_suspended:
            self.suspend()
        elif self.client is not None:
            self.interrupt(outbox)

    def suspend(self) -> None:
        """The client is silent. What is exposed stays so: its session may live on."""
        self.is_suspended = True
        self.asked_snapshot = 0
        self.condenser = None
        for stream in self._streams:
            stream.stop()

    def enter_phase(self, outbox: Outbox, *, is_exposed: bool, splits: bool) -> None:
        """The client opens a session with what it was given, or its session is over.

        After the end of a split it leases again: until then only FOLDED goes on.
        """
        self.is_exposed = is_exposed
        delivered = max(stream.last_delivered for stream in self._streams)
        self.exposed_to = max(self.exposed_to, delivered) if is_exposed else 0
        if splits and is_exposed and self._replayed_modules:
            self._split(outbox)
        elif self.cut is not None:
            self.cut = None
            self._live.stop()
            self._replayed.stop()

    def _begin(self, outbox: Outbox) -> None:
        self.is_suspended = False
        self.asked_snapshot = 0
        self.cut = self.condenser = None
        self._live.stop()
        self._folded.start(outbox)
        self._replayed.start(outbox)
        if self._condense is not None:
            self.condenser = self._condense(self._folded_modules)
        if self.condenser is None:
            self._condense = None
        else:
            self._folded.hold()

    def _split(self, outbox: Outbox) -> None:
        """From here on what is new overtakes. Said again it changes nothing."""
        if self.cut is not None or not self._is_served:
            return
        self.cut = outbox.last_sequence
        self._live.start_behind(self.cut)
        outbox.seal(self._replayed_modules)

    @property
    def _is_served(self) -> bool:
        return self.client is not None and not self.is_suspended

    # In

    def appended(self, entry: Entry) -> None:
        """The outbox has a new entry of one of the modules."""
        if self._is_served:
            self._carrier(entry.device.identity.module).append(entry)

    def folded(self, fold: Entry) -> None:
        """A fold stands for everything of its identity up to its number."""
        for stream in self._streams:
            stream.folded(fold)

    def page_read(self, page: Page) -> None:
        """What the store found for one of the lanes."""
        for stream in self._streams:
            stream.page_read(page)

    def taken(self, lane: int, number: int) -> None:
        """All deliveries of a lane up to a number have left the client's queue."""
        for stream in self._streams:
            if stream.lane == lane:
                stream.taken(number)

    # While it condenses

    def behind(self, outbox: Outbox) -> frozenset[Identity]:
        """Whose older statuses are still to come."""
        if self.condenser is None:
            return frozenset()
        owed = outbox.identities()
        return frozenset(each for each in owed if each.module in self._folded_modules)

    def fold_read(self, condenser: Condenser) -> list[tuple[Identity, ModuleError]]:
        """Fold what was read of the lane that is held; returns what modules refused.

        When there is nothing more to read, the lane goes on with the folds.
        """
        failures = condenser.add(self._folded.take_read())
        if condenser.has_given_up:
            self._folded.go_on(None)
        elif self._folded.has_read_hold:
            self._folded.go_on(condenser.result())
        else:
            return failures
        self.condenser = self._condense = None
        return failures

    # Out

    def pump(self, outbox: Outbox) -> Iterator[Numbered]:
        """Hand out entries while the windows are open. The caller sends each of them."""
        for stream in self._streams:
            yield from stream.pump(outbox)
            if self.is_exposed:
                self.exposed_to = max(self.exposed_to, stream.last_delivered)
        self.held_to = max(self.held_to, self._replayed.last_delivered, self._live.last_delivered)

    def mark(self, device: Device, status: bytes) -> Numbered | None:
        """Hand out a marker; None when entries wait, which say more than a repetition."""
        if not self._is_served:
            return None
        carrier = self._carrier(device.identity.module)
        if not (carrier.is_idle and self._folded.is_idle):
            return None
        return self._folded.mark(device, status)

    def is_snapshot_due(self) -> bool:
        """A snapshot was asked for, and everything that it must not overtake is handed out."""
        return self.asked_snapshot != 0 and self._folded.is_exhausted

    def next_reads(self) -> list[StreamQuery]:
        """What the store is to be asked now."""
        queries = (stream.next_read() for stream in self._streams)
        return [query for query in queries if query is not None]

    def safe_to(self, module: int) -> int:
        """Entries of a module up to this number are not folded before twice the bound (R8)."""
        if module in self._replayed_modules:
            return max(self.exposed_to, self.held_to)
        return self.exposed_to

    @property
    def untaken(self) -> int:
        """Deliveries that are under way or wait at the client."""
        return sum(stream.untaken for stream in self._streams)

    def _carrier(self, module: int) -> Stream:
        """The lane of a module's new entries."""
        if module not in self._replayed_modules:
            return self._folded
        return self._replayed if self.cut is None else self._live
