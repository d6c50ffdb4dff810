"""A process that stands still is noticed, killed and started again, and everybody can see why."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.brokers import free_port
from tests.integration.stack import START_LIMIT_S, Stack, configuration, running_stack

HUNG_LIMIT_MS = 4_000
NOTICED_S = 30.0
"""Some times the limit: the machine is busy with other tests."""


def says(event: str, name: str) -> Callable[[str], bool]:
    return lambda line: event in line and f"name={name}" in line


async def until_back(stack: Stack, name: str, since: int) -> None:
    await stack.wait_for_line(says("component_hung", name), NOTICED_S, since=since)
    died = await stack.wait_for_line(says("component_died", name), NOTICED_S, since=since)
    assert "reason=hung" in died
    await stack.wait_for_line(says("component_back", name), START_LIMIT_S, since=since)


@pytest.mark.timeout(240)
async def test_a_process_of_ours_or_a_broker_that_stands_still_is_started_again() -> None:
    settings = configuration(
        free_port(), **{"supervisor-settings": {"hung-limit-ms": HUNG_LIMIT_MS}}
    )
    async with running_stack(settings) as stack:
        pid = stack.pid_of("module_handler")
        since = len(stack.lines)
        os.kill(pid, signal.SIGSTOP)
        await until_back(stack, "module_handler", since)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert stack.pid_of("module_handler") != pid

        account = stack.note_of("gateway")["components"]["module_handler"]
        assert (account["restarts"]["hung"] >= 1, account["is_ready"]) == (True, True)
        assert account["newest_restarts"][0]["reason"] == "hung"
        metrics = stack.note_of("module_handler")["addresses"]["metrics"]
        async with httpx.AsyncClient(trust_env=False) as client:
            text = (await client.get(f"http://{metrics}/metrics")).text
        counted = 'module_gateway_restarts_total{component="module_handler",reason="hung"}'
        assert any(line.startswith(counted) for line in text.splitlines())

        since = len(stack.lines)
        os.kill(stack.pid_of_broker("bus-broker.conf"), signal.SIGSTOP)
        await until_back(stack, "bus_broker", since)
        assert await stack.stop() == 0


def family(stack: Stack) -> list[int]:
    """The supervisor and everything that it has started."""
    tasks = Path(f"/proc/{stack.process.pid}/task").iterdir()
    children = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    return [stack.process.pid, *children]


@pytest.mark.timeout(240)
async def test_a_machine_that_was_suspended_has_made_nobody_hang() -> None:
    settings = configuration(
        free_port(), **{"supervisor-settings": {"hung-limit-ms": HUNG_LIMIT_MS}}
    )
    async with running_stack(settings) as stack:
        before = family(stack)
        for pid in reversed(before):
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(1.5 * HUNG_LIMIT_MS / 1000)  # nothing else happens meanwhile
        for pid in before:
            os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(HUNG_LIMIT_MS / 1000)  # long enough for a wrong judgement
        assert family(stack) == before
        assert not [line for line in stack.lines if "component_hung" in line]
        assert await stack.stop() == 0
