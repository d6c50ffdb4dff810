"""How a sink comes back: waits that double, with jitter, and words for what went wrong."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Final

from fleet_lab.devices.generators import Stream

OPEN_TIMEOUT_S: Final = 5.0
BACKOFF_MIN_S: Final = 0.1
BACKOFF_MAX_S: Final = 5.0
"""From the first wait to the longest: a fleet that lost its gateway must not become a flood."""


async def attempts(rng: Stream, first_s: float = BACKOFF_MIN_S) -> AsyncIterator[float]:
    """Waits, then gives the seconds that it waited for at most; doubled each time."""
    wait_s = first_s
    while True:
        await asyncio.sleep(wait_s * rng.uniform(0.5, 1.0))
        yield wait_s
        wait_s = min(wait_s * 2, BACKOFF_MAX_S)


def cause(error: OSError) -> str:
    """A word of the system's; asyncio wraps it into "Connect call failed" and the address."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error) or "connection failed"
