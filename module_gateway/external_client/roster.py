"""Who is registered with the handlers of one endpoint, as far as they told (fleet-protocol 4.4).

Pure. A snapshot is the whole truth of one handler at one moment; entries and markers that are
delivered later correct it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from module_gateway.external_client.entries import Entry
from module_gateway.protocol.identity import Device, Identity


class _Registration(NamedTuple):
    device: Device
    status: bytes
    peer: int
    is_behind: bool = False


class Roster:
    """Registered devices with their newest known status."""

    def __init__(self, absence_s: float) -> None:
        """A device that its handler no longer lists has `absence_s` to come back (R15)."""
        self._absence_s = absence_s
        self._registered: dict[Identity, _Registration] = {}
        self._absent: dict[Identity, float] = {}

    def __contains__(self, identity: object) -> bool:
        return identity in self._registered

    def __iter__(self) -> Iterator[Identity]:
        return iter(self._registered)

    def __len__(self) -> int:
        return len(self._registered)

    def is_behind(self, identity: Identity) -> bool:
        """Its status is newer than others that are still to come."""
        registration = self._registered.get(identity)
        return registration is not None and registration.is_behind

    def replace(
        self,
        peer: int,
        devices: tuple[tuple[Device, bytes], ...],
        now: float,
        behind: frozenset[Identity] = frozenset(),
    ) -> None:
        """A handler's snapshot."""
        listed = {device.identity for device, _ in devices}
        for identity, registration in tuple(self._registered.items()):
            if registration.peer == peer and identity not in listed:
                self._miss(identity, now)
        for device, status in devices:
            self._absent.pop(device.identity, None)
            is_behind = device.identity in behind
            self._registered[device.identity] = _Registration(device, status, peer, is_behind)

    def note(self, entry: Entry) -> None:
        """An entry or marker was delivered."""
        identity = entry.device.identity
        self._absent.pop(identity, None)
        if entry.ends_registration:
            self._registered.pop(identity, None)
        else:
            peer = entry.receipt.peer if entry.receipt is not None else 0
            self._registered[identity] = _Registration(entry.device, entry.status, peer)

    def lose(self, peer: int, now: float) -> None:
        """A handler is gone: its devices are missing until another one lists them."""
        for identity, registration in tuple(self._registered.items()):
            if registration.peer == peer:
                self._miss(identity, now)

    def marker(self, identity: Identity) -> Entry:
        """The device's newest status as a marker."""
        registration = self._registered[identity]
        return Entry(registration.device, registration.status)

    def next_absence(self) -> float | None:
        """When the next missing device counts as gone."""
        return min(self._absent.values(), default=None)

    def gone(self, now: float) -> list[Identity]:
        """Devices that were missing for too long; named once."""
        gone = [identity for identity, until in self._absent.items() if until <= now]
        for identity in gone:
            del self._absent[identity]
        return gone

    def _miss(self, identity: Identity, now: float) -> None:
        del self._registered[identity]
        self._absent[identity] = now + self._absence_s
