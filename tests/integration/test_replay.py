"""An outage of a module with `replay`, with the real gateway and the real control plane (R18)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fleet_lab.device import VirtualDevice
from fleet_lab.devices.builtin import Transparent
from module_gateway.control_plane.records import StatusRecord, VehicleName
from module_gateway.control_plane.server import ControlPlane
from module_gateway.protocol.identity import Identity
from module_gateway.runtime.settings import ControlPlaneSettings, Settings
from tests.brokers import MosquittoBroker
from tests.integration.stack import (
    COMPANY,
    START_LIMIT_S,
    VEHICLE,
    Stack,
    configuration,
    running_stack,
)

NAME = VehicleName(COMPANY, VEHICLE)
PROBE = Identity(3, 0, "probe")
PERIOD_S = 0.1
OUTAGE = 50
"""Statuses that are answered during it."""


@asynccontextmanager
async def control_plane(port: int) -> AsyncIterator[ControlPlane]:
    section = ControlPlaneSettings(broker_port=port)
    serving = ControlPlane(Settings(control_plane_settings=section), {})
    stop = asyncio.Event()
    task = asyncio.create_task(serving.run(stop))
    try:
        await asyncio.wait_for(serving.ready(), 10)
        yield serving
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


async def history(serving: ControlPlane) -> list[StatusRecord]:
    return await serving.store.history(NAME, PROBE, None, 10_000)


async def until(serving: ControlPlane, statuses: int) -> list[StatusRecord]:
    """The history once so many statuses with a number in the outbox are applied."""
    async with asyncio.timeout(START_LIMIT_S):
        while True:
            entries = [one for one in await history(serving) if one.position is not None]
            if len(entries) >= statuses:
                return entries
            await asyncio.sleep(0.05)  # another process's progress: nothing to wait for


@asynccontextmanager
async def probing(stack: Stack) -> AsyncIterator[VirtualDevice]:
    device = VirtualDevice(
        Transparent("probe"), gateway=stack.gateway, period_s=PERIOD_S, is_patient=True
    )
    running = asyncio.create_task(device.run(), name="probe")
    try:
        yield device
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.timeout(180)
async def test_R18_an_outage_is_replayed_in_order_and_live_statuses_are_current(
    tmp_path: Path,
) -> None:
    settings = {"module-settings": {"3": {"replay": True}}}
    with MosquittoBroker(tmp_path, has_unix=False) as broker:
        assert broker.port is not None
        async with (
            control_plane(broker.port) as serving,
            running_stack(configuration(broker.port, **settings)) as stack,
            probing(stack) as device,
        ):
            before = len(await until(serving, 10))
            broker.kill()
            answered = device.counts.answered
            async with asyncio.timeout(START_LIMIT_S):
                while device.counts.answered < answered + OUTAGE:
                    await asyncio.sleep(PERIOD_S)
            broker.start()
            entries = await until(serving, before + OUTAGE + 10)
            record = await serving.store.device(NAME, PROBE)
            assert await stack.stop() == 0

    numbers = [one.position.sequence for one in entries if one.position is not None]
    payloads = [one.status for one in entries]
    assert numbers == sorted(set(numbers))
    assert len(set(payloads)) == len(payloads)
    assert sum(one.is_replayed for one in entries) >= OUTAGE - 5
    assert record is not None
    assert (record.last_error, record.last_status is not None) == (None, True)
    assert not record.last_status.is_replayed
