from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from module_gateway.control_plane.app import (
    DATABASE_FILE,
    _parser,
    _written,
    main,
    make_store,
    with_options,
)
from module_gateway.control_plane.records import VehicleName
from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.options import load_settings
from module_gateway.runtime.process import EXIT_CONFIG, EXIT_FAILED, EXIT_OK
from module_gateway.runtime.settings import ControlPlaneSettings, Settings
from module_gateway.runtime.state import read_run_note
from tests.brokers import MosquittoBroker, free_port


def test_options_win_over_the_configuration():
    args = _parser().parse_args(
        ["--http-host", "::1", "--http-port", "0", "--broker-host", "b", "--broker-port", "5"]
    )
    section = with_options(Settings(), args).control_plane_settings
    assert (section.http_host, section.http_port) == ("::1", 0)
    assert (section.broker_host, section.broker_port) == ("b", 5)


def test_without_options_the_configuration_stands():
    section = with_options(Settings(), _parser().parse_args([])).control_plane_settings
    assert section == Settings().control_plane_settings
    assert section.http_host == "127.0.0.1"


async def test_the_database_is_what_the_settings_say(tmp_path: Path) -> None:
    kinds = {}
    for database in ("sqlite", "memory", f"sqlite:///{tmp_path}/own.db"):
        store = make_store(ControlPlaneSettings(database=database), tmp_path)
        await store.open_vehicle(VehicleName("acme", "van"), 1)
        await store.close()
        kinds[database] = type(store).__name__
    assert list(kinds.values()) == ["SqlStore", "MemoryStore", "SqlStore"]
    assert (tmp_path / DATABASE_FILE).exists()
    assert (tmp_path / "own.db").exists()


@pytest.mark.parametrize("database", ["mysql://host/name", "sqlite3", "", "oracle:thin"])
def test_a_database_that_nobody_knows_is_refused(database: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"control-plane-settings\.database"):
        make_store(ControlPlaneSettings(database=database), tmp_path)


@pytest.mark.parametrize(
    "arguments", [["--broker-port", "0"], ["--http-port", "70000"], ["--http-port", "x"], ["x"]]
)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 2
    assert "error" in capsys.readouterr().err


def test_hosts_are_written_as_before_a_port():
    assert [_written(host) for host in ("127.0.0.1", "::1", "name")] == [
        "127.0.0.1",
        "[::1]",
        "name",
    ]


CONFIGURATION = """
config-version = 1
[external-connection]
company = "acme"
vehicle-name = "van"
[[external-connection.endpoints]]
protocol-type = "mqtt"
server-ip = "127.0.0.1"
port = 18883
modules = [1]
[control-plane-settings]
metrics-port = 0
http-port = 0
"""

PROCESS = "import sys; from module_gateway.control_plane.app import main; sys.exit(main())"


def _arguments(tmp_path, *more: str) -> list[str]:
    file = tmp_path / "config.toml"
    file.write_text(CONFIGURATION)
    return ["--config", str(file), "--state-dir", str(tmp_path / "state"), *more]


def test_a_taken_http_port_exits_with_1_and_names_the_setting(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        more = ("--http-port", port, "--broker-port", str(free_port()))
        code = subprocess.run(
            [sys.executable, "-c", PROCESS, *_arguments(tmp_path, *more)],
            capture_output=True,
            timeout=120,
            check=False,
        )
    assert code.returncode == EXIT_FAILED
    assert b"http-port" in code.stderr
    assert b"Traceback" not in code.stderr


def test_a_control_plane_needs_no_endpoints(tmp_path):
    file = tmp_path / "config.json"
    file.write_text('{"config-version": 1, "control-plane-settings": {"http-port": 0}}')
    args = _parser().parse_args(["--config", str(file)])

    assert load_settings(args, needs_endpoints=False).control_plane_settings.http_port == 0
    with pytest.raises(SystemExit) as ended:
        load_settings(args)
    assert ended.value.code == EXIT_CONFIG


async def test_it_announces_its_address_answers_and_stops_on_a_signal(tmp_path):
    with MosquittoBroker(tmp_path, has_unix=False) as broker:
        arguments = _arguments(tmp_path, "--broker-port", str(broker.port))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROCESS, *arguments, stderr=subprocess.PIPE
        )
        async with asyncio.timeout(120):
            async for line in process.stderr:
                if json.loads(line)["event"] == "ready":
                    break
            note = read_run_note(tmp_path / "state", "control_plane")
            assert note is not None
            async with httpx.AsyncClient() as client:
                answer = await client.get(f"http://{note.addresses['api']}/healthz")
            assert answer.json() == {"alive": True, "broker_connected": True}
            assert note.addresses["broker"] == f"127.0.0.1:{broker.port}"
            process.terminate()
            await process.stderr.read()
            assert await process.wait() == EXIT_OK
    assert read_run_note(tmp_path / "state", "control_plane") is None
