"""Alerts and dashboard: every metric, label and reason in them exists, and the alerts fire."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import yaml

from module_gateway.protocol.errors import Reason
from module_gateway.runtime.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
TESTS = ROOT / "deploy/prometheus/alerts_test.yml"
DASHBOARD = ROOT / "deploy/grafana/module-gateway.json"
OPERATE = (ROOT / "docs/operate.md").read_text(encoding="utf-8")
PROMTOOL_LIMIT_S = 120
OF_PROMETHEUS = {"up"}
ELSEWHERE = ("module_gateway.runtime.pulse", "module_gateway.runtime.restarts")
SIZES = {
    word
    for path in (ROOT / "module_gateway/module_handler").glob("*.py")
    for word in re.findall(r'^\s+"([a-z_]+)": ', path.read_text(encoding="utf-8"), re.MULTILINE)
}
"""Among them what `core.sizes` counts."""

NAME = re.compile(r"\b((?:module_gateway|process)_[a-z_]+|up)\b(?=[{\[\s>=)]|$)")
MATCHER = re.compile(r"\b(module_gateway_[a-z_]+)\{([^}]*)\}")
LABEL = re.compile(r"([a-z_]+)\s*(?:=~|!=|!~|=)\s*\"([^\"]*)\"")


def families() -> dict[str, Any]:
    """Name → what Prometheus is told of it, of everything that any process counts."""
    for path in sorted((ROOT / "module_gateway").rglob("metrics.py")):
        package = path.relative_to(ROOT).with_suffix("")
        import_module(".".join(package.parts))
    for module in ELSEWHERE:
        import_module(module)
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: family
        for family in prometheus_client.REGISTRY.collect()
    }


FAMILIES = families()
OURS = {name for name in FAMILIES if name.startswith("module_gateway_")}


def sample_names() -> set[str]:
    found = set(FAMILIES) | OF_PROMETHEUS
    for name, family in FAMILIES.items():
        if family.type == "histogram":
            found |= {f"{name}_bucket", f"{name}_count", f"{name}_sum"}
    return found


def rules() -> list[dict[str, Any]]:
    loaded = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return found


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in panels() for target in panel.get("targets", ()))
    loaded = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for variable in loaded["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"].partition("(")[2].partition(",")[0]


def labels_of(name: str) -> set[str]:
    """Which labels the code declares for it."""
    registered = prometheus_client.REGISTRY._names_to_collectors
    base = re.sub(r"_(bucket|count|sum)$", "", name) if name not in FAMILIES else name
    return {*getattr(registered[base], "_labelnames", ()), "instance", "job"} | (
        {"le"} if name.endswith("_bucket") else set()
    )


def test_every_metric_that_is_used_exists() -> None:
    used = {name for expression in expressions() for name in NAME.findall(expression)}
    assert len(used) > 20
    assert used - sample_names() == set()


def test_every_label_that_is_used_exists_and_every_reason_is_one() -> None:
    seen = 0
    for expression in expressions():
        for name, matchers in MATCHER.findall(expression):
            for label, value in LABEL.findall(matchers):
                seen += 1
                assert label in labels_of(name), (name, label)
                if label == "reason":
                    assert value in set(Reason), value
                if label == "of":
                    assert value in SIZES, value
    assert seen > 10


def test_each_alert_says_what_happened_and_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_each_alert_is_explained_and_tried() -> None:
    tried = TESTS.read_text(encoding="utf-8")
    for rule in rules():
        assert f"| `{rule['alert']}` |" in OPERATE, rule["alert"]
        assert f'alertname="{rule["alert"]}"' in tried, rule["alert"]
    named = set(re.findall(r"^\| `(ModuleGateway[A-Za-z]+)` \|", OPERATE, re.MULTILINE))
    assert named == {rule["alert"] for rule in rules()}


def test_every_metric_is_explained_for_operators() -> None:
    section = OPERATE.partition("## All metrics\n")[2].partition("\n## ")[0]
    explained = set(re.findall(r"^\| `(module_gateway_[a-z_]+)", section, re.MULTILINE))
    assert explained == OURS


def test_panels_have_numbers_and_places_of_their_own() -> None:
    found = panels()
    assert len({panel["id"] for panel in found}) == len(found)
    cells: set[tuple[int, int]] = set()
    for panel in found:
        at = panel["gridPos"]
        own = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not own & cells, panel["title"]
        cells |= own


def promtool() -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed: tools/prepare.sh promtool, as root")
    return program


def run(*words: str | Path, folder: Path = ALERTS.parent) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [promtool(), *map(str, words)], cwd=folder, capture_output=True, text=True,
        timeout=PROMTOOL_LIMIT_S, check=False,
    )  # fmt: skip


def test_promtool_accepts_the_alerts() -> None:
    done = run("check", "rules", ALERTS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_example_and_it_scrapes_the_default_ports() -> None:
    text = (ALERTS.parent / "prometheus.yml").read_text(encoding="utf-8")
    own = Settings()
    ports = (
        own.internal_server_settings.metrics_port,
        own.module_handler_settings.metrics_port,
        own.external_client_settings.metrics_port,
    )
    (job,) = yaml.safe_load(text)["scrape_configs"]
    assert job["job_name"] == "module_gateway"
    assert job["static_configs"][0]["targets"] == [f"127.0.0.1:{port}" for port in ports]
    done = run("check", "config", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_when_it_should_and_only_then() -> None:
    done = run("test", "rules", TESTS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_that_never_fire_are_noticed_one_by_one(tmp_path: Path) -> None:
    promtool()
    loaded = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    for rule in loaded["groups"][0]["rules"]:
        rule["expr"] = "vector(0) > 1"
    (tmp_path / ALERTS.name).write_text(yaml.safe_dump(loaded))
    (tmp_path / TESTS.name).write_text(TESTS.read_text(encoding="utf-8"))
    done = run("test", "rules", TESTS.name, folder=tmp_path)
    said = done.stdout + done.stderr
    assert [rule["alert"] for rule in rules() if f'alertname="{rule["alert"]}"' not in said] == []


def test_promtool_accepts_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(expressions())
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = run("check", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr
