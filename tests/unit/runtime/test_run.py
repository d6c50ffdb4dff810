"""Everything on one machine, with the real processes."""

from __future__ import annotations

import json
import os
import queue
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from module_gateway.runtime.config import default_settings
from module_gateway.runtime.preflight import PROCESSES
from module_gateway.runtime.run import (
    AlreadyRunningError,
    alone,
    build_parser,
    next_steps,
    options_of_components,
    ready_line,
    wait_for_way,
    with_port,
)
from module_gateway.runtime.state import ensure_state_dir
from tests.brokers import free_port
from tests.unit.runtime.gateway_files import MINIMAL, changed, write

ROOT = Path(__file__).resolve().parents[3]
PORTLESS = {
    name: {"metrics-port": 0} for name in ("module-handler-settings", "external-client-settings")
}


class Gateway:
    """A running `run_all.py` whose output can be waited for."""

    def __init__(self, *words: str, script: tuple[str, ...] = ("run_all.py",)) -> None:
        environ = {key: text for key, text in os.environ.items() if not key.startswith("IPC_")}
        self.child = subprocess.Popen(
            [sys.executable, *script, *words],
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def until(self, text: str) -> str:
        while (line := self._lines.get(timeout=120)) is not None:
            self.output.append(line)
            if text in line:
                return line
        raise AssertionError("\n".join(self.output))

    def end(self) -> int:
        while (line := self._lines.get(timeout=120)) is not None:
            self.output.append(line)
        return self.child.wait(timeout=60)


@contextmanager
def gateway(*words: str, script: tuple[str, ...] = ("run_all.py",)) -> Iterator[Gateway]:
    started = Gateway(*words, script=script)
    try:
        yield started
    finally:
        started.child.terminate()
        try:
            started.child.wait(timeout=60)
        except subprocess.TimeoutExpired:
            started.child.kill()
            started.child.wait()
        started._reader.join(60)
        assert started.child.stdout is not None
        started.child.stdout.close()


def existing_file(folder: Path, port: int) -> Path:
    """A file of the existing gateway for a port of this machine that is free."""
    fields = {**changed(MINIMAL, "internal-server-settings.port", port), **PORTLESS}
    fields["internal-server-settings"]["metrics-port"] = 0
    return write(folder, fields)


def devices_port(ready: str) -> int:
    [place] = [word for word in ready.split() if word.startswith("internal_server.devices=")]
    return int(place.rpartition(":")[2])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_all_start_say_where_they_are_and_stop_with_zero(
    tmp_path: Path, number: signal.Signals
) -> None:
    path = existing_file(tmp_path, 0)
    with gateway("--config", str(path), "--state-dir", str(tmp_path / "state")) as it:
        ready = it.until("READY ")
        socket.create_connection(("127.0.0.1", devices_port(ready)), 5).close()
        it.child.send_signal(number)

        assert it.end() == 0
    assert f"bus_broker.mqtt={tmp_path / 'state' / 'bus.sock'}" in ready
    assert [line for line in it.output if "FAILED" in line] == []
    assert "\x1b[" not in "".join(it.output)


def test_case17_the_port_of_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    with socket.socket() as taken:  # nobody could listen on the file's port
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        path = existing_file(tmp_path, taken.getsockname()[1])
        port = free_port()
        words = (f"--config-path={path}", f"--port={port}", "--state-dir", str(tmp_path / "s"))
        with gateway(*words, script=("-m", "module_gateway")) as it:
            ready = it.until("READY ")
            it.child.terminate()

            assert (devices_port(ready), it.end()) == (port, 0)


def test_F4_a_device_port_in_use_ends_all_with_nonzero_before_anything_starts(
    tmp_path: Path,
) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        path = existing_file(tmp_path, port)
        with gateway("--config", str(path), "--state-dir", str(tmp_path / "state")) as it:
            assert it.end() == 1

    assert it.output == [
        f"in use: 0.0.0.0:{port}; waiting up to 5 s",
        (
            f"cannot start: 0.0.0.0:{port} (devices) is in use; see by whom with "
            f"`ss -ltnp sport = :{port}`, or change --port or internal-server-settings.port"
        ),
    ]


def test_a_port_that_is_given_up_in_time_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = default_settings()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = with_port(settings, other.getsockname()[1])
        monkeypatch.setattr(time, "sleep", lambda _pause_s: other.close())
        ours = {
            name: getattr(settings, name).model_copy(update={"metrics_port": 0})
            for name in (f"{process}_settings" for process in PROCESSES)
        }
        found = wait_for_way(settings.model_copy(update=ours), tmp_path, is_demo=False)

    assert (found, "waiting up to" in capsys.readouterr().err) == ([], True)


def test_a_bus_of_somebody_else_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    path, port = existing_file(tmp_path, 0), free_port()
    fields = {**json.loads(path.read_text()), "bus": {"host": "127.0.0.1", "port": port}}
    with gateway("--config", str(write(tmp_path, fields)), "--state-dir", str(tmp_path)) as it:
        line = it.until("bus_absent")
        it.child.terminate()

        assert (it.end(), f"location=127.0.0.1:{port}" in line) == (0, True)


def test_O4_a_killed_component_is_restarted(tmp_path: Path) -> None:
    path = existing_file(tmp_path, 0)
    state = tmp_path / "state"
    with gateway("--config", str(path), "--state-dir", str(state)) as it:
        it.until("READY ")
        note = json.loads((state / "run" / "module_handler.json").read_text())
        os.kill(note["pid"], signal.SIGKILL)
        assert "module_handler" in it.until("component_died")
        it.until("component_back")
        it.child.terminate()

        assert it.end() == 0


def test_a_killed_supervisor_leaves_nothing_running(tmp_path: Path) -> None:
    path = existing_file(tmp_path, 0)
    state = tmp_path / "state"
    with gateway("--config", str(path), "--state-dir", str(state)) as it:
        it.until("READY ")
        notes = [json.loads(note.read_text()) for note in (state / "run").iterdir()]
        processes = [os.pidfd_open(note["pid"]) for note in notes]
        it.child.kill()
        ended = [bool(select.select([process], [], [], 60)[0]) for process in processes]
        for process in processes:
            os.close(process)

    assert ended == [True] * 4  # three components and the gateway itself


def test_systemd_is_told_of_start_progress_and_stop_by_the_supervisor_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(40)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "1000000")
        path = existing_file(tmp_path, 0)
        senders = set()

        def until(word: bytes) -> None:
            while True:
                lines, credentials, _, _ = systemd.recvmsg(1000, 100)
                senders.add(struct.unpack("3i", credentials[0][2])[0])
                if word in lines.split(b"\n"):
                    return

        with gateway("--config", str(path), "--state-dir", str(tmp_path / "state")) as it:
            until(b"READY=1")
            for _ in range(4):
                until(b"WATCHDOG=1")
            it.child.terminate()
            until(b"STOPPING=1")
            assert it.end() == 0
            assert senders == {it.child.pid}


