"""Who else is alive: contract R6, as a pure table. Time is an argument, in monotonic seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from module_gateway.bus.address import Address
from module_gateway.protocol import bus_pb2

MAX_PEERS: Final = 1024
"""More processes than any site has; bounds what a broken or hostile sender can make us keep."""


@dataclass(frozen=True, slots=True)
class PeerUp:
    """Heard for the first time, heard again after it was lost, or it serves something else."""

    peer: Address
    presence: bus_pb2.Presence


@dataclass(frozen=True, slots=True)
class PeerLost:
    """Silent for too long."""

    peer: Address


@dataclass(frozen=True, slots=True)
class AnswerPresence:
    """Announce ourselves now: a process that did not know of us must not wait a whole period."""


@dataclass(frozen=True, slots=True)
class PeerRefused:
    """The table is full: this process is ignored."""

    peer: Address


PresenceEvent: TypeAlias = PeerUp | PeerLost | AnswerPresence | PeerRefused


@dataclass(slots=True)
class _Peer:
    heard_at: float
    presence: bus_pb2.Presence


class PresenceTable:
    """All other processes that were heard within the last `silence_s` seconds."""

    def __init__(self, own: Address, silence_s: float, max_peers: int = MAX_PEERS) -> None:
        self._own = own
        self._silence_s = silence_s
        self._max_peers = max_peers
        self._peers: dict[Address, _Peer] = {}

    def heard(
        self, now: float, address: Address, presence: bus_pb2.Presence
    ) -> tuple[PresenceEvent, ...]:
        """A heartbeat arrived. Our own, which the bus brings back to us, means nothing."""
        if address == self._own:
            return ()
        peer = self._peers.get(address)
        if peer is None:
            if len(self._peers) >= self._max_peers:
                return (PeerRefused(address),)
            self._peers[address] = _Peer(now, presence)
            return (AnswerPresence(), PeerUp(address, presence))
        peer.heard_at = max(peer.heard_at, now)
        if peer.presence == presence:
            return ()
        peer.presence = presence
        return (PeerUp(address, presence),)

    def spoke(self, now: float, address: Address) -> None:
        """Something else than a heartbeat came from it: a known peer lives."""
        peer = self._peers.get(address)
        if peer is not None:
            peer.heard_at = max(peer.heard_at, now)

    def expire(self, now: float) -> tuple[PeerLost, ...]:
        """Forget everybody who was silent for `silence_s`, longest silence first."""
        silent = sorted(
            (peer.heard_at, address.kind, address.boot_id, address)
            for address, peer in self._peers.items()
            if now - peer.heard_at >= self._silence_s
        )
        for *_, address in silent:
            del self._peers[address]
        return tuple(PeerLost(address) for *_, address in silent)

    def excuse(self, pause_s: float) -> None:
        """We ourselves stood still for so long: what peers said meanwhile waits to be read."""
        for peer in self._peers.values():
            peer.heard_at += pause_s

    def next_expiry(self) -> float | None:
        """When somebody would be lost if nothing is heard until then."""
        if not self._peers:
            return None
        return min(peer.heard_at for peer in self._peers.values()) + self._silence_s

    def peers(self) -> dict[Address, bus_pb2.Presence]:
        """Everybody who is there, with what he serves."""
        return {address: peer.presence for address, peer in self._peers.items()}
