"""What an operator relies on: counters of every process, and devices that fall silent."""

from __future__ import annotations

import asyncio
import os
import signal

import httpx
import pytest

from fleet_lab.device import VirtualDevice
from fleet_lab.devices.builtin import Example
from module_gateway.protocol.identity import Device
from module_gateway.protocol.internal import encode_connect, encode_status
from tests.brokers import free_port
from tests.integration.stack import (
    DEMO_ROLES,
    RECOVERY_LIMIT_S,
    ControlPlaneApi,
    Stack,
    control_plane_api,
    demo_configuration,
    running_stack,
)

EXPORTED = {
    "internal_server": (
        "module_gateway_internal_server_connections",
        'module_gateway_internal_server_connect_responses_total{response="2"}',
        'module_gateway_internal_server_closed_total{reason="frame_empty"}',
        "module_gateway_internal_server_statuses_total",
        "module_gateway_internal_server_unanswered",
        "module_gateway_bus_is_up",
    ),
    "module_handler": (
        "module_gateway_module_handler_statuses_applied_total",
        "module_gateway_module_handler_published_total",
        "module_gateway_module_handler_inbox_messages",
        'module_gateway_module_handler_size{of="outbox_entries"}',
        'module_gateway_module_handler_dropped_total{reason="command_superseded"}',
    ),
    "external_client": (
        'module_gateway_external_client_statuses_total{endpoint="0",state="running"}',
        'module_gateway_external_client_statuses_in_flight{endpoint="0"}',
        'module_gateway_external_client_sessions_ended_total{endpoint="0",reason="broker_lost"}',
        'module_gateway_external_client_command_responses_total{endpoint="0",response="ok"}',
    ),
    "control_plane": (
        "module_gateway_control_plane_statuses_total",
        'module_gateway_control_plane_commands_total{state="ok"}',
    ),
}
"""Of each process at least these: connections, rejects by reason, statuses in and out,
unacknowledged ones, reconnects by cause, queue depths, command drops."""


async def misbehave(stack: Stack) -> None:
    """One refused device and one that sends an empty frame; both are closed."""
    for first in (encode_connect(Device.of(77, 0, "nobody")), bytes(4)):
        reader, writer = await asyncio.open_connection(stack.gateway.host, stack.gateway.port)
        writer.write(first)
        await asyncio.wait_for(reader.read(), RECOVERY_LIMIT_S)
        writer.close()


async def metrics_of(stack: Stack, component: str) -> set[str]:
    async with httpx.AsyncClient(trust_env=False) as client:
        base = f"http://{stack.addresses[f'{component}.metrics']}"
        ready = await client.get(f"{base}/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (200, True)
        text = (await client.get(f"{base}/metrics")).text
    return {line.rsplit(" ", 1)[0] for line in text.splitlines() if not line.startswith("#")}


async def flood_with_commands(api: ControlPlaneApi) -> None:
    """More commands than may wait, faster than the device's statuses."""
    button = api.device(1000, 0, "slow")
    fates = [api.command(button, {"lit_up": True}, RECOVERY_LIMIT_S) for _ in range(8)]
    assert set(await asyncio.gather(*fates)) == {"ok"}


class Still(Example):
    """A device that always says the same."""

    def sample(self) -> bytes:
        return b'{"pressed": false}'


@pytest.mark.timeout(400)
async def test_O5_every_process_exports_its_counters() -> None:
    async with running_stack(demo_configuration(), "--demo") as stack:
        slow = VirtualDevice(Still("slow"), gateway=stack.gateway, period_s=20.0)
        running = asyncio.create_task(slow.run(), name="slow device")
        async with control_plane_api(stack) as api:
            await api.statuses(DEMO_ROLES, RECOVERY_LIMIT_S)
            await misbehave(stack)
            await flood_with_commands(api)
            os.kill(stack.pid_of_broker("upstream-broker.conf"), signal.SIGKILL)
            await api.statuses(DEMO_ROLES, RECOVERY_LIMIT_S)
            await api.statuses(DEMO_ROLES, RECOVERY_LIMIT_S)  # the first ones may be CONNECTING
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        missing = {
            component: [name for name in names if name not in await metrics_of(stack, component)]
            for component, names in EXPORTED.items()
        }
        assert missing == {component: [] for component in EXPORTED}


@pytest.mark.timeout(400)
async def test_case06_a_silent_device_is_closed_and_upstream_hears_disconnect() -> None:
    settings = demo_configuration(
        **{
            "internal-server-settings": {
                "port": free_port(), "metrics-port": 0, "inactivity-ms": 2000,
            },
            "module-handler-settings": {"metrics-port": 0, "heartbeat-ms": 1000},
        }
    )  # fmt: skip
    device = Device.of(1000, 0, "silent")
    async with running_stack(settings, "--demo") as stack, control_plane_api(stack) as api:
        events = api.events()
        await anext(events)
        reader, writer = await asyncio.open_connection(stack.gateway.host, stack.gateway.port)
        writer.write(encode_connect(device) + encode_status(device, b'{"pressed": true}'))
        async with asyncio.timeout(RECOVERY_LIMIT_S):
            await reader.read()  # the gateway closes it
            states = []
            async for event in events:
                if event["event"] == "status" and event["role"] == "silent":
                    states.append(event["state"])
                    if event["state"] == "disconnect":
                        break
        await events.aclose()
        writer.close()
        assert states[0] == "connecting"
        assert states[-1] == "disconnect"
        assert await stack.stop() == 0