def test_a_second_gateway_on_the_same_state_folder_is_refused(tmp_path: Path) -> None:
    state_dir = ensure_state_dir(tmp_path)
    refusal = pytest.raises(AlreadyRunningError, match="--state-dir")
    with alone(state_dir), refusal, alone(state_dir):
        pass
    with alone(state_dir):
        pass


def test_a_wrong_configuration_starts_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, changed(MINIMAL, "external-connection.company", "Company Name"))
    with gateway("-c", str(path), "--state-dir", str(tmp_path / "state")) as it:
        assert it.end() == 78
    assert not (tmp_path / "state").exists()
    assert "external-connection.company is 'Company Name'" in "\n".join(it.output)


def test_components_are_told_the_same_options() -> None:
    args = build_parser().parse_args(["-c", "conf.json", "--log-level", "debug"])

    assert options_of_components(args, Path("/s")) == [
        *("--state-dir", "/s"),
        *("--log-format", "text"),
        *("--config", str(Path("conf.json").absolute())),
        *("--log-level", "DEBUG"),
    ]


def test_the_ready_line_is_one_line_with_every_address() -> None:
    found = {"bus_broker": {"mqtt": "/s/bus.sock"}, "internal_server": {"devices": "a:1", "m": "b"}}

    assert ready_line(found) == (
        "READY bus_broker.mqtt=/s/bus.sock internal_server.devices=a:1 internal_server.m=b"
    )


def test_the_demo_says_how_to_look_at_it() -> None:
    found = {"control_plane": {"api": "127.0.0.1:8080"}}
    text = next_steps(default_settings(), found, is_demo=True)

    assert "curl http://127.0.0.1:8080/api/v1/vehicles" in text
    assert "/api/v1/vehicles/default_company/default_vehicle/devices/1/1/autonomy/commands" in text
    assert max(map(len, text.splitlines())) <= 120


def test_a_gateway_says_where_devices_connect_and_where_statuses_go() -> None:
    found = {"internal_server": {"devices": "0.0.0.0:1636"}}

    assert next_steps(default_settings(), found, is_demo=False).splitlines() == [
        "",
        "  Devices   connect to 127.0.0.1:1636",
        "  Upstream  127.0.0.1:18883 for modules 1, 2, 3, 1000, 1001",
        "  Stop      Ctrl-C",
    ]
