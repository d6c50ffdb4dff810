"""Which outbox entries of each device were applied: what makes repeats harmless (contract R11).

A device's entries reach us in the order of their outbox; should replay and live statuses ever
travel as two streams (contract R18), each needs positions of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from module_gateway.protocol.external import Position
from module_gateway.protocol.identity import Identity

STORES_KEPT: Final = 4
"""Stores remembered per device: the present one, and earlier ones of a device whose handler was
repaired or whose partition moved. An older store's entries are no longer under way."""


class AppliedPositions:
    """The last applied sequence per device and store, most recently advanced store last."""

    def __init__(self, positions: Mapping[Identity, Iterable[Position]] | None = None) -> None:
        self._stores: dict[Identity, dict[int, int]] = {
            identity: dict(entries) for identity, entries in (positions or {}).items()
        }

    def copy(self) -> AppliedPositions:
        """The same positions, to be advanced independently."""
        return AppliedPositions({identity: self.of(identity) for identity in self._stores})

    def advance(self, identity: Identity, position: Position) -> bool:
        """Note that `position` is applied now; False if it, or a later one, was before."""
        stores = self._stores.setdefault(identity, {})
        last = stores.pop(position.store_id, None)
        is_new = last is None or position.sequence > last
        stores[position.store_id] = position.sequence if is_new else last or 0
        while len(stores) > STORES_KEPT:
            del stores[next(iter(stores))]
        return is_new

    def of(self, identity: Identity) -> tuple[Position, ...]:
        """What is applied of one device, one position per store."""
        return tuple(Position(*entry) for entry in self._stores.get(identity, {}).items())

    def of_all(self, identities: Iterable[Identity]) -> tuple[tuple[Identity, Position], ...]:
        """What a ConnectResponse lists for these devices."""
        return tuple(
            (identity, position) for identity in identities for position in self.of(identity)
        )
