"""What the internal server counts. Labels `reason` take the words of `errors.Reason`."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_PREFIX: Final = "module_gateway_internal_server"

_WAIT_BUCKETS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5)
"""Up to the reply window of 250 ms (fleet-protocol 2.6) and a little beyond."""

CONNECTIONS: Final = Gauge(f"{_PREFIX}_connections", "Open device connections")
ACCEPTED: Final = Counter(f"{_PREFIX}_accepted", "Device connections accepted so far")
CLOSED: Final = Counter(f"{_PREFIX}_closed", "Device connections that ended", ["reason"])
CONNECT_RESPONSES: Final = Counter(
    f"{_PREFIX}_connect_responses", "Answers to connects by response type", ["response"]
)
STATUSES: Final = Counter(f"{_PREFIX}_statuses", "Statuses handed over to a handler")
REPLY_WAIT: Final = Histogram(
    f"{_PREFIX}_reply_wait_seconds",
    "From handing a status over to writing its command",
    buckets=_WAIT_BUCKETS_S,
)
CONNECT_WAIT: Final = Histogram(
    f"{_PREFIX}_connect_wait_seconds",
    "From handing a connect over to writing its response",
    buckets=_WAIT_BUCKETS_S,
)
PUSHES: Final = Counter(f"{_PREFIX}_pushed_commands", "Commands written to push-only devices")
DROPPED: Final = Counter(
    f"{_PREFIX}_dropped", "Messages that were thrown away, late replies among them", ["reason"]
)
UNANSWERED: Final = Gauge(
    f"{_PREFIX}_unanswered", "Requests whose answer is outstanding, all handlers together"
)
UNANSWERED_LIMIT: Final = Gauge(
    f"{_PREFIX}_unanswered_limit",
    "Requests that may be outstanding, all handlers together: it follows how fast they answer",
)
HELD: Final = Counter(f"{_PREFIX}_held", "Times a device was held back by a saturated handler")
BUFFERED_BYTES: Final = Gauge(
    f"{_PREFIX}_buffered_bytes", "Received bytes of frames that are not taken yet"
)
DEFECTS: Final = Counter(
    f"{_PREFIX}_defects", "Connections that were closed because of an exception of ours"
)
