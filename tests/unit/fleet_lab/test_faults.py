from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fleet_lab import faults
from fleet_lab.errors import LabError
from fleet_lab.faults import (
    ComposeService,
    Foreign,
    OwnChild,
    Process,
    Processes,
    direct_process,
    pid_of_file,
    run_command,
)


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until its input is closed."""
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


async def _change(pid: int) -> int:
    """The next change of a child's state, as waitpid says it."""
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    loop.add_signal_handler(signal.SIGCHLD, news.set)
    try:
        async with asyncio.timeout(30):
            while True:
                found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
                if found:
                    return status
                await news.wait()
                news.clear()
    finally:
        loop.remove_signal_handler(signal.SIGCHLD)


class _Child:
    """As `fleet_lab.children.Child`, around a process that runs already."""

    def __init__(self, pid: int) -> None:
        self.pid: int | None = pid
        self.calls: list[str] = []

    async def start(self) -> str:
        self.calls.append("start")
        return "ready"

    async def stop(self) -> None:
        self.calls.append("stop")

    async def kill(self) -> None:
        self.calls.append("kill")


async def test_a_pause_stops_a_process_and_resume_lets_it_go_on(
    victim: subprocess.Popen[bytes],
) -> None:
    process = Foreign("victim", lambda: victim.pid)
    await process.act("pause")
    assert os.WIFSTOPPED(await _change(victim.pid))
    await process.act("resume")
    assert os.WIFCONTINUED(await _change(victim.pid))


async def test_whatever_is_paused_is_resumed_on_close(victim: subprocess.Popen[bytes]) -> None:
    processes = Processes({"victim": Foreign("victim", lambda: victim.pid)})
    await processes.act("victim", "pause")
    await _change(victim.pid)
    await processes.close()
    assert os.WIFCONTINUED(await _change(victim.pid))


async def test_a_killed_lab_leaves_no_paused_process(victim: subprocess.Popen[bytes]) -> None:
    script = (
        "import asyncio, signal\n"
        "from fleet_lab.faults import Foreign\n"
        f"asyncio.run(Foreign('victim', lambda: {victim.pid}).act('pause'))\n"
        "signal.pause()\n"
    )
    source = str(Path(faults.__file__).parent.parent)
    lab = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, env={**os.environ, "PYTHONPATH": source}
    )
    assert os.WIFSTOPPED(await _change(victim.pid))
    lab.kill()
    assert await lab.wait() == -signal.SIGKILL
    assert os.WIFCONTINUED(await _change(victim.pid))


async def test_a_dismissed_guard_does_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    guard = await faults.Guard.until(("touch", str(trace)))
    await guard.dismiss()
    assert not trace.exists()


@pytest.mark.parametrize(("verb", "number"), [("kill", signal.SIGKILL), ("stop", signal.SIGTERM)])
async def test_kill_and_stop_are_signals(
    victim: subprocess.Popen[bytes], verb: str, number: signal.Signals
) -> None:
    await Foreign("victim", lambda: victim.pid).act(verb)
    assert os.WTERMSIG(await _change(victim.pid)) == number


async def test_what_the_lab_did_not_start_it_cannot_start() -> None:
    foreign = Foreign("victim", lambda: 99)
    assert "start" not in foreign.verbs
    assert "restart" not in foreign.verbs
    with pytest.raises(LabError, match="the lab did not start it"):
        await foreign.act("start")


async def test_a_supervised_process_is_restarted_by_ending_it(
    victim: subprocess.Popen[bytes],
) -> None:
    process = Foreign("victim", lambda: victim.pid, is_supervised=True)
    assert "restart" in process.verbs
    await process.act("restart")
    assert os.WTERMSIG(await _change(victim.pid)) == signal.SIGTERM


@pytest.mark.parametrize("pid", [0, 1, -1, os.getpid()], ids=["group", "init", "all", "own"])
async def test_init_groups_and_the_lab_itself_are_not_touched(pid: int) -> None:
    with pytest.raises(LabError, match="is not to be touched"):
        await Foreign("x", lambda: pid).act("kill")


