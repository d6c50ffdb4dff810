"""A whole gateway loses its power again and again while devices report; its cloud stays.

The file layer `unsynced.c` is under its processes. At a cut all of them are killed at once, a
random part of what the store had not synced is taken back (`power_cut.py`), and the gateway starts
again on what is left. The cloud is away half of the time, so that much is in the store alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import httpx

from fleet_lab.children import Child, own_environment
from fleet_lab.device import Gateway
from module_gateway.module_handler.buffer.view import store_path
from module_gateway.protocol.identity import Identity
from tests.brokers import MosquittoBroker, free_port
from tests.chaos import power_cut
from tests.chaos.kills import MODULE, Histories, Verdict, all_answered, drain, judge, steady_port
from tests.chaos.referee import Referee
from tests.chaos.wild_device import WildDevice
from tests.integration.stack import REPOSITORY, ControlPlaneApi, Stack, configuration

DEVICES: Final = 12
SYNC_US: Final = 20_000
"""How long a sync takes at least: then a cut finds something unsynced nearly always."""
LONGEST_LIFE_S: Final = 1.0
MOST_FRUITLESS: Final = 3
"""So many times as many cuts as are wanted may take nothing back."""
DRAIN_LIMIT_S: Final = 60.0


@dataclass(slots=True)
class Cycles:
    """What a run found.

    Attributes:
        verdict: lost, duplicated and so on, as after kills.
        dropped_bytes: of each cut that took something back.
        fruitless: cuts that took nothing back.
    """

    verdict: Verdict
    dropped_bytes: list[int] = field(default_factory=list)
    fruitless: int = 0

    def __str__(self) -> str:
        found = self.verdict
        return (
            f"{len(self.dropped_bytes)} cuts dropped {sum(self.dropped_bytes)} bytes, "
            f"{self.fruitless} dropped none; {found.seconds:.0f} s, answered {found.answered}, "
            f"upstream {found.upstream}, lost {found.lost}, duplicated {found.duplicated}, "
            f"reordered {found.reordered}, phantom {found.phantom}, wrong {found.wrong_device}"
        )


class Vehicle:
    """The gateway and its folder, which outlives it."""

    def __init__(self, folder: Path, settings: Mapping[str, object], library: Path) -> None:
        self._state_dir = folder / "state"
        self._file = folder / "vehicle.json"
        self._file.write_text(json.dumps(settings))
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("IPC_MQTT", "PYTEST"))}
        self._environ = {
            **ours,
            "NO_COLOR": "1",
            "LD_PRELOAD": str(library),
            "UNSYNCED_MATCH": store_path(self._state_dir).name,
            "UNSYNCED_DELAY_US": str(SYNC_US),
        }
        self.stack: Stack | None = None

    async def start(self) -> None:
        """Power comes back."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(REPOSITORY / "run_all.py"),
            "--config", str(self._file), "--state-dir", str(self._state_dir),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env=self._environ, limit=2**20,
        )  # fmt: skip
        self.stack = Stack(process, self._state_dir)
        await self.stack.wait_until_ready()

    async def lose_power(self, rng: Random) -> int:
        """Kill everything; how many bytes of the store are gone with it.

        The supervisor stands still first, lest it says goodbye to the others or starts them again.
        """
        assert self.stack is not None
        supervisor = self.stack.process
        os.kill(supervisor.pid, signal.SIGSTOP)
        children = children_of(supervisor.pid)
        for pid in (self.stack.pid_of("module_handler"), *children, supervisor.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self.stack.kill()
        while any(is_running(pid) for pid in children):
            await asyncio.sleep(0.002)  # the system ends them: nothing tells when
        self.stack = None
        return power_cut.cut(store_path(self._state_dir).parent, rng)

    async def close(self) -> None:
        """Leave nothing behind."""
        if self.stack is not None:
            await self.stack.kill()


def children_of(pid: int) -> list[int]:
    """Processes that this one has started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def is_running(pid: int) -> bool:
    """Whether it can still do anything; an orphan that nobody reaps cannot."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


@dataclass(frozen=True, slots=True)
class Cloud:
    """The control plane and its broker, which never lose their power."""

    broker: MosquittoBroker
    api: ControlPlaneApi


@asynccontextmanager
async def cloud(folder: Path, settings: Mapping[str, object], port: int) -> AsyncIterator[str]:
    """A control plane process; the address of its API."""
    file = folder / "cloud.json"
    file.write_text(json.dumps(settings))
    control_plane = Child(
        "control_plane",
        [
            sys.executable, "-m", "module_gateway", "control-plane",
            "--config", str(file), "--state-dir", str(folder / "cloud"),
        ],
        log=folder / "control_plane.log",
        ready='"ready"',
        environ=own_environment(),
    )  # fmt: skip
    try:
        await control_plane.start()
        yield f"http://127.0.0.1:{port}/api/v1"
    finally:
        await control_plane.stop()


async def run(
    seed: int,
    cuts: int,
    durability: str = "power",
    away: float = 0.5,
    drain_limit_s: float = DRAIN_LIMIT_S,
) -> Cycles:
    """Lose power until `cuts` cuts have taken something back; then judge everything.

    Args:
        seed: of devices and cuts, as far as processes can repeat.
        cuts: wanted; MOST_FRUITLESS times as many may be in vain.
        durability: of the store.
        away: the share of lives without a cloud.
        drain_limit_s: what is not upstream then, at the end, is lost.
    """
    rng = Random(seed)
    referee = Referee()
    referee.is_wild = False
    cycles = Cycles(Verdict(seed, DEVICES, 0.0))
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="mg-power-") as name,
        MosquittoBroker(Path(name), has_unix=False) as broker,
    ):
        folder = Path(name)
        settings, port = settings_of(broker, durability, rng)
        async with cloud(folder, settings, port) as url, httpx.AsyncClient(trust_env=False) as http:
            vehicle = Vehicle(folder, settings, power_cut.build(folder))
            fleet = devices(settings, referee, rng)
            histories = Histories(ControlPlaneApi(url, http), fleet)
            running: list[asyncio.Task[None]] = []
            try:
                await vehicle.start()
                running += [asyncio.create_task(each.run()) for each in fleet]
                await lives(vehicle, broker, fleet, referee, cycles, cuts, away, rng)
                await all_answered(fleet, referee, time.monotonic())
                for task in running:
                    task.cancel()
                ended = await asyncio.gather(*running, return_exceptions=True)
                cycles.verdict.details += [repr(e) for e in ended if isinstance(e, Exception)]
                await drain(fleet, referee, histories, drain_limit_s)
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)
                await vehicle.close()
    judge(cycles.verdict, fleet, referee, histories)
    cycles.verdict.seconds = time.monotonic() - started
    return cycles


