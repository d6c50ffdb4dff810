"""Which handler owns a device, from what the handlers announce. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from module_gateway.bus.address import Address
from module_gateway.protocol import bus_pb2
from module_gateway.protocol.identity import PARTITIONS, Identity

REMEMBERED_LIVES: Final = 256
"""Lost handlers whose rank is remembered, so that an older life that is heard again does not win
over the newer one. More would have to die within one network's memory to matter."""

_NOBODY: Final[tuple[Address | None, ...]] = (None,) * PARTITIONS


class Routes:
    """The owner of every (module, partition); the handler that was heard first last wins.

    A handler that restarts has a new boot id, which is younger than the one it replaces, so its
    claim wins even while the old life is not known to be dead.

    Attributes:
        owners: every handler that owns something now.
    """

    def __init__(self) -> None:
        self._claims: dict[Address, dict[int, int]] = {}
        self._ranks: OrderedDict[Address, int] = OrderedDict()
        self._next_rank = 0
        self._owners: dict[int, tuple[Address | None, ...]] = {}
        self.owners: frozenset[Address] = frozenset()

    def announce(self, handler: Address, presence: bus_pb2.Presence) -> None:
        """What `handler` serves from now on; replaces what it announced before."""
        if handler not in self._ranks:
            self._ranks[handler] = self._next_rank
            self._next_rank += 1
        self._claims[handler] = {served.module: served.partitions for served in presence.served}
        self._settle()

    def forget(self, handler: Address) -> None:
        """This handler is lost."""
        self._claims.pop(handler, None)
        for candidate in list(self._ranks):
            if len(self._ranks) <= REMEMBERED_LIVES:
                break
            if candidate not in self._claims:
                del self._ranks[candidate]
        self._settle()

    def owner(self, identity: Identity) -> Address | None:
        """Who decides about this device now; None when nobody claims it."""
        return self._owners.get(identity.module, _NOBODY)[identity.partition]

    def _settle(self) -> None:
        owners: dict[int, list[Address | None]] = {}
        for handler in sorted(self._claims, key=self._ranks.__getitem__):
            for module, partitions in self._claims[handler].items():
                row = owners.setdefault(module, [None] * PARTITIONS)
                for partition in range(PARTITIONS):
                    if partitions >> partition & 1:
                        row[partition] = handler
        self._owners = {module: tuple(row) for module, row in owners.items()}
        self.owners = frozenset(each for row in owners.values() for each in row if each is not None)
