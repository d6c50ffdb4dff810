"""Which status goes out next in a session, and in which state (fleet-protocol 4.5, 4.7, R12).

Pure. The announced set here is the control plane's own: devices join it with their CONNECTING and
leave it with their DISCONNECT, so the peer never gets a status that it would not acknowledge.
A device that joins waits for the acknowledgement of its CONNECTING before anything else of it is
sent; the others go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from module_gateway.external_client.backlog import Backlog
from module_gateway.external_client.effects import Guest, Publish
from module_gateway.external_client.entries import Entry, Flight, Fold, Lane
from module_gateway.external_client.replay_run import is_repeated_end
from module_gateway.external_client.turns import Turns
from module_gateway.protocol.external import DeviceState, Status
from module_gateway.protocol.identity import Device, Identity

FIRST_COUNTER: Final = 1
"""The existing external server ignores 0 in all but its first session (fleet-protocol 4.5)."""

STALL_S: Final = 2.0
"""A full window without any acknowledgement for so long lets one more status through: a control
plane that was restarted learns of the session only from what it hears, and says so."""

PROMPT_STALL_S: Final = 0.25
"""The same towards a peer that listens (decisions: recovery within 0.5 s)."""

LAST_COUNTER: Final = 2**32 - 2
"""A session is renewed before its uint32 counter wraps to the ignored 0."""


@dataclass(frozen=True, slots=True)
class _Invitation:
    marker: Entry
    is_probe: bool


class StatusSender:
    """Counters, announced set and window of one session.

    `departed`: whose DISCONNECT was acknowledged; whoever asks empties it. `stall_s`: see STALL_S.
    """

    def __init__(
        self,
        session_id: str,
        backlog: Backlog,
        window: int,
        timeout_s: float,
        last_counter: int = LAST_COUNTER,
    ) -> None:
        self._session_id = session_id
        self._backlog = backlog
        self._window = window
        self._timeout_s = timeout_s
        self._last_counter = last_counter
        self._next_counter = FIRST_COUNTER
        self._announced: dict[Identity, Entry] = {}
        self._flights: dict[int, Flight] = {}
        self._probes = 0
        self._joining: set[Identity] = set()
        self._invited: dict[Identity, _Invitation] = {}
        self._turns = Turns()
        self.departed: list[Identity] = []
        self._newest_acknowledged = 0
        self._stalled_at: float | None = None
        self.stall_s = STALL_S

    @property
    def announced(self) -> tuple[Identity, ...]:
        """Who is connected at the control plane, as far as it will know."""
        return tuple(self._announced)

    @property
    def in_flight(self) -> int:
        """Statuses that wait for their acknowledgement."""
        return len(self._flights)

    @property
    def probes(self) -> int:
        """CONNECTING statuses of quarantined devices, sent or about to be."""
        return self._probes + sum(each.is_probe for each in self._invited.values())

    @property
    def is_idle(self) -> bool:
        """Nobody is announced and nothing is under way or waiting."""
        return not (self._announced or self._flights or self._turns)

    @property
    def is_exhausted(self) -> bool:
        """No counter is left, and what was sent is settled."""
        return self._is_out_of_counters and not self._flights

    def is_announced(self, identity: Identity) -> bool:
        """Whether a Command for it may be forwarded (R13)."""
        return identity in self._announced

    def close(self) -> None:
        """Send nothing more; what is in flight may still be acknowledged."""
        self._last_counter = self._next_counter - 1

    def farewell(self, identity: Identity) -> Entry:
        """A marker that ends an announced device's registration with its last status."""
        last = self._announced[identity]
        return _leaving(last.device, last.status)

    # The connect sequence

    def connect_guest(self, guest: Guest) -> tuple[int, Publish]:
        """The CONNECTING of step 2 and its counter; the guest's fold is frozen."""
        identity = guest.device.identity
        oldest = self._backlog.replay.pop_for_guest(identity)
        if oldest is not None:
            return self._connect_with(oldest)
        fold = self._backlog.folds.freeze(identity)
        status = guest.status if fold is None else fold.status
        last = self._announced[identity] = Entry(guest.device, status)
        return self._publish(DeviceState.CONNECTING, last, fold)

    def _connect_with(self, oldest: Entry) -> tuple[int, Publish]:
        self._announced[oldest.identity] = oldest
        counter, publish = self._publish(DeviceState.CONNECTING, oldest)
        flight = Flight(counter, oldest.identity, DeviceState.CONNECTING, 0.0, oldest)
        self._backlog.replay.fly(flight, is_guest=True)
        if oldest.ends_registration:
            self._backlog.put_first(_leaving(oldest.device, oldest.status))
        return counter, publish

    def withdraw(self, identity: Identity) -> None:
        """The control plane never knew it."""
        self._announced.pop(identity, None)
        self._joining.discard(identity)
        self._invited.pop(identity, None)

    def begin(self) -> None:
        """Statuses may go out: whatever waits gets its turn."""
        for identity in self._backlog.identities_waiting():
            self.offer(identity)

    # Running

    def offer(self, identity: Identity) -> None:
        """Something of this device waits."""
        if identity in self._joining:
            return
        if self._backlog.replay.covers(identity):
            self._offer_lanes(identity)
        elif self._backlog.is_sendable(identity) or identity in self._invited:
            self._turns.add(identity)

    def _offer_lanes(self, identity: Identity) -> None:
        replay, is_announced = self._backlog.replay, identity in self._announced
        if replay.is_sendable(identity, Lane.REPLAYED, is_announced=is_announced):
            self._turns.add(identity, is_replayed=True)
        if identity in self._invited or replay.is_sendable(
            identity, Lane.LIVE, is_announced=is_announced
        ):
            self._turns.add(identity)

    def invite(self, marker: Entry, *, is_probe: bool) -> None:
        """Announce it with its fold, or with the marker's status when there is none."""
        identity = marker.identity
        if identity not in self._announced and identity not in self._joining:
            self._invited[identity] = _Invitation(marker, is_probe)
            self.offer(identity)

    def pump(self, now: float) -> list[Publish]:
        """Send what the window takes, one status per device in turn."""
        published: list[Publish] = []
        while self._turns and self._has_room(now):
            identity, lane = self._turns.pop()
            if self._backlog.replay.covers(identity):
                status = self._send_of_lane(identity, lane, now)
            else:
                status = self._send_next(identity, now)
            if status is not None:
                published.append(status)
            self.offer(identity)
        if self._turns and self._stalled_at is None:
            self._stalled_at = now + self.stall_s
        return published

    def next_stall(self) -> float | None:
        """When a full window that nobody acknowledges lets one more status through."""
        return self._stalled_at if self._turns and not self._is_out_of_counters else None

    def acknowledge(self, counter: int) -> Flight | None:
        """Match a StatusResponse; None for a duplicate or an unknown counter."""
        flight = self._flights.pop(counter, None)
        if flight is None:
            return None
        self._newest_acknowledged = max(self._newest_acknowledged, counter)
        self._stalled_at = None
        self._landed(flight)
        self._backlog.acknowledge(flight)
        if flight.state is DeviceState.DISCONNECT:
            self.departed.append(flight.identity)
        replay = self._backlog.replay
        if replay.has_left(flight.identity) and self.is_announced(flight.identity):
            # A replayed entry had announced it once more.
            self._backlog.put_first(self.farewell(flight.identity))
        self.offer(flight.identity)
        return flight

    def next_expiry(self) -> float | None:
        """When the oldest status in flight is overdue."""
        for flight in self._flights.values():
            return flight.sent_at + self._timeout_s
        return None

    def expired(self, now: float) -> list[Flight]:
        """Every overdue status, oldest first."""
        overdue: list[Flight] = []
        for flight in self._flights.values():
            if flight.sent_at + self._timeout_s > now:
                break
            overdue.append(flight)
        return overdue

    def is_unknown_device(self, flight: Flight) -> bool:
        """Whether a missing acknowledgement is the device's fault, not the session's (R16)."""
        if flight.state != DeviceState.CONNECTING:
            return False
        return flight.is_probe or self._newest_acknowledged > flight.counter

    def give_up(self, flight: Flight) -> None:
        """Take a device back that the control plane does not know: it is folded again."""
        self._flights.pop(flight.counter, None)
        self._landed(flight)
        self.withdraw(flight.identity)
        self._backlog.refold(flight.identity)

    def disconnect_all(self, now: float) -> list[Publish]:
        """DISCONNECT with its last status for everybody who is announced (E23)."""
        self._turns.clear()
        self._invited.clear()
        return [
            self._fly(DeviceState.DISCONNECT, _leaving(last.device, last.status), now)
            for last in tuple(self._announced.values())
        ]

    # How

    @property
    def _is_out_of_counters(self) -> bool:
        return self._next_counter > self._last_counter

    def _has_room(self, now: float) -> bool:
        if self._next_counter > self._last_counter:
            return False
        if len(self._flights) - self._probes < self._window:
            return True
        return self._stalled_at is not None and now >= self._stalled_at

    def _landed(self, flight: Flight) -> None:
        if flight.state == DeviceState.CONNECTING:  # not what was sent before it joined
            self._joining.discard(flight.identity)
        if flight.is_probe:
            self._probes -= 1

    def _send_next(self, identity: Identity, now: float) -> Publish | None:
        is_announced = identity in self._announced
        invitation = self._invited.pop(identity, None)
        if invitation is not None and not is_announced:
            return self._join(invitation.marker, now, is_probe=invitation.is_probe)
        entry = self._backlog.pop(identity)
        if entry is None:
            return None
        if is_announced:
            state = DeviceState.DISCONNECT if entry.ends_registration else DeviceState.RUNNING
            return self._fly(state, entry, now)
        if entry.ends_registration:
            if entry.is_marker or entry.is_repeat:
                self._backlog.swallow(entry)
                return None
            self._backlog.put_first(_leaving(entry.device, entry.status))
        return self._join(entry, now)

    def _send_of_lane(self, identity: Identity, lane: Lane, now: float) -> Publish | None:
        """The next status of a device whose every entry is sent."""
        replay = self._backlog.replay
        is_announced = identity in self._announced
        if identity in self._joining:
            return None
        invitation = self._invited.pop(identity, None)
        entry: Entry | None
        if invitation is not None and not is_announced:
            entry = replay.pop_oldest(identity) or invitation.marker
        else:
            invitation = None
            entry = replay.pop(identity, lane, is_announced=is_announced)
        if entry is None:
            return None
        # A live entry of this session decides about that, not one that it has overtaken.
        is_leaving = entry.ends_registration and not replay.is_governed_live(entry)
        if is_announced:
            return self._fly(
                DeviceState.DISCONNECT if is_leaving else DeviceState.RUNNING, entry, now
            )
        if (entry.is_marker and entry.ends_registration) or is_repeated_end(entry):
            replay.swallow(entry)
            return None
        if is_leaving:
            self._backlog.put_first(_leaving(entry.device, entry.status))
        is_probe = invitation is not None and invitation.is_probe
        self._joining.add(identity)
        self._probes += is_probe
        return self._fly(DeviceState.CONNECTING, entry, now, is_probe=is_probe)

    def _join(self, entry: Entry, now: float, *, is_probe: bool = False) -> Publish:
        fold = self._backlog.folds.freeze(entry.identity)
        if fold is not None:
            self._backlog.drop(entry)
            entry = entry._replace(status=fold.status, sequence=0, receipt=None)
            if fold.ends_registration:
                self._backlog.put_first(_leaving(fold.device, fold.status))
        self._joining.add(entry.identity)
        if is_probe:
            self._probes += 1
        return self._fly(DeviceState.CONNECTING, entry, now, fold, is_probe=is_probe)

    def _fly(
        self,
        state: DeviceState,
        entry: Entry,
        now: float,
        fold: Fold | None = None,
        *,
        is_probe: bool = False,
    ) -> Publish:
        if state is DeviceState.DISCONNECT:
            self._announced.pop(entry.identity, None)
        else:
            self._announced[entry.identity] = entry
        counter, publish = self._publish(state, entry, fold)
        carried = None if fold is not None else entry
        flight = Flight(counter, entry.identity, state, now, carried, is_probe)
        self._flights[counter] = flight
        self._stalled_at = None
        self._backlog.fly(flight)
        return publish

    def _publish(
        self, state: DeviceState, entry: Entry, fold: Fold | None = None
    ) -> tuple[int, Publish]:
        is_live = entry.lane is Lane.LIVE and self._backlog.replay.covers(entry.identity)
        counter = self._next_counter
        self._next_counter += 1
        status = Status(
            self._session_id,
            state,
            counter,
            entry.device,
            entry.status,
            entry.error if fold is None else fold.error,
            entry.position if fold is None else fold.position,
            entry.time_unix_ms if fold is None else fold.time_unix_ms,
            self._backlog.replay.is_old(entry),
            is_live,
        )
        return counter, Publish(status)


def _leaving(device: Device, status: bytes) -> Entry:
    return Entry(device, status, ends_registration=True)
