from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from fleet_lab import stack
from fleet_lab.errors import LabError
from fleet_lab.stack import LOOPBACK, Stack, configuration, free_port
from module_gateway.runtime.config import load


def test_the_configuration_is_one_that_the_gateway_takes(tmp_path: Path) -> None:
    file = tmp_path / "gateway.json"
    file.write_text(json.dumps(configuration(18899)))
    settings = load(file)
    assert settings.internal_server_settings.port == 0
    assert settings.control_plane_settings.broker_port == 18899
    (endpoint,) = settings.external_connection.endpoints
    assert (endpoint.server_ip, endpoint.port) == ("127.0.0.1", 18899)
    assert {int(number) for number in settings.module_paths} == set(endpoint.modules)


def test_a_taken_port_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    first = free_port()
    monkeypatch.setattr(stack, "BROKER_PORTS", range(first, first + 1))
    with socket.create_server((LOOPBACK, first)):
        with pytest.raises(LabError, match=f"no port from {first} to {first} is free"):
            free_port()
        monkeypatch.setattr(stack, "BROKER_PORTS", range(first, first + 50))
        assert free_port() != first


def test_without_mosquitto_the_embedded_broker_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(stack, "_ADMIN_FOLDERS", str(tmp_path))
    command, ready = stack._broker(tmp_path, 18899)
    assert command[1:3] == ("-m", "module_gateway.runtime.embedded_broker")
    assert ready == "embedded broker: ready"


async def test_what_cannot_start_leaves_nothing_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Stack(tmp_path)
    (tmp_path / "gateway.json").write_text("{}{")
    with pytest.raises(LabError, match="control-plane ended with exit code 78: "):
        async with made:
            pytest.fail("it started with a broken configuration")
    assert [c.pid for c in (made.broker, made.control_plane, made.gateway)] == [None] * 3
