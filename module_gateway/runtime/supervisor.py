"""Starts processes, restarts with back-off what dies or hangs, and stops all of them in order.

A process of ours says every second that it makes progress (`notify`); another one is asked. Who
is silent for too long is killed, reaped, and started again like one that has died.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.log import get_logger
from module_gateway.runtime.notify import SYSTEMD_VARIABLES
from module_gateway.runtime.process import EXIT_CONFIG, EXIT_FAILED, EXIT_OK, EXIT_USAGE
from module_gateway.runtime.restarts import (
    HUNG,
    NOT_READY,
    Account,
    exit_reason,
    restarts_environment,
)
from module_gateway.runtime.tasks import start_task, stop_tasks
from module_gateway.runtime.terminal import LineSplitter, Terminal
from module_gateway.runtime.text_lines import LastWords
from module_gateway.runtime.vital_signs import VitalSigns

Addresses = Mapping[str, str]
PR_SET_PDEATHSIG: Final = 1  # prctl(2)
READ_BYTES: Final = 64 * 1024

_log = get_logger(__name__)
_libc = ctypes.CDLL(None)  # before any fork: nothing is loaded between fork and exec


@dataclass(frozen=True, slots=True)
class Component:
    """One process to keep running.

    Attributes:
        command: makes the command line, anew for every start. A ConfigError from it means
            that the component cannot run.
        ready: asked again and again with the process id; its addresses once it does its job.
        after: names of components that must be ready before the first start.
        stop_rank: lower ranks are stopped first, equal ones together.
        is_essential: without it the others make no sense.
        unshown: lines of its output that say nothing to anybody.
        notifies: it says by itself that it makes progress.
        sign: asks it whether it does, within a few seconds; for one that does not say so.
    """

    name: str
    command: Callable[[], Sequence[str]]
    ready: Callable[[int], Awaitable[Addresses | None]]
    after: tuple[str, ...] = ()
    stop_rank: int = 0
    is_essential: bool = True
    environment: Callable[[], Mapping[str, str]] = field(default=dict)
    unshown: frozenset[str] = frozenset()
    notifies: bool = False
    sign: Callable[[], Awaitable[bool]] | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient the supervisor is. All durations in seconds."""

    backoff_min_s: float = 0.2
    backoff_max_s: float = 10.0
    attempts: int = 5
    """Starts in a row that do not become ready; then the component has failed for good."""
    settled_s: float = 5.0
    """After so long in service the back-off starts from its minimum again: what killed it then is
    no defect of its start, and devices wait."""
    ready_limit_s: float = 30.0
    ready_poll_s: float = 0.05
    stop_limit_s: float = 11.0
    """A little more than a component's own limit for a clean stop (design 3.9)."""
    hung_limit_s: float = 10.0
    """A ready process that makes no progress for so long hangs (setting: hung-limit-ms)."""

    def pause_s(self, previous_s: float, served_s: float | None) -> float:
        """Before the next start of what was started after `previous_s` (0: at once, the first).

        `served_s` is how long it was ready, None for never.
        """
        is_settled = served_s is not None and served_s > self.settled_s
        if is_settled or previous_s < self.backoff_min_s:
            return self.backoff_min_s
        return min(previous_s * 2, self.backoff_max_s)


@dataclass(slots=True)
class Running:
    """What is known about one component."""

    component: Component
    process: asyncio.subprocess.Process | None = None
    addresses: Addresses | None = None
    ready_at: float | None = None
    """Of this process, on the monotonic clock."""
    failure: str = ""
    exit_code: int = EXIT_OK
    """Of the last process that ended by itself."""
    killed_for: str = ""
    """Why we killed it."""
    account: Account = field(default_factory=Account)
    said: LastWords = field(default_factory=LastWords)
    """Of the last process."""
    is_ready: asyncio.Event = field(default_factory=asyncio.Event)


class Supervisor:
    """Keeps a set of components running until it is asked to stop or an essential one fails."""

    def __init__(
        self,
        components: Sequence[Component],
        terminal: Terminal,
        policy: Policy | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_change` is told whenever an account has changed."""
        self._terminal = terminal
        self._policy = policy or Policy()
        self._running = {item.name: Running(item) for item in components}
        self._on_change = on_change
        self._stopping = asyncio.Event()
        self._given_up = asyncio.Event()

    def addresses(self, name: str) -> Addresses:
        """What `name` said when it became ready, empty before."""
        running = self._running.get(name)
        return (running.addresses or {}) if running is not None else {}

    def accounts(self) -> dict[str, Account]:
        """What has happened to each component so far."""
        return {name: running.account for name, running in self._running.items()}

    async def run(self, stop: asyncio.Event, on_ready: Callable[[], None]) -> int:
        """Start everything, tell `on_ready` once when all are ready, run until `stop`.

        Returns the exit code: 0, 78 when a configuration was refused, else 1 when any component
        failed for good or had to be killed.
        """
        keepers = [
            start_task(self._keep(running), f"keep-{name}", lambda *_: self._given_up.set())
            for name, running in self._running.items()
        ]
        ready = start_task(self._announce(on_ready), "announce-ready")
        waits = [
            start_task(stop.wait(), "wait-for-stop"),
            start_task(self._given_up.wait(), "wait-for-failure"),
        ]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        self._stopping.set()
        await stop_tasks([*waits, ready])
        await self._stop_all()
        await stop_tasks(keepers)
        return self._report(has_crashed=any(_has_failed(task) for task in keepers))

    async def _announce(self, on_ready: Callable[[], None]) -> None:
        for running in self._running.values():
            await running.is_ready.wait()
        on_ready()

    async def _keep(self, running: Running) -> None:
        """The life of one component: wait, start, watch, reap, again."""
        for name in running.component.after:
            await self._running[name].is_ready.wait()
        unready, delay_s = 0, 0.0
        while not self._stopping.is_set():
            served_s = await self._run_once(running)
            if self._stopping.is_set():
                return
            running.account.ended(_reason(running), time.time_ns() // 1_000_000)
            self._on_change()
            unready = unready + 1 if served_s is None else 0
            if self._is_hopeless(running, unready):
                self._give_up(running)
                return
            delay_s = self._policy.pause_s(delay_s, served_s)
            _log.warning(
                "component_died",
                name=running.component.name,
                **_ending(running),
                again_in_s=round(delay_s, 2),
            )
            await asyncio.sleep(delay_s)

    def _is_hopeless(self, running: Running, unready: int) -> bool:
        if running.failure:
            return True
        if running.exit_code == EXIT_CONFIG:
            running.failure = "its configuration was refused"
        elif running.exit_code == EXIT_USAGE:
            running.failure = "its command line was refused"
        elif unready >= self._policy.attempts:
            running.failure = f"it did not become ready in {unready} starts"
        if not running.failure:
            return False
        running.failure += f": {running.said.cause() or 'it did not say why'}"
        return True

    def _give_up(self, running: Running) -> None:
        name = running.component.name
        _log.error(
            "component_failed", name=name, reason=running.failure, exit_code=running.exit_code
        )
        if running.component.is_essential:
            self._given_up.set()
        else:
            running.is_ready.set()  # the rest is ready without it

    async def _run_once(self, running: Running) -> float | None:
        """One process from start to reaping; how long it served, None when it was never ready."""
        component, account = running.component, running.account
        account.starts += 1
        running.said, running.killed_for = LastWords(), ""
        signs = VitalSigns(self._policy.hung_limit_s)
        try:
            process = await self._start(component, account, signs)
        except (ConfigError, OSError) as error:
            signs.close()
            running.failure = str(error)
            running.exit_code = EXIT_CONFIG if isinstance(error, ConfigError) else EXIT_FAILED
            return None
        signs.listen()
        running.process, account.pid = process, process.pid
        self._on_change()
        _log.debug("component_started", name=component.name, pid=process.pid)
        if self._stopping.is_set():  # asked to stop while it was being started
            _signal(process, signal.SIGTERM)
        reading = start_task(self._show(running, process), "read-output")
        watching = start_task(self._watch(running, process, signs), "watch-process")
        try:
            running.exit_code = await process.wait()
            await asyncio.wait([reading], timeout=1.0)  # grandchildren may hold the pipe
        finally:
            signs.close()
            await stop_tasks([watching, reading])
            if process.returncode is None:
                _signal(process, signal.SIGKILL)
            running.process, account.pid, account.is_ready = None, None, False
            running.addresses, ready_at = None, running.ready_at
            running.ready_at = None
        return None if ready_at is None else time.monotonic() - ready_at

    async def _start(
        self, component: Component, account: Account, signs: VitalSigns
    ) -> asyncio.subprocess.Process:
        inherited = {k: v for k, v in os.environ.items() if k not in SYSTEMD_VARIABLES}
        own = {**component.environment(), **restarts_environment(account)}
        return await asyncio.create_subprocess_exec(
            *component.command(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**inherited, **own, **(signs.environment if component.notifies else {})},
            pass_fds=(signs.their_fd,) if component.notifies else (),
            start_new_session=True,  # Ctrl-C is for the supervisor, which stops all in order
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )

    async def _show(self, running: Running, process: asyncio.subprocess.Process) -> None:
        splitter, component = LineSplitter(), running.component
        assert process.stdout is not None  # noqa: S101 - asked for a pipe
        is_open = True
        while is_open:
            received = await process.stdout.read(READ_BYTES)
            is_open = bool(received)
            for line in splitter.feed(received) if is_open else splitter.finish():
                if line not in component.unshown:
                    running.said.heard(line)
                    self._terminal.show(component.name, line)

    async def _watch(
        self, running: Running, process: asyncio.subprocess.Process, signs: VitalSigns
    ) -> None:
        """Wait until it is ready, then until it hangs."""
        try:
            async with asyncio.timeout(self._policy.ready_limit_s):
                # Another process's progress: there is no event to wait for.
                while (found := await running.component.ready(process.pid)) is None:  # noqa: ASYNC110
                    await asyncio.sleep(self._policy.ready_poll_s)
        except TimeoutError:
            limit = self._policy.ready_limit_s
            _log.error("component_not_ready", name=running.component.name, waited_s=limit)
            running.killed_for = NOT_READY
            _signal(process, signal.SIGKILL)
            return
        running.addresses, running.ready_at = found, time.monotonic()
        running.account.is_ready = True
        self._on_change()
        if running.is_ready.is_set():
            starts = running.account.starts
            _log.info("component_back", name=running.component.name, starts=starts)
        running.is_ready.set()
        if running.component.notifies or running.component.sign is not None:
            await self._watch_progress(running, process, signs)

    async def _watch_progress(
        self, running: Running, process: asyncio.subprocess.Process, signs: VitalSigns
    ) -> None:
        sign = running.component.sign
        signs.begin()
        # Another process's progress, or its absence: there is no event to wait for.
        while not signs.look():
            await asyncio.sleep(signs.silence.look_s)
            if sign is not None and await sign():
                signs.silence.heard()
        if self._stopping.is_set():
            return  # a stop has its own limit
        running.killed_for = HUNG
        _log.error(
            "component_hung",
            name=running.component.name,
            silent_s=round(signs.silence.silent_s, 1),
            said=signs.status or None,
        )
        _signal(process, signal.SIGKILL)

    async def _stop_all(self) -> None:
        ranks = sorted({item.component.stop_rank for item in self._running.values()})
        for rank in ranks:
            same = [item for item in self._running.values() if item.component.stop_rank == rank]
            await asyncio.gather(*(self._stop_one(item) for item in same))

    async def _stop_one(self, running: Running) -> None:
        process = running.process
        if process is None:
            return
        _signal(process, signal.SIGTERM)
        try:
            async with asyncio.timeout(self._policy.stop_limit_s):
                running.exit_code = await process.wait()
        except TimeoutError:
            running.failure = f"it did not stop within {self._policy.stop_limit_s:g} s"
            _log.error("component_killed", name=running.component.name, reason=running.failure)
            _signal(process, signal.SIGKILL)
            running.exit_code = await process.wait()
            return
        if running.exit_code not in {EXIT_OK, -signal.SIGTERM}:
            running.failure = running.failure or f"it stopped with exit code {running.exit_code}"

    def _report(self, *, has_crashed: bool) -> int:
        failed = [item for item in self._running.values() if item.failure]
        for item in failed:
            self._terminal.say(f"FAILED: {item.component.name}: {item.failure}")
        if any(item.exit_code == EXIT_CONFIG for item in failed):
            return EXIT_CONFIG
        return EXIT_FAILED if failed or has_crashed else EXIT_OK


def _has_failed(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None


def _reason(running: Running) -> str:
    """Why it has to be started again, in few words."""
    return running.killed_for or exit_reason(running.exit_code)


def _ending(running: Running) -> dict[str, object]:
    """How a process ended, for a log line: by itself with a code, or killed by a signal."""
    code = running.exit_code
    if code >= 0:
        is_said = code == EXIT_OK or bool(running.said.error())  # its own line stands right above
        return {"exit_code": code, "reason": None if is_said else running.said.last_line()}
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    why = {"reason": running.killed_for} if running.killed_for else {}
    return {"exit_code": code, "killed_by": name, **why}


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a signal to a child that was not reaped yet.

    `process.send_signal` looks first whether the child has ended. So it may take the exit code
    away from the loop's own wait, which then reports 255.
    """
    if process.returncode is None:
        with suppress(ProcessLookupError):  # it has just ended by itself
            os.kill(process.pid, number)


def _die_with_parent() -> None:
    """In the child: a supervisor that is killed leaves nothing running behind it."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
