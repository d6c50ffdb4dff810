"""What the handler counts can be scraped under its documented names."""

from __future__ import annotations

from prometheus_client import generate_latest

from module_gateway.module_handler import metrics
from module_gateway.protocol.errors import Reason


def test_every_reason_can_be_a_label() -> None:
    for reason in Reason:
        metrics.DROPPED.labels(reason)
    text = generate_latest().decode()
    assert 'module_gateway_module_handler_dropped_total{reason="command_superseded"}' in text


def test_the_documented_names_are_there() -> None:
    text = generate_latest().decode()
    for name in (
        "statuses_applied_total",
        "published_total",
        "changes_total",
        "turn_seconds_bucket",
        "commit_seconds_bucket",
        "inbox_messages",
    ):
        assert f"module_gateway_module_handler_{name}" in text
