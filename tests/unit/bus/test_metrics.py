from __future__ import annotations

import re

from prometheus_client import generate_latest

from module_gateway.bus import metrics
from module_gateway.protocol.errors import Reason


def test_every_series_is_exported_under_the_name_of_the_component() -> None:
    metrics.DROPPED.labels(Reason.QUEUE_FULL).inc(0)
    exported = generate_latest().decode()
    names = set(re.findall(r"^# TYPE (module_gateway_bus_\w+) ", exported, re.MULTILINE))
    assert {
        "module_gateway_bus_dropped_total",
        "module_gateway_bus_sent_messages_total",
        "module_gateway_bus_received_messages_total",
        "module_gateway_bus_outages_total",
        "module_gateway_bus_listener_failures_total",
        "module_gateway_bus_is_up",
        "module_gateway_bus_peers",
    } <= names
    assert 'module_gateway_bus_dropped_total{reason="queue_full"}' in exported
