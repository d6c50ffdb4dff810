"""The shell of every process, seen from outside: signals, exit codes, one clear line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from module_gateway.runtime.config import load
from module_gateway.runtime.process import SAME_SIGNAL_S, SUPERVISED, log_configuration
from module_gateway.runtime.state import read_run_note
from tests.unit.runtime.gateway_files import MINIMAL, write

ROOT = Path(__file__).resolve().parents[3]


class Process:
    """One running `one_process`, its log lines as they come."""

    def __init__(self, mode: str, state_dir: Path, port: int = 0) -> None:
        environ = {key: value for key, value in os.environ.items() if key != SUPERVISED}
        self.child = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.runtime.one_process", mode, state_dir, str(port)],
            cwd=ROOT,
            env=environ,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[dict[str, Any]] = []

    def until(self, event: str) -> dict[str, Any]:
        """Read log lines up to this event."""
        assert self.child.stderr is not None
        for line in self.child.stderr:
            self.lines.append(json.loads(line) if line.startswith("{") else {"event": line})
            if event in self.lines[-1]["event"]:
                return self.lines[-1]
        raise AssertionError(f"no {event} in {self.lines}")

    def end(self) -> int:
        assert self.child.stderr is not None
        for line in self.child.stderr:
            self.lines.append(json.loads(line) if line.startswith("{") else {"event": line})
        return self.child.wait(timeout=60)

    def events(self, level: str) -> list[str]:
        return [line["event"] for line in self.lines if line.get("level") == level]


@contextmanager
def running(mode: str, state_dir: Path, port: int = 0) -> Iterator[Process]:
    process = Process(mode, state_dir, port)
    try:
        yield process
    finally:
        process.child.kill()
        process.child.wait()
        if process.child.stderr is not None:
            process.child.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with running("wait", tmp_path) as process:
        process.until("ready")
        process.child.send_signal(number)

        assert process.end() == 0
        assert process.events("error") == []


def test_ready_leaves_a_note_with_the_addresses_until_the_end(tmp_path: Path) -> None:
    with running("wait", tmp_path) as process:
        ready = process.until("ready")
        note = read_run_note(tmp_path, "internal_server")
        assert note is not None
        with urllib.request.urlopen(f"http://{note.addresses['metrics']}/readyz") as answer:
            assert answer.status == 200
        process.child.terminate()
        process.end()

    assert (note.pid, note.addresses["devices"], note.addresses["metrics"]) == (
        process.child.pid,
        "127.0.0.1:1",
        ready["metrics"],
    )
    assert read_run_note(tmp_path, "internal_server") is None


def test_a_process_under_systemd_says_that_it_is_ready_lives_and_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        with running("wait", tmp_path) as process:
            said: list[bytes] = []
            while said.count(b"WATCHDOG=1") < 5:
                said += systemd.recv(1000).split(b"\n")
            assert b"READY=1" in said
            process.child.terminate()
            while b"STOPPING=1" not in said:
                said += systemd.recv(1000).split(b"\n")
            assert process.end() == 0


def test_O4_a_crashed_task_ends_the_process_with_one_and_one_clear_line(tmp_path: Path) -> None:
    with running("task", tmp_path) as process:
        assert process.end() == 1
        assert process.events("error") == ["task_failed", "failed"]
        assert process.lines[-2]["reason"] == "task worker failed: ValueError('a defect')"


@pytest.mark.parametrize(
    ("mode", "code", "errors"),
    [
        ("raise", 1, ["crashed", "failed"]),
        ("refuse", 1, ["failed"]),
        ("config", 78, ["configuration_refused"]),
        ("return", 0, []),
    ],
)
def test_what_ends_the_main_function_decides_the_exit_code(
    tmp_path: Path, mode: str, code: int, errors: list[str]
) -> None:
    with running(mode, tmp_path) as process:
        assert (process.end(), process.events("error")) == (code, errors)


def test_one_that_is_superseded_says_what_to_look_for(tmp_path: Path) -> None:
    with running("superseded", tmp_path) as process:
        assert process.end() == 1
    [line] = [line for line in process.lines if line["event"] == "failed"]

    assert line["reason"].startswith("another one has taken over (stale_lease); run one per")


def test_an_exception_in_a_callback_is_logged_and_survived(tmp_path: Path) -> None:
    with running("callback", tmp_path) as process:
        process.until("unexpected_error")
        process.child.terminate()

        assert process.end() == 0


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with running("hang", tmp_path) as process:
        process.until("ready")
        process.child.send_signal(signal.SIGTERM)
        process.until("stopping")
        while process.child.poll() is None:  # a repeat within 0.3 s is still the first wish
            process.child.send_signal(signal.SIGTERM)
            try:
                process.child.wait(SAME_SIGNAL_S)
            except subprocess.TimeoutExpired:
                continue

        assert process.end() == 1


def test_F4_a_metrics_port_in_use_ends_the_start(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with running("wait", tmp_path, port) as process:
            assert process.end() == 1
            assert process.events("error") == ["metrics_port_unusable"]


def test_F5_the_configuration_is_logged_at_the_start(tmp_path: Path) -> None:
    with running("return", tmp_path) as process:
        process.end()
    [line] = [line for line in process.lines if line["event"] == "configuration"]

    assert line["in_full"]["internal-server-settings"]["port"] == 8888
    assert line["changed"]["state-dir"] == str(tmp_path)


def test_notices_of_the_file_are_logged(tmp_path: Path) -> None:
    with capture_logs() as logs:
        log_configuration(load(write(tmp_path, MINIMAL)))

    assert [line["event"] for line in logs] == ["configuration_notice"] * 3 + ["configuration"]
