"""A process that stands still is noticed, killed and started again, and everybody can see why."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

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
