"""Processes that a scenario does something to: own children, any pid, compose services.

A paused process is resumed whatever happens: `Processes.close` does it, and should the lab itself
be killed, a guard that waits for the lab's end does.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from fleet_lab.errors import LabError, nearest
from fleet_lab.steps import VERBS

COMPOSE_LIMIT_S: Final = 120.0
"""A service may be pulled up from nothing."""
_INIT_PID: Final = 1
_SHOWN_CHARS: Final = 300

RunCommand: TypeAlias = Callable[[Sequence[str]], Awaitable[None]]


class Process(Protocol):
    """Something that can be killed, paused and so on."""

    @property
    def verbs(self) -> Collection[str]:
        """Which of `steps.VERBS` it can do."""
        ...

    async def act(self, verb: str) -> None:
        """Do one of `verbs`; LabError when it cannot be done."""
        ...


class ChildPort(Protocol):
    """`fleet_lab.children.Child`."""

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        ...

    async def start(self) -> str:
        """Start it and wait until it is ready."""
        ...

    async def stop(self) -> None:
        """SIGTERM and wait."""
        ...

    async def kill(self) -> None:
        """SIGKILL and wait."""
        ...


@dataclass(slots=True)
class OwnChild:
    """A process that the lab started."""

    name: str
    child: ChildPort
    _guard: Guard | None = None

    @property
    def verbs(self) -> Collection[str]:
        """All."""
        return VERBS

    async def act(self, verb: str) -> None:
        """Do it."""
        match verb:
            case "kill":
                await self.child.kill()
                await self._resumed()
            case "stop":
                await self._resumed()
                await self.child.stop()
            case "restart":
                await self._resumed()
                await self.child.stop()
                await self.child.start()
            case "start":
                if self.child.pid is None:
                    await self.child.start()
            case "pause":
                if self.child.pid is None:
                    raise LabError(f"process {self.name} does not run")
                self._guard = await Guard.over(self.child.pid)
                os.kill(self.child.pid, signal.SIGSTOP)
            case _:
                await self._resumed()

    async def _resumed(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            if self.child.pid is not None:
                os.kill(self.child.pid, signal.SIGCONT)
            await guard.dismiss()


@dataclass(slots=True)
class Foreign:
    """A process that somebody else started and, after a kill, may start again.

    Args:
        find: its pid now; asked before every action, because a supervisor gives it a new one.
        is_supervised: whether somebody starts it again when it ends.
    """

    name: str
    find: Callable[[], int]
    is_supervised: bool = False
    _paused: tuple[int, Guard] | None = None

    @property
    def verbs(self) -> Collection[str]:
        """All but those that start it: that is somebody else's work."""
        restart = ("restart",) if self.is_supervised else ()
        return ("kill", "stop", "pause", "resume", *restart)

    async def act(self, verb: str) -> None:
        """Do it."""
        match verb:
            case "kill":
                self._signal(signal.SIGKILL)
            case "stop":
                self._signal(signal.SIGTERM)
            case "restart" if self.is_supervised:
                self._signal(signal.SIGTERM)
            case "pause":
                pid = self._checked_pid()
                guard = await Guard.over(pid)
                self._paused = (pid, guard)
                self._signal(signal.SIGSTOP)
            case "resume":
                await self._resume()
            case _:
                raise LabError(
                    f"process {self.name}: the lab did not start it, so it cannot {verb} it"
                )

    async def _resume(self) -> None:
        if self._paused is None:
            self._signal(signal.SIGCONT)
            return
        (pid, guard), self._paused = self._paused, None
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        await guard.dismiss()

    def _signal(self, number: signal.Signals) -> None:
        pid = self._checked_pid()
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            raise LabError(f"process {self.name}: there is no process {pid}") from None
        except PermissionError:
            raise LabError(f"process {self.name}: no right to signal process {pid}") from None

    def _checked_pid(self) -> int:
        pid = self.find()
        if pid <= _INIT_PID or pid == os.getpid():
            raise LabError(f"process {self.name}: pid {pid} is not to be touched")
        return pid


