"""`module-gateway buffer purge`: take entries out of the buffer that nobody is to get any more."""

from __future__ import annotations

from dataclasses import dataclass

from module_gateway.module_handler.buffer.figures import size_words
from module_gateway.module_handler.buffer.owner import purge_requests
from module_gateway.module_handler.buffer.place import Place, owner_of
from module_gateway.module_handler.buffer.selection import Selection
from module_gateway.module_handler.buffer.view import Chosen, open_view


@dataclass(frozen=True, slots=True)
class Plan:
    """What a purge would take away: of this store, what was there when it was chosen."""

    store_id: int
    chosen: Chosen

    @property
    def words(self) -> str:
        """For the question and for the log."""
        chosen = self.chosen
        size = size_words(chosen.size_bytes)
        return f"{chosen.entries:,} entries of {chosen.devices:,} devices ({size})"


def plan(place: Place, selection: Selection) -> Plan:
    """Look what the selection means; nothing is changed.

    Raises:
        StoreError: the store cannot be read.
    """
    with open_view(place.store) as view:
        return Plan(view.store_id, view.choose(selection))


async def carry_out(place: Place, agreed: Plan, what: str) -> None:
    """Take away what was agreed on, and nothing that came since.

    Raises:
        RefusedError: nothing was done.
        BusError, StoreError: part of it may be done; what is gone is what `stat` no longer shows.
    """
    async with owner_of(place, agreed.store_id) as owner:
        for request in purge_requests(agreed.chosen.stretches, f"{what}: {agreed.words}"):
            await owner.ask(request)
