"""What comes before a Connect: every handler says who is registered now (fleet-protocol 4.4).

Pure. The answers travel behind the deliveries, so a backlog that a handler is still handing over
is folded first and not sent one by one.
"""

from __future__ import annotations

from typing import Final

from module_gateway.external_client.effects import Tell
from module_gateway.external_client.leases import Leases, Registered

SNAPSHOT_WAIT_S: Final = 1.0
"""A handler that does not answer must not hold up the devices of the others."""

FILLING: Final = 64
"""Entries within one round of snapshots that mean: a handler is still handing over its backlog."""

FILL_WAIT_S: Final = 5.0
"""Longest wait for such a backlog; what comes later follows one by one."""


class Preparation:
    """Rounds of snapshots until nothing much arrives between them."""

    def __init__(self, leases: Leases, now: float) -> None:
        self._leases = leases
        self._latest = now + FILL_WAIT_S
        self._request = 0
        self._waiting: set[int] = set()
        self._entries = 0
        self.deadline = now

    def ask(self, now: float) -> list[Tell]:
        """Begin a round."""
        self._request, tells = self._leases.request_snapshots()
        self._waiting = set(self._leases.peers)  # those not granted yet are asked when they are
        self._entries = 0
        self.deadline = now + SNAPSHOT_WAIT_S if self._waiting else now
        return tells

    def entry_arrived(self) -> None:
        """A handler delivered an entry."""
        self._entries += 1

    def answered(self, registered: Registered) -> list[Tell]:
        """A snapshot arrived: of this round, or of a lease that was granted meanwhile."""
        if registered.answers == self._request:
            self._waiting.discard(registered.peer)
        elif registered.answers == 0:
            return [self._leases.request_snapshot(registered.peer, self._request)]
        return []

    def lost(self, peer: int) -> None:
        """A handler is gone."""
        self._waiting.discard(peer)

    def is_round_over(self, now: float) -> bool:
        """Everybody answered, or had time enough."""
        return not self._waiting or now >= self.deadline

    def needs_another_round(self, now: float) -> bool:
        """A backlog is being handed over, and there is time for it."""
        return self._entries >= FILLING and now < self._latest
