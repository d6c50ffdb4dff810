"""What the module handler counts. Labels `reason` take the words of `errors.Reason`."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_PREFIX: Final = "module_gateway_module_handler"

_BUCKETS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)
"""Up to the reply window of 250 ms (fleet-protocol 2.6) and a little beyond."""

APPLIED: Final = Counter(f"{_PREFIX}_statuses_applied", "Statuses that were applied and answered")
PUBLISHED: Final = Counter(f"{_PREFIX}_published", "Statuses that went to the outbox")
DROPPED: Final = Counter(
    f"{_PREFIX}_dropped", "What was refused, dropped or superseded, and why", ["reason"]
)
CHANGES: Final = Counter(f"{_PREFIX}_changes", "Changes that were committed")
TURN_DURATION: Final = Histogram(
    f"{_PREFIX}_turn_seconds", "Time to decide about one batch", buckets=_BUCKETS_S
)
COMMIT_DURATION: Final = Histogram(
    f"{_PREFIX}_commit_seconds", "Time of one commit", buckets=_BUCKETS_S
)
READ_DURATION: Final = Histogram(
    f"{_PREFIX}_read_seconds", "Time to read one page of the outbox", buckets=_BUCKETS_S
)
STORE_REPAIRS: Final = Counter(
    f"{_PREFIX}_store_repairs",
    "How often what was intact of the store was put into a new file, and why",
    ["reason"],
)
SIZES: Final = Gauge(
    f"{_PREFIX}_size", "How much it holds of what is bounded: devices, entries, deliveries", ["of"]
)
INBOX: Final = Gauge(f"{_PREFIX}_inbox_messages", "Messages that wait to be decided about")
