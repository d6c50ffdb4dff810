"""What operators can see of the internal server."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY

from module_gateway.internal_server import metrics
from module_gateway.protocol.errors import Reason

PREFIX = "module_gateway_internal_server_"


def test_every_name_says_whose_it_is():
    own = {
        name for name in REGISTRY._names_to_collectors if name.startswith(PREFIX + "connections")
    }
    assert own == {PREFIX + "connections"}


@pytest.mark.parametrize("reason", [Reason.TAKEN_OVER, Reason.REPLY_TIMEOUT])
def test_ends_are_counted_by_the_word_of_the_reason(reason: Reason):
    labels = {"reason": reason.value}
    before = REGISTRY.get_sample_value(PREFIX + "closed_total", labels) or 0.0
    metrics.CLOSED.labels(reason).inc()
    assert REGISTRY.get_sample_value(PREFIX + "closed_total", labels) == before + 1


def test_waits_around_the_window_can_be_told_apart():
    for bound in ("0.05", "0.25"):
        name = PREFIX + "reply_wait_seconds_bucket"
        assert REGISTRY.get_sample_value(name, {"le": bound}) is not None
