"""What the control plane counts. Labels `reason` take `Reason` values."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

MESSAGES: Final = Counter(
    "module_gateway_control_plane_messages", "Messages of gateways that were understood.", ["kind"]
)
DROPPED: Final = Counter(
    "module_gateway_control_plane_dropped", "What was not used, and why.", ["reason"]
)
STATUSES: Final = Counter(
    "module_gateway_control_plane_statuses", "Statuses applied (each acknowledged after it)."
)
REPEATS: Final = Counter(
    "module_gateway_control_plane_upstream_repeats",
    "Statuses acknowledged but not applied: their outbox position was applied before.",
)
SESSIONS_STARTED: Final = Counter(
    "module_gateway_control_plane_sessions_started", "Connects that were accepted."
)
SESSIONS_ENDED: Final = Counter(
    "module_gateway_control_plane_sessions_ended", "Sessions that ended, and why.", ["reason"]
)
SESSIONS: Final = Gauge("module_gateway_control_plane_sessions", "Sessions now.")
VEHICLES: Final = Gauge("module_gateway_control_plane_vehicles", "Vehicles known.")
COMMANDS: Final = Counter(
    "module_gateway_control_plane_commands", "Posted commands by the state they entered.", ["state"]
)
PUBLISH_FAILURES: Final = Counter(
    "module_gateway_control_plane_publish_failures", "Messages that the broker did not confirm."
)
BROKER_OUTAGES: Final = Counter(
    "module_gateway_control_plane_broker_outages", "How often the upstream broker was lost."
)
BROKER_UP: Final = Gauge(
    "module_gateway_control_plane_broker_up", "1 while connected and subscribed."
)
LISTENERS: Final = Gauge("module_gateway_control_plane_listeners", "Open event streams.")
