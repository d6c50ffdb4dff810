"""Ending tasks that run code of others."""

from __future__ import annotations

import asyncio
from typing import Any, Final

AGAIN_S: Final = 0.1
"""Long enough for a task to end, short enough to repeat what it has swallowed."""


async def cancel_all(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks until all of them have ended; how they ended is for the caller to see.

    One cancellation is not enough: `asyncio.wait_for` of Python 3.11 swallows one that comes
    together with what it waits for (a PUBACK in aiomqtt), and the task goes on.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)
