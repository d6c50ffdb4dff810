"""A gateway whose control plane comes late: real broker and witness first, control plane later."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from fleet_lab.children import Child, own_environment
from tests.brokers import MosquittoBroker, free_port
from tests.chaos.footprint import Memory, memory
from tests.chaos.witness import Witness
from tests.integration.stack import (
    COMPANY,
    VEHICLE,
    ControlPlaneApi,
    Stack,
    configuration,
    running_stack,
)

MODULE: Final = 7
AGGREGATE: Final = "aggregate"
REPLAY: Final = "replay"
MODES: Final = (AGGREGATE, REPLAY)
_MODULES: Final = {AGGREGATE: "car_accessory", REPLAY: "transparent"}


@dataclass(frozen=True, slots=True)
class Scene:
    """What runs."""

    stack: Stack
    witness: Witness
    memory: Memory
    control_plane: Child
    api_url: str

    async def counted(self, roles: list[str]) -> dict[str, int]:
        """How many statuses of each device our control plane has counted."""
        counts = {}
        async with httpx.AsyncClient(timeout=60.0, trust_env=False) as client:
            api = ControlPlaneApi(self.api_url, client)
            for role in roles:
                (newest,) = await api.get(f"{api.device(MODULE, 0, role)}/history", limit=1)
                counts[role] = newest["number"]
        return counts

    async def closures(self) -> dict[str, int]:
        """Why the internal server has ended connections, and how many."""
        metrics = self.stack.note_of("internal_server")["addresses"]["metrics"]
        async with httpx.AsyncClient(timeout=60.0, trust_env=False) as client:
            text = (await client.get(f"http://{metrics}/metrics")).text
        found = re.findall(r'internal_server_closed_total\{reason="(\w+)"\} (\d+)', text)
        return {reason: int(count) for reason, count in found}


@asynccontextmanager
async def scene(
    mode: str, prepare: Callable[[Path], Awaitable[None]] | None = None
) -> AsyncIterator[Scene]:
    """The whole gateway, its upstream broker and the witness; the control plane waits for start.

    `prepare` gets the state folder before anything runs.
    """
    with (
        tempfile.TemporaryDirectory(prefix="mg-late-") as name,
        MosquittoBroker(Path(name), has_unix=False) as broker,
    ):
        folder = Path(name)
        assert broker.port is not None
        port = free_port()
        settings: dict[str, Any] = configuration(
            broker.port,
            **{
                "module-paths": {str(MODULE): _MODULES[mode]},
                "module-settings": {str(MODULE): {"replay": mode == REPLAY}},
                "control-plane-settings": {
                    "broker-port": broker.port, "http-port": port, "metrics-port": 0,
                },
            },
        )  # fmt: skip
        file = folder / "config.json"
        file.write_text(json.dumps(settings))
        control_plane = Child(
            "control_plane",
            [
                sys.executable, "-m", "module_gateway", "control-plane",
                "--config", str(file), "--state-dir", str(folder / "control"),
            ],
            log=folder / "control_plane.log",
            ready='"ready"',
            environ=own_environment(),
        )  # fmt: skip
        with Witness(broker.port, COMPANY, VEHICLE) as witness:
            async with running_stack(settings, prepare=prepare) as stack, memory(stack) as seen:
                seen.add("upstream_broker", lambda: broker.pid)
                seen.add("control_plane", lambda: control_plane.pid or 0)
                try:
                    yield Scene(
                        stack, witness, seen, control_plane, f"http://127.0.0.1:{port}/api/v1"
                    )
                    code = await stack.stop()
                    assert code == 0, f"run_all.py ended with {code}"
                finally:
                    await control_plane.stop()
