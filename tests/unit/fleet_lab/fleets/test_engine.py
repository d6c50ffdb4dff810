from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Self

import pytest

from fleet_lab.errors import LabError
from fleet_lab.fleets import limits
from fleet_lab.fleets.engine import Engine
from fleet_lab.fleets.spec import FleetSpec, Member
from fleet_lab.load import Load
from tests.unit.fleet_lab.fleets.stand_ins import Beating, Fragile, Remembering, Steered, Walker
from tests.unit.fleet_lab.gateways import gateway

CLASSES = {"walker": Walker, "beating": Beating, "fragile": Fragile}


def fleet(
    size: int = 1, load: Load | None = None, device: str = "walker", **more: Any
) -> FleetSpec:
    plan = None if load is None else load.plan
    return FleetSpec("cars", device, size, sink="steered:", load=plan, **more)


class Rig:
    """An engine on steered sinks."""

    def __init__(self, spec: FleetSpec, indexes: list[int] | None = None, **sink: Any) -> None:
        self.recorder = Remembering()
        self.sinks: list[Steered] = []
        self.problems: list[tuple[str, str]] = []
        self._plan = sink
        self.engine = Engine(
            spec,
            self.recorder,
            indexes,
            classes=CLASSES,
            sinks={"steered:": self._make},
            on_problem=lambda device, text: self.problems.append((device, text)),
        )

    def _make(self) -> Steered:
        self.sinks.append(Steered(**self._plan))
        return self.sinks[-1]

    def live(self) -> list[Steered]:
        return [sink for sink in self.sinks if sink.is_open]

    async def __aenter__(self) -> Self:
        await self.engine.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.engine.stop()


async def waits(rig: Rig, statuses: int) -> None:
    """Until so many are due and not sent; nothing tells when one more is."""
    while rig.engine.telemetry("cars/1")["waiting"] < statuses:
        await asyncio.sleep(0.001)


async def test_the_load_goes_round_the_devices() -> None:
    async with Rig(fleet(3, Load.constant("300/s"))) as rig:
        await rig.recorder.saw("sent", 7)
    sent = rig.recorder.named("sent")
    assert [(0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2), (0, 3)] == [e[1:3] for e in sent[:7]]


async def test_a_part_of_the_fleet_sends_its_own_share_only() -> None:
    async with Rig(fleet(4, Load.constant("400/s")), [1, 3]) as rig:
        await rig.recorder.saw("sent", 4)
    assert [(1, 1), (3, 1), (1, 2), (3, 2)] == [e[1:3] for e in rig.recorder.named("sent")[:4]]


async def test_due_times_are_those_of_the_load() -> None:
    async with Rig(fleet(1, Load.constant("100/s"))) as rig:
        await rig.recorder.saw("sent", 3)
    due = [event[3] for event in rig.recorder.events if event[0] == "sent"]
    assert [0.01, 0.01] == pytest.approx([due[1] - due[0], due[2] - due[1]])
    assert all(e[4] >= e[3] for e in rig.recorder.events if e[0] == "sent")


async def test_closed_model_sends_on_the_reply_and_never_before() -> None:
    async with Rig(fleet(1, Load.closed()), answers=False) as rig:
        assert [("sent", 0, 1)] == rig.recorder.named("sent", "answered")
        rig.sinks[0].answer()
        assert [("sent", 0, 1), ("answered", 0, 1), ("sent", 0, 2)] == rig.recorder.named(
            "sent", "answered"
        )


async def test_closed_model_does_not_starve_the_loop_when_the_sink_answers_at_once() -> None:
    async with Rig(fleet(1, Load.closed())) as rig:
        await asyncio.sleep(0)
        await rig.recorder.saw("answered", 100)


async def test_what_was_due_while_the_sink_was_busy_is_sent_with_its_due_time() -> None:
    async with Rig(fleet(1, Load.constant("200/s")), answers=False) as rig:
        await rig.recorder.saw("sent")
        runner = rig.engine._runners[0]
        await waits(rig, 2)
        rig.sinks[0].answer()
        sent = [event for event in rig.recorder.events if event[0] == "sent"]
        assert [1, 2] == [event[2] for event in sent]
        assert pytest.approx(0.005) == sent[1][3] - sent[0][3]
        assert runner.sent_count == 2


async def test_own_schedules_report_and_wait_through_an_outage() -> None:
    async with Rig(fleet(1, device="beating")) as rig:
        await rig.recorder.saw("answered", 2)
        rig.sinks[0].lose()
        await waits(rig, 3)
        rig.sinks[0].restore()
        await rig.recorder.saw("answered", 5)
    numbers = [event[2] for event in rig.recorder.named("sent")]
    assert list(range(1, len(numbers) + 1)) == numbers
    assert ("closed", 0, "cut") in rig.recorder.named("closed")


