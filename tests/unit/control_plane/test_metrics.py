from __future__ import annotations

from prometheus_client import Counter, Gauge, generate_latest

from module_gateway.control_plane import metrics


def test_every_metric_is_exported_under_the_component():
    exported = generate_latest().decode()
    named = [each for each in vars(metrics).values() if isinstance(each, (Counter, Gauge))]
    assert len(named) >= 12
    for metric in named:
        [description] = metric.describe()
        assert description.name.startswith("module_gateway_control_plane_")
        assert f"# HELP {description.name}" in exported
