"""When a broker that says nothing is lost. Pure: time is counted in ticks of the caller.

While the caller's process stands still itself it does not tick, so the broker is not blamed for
what waits in the socket meanwhile.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

ASK_PART: Final = 0.6
"""Of the keep-alive: a broker that is silent for so long is asked for a sign of life, and lost
after as long again. With the ticks under 1.5 keep-alives (E16)."""

_TICK_MAX_S: Final = 1.0

_TICKS_PER_TIMEOUT: Final = 5
"""How finely the time that a confirmation takes is measured."""

TICKS_PER_SILENCE: Final = 10
"""How finely silence is measured: two ticks more are at most 0.12 keep-alives."""


class Finding(Enum):
    """What a tick shows."""

    FINE = auto()
    ASK = auto()
    """Say something now: one side has been silent for long."""
    SILENT = auto()
    """The broker was asked, and is lost."""
    UNCONFIRMED = auto()
    """One message waits for its confirmation for too long."""


class Vigil:
    """Of one connection.

    Attributes:
        tick_s: how often `tick` must be called.
    """

    def __init__(self, confirm_timeout_s: float, ask_after_s: float) -> None:
        """Bound the wait for one confirmation, and the silence until `Finding.ASK`."""
        self.tick_s: Final = min(
            _TICK_MAX_S, confirm_timeout_s / _TICKS_PER_TIMEOUT, ask_after_s / TICKS_PER_SILENCE
        )
        self._confirm_timeout_s = confirm_timeout_s
        self._patience = max(1, round(ask_after_s / self.tick_s))
        self._unheard = 0
        self._unsaid = 0
        self._oldest: int | None = None
        self._unconfirmed = 0

    def tick(self, oldest: int | None, *, is_heard: bool, is_said: bool) -> Finding:
        """Look at what happened since the last tick.

        Args:
            oldest: which message waits for its confirmation longest, None for none.
            is_heard: anything came from the broker.
            is_said: anything went to it.
        """
        is_waiting = oldest is not None and oldest == self._oldest
        self._oldest = oldest
        self._unconfirmed = self._unconfirmed + 1 if is_waiting else 0
        self._unheard = 0 if is_heard else self._unheard + 1
        self._unsaid = 0 if is_said else self._unsaid + 1
        if self._unconfirmed * self.tick_s >= self._confirm_timeout_s:
            return Finding.UNCONFIRMED
        if self._unheard >= 2 * self._patience:
            return Finding.SILENT
        if self._unheard == self._patience or self._unsaid >= self._patience:
            return Finding.ASK
        return Finding.FINE
