"""How full the handler's window for replayed entries is (contract R18).

Pure. While it is full, the handler may have entries of a device of which nothing was delivered.
"""

from __future__ import annotations

from typing import Final

from module_gateway.external_client.entries import Entry

LANE_DELIVERIES: Final = 2_000
LANE_BYTES: Final = 8 * 1024 * 1024
"""The handler's window, unless its settings say otherwise."""

OVERHEAD_BYTES: Final = 256
"""What the handler counts for each delivery beside its payload."""

EMPTIER: Final = 2
"""It counts as full until it has come down to one part in so many: an acknowledgement makes room
for the next delivery all the time."""


class LaneRoom:
    """What is held of the lane, against the handler's window."""

    def __init__(self, deliveries: int, size_bytes: int) -> None:
        """The handler's `delivery-window` and `delivery-window-bytes`."""
        self.is_full = False
        self._deliveries, self._size_bytes = deliveries, size_bytes
        self._held = 0
        self._held_bytes = 0

    @property
    def held(self) -> int:
        """How many deliveries are here, unreceipted."""
        return self._held

    def take(self, entry: Entry) -> None:
        """It stays here, unreceipted."""
        self._held += 1
        self._held_bytes += _size_bytes(entry)
        if self._held >= self._deliveries or self._held_bytes >= self._size_bytes:
            self.is_full = True

    def give(self, entry: Entry) -> None:
        """It is receipted."""
        self._held -= 1
        self._held_bytes -= _size_bytes(entry)
        is_emptier = self._held * EMPTIER < self._deliveries
        if is_emptier and self._held_bytes * EMPTIER < self._size_bytes:
            self.is_full = False


def _size_bytes(entry: Entry) -> int:
    return OVERHEAD_BYTES + len(entry.status) + len(entry.error or b"")
