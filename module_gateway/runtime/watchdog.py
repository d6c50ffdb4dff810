"""A time limit for code that does not cooperate, in the process' main thread.

Modules run in the event loop's thread, so one endless loop in a module would stop the whole
process. The interval timer of the system interrupts it.
"""

from __future__ import annotations

import atexit
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

_MIN_DELAY_S: Final = 0.001
"""What is left at least of a timer: 0 would switch it off."""

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

    Cost: a body says until when it may take, which is a look at the clock and two writes. The
    alarm is set for the first body of a stretch and looks, when it rings, who is running then:
    two system calls per limit, however many bodies, and none while nobody asks.
    """

    def __init__(self, limit_s: float) -> None:
        """`limit_s` > 0 in seconds; a limit under 20 ms is exceeded by up to 10 ms."""
        if limit_s <= 0:
            raise ValueError(f"a time limit must be positive, not {limit_s}")
        self.limit_s = limit_s
        self._first_alarm_s = max(limit_s - _CONFIRM_S, limit_s / 2)
        self._main_thread = threading.main_thread().ident
        self._is_absence_logged = False

    def __call__(self) -> AbstractContextManager[object]:
        """A context for one body."""
        if threading.get_ident() == self._main_thread:
            return self
        if not self._is_absence_logged:
            self._is_absence_logged = True
            _log.warning("time_limit_absent", why="only the main thread can be interrupted")
        return nullcontext()

    def __enter__(self) -> None:
        now = time.monotonic()
        due = now + self._first_alarm_s
        # The write comes first: an alarm that rings from here on is set again for this body.
        outer, _alarm.due = _alarm.due, due
        if outer or not now < _alarm.rings_at <= due:
            _alarm.enter(outer, due, now)

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _failure: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if _alarm.outer:
            _alarm.leave()
        else:
            _alarm.due = 0.0


class _PutAside:
    """Somebody's running timer and handler while a body runs under ours."""

    __slots__ = ("_delay_s", "_handler", "_interval_s", "_since_s")

    def __init__(self, timer: tuple[float, float], handler: _Handler) -> None:
        self._delay_s, self._interval_s = timer
        self._handler = handler
        self._since_s = time.monotonic()

    def run_on(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)  # ours must not ring at his handler
        signal.signal(signal.SIGALRM, self._handler)
        left_s = self._delay_s - (time.monotonic() - self._since_s)
        signal.setitimer(signal.ITIMER_REAL, max(left_s, _MIN_DELAY_S), self._interval_s)


class _Alarm:
    """The one timer of the process, and the body that it watches. Only for the main thread.

    Attributes:
        due: from when on the running body is suspect, in monotonic seconds; 0 when none runs.
        rings_at: when the timer rings that was set last; 0 when none is set. Nobody rings twice
            for that time, so a timer that was taken away is set again by the first body after it.
        suspect: the `due` of a body that an alarm has found running too long.
        outer: what the innermost bodies interrupt: the `due` of an outer one, a timer put aside.
    """

    __slots__ = ("_is_switched_off_at_exit", "due", "outer", "rings_at", "suspect")

    def __init__(self) -> None:
        self.due = self.rings_at = self.suspect = 0.0
        self.outer: list[tuple[float, _PutAside | None]] = []
        self._is_switched_off_at_exit = False

    def enter(self, outer: float, due: float, now: float) -> None:
        """Let the alarm ring at `due`, or when the body around it is due at `outer`."""
        put_aside = self._take_signal()
        if outer or put_aside is not None:
            self.outer.append((outer, put_aside))
        if outer:
            self.due = due = min(due, outer)
        self.ring_after(due - now, now)

    def leave(self) -> None:
        """Go back to what the body interrupted."""
        self.due = 0.0
        outer, put_aside = self.outer.pop()
        if put_aside is not None:
            put_aside.run_on()
            self.rings_at = 0.0
        self.due = outer

    def ring_after(self, delay_s: float, now: float) -> None:
        """Set the timer."""
        delay_s = max(delay_s, _MIN_DELAY_S)
        self.rings_at = now + delay_s
        signal.setitimer(signal.ITIMER_REAL, delay_s)

    def _take_signal(self) -> _PutAside | None:
        """Become its handler before any timer of ours runs: unhandled, it ends the process."""
        if signal.getsignal(signal.SIGALRM) is _ring:
            return None
        timer = signal.setitimer(signal.ITIMER_REAL, 0.0)
        handler = signal.signal(signal.SIGALRM, _ring)
        if not self._is_switched_off_at_exit:
            self._is_switched_off_at_exit = True  # the interpreter gives up its handlers first
            atexit.register(signal.setitimer, signal.ITIMER_REAL, 0.0)
        return None if timer[0] == 0.0 else _PutAside(timer, handler)


_alarm: Final = _Alarm()


def _ring(_signal_number: int, frame: FrameType | None) -> None:
    due = _alarm.due
    if not due:
        _alarm.rings_at = 0.0  # nobody is running; the next one sets it again
        return
    now = time.monotonic()
    if now < due:
        _alarm.ring_after(due - now, now)  # another one than it was set for
        return
    is_confirmed = _alarm.suspect == due
    _alarm.suspect = due
    _alarm.ring_after(_CONFIRM_S, now)
    if is_confirmed and (frame is None or frame.f_code not in _OWN_CODE):
        raise ModuleHung


_OWN_CODE: Final = frozenset(
    function.__code__
    for function in (
        TimeLimit.__call__,
        TimeLimit.__enter__,
        TimeLimit.__exit__,
        _PutAside.__init__,
        _PutAside.run_on,
        _Alarm.enter,
        _Alarm.leave,
        _Alarm.ring_after,
        _Alarm._take_signal,  # noqa: SLF001  # the class above
        _ring,
    )
)
"""Before a body or behind it: an exception here would leave it watched for ever, or its timer
running at somebody else's handler."""
