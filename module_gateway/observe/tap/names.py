"""Which device a connection or a counter belongs to: most messages do not repeat it. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from module_gateway.protocol.identity import Identity

MAX_NAMES: Final = 50_000
"""More connections than a site has; the ones that were not used for the longest are forgotten."""

Key = TypeVar("Key", bound=Hashable)


class Names(Generic[Key]):
    """Remembers identities under keys, at most `max_names` of them."""

    def __init__(self, max_names: int = MAX_NAMES) -> None:
        self._names: OrderedDict[Key, Identity] = OrderedDict()
        self._max_names = max_names

    def __len__(self) -> int:
        return len(self._names)

    def learn(self, key: Key, identity: Identity) -> None:
        """From now on `key` means `identity`."""
        self._names[key] = identity
        self._names.move_to_end(key)
        while len(self._names) > self._max_names:
            self._names.popitem(last=False)

    def of(self, key: Key) -> tuple[Identity, ...]:
        """The identity of `key`; empty when nobody said it."""
        identity = self._names.get(key)
        if identity is None:
            return ()
        self._names.move_to_end(key)
        return (identity,)
