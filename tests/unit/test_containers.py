"""Images and compose file, as far as they can be judged without a container engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from module_gateway.runtime.config import load

ROOT = Path(__file__).resolve().parents[2]
COMPONENTS = {
    "internal_server": "internal-server",
    "module_handler": "module-handler",
    "external_client": "external-client",
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def dockerfile(component: str) -> str:
    return (ROOT / "module_gateway" / component / "Dockerfile").read_text()


def test_case13_the_container_configuration_listens_on_1636(compose: dict[str, Any]) -> None:
    listener = load(ROOT / "config" / "docker.json").internal_server_settings

    assert (listener.ip_address, listener.port) == ("0.0.0.0", 1636)
    assert compose["services"]["internal_server"]["ports"] == ["1636:1636"]
    assert "EXPOSE 1636" in dockerfile("internal_server")


def test_there_is_one_container_per_component_and_a_broker(compose: dict[str, Any]) -> None:
    assert sorted(compose["services"]) == [
        "broker",
        "external_client",
        "internal_server",
        "module_handler",
    ]


def test_the_compose_file_has_a_version_as_compose_1_wants_it(compose: dict[str, Any]) -> None:
    assert compose["version"] == "3.8"


def test_only_the_device_port_is_published(compose: dict[str, Any]) -> None:
    published = {name: part.get("ports", []) for name, part in compose["services"].items()}

    assert {name: ports for name, ports in published.items() if ports} == {
        "internal_server": ["1636:1636"]
    }


@pytest.mark.parametrize("component", COMPONENTS)
def test_each_component_finds_the_bus_and_reads_the_same_file(
    compose: dict[str, Any], component: str
) -> None:
    part = compose["services"][component]

    assert part["build"] == {
        "context": ".",
        "dockerfile": f"module_gateway/{component}/Dockerfile",
    }
    assert part["environment"] == {"IPC_MQTT_HOST": "broker", "IPC_MQTT_PORT": "1883"}
    assert "./config/docker.json:/etc/module-gateway/config.json:ro" in part["volumes"]


@pytest.mark.parametrize(("component", "command"), COMPONENTS.items())
def test_each_image_runs_its_component_as_nobody_special(component: str, command: str) -> None:
    text = dockerfile(component)

    assert "FROM python:3.11-slim" in text
    assert "--require-hashes" in text
    assert f'ENTRYPOINT ["python", "-m", "module_gateway", "{command}"' in text
    assert text.index("USER gateway") < text.index("ENTRYPOINT")


@pytest.mark.parametrize("component", COMPONENTS)
def test_everything_that_an_image_copies_is_there_and_not_ignored(component: str) -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    copied = re.findall(r"^COPY (\S+) ", dockerfile(component), re.MULTILINE)

    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert set(copied) <= kept


def test_the_bus_broker_of_the_containers_drops_nothing_by_count() -> None:
    lines = (ROOT / "mosquitto.conf").read_text().splitlines()

    for line in ("listener 1883", "persistence false", "max_queued_messages 0"):
        assert line in lines
