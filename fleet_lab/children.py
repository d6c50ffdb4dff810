"""Processes that the lab starts itself: their output kept, their readiness heard, none left."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from fleet_lab.errors import LabError

START_LIMIT_S: Final = 60.0
"""A slow machine that imports everything for the first time."""
STOP_LIMIT_S: Final = 15.0
"""The gateway's own limit for a clean stop is 10 s (design 3.9)."""
SHOWN_LINES: Final = 5
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_LINE_LIMIT: Final = 1 << 20

_libc = ctypes.CDLL(None)  # before any fork: nothing is loaded between fork and exec


class Child:
    """One process, started any number of times with the same command.

    Args:
        name: for people and for the scenario.
        log: everything that it writes is appended there.
        ready: the first line that contains this text says that it does its job.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        ready: str,
        environ: Mapping[str, str],
    ) -> None:
        self.name = name
        self.log = log
        self._command = tuple(command)
        self._ready = ready
        self._environ = dict(environ)
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._is_ready: asyncio.Future[str] | None = None

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> str:
        """Start it and wait until it is ready; returns the line that said so.

        Raises:
            LabError: it cannot be started, ends, or says nothing in time; with its last line.
        """
        is_ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._is_ready = is_ready
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=self._environ,
                limit=_LINE_LIMIT,
                start_new_session=True,  # Ctrl-C is for the lab, which stops all in order
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        except OSError as error:
            raise LabError(f"cannot start {self.name}: {error}") from error
        self._reading = asyncio.create_task(self._read(self._process), name=f"read {self.name}")
        try:
            async with asyncio.timeout(START_LIMIT_S):
                return await is_ready
        except TimeoutError:
            raise LabError(
                f"{self.name} was not ready within {START_LIMIT_S:g} s; see {self.log}"
            ) from None

    async def kill(self) -> None:
        """End it at once, as a crash does."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """End it cleanly; kill it when it takes too long."""
        try:
            async with asyncio.timeout(STOP_LIMIT_S):
                await self._end(signal.SIGTERM)
        except TimeoutError:
            await self.kill()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when it does not run."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _end(self, number: signal.Signals) -> None:
        if self._process is None or self._reading is None:
            return
        self.send_signal(number)
        await self._process.wait()
        await asyncio.wait([self._reading], timeout=1.0)  # grandchildren may hold the pipe

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101 - asked for a pipe
        last: list[str] = []
        with self.log.open("ab") as log:
            async for line in process.stdout:
                log.write(line)
                log.flush()
                text = line.decode(errors="replace").strip()
                last = [*last[-SHOWN_LINES:], text] if text else last
                if self._ready in text and self._is_ready is not None:
                    self._say_ready(self._is_ready, text)
        exit_code = await process.wait()
        if self._is_ready is not None and not self._is_ready.done():
            said = last[-1] if last else "it said nothing"
            self._is_ready.set_exception(
                LabError(f"{self.name} ended with exit code {exit_code}: {said}; see {self.log}")
            )

    @staticmethod
    def _say_ready(is_ready: asyncio.Future[str], line: str) -> None:
        if not is_ready.done():
            is_ready.set_result(line)


def own_environment(**more: str) -> dict[str, str]:
    """This process' environment without what would lead a gateway to another's bus.

    The children find the same packages as this process, from any folder.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("IPC_MQTT")}
    source = str(Path(__file__).parent.parent)
    paths = os.pathsep.join(filter(None, [source, kept.get("PYTHONPATH", "")]))
    return {**kept, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", **more}


def _die_with_parent() -> None:
    """In the child: a lab that is killed leaves nothing running behind it."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
