"""The coordinator with workers that live in the test's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fleet_lab.errors import LabError
from fleet_lab.fleets import coordinator as module
from fleet_lab.fleets.coordinator import JUMP, Coordinator
from fleet_lab.fleets.ports import WorkerLostError
from fleet_lab.fleets.service import ShardService
from fleet_lab.fleets.spec import FleetSpec
from fleet_lab.fleets.wire import Frame
from fleet_lab.links.conditions import LINKS
from fleet_lab.load import Load
from tests.unit.fleet_lab.fleets.stand_ins import Remembering, Walker


class Worker:
    """A service that can be made to die, to hang or to refuse."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.place = f"here {name}"
        self.service = ShardService()
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.is_dead = False
        self.is_silent = False
        self.error: LabError | None = None
        self.has_ended = False
        self.answers = asyncio.Event()
        self.answers.set()

    async def request(self, what: str, fields: Mapping[str, Any]) -> Frame:
        self.asked.append((what, fields))
        if self.is_silent:
            await asyncio.Event().wait()
        if self.is_dead:
            raise WorkerLostError("it died")
        if self.error is not None:
            raise self.error
        answer = await self.service.request(what, fields)
        await self.answers.wait()
        return answer

    async def kill(self) -> None:
        self.is_dead = True
        await self.service.request("stop", {})

    async def end(self) -> None:
        self.has_ended = True
        await self.service.request("stop", {})

    def fields_of(self, what: str) -> list[Mapping[str, Any]]:
        return [fields for asked, fields in self.asked if asked == what]


class Placer:
    board = None

    def __init__(self, *, revives: bool = False) -> None:
        self.workers: list[Worker] = []
        self.revives = revives
        self.is_closed = False

    async def place(self, name: str) -> Worker:
        self.workers.append(Worker(name))
        return self.workers[-1]

    async def revive(self, worker: Worker) -> Worker | None:
        return await self.place(worker.name) if self.revives else None

    def last_number(self, index: int) -> None:
        del index

    async def close(self) -> None:
        self.is_closed = True


class Rig:
    def __init__(self, folder: Path, size: int = 4, workers: int = 2, **placer: bool) -> None:
        self.recorder = Remembering()
        self.placer = Placer(**placer)
        self.problems: list[str] = []
        spec = FleetSpec(
            "cars", f"{Walker.__module__}:Walker", size, f"file:{folder}/statuses",
            Load.constant("50/s each").plan, seed=1,
        )  # fmt: skip
        self.fleet = Coordinator(
            spec, self.recorder, self.placer, workers, lambda _, text: self.problems.append(text)
        )

    async def devices_are(self, *numbers: int) -> None:
        """Until the shards hold so many; the records of one that joins say so."""
        while [row["devices"] for row in self.fleet.places()] != list(numbers):
            self.recorder.changed.clear()
            await self.recorder.changed.wait()


async def test_a_lost_workers_devices_go_to_the_others_with_new_numbers(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await rig.fleet.start()
    await rig.recorder.saw("answered", 8)
    rig.placer.workers[0].is_dead = True
    await rig.recorder.until(lambda: ("closed", 0, "worker died") in rig.recorder.named("closed"))
    await rig.recorder.until(
        lambda: any(e[0] == "sent" and e[1] == 0 and e[2] > JUMP for e in rig.recorder.events)
    )
    assert [4] == [row["devices"] for row in rig.fleet.places()]
    assert {0, 2} == {e[1] for e in rig.recorder.events if e[0] == "closed"}
    assert ["worker lost (it died); its devices move"] == rig.problems
    assert rig.placer.workers[0].has_ended
    await rig.fleet.stop()
    assert rig.placer.is_closed


async def test_a_revived_worker_comes_back_empty_when_others_live(tmp_path: Path) -> None:
    rig = Rig(tmp_path, revives=True)
    await rig.fleet.start()
    await rig.recorder.saw("answered", 4)
    rig.placer.workers[0].is_dead = True
    await rig.devices_are(4, 0)
    await rig.fleet.scale(6)
    assert [4, 2] == [row["devices"] for row in rig.fleet.places()]
    await rig.fleet.stop()


async def test_a_revived_worker_gets_its_devices_when_it_was_the_only_one(tmp_path: Path) -> None:
    rig = Rig(tmp_path, size=3, workers=1, revives=True)
    await rig.fleet.start()
    await rig.recorder.saw("answered", 3)
    rig.placer.workers[0].is_dead = True
    await rig.recorder.saw("connected", 6)
    assert [3] == [row["devices"] for row in rig.fleet.places()]
    await rig.fleet.stop()


async def test_records_that_are_on_their_way_at_the_end_are_not_lost(tmp_path: Path) -> None:
    rig = Rig(tmp_path, size=2, workers=1)
    await rig.fleet.start()
    (worker,) = rig.placer.workers
    await rig.recorder.saw("answered", 4)
    worker.answers.clear()
    taken = len(worker.fields_of("take"))
    while len(worker.fields_of("take")) == taken:  # asked, and not answered yet
        await asyncio.sleep(0)
    stopping = asyncio.create_task(rig.fleet.stop())
    while not worker.fields_of("stop"):
        await asyncio.sleep(0)
    worker.answers.set()
    await stopping
    sent = rig.recorder.named("sent")
    assert rig.fleet.counts()["sent"] == len(set(sent)) == len(sent)


async def test_a_silent_worker_is_as_good_as_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE_S", 2.0)
    rig = Rig(tmp_path)
    await rig.fleet.start()
    rig.placer.workers[1].is_silent = True
    await rig.devices_are(4)
    assert rig.placer.workers[1].is_dead, "it must not go on beside its heirs"
    rig.placer.workers[1].is_silent = False
    await rig.fleet.stop()


async def test_moved_devices_get_the_conditions_that_hold_now(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await rig.fleet.start()
    await rig.fleet.set_link([0, 1], LINKS["LTE"])
    rig.placer.workers[0].is_dead = True
    await rig.devices_are(4)
    while len(rig.placer.workers[1].fields_of("link")) < 2:
        await asyncio.sleep(0)
    wanted = {"indexes": [[0, 2, 1]], "conditions": "LTE"}
    assert [wanted, wanted] == rig.placer.workers[1].fields_of("link")
    await rig.fleet.stop()


async def test_counts_of_a_dead_worker_are_not_forgotten(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    await rig.fleet.start()
    await rig.recorder.saw("answered", 20)
    before = rig.fleet.counts()["answered"]
    rig.placer.workers[0].is_dead = True
    await rig.devices_are(4)
    counts = rig.fleet.counts()
    assert counts["answered"] >= before > 0
    assert 1 == counts["lost_workers"]
    await rig.fleet.stop()


async def test_when_no_worker_can_start_the_first_reason_is_told(tmp_path: Path) -> None:
    rig = Rig(tmp_path)

    async def refusing(name: str) -> Worker:
        worker = Worker(name)
        worker.error = LabError("cannot reach anything", 1)
        rig.placer.workers.append(worker)
        return worker

    rig.placer.place = refusing
    with pytest.raises(LabError, match="cannot reach anything"):
        await rig.fleet.start()
    assert [True, True] == [worker.has_ended for worker in rig.placer.workers]
