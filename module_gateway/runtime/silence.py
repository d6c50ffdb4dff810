"""How long a supervised process was silent, as its supervisor sees it.

What counts is the time during which the supervisor itself made progress. A machine that was
suspended, or a group of processes that was stopped as a whole, has not let anybody hang.
"""

from __future__ import annotations

from typing import Final

LOOKS: Final = 10
"""How often the supervisor looks within the limit."""
COUNTED_LOOKS: Final = 2.5
"""So many looks' worth of time counts at most between two of them: enough for a loaded machine,
and after a pause of the supervisor several looks follow in which what waits is read."""


class Silence:
    """Of one process. All times are monotonic seconds of the supervisor."""

    def __init__(self, limit_s: float, now: float) -> None:
        """Whoever is silent for `limit_s` from `now` on hangs."""
        self.limit_s = limit_s
        self.look_s = limit_s / LOOKS
        self.silent_s = 0.0
        self._looked_at = now

    def heard(self) -> None:
        """It made progress."""
        self.silent_s = 0.0

    def look(self, now: float) -> bool:
        """Whether it hangs; due every `look_s`."""
        passed_s = max(0.0, now - self._looked_at)
        self.silent_s += min(passed_s, COUNTED_LOOKS * self.look_s)
        self._looked_at = now
        return self.silent_s > self.limit_s
