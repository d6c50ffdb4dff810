"""Whether a process may be relied on: named checks, asked over HTTP as /readyz.

A living thread proves nothing: `Progress` knows which work is waiting and since when none of it
was done. Its clock is the caller's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

STARTED: Final = "started"
"""The check that `Runtime.announce_ready` passes."""
PROGRESS: Final = "progress"
"""The check that is false while some work stands still."""


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of being ready; `detail` says in words why not."""

    is_ok: bool
    detail: str = ""


class Health:
    """The checks of one process. It is ready when all of them are true."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {STARTED: Check(is_ok=False, detail="starting")}

    def set(self, name: str, is_ok: bool, detail: str = "") -> None:  # noqa: FBT001
        """Record the present outcome of check `name`; a new name is a new check."""
        self._checks[name] = Check(is_ok, detail)

    @property
    def is_ready(self) -> bool:
        """All checks are true."""
        return all(check.is_ok for check in self._checks.values())

    def report(self) -> dict[str, object]:
        """What /readyz answers, ready to become JSON."""
        return {
            "ready": self.is_ready,
            "checks": {
                name: {"ok": check.is_ok, "detail": check.detail}
                for name, check in self._checks.items()
            },
        }


class Beat:
    """One kind of work. It stands still when work waits and none was done for `limit_s`."""

    __slots__ = ("_clock", "_since", "limit_s")

    def __init__(self, limit_s: float, clock: Callable[[], float]) -> None:
        self.limit_s = limit_s
        self._clock = clock
        self._since: float | None = None

    def wait(self) -> None:
        """Work waits from now on, if none has waited before."""
        if self._since is None:
            self._since = self._clock()

    def done(self, *, is_more: bool = False) -> None:
        """Some of it was done, or tried in vain; `is_more`: other work waits."""
        self._since = self._clock() if is_more else None

    def excuse(self, late_s: float) -> None:
        """So much of the time that has passed does not count."""
        if self._since is not None:
            self._since = min(self._since + late_s, self._clock())

    def age_s(self) -> float:
        """How long work has waited without any being done, 0 when none waits."""
        return 0.0 if self._since is None else self._clock() - self._since


class Progress:
    """Everything in one process that must not stand still."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives monotonic seconds."""
        self._clock = clock
        self._beats: dict[str, Beat] = {}

    def expect(self, name: str, limit_s: float) -> Beat:
        """A new kind of work, in the words of an operator; it may rest at most for `limit_s`."""
        beat = self._beats[name] = Beat(limit_s, self._clock)
        return beat

    def excuse(self, late_s: float) -> None:
        """The whole process, or its machine, stood still for so long: no work is to blame."""
        for beat in self._beats.values():
            beat.excuse(late_s)

    def stalled(self) -> str:
        """What stands still and since when, "" when nothing does."""
        ages = {name: beat.age_s() for name, beat in self._beats.items()}
        return ", ".join(
            f"{name} for {age_s:.0f} s"
            for name, age_s in ages.items()
            if age_s > self._beats[name].limit_s
        )
