"""500 devices at once: every answer depends on its status, none is wrong, lost or swapped."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest

from fleet_lab.device import DeviceListener, VirtualDevice
from fleet_lab.devices import api as lab
from fleet_lab.devices.generators import Stream
from module_gateway.protocol.identity import Device
from module_gateway.runtime.settings import DEFAULT_MODULE_PATHS
from tests.integration.stack import (
    START_LIMIT_S,
    ControlPlaneApi,
    control_plane_api,
    demo_configuration,
    running_stack,
)
from tests.modules.echo import answer_to

DEVICES = 500
PERIOD_S = 1.0
STATUSES = int(float(os.environ.get("MODULE_GATEWAY_TEST_EXCHANGE_S", "60")) / PERIOD_S)
"""Of each device: 60 s of exchange unless the variable says something shorter."""
ECHO = 2000
DRAIN_LIMIT_S = 60.0


class Distinct(lab.Device):
    """Statuses that no other device and no other moment has; remembers them."""

    def __init__(self, role: str, device_type: int) -> None:
        options = {"module": ECHO, "device_type": device_type}
        super().__init__(role, Stream(1, role), options)
        self.sent: list[bytes] = []

    def sample(self) -> bytes:
        status = {"role": self.role, "n": self.attempts + 1, "salt": f"{self.rng.word():016x}"}
        self.sent.append(json.dumps(status).encode())
        return self.sent[-1]

    def on_command(self, payload: bytes) -> None:
        """The listener looks at it, together with its status."""


class Referee(DeviceListener):
    """Collects everything that must not happen."""

    def __init__(self) -> None:
        self.wrong: list[str] = []

    def answered(self, device: Device, status: bytes, command: bytes, latency_s: float) -> None:
        if command != answer_to(status):
            self.wrong.append(f"{device} got {command!r} for {status!r}")

    def pushed(self, device: Device, command: bytes) -> None:
        self.wrong.append(f"{device} got {command!r} unasked")

    def disconnected(self, device: Device, reason: str) -> None:
        self.wrong.append(f"{device}: {reason}")

    def refused(self, device: Device, explanation: str) -> None:
        self.wrong.append(f"{device}: {explanation}")


def fleet(gateway: Any, referee: Referee) -> dict[str, tuple[VirtualDevice, Distinct]]:
    made = {}
    opening = asyncio.Semaphore(50)
    for index in range(DEVICES):
        role = f"device_{index}"
        payloads = Distinct(role, index % 3)
        device = VirtualDevice(
            payloads,
            gateway=gateway,
            period_s=PERIOD_S,
            statuses=STATUSES,
            first_after_s=PERIOD_S * index / DEVICES,
            listener=referee,
            opening=opening,
        )
        made[role] = (device, payloads)
    return made


async def everybody_left(api: ControlPlaneApi) -> None:
    """Wait until the control plane has each device's DISCONNECT, which comes last."""
    left = 0
    try:
        async with asyncio.timeout(DRAIN_LIMIT_S):
            while left < DEVICES:
                devices = (await api.get(api.vehicle))["devices"]
                last = [d["last_status"] for d in devices if d["module"] == ECHO]
                left = sum(
                    status is not None and status["state"] == "disconnect" for status in last
                )
                await asyncio.sleep(0.2)  # a stream of events may drop some; a state does not
    except TimeoutError:
        raise AssertionError(f"{left} of {DEVICES} devices left at the control plane") from None


def upstream_of(history: list[dict[str, Any]]) -> tuple[int, list[bytes]]:
    """How many statuses the first one stands for, and all others in order."""
    states = [entry["state"] for entry in history]
    assert states == ["connecting", *["running"] * (len(history) - 2), "disconnect"]
    assert history[-1]["status"] == history[-2]["status"], "DISCONNECT repeats the last status"
    assert [entry["error"] for entry in history[1:]] == [None] * (len(history) - 1)
    folded = int(history[0]["error"]["data"]) if history[0]["error"] else 1
    return folded, [json.dumps(entry["status"]["data"]).encode() for entry in history[:-1]]


@pytest.mark.timeout(60 + 2 * STATUSES * PERIOD_S + START_LIMIT_S + DRAIN_LIMIT_S)
async def test_500_devices_get_only_right_answers_and_all_of_it_arrives_upstream() -> None:
    settings = demo_configuration(
        **{
            "module-paths": {**DEFAULT_MODULE_PATHS, str(ECHO): "tests.modules.echo:EchoModule"},
            # This test is about right and wrong: a starved machine must not make it about time.
            "internal-server-settings": {
                "port": 0, "metrics-port": 0, "reply-window-ms": 5000,
            },
            "external-client-settings": {"metrics-port": 0, "step-timeout-ms": 60_000},
            "bus": {"silence-ms": 30_000},
        }
    )  # fmt: skip
    settings["control-plane-settings"].update({"step-timeout-ms": 60_000})
    referee = Referee()
    async with running_stack(settings, "--demo") as stack, control_plane_api(stack) as api:
        devices = fleet(stack.gateway, referee)
        await asyncio.gather(*(device.run() for device, _ in devices.values()))
        assert referee.wrong == []
        for device, payloads in devices.values():
            assert device.counts.connects == 1
            assert device.counts.answered == len(payloads.sent) == STATUSES

        await everybody_left(api)
        for role, (_, payloads) in devices.items():
            address = api.device(ECHO, payloads.device_type, role)
            folded, received = upstream_of(await api.get(f"{address}/history", limit=1000))
            assert received == payloads.sent[folded - 1 :], role
        assert await stack.stop() == 0
