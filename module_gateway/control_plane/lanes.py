"""The lanes of one session: what a Connect is answered, and which entry a status stands for.

A gateway that announces `replay` sends what it stored during an outage beside what is live, each
in its own order (contract R18). Of a gateway without it, and of a device with too many stretches,
everything comes in one order.
"""

from __future__ import annotations

from collections.abc import Collection

from module_gateway.control_plane.events import StatusApplied, StatusRepeated
from module_gateway.control_plane.positions import AppliedPositions
from module_gateway.protocol.external import (
    APPLIED_CAPABILITY,
    LISTENS_CAPABILITY,
    REPLAY_CAPABILITY,
    Connect,
    ConnectResponse,
    ConnectResponseType,
    Status,
)
from module_gateway.protocol.identity import Identity


class Lanes:
    """What one session agreed on, and where each of its live stretches begins."""

    def __init__(
        self, connect: Connect, devices: Collection[Identity], positions: AppliedPositions
    ) -> None:
        """`devices` are those announced that were admitted. `positions` stay the caller's."""
        self._session_id = connect.session_id
        self._positions = positions
        is_told = APPLIED_CAPABILITY in connect.capabilities
        knows_lanes = REPLAY_CAPABILITY in connect.capabilities
        self._is_split = knows_lanes and not any(map(positions.is_crowded, devices))
        self._live_from: dict[tuple[Identity, int], int] = {}
        self.answer = ConnectResponse(
            connect.session_id,
            ConnectResponseType.OK,
            positions.of_all(devices) if is_told else (),
            positions.live_of_all(devices) if is_told and knows_lanes else (),
            _capabilities(connect, is_split=self._is_split),
        )

    def record(self, status: Status, *, is_connected: bool) -> StatusApplied | StatusRepeated:
        """What a status is to the store; `is_connected` is its device's registration after it."""
        identity = status.device.identity
        # Sequence 0 is a repeat of the current status, not an entry of the outbox (R9).
        position = status.position if status.position and status.position.sequence else None
        live_from = 0
        if position is not None:
            if status.is_live and self._is_split:
                key = (identity, position.store_id)
                live_from = self._live_from.setdefault(key, position.sequence)
            is_fold = status.error is not None and not live_from
            if not self._positions.advance(identity, position, live_from, is_fold=is_fold):
                return StatusRepeated(status.device, position, is_connected, live_from)
        return StatusApplied(
            self._session_id,
            status.device,
            status.state,
            status.status,
            status.error,
            position,
            status.time_unix_ms,
            status.is_replayed,
            is_connected,
            live_from,
        )


def _capabilities(connect: Connect, *, is_split: bool) -> tuple[str, ...]:
    """Ours, for a gateway that knows of such words at all."""
    if not connect.capabilities:
        return ()
    return (REPLAY_CAPABILITY, LISTENS_CAPABILITY) if is_split else (LISTENS_CAPABILITY,)
