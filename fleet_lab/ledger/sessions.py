"""One vehicle's sessions: which published statuses the control plane really applied.

Pure. A status counts as applied when it is acknowledged, in the order of the session's counters
(a control plane puts them into that order too). What a session left unacknowledged may have been
applied all the same: the next session's ConnectResponse may say so; if it does not, the gateway
has to deliver it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleet_lab.ledger.events import Accepted, Acknowledged, Opened, TapEvent, Upstream

MAX_PENDING: Final = 100_000
"""Unacknowledged statuses of one session; a gateway's window is far smaller."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The control plane has it. `acknowledged_s` is None when only the next session said so."""

    upstream: Upstream
    acknowledged_s: float | None
    is_peer_exact: bool
    """The peer says what it has applied, so nothing may ever come twice."""


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """Nobody acknowledged it: the gateway must deliver it again."""

    upstream: Upstream


Settled = Applied | Unconfirmed


class VehicleSessions:
    """The current session of a vehicle, and what the one before left open."""

    def __init__(self) -> None:
        self._session: str | None = None
        self._pending: dict[int, tuple[Upstream, float | None]] = {}
        self._left: list[tuple[Upstream, float | None]] = []
        self._settled_up_to = -1
        self._is_peer_exact = False
        self.redelivered = 0
        """Statuses whose counter was there already: the broker's own repetition (QoS 1)."""
        self.stray = 0
        """Acknowledgements and statuses of sessions that are over."""

    def step(self, event: TapEvent) -> list[Settled]:
        """What became certain by this event, in order."""
        match event:
            case Opened():
                return self._open(event.session)
            case Accepted():
                return self._accept(event)
            case Upstream():
                return self._publish(event)
            case Acknowledged():
                return self._acknowledge(event)

    def flush(self) -> list[Settled]:
        """Nothing more will come."""
        return self._resolve_left(None) + self._drain(is_final=True)

    def _open(self, session: str) -> list[Settled]:
        if session == self._session:
            return []
        settled = self._resolve_left(None)
        self._left = list(self._pending.values())
        self._pending = {}
        self._session = session
        self._settled_up_to = -1
        return settled

    def _accept(self, event: Accepted) -> list[Settled]:
        if event.session != self._session:
            return []
        self._is_peer_exact = self._is_peer_exact or bool(event.applied)
        return self._resolve_left(event)

    def _publish(self, upstream: Upstream) -> list[Settled]:
        settled: list[Settled] = []
        if self._session is None:
            settled += self._open(upstream.session)  # the tap came in the middle of a session
        if upstream.session != self._session:
            self.stray += 1
            return settled
        settled += self._resolve_left(None)
        counter = upstream.counter
        if counter <= self._settled_up_to or counter in self._pending:
            self.redelivered += 1
            return settled
        is_in_order = not self._pending or counter > next(reversed(self._pending))
        self._pending[counter] = (upstream, None)
        if not is_in_order:
            self._pending = dict(sorted(self._pending.items()))
        if len(self._pending) > MAX_PENDING:
            oldest = next(iter(self._pending))
            settled.append(Unconfirmed(self._pending.pop(oldest)[0]))
        return settled

    def _acknowledge(self, event: Acknowledged) -> list[Settled]:
        known = self._pending.get(event.counter) if event.session == self._session else None
        if known is None:
            self.stray += 1
            return []
        self._pending[event.counter] = (known[0], event.at_s)
        return self._drain(is_final=False)

    def _drain(self, *, is_final: bool) -> list[Settled]:
        settled: list[Settled] = []
        while self._pending:
            counter = next(iter(self._pending))
            upstream, acknowledged_s = self._pending[counter]
            if acknowledged_s is None and not is_final:
                break
            if acknowledged_s is None:
                settled.append(Unconfirmed(upstream))
            else:
                settled.append(Applied(upstream, acknowledged_s, self._is_peer_exact))
            del self._pending[counter]
            self._settled_up_to = counter
        return settled

    def _resolve_left(self, accepted: Accepted | None) -> list[Settled]:
        settled: list[Settled] = []
        for upstream, acknowledged_s in self._left:
            if acknowledged_s is not None or _is_applied(upstream, accepted):
                settled.append(Applied(upstream, acknowledged_s, self._is_peer_exact))
            else:
                settled.append(Unconfirmed(upstream))
        self._left = []
        return settled


def _is_applied(upstream: Upstream, accepted: Accepted | None) -> bool:
    has = accepted.applied.get(upstream.device) if accepted is not None else None
    position = upstream.position
    return (
        has is not None
        and position is not None
        and has.store_id == position.store_id
        and has.sequence >= position.sequence
    )
