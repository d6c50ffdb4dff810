"""What the external client counts. Label `endpoint` is its place in the configuration, from 0."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

_PREFIX: Final = "module_gateway_external_client"

BROKER_UP: Final = Gauge(
    f"{_PREFIX}_broker_is_up", "1 while connected to the endpoint's broker", ["endpoint"]
)
SESSION_UP: Final = Gauge(
    f"{_PREFIX}_session_is_up", "1 while a session is established", ["endpoint"]
)
RECONNECTS: Final = Counter(
    f"{_PREFIX}_sessions_ended", "Sessions and attempts that ended, and why", ["endpoint", "reason"]
)
CONNECTS: Final = Counter(f"{_PREFIX}_connects", "Connects that were published", ["endpoint"])
STATUSES: Final = Counter(
    f"{_PREFIX}_statuses", "Statuses that were published", ["endpoint", "state"]
)
COMMAND_RESPONSES: Final = Counter(
    f"{_PREFIX}_command_responses", "Commands that were answered, and how", ["endpoint", "response"]
)
IGNORED: Final = Counter(
    f"{_PREFIX}_ignored", "What was ignored, refused or dropped, and why", ["endpoint", "reason"]
)
REPLAY_HELD: Final = Gauge(
    f"{_PREFIX}_replay_statuses_held",
    "Statuses of modules with replay that are here and not acknowledged",
    ["endpoint"],
)
IN_FLIGHT: Final = Gauge(
    f"{_PREFIX}_statuses_in_flight", "Statuses that wait for their acknowledgement", ["endpoint"]
)
FOLDED_DEVICES: Final = Gauge(
    f"{_PREFIX}_folded_devices", "Devices with an undelivered fold", ["endpoint"]
)
QUARANTINED: Final = Gauge(
    f"{_PREFIX}_quarantined_devices", "Devices that the control plane does not know", ["endpoint"]
)
