"""What a running gateway takes, of memory and disk, and what it counts."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import httpx

from tests.integration.stack import Stack

MIB: Final = 1024 * 1024
LOOK_S: Final = 1.0
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
COMPONENTS: Final = ("internal_server", "module_handler", "external_client")


def percentile(values: list[float], percent: float) -> float | None:
    """Of sorted values; None when there are none."""
    return values[min(len(values) - 1, int(len(values) * percent / 100))] if values else None


def milliseconds(values: list[float]) -> dict[str, float | None]:
    """p50, p99 and the longest of some seconds, in ms."""
    ordered = sorted(values)
    found = {"p50": percentile(ordered, 50), "p99": percentile(ordered, 99)}
    found["max"] = ordered[-1] if ordered else None
    return {name: None if each is None else round(each * 1000, 1) for name, each in found.items()}


def size_mib(folder: Path) -> float:
    """All files below it; 0 when it is not there."""
    total = 0
    for file in folder.rglob("*"):
        with suppress(OSError):  # removed meanwhile
            total += file.stat().st_size if file.is_file() else 0
    return round(total / MIB, 2)


def rss_mib(pid: int) -> float:
    """Resident memory of a process, 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return round(int(found[1]) / 1024, 1) if found else 0.0


async def metrics_of(stack: Stack, component: str) -> dict[str, float]:
    """The counters of the process that runs now, which must be ready."""
    async with httpx.AsyncClient(trust_env=False) as client:
        base = f"http://{stack.note_of(component)['addresses']['metrics']}"
        ready = await client.get(f"{base}/readyz")
        assert (ready.status_code, component) == (200, component), ready.text
        text = (await client.get(f"{base}/metrics")).text
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


class Memory:
    """The most that each process has taken so far."""

    def __init__(self, stack: Stack) -> None:
        self.most_mib: dict[str, float] = {}
        self._pids: dict[str, Callable[[], int]] = {
            **{part: partial(stack.pid_of, part) for part in COMPONENTS},
            "run_all": lambda: stack.process.pid,
            "bus_broker": lambda: stack.pid_of_broker("bus-broker.conf"),
        }

    def add(self, name: str, pid: Callable[[], int]) -> None:
        """Look at this process, too."""
        self._pids[name] = pid

    def look(self) -> Mapping[str, float]:
        """Look now."""
        for name, pid in self._pids.items():
            with suppress(OSError, AssertionError, ValueError):
                self.most_mib[name] = max(self.most_mib.get(name, 0.0), rss_mib(pid()))
        return self.most_mib

    def cpu_s(self) -> dict[str, float]:
        """Processor seconds that each process has used, and the machine as a whole."""
        used = {}
        for name, pid in self._pids.items():
            with suppress(OSError, AssertionError, ValueError, IndexError):
                fields = Path(f"/proc/{pid()}/stat").read_text().rpartition(")")[2].split()
                used[name] = (int(fields[11]) + int(fields[12])) / TICKS_PER_S
        busy = Path("/proc/stat").read_text().split("\n", 1)[0].split()
        used["machine"] = sum(map(int, [*busy[1:4], *busy[6:9]])) / TICKS_PER_S
        used["these_checks"] = time.process_time()
        return used

    def cores_since(self, used_s: Mapping[str, float], at: float) -> dict[str, float]:
        """How many cores each process has kept busy since `used_s` was taken, at `at`."""
        passed_s = time.monotonic() - at
        now = self.cpu_s()
        return {name: round((now[name] - used_s.get(name, 0.0)) / passed_s, 2) for name in now}

    async def look_for_ever(self) -> None:
        """Once a second."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)


@asynccontextmanager
async def memory(stack: Stack) -> AsyncIterator[Memory]:
    """Looks as long as the context lasts."""
    seen = Memory(stack)
    looking = asyncio.create_task(seen.look_for_ever(), name="memory")
    try:
        yield seen
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


def load_average() -> list[float]:
    """Of the machine, beside figures that depend on it."""
    return [round(each, 2) for each in os.getloadavg()]
