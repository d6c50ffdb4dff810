"""The pulse of a process: looks at its progress, and says that it lives only while there is some.

It runs in the event loop, so its own lateness is the loop's: a loop that hangs answers neither
/readyz nor its supervisor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from prometheus_client import Gauge

from module_gateway.runtime.health import PROGRESS, Health, Progress
from module_gateway.runtime.log import get_logger
from module_gateway.runtime.notify import Notifier

PERIOD_S: Final = 1.0
"""How often it looks. Half of the watchdog's time, as sd_watchdog_enabled(3) has it, if shorter."""
LATE_S: Final = 1.0
"""A loop that is later than this answers nobody in time: four times a device's patience (250 ms),
so that one starved moment of a small machine takes nobody out of service."""

LAG: Final = Gauge(
    "module_gateway_loop_lag_seconds", "How late the event loop was at its last pulse."
)

_log = get_logger(__name__)


async def keep_pulse(
    progress: Progress,
    health: Health,
    notifier: Notifier,
    clock: Callable[[], float] | None = None,
) -> None:
    """Until cancelled: set the check `progress`, and tell `notifier` while it is true."""
    clock = clock or asyncio.get_running_loop().time
    period_s = min(PERIOD_S, (notifier.watchdog_s or 2 * PERIOD_S) / 2)
    was_stalled = ""
    late_s = 0.0
    while True:
        LAG.set(late_s)
        if late_s > LATE_S:
            progress.excuse(late_s)
        stalled = progress.stalled()
        is_late = late_s > LATE_S
        health.set(
            PROGRESS,
            not stalled and not is_late,
            stalled or (f"the loop was {late_s:.1f} s late" if is_late else ""),
        )
        if not stalled:
            notifier.alive()
        elif not was_stalled:
            _log.error("progress_stalled", what=stalled)
            notifier.say(f"stands still: {stalled}")
        was_stalled = stalled
        due = clock() + period_s
        await asyncio.sleep(period_s)
        late_s = max(0.0, clock() - due)
