"""The time limit for code that does not cooperate."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
import uvloop
from structlog.testing import capture_logs

from module_gateway.modules.containment import ContainedModule, ModuleHung
from module_gateway.modules.transparent import TransparentModule
from module_gateway.protocol.errors import ModuleError, Reason
from module_gateway.runtime import watchdog
from module_gateway.runtime.watchdog import TimeLimit

LIMIT_S = 0.02


def spin() -> None:
    while True:
        pass


def sleep() -> None:
    time.sleep(60)


def swallow() -> None:
    while True:
        try:
            time.sleep(60)
        except Exception:  # noqa: BLE001  # what bad modules do
            continue


def assert_nothing_rings_any_more() -> None:
    """What is set is for a body that is over: it rings once at most, and hurts nobody."""
    give_up = time.monotonic() + 30
    while signal.getitimer(signal.ITIMER_REAL) != (0.0, 0.0):
        assert time.monotonic() < give_up
        time.sleep(LIMIT_S)


def swallow_once() -> None:
    try:
        spin()
    except BaseException:  # noqa: BLE001  # what worse modules do
        spin()


def recurse_in_finally() -> None:
    try:
        spin()
    finally:
        spin()


ENDLESS = pytest.mark.parametrize("body", [spin, sleep, swallow, swallow_once, recurse_in_finally])


@pytest.fixture
def no_timer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """As in production: nobody else uses the alarm (pytest's own time limit does)."""
    monkeypatch.setattr(watchdog, "_alarm", watchdog._Alarm())
    handler = signal.getsignal(signal.SIGALRM)
    before = signal.setitimer(signal.ITIMER_REAL, 0.0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, *before)


@ENDLESS
def test_endless_body_is_left(body: Callable[[], None]) -> None:
    limit = TimeLimit(LIMIT_S)
    with pytest.raises(ModuleHung), limit():
        body()


@ENDLESS
def test_endless_body_is_left_when_nobody_else_uses_the_alarm(
    no_timer: None, body: Callable[[], None]
) -> None:
    limit = TimeLimit(LIMIT_S)
    for _ in range(2):
        with pytest.raises(ModuleHung), limit():
            body()
    assert_nothing_rings_any_more()


@ENDLESS
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_endless_body_is_left_inside_an_event_loop(
    no_timer: None, body: Callable[[], None], run: Callable[[Any], None]
) -> None:
    async def main() -> None:
        limit = TimeLimit(LIMIT_S)
        loop = asyncio.get_running_loop()
        for _ in range(2):
            with pytest.raises(ModuleHung), limit():
                body()
            # The loop still has its timers and its wake-ups.
            async with asyncio.timeout(30):
                await asyncio.sleep(0.001)
                await loop.run_in_executor(None, time.sleep, 0)

    run(main())


def test_quick_body_is_left_alone(no_timer: None) -> None:
    limit = TimeLimit(LIMIT_S)
    for _ in range(3):
        with limit():
            pass
    assert_nothing_rings_any_more()


def test_failure_of_the_body_passes_and_ends_it(no_timer: None) -> None:
    limit = TimeLimit(LIMIT_S)
    with pytest.raises(ZeroDivisionError), limit():
        _ = 1 / 0
    assert_nothing_rings_any_more()


def test_timer_and_handler_of_another_run_on(no_timer: None) -> None:
    rung: list[int] = []

    def ring(number: int, _frame: FrameType | None) -> None:
        rung.append(number)

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 10.0, 7.0)
    limit = TimeLimit(LIMIT_S)
    with pytest.raises(ModuleHung), limit():
        spin()
    left_s, interval_s = signal.getitimer(signal.ITIMER_REAL)
    assert signal.getsignal(signal.SIGALRM) is ring
    assert 5.0 < left_s <= 10.0 - LIMIT_S + 0.001
    assert interval_s == 7.0
    assert rung == []


def test_timer_that_ran_out_meanwhile_fires_afterwards(no_timer: None) -> None:
    rung = threading.Event()
    signal.signal(signal.SIGALRM, lambda *_: rung.set())
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S / 2)
    limit = TimeLimit(LIMIT_S)
    with pytest.raises(ModuleHung), limit():
        spin()
    assert rung.wait(30)


def test_inner_limit_ends_the_inner_body_only(no_timer: None) -> None:
    outer, inner = TimeLimit(30.0), TimeLimit(LIMIT_S)
    with outer():
        with pytest.raises(ModuleHung), inner():
            spin()
        time.sleep(LIMIT_S * 3)
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 20.0  # it is still watched


def test_outer_limit_ends_the_inner_body_too(no_timer: None) -> None:
    outer, inner = TimeLimit(LIMIT_S), TimeLimit(30.0)
    reached: list[str] = []

    def body() -> None:
        with pytest.raises(ModuleHung), inner():
            spin()
        reached.append("after the inner body")
        spin()

    with pytest.raises(ModuleHung), outer():
        body()
    assert reached == ["after the inner body"]
    assert_nothing_rings_any_more()


def test_same_limit_may_be_nested(no_timer: None) -> None:
    limit = TimeLimit(LIMIT_S)
    with pytest.raises(ModuleHung), limit(), limit(), limit():
        spin()
    assert_nothing_rings_any_more()


def test_late_alarm_outside_of_a_body_is_ignored(no_timer: None) -> None:
    with TimeLimit(LIMIT_S)():
        pass
    signal.raise_signal(signal.SIGALRM)


