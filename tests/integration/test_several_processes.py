"""Two internal servers on one port and two handlers that divide the devices: real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from random import Random

import pytest

from module_gateway.protocol.errors import Reason
from module_gateway.runtime.settings import DEFAULT_MODULE_PATHS
from tests.chaos.faults import Vandal
from tests.chaos.footprint import metrics_of
from tests.chaos.referee import Referee
from tests.chaos.test_gateway_under_faults import (
    CALM_S,
    LINES_TOLD,
    MODULE,
    all_is_upstream,
    everybody_is_answered,
    fleet,
    steady_port,
)
from tests.integration.stack import (
    RECOVERY_LIMIT_S,
    Stack,
    control_plane_api,
    demo_configuration,
    running_stack,
)

SERVERS = ("internal_server", "internal_server.2")
HANDLERS = ("module_handler", "module_handler.2")
TAKEN_OVER = f'module_gateway_internal_server_closed_total{{reason="{Reason.TAKEN_OVER}"}}'
STATUSES = "module_gateway_internal_server_statuses_total"
REGISTERED = 'module_gateway_module_handler_size{of="registered"}'
ENOUGH_TAKEOVERS = 10.0


async def takeovers(stack: Stack) -> list[float]:
    return [(await metrics_of(stack, name)).get(TAKEN_OVER, 0.0) for name in SERVERS]


async def back(stack: Stack, component: str, old: int) -> None:
    """Wait until the supervisor has it in service again, as another process."""
    await stack.wait_for_line(lambda line: f"component_back name={component} " in line, 60.0)
    assert stack.pid_of(component) != old


@pytest.mark.timeout(400)
async def test_R5_takeovers_across_servers_and_handlers_lose_and_double_nothing():
    rng = Random(5)
    settings = demo_configuration(
        **{
            "module-paths": {**DEFAULT_MODULE_PATHS, str(MODULE): "tests.modules.roll:RollModule"},
            "internal-server-settings": {
                "port": steady_port(rng),
                "metrics-port": 0,
                "processes": 2,
            },
            "module-handler-settings": {"metrics-port": 0, "processes": 2},
        }
    )
    referee = Referee()
    async with running_stack(settings, "--demo") as stack, control_plane_api(stack) as api:
        devices = fleet(stack, referee, rng)
        running = [asyncio.create_task(one.run(), name=str(one.identity)) for one in devices]
        vandal = Vandal(stack)
        try:
            async with asyncio.timeout(120):
                while min(await takeovers(stack)) < ENOUGH_TAKEOVERS:
                    await asyncio.sleep(0.2)
            for name in HANDLERS:
                assert (await metrics_of(stack, name))[REGISTERED] > 1
            for name in (SERVERS[1], HANDLERS[1]):
                old = stack.pid_of(name)
                if name in HANDLERS:
                    vandal.handler_kills.append(time.monotonic())
                os.kill(old, signal.SIGKILL)
                await back(stack, name, old)
            referee.is_wild = False
            calm = time.monotonic() + CALM_S
            await everybody_is_answered(referee, calm, calm + RECOVERY_LIMIT_S)
            for name in SERVERS:
                assert (await metrics_of(stack, name))[STATUSES] > 0
            for task in running:
                task.cancel()
            ended = await asyncio.gather(*running, return_exceptions=True)
            assert [repr(each) for each in ended if isinstance(each, Exception)] == []
            assert referee.wrong == []
            await all_is_upstream(api, devices, referee, vandal)
            assert await stack.stop() == 0
        except AssertionError as error:
            error.add_note("\n".join(stack.lines[-LINES_TOLD:]))
            raise
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
