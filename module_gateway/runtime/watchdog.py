"""A time limit for code that does not cooperate, in the process' main thread.

Modules run in the event loop's thread, so one endless loop in a module would stop the whole
process. The interval timer of the system interrupts it.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import FrameType, TracebackType
from typing import Any, Final

from module_gateway.modules.containment import ModuleHung
from module_gateway.runtime.log import get_logger

_log = get_logger(__name__)

_CONFIRM_S: Final = 0.01
"""A first alarm may only mean that the machine had no time for us: the alarms that waited
meanwhile arrive as one. So a body is ended by the second one, this much later, and by every
further one in case it swallowed that."""

_FIRST_ALARM_PERIOD_S: Final = 3600.0
"""The timer's period says which alarm comes next, so the handler needs no state of its own."""

_MIN_DELAY_S: Final = 0.001
"""What is left at least of a timer that was put aside: 0 would switch it off."""

_Handler = Callable[[int, FrameType | None], Any] | int | None


class TimeLimit:
    """Makes contexts whose body gets `ModuleHung` raised into it when it takes too long.

    `limit = TimeLimit(0.05)`, then `with limit(): ...`. It uses ITIMER_REAL and SIGALRM and
    becomes the process' SIGALRM handler; a timer that somebody else has running is put aside
    for the body and runs on afterwards. Contexts may be nested: the tighter limit counts.

    It ends loops in Python, sleeps, blocking reads and bodies that swallow `Exception`: the
    interruption repeats until the body is left. It cannot end one long call into C (a huge
    power, a pathological pattern) before that returns, nor a loop that swallows BaseException.

    Outside of the main thread there are no signals: the body runs without a limit, and the
    first time this is logged.

    A stop of the whole process (a starved machine, a debugger) does not count as the body's time.

    Cost: two system calls, about 1.6 us per body (tests/unit/runtime/test_watchdog.py holds it
    under 10 us). A status asks its module about five questions, so 8 us per status; a caller
    for which that is too much puts one context round a batch.
    """

    def __init__(self, limit_s: float) -> None:
        """`limit_s` > 0 in seconds; a limit under 20 ms is exceeded by up to 10 ms."""
        if limit_s <= 0:
            raise ValueError(f"a time limit must be positive, not {limit_s}")
        self.limit_s = limit_s
        self._first_alarm_s = max(limit_s - _CONFIRM_S, limit_s / 2)
        self._main_thread = threading.main_thread().ident
        self._owns_signal = False
        self._is_absence_logged = False
        self._put_aside: list[_PutAside | None] = []

    def __call__(self) -> AbstractContextManager[object]:
        """A context for one body."""
        if threading.get_ident() == self._main_thread:
            return self
        if not self._is_absence_logged:
            self._is_absence_logged = True
            _log.warning("time_limit_absent", why="only the main thread can be interrupted")
        return nullcontext()

    def __enter__(self) -> None:
        before = signal.setitimer(signal.ITIMER_REAL, self._first_alarm_s, _FIRST_ALARM_PERIOD_S)
        if before[0] == 0.0 and self._owns_signal:
            self._put_aside.append(None)
        else:
            self._enter_slowly(before)

    def _enter_slowly(self, before: tuple[float, float]) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)  # nothing may interrupt what follows
        timer = (self._first_alarm_s, _FIRST_ALARM_PERIOD_S)
        if before[0] == 0.0:
            signal.signal(signal.SIGALRM, _interrupt)
            self._owns_signal = True
            self._put_aside.append(None)
        else:
            put_aside = _PutAside(before)
            self._put_aside.append(put_aside)
            if put_aside.is_ours:
                timer = min(timer, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _failure: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        put_aside = self._put_aside.pop()
        if put_aside is not None:
            put_aside.run_on()


class _PutAside:
    """Somebody's running timer and handler while a body runs under ours."""

    __slots__ = ("_delay_s", "_handler", "_interval_s", "_since_s")

    def __init__(self, timer: tuple[float, float]) -> None:
        self._delay_s, self._interval_s = timer
        self._since_s = time.monotonic()
        self._handler: _Handler = signal.signal(signal.SIGALRM, _interrupt)

    @property
    def is_ours(self) -> bool:
        """Whether it is an outer time limit, which must end this body too."""
        return self._handler is _interrupt

    def run_on(self) -> None:
        signal.signal(signal.SIGALRM, self._handler)
        left_s = self._delay_s - (time.monotonic() - self._since_s)
        signal.setitimer(signal.ITIMER_REAL, max(left_s, _MIN_DELAY_S), self._interval_s)


def _interrupt(_signal_number: int, frame: FrameType | None) -> None:
    if frame is not None and frame.f_code in _OWN_CODE:
        return  # between bodies; an exception here would leave the timer running
    left_s, period_s = signal.getitimer(signal.ITIMER_REAL)
    if left_s == 0.0:
        return  # late: the body that it was meant for has ended
    if period_s > _FIRST_ALARM_PERIOD_S / 2:
        signal.setitimer(signal.ITIMER_REAL, _CONFIRM_S, _CONFIRM_S)
        return
    raise ModuleHung


_OWN_CODE: Final = frozenset(
    function.__code__
    for function in (
        TimeLimit.__call__,
        TimeLimit.__enter__,
        TimeLimit._enter_slowly,  # noqa: SLF001  # the class above
        TimeLimit.__exit__,
        _PutAside.run_on,
    )
)
