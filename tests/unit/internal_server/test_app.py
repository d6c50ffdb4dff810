"""The process: its options, its exit codes, its end."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from module_gateway.internal_server import app
from module_gateway.internal_server.rules import Fault
from module_gateway.runtime.settings import InternalServerSettings, Settings
from module_gateway.runtime.state import read_run_note
from tests.golden import BUTTON
from tests.unit.internal_server.peers import Client

PATIENCE_S = 30.0
REPOSITORY = Path(__file__).resolve().parents[3]


def parsed(*argv: str) -> Settings:
    args = app.build_parser().parse_args(argv)
    own = InternalServerSettings(ip_address="127.0.0.2", port=1636)
    return app.with_options(Settings(internal_server_settings=own), args)


def test_case17_the_command_line_wins_over_the_file():
    own = parsed("-i", "127.0.0.3", "--port=2000").internal_server_settings
    assert (own.ip_address, own.port) == ("127.0.0.3", 2000)


def test_without_options_the_file_counts():
    own = parsed().internal_server_settings
    assert (own.ip_address, own.port) == ("127.0.0.2", 1636)


@pytest.mark.parametrize(
    ("argv", "fault"),
    [
        ([], Fault.NONE),
        (["--comm-error"], Fault.COMMUNICATION_ERROR),
        (["--serv-too-long"], Fault.SILENT_CONNECT),
    ],
)
def test_misbehaviour_is_chosen_by_a_flag(argv: list[str], fault: Fault):
    assert app.build_parser().parse_args(argv).fault is fault


@pytest.mark.parametrize(
    "argv",
    [
        ["--comm-error", "--serv-too-long"],
        ["--port=70000"],
        ["-p", "1", "-p", "2"],
        ["--nonsense"],
    ],
)
def test_wrong_usage_ends_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        app.build_parser().parse_args(argv)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


@asynccontextmanager
async def process(state_dir: Path, *argv: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The internal server as a process of its own, without any bus."""
    config = state_dir / "config.json"
    config.write_text(
        json.dumps(
            {
                "config-version": 1,
                "logging": {"console": {"use": True, "level": "INFO"}, "format": "json"},
                "internal-server-settings": {"port": 0, "metrics-port": 0},
                "bus": {"socket": str(state_dir / "no.sock")},
                "external-connection": {
                    "endpoints": [
                        {
                            "protocol-type": "mqtt",
                            "server-ip": "127.0.0.1",
                            "port": 1,
                            "modules": [1000],
                        }
                    ]
                },
            }
        )
    )
    code = "import sys; from module_gateway.internal_server.app import main; sys.exit(main())"
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, "--config", str(config), "--state-dir", str(state_dir)),
        *argv,
        stderr=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield started
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()


async def line_with(started: asyncio.subprocess.Process, event: str) -> dict[str, str]:
    assert started.stderr is not None
    async for line in started.stderr:
        fields: dict[str, str] = json.loads(line)
        if fields.get("event") == event:
            return fields
    raise AssertionError(f"the process ended without {event!r}")


async def test_a_port_in_use_ends_the_process_with_1_and_a_clear_line(tmp_path: Path):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        async with process(tmp_path, "-p", str(port)) as started:
            failed = await line_with(started, "failed")
            assert await started.wait() == 1
    assert failed["reason"].startswith(f"cannot listen for devices on 127.0.0.1:{port}: ")


async def test_the_process_serves_without_a_bus_and_stops_cleanly(tmp_path: Path):
    async with process(tmp_path, "--comm-error") as started:
        ready = await line_with(started, "ready")
        note = read_run_note(tmp_path, app.COMPONENT)
        assert note is not None
        assert note.addresses["devices"] == ready["devices"]
        host, _, port = ready["devices"].partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        client = Client(reader, writer, BUTTON)
        assert await client.connect() == -1
        assert await client.rest() == b""
        writer.close()
        await writer.wait_closed()
        started.send_signal(signal.SIGTERM)
        assert await started.wait() == 0
        assert read_run_note(tmp_path, app.COMPONENT) is None
