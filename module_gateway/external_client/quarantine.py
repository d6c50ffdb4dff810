"""Devices that the control plane does not know (contract R16).

It never acknowledges their CONNECTING and would so fail every connect sequence for the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from module_gateway.protocol.identity import Identity


@dataclass(slots=True)
class _Confinement:
    until: float
    wait_s: float


class Quarantine:
    """Who is left out of Connect, and when each may be tried again."""

    def __init__(self, min_s: float, max_s: float) -> None:
        self._min_s, self._max_s = min_s, max_s
        self._confined: dict[Identity, _Confinement] = {}

    def __contains__(self, identity: object) -> bool:
        return identity in self._confined

    def __iter__(self) -> Iterator[Identity]:
        return iter(self._confined)

    def __len__(self) -> int:
        return len(self._confined)

    def confine(self, identity: Identity, now: float) -> None:
        """Not acknowledged (again): wait twice as long as the last time."""
        known = self._confined.get(identity)
        wait_s = self._min_s if known is None else min(self._max_s, known.wait_s * 2)
        self._confined[identity] = _Confinement(now + wait_s, wait_s)

    def postpone(self, identity: Identity, now: float) -> None:
        """It is being tried now: not again before as long as the last wait."""
        known = self._confined.get(identity)
        if known is not None:
            known.until = now + known.wait_s

    def release(self, identity: Identity) -> None:
        """Acknowledged after all, or gone."""
        self._confined.pop(identity, None)

    def due(self, now: float) -> list[Identity]:
        """Who may be tried again, longest waiting first."""
        due = [identity for identity, each in self._confined.items() if each.until <= now]
        return sorted(due, key=lambda identity: self._confined[identity].until)

    def next_due(self) -> float | None:
        """When the next one may be tried."""
        return min((each.until for each in self._confined.values()), default=None)
