"""Real worker processes against a real gateway."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fleet_lab.errors import LabError
from fleet_lab.fleets.coordinator import Coordinator
from fleet_lab.fleets.spec import FleetSpec
from fleet_lab.fleets.workers import ProcessPlacer
from fleet_lab.load import Load
from module_gateway.protocol.internal import DeviceConnect, DeviceStatus
from tests.unit.fleet_lab.fleets.stand_ins import Remembering
from tests.unit.fleet_lab.gateways import echo, gateway


class Seen:
    """A gateway that remembers the statuses of every device."""

    def __init__(self) -> None:
        self.statuses: dict[str, list[bytes]] = {}
        self.changed = asyncio.Event()

    def __call__(self, message: DeviceConnect | DeviceStatus) -> bytes:
        if isinstance(message, DeviceStatus):
            role = message.device.identity.role
            self.statuses.setdefault(role, []).append(message.status)
            self.changed.set()
        return echo(message)

    async def everybody_sent(self, devices: int, times: int) -> None:
        while sum(len(s) >= times for s in self.statuses.values()) < devices:
            self.changed.clear()
            await self.changed.wait()


class Rig:
    def __init__(self, port: int, seen: Seen, workers: int, size: int, **more: Any) -> None:
        self.seen = seen
        self.recorder = Remembering()
        self.problems: list[tuple[str, str]] = []
        self.placer = ProcessPlacer()
        spec = FleetSpec(
            "cars", "car_accessory", size, sink=f"fleet-protocol://127.0.0.1:{port}",
            **{"load": Load.constant("20/s each").plan, "seed": 5, **more},
        )  # fmt: skip
        self.fleet = Coordinator(
            spec,
            self.recorder,
            self.placer,
            workers,
            lambda *problem: self.problems.append(problem),
        )

    def pids(self) -> list[int]:
        return [int(str(row["place"]).split()[1]) for row in self.fleet.places()]

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
async def seen() -> AsyncIterator[tuple[int, Seen]]:
    behaviour = Seen()
    async with gateway(behaviour) as at:
        yield at.port, behaviour


async def test_the_same_seed_gives_the_same_statuses_whatever_the_number_of_workers() -> None:
    found = []
    for workers in (1, 3):
        behaviour = Seen()
        async with gateway(behaviour) as at:
            rig = Rig(at.port, behaviour, workers, 6)
            await rig.fleet.start()
            await behaviour.everybody_sent(6, 5)
            await rig.fleet.stop()
        found.append({role: statuses[:5] for role, statuses in behaviour.statuses.items()})
    assert found[0] == found[1]
    assert 6 == len(found[0])


async def test_records_of_all_workers_come_together(seen: tuple[int, Seen]) -> None:
    rig = Rig(*seen, 2, 4)
    await rig.fleet.start()
    await rig.recorder.saw("answered", 20)
    await rig.fleet.stop()
    assert {0, 1, 2, 3} == {event[1] for event in rig.recorder.named("connected")}
    sent = {event[1:3] for event in rig.recorder.named("sent")}
    answered = {event[1:3] for event in rig.recorder.named("answered")}
    assert answered <= sent
    # The end may cut a status off on its way, so the gateway may have missed the last ones.
    assert len(answered) <= sum(map(len, seen[1].statuses.values())) <= len(sent)


async def test_a_killed_workers_devices_live_on_in_the_others(seen: tuple[int, Seen]) -> None:
    rig = Rig(*seen, 2, 6)
    await rig.fleet.start()
    await seen[1].everybody_sent(6, 2)
    rig.kill(rig.pids()[0])
    await rig.recorder.until(lambda: ("closed", 0, "worker died") in rig.recorder.named("closed"))
    before = {role: len(statuses) for role, statuses in seen[1].statuses.items()}
    await seen[1].everybody_sent(6, max(before.values()) + 3)
    counts = rig.fleet.counts()
    places = rig.fleet.places()
    await rig.fleet.stop()
    assert [6] == [row["devices"] for row in places]
    assert 1 == counts["lost_workers"]
    assert any("its devices move" in text for _, text in rig.problems)


async def test_no_attempt_of_a_killed_worker_is_unknown_or_numbered_twice(
    seen: tuple[int, Seen],
) -> None:
    rig = Rig(*seen, 2, 6, load=Load.constant("100/s each").plan)
    await rig.fleet.start()
    await seen[1].everybody_sent(6, 5)
    rig.kill(rig.pids()[1])
    await rig.recorder.saw("closed", 3)
    sent_before = len(rig.recorder.named("sent"))
    await rig.recorder.saw("sent", sent_before + 200)
    await rig.fleet.stop()
    sent = [event[1:3] for event in rig.recorder.named("sent")]
    assert len(sent) == len(set(sent))
    received = {
        (int(role.rpartition("_")[2]) - 1, json.loads(status)["n"])
        for role, statuses in seen[1].statuses.items()
        for status in statuses
    }
    assert received <= set(sent)


async def test_the_only_worker_is_replaced_when_it_dies(seen: tuple[int, Seen]) -> None:
    rig = Rig(*seen, 1, 3)
    await rig.fleet.start()
    await rig.recorder.saw("connected", 3)
    pid = rig.pids()[0]
    rig.kill(pid)
    await rig.recorder.saw("connected", 6)
    assert [pid] != rig.pids()
    await rig.fleet.stop()


async def test_scaling_spreads_new_devices_and_ends_others(seen: tuple[int, Seen]) -> None:
    rig = Rig(*seen, 2, 2)
    await rig.fleet.start()
    await rig.fleet.scale(8)
    await seen[1].everybody_sent(8, 1)
    assert [4, 4] == [row["devices"] for row in rig.fleet.places()]
    await rig.fleet.scale(3)
    await rig.recorder.saw("closed", 5)
    assert {3, 4, 5, 6, 7} == {event[1] for event in rig.recorder.named("closed")}
    await rig.fleet.stop()


async def test_a_device_is_found_wherever_it_runs(seen: tuple[int, Seen]) -> None:
    rig = Rig(*seen, 2, 4)
    await rig.fleet.start()
    for number in range(1, 5):
        device = f"cars/{number}"
        await rig.fleet.send(device, b'{"lit_up": true}')
        telemetry = await rig.fleet.telemetry(device)
        assert (device, True) == (telemetry["id"], telemetry["state"]["is_lit"])
    with pytest.raises(LabError, match="there is no device 'cars/5' in fleet cars"):
        await rig.fleet.telemetry("cars/5")
    await rig.fleet.stop()


async def test_an_unreachable_gateway_is_said_once_and_leaves_no_process(
    seen: tuple[int, Seen],
) -> None:
    async with gateway() as at:
        pass
    rig = Rig(at.port, seen[1], 2, 4)
    with pytest.raises(LabError, match=f"cannot reach a gateway at 127.0.0.1:{at.port}"):
        await rig.fleet.start()
    for pid in rig.pids():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_what_the_links_achieved_comes_from_all_workers(seen: tuple[int, Seen]) -> None:
    rig = Rig(*seen, 2, 4, link="delay=20ms")
    await rig.fleet.start()
    await rig.recorder.saw("answered", 40)
    # The meters come with the records, every tenth of a second.
    await rig.recorder.saw("answered", len(rig.recorder.named("answered")) + 10)
    up, down = (meter.achieved() for meter in rig.fleet.meters)
    await rig.fleet.stop()
    assert up.delay_p50_s is not None
    assert down.delay_p50_s is not None
    assert up.delay_p50_s >= 0.019
    assert down.delay_p50_s >= 0.019
