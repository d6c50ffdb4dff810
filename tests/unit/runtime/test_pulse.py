from __future__ import annotations

import asyncio
import socket

from structlog.testing import capture_logs

from module_gateway.runtime.health import STARTED, Health, Progress
from module_gateway.runtime.notify import Notifier
from module_gateway.runtime.pulse import LAG, keep_pulse


class Remembering(Health):
    """Knows what it said when it was not ready."""

    def __init__(self) -> None:
        super().__init__()
        self.details: set[str] = set()

    def set(self, name: str, is_ok: bool, detail: str = "") -> None:
        super().set(name, is_ok, detail)
        self.details.add(detail)


class Bench:
    """A pulse every 10 ms that beats for somebody who listens, and clocks that a test moves."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        self.ours = ours
        self.now = 0.0
        self.health = Remembering()
        self.health.set(STARTED, True)
        self.progress = Progress(lambda: self.now)
        self.beat = self.progress.expect("commits", 5.0)
        self.notifier = Notifier(theirs, "", 0.02)
        self.jump_s = 0.0
        self.task = asyncio.create_task(
            keep_pulse(self.progress, self.health, self.notifier, self.clock)
        )

    def clock(self) -> float:
        """Of the loop; a test lets it jump."""
        return asyncio.get_running_loop().time() + self.jump_s

    async def heard(self) -> bytes:
        async with asyncio.timeout(10):
            return await asyncio.get_running_loop().sock_recv(self.ours, 1000)

    async def turns_to(self, *, is_ready: bool) -> str:
        """The detail of the check once it is so."""
        async with asyncio.timeout(10):
            while self.health.is_ready is not is_ready:
                await asyncio.sleep(0.005)
        checks = self.health.report()["checks"]
        assert isinstance(checks, dict)
        return str(checks["progress"]["detail"])

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])
        self.notifier.close()
        self.ours.close()


async def test_a_process_that_makes_progress_says_so_again_and_again() -> None:
    bench = Bench()
    try:
        assert [await bench.heard() for _ in range(3)] == [b"WATCHDOG=1"] * 3
        assert bench.health.is_ready
    finally:
        await bench.end()


async def test_a_process_that_stands_still_is_not_ready_and_says_nothing_but_why() -> None:
    bench = Bench()
    try:
        await bench.heard()
        bench.beat.wait()
        bench.now = 6.0
        with capture_logs() as logs:
            assert await bench.turns_to(is_ready=False) == "commits for 6 s"
            said = b"WATCHDOG=1"
            while said == b"WATCHDOG=1":
                said = await bench.heard()
            for _ in range(5):  # several pulses
                await asyncio.sleep(0.01)
        assert said == b"STATUS=stands still: commits for 6 s"
        assert [line["event"] for line in logs] == ["progress_stalled"]
        try:
            left = bench.ours.recv(1000)
        except BlockingIOError:
            left = b""
        assert left == b""

        bench.beat.done()
        assert await bench.heard() == b"WATCHDOG=1"
        assert await bench.turns_to(is_ready=True) == ""
    finally:
        await bench.end()


async def test_a_loop_that_was_late_is_not_ready_for_a_moment_and_blames_no_work() -> None:
    bench = Bench()
    try:
        await bench.heard()
        bench.beat.wait()
        bench.now = bench.jump_s = 60.0  # the process was stopped
        await bench.turns_to(is_ready=True)
        while "the loop was 60.0 s late" not in bench.health.details:
            assert await bench.heard() == b"WATCHDOG=1"
        assert bench.beat.age_s() < 5.0
        await bench.turns_to(is_ready=True)
    finally:
        await bench.end()
    assert LAG._value.get() < 60.0
