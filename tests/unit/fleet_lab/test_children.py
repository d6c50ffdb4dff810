from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from fleet_lab import children
from fleet_lab.children import Child, own_environment
from fleet_lab.errors import LabError

READY_AND_WAIT = "import sys; print('now READY'); sys.stdin.read(); import signal; signal.pause()"
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('READY')
while True:
    signal.pause()
"""


def child(folder: Path, script: str, *, command: str = sys.executable) -> Child:
    return Child(
        "thing", (command, "-c", script), log=folder / "thing.log", ready="READY",
        environ=own_environment(),
    )  # fmt: skip


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_child_is_ready_when_it_says_so_and_gone_after_a_kill(tmp_path: Path) -> None:
    thing = child(tmp_path, READY_AND_WAIT)
    assert await thing.start() == "now READY"
    pid = thing.pid
    assert pid is not None
    assert is_alive(pid)
    await thing.kill()
    assert (thing.pid, is_alive(pid)) == (None, False)
    assert thing.log.read_text() == "now READY\n"


async def test_a_child_can_be_started_again(tmp_path: Path) -> None:
    thing = child(tmp_path, READY_AND_WAIT)
    await thing.start()
    first = thing.pid
    await thing.kill()
    assert await thing.start() == "now READY"
    assert thing.pid not in {None, first}
    await thing.stop()
    assert thing.pid is None
    assert thing.log.read_text() == "now READY\n" * 2


async def test_a_child_that_ends_before_it_is_ready_is_one_line(tmp_path: Path) -> None:
    thing = child(tmp_path, "print('no such port'); raise SystemExit(78)")
    with pytest.raises(LabError, match="thing ended with exit code 78: no such port; see"):
        await thing.start()
    silent = child(tmp_path, "")
    with pytest.raises(LabError, match="it said nothing"):
        await silent.start()


async def test_a_command_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    thing = child(tmp_path, "", command=str(tmp_path / "nothing"))
    with pytest.raises(LabError, match="cannot start thing: "):
        await thing.start()
    await thing.stop()


async def test_a_child_that_says_nothing_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "START_LIMIT_S", 0.05)
    thing = child(tmp_path, "import signal; signal.pause()")
    with pytest.raises(LabError, match=r"was not ready within 0\.05 s"):
        await thing.start()
    await thing.kill()


async def test_a_child_that_does_not_stop_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "STOP_LIMIT_S", 0.05)
    thing = child(tmp_path, STUBBORN)
    await thing.start()
    await thing.stop()
    assert thing.pid is None


async def test_signals_reach_a_child_and_are_nothing_to_one_that_is_gone(tmp_path: Path) -> None:
    thing = child(tmp_path, READY_AND_WAIT)
    thing.send_signal(signal.SIGTERM)
    await thing.start()
    thing.send_signal(signal.SIGSTOP)
    thing.send_signal(signal.SIGCONT)
    await thing.kill()
    thing.send_signal(signal.SIGTERM)


def test_children_find_our_packages_but_not_somebody_elses_bus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IPC_MQTT_HOST", "elsewhere")
    monkeypatch.setenv("PYTHONPATH", "mine")
    environ = own_environment(MORE="1")
    assert not [name for name in environ if name.startswith("IPC_MQTT")]
    assert environ["PYTHONPATH"].endswith(os.pathsep + "mine")
    assert environ["MORE"] == "1"
