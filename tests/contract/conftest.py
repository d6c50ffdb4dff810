"""Event loops of the contract tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, LoopFactory]:
    """The bus on both loops: they differ in how they watch a socket that somebody else owns."""
    if item.path.name == "test_bus.py":
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The embedded broker is slow, and to it both loops look the same: one is enough."""
    items[:] = [
        item for item in items if not ("[uvloop-" in item.nodeid and "_embedded" in item.nodeid)
    ]
