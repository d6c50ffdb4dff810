"""The ledger's part for devices whose every entry is sent, none folded (contract R18).

Pure. What waits of each is in its `ReplayLine`; here is what concerns them together.
"""

from __future__ import annotations

from collections.abc import Iterator

from module_gateway.external_client.entries import Acknowledgement, Entry, Flight, Lane, Receipt
from module_gateway.external_client.lane_room import LaneRoom
from module_gateway.external_client.replay_line import ReplayLine
from module_gateway.external_client.replay_run import Run
from module_gateway.protocol.external import Position, Stretch
from module_gateway.protocol.identity import Device, Identity


class ReplayLog:
    """All devices of one endpoint's modules with replay.

    Attributes:
        splits_live: the session takes live entries beside replayed ones.
        is_broken: a handler began anew within such a session: what it delivers is not taken
            before the session is over.
        needs_lease: entries were refused that are wanted now; whoever asks for them resets it.
    """

    def __init__(
        self,
        modules: frozenset[int],
        acknowledgements: list[Acknowledgement],
        released: list[Receipt],
        window: tuple[int, int],
    ) -> None:
        """What the handlers are to be told goes to the two lists.

        `window` is theirs for a lane: deliveries and bytes.
        """
        self.splits_live = False
        self.is_broken = False
        self.needs_lease = False
        self._began_unix_ms: int | None = None
        self._room = LaneRoom(*window)
        self._modules = modules
        self._acknowledgements = acknowledgements
        self._released = released
        self._lines: dict[Identity, ReplayLine] = {}
        self._with_fold: set[Identity] = set()

    # What others ask

    def covers(self, identity: Identity) -> bool:
        """Whether the device's module replays."""
        return identity.module in self._modules

    def __iter__(self) -> Iterator[Identity]:
        """Every device with an entry that waits to be sent."""
        return (each for each, line in self._lines.items() if line.is_waiting)

    def __contains__(self, identity: Identity) -> bool:
        line = self._lines.get(identity)
        return line is not None and line.is_waiting

    def is_old(self, entry: Entry) -> bool:
        """Whether it is replayed: older than the session, or than the live ones beside it."""
        if entry.is_marker or entry.lane is Lane.LIVE or not self.covers(entry.identity):
            return False
        began = self._began_unix_ms
        return self.splits_live or began is None or entry.time_unix_ms < began

    @property
    def is_behind(self) -> bool:
        """A device of which nothing waits may have older entries than its current status.

        Only in the one order of a session that does not split does it matter.
        """
        return self._room.is_full and not self.splits_live

    def newest(self, identity: Identity) -> Entry | None:
        """The newest one that waits to be replayed."""
        line = self._lines.get(identity)
        return None if line is None else line.newest

    def waiting(self, identity: Identity) -> int:
        """How many entries and markers wait."""
        line = self._lines.get(identity)
        return 0 if line is None else line.waiting

    def identities_waiting(self) -> list[Identity]:
        """Every device with something to send in a session."""
        return [each for each, line in self._lines.items() if line.waiting]

    @property
    def held(self) -> int:
        """How many deliveries this process keeps unreceipted."""
        return self._room.held

    def is_overtaken(self, entry: Entry) -> bool:
        """Newer entries of its device went up before it: it says nothing of now."""
        line = self._lines.get(entry.identity)
        return line is not None and line.is_overtaken(entry)

    def is_governed_live(self, entry: Entry) -> bool:
        """Its device has reported live in this session: that decides whether it is there."""
        line = self._lines.get(entry.identity)
        return line is not None and line.has_live and line.is_overtaken(entry)

    def has_left(self, identity: Identity) -> bool:
        """The device is gone, and all that is known of it has been sent and acknowledged."""
        line = self._lines.get(identity)
        return line is not None and line.has_left and line.is_settled

    def folds(self) -> list[Identity]:
        """Devices whose next entry is a fold of the handler."""
        self._with_fold = {each for each in self._with_fold if each in self}
        return [each for each in self._with_fold if self._lines[each].is_fold_next]

    # In

    def receive(self, entry: Entry) -> bool:
        """Take an entry; False when it is known or done already, or not to be taken now."""
        if entry.error is not None:
            self._with_fold.add(entry.identity)
        is_live = entry.lane is Lane.LIVE
        is_taken = not self.is_broken and (self.splits_live or not is_live)
        return self._line(entry.device, entry.store_id).receive(entry, is_taken=is_taken)

    def hold_marker(self, marker: Entry) -> bool:
        """Take a marker. False: something waits that says more."""
        return self._line(marker.device).hold_marker(marker)

    def put_first(self, marker: Entry) -> None:
        """A DISCONNECT of our own that goes before anything that waits."""
        self._line(marker.device).farewell = marker

    def handler_began(self, store_id: int) -> bool:
        """A lease was granted: it delivers from the oldest entry on.

        Returns:
            True when the running session cannot go on with it: live entries were sent, and what
            it calls live now need not follow them.
        """
        own = [line for line in self._lines.values() if line.store_id == store_id]
        for line in own:
            line.is_lossy = False
        self.is_broken |= self.splits_live and any(line.has_live for line in own)
        return self.is_broken

    # Out

    def is_sendable(self, identity: Identity, lane: Lane, *, is_announced: bool) -> bool:
        """Whether `pop` would give something."""
        return self._next_run(identity, lane, is_announced=is_announced) is not None

    def pop(self, identity: Identity, lane: Lane, *, is_announced: bool) -> Entry | None:
        """The next entry or marker, see `ReplayLine.next_run`."""
        run = self._next_run(identity, lane, is_announced=is_announced)
        return None if run is None else self._lines[identity].pop(run)

    def pop_oldest(self, identity: Identity) -> Entry | None:
        """The oldest waiting entry, also of a device in quarantine."""
        line = self._lines.get(identity)
        return None if line is None else line.pop_oldest()

    def pop_for_guest(self, identity: Identity) -> Entry | None:
        """What the CONNECTING of a connect sequence carries."""
        line = self._lines.get(identity)
        return None if line is None else line.pop_for_guest()

    def fly(self, flight: Flight, *, is_guest: bool = False) -> None:
        """A status was published. That of a guest is acknowledged by `acknowledge_guest`."""
        line = self._lines.get(flight.identity)
        if line is not None:
            line.fly(flight, is_guest=is_guest)

    def acknowledge(self, flight: Flight) -> None:
        """The control plane acknowledged it."""
        line = self._lines.get(flight.identity)
        if line is not None:
            line.acknowledge(flight)

    def acknowledge_guest(self, identity: Identity) -> None:
        """The connect sequence came so far that its CONNECTING was certainly taken (R11)."""
        line = self._lines.get(identity)
        if line is not None:
            line.acknowledge_guest()

    def swallow(self, entry: Entry) -> None:
        """It says nothing that upstream does not know: done without being sent."""
        self._line(entry.device).swallow(entry)

    # What the control plane has

    def trim(self, identity: Identity, position: Position) -> None:
        """It has applied everything up to there (R11)."""
        line = self._lines.get(identity)
        if line is not None:
            line.trim(position)

    def skip(self, identity: Identity, stretch: Stretch) -> None:
        """It has applied these as well, though older ones may be missing."""
        if self.covers(identity):
            self._line(Device(identity)).skip(stretch)

    # Sessions

    def session_began(self, unix_ms: int) -> None:
        """Entries that are older than this wall time are replayed."""
        self._began_unix_ms = unix_ms

    def settle(self, identity: Identity) -> None:
        """Without a session a mere end says nothing."""
        line = self._lines.get(identity)
        if line is not None:
            line.settle()

    def rewind(self, identity: Identity) -> None:
        """Nothing more is sent of this device in this session."""
        line = self._lines.get(identity)
        if line is not None:
            line.rewind()

    def end_session(self) -> None:
        """Everything waits again; after a split nothing is kept, the handler delivers it anew."""
        self._began_unix_ms = None
        for line in self._lines.values():
            if self.splits_live:
                line.forget()
            elif not line.is_settled:
                line.rewind()
        self.splits_live = self.is_broken = False

    # Devices that the control plane does not know

    def park(self, identity: Identity) -> None:
        """Keep the oldest entry alone, so that the others hold up no other device."""
        if self.covers(identity):
            self._line(Device(identity)).park()

    def unpark(self, identity: Identity) -> None:
        """It is known after all, or gone. `needs_lease` if entries of it were refused."""
        line = self._lines.get(identity)
        if line is not None:
            line.is_parked = False
            self.needs_lease |= line.is_lossy

    # Lifetime

    def prune(self, keep: int) -> None:
        """Forget devices that left long ago, oldest first, beyond `keep`."""
        for identity, line in tuple(self._lines.items()):
            if len(self._lines) <= keep:
                return
            if line.is_settled and not line.is_parked:
                del self._lines[identity]

    def forget_all(self) -> None:
        """Nothing that was delivered counts any more. No session is open."""
        for identity, line in tuple(self._lines.items()):
            line.forget()
            del self._lines[identity]
            if line.is_parked:
                self._line(line.device).is_parked = True
        self._with_fold.clear()

    # How

    def _line(self, device: Device, store_id: int = 0) -> ReplayLine:
        line = self._lines.get(device.identity)
        if line is None:
            line = ReplayLine(device, store_id, self._acknowledgements, self._released, self._room)
            self._lines[device.identity] = line
        line.store_id = line.store_id or store_id
        return line

    def _next_run(self, identity: Identity, lane: Lane, *, is_announced: bool) -> Run | None:
        line = self._lines.get(identity)
        return None if line is None else line.next_run(lane, is_announced=is_announced)
