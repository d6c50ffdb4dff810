"""The stream of outbox entries to the external client of one endpoint (contract R8, R17).

Pure. A lease belongs to one epoch of one client. Its deliveries are numbered 1, 2, 3 …; a client
that misses a number leases again and the stream starts over, so nothing here is ever repeated.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from module_gateway.bus.address import Address
from module_gateway.module_handler.outbox import ENTRY_OVERHEAD_BYTES, Entry, Outbox
from module_gateway.protocol.identity import Device

STALE_PENDING: Final = 1_000
"""So many numbers of folded or acknowledged entries may wait before the list is made anew."""


@dataclass(frozen=True, slots=True)
class Window:
    """What may be delivered and not taken by the client yet."""

    deliveries: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Numbered:
    """One delivery: an entry, or a marker that repeats a status and has no entry."""

    number: int
    entry: Entry | None
    device: Device
    status: bytes


class Lease:
    """One endpoint's claim on the outbox, and how far its deliveries are.

    Attributes:
        endpoint, epoch: whose it is; only messages of this very epoch count.
        client: where deliveries go, None until somebody has asked in this life of the handler.
        is_suspended: the client is silent: nothing is handed out.
        modules: the modules of the endpoint.
        is_exposed: a session is being opened or open (SessionPhase).
        exposed_to: entries up to this number may have reached the control plane.
    """

    def __init__(self, endpoint: int, epoch: int, modules: frozenset[int], window: Window) -> None:
        self.endpoint = endpoint
        self.epoch = epoch
        self.modules = modules
        self.client: Address | None = None
        self.is_suspended = False
        self.is_exposed = False
        self.exposed_to = 0
        self._window = window
        self._pending: deque[int] = deque()
        self._last_delivered = 0
        self._last_number = 0
        self._untaken: deque[tuple[int, int]] = deque()
        self._untaken_bytes = 0

    def start(self, client: Address, outbox: Outbox) -> None:
        """Begin the stream anew, with the oldest unacknowledged entry, as delivery 1."""
        self.client = client
        self.is_suspended = False
        self._last_number = 0
        self._rewind(outbox)

    def interrupt(self, outbox: Outbox) -> None:
        """Something under way may be lost: skip a number, so that the client notices."""
        self.is_suspended = False
        self._last_number += 1
        self._rewind(outbox)

    def inherit_client(self, former: Lease, outbox: Outbox) -> None:
        """Go on behind another object's stream of this epoch, with a gap."""
        self.client = former.client
        self._last_number = former._last_number
        if former.is_suspended:
            self.suspend()
        elif self.client is not None:
            self.interrupt(outbox)

    def suspend(self) -> None:
        """The client is silent. What is exposed stays so: its session may live on."""
        self.is_suspended = True
        self._pending.clear()

    def appended(self, entry: Entry, outbox: Outbox) -> None:
        """The outbox has a new entry of one of the modules."""
        if self.client is None or self.is_suspended:
            return
        self._pending.append(entry.sequence)
        if len(self._pending) > STALE_PENDING + len(outbox):
            self._pending = deque(s for s in self._pending if outbox.entry(s) is not None)

    def pump(self, outbox: Outbox) -> Iterator[Numbered]:
        """Hand out entries while the window is open. The caller sends each of them."""
        while self._pending and self._is_open:
            entry = outbox.entry(self._pending.popleft())
            if entry is None:
                continue  # acknowledged or folded since
            self._last_delivered = entry.sequence
            if self.is_exposed:
                self.exposed_to = max(self.exposed_to, entry.sequence)
            yield Numbered(self._number(entry.size_bytes), entry, entry.device, entry.status)

    def mark(self, device: Device, status: bytes) -> Numbered | None:
        """Hand out a marker; None when entries wait, which say more than a repetition."""
        if self.client is None or self.is_suspended or self._pending or not self._is_open:
            return None
        number = self._number(ENTRY_OVERHEAD_BYTES + len(status))
        return Numbered(number, None, device, status)

    def taken(self, number: int) -> None:
        """All deliveries up to a number have left the client's queue."""
        while self._untaken and self._untaken[0][0] <= number:
            self._untaken_bytes -= self._untaken.popleft()[1]

    def enter_phase(self, *, is_exposed: bool) -> None:
        """The client opens a session with what it was given, or its session is over."""
        self.is_exposed = is_exposed
        self.exposed_to = max(self.exposed_to, self._last_delivered) if is_exposed else 0

    @property
    def untaken(self) -> int:
        """Deliveries that are under way or wait at the client."""
        return len(self._untaken)

    @property
    def _is_open(self) -> bool:
        window = self._window
        return len(self._untaken) < window.deliveries and self._untaken_bytes < window.size_bytes

    def _rewind(self, outbox: Outbox) -> None:
        self._pending = deque(outbox.sequences(self.modules))
        self._last_delivered = 0
        self._untaken.clear()
        self._untaken_bytes = 0

    def _number(self, size_bytes: int) -> int:
        self._last_number += 1
        self._untaken.append((self._last_number, size_bytes))
        self._untaken_bytes += size_bytes
        return self._last_number