async def test_the_same_seed_gives_the_same_statuses_in_any_part() -> None:
    async def payloads(parts: list[list[int]]) -> dict[int, list[bytes]]:
        found: dict[int, list[bytes]] = {}
        for part in parts:
            spec = fleet(4, Load.constant("800/s"), seed=7)
            async with Rig(spec, part) as rig:
                wanted = 5 * len(part)
                await rig.recorder.saw("sent", wanted + len(part))
                for index, runner in rig.engine._runners.items():
                    found[index] = runner.sink.payloads[:5]
        return found

    alone = await payloads([[0, 1, 2, 3]])
    assert alone == await payloads([[0, 2], [1, 3]])
    assert alone == await payloads([[3], [0, 1, 2]])
    assert 4 == len({tuple(statuses) for statuses in alone.values()})


async def test_scaling_opens_and_ends_devices_while_running() -> None:
    async with Rig(fleet(2, Load.constant("100/s each"))) as rig:
        await rig.engine.scale(5)
        assert 5 == rig.engine.counts()["connected"]
        await rig.recorder.until(
            lambda: {e[1] for e in rig.recorder.named("sent")} == set(range(5))
        )
        await rig.engine.scale(1)
        assert 1 == rig.engine.counts()["connected"] == len(rig.live())
        rig.recorder.events.clear()
        await rig.recorder.saw("sent", 2)
        assert {0} == {event[1] for event in rig.recorder.named("sent")}


async def test_a_device_that_comes_back_uses_no_number_twice() -> None:
    async with Rig(fleet(2, Load.constant("200/s each"))) as rig:
        await rig.recorder.saw("answered", 20)
        await rig.engine.scale(1)
        await rig.engine.scale(2)
        await rig.recorder.saw("answered", 40)
    sent = rig.recorder.named("sent")
    assert len(sent) == len(set(sent))


async def test_a_listed_fleet_cannot_grow() -> None:
    spec = fleet(1, members=(Member("left"),))
    async with Rig(spec) as rig:
        with pytest.raises(LabError, match="lists its 1 devices; it cannot grow"):
            await rig.engine.scale(2)


async def test_a_command_reaches_a_device_by_its_id() -> None:
    async with Rig(fleet(2)) as rig:
        rig.engine.send("cars/2", b'{"command": "jump", "to": 9}')
        assert 9 == rig.engine.telemetry("cars/2")["state"]["place"]
        with pytest.raises(LabError, match="there is no device 'cars/3'"):
            rig.engine.send("cars/3", b"")


async def test_adopted_devices_count_on_and_start_over_nothing_else() -> None:
    async with Rig(fleet(2, Load.constant("200/s")), [0]) as rig:
        await rig.engine.adopt([1], {1: 40})
        await rig.recorder.until(lambda: ("sent", 1, 41) in rig.recorder.named("sent"))
    assert ("sent", 0, 1) in rig.recorder.named("sent")


async def test_a_fleet_that_cannot_open_anything_says_why() -> None:
    rig = Rig(fleet(3), fails=1)
    with pytest.raises(LabError, match="cannot reach anything"):
        await rig.engine.start()
    assert [] == rig.live()


async def test_a_patient_fleet_tries_until_it_works() -> None:
    class Once(Rig):
        def _make(self) -> Steered:
            self._plan = {"fails": 0 if self.sinks else 1}
            return super()._make()

    async with Once(fleet(1, is_patient=True)) as rig:
        await rig.recorder.saw("connected")
        assert [("cars/1", "cannot reach anything")] == rig.problems
        assert 1 == rig.engine.counts()["restarts"]


async def test_a_hopeless_fleet_is_not_tried_to_its_last_device() -> None:
    rig = Rig(fleet(1000), fails=1)
    with pytest.raises(LabError, match="cannot reach anything"):
        await rig.engine.start()
    assert len(rig.sinks) < 1000


async def test_a_device_that_cannot_be_made_is_one_line() -> None:
    rig = Rig(fleet(1, device="fragile"))
    with pytest.raises((LabError, RuntimeError), match="made of glass"):
        await rig.engine.start()


async def test_an_open_file_too_few_is_said_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits.resource, "getrlimit", lambda _: (256, 256))
    with pytest.raises(LabError, match=r"need 1064 open files.*`ulimit -n 1064`"):
        await Rig(fleet(1000)).engine.start()


async def test_real_connections_of_a_real_sink() -> None:
    recorder = Remembering()
    async with gateway() as at:
        spec = FleetSpec(
            "cars",
            f"{Walker.__module__}:Walker",
            5,
            sink=f"fleet-protocol://127.0.0.1:{at.port}",
            load=Load.constant("20/s each").plan,
        )
        engine = Engine(spec, recorder)
        await engine.start()
        await recorder.saw("answered", 20)
        counts: Mapping[str, Any] = engine.counts()
        await engine.stop()
    assert 5 == counts["connected"]
    assert {1, 2, 3} <= {number for _, _, number in recorder.named("answered")}


async def test_an_unreachable_gateway_is_one_line() -> None:
    async with gateway() as at:
        pass
    spec = FleetSpec(
        "cars", f"{Walker.__module__}:Walker", 2, sink=f"fleet-protocol://127.0.0.1:{at.port}"
    )
    with pytest.raises(LabError, match=f"cannot reach a gateway at 127.0.0.1:{at.port}"):
        await Engine(spec).start()