def settings_of(
    broker: MosquittoBroker, durability: str, rng: Random
) -> tuple[dict[str, object], int]:
    """For gateway and control plane; and the port of the latter's API."""
    assert broker.port is not None
    port = free_port()
    settings = configuration(
        broker.port,
        **{
            "module-paths": {str(MODULE): "tests.modules.roll:RollModule"},
            "internal-server-settings": {"port": steady_port(rng), "metrics-port": 0},
            "module-handler-settings": {"metrics-port": 0, "durability": durability},
            "control-plane-settings": {
                "broker-port": broker.port, "http-port": port, "metrics-port": 0,
            },
        },
    )  # fmt: skip
    return settings, port


def devices(settings: Mapping[str, object], referee: Referee, rng: Random) -> list[WildDevice]:
    """Honest ones, that report as often as they may."""
    server = settings["internal-server-settings"]
    assert isinstance(server, dict)
    gateway = Gateway("127.0.0.1", server["port"])
    return [
        WildDevice(Identity(MODULE, 0, f"device_{number}"), gateway, referee, Random(rng.random()))
        for number in range(DEVICES)
    ]


async def lives(
    vehicle: Vehicle,
    broker: MosquittoBroker,
    fleet: list[WildDevice],
    referee: Referee,
    cycles: Cycles,
    cuts: int,
    away: float,
    rng: Random,
) -> None:
    """Cut the power until so many cuts took something back; the gateway runs at the end."""
    while len(cycles.dropped_bytes) < cuts and cycles.fruitless < MOST_FRUITLESS * cuts:
        is_away = rng.random() < away
        if is_away:
            broker.freeze()
        try:
            await all_answered(fleet, referee, time.monotonic())
            await asyncio.sleep(rng.uniform(0.0, LONGEST_LIFE_S))  # the cut comes at any time
            dropped_bytes = await vehicle.lose_power(rng)
        finally:
            if is_away:
                broker.thaw()
        if dropped_bytes:
            cycles.dropped_bytes.append(dropped_bytes)
        else:
            cycles.fruitless += 1
        await vehicle.start()
