"""Which outbox entries of each device were applied: what makes repeats harmless (R11, R18).

A device's entries are numbered upwards, with holes that only its gateway knows. Applied are all of
them up to one number, and above it some stretches: live statuses that overtook a replay. A status
that replays, or comes from a gateway without lanes, comes in the order of its log. So it proves
that everything below it is applied, and the stretches that it has reached are swallowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from module_gateway.protocol.external import Position, Stretch
from module_gateway.protocol.identity import Identity

STORES_KEPT: Final = 4
"""Stores remembered per device: the present one, and earlier ones of a device whose handler was
repaired or whose partition moved. An older store's entries are no longer under way."""

STRETCHES_OFFERED: Final = 64
"""With so many stretches a device's gateway is not offered lanes: one session in one order ends
them all. Each session adds one, and each costs a ConnectResponse about 50 bytes per device."""

STRETCHES_KEPT: Final = 2 * STRETCHES_OFFERED
"""More can only come from a device that is never announced; its oldest one is forgotten, so that
an entry is rather applied twice than never."""


class _Applied:
    """One device's applied entries of one store."""

    __slots__ = ("stretches", "up_to")

    def __init__(self, up_to: int = 0, stretches: Iterable[tuple[int, int]] = ()) -> None:
        self.up_to = up_to
        self.stretches = list(stretches)
        """First and last number of each: ascending, apart from each other and above `up_to`."""

    @property
    def newest(self) -> int:
        """The highest number applied."""
        return self.stretches[-1][1] if self.stretches else self.up_to

    def has(self, sequence: int) -> bool:
        """Whether this very entry is applied."""
        if sequence <= self.up_to:
            return True
        return any(first <= sequence <= last for first, last in self.stretches)

    def complete(self, sequence: int) -> None:
        """Everything up to `sequence` is applied."""
        self.up_to = max(self.up_to, sequence)
        while self.stretches and self.stretches[0][0] <= self.up_to + 1:
            self.up_to = max(self.up_to, self.stretches.pop(0)[1])

    def extend(self, first: int, last: int) -> None:
        """Everything from `first` to `last` is applied."""
        apart: list[tuple[int, int]] = []
        for stretch in self.stretches:
            if stretch[1] + 1 < first or last + 1 < stretch[0]:
                apart.append(stretch)
            else:
                first, last = min(first, stretch[0]), max(last, stretch[1])
        self.stretches = sorted([*apart, (first, last)])[-STRETCHES_KEPT:]
        self.complete(self.up_to)


class AppliedPositions:
    """What is applied per device and store, most recently advanced store last."""

    def __init__(self, positions: Mapping[Identity, Iterable[Position]] | None = None) -> None:
        self._stores: dict[Identity, dict[int, _Applied]] = {
            identity: {store_id: _Applied(sequence) for store_id, sequence in entries}
            for identity, entries in (positions or {}).items()
        }

    def restore(
        self, identity: Identity, position: Position, stretches: Iterable[tuple[int, int]]
    ) -> None:
        """Take over what is kept of one device's store; the most recently advanced one last."""
        applied = _Applied(position.sequence, stretches)
        self._stores.setdefault(identity, {})[position.store_id] = applied

    def newest(self, identity: Identity) -> tuple[Position, tuple[tuple[int, int], ...]]:
        """What to keep after `advance`: the store that it advanced, and its stretches."""
        store_id, applied = next(reversed(self._stores[identity].items()))
        return Position(store_id, applied.up_to), tuple(applied.stretches)

    def copy(self) -> AppliedPositions:
        """The same positions, to be advanced independently."""
        copied = AppliedPositions()
        for identity, stores in self._stores.items():
            copied._stores[identity] = {
                store_id: _Applied(applied.up_to, applied.stretches)
                for store_id, applied in stores.items()
            }
        return copied

    def advance(
        self,
        identity: Identity,
        position: Position,
        live_from: int = 0,
        *,
        is_fold: bool = False,
    ) -> bool:
        """Note that `position` is applied now; False if it was before.

        `live_from`: the number of the first live status of its session, if it is one; the others
        prove that all of the identity's entries before them are applied. `is_fold`: it stands for
        entries before it as well, so that a stretch round its number does not hold it.
        """
        stores = self._stores.setdefault(identity, {})
        applied = stores.pop(position.store_id, None) or _Applied()
        if is_fold:
            is_new = position.sequence > applied.up_to
        else:
            is_new = not applied.has(position.sequence)
        if live_from:
            applied.extend(live_from, position.sequence)
        else:
            applied.complete(position.sequence)
        stores[position.store_id] = applied
        while len(stores) > STORES_KEPT:
            del stores[next(iter(stores))]
        return is_new

    def is_newest(self, identity: Identity, position: Position) -> bool:
        """Nothing that the same store numbered higher is applied."""
        applied = self._stores.get(identity, {}).get(position.store_id)
        return applied is None or applied.newest <= position.sequence

    def is_crowded(self, identity: Identity) -> bool:
        """Its present store has as many stretches as we care to list."""
        stores = self._stores.get(identity)
        if not stores:
            return False
        return len(next(reversed(stores.values())).stretches) >= STRETCHES_OFFERED

    def of(self, identity: Identity) -> tuple[Position, ...]:
        """Up to where everything of one device is applied, one position per store."""
        stores = self._stores.get(identity, {})
        return tuple(Position(key, applied.up_to) for key, applied in stores.items())

    def of_all(self, identities: Iterable[Identity]) -> tuple[tuple[Identity, Position], ...]:
        """What a ConnectResponse lists for these devices as applied."""
        return tuple(
            (identity, position)
            for identity in identities
            for position in self.of(identity)
            if position.sequence
        )

    def live_of_all(self, identities: Iterable[Identity]) -> tuple[tuple[Identity, Stretch], ...]:
        """What it lists for them beyond that."""
        return tuple(
            (identity, Stretch(store_id, first, last))
            for identity in identities
            for store_id, applied in self._stores.get(identity, {}).items()
            for first, last in applied.stretches
        )
