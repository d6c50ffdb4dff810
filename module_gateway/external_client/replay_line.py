"""One device whose every entry is sent, none folded (contract R18).

Pure. An entry waits here, and its delivery is not receipted, until the control plane has
acknowledged it: the handler's window for the lane bounds what this process holds, however long
the outage. There are two runs: what is replayed in order and, while the session splits, the live
entries that overtake it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from module_gateway.external_client.entries import Acknowledgement, Entry, Flight, Lane, Receipt
from module_gateway.external_client.lane_room import LaneRoom
from module_gateway.external_client.replay_run import Run, is_in, is_repeated_end, is_within
from module_gateway.protocol.external import Position, Stretch
from module_gateway.protocol.identity import Device

MAX_STRETCHES: Final = 128
"""Remembered per device. One that is forgotten is sent again and recognised by the peer."""


class ReplayLine:
    """What waits of one device, what is under way, and how far it is acknowledged.

    Attributes:
        farewell: a DISCONNECT of our own that goes before anything that waits.
        has_left: the newest live entry ended the registration.
        is_parked: the control plane does not know the device: its oldest entry alone is kept.
        is_lossy: entries were refused; a new lease must deliver them before later ones count.
    """

    def __init__(
        self,
        device: Device,
        store_id: int,
        acknowledgements: list[Acknowledgement],
        released: list[Receipt],
        room: LaneRoom,
    ) -> None:
        self.device = device
        self.store_id = store_id
        self.replayed = Run()
        self.live = Run()
        self.farewell: Entry | None = None
        self.has_left = False
        self.is_parked = False
        self.is_lossy = False
        self._acknowledgements = acknowledgements
        self._released = released
        self._room = room
        self._applied: tuple[Stretch, ...] = ()
        self._receipts: dict[Position, Receipt] = {}
        self._guest: Flight | None = None

    @property
    def is_settled(self) -> bool:
        """Nothing waits and nothing is under way."""
        return not self.waiting and not any(run.in_flight for run in self._runs)

    @property
    def has_live(self) -> bool:
        """Live entries have come in this session."""
        return self.live.first != 0

    def is_overtaken(self, entry: Entry) -> bool:
        """Newer entries went up before it: it says nothing of now."""
        if entry.lane is Lane.LIVE or entry.is_marker:
            return False
        return self.has_live or any(
            each.store_id == entry.store_id and entry.sequence < each.first_sequence
            for each in self._applied
        )

    @property
    def waiting(self) -> int:
        """How many entries and markers wait."""
        return sum(len(run.waiting) for run in self._runs) + (self.farewell is not None)

    @property
    def is_waiting(self) -> bool:
        """An entry waits to be sent."""
        return any(not entry.is_marker for run in self._runs for entry in run.waiting)

    @property
    def oldest(self) -> Entry | None:
        """The oldest entry that is not acknowledged."""
        for run in self._runs:
            for flight in run.in_flight:
                if flight.entry is not None and not flight.is_acknowledged:
                    return flight.entry
            for entry in run.waiting:
                if not entry.is_marker:
                    return entry
        return None

    @property
    def newest(self) -> Entry | None:
        """The newest entry that waits to be replayed."""
        waiting = self.replayed.waiting
        return waiting[-1] if waiting else self.oldest

    @property
    def is_fold_next(self) -> bool:
        """A fold of the handler is at the front: only a CONNECTING can carry it."""
        return any(run.waiting and run.waiting[0].error is not None for run in self._runs)

    # In

    def receive(self, entry: Entry, *, is_taken: bool) -> bool:
        """Take an entry; False when it is known or done already, or not to be taken now."""
        self._follow(entry)
        run = self.run(entry.lane)
        if self._is_known(run, entry):
            return False
        if self.is_parked and self.oldest is not None:
            self.is_lossy = True
        if self.is_lossy or not is_taken:
            self.release(entry)
            return False
        if entry.error is not None:
            self._drop_covered(run, entry)
        run.first = run.first or entry.sequence
        run.received = entry.sequence
        run.waiting.append(self._hold(entry))
        if self.is_parked:
            self.release(run.waiting[-1])
        if entry.lane is Lane.LIVE:
            self.has_left = entry.ends_registration
        return True

    def hold_marker(self, marker: Entry) -> bool:
        """Take a marker. False: something waits that says more."""
        if self.waiting and not marker.ends_registration:
            self.release(marker)
            return False
        self.run(Lane.LIVE if self.has_live else Lane.REPLAYED).waiting.append(marker)
        return True

    # Out

    def run(self, lane: Lane) -> Run:
        """The run of a lane."""
        return self.live if lane is Lane.LIVE else self.replayed

    def next_run(self, lane: Lane, *, is_announced: bool) -> Run | None:
        """Where the next status of this lane comes from.

        A device that is not announced goes on with its oldest entry, whatever the lane. None when
        nothing waits, or a fold of the handler that no RUNNING can carry.
        """
        if self.is_parked:
            return None
        run = self.run(lane)
        if self.farewell is not None:
            return run
        if not is_announced and self.replayed.waiting:
            run = self.replayed
        if not run.waiting or (is_announced and run.waiting[0].error is not None):
            return None
        return run

    def pop(self, run: Run) -> Entry:
        """The next of a run that `next_run` gave."""
        if self.farewell is not None:
            entry, self.farewell = self.farewell, None
            return entry
        return run.waiting.popleft()

    def pop_oldest(self) -> Entry | None:
        """The oldest waiting entry, also of a parked device."""
        for run in self._runs:
            if run.waiting:
                return run.waiting.popleft()
        return None

    def pop_for_guest(self) -> Entry | None:
        """What the CONNECTING of a connect sequence carries; a mere repetition can wait."""
        waiting = self.replayed.waiting
        if not waiting or waiting[0].is_marker or is_repeated_end(waiting[0]):
            return None
        return waiting.popleft()

    def fly(self, flight: Flight, *, is_guest: bool = False) -> None:
        """A status was published. That of a guest is acknowledged by `acknowledge_guest`."""
        if flight.entry is None:
            return
        if flight.entry.is_marker:
            self.release(flight.entry)  # nobody keeps it: a session may end before its answer
            return
        self.run(flight.entry.lane).in_flight.append(flight)
        if is_guest:
            self._guest = flight

    def acknowledge(self, flight: Flight) -> None:
        """The control plane has it; the handler hears of the contiguous front only."""
        flight.is_acknowledged = True
        entry = flight.entry
        if entry is None or entry.is_marker:
            return
        self.release(entry)
        run = self.run(entry.lane)
        done_to = 0
        while run.in_flight and run.in_flight[0].is_acknowledged:
            last = run.in_flight.popleft().entry
            if last is not None and last.store_id == self.store_id:
                done_to = run.done_to(last)
        if done_to:
            self._acknowledge(run, done_to)

    def acknowledge_guest(self) -> None:
        """The connect sequence came so far that its CONNECTING was certainly taken (R11)."""
        if self._guest is not None:
            guest, self._guest = self._guest, None
            self.acknowledge(guest)

    def swallow(self, entry: Entry) -> None:
        """It says nothing that upstream does not know: done without being sent."""
        flight = Flight(0, entry.identity, 0, 0.0, entry)
        self.fly(flight)
        self.acknowledge(flight)

    def release(self, entry: Entry) -> None:
        """Its delivery has left this process."""
        receipt = entry.receipt
        if receipt is None and not entry.is_marker:
            receipt = self._receipts.pop(Position(entry.store_id, entry.sequence), None)
            if receipt is not None:
                self._room.give(entry)
        if receipt is not None:
            self._released.append(receipt)

    # What the control plane has

    def trim(self, position: Position) -> None:
        """It has applied everything up to there: none of it is sent again (R11)."""
        if self.store_id != position.store_id:
            return
        run = self.replayed
        gone: Entry | None = None
        done_to = position.sequence
        while run.waiting and is_within(run.waiting[0], position):
            gone = run.waiting.popleft()
            done_to = max(done_to, run.done_to(gone))
            self.release(gone)
        if done_to > run.acknowledged:
            run.received = max(run.received, done_to)
            self._acknowledge(run, done_to)
        if gone is not None and gone.ends_registration and not run.waiting:
            self.farewell = Entry(gone.device, gone.status, ends_registration=True)

    def skip(self, stretch: Stretch) -> None:
        """It has applied these as well, though older ones may be missing."""
        self._remember(stretch)
        if self.store_id != stretch.store_id:
            return  # or not known yet
        # Only what was delivered is told: the rest may be in a fold that begins before the stretch.
        dropped: list[Entry] = []
        kept: deque[Entry] = deque()
        for entry in self.replayed.waiting:
            if is_in(entry, stretch):
                self.release(entry)
                dropped.append(entry)
            else:
                kept.append(entry)
                self._say_dropped(dropped)
        self._say_dropped(dropped)
        self.replayed.waiting = kept

    # A session ends

    def settle(self) -> None:
        """Without a session a mere end says nothing: that of the session said as much."""
        run = self.replayed
        while run.waiting and not run.in_flight and is_repeated_end(run.waiting[0]):
            self.swallow(run.waiting.popleft())

    def rewind(self) -> None:
        """Nothing more is sent: what was not acknowledged waits again, in order."""
        self.farewell = self._guest = None
        for run in self._runs:
            back = deque(run.rewind())
            for entry in run.waiting:
                if entry.is_marker:
                    self.release(entry)
                else:
                    back.append(entry)
            run.waiting = back
        self.settle()

    def forget(self) -> None:
        """The handler delivers everything anew that it does not know to be acknowledged."""
        if self.live.acknowledged:
            self._remember(Stretch(self.store_id, self.live.first, self.live.acknowledged))
        for run in self._runs:
            for entry in (*run.waiting, *(each.entry for each in run.in_flight)):
                if entry is not None:
                    self.release(entry)
        self.replayed = Run(
            received=self.replayed.acknowledged, acknowledged=self.replayed.acknowledged
        )
        self.live = Run()
        self.farewell = self._guest = None
        self.has_left = False

    def park(self) -> None:
        """Keep the oldest entry alone, and receipted, so that nothing holds up other devices."""
        self.rewind()
        self.is_parked = True
        oldest = self.oldest
        if oldest is not None:
            self.release(oldest)
        for run in reversed(self._runs):
            while run.waiting and run.waiting[-1] is not oldest:
                self.release(run.waiting.pop())
                self.is_lossy = True
            if self.is_lossy:
                run.received = run.waiting[-1].sequence if run.waiting else run.acknowledged

    # How

    @property
    def _runs(self) -> tuple[Run, Run]:
        return self.replayed, self.live

    def _follow(self, entry: Entry) -> None:
        self.device = entry.device
        if entry.store_id != self.store_id:
            # Another store numbers from its own start (R4).
            self.store_id, self.is_lossy = entry.store_id, False
            for run in self._runs:
                run.first = run.received = run.acknowledged = 0
                run.done_behind.clear()

    def _remember(self, stretch: Stretch) -> None:
        others = [each for each in self._applied if each != stretch]
        self._applied = (*others, stretch)[-MAX_STRETCHES:]

    def _is_known(self, run: Run, entry: Entry) -> bool:
        if any(is_in(entry, each) for each in self._applied):
            self.release(entry)
            self._say(entry.first_sequence or entry.sequence, entry.sequence)
            return True
        if entry.sequence > run.received:
            return False
        if Position(entry.store_id, entry.sequence) in self._receipts:
            self._hold(entry)  # a new lease delivers it again
            return True
        self.release(entry)
        if entry.sequence <= run.acknowledged:
            self._acknowledge(run, entry.sequence)
        return True

    def _drop_covered(self, run: Run, fold: Entry) -> None:
        """The handler has folded entries that wait here already: the fold has them, too."""
        first = fold.first_sequence or fold.sequence
        while run.waiting and run.waiting[-1].store_id == self.store_id:
            if run.waiting[-1].sequence < first:
                return
            self.release(run.waiting.pop())

    def _acknowledge(self, run: Run, sequence: int) -> None:
        run.acknowledged = max(run.acknowledged, sequence)
        self._say(run.first if run is self.live else 0, run.acknowledged)

    def _say_dropped(self, dropped: list[Entry]) -> None:
        if dropped:
            self._say(dropped[0].first_sequence or dropped[0].sequence, dropped[-1].sequence)
            dropped.clear()

    def _say(self, first_sequence: int, sequence: int) -> None:
        position = Position(self.store_id, sequence)
        self._acknowledgements.append(
            Acknowledgement(self.device.identity, position, first_sequence)
        )

    def _hold(self, entry: Entry) -> Entry:
        position = Position(entry.store_id, entry.sequence)
        if entry.receipt is not None:
            if position not in self._receipts:
                self._room.take(entry)
            self._receipts[position] = entry.receipt
        return entry._replace(receipt=None)
