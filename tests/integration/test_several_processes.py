"""Two internal servers on one port and two handlers that divide the devices: real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from random import Random

import pytest

from module_gateway.protocol.errors import Reason
from module_gateway.protocol.framing import FrameDecoder
from module_gateway.protocol.identity import PARTITIONS, Device
from module_gateway.protocol.internal import encode_connect, encode_status
from module_gateway.runtime.settings import DEFAULT_MODULE_PATHS
from tests.brokers import free_port
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
    REPOSITORY,
    Stack,
    configuration,
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


@pytest.mark.timeout(300)
async def test_a_filled_store_is_not_divided_anew():
    device = next(
        found
        for n in range(1000)
        if (found := Device.of(1000, 0, f"button_{n}")).identity.partition >= PARTITIONS // 2
    )
    settings = configuration(free_port())
    async with running_stack(settings) as stack:
        gateway = stack.gateway
        reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
        writer.write(encode_connect(device) + encode_status(device, b'{"pressed": true}'))
        decoder, answers = FrameDecoder(), 0
        async with asyncio.timeout(60):
            while answers < 2:
                decoder.receive(await reader.read(4096))
                answers += len(list(iter(decoder.next_frame, None)))
        writer.close()
        assert await stack.stop() == 0

        handlers = {"module-handler-settings": {"metrics-port": 0, "processes": 2}}
        file = stack.state_dir.parent / "two.json"
        file.write_text(json.dumps({**settings, **handlers}))
        again = await asyncio.create_subprocess_exec(
            sys.executable, str(REPOSITORY / "run_all.py"),
            "--config", str(file), "--state-dir", str(stack.state_dir),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(120):
                said, _ = await again.communicate()
        finally:
            if again.returncode is None:
                again.kill()
                await again.wait()
    assert again.returncode == 78, said.decode()
    assert f"belong to another handler, {device.identity} for one" in said.decode()
