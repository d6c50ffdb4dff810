"""Brokers of our own: what is started, and that it starts."""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from module_gateway.bus.location import BusLocation
from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime import broker
from module_gateway.runtime.broker import (
    answers,
    find_mosquitto,
    is_told_where,
    mosquitto_conf,
    plan_bus,
    plan_upstream,
)
from module_gateway.runtime.settings import BusSettings
from module_gateway.runtime.state import ensure_state_dir
from tests.brokers import free_port

NOBODY = {"PATH": "/nonexistent"}


@pytest.fixture
def _no_mosquitto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "ADMIN_FOLDERS", "/nonexistent")


@pytest.mark.parametrize(
    ("settings", "environ", "expected"),
    [
        (BusSettings(), {}, False),
        (BusSettings(), {"IPC_MQTT_HOST": "10.0.0.1"}, True),
        (BusSettings(), {"IPC_MQTT_PORT": "1884"}, True),
        (BusSettings(host="broker"), {}, True),
        (BusSettings(socket=Path("/run/bus.sock")), {}, True),
    ],
)
def test_a_broker_that_somebody_names_is_used_and_none_is_started(
    settings: BusSettings, environ: dict[str, str], expected: bool
) -> None:
    assert is_told_where(settings, environ) is expected


def test_the_bus_keeps_nothing_and_drops_nothing_by_count() -> None:
    lines = mosquitto_conf(bus=Path("/s/bus.sock"), tcp_port=1883, user="gateway").splitlines()

    for line in (
        "user gateway",
        "listener 0 /s/bus.sock",
        "listener 1883 127.0.0.1",
        "persistence false",
        "max_inflight_messages 0",
        "max_queued_messages 0",
        "max_queued_bytes 268435456",
    ):
        assert line in lines


def test_a_broker_on_tcp_only_disables_nagle() -> None:
    lines = mosquitto_conf(bus=None, tcp_port=18883, user=None).splitlines()

    assert "set_tcp_nodelay true" in lines
    assert [line for line in lines if line.startswith(("user", "listener 0"))] == []


def test_the_bus_of_a_state_folder_is_mosquitto_on_its_socket(tmp_path: Path) -> None:
    plan = plan_bus(ensure_state_dir(tmp_path), os.environ)

    assert plan.command == (find_mosquitto(os.environ), "-c", str(tmp_path / "bus-broker.conf"))
    path = tmp_path / "bus.sock"
    assert (plan.location, plan.environment) == (BusLocation(path), {"IPC_MQTT_SOCKET": str(path)})


def test_started_as_root_mosquitto_stays_the_owner_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    plan_bus(ensure_state_dir(tmp_path), os.environ)
    owner = pwd.getpwuid(tmp_path.stat().st_uid).pw_name

    assert f"user {owner}" in (tmp_path / "bus-broker.conf").read_text().splitlines()


def test_a_taken_loopback_port_leaves_the_bus_its_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setattr(broker, "DEFAULT_PORT", port)
        plan = plan_bus(ensure_state_dir(tmp_path), os.environ)

    conf = (tmp_path / "bus-broker.conf").read_text()
    assert (plan.notice, str(port) in conf) == (
        f"127.0.0.1:{port} is taken: the bus has its socket only",
        False,
    )


def test_a_state_folder_too_deep_for_a_socket_is_refused(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    with pytest.raises(ConfigError, match="--state-dir"):
        plan_bus(deep, os.environ)


@pytest.mark.usefixtures("_no_mosquitto")
def test_without_mosquitto_the_embedded_broker_is_used_and_said(tmp_path: Path) -> None:
    plan = plan_bus(ensure_state_dir(tmp_path), NOBODY)

    assert plan.command[:3] == (sys.executable, "-m", "module_gateway.runtime.embedded_broker")
    assert dict(plan.environment) == {
        "IPC_MQTT_HOST": "127.0.0.1",
        "IPC_MQTT_PORT": str(plan.location.port),
    }
    assert plan.notice.startswith("mosquitto is not installed: the bus is the embedded broker")


@pytest.mark.usefixtures("_no_mosquitto")
def test_a_restarted_embedded_broker_is_where_its_clients_know_it(tmp_path: Path) -> None:
    plan = plan_bus(ensure_state_dir(tmp_path), NOBODY, 4711)

    assert plan.location == BusLocation(None, "127.0.0.1", 4711)


@pytest.mark.usefixtures("_no_mosquitto")
def test_an_embedded_broker_never_gets_a_port_that_clients_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setattr(broker, "DEFAULT_PORT", other.getsockname()[1])
        plan = plan_bus(ensure_state_dir(tmp_path), NOBODY)
    low, _high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()

    assert 1024 < plan.location.port < int(low)


@pytest.mark.usefixtures("_no_mosquitto")
def test_without_mosquitto_the_upstream_broker_is_embedded_too(tmp_path: Path) -> None:
    port = free_port()
    plan = plan_upstream(ensure_state_dir(tmp_path), port, NOBODY)

    assert plan.command[-2:] == ("--port", str(port))
    assert "the upstream broker" in plan.notice


def test_an_upstream_port_in_use_is_refused_with_its_key(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=r"control-plane-settings\.broker-port"):
            plan_upstream(ensure_state_dir(tmp_path), port, os.environ)


async def test_mosquitto_takes_the_configuration_and_replaces_a_stale_socket(
    tmp_path: Path,
) -> None:
    plan = plan_bus(ensure_state_dir(tmp_path), os.environ)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "bus.sock"))
    child = await asyncio.create_subprocess_exec(*plan.command, stdout=subprocess.DEVNULL)
    try:
        async with asyncio.timeout(30):
            while not await answers(plan.location):
                assert child.returncode is None
    finally:
        if child.returncode is None:
            child.terminate()
        code = await child.wait()

    assert code == 0


async def test_what_is_no_broker_does_not_answer_as_one(tmp_path: Path) -> None:
    def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    assert not await answers(BusLocation(None, "127.0.0.1", port))
    server.close()
    await server.wait_closed()
    assert not await answers(BusLocation(None, "127.0.0.1", port))
    assert not await answers(BusLocation(tmp_path / "no.sock"))
