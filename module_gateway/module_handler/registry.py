"""Who holds an identity, across all internal servers (fleet-protocol 2.3-2.5, contract R5-R7).

Pure: events in, outcomes out, time as an argument. The promise is that an identity has at most
one holder at any time, and that a newcomer is refused only on proof that the incumbent lives.

    newcomer          incumbent       what happens
    any               none            newcomer accepted at once
    higher priority   any             closed; newcomer accepted then, or after the window
    equal or lower    answers probe   newcomer refused
    equal or lower    silent          ended; newcomer accepted

Newcomers of one identity are judged one after the other, in the order of their requests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, KeysView, Sequence
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Final

from module_gateway.module_handler.deadlines import Deadlines
from module_gateway.module_handler.outcomes import (
    Accepted,
    Adopted,
    CloseWanted,
    HolderEnded,
    ListWanted,
    Outcome,
    ProbeWanted,
    Refused,
)
from module_gateway.module_handler.roster import Connection, Roster, Seat, Standing
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.errors import Reason
from module_gateway.protocol.identity import Device, Identity

MAX_WAITING: Final = 8
"""Newcomers of one identity without a verdict. Each waits 250 ms at most (fleet-protocol 2.6) and
a decision takes up to 150 ms, so more than two never get an answer in time anyway."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a server's list of live connections."""

    instance: int
    device: Device
    last_sequence: int
    is_decided: bool


@unique
class _Contest(Enum):
    """What is under way against the incumbent."""

    PROBING = "probing"
    CLOSING = "closing"


@dataclass(slots=True, eq=False)
class _Slot:
    """One identity: its holder, and who wants it."""

    holder: Seat | None = None
    contest: _Contest | None = None
    waiting: deque[Seat] = field(default_factory=deque)


