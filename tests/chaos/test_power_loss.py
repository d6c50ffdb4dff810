"""Rows K5 and D2: power is cut while the store works, 50 times by seed.

The layer is `unsynced.c`: honest about which bytes were not synced, silent about what a disk with
a lying cache would do. A cut counts only if it took back at least one byte.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import pytest

from module_gateway.module_handler.sqlite_store import SqliteStore
from module_gateway.module_handler.store import LogQuery
from tests.chaos import power_cut
from tests.chaos.store_nursery import DEVICES, status_of

CUTS = int(os.environ.get("MODULE_GATEWAY_POWER_CUTS", "50"))
LIMIT_S = 300.0
REPOSITORY = Path(__file__).resolve().parents[2]


class Nursery:
    """Starts processes that write, under the layer; see `store_nursery`."""

    def __init__(self, library: Path) -> None:
        environ = {
            **os.environ,
            "LD_PRELOAD": str(library),
            "UNSYNCED_MATCH": "handler.db",
            "UNSYNCED_DELAY_US": "2000",
            "PYTHONPATH": str(REPOSITORY),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.store_nursery"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environ,
            text=True,
        )

    def start(self, folder: Path, durability: str, seed: int, failure: str = "-") -> int:
        """The process id of one more writer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{folder} {durability} {seed} {failure}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@contextmanager
def nursery(folder: Path) -> Iterator[Nursery]:
    started = Nursery(power_cut.build(folder))
    try:
        yield started
    finally:
        started.process.kill()
        started.process.communicate()


def answered(folder: Path) -> int:
    """The last number that was said to be committed."""
    said = folder / "said"
    lines = said.read_bytes().split(b"\n") if said.exists() else [b""]
    return int(lines[-2]) if len(lines) > 1 else 0


def write_and_cut(writers: Nursery, folder: Path, durability: str, rng: Random) -> int:
    """Let one write for a moment, kill it and cut the power; how many bytes were dropped."""
    pid = writers.start(folder, durability, rng.randrange(10**6))
    goal = answered(folder) + rng.randrange(1, 400)
    until = time.monotonic() + 30.0
    while answered(folder) < goal and time.monotonic() < until:
        time.sleep(0.001 + 0.004 * rng.random())  # another process's progress
    os.kill(pid, signal.SIGKILL)
    wait_for_end(pid)
    return power_cut.cut(folder, rng)


def wait_for_end(pid: int) -> None:
    """Until this process of somebody else is gone."""
    until = time.monotonic() + 30.0
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < until, "a writer does not end"
        time.sleep(0.001)


async def found_in(folder: Path) -> tuple[int, list[int]]:
    """What a handler would start with: the last number, and all entries that are there."""
    store = SqliteStore(folder / "handler.db", "power")
    try:
        state = await store.load()
        numbers = []
        for device in DEVICES:
            page = await store.read(LogQuery(device.identity, 10**6))
            while page.entries:
                for entry in page.entries:
                    assert entry.status == status_of(entry.sequence)
                    numbers.append(entry.sequence)
                if page.is_complete:
                    break
                raise AssertionError("a page of a million entries is incomplete")
        return state.last_sequence, sorted(numbers)
    finally:
        await store.close()


def lost_in(folder: Path) -> list[int]:
    """Numbers that were answered, never trimmed, and are not there any more."""
    last = answered(folder)
    _, numbers = asyncio.run(found_in(folder))
    first = numbers[0] if numbers else 1
    kept_from = min(first, max(1, last - 300))  # whatever is older may have been trimmed
    return sorted(set(range(kept_from, last + 1)) - set(numbers))


def cuts(writers: Nursery, folder: Path, durability: str, seed: int, wanted: int) -> Iterator[Path]:
    """Folders after a cut that dropped something, each with a store of its own."""
    rng = Random(seed)
    found = attempts = 0
    while found < wanted:
        attempts += 1
        assert attempts < 20 * wanted, f"only {found} of {attempts} cuts dropped anything"
        place = folder / f"{durability}-{attempts}"
        place.mkdir()
        if write_and_cut(writers, place, durability, rng):
            found += 1
            yield place


@pytest.mark.skipif(power_cut.compiler() is None, reason="needs a C compiler")
@pytest.mark.timeout(LIMIT_S)
def test_K5_nothing_answered_is_lost_when_power_is_cut(tmp_path: Path) -> None:
    with nursery(tmp_path) as writers:
        for place in cuts(writers, tmp_path, "power", 5, CUTS):
            assert [] == lost_in(place), place


@pytest.mark.skipif(power_cut.compiler() is None, reason="needs a C compiler")
@pytest.mark.timeout(LIMIT_S)
def test_K5_control_the_same_cuts_lose_something_without_syncs(tmp_path: Path) -> None:
    with nursery(tmp_path) as writers:
        lost = [lost_in(place) for place in cuts(writers, tmp_path, "process", 5, 5)]
    assert any(lost)


FAILURES = [f"write:{number}:1000000:{errno.ENOSPC}" for number in range(1, 200, 7)]
FAILURES += [f"sync:{number}:1:{errno.EIO}" for number in range(1, 60, 3)]


@pytest.mark.skipif(power_cut.compiler() is None, reason="needs a C compiler")
@pytest.mark.timeout(LIMIT_S)
def test_D1_D2_a_write_or_a_sync_that_fails_costs_nothing_that_was_answered(tmp_path: Path) -> None:
    """At call n the disk is full for good, or one sync fails; then power is cut as well."""
    rng = Random(1)
    refused = 0
    with nursery(tmp_path) as writers:
        for number, failure in enumerate(FAILURES):
            place = tmp_path / str(number)
            place.mkdir()
            pid = writers.start(place, "power", number, failure)
            until = time.monotonic() + 2.0
            while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
                time.sleep(0.002)  # it ends with its StoreError, or goes on in a new file
                if answered(place) > 600:
                    break
            refused += not Path(f"/proc/{pid}").exists()
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            wait_for_end(pid)
            power_cut.cut(place, rng)
            assert [] == lost_in(place), failure
    assert refused > len(FAILURES) // 2
