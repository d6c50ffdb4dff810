"""What the sessions of one endpoint go by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from module_gateway.external_client.error_aggregator import ErrorModule
from module_gateway.external_client.lane_room import LANE_BYTES, LANE_DELIVERIES
from module_gateway.external_client.sender import LAST_COUNTER
from module_gateway.protocol.errors import ModuleError
from module_gateway.protocol.identity import Identity


@dataclass(frozen=True, slots=True)
class Rules:
    """What a session must know and may not ask. Durations in seconds.

    `replay_modules` are those of `modules` whose every entry is sent, none folded (R18);
    `lane_window` is the handlers' for what is delivered and not taken: deliveries and bytes.
    """

    company: str
    vehicle: str
    modules: Mapping[int, ErrorModule]
    step_timeout_s: float = 5.0
    status_timeout_s: float = 30.0
    settle_s: float = 0.2
    stop_wait_s: float = 2.0
    window: int = 16
    last_counter: int = LAST_COUNTER
    replay_modules: frozenset[int] = frozenset()
    lane_window: tuple[int, int] = (LANE_DELIVERIES, LANE_BYTES)

    def supports(self, identity: Identity) -> bool:
        """Whether this endpoint serves such devices at all."""
        module = self.modules.get(identity.module)
        if module is None:
            return False
        try:
            return module.is_device_type_supported(identity.device_type)
        except ModuleError:
            return False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The handler decided about a command; `response` is a CommandResponse type."""

    session: int
    counter: int
    response: int