class Registry:
    """All identities of a handler.

    Args:
        window_s: how long an incumbent may take to prove that it lives, or to be closed (R5).
        lost_s: how long a silent server's identities stay taken after it was lost. A server is
            lost after T and frees after 2T (R6), so this is T.
    """

    def __init__(self, window_s: float, lost_s: float) -> None:
        self._window_s = window_s
        self._lost_s = lost_s
        self._slots: dict[Identity, _Slot] = {}
        self._rosters: dict[int, Roster] = {}
        self._arrivals: dict[Identity, None] = {}
        self._contests: Deadlines[Identity] = Deadlines()
        self._lost: Deadlines[int] = Deadlines()

    # Questions

    def holder(self, identity: Identity) -> Seat | None:
        """Who holds the identity now."""
        slot = self._slots.get(identity)
        return None if slot is None else slot.holder

    def seat(self, server: int, instance: int) -> Seat | None:
        """What is known of a connection that its server has not said to be ended."""
        roster = self._rosters.get(server)
        return None if roster is None else roster.get(instance)

    def identities(self) -> KeysView[Identity]:
        """Everything that is held or wanted."""
        return self._slots.keys()

    @property
    def seats(self) -> int:
        """How many connections it knows, the refused and ended ones included."""
        return sum(len(roster) for roster in self._rosters.values())

    def servers(self) -> Iterable[int]:
        """Boot ids of all servers with connections."""
        return self._rosters.keys()

    def next_due(self) -> float | None:
        """When `expire` has something to do at the earliest."""
        return min(
            (due for due in (self._contests.next_due(), self._lost.next_due()) if due is not None),
            default=None,
        )

    # Connects and ends

    def connect(self, connection: Connection, device: Device) -> list[Outcome]:
        """A supported device asks for its identity. It is judged by the next `admit`.

        A repeated request changes nothing.
        """
        roster = self._roster(connection.server)
        if roster.get(connection.instance) is not None:
            return []
        seat = Seat(connection, device, Standing.WAITING)
        roster.add(seat)
        slot = self._slots.setdefault(device.identity, _Slot())
        if len(slot.waiting) >= MAX_WAITING:
            # No verdict: a refusal would claim that somebody lives, and nobody has looked (R5).
            return [self._close(seat, bus_pb2.REFUSED, Reason.QUEUE_FULL)]
        slot.waiting.append(seat)
        self._arrivals[device.identity] = None
        return []

    def admit(self, now: float) -> list[Outcome]:
        """Judge the newcomers. Call it when all other input that has arrived is applied (R3)."""
        outcomes: list[Outcome] = []
        while self._arrivals:
            identity, _ = self._arrivals.popitem()
            if identity in self._slots:
                outcomes += self._judge(identity, now)
        return outcomes

    def refuse(self, connection: Connection, device: Device, reason: Reason) -> list[Outcome]:
        """Turn a newcomer away before it meets anybody: nothing is registered."""
        roster = self._roster(connection.server)
        if roster.get(connection.instance) is not None:
            return []
        seat = Seat(connection, device, Standing.OVER, over_cause=bus_pb2.REFUSED)
        roster.add(seat)
        return [Refused(seat, reason)]

    def end(self, connection: Connection, cause: int, now: float) -> list[Outcome]:
        """Its server says that the connection is closed, for an EndCause number."""
        roster = self._rosters.get(connection.server)
        seat = None if roster is None else roster.remove(connection.instance)
        return [] if seat is None else self._vacate(seat, cause, now)

    def fence(self, seat: Seat, cause: int, now: float) -> list[Outcome]:
        """End a seat by our own decision. Whoever calls tells its server."""
        if seat.standing is Standing.OVER:
            return []
        return self._vacate(seat, cause, now)

    def answer_probe(self, connection: Connection, *, is_alive: bool, now: float) -> list[Outcome]:
        """The server of an incumbent says whether it lives. A late answer changes nothing."""
        seat = self.seat(*connection)
        if seat is None or seat.standing is not Standing.HOLDER:
            return []
        slot = self._slots[seat.identity]
        if slot.contest is not _Contest.PROBING:
            return []
        if not is_alive:
            return self._replace(seat, now)
        # The proof holds for everybody who asked before it came.
        outcomes: list[Outcome] = []
        stronger: deque[Seat] = deque()
        for newcomer in slot.waiting:
            if newcomer.device.priority < seat.device.priority:
                stronger.append(newcomer)
                continue
            newcomer.standing, newcomer.over_cause = Standing.OVER, bus_pb2.REFUSED
            outcomes.append(Refused(newcomer, _refusal(newcomer.device, seat.device)))
        slot.waiting = stronger
        self._settle(seat.identity, slot)
        return outcomes + self._judge(seat.identity, now)

    # Servers come and go

    def server_up(self, server: int) -> list[Outcome]:
        """A server is heard (again): nothing of it is given up before it was asked."""
        self._lost.disarm(server)
        return [ListWanted(server)]

    def server_lost(self, server: int, now: float) -> None:
        """A server is silent for T. Its devices may still be served, so nothing is freed yet."""
        if server in self._rosters:
            self._lost.arm(server, now + self._lost_s)

    def compare_digest(self, server: int, count: int, digest: int) -> list[Outcome]:
        """A server's heartbeat: ask for the list when it does not describe what is known."""
        return [] if self._roster(server).agrees_with(count, digest) else [ListWanted(server)]

    def reconcile(
        self,
        server: int,
        listed: Sequence[Listed],
        *,
        is_first: bool,
        is_last: bool,
        now: float,
    ) -> list[Outcome]:
        """A part of a server's list, which wins over what was believed."""
        roster = self._roster(server)
        if is_first:
            roster.begin_list()
        elif not roster.is_listing():
            return [ListWanted(server)]  # its beginning was lost
        outcomes: list[Outcome] = []
        for line in listed:
            roster.listed(line.instance)
            outcomes += self._reconcile_one(Connection(server, line.instance), line)
        if is_last:
            for missing in roster.end_list():
                outcomes += self.end(missing.connection, bus_pb2.LOST, now)
        return outcomes

    def expire(self, now: float) -> list[Outcome]:
        """Let time pass. Call it when all input that has arrived is applied and admitted (R3)."""
        outcomes: list[Outcome] = []
        for identity in self._contests.expired(now):
            holder = self._slots[identity].holder
            if holder is not None:
                outcomes += self._replace(holder, now)
        for server in self._lost.expired(now):
            roster = self._rosters.get(server)
            for seat in [] if roster is None else roster.seats():
                outcomes += self.end(seat.connection, bus_pb2.LOST, now)
            self._rosters.pop(server, None)
        return outcomes

    def restore(self, seats: Iterable[Seat], free_at: float) -> None:
        """Take over the holders that the store remembers. Only for a new registry.

        A server that is not heard until `free_at` loses them.
        """
        for seat in seats:
            seat.is_confirmed = False
            self._slots[seat.identity] = _Slot(holder=seat)
            self._roster(seat.connection.server).add(seat)
            self._lost.arm(seat.connection.server, free_at)

    # Inside

    def _roster(self, server: int) -> Roster:
        roster = self._rosters.get(server)
        if roster is None:
            roster = self._rosters[server] = Roster()
        return roster

    def _judge(self, identity: Identity, now: float) -> list[Outcome]:
        """Go on with the first newcomer if nothing is under way."""
        slot = self._slots[identity]
        outcomes: list[Outcome] = []
        while slot.waiting and slot.contest is None:
            newcomer, holder = slot.waiting[0], slot.holder
            if holder is None:
                slot.waiting.popleft()
                newcomer.standing, slot.holder = Standing.HOLDER, newcomer
                outcomes.append(Accepted(newcomer))
                continue
            if newcomer.device.priority < holder.device.priority:
                slot.contest = _Contest.CLOSING
                outcomes.append(CloseWanted(holder.connection, bus_pb2.TAKEN_OVER))
            else:
                slot.contest = _Contest.PROBING
                outcomes.append(ProbeWanted(holder.connection))
            self._contests.arm(identity, now + self._window_s)
        if slot.holder is None and not slot.waiting:
            del self._slots[identity]
        return outcomes

    def _vacate(self, seat: Seat, cause: int, now: float) -> list[Outcome]:
        """A seat is given up, whatever it was."""
        standing, seat.standing = seat.standing, Standing.OVER
        if standing is Standing.OVER:
            return []
        seat.over_cause = cause
        identity = seat.identity
        slot = self._slots[identity]
        outcomes: list[Outcome] = []
        if standing is Standing.HOLDER:
            slot.holder = None
            outcomes.append(HolderEnded(seat, cause))
            self._settle(identity, slot)
        else:
            if slot.waiting[0] is seat:
                self._settle(identity, slot)  # the contest was its own
            slot.waiting.remove(seat)
        return outcomes + self._judge(identity, now)

    def _replace(self, holder: Seat, now: float) -> list[Outcome]:
        """The incumbent is silent, dead or does not close: fence it, let the newcomer in."""
        slot = self._slots[holder.identity]
        cause = bus_pb2.TAKEN_OVER if slot.contest is _Contest.CLOSING else bus_pb2.LOST
        return [CloseWanted(holder.connection, cause), *self._vacate(holder, cause, now)]

    def _settle(self, identity: Identity, slot: _Slot) -> None:
        slot.contest = None
        self._contests.disarm(identity)

    def _close(self, seat: Seat, cause: int, reason: Reason) -> CloseWanted:
        seat.standing, seat.over_cause = Standing.OVER, cause
        return CloseWanted(seat.connection, cause, reason)

    def _reconcile_one(self, connection: Connection, line: Listed) -> list[Outcome]:
        seat = self.seat(*connection)
        if seat is None:
            return self._adopt(connection, line) if line.is_decided else []
        if seat.standing is Standing.OVER:
            return [CloseWanted(connection, seat.over_cause)]  # it did not hear us
        if seat.standing is Standing.HOLDER and not seat.is_confirmed:
            seat.is_confirmed = True
            if seat.last_sequence < line.last_sequence:
                # Not every status was worth a write. One that was not answered, as we were away,
                # makes its server close it; a reply to another request must not be repeated (R20).
                seat.last_sequence, seat.reply = line.last_sequence, None
            return [Adopted(seat)]
        return []

    def _adopt(self, connection: Connection, line: Listed) -> list[Outcome]:
        """A live connection that an earlier life of ours accepted and the store does not know."""
        seat = Seat(connection, line.device, Standing.HOLDER, line.last_sequence)
        self._roster(connection.server).add(seat)
        slot = self._slots.setdefault(line.device.identity, _Slot())
        if slot.holder is not None:
            # Whoever the store names was accepted later than anybody whom it does not know.
            return [self._close(seat, bus_pb2.TAKEN_OVER, Reason.TAKEN_OVER)]
        slot.holder = seat
        return [Adopted(seat)]


def _refusal(newcomer: Device, incumbent: Device) -> Reason:
    if newcomer.priority == incumbent.priority:
        return Reason.ALREADY_CONNECTED
    return Reason.HIGHER_PRIORITY_ALREADY_CONNECTED
