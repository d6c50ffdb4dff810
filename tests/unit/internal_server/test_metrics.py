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


def test_statuses_are_counted_when_somebody_asks():
    before = REGISTRY.get_sample_value(PREFIX + "statuses_total")
    assert before is not None
    metrics.STATUSES.add()
    metrics.STATUSES.add()
    assert REGISTRY.get_sample_value(PREFIX + "statuses_total") == before + 2


def test_a_wait_counts_in_its_bucket_and_all_wider_ones():
    name = PREFIX + "reply_wait_seconds"

    def waits(bound: str) -> float:
        return REGISTRY.get_sample_value(name + "_bucket", {"le": bound}) or 0.0

    bounds = ("0.005", "0.01", "0.02", "+Inf")
    before = [waits(bound) for bound in bounds]
    before_s = REGISTRY.get_sample_value(name + "_sum") or 0.0
    metrics.REPLY_WAIT.observe(0.01)
    assert [waits(bound) for bound in bounds] == [before[0], *(n + 1 for n in before[1:])]
    assert REGISTRY.get_sample_value(name + "_sum") == pytest.approx(before_s + 0.01)
    assert REGISTRY.get_sample_value(name + "_count") == waits("+Inf")
