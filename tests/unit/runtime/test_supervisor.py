"""The supervisor with tiny processes: start, restart, give up, stop in order."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime import supervisor
from module_gateway.runtime.supervisor import Component, Policy, Supervisor
from module_gateway.runtime.terminal import Terminal

QUICK = Policy(
    backoff_min_s=0.01, backoff_max_s=0.02, attempts=3, ready_poll_s=0.005, stop_limit_s=60.0
)
WAIT = "import signal; signal.pause()"
SLOW_GOODBYE = (
    "import signal, sys, time\n"
    "def end(*_):\n"
    "    print('goodbye of', NAME, flush=True)\n"
    "    sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, end)\n"
    "print('up', flush=True)\n"
    "signal.pause()\n"
)


async def at_once(_pid: int) -> Mapping[str, str]:
    return {}


async def never(_pid: int) -> None:
    return None


def component(name: str, code: str, **changes: object) -> Component:
    own = Component(name, lambda: (sys.executable, "-S", "-c", f"NAME={name!r}\n{code}"), at_once)
    return replace(own, **changes)  # type: ignore[arg-type]  # any field of a component


class Run:
    """One supervisor at work."""

    def __init__(self, *components: Component, policy: Policy = QUICK) -> None:
        self.stream = io.StringIO()
        self.terminal = Terminal(self.stream, tuple(item.name for item in components), {})
        self.supervisor = Supervisor(components, self.terminal, policy)
        self.stop, self.ready = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self.supervisor.run(self.stop, self.ready.set))

    async def end(self) -> int:
        async with asyncio.timeout(30):
            code = await self.task
        self.terminal.close()
        return code

    @property
    def output(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@asynccontextmanager
async def run(*components: Component, policy: Policy = QUICK) -> AsyncIterator[Run]:
    started = Run(*components, policy=policy)
    try:
        yield started
    finally:
        started.stop.set()
        await started.end()


async def appears(path: Path, lines: int = 1) -> list[str]:
    """What processes wrote to `path`, once it is so many lines."""
    async with asyncio.timeout(30):
        while not path.exists() or len(path.read_text().splitlines()) < lines:
            await asyncio.sleep(0.005)
    return path.read_text().splitlines()


def test_only_short_lives_in_a_row_make_the_pause_before_a_start_grow() -> None:
    policy = Policy(backoff_min_s=0.2, backoff_max_s=1.0, settled_s=5.0)
    lives = [None, 0.1, 4.9, 5.0, 5.1, None, 600.0]
    pauses, pause_s = [], 0.0
    for served_s in lives:
        pause_s = policy.pause_s(pause_s, served_s)
        pauses.append(pause_s)

    assert pauses == [0.2, 0.4, 0.8, 1.0, 0.2, 0.4, 0.2]


async def test_everything_is_started_and_stopped_with_zero() -> None:
    async with run(component("one", WAIT), component("two", WAIT)) as it:
        await it.ready.wait()
        it.stop.set()

        assert await it.end() == 0


async def test_a_component_starts_after_those_it_needs(tmp_path: Path) -> None:
    allowed = asyncio.Event()

    async def when_allowed(_pid: int) -> Mapping[str, str] | None:
        return {"mqtt": "here"} if allowed.is_set() else None

    log = tmp_path / "started"
    note = f"open({str(log)!r}, 'a').write(NAME + '\\n')\n" + WAIT
    async with run(
        component("broker", note, ready=when_allowed), component("client", note, after=("broker",))
    ) as it:
        assert await appears(log) == ["broker"]
        allowed.set()
        await it.ready.wait()
        assert await appears(log, 2) == ["broker", "client"]
        assert it.supervisor.addresses("broker") == {"mqtt": "here"}


async def test_output_is_prefixed_line_by_line() -> None:
    async with run(component("talker", SLOW_GOODBYE, ready=at_once)) as it:
        async with asyncio.timeout(30):
            while "talker │ up" not in it.output:
                await asyncio.sleep(0.005)
        it.stop.set()
        await it.end()

    assert it.output == ["talker │ up", "talker │ goodbye of talker"]


async def test_O4_crash_is_logged_and_restarted_or_exits_nonzero(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    code = (
        f"path = {str(starts)!r}\n"
        "open(path, 'a').write('start\\n')\n"
        "number = len(open(path).readlines())\n"
        "if number < 3: raise SystemExit(7)\n" + WAIT
    )

    async def third_time(_pid: int) -> Mapping[str, str] | None:
        return {} if starts.exists() and len(starts.read_text().splitlines()) == 3 else None

    with capture_logs() as logs:
        async with run(component("crasher", code, ready=third_time)) as it:
            await it.ready.wait()
            it.stop.set()

            assert await it.end() == 0
    died = [line for line in logs if line["event"] == "component_died"]

    assert [(line["name"], line["exit_code"]) for line in died] == [("crasher", 7)] * 2


async def test_a_component_that_ends_says_how_and_why_in_the_line_about_it() -> None:
    code = "import os; print('no room', flush=True); raise SystemExit(1)"
    killed = "import os; os.kill(os.getpid(), 9)"
    said = "print('12:00:00.000 error failed reason=x', flush=True); raise SystemExit(3)"
    with capture_logs() as logs:
        for text in (code, killed, said):
            await Run(component("it", text, ready=never)).end()
    died = [line for line in logs if line["event"] == "component_died"]

    assert {(line["exit_code"], line.get("reason"), line.get("killed_by")) for line in died} == {
        (1, "no room", None),
        (3, None, None),
        (-9, None, "SIGKILL"),
    }


async def test_lines_that_say_nothing_are_not_shown() -> None:
    code = "print('noise', flush=True); print('up', flush=True)\n" + WAIT
    async with run(component("broker", code, unshown=frozenset({"noise"}))) as it:
        async with asyncio.timeout(30):
            while "broker │ up" not in it.output:
                await asyncio.sleep(0.005)

    assert it.output == ["broker │ up"]


async def test_a_component_that_is_stopped_while_it_starts_has_not_failed() -> None:
    def refuse() -> tuple[str, ...]:
        raise ConfigError("port", got=1, expected="2")

    for _ in range(20):  # a race: its exit code must not get lost between two signals
        it = Run(component("quick", "pass"), component("refused", "", command=refuse))
        await it.end()

        assert [line for line in it.output if "quick" in line] == []


async def test_O4_a_component_that_never_becomes_ready_ends_all_with_nonzero() -> None:
    with capture_logs() as logs:
        it = Run(component("broken", "raise SystemExit(1)", ready=never), component("fine", WAIT))

        assert await it.end() == 1
    assert it.output[-1] == (
        "FAILED: broken: it did not become ready in 3 starts: it did not say why"
    )
    assert [line["name"] for line in logs if line["event"] == "component_failed"] == ["broken"]


@pytest.mark.parametrize(
    ("code", "expected", "reason"),
    [(78, 78, "its configuration was refused"), (2, 1, "its command line was refused")],
)
async def test_what_trying_again_cannot_help_is_not_tried_again(
    tmp_path: Path, code: int, expected: int, reason: str
) -> None:
    starts = tmp_path / "starts"
    said = "12:00:00.000 error configuration_refused error='a.b is 1; expected 2'"
    text = (
        f"open({str(starts)!r}, 'a').write('start\\n'); print({said!r}); raise SystemExit({code})"
    )
    it = Run(component("refused", text, ready=never))

    assert await it.end() == expected
    assert it.output[-1] == f"FAILED: refused: {reason}: a.b is 1; expected 2"
    assert starts.read_text().splitlines() == ["start"]


async def test_a_command_that_cannot_be_made_fails_for_good() -> None:
    def command() -> tuple[str, ...]:
        raise ConfigError("port", got=18883, expected="a free port")

    it = Run(replace(component("broker", WAIT), command=command))

    assert (await it.end(), it.output[-1]) == (
        78,
        "FAILED: broker: port is 18883; expected a free port",
    )


async def test_a_program_that_is_not_there_fails_for_good() -> None:
    it = Run(replace(component("ghost", WAIT), command=lambda: ("/no/such/program",)))

    assert await it.end() == 1
    assert it.output[-1].startswith("FAILED: ghost: [Errno 2]")


async def test_an_inessential_component_fails_alone_and_is_reported_at_the_end() -> None:
    refused = component("device", "raise SystemExit(2)", ready=never, is_essential=False)
    async with run(refused, component("gateway", WAIT)) as it:
        await it.ready.wait()
        assert not it.task.done()
        it.stop.set()

        assert await it.end() == 1
        assert it.output[-1] == ("FAILED: device: its command line was refused: it did not say why")


async def test_a_killed_component_comes_back_and_the_old_one_is_reaped_first(
    tmp_path: Path,
) -> None:
    pids = tmp_path / "pids"
    code = f"import os\nopen({str(pids)!r}, 'a').write(f'{{os.getpid()}}\\n')\n" + WAIT
    async with run(component("phoenix", code)):
        [first] = await appears(pids)
        os.kill(int(first), signal.SIGKILL)
        _, second = await appears(pids, 2)
        with pytest.raises(ProcessLookupError):
            os.kill(int(first), 0)  # not even a zombie

        assert first != second


async def test_components_stop_in_the_order_of_their_ranks() -> None:
    ranks = {"device": 0, "server": 1, "client": 2, "broker": 5}
    parts = [component(name, SLOW_GOODBYE, stop_rank=rank) for name, rank in ranks.items()]
    async with run(*reversed(parts)) as it:
        async with asyncio.timeout(30):
            while sum(line.endswith("up") for line in it.output) < len(ranks):
                await asyncio.sleep(0.005)
        it.stop.set()

        assert await it.end() == 0
        assert [line.split()[-1] for line in it.output if "goodbye" in line] == list(ranks)


async def test_what_does_not_stop_is_killed_and_named() -> None:
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\n"
    policy = replace(QUICK, stop_limit_s=0.05)
    it = Run(component("deaf", deaf + "while True: signal.pause()"), policy=policy)
    async with asyncio.timeout(30):
        while not it.output:
            await asyncio.sleep(0.005)
    it.stop.set()

    assert (await it.end(), it.output[-1]) == (
        1,
        "FAILED: deaf: it did not stop within 0.05 s",
    )


async def test_a_component_that_hangs_while_starting_is_started_again() -> None:
    policy = replace(QUICK, ready_limit_s=0.02)
    with capture_logs() as logs:
        it = Run(component("hanging", WAIT, ready=never), policy=policy)

        assert await it.end() == 1
    assert [line["name"] for line in logs if line["event"] == "component_not_ready"] == [
        "hanging"
    ] * 3


async def test_stopping_while_a_component_waits_for_its_next_start_is_quick() -> None:
    policy = replace(QUICK, backoff_min_s=60.0, attempts=99)
    with capture_logs() as logs:
        it = Run(component("crasher", "raise SystemExit(1)", ready=never), policy=policy)
        async with asyncio.timeout(30):
            while not [line for line in logs if line["event"] == "component_died"]:
                await asyncio.sleep(0.005)
        it.stop.set()

        assert await it.end() == 0


ALIVE = (
    "import os, socket, threading, time\n"
    "link = socket.socket(fileno=int(os.environ['MODULE_GATEWAY_NOTIFY_FD']))\n"
    "open(PIDS, 'a').write(f'{os.getpid()}\\n')\n"
    "while True:\n"
    "    link.send(b'WATCHDOG=1')\n"
    "    time.sleep(0.02)\n"
)
HANGS_ONCE = (
    "import os, socket, time\n"
    "link = socket.socket(fileno=int(os.environ['MODULE_GATEWAY_NOTIFY_FD']))\n"
    "open(PIDS, 'a').write(f'{os.getpid()}\\n')\n"
    "is_first = len(open(PIDS).readlines()) == 1\n"
    "while True:\n"
    "    link.send(b'STATUS=stands still' if is_first else b'WATCHDOG=1')\n"
    "    time.sleep(0.02)\n"
)
PATIENT = replace(QUICK, hung_limit_s=1.0)
"""Fifty times the period of the processes above."""


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_R4_a_stopped_process_is_killed_reaped_and_then_started_again(
    tmp_path: Path,
) -> None:
    pids = tmp_path / "pids"
    code = f"PIDS={str(pids)!r}\n" + ALIVE
    with capture_logs() as logs:
        async with run(component("statue", code, notifies=True), policy=PATIENT) as it:
            [first] = map(int, await appears(pids))
            await it.ready.wait()
            os.kill(first, signal.SIGSTOP)
            second = int((await appears(pids, 2))[1])
            with pytest.raises(ProcessLookupError):
                os.kill(first, 0)  # not even a zombie
            account = it.supervisor.accounts()["statue"]

            assert parent_of(second) == os.getpid()
            assert dict(account.reasons) == {"hung": 1}
    [hung] = [line for line in logs if line["event"] == "component_hung"]
    [died] = [line for line in logs if line["event"] == "component_died"]

    assert (hung["name"], hung["silent_s"] >= 1.0) == ("statue", True)
    assert (died["reason"], died["killed_by"]) == ("hung", "SIGKILL")


async def test_R4_no_process_is_started_beside_one_that_is_not_reaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids, hung = tmp_path / "pids", asyncio.Event()
    monkeypatch.setattr(supervisor, "_signal", lambda *_: hung.set())  # one that does not die
    code = f"PIDS={str(pids)!r}\n" + ALIVE
    async with run(component("statue", code, notifies=True), policy=PATIENT) as it:
        [first] = map(int, await appears(pids))
        await it.ready.wait()
        os.kill(first, signal.SIGSTOP)
        async with asyncio.timeout(20):
            await hung.wait()
        for _ in range(30):  # many times the back-off
            await asyncio.sleep(0.01)
        account = it.supervisor.accounts()["statue"]
        assert (account.starts, account.pid) == (1, first)

        monkeypatch.undo()
        os.kill(first, signal.SIGKILL)
        assert len(await appears(pids, 2)) == 2


async def test_a_process_that_runs_but_makes_no_progress_hangs(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = f"PIDS={str(pids)!r}\n" + HANGS_ONCE
    with capture_logs() as logs:
        async with run(component("loop", code, notifies=True), policy=PATIENT) as it:
            await appears(pids, 2)
            assert dict(it.supervisor.accounts()["loop"].reasons) == {"hung": 1}
    assert [line["said"] for line in logs if line["event"] == "component_hung"] == ["stands still"]


async def test_a_process_that_says_nothing_by_itself_is_asked() -> None:
    asked: list[int] = []

    async def sign() -> bool:
        asked.append(it.supervisor.accounts()["broker"].starts)
        return asked[-1] == 2

    policy = replace(QUICK, hung_limit_s=0.2)
    async with run(component("broker", WAIT, sign=sign), policy=policy) as it:
        async with asyncio.timeout(20):
            while asked.count(2) < 20:  # twice the limit
                await asyncio.sleep(0.01)
        assert dict(it.supervisor.accounts()["broker"].reasons) == {"hung": 1}


async def test_who_is_not_watched_may_be_silent(tmp_path: Path) -> None:
    policy = replace(QUICK, hung_limit_s=0.01)
    async with run(component("device", WAIT), component("other", WAIT), policy=policy) as it:
        await it.ready.wait()
        for _ in range(20):
            await asyncio.sleep(0.01)
        assert [account.starts for account in it.supervisor.accounts().values()] == [1, 1]


async def test_a_stop_of_a_process_that_hangs_is_no_second_restart(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    policy = replace(PATIENT, stop_limit_s=3.0)
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    code = f"PIDS={str(pids)!r}\n{deaf}" + ALIVE
    it = Run(component("statue", code, notifies=True), policy=policy)
    [pid] = map(int, await appears(pids))
    await it.ready.wait()
    it.stop.set()
    os.kill(pid, signal.SIGSTOP)

    assert await it.end() == 1
    assert it.output[-1] == "FAILED: statue: it did not stop within 3 s"
    assert dict(it.supervisor.accounts()["statue"].reasons) == {}
    assert len(pids.read_text().splitlines()) == 1


async def test_each_restart_has_its_reason_and_is_told(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    code = (
        f"path = {str(starts)!r}\n"
        "import os\n"
        "open(path, 'a').write(os.environ['MODULE_GATEWAY_RESTARTS'] + '\\n')\n"
        "number = len(open(path).readlines())\n"
        "if number == 1: raise SystemExit(7)\n"
        "if number == 2: os.kill(os.getpid(), 9)\n" + WAIT
    )
    it = Run(component("crasher", code))
    reports: list[int] = []
    it.supervisor._on_change = lambda: reports.append(1)
    said = await appears(starts, 3)
    account = it.supervisor.accounts()["crasher"]
    it.stop.set()
    await it.end()

    assert said == [
        "{}",
        '{"exited 7": 1}',
        '{"exited 7": 1, "killed by signal 9 (SIGKILL)": 1}',
    ]
    assert (account.starts, [restart.reason for restart in account.newest]) == (
        3,
        ["exited 7", "killed by signal 9 (SIGKILL)"],
    )
    assert len(reports) >= 5


async def test_what_systemd_tells_us_is_not_for_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"):
        monkeypatch.setenv(name, "1")
    told = tmp_path / "told"
    names = "sorted(n for n in os.environ if n.startswith(('NOTIFY', 'WATCHDOG')))"
    code = f"import os\nopen({str(told)!r}, 'a').write(repr({names}) + '\\n')\n" + WAIT
    async with run(component("broker", code)):
        assert await appears(told) == ["[]"]
