"""What the bus layer counts, in every process that has a link."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

DROPPED: Final = Counter(
    "module_gateway_bus_dropped",
    "Messages that were not sent or not delivered, and why (one malformed batch counts as one).",
    ["reason"],
)
SENT_MESSAGES: Final = Counter("module_gateway_bus_sent_messages", "Messages in confirmed batches.")
SENT_BATCHES: Final = Counter("module_gateway_bus_sent_batches", "Batches that the bus confirmed.")
SENT_BYTES: Final = Counter("module_gateway_bus_sent_bytes", "Bytes in confirmed batches.")
RECEIVED_MESSAGES: Final = Counter(
    "module_gateway_bus_received_messages", "Messages handed to this process."
)
RECEIVED_BATCHES: Final = Counter(
    "module_gateway_bus_received_batches", "Batches handed to this process."
)
OUTAGES: Final = Counter("module_gateway_bus_outages", "How often the bus was lost.")
LISTENER_FAILURES: Final = Counter(
    "module_gateway_bus_listener_failures",
    "Unexpected exceptions, of listeners mostly, caught at the edge of the bus.",
)
IS_UP: Final = Gauge("module_gateway_bus_is_up", "1 while connected and subscribed.")
PEERS: Final = Gauge("module_gateway_bus_peers", "Other processes heard lately.")
