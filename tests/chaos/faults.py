"""Faults of a running gateway: processes are killed or stand still, in a seeded order."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from tests.integration.stack import START_LIMIT_S, Stack

HANDLER: Final = "module_handler"
BROKER: Final = "bus_broker"
PARTS: Final = (HANDLER, "internal_server", "external_client", BROKER)
LONGEST_PAUSE_S: Final = 5.0
LONGEST_STANDSTILL_S: Final = 9.0
"""Beyond the silence of 4 s (R6) and what the broker waits for a keep-alive, 7.5 s."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a part after a pause; `standstill_s` 0 is a kill."""

    part: str
    pause_s: float
    standstill_s: float = 0.0

    def __str__(self) -> str:
        how = f"stands still for {self.standstill_s:.1f} s" if self.standstill_s else "is killed"
        return f"{self.part} {how} {self.pause_s:.1f} s later"


def plan(rng: Random, rounds: int) -> list[Fault]:
    """Every part is killed once per round, one stands still; the handler does not die last.

    What its memory held dies with the handler: only what comes after is promised for sure.
    """
    faults: list[Fault] = []
    for number in range(rounds):
        order = rng.sample(PARTS, len(PARTS))
        if number == rounds - 1 and order.index(HANDLER) > 1:
            order.remove(HANDLER)
            order.insert(rng.randrange(2), HANDLER)
        faults += [Fault(part, rng.uniform(0.3, LONGEST_PAUSE_S)) for part in order]
        still = Fault(
            rng.choice(PARTS),
            rng.uniform(0.3, LONGEST_PAUSE_S),
            rng.uniform(0.2, LONGEST_STANDSTILL_S),
        )
        faults.insert(rng.randrange(len(faults) + 1), still)
    return faults


class Vandal:
    """Does what the plan says; never touches a process that is not of this stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._killed: dict[str, int] = {}
        self.handler_kills: list[float] = []
        """On the monotonic clock."""
        self.last_fault = time.monotonic()

    async def commit(self, fault: Fault) -> None:
        """Wait, then do it."""
        await asyncio.sleep(fault.pause_s)
        pid = await self.pid_of(fault.part)
        if fault.standstill_s:
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(fault.standstill_s)
            with suppress(
                ProcessLookupError
            ):  # it was so slow that its supervisor took it for hung
                os.kill(pid, signal.SIGCONT)
        else:
            os.kill(pid, signal.SIGKILL)
            self._killed[fault.part] = pid
            if fault.part == HANDLER:
                self.handler_kills.append(time.monotonic())
        self.last_fault = time.monotonic()

    async def all_back(self) -> None:
        """Wait until whatever was killed runs again."""
        for part in PARTS:
            await self.pid_of(part)

    async def pid_of(self, part: str) -> int:
        """Of the present life of this part, which its supervisor has started."""
        async with asyncio.timeout(START_LIMIT_S):
            while True:
                pid = self._read_pid(part)
                if pid is not None and pid != self._killed.get(part):
                    return pid
                await asyncio.sleep(0.05)  # another process's progress: nothing to wait for

    def _read_pid(self, part: str) -> int | None:
        try:
            if part == BROKER:
                return self._stack.pid_of_broker("bus-broker.conf")
            pid = self._stack.pid_of(part)
            status = Path(f"/proc/{pid}/stat").read_text()
        except (OSError, AssertionError):
            return None
        parent = int(status.rpartition(")")[2].split()[1])
        return pid if parent == self._stack.process.pid else None
