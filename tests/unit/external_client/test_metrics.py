from __future__ import annotations

from prometheus_client import Counter, Gauge

from module_gateway.external_client import metrics


def test_every_metric_names_its_component_and_endpoint() -> None:
    own = [each for each in vars(metrics).values() if isinstance(each, Counter | Gauge)]
    assert 11 == len(own)
    for metric in own:
        assert metric._name.startswith("module_gateway_external_client_")
        assert "endpoint" in metric._labelnames