@dataclass(slots=True)
class ComposeService:
    """A service of a compose file; `docker compose` does the work, or `docker-compose`."""

    name: str
    file: Path
    service: str
    run: RunCommand = field(default_factory=lambda: run_command)
    _guard: Guard | None = None

    @property
    def verbs(self) -> Collection[str]:
        """All."""
        return VERBS

    async def act(self, verb: str) -> None:
        """Do it."""
        word = {"resume": "unpause"}.get(verb, verb)
        base = (*compose_command(), "-f", str(self.file))
        if verb == "pause":
            self._guard = await Guard.until((*base, "unpause", self.service))
        await self.run((*base, word, self.service))
        if verb != "pause" and self._guard is not None:
            guard, self._guard = self._guard, None
            await guard.dismiss()


class Guard:
    """A shell that waits for the end of this process, then undoes a pause."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def over(cls, pid: int) -> Guard:
        """Resume `pid` should this process die."""
        return await cls.until(("kill", "-CONT", str(pid)))

    @classmethod
    async def until(cls, command: Sequence[str]) -> Guard:
        """Run `command` should this process die: the pipe to the shell closes then."""
        script = 'read -r word; [ "$word" = dismissed ] || "$@"'
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", script, "guard", *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        return cls(process)

    async def dismiss(self) -> None:
        """The pause is over: nothing to undo any more."""
        if self._process.stdin is not None:
            with suppress(ConnectionError):
                self._process.stdin.write(b"dismissed\n")
                await self._process.stdin.drain()
            self._process.stdin.close()
        await self._process.wait()


class Processes:
    """All processes by name; remembers what is paused."""

    def __init__(self, by_name: Mapping[str, Process]) -> None:
        self._by_name = dict(by_name)
        self._paused: set[str] = set()

    async def act(self, name: str, verb: str) -> None:
        """Do `verb` to the process `name`.

        Raises:
            LabError: it is unknown or cannot be done.
        """
        process = self._by_name.get(name) or direct_process(name)
        if process is None:
            raise LabError(f"there is no process {name!r}{nearest(name, self._by_name)}")
        self._by_name[name] = process
        if verb == "pause":
            self._paused.add(name)
        await process.act(verb)
        if verb != "pause":
            self._paused.discard(name)

    async def close(self) -> None:
        """Resume what is paused; never raises."""
        for name in tuple(self._paused):
            with suppress(LabError, OSError):
                await self.act(name, "resume")


def direct_process(name: str) -> Process | None:
    """The process of `pid:1234` or `compose:service` (of ./docker-compose.yml), else None."""
    kind, _, rest = name.partition(":")
    if kind == "pid" and rest.isascii() and rest.isdigit():
        return Foreign(name, lambda: int(rest))
    if kind == "compose" and rest:
        return ComposeService(name, Path("docker-compose.yml"), rest)
    return None


def pid_of_file(name: str, path: Path) -> Callable[[], int]:
    """Reads a pid file anew each time; also the gateway's run notes (JSON with a `pid`)."""

    def find() -> int:
        try:
            text = path.read_text(encoding="utf-8")
            return int(json.loads(text)["pid"] if text.lstrip().startswith("{") else text)
        except OSError as error:
            why = error.strerror or "it cannot be read"
            raise LabError(f"process {name} does not run: {path}: {why}") from None
        except (ValueError, KeyError, TypeError):
            raise LabError(f"process {name}: {path} holds no pid") from None

    return find


def compose_command() -> tuple[str, ...]:
    """`docker compose` where the plug-in is, else `docker-compose`.

    Raises:
        LabError: neither is there.
    """
    plugins = (Path.home() / ".docker", Path("/usr/libexec/docker"), Path("/usr/lib/docker"),
               Path("/usr/local/lib/docker"))  # fmt: skip
    if shutil.which("docker") and any(
        (place / "cli-plugins" / "docker-compose").exists() for place in plugins
    ):
        return ("docker", "compose")
    if shutil.which("docker-compose"):
        return ("docker-compose",)
    raise LabError("a compose service needs `docker compose` or `docker-compose`; neither is here")


async def run_command(command: Sequence[str]) -> None:
    """Run it to its end.

    Raises:
        LabError: it fails or takes too long; with its last line.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(COMPOSE_LIMIT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise LabError(f"{' '.join(command)} took longer than {COMPOSE_LIMIT_S:g} s") from None
    if process.returncode:
        lines = output.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise LabError(f"{' '.join(command)} failed: {lines[-1][:_SHOWN_CHARS]}")