def test_quick_bodies_share_one_alarm(no_timer: None, monkeypatch: pytest.MonkeyPatch) -> None:
    set_by: list[float] = []
    set_timer = signal.setitimer

    def count(which: int, seconds: float, interval: float = 0.0) -> tuple[float, float]:
        set_by.append(seconds)
        return set_timer(which, seconds, interval)

    limit = TimeLimit(60.0)
    monkeypatch.setattr(signal, "setitimer", count)
    for _ in range(1000):
        with limit():
            pass
    assert [seconds for seconds in set_by if seconds] == [pytest.approx(59.99)]


def test_body_with_a_tighter_limit_does_not_wait_for_the_alarm_of_an_earlier_one(
    no_timer: None,
) -> None:
    with TimeLimit(60.0)():
        pass
    with pytest.raises(ModuleHung), TimeLimit(LIMIT_S)():
        spin()


def test_body_that_begins_right_before_an_alarm_has_all_its_time(no_timer: None) -> None:
    limit = TimeLimit(0.1)
    with limit():
        pass
    time.sleep(0.085)  # the alarm that was set for the first rings 5 ms later
    started = time.monotonic()
    with pytest.raises(ModuleHung), limit():
        spin()
    assert 0.099 <= time.monotonic() - started


def test_timer_that_somebody_has_switched_off_is_set_again(no_timer: None) -> None:
    limit = TimeLimit(LIMIT_S)
    with limit():
        pass
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    time.sleep(LIMIT_S)
    with pytest.raises(ModuleHung), limit():
        spin()


def run_alone(script: str) -> int:
    """Exit code of a process of its own, negative when a signal has ended it."""
    process = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    return process.returncode


LOSES_TIME_AFTER_EVERY_CALL_OF_THE_SYSTEM = """
import signal, time
from module_gateway.runtime.watchdog import TimeLimit
def slowly(call):
    def do(*arguments):
        result = call(*arguments)
        time.sleep(0.005)  # the alarm rings within 1 ms
        return result
    return do
signal.setitimer, signal.signal = slowly(signal.setitimer), slowly(signal.signal)
for _ in range(3):
    with TimeLimit(0.0001)():
        pass
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 60)
    with TimeLimit(0.0001)():
        pass
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
"""


def test_alarm_never_meets_a_process_that_has_no_handler_for_it() -> None:
    # Without one, SIGALRM ends a process: seen on a machine that was busy at the wrong moment.
    assert run_alone(LOSES_TIME_AFTER_EVERY_CALL_OF_THE_SYSTEM) == 0


LASTS_LONGER_THAN_ITS_HANDLERS = """
import time
from module_gateway.runtime.watchdog import TimeLimit
class Last:
    def __del__(self, sleep=time.sleep):
        sleep(0.1)
last = Last()
with TimeLimit(0.02)():
    pass
"""


def test_alarm_is_off_when_the_interpreter_gives_up_its_handlers() -> None:
    assert run_alone(LASTS_LONGER_THAN_ITS_HANDLERS) == 0


STOPPED_IN_ITS_BODY = """
import os, signal
from module_gateway.runtime.watchdog import TimeLimit
with TimeLimit(0.02)():
    os.kill(os.getpid(), signal.SIGSTOP)
    print("the end", flush=True)
"""


def test_body_is_not_blamed_for_a_stop_of_the_whole_process() -> None:
    # While a process gets no time, its alarms wait, and then arrive as one.
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED_IN_ITS_BODY], stdout=subprocess.PIPE, text=True
    ) as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        time.sleep(LIMIT_S * 5)  # how long it gets no time
        process.send_signal(signal.SIGCONT)
        output, _ = process.communicate(timeout=30)
    assert (output, process.returncode) == ("the end\n", 0)


@pytest.mark.parametrize("limit_s", [0.03, 0.1])
def test_limit_is_kept(no_timer: None, limit_s: float) -> None:
    limit = TimeLimit(limit_s)
    started = time.monotonic()
    with pytest.raises(ModuleHung), limit():
        spin()
    assert limit_s - 0.001 <= time.monotonic() - started < limit_s + 2.0


def test_late_alarm_of_an_earlier_body_does_not_end_the_next(no_timer: None) -> None:
    with TimeLimit(30.0)():
        signal.raise_signal(signal.SIGALRM)


def test_outside_of_the_main_thread_there_is_no_limit_and_one_warning() -> None:
    limit = TimeLimit(0.001)
    finished: list[int] = []

    def work() -> None:
        for number in range(3):
            with limit():
                time.sleep(0.005)
            finished.append(number)

    with capture_logs() as lines:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(30)
    assert finished == [0, 1, 2]
    assert [line["event"] for line in lines] == ["time_limit_absent"]


@pytest.mark.parametrize("limit_s", [0, -1, 0.0])
def test_limit_must_be_positive(limit_s: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        TimeLimit(limit_s)


def test_module_that_hangs_costs_its_caller_the_limit_and_a_module_error() -> None:
    class Hanging(TransparentModule):
        def aggregate_status(self, current: bytes, new: bytes, device_type: int) -> bytes:
            while new == b"hang":
                pass
            return new

    module = ContainedModule(Hanging(), limit=TimeLimit(LIMIT_S))
    with pytest.raises(ModuleError) as caught:
        module.aggregate_status(b"", b"hang", 0)
    assert caught.value.reason is Reason.MODULE_HUNG
    assert module.aggregate_status(b"", b"go on", 0) == b"go on"
