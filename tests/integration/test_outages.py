"""The external client keeps working: telemetry is back within 15 s of every kind of outage."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from fleet_lab.device import VirtualDevice
from fleet_lab.devices.builtin import Transparent
from tests.brokers import MosquittoBroker
from tests.integration.peer import ScriptedServer, scripted_server
from tests.integration.stack import (
    COMPANY,
    DEMO_ROLES,
    RECOVERY_LIMIT_S,
    START_LIMIT_S,
    VEHICLE,
    Stack,
    configuration,
    control_plane_api,
    demo_configuration,
    running_stack,
)


async def telemetry(stack: Stack, limit_s: float) -> None:
    """Wait for a new status of every demo device; the API may not be there yet."""
    async with asyncio.timeout(limit_s):
        while True:
            try:
                async with control_plane_api(stack) as api:
                    await api.statuses(DEMO_ROLES, limit_s)
            except httpx.TransportError:
                await asyncio.sleep(0.05)  # another process's port: there is no event to wait for
            else:
                return


async def recovery(stack: Stack, part: str, pid: int) -> None:
    """Kill this process; its supervisor brings it back and telemetry with it, in time."""
    seen = len(stack.lines)
    os.kill(pid, signal.SIGKILL)
    try:
        async with asyncio.timeout(RECOVERY_LIMIT_S):
            await stack.wait_for_line(
                lambda line: "component_back" in line and part in line, START_LIMIT_S, since=seen
            )
            await telemetry(stack, START_LIMIT_S)
    except TimeoutError:
        said = "\n".join(stack.lines[seen:])
        raise AssertionError(
            f"no telemetry within {RECOVERY_LIMIT_S:g} s of the kill of {part}:\n{said}"
        ) from None


@pytest.mark.timeout(600)
async def test_telemetry_is_back_after_a_kill_of_any_part_that_it_passes() -> None:
    async with running_stack(demo_configuration(), "--demo") as stack:
        await telemetry(stack, START_LIMIT_S)
        for broker in ("upstream_broker", "bus_broker"):
            configuration_name = f"{broker.replace('_', '-')}.conf"
            await recovery(stack, broker, stack.pid_of_broker(configuration_name))
        for part in ("control_plane", "external_client", "module_handler", "internal_server"):
            await recovery(stack, part, stack.pid_of(part))
        assert await stack.stop() == 0


@asynccontextmanager
async def reporting_device(stack: Stack) -> AsyncIterator[VirtualDevice]:
    """A device that reports ten times a second, until the end of the context."""
    device = VirtualDevice(
        Transparent("probe"),
        gateway=stack.gateway,
        period_s=0.1,
        is_patient=True,
    )
    running = asyncio.create_task(device.run(), name="probe")
    try:
        yield device
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def gateway_and_scripted_server(
    folder: Path, refusals: int = 0
) -> AsyncIterator[tuple[Stack, ScriptedServer, MosquittoBroker]]:
    """The real gateway with one device, a real upstream broker and a scripted server behind it."""
    with MosquittoBroker(folder, has_unix=False) as broker:
        assert broker.port is not None
        async with (
            scripted_server(broker.port, COMPANY, VEHICLE, refusals) as server,
            running_stack(configuration(broker.port)) as stack,
            reporting_device(stack),
        ):
            yield stack, server, broker


@pytest.mark.timeout(300)
async def test_a_refused_session_is_tried_again_under_another_id(tmp_path: Path) -> None:
    async with gateway_and_scripted_server(tmp_path, refusals=2) as (stack, server, _):
        await server.wait_for_running(START_LIMIT_S)
        assert len(server.session_ids) == len(set(server.session_ids)) == 3
        assert await stack.stop() == 0


@pytest.mark.timeout(300)
async def test_a_dropped_session_is_replaced_by_a_new_one(tmp_path: Path) -> None:
    async with gateway_and_scripted_server(tmp_path) as (stack, server, _):
        await server.wait_for_running(START_LIMIT_S)
        for sessions in (2, 3):
            await server.drop_session()
            await server.wait_for_running(RECOVERY_LIMIT_S)
            assert len(set(server.session_ids)) == sessions
        assert await stack.stop() == 0


@pytest.mark.timeout(300)
async def test_sigterm_ends_a_gateway_whose_upstream_broker_is_gone(tmp_path: Path) -> None:
    with MosquittoBroker(tmp_path, has_unix=False) as broker:
        assert broker.port is not None
        async with running_stack(configuration(broker.port)) as stack, reporting_device(stack):
            broker.kill()
            async with asyncio.timeout(RECOVERY_LIMIT_S):
                assert await stack.stop() == 0
