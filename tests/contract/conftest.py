"""Event loops of the contract tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
import uvloop

from tests.postgresql import PostgresqlServer, find_programs, running_postgresql

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


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """One server for the session; ask it for databases."""
    programs = find_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server on this machine")
    with running_postgresql(programs) as server:
        yield server