async def test_a_process_that_is_gone_is_one_line(victim: subprocess.Popen[bytes]) -> None:
    victim.kill()
    victim.wait()
    with pytest.raises(LabError, match=f"victim: there is no process {victim.pid}"):
        await Foreign("victim", lambda: victim.pid).act("kill")


async def test_an_own_child_is_paused_and_resumed(victim: subprocess.Popen[bytes]) -> None:
    child = OwnChild("victim", _Child(victim.pid))
    await child.act("pause")
    assert os.WIFSTOPPED(await _change(victim.pid))
    await child.act("resume")
    assert os.WIFCONTINUED(await _change(victim.pid))


@pytest.mark.parametrize(
    ("verb", "is_running", "calls"),
    [
        ("kill", True, ["kill"]),
        ("stop", True, ["stop"]),
        ("restart", True, ["stop", "start"]),
        ("start", False, ["start"]),
        ("start", True, []),
    ],
)
async def test_an_own_child_is_ended_and_started(
    verb: str, calls: list[str], *, is_running: bool
) -> None:
    child = _Child(4)
    child.pid = 4 if is_running else None
    await OwnChild("x", child).act(verb)
    assert child.calls == calls


async def test_an_own_child_that_does_not_run_cannot_be_paused() -> None:
    child = _Child(4)
    child.pid = None
    with pytest.raises(LabError, match="x does not run"):
        await OwnChild("x", child).act("pause")


async def test_a_compose_service_is_asked_by_command(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[Sequence[str]] = []

    async def run(command: Sequence[str]) -> None:
        commands.append(command)

    monkeypatch.setattr(faults, "compose_command", lambda: ("true",))
    service = ComposeService("handler", Path("c.yml"), "module_handler", run)
    for verb in ("pause", "resume", "kill", "start"):
        await service.act(verb)

    assert [command[1:] for command in commands] == [
        ("-f", "c.yml", word, "module_handler") for word in ("pause", "unpause", "kill", "start")
    ]


def test_compose_is_the_plug_in_or_the_old_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(faults.shutil, "which", lambda name: name)
    plugin = tmp_path / ".docker" / "cli-plugins" / "docker-compose"
    plugin.parent.mkdir(parents=True)
    plugin.touch()
    assert faults.compose_command() == ("docker", "compose")
    monkeypatch.setattr(faults.shutil, "which", lambda name: name if "-" in name else None)
    assert faults.compose_command() == ("docker-compose",)
    monkeypatch.setattr(faults.shutil, "which", lambda _: None)
    with pytest.raises(LabError, match="neither is here"):
        faults.compose_command()


async def test_a_command_that_fails_says_its_last_line() -> None:
    await run_command(("true",))
    with pytest.raises(LabError, match=r"failed: no such service$"):
        await run_command(("/bin/sh", "-c", "echo first; echo no such service >&2; exit 3"))


async def test_unknown_names_get_the_nearest_one() -> None:
    processes: dict[str, Process] = {"gateway.broker": Foreign("x", lambda: 99)}
    with pytest.raises(
        LabError, match=r"no process 'gateway.brokr'; did you mean 'gateway.broker'"
    ):
        await Processes(processes).act("gateway.brokr", "kill")


def test_any_pid_and_service_can_be_named_directly() -> None:
    assert isinstance(direct_process("pid:1234"), Foreign)
    assert isinstance(direct_process("compose:broker"), ComposeService)
    assert [direct_process(name) for name in ("pid:x", "compose:", "x")] == [None, None, None]


async def test_a_process_named_directly_is_resumed_too(victim: subprocess.Popen[bytes]) -> None:
    processes = Processes({})
    await processes.act(f"pid:{victim.pid}", "pause")
    assert os.WIFSTOPPED(await _change(victim.pid))
    await processes.close()
    assert os.WIFCONTINUED(await _change(victim.pid))


def test_pid_files_and_run_notes_are_read_anew_each_time(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    find = pid_of_file("x", path)
    with pytest.raises(LabError, match=r"x does not run: .*No such file"):
        find()
    path.write_text("12\n")
    assert find() == 12
    path.write_text('{"component": "x", "pid": 34, "addresses": {}}\n')
    assert find() == 34
    path.write_text("nothing")
    with pytest.raises(LabError, match="holds no pid"):
        find()
