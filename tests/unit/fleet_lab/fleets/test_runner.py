from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from fleet_lab.devices.api import Device, every
from fleet_lab.devices.generators import Stream
from fleet_lab.fleets import runner as module
from fleet_lab.fleets.runner import Counts, Runner, Surroundings
from fleet_lab.fleets.spec import DeviceSpec
from fleet_lab.fleets.timers import TimerHeap
from tests.unit.fleet_lab.fleets.stand_ins import Remembering, Steered, Walker

SPEC = DeviceSpec(4, "cars/5", "cars", "walker", "steered:", None, {}, 1)


class Rig:
    def __init__(self, device: Device) -> None:
        loop = asyncio.get_running_loop()
        self.recorder, self.counts, self.sink = Remembering(), Counts(), Steered(answers=False)
        self.problems: list[tuple[str, str]] = []
        around = Surroundings(
            loop, TimerHeap(loop), self.recorder, self.counts,
            lambda *problem: self.problems.append(problem),
        )  # fmt: skip
        self.runner = Runner(SPEC, device, self.sink, None, around)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig(Walker("cars/5", Stream(1)))
    await rig.sink.open(rig.runner)
    yield rig
    await rig.runner.end()


async def test_what_waits_is_sent_in_its_order_one_by_one(rig: Rig) -> None:
    for due_s in (1.0, 2.0, 3.0):
        rig.runner.due(due_s)
    rig.runner.device.report({"by": "hand"})
    for _ in range(4):
        rig.sink.answer()
    due = [event[3] for event in rig.recorder.events if event[0] == "sent"]
    assert [1.0, 2.0, 3.0] == due[:3]
    assert 4 == len(rig.sink.payloads)
    assert b'"by": "hand"' in rig.sink.payloads[-1]


async def test_a_backlog_has_an_end_and_skips_the_oldest(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BACKLOG_MAX", 2)
    for due_s in (1.0, 2.0, 3.0, 4.0):
        rig.runner.due(due_s)
    rig.sink.answer()
    rig.sink.answer()
    assert [1.0, 3.0, 4.0] == [e[3] for e in rig.recorder.events if e[0] == "sent"]
    assert 1 == rig.counts.skipped


async def test_connection_and_answers_are_recorded_and_counted(rig: Rig) -> None:
    rig.runner.due(time.monotonic())
    rig.sink.answer()
    rig.runner.due(time.monotonic())
    rig.sink.lose()
    rig.sink.restore()
    names = [event[0] for event in rig.recorder.events]
    assert ["connected", "sent", "answered", "sent", "closed", "connected"] == names
    counts = rig.counts
    assert (1, 2, 1, 1) == (counts.connected, counts.sent, counts.answered, counts.disconnects)
    assert {4} == {event[1] for event in rig.recorder.events}


async def test_a_refusal_while_it_runs_is_a_problem_with_its_reason(rig: Rig) -> None:
    rig.runner.refused(3, "DEVICE_NOT_SUPPORTED")
    assert [("cars/5", "refused: DEVICE_NOT_SUPPORTED")] == rig.problems
    assert ("refused", 4, 3) in rig.recorder.events


async def test_a_reply_to_another_device_is_no_command(rig: Rig) -> None:
    rig.runner.due(time.monotonic())
    rig.sink.unanswered = None
    rig.runner.answered(1, b'{"command": "jump", "to": 9}', False)
    assert rig.runner.device.place != 9


async def test_an_error_in_a_periodic_method_never_stops_it() -> None:
    class Clumsy(Device):
        tries = 0

        @every("1ms")
        def stumble(self) -> None:
            self.tries += 1
            enough.set() if self.tries == 3 else None
            raise RuntimeError("again")

    enough = asyncio.Event()
    rig = Rig(Clumsy("cars/5", Stream(1)))
    await rig.sink.open(rig.runner)
    async with asyncio.timeout(30):
        await enough.wait()
    assert rig.runner.device.errors >= 2
    await rig.runner.end()


async def test_a_periodic_method_that_was_held_up_does_not_run_for_every_missed_time() -> None:
    class Ticking(Device):
        ticks = 0

        @every("10ms")
        def tick(self) -> None:
            self.ticks += 1
            if self.ticks == 1:
                time.sleep(0.1)  # the whole process stands still, as on a busy machine
            enough.set() if self.ticks == 2 else None

    enough = asyncio.Event()
    rig = Rig(Ticking("cars/5", Stream(1)))
    await rig.sink.open(rig.runner)
    async with asyncio.timeout(30):
        await enough.wait()
    assert rig.runner.device.ticks < 6  # of the eleven that the clock would have had
    await rig.runner.end()


async def test_nothing_runs_after_the_end(rig: Rig) -> None:
    await rig.runner.end()
    rig.runner.due(1.0)
    rig.runner.device.report({"late": True})
    assert [] == rig.sink.payloads
    assert 0 == rig.counts.connected
    assert ("closed", 4, "stopped") in rig.recorder.events
