"""How long the product waits by its own will, whatever the machine adds to that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest


def waits_from_now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The timeouts of all calls of `asyncio.wait` from now on; the list grows with each."""
    waits_s: list[float] = []
    wait = asyncio.wait

    async def noted(awaited: Any, *, timeout: float | None = None, **how: Any) -> Any:
        if timeout is not None:
            waits_s.append(timeout)
        return await wait(awaited, timeout=timeout, **how)

    monkeypatch.setattr(asyncio, "wait", noted)
    return waits_s
