"""Scenarios against a fake world and a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from fleet_lab.errors import LabError
from fleet_lab.links.conditions import LINKS, Conditions, conditions_text
from fleet_lab.scenario import (
    Act,
    Cut,
    Heal,
    LoopClock,
    Scale,
    Scenario,
    Send,
    SetLink,
    Step,
    play,
)

START = 500.0
LTE, OFFLINE, WIFI = LINKS["LTE"], LINKS["OFFLINE"], LINKS["WIFI"]


class _Clock:
    def __init__(self) -> None:
        self.now_s = START
        self.stop_at_s: float | None = None

    def now(self) -> float:
        return self.now_s

    async def until(self, moment_s: float) -> None:
        if self.stop_at_s is not None and moment_s > self.stop_at_s:
            self.now_s = self.stop_at_s
            await asyncio.Event().wait()
        self.now_s = max(self.now_s, moment_s)


class _World:
    def __init__(self, clock: _Clock) -> None:
        self.clock = clock
        self.done: list[tuple[float, str]] = []
        self.holding: Callable[[str], bool] = lambda _: False
        self.broken = ""

    def _do(self, what: str) -> None:
        self.done.append((self.clock.now_s - START, what))
        if what == self.broken:
            raise LabError("it is broken")

    async def scale(self, fleet: str, size: int) -> None:
        self._do(f"{fleet} has {size}")

    async def send(self, fleet: str, device: str | None, payload: bytes) -> None:
        self._do(f"{fleet} {device} gets {payload!r}")

    async def set_link(self, fleet: str, conditions: Conditions, share: float) -> None:
        self._do(f"{fleet} {conditions_text(conditions)} {share:g}")

    async def act(self, process: str, verb: str) -> None:
        self._do(f"{verb} {process}")

    def holds(self, expression: str) -> bool:
        return self.holding(expression)


class _Ribbon:
    def __init__(self) -> None:
        self.spans: list[list[object]] = []

    def begin(self, name: str, now: float, kind: str = "step") -> int:
        self.spans.append([name, now - START, None, kind])
        return len(self.spans) - 1

    def end(self, span: int, now: float) -> None:
        self.spans[span][2] = now - START


class _Stage:
    def __init__(self, *steps: Step) -> None:
        self.clock, self.ribbon = _Clock(), _Ribbon()
        self.world = _World(self.clock)
        self.scenario = Scenario(steps)

    async def play(self) -> list[tuple[float, str]]:
        await play(
            self.scenario, self.world, self.ribbon,
            start_s=START, links={"cars": LTE}, clock=self.clock,
        )  # fmt: skip
        return self.world.done


async def test_steps_happen_in_time_and_are_undone_after_their_duration() -> None:
    stage = _Stage(
        Step(SetLink("cars", OFFLINE), at_s=10.0, for_s=5.0),
        Step(Act("gateway", "pause"), at_s=20.0, for_s=1.0),
        Step(Act("broker", "kill"), at_s=30.0, for_s=2.0),
        Step(Act("broker", "restart"), at_s=40.0),
        Step(Scale("cars", 9), at_s=5.0),
        Step(Send("cars", b"{}", "cars/1"), at_s=6.0),
    )

    assert await stage.play() == [
        (5.0, "cars has 9"),
        (6.0, "cars cars/1 gets b'{}'"),
        (10.0, "cars OFFLINE 1"),
        (15.0, "cars LTE 1"),
        (20.0, "pause gateway"),
        (21.0, "resume gateway"),
        (30.0, "kill broker"),
        (32.0, "start broker"),
        (40.0, "restart broker"),
    ]
    assert stage.ribbon.spans == [
        ["scale", 5.0, 5.0, "load"],
        ["send", 6.0, 6.0, "step"],
        ["outage", 10.0, 15.0, "fault"],
        ["outage", 20.0, 21.0, "fault"],
        ["outage", 30.0, 32.0, "fault"],
        ["restart", 40.0, 40.0, "fault"],
    ]


async def test_a_step_waits_for_its_condition() -> None:
    stage = _Stage(Step(Scale("cars", 9), when="sent > 3"))
    stage.world.holding = lambda expression: (
        expression == "sent > 3" and (stage.clock.now_s >= START + 7.0)
    )

    assert await stage.play() == [(7.0, "cars has 9")]


async def test_a_cut_keeps_the_network_and_heal_brings_it_back() -> None:
    stage = _Stage(
        Step(SetLink("cars", WIFI), at_s=1.0),
        Step(Cut("cars", 0.5), at_s=2.0, name="tunnel"),
        Step(Heal("cars"), at_s=5.0),
    )

    assert await stage.play() == [
        (1.0, "cars WIFI 1"),
        (2.0, "cars delay=0.025s jitter=0.005s rate=50mbit cut=true 0.5"),
        (5.0, "cars LTE 1"),
    ]
    assert stage.ribbon.spans == [
        ["link", 1.0, 5.0, "link"],
        ["tunnel", 2.0, 5.0, "fault"],
        ["heal", 5.0, 5.0, "fault"],
    ]


async def test_a_change_that_was_healed_is_not_undone_again() -> None:
    stage = _Stage(Step(Cut("cars"), at_s=1.0, for_s=9.0), Step(Heal("cars"), at_s=2.0))
    done = await stage.play()

    assert [at_s for at_s, _ in done] == [1.0, 2.0]


async def test_a_pause_without_an_end_lasts_until_it_is_resumed() -> None:
    stage = _Stage(Step(Act("gw", "pause"), at_s=1.0), Step(Act("gw", "resume"), at_s=4.0))

    assert await stage.play() == [(1.0, "pause gw"), (4.0, "resume gw")]
    assert stage.ribbon.spans[0] == ["outage", 1.0, 4.0, "fault"]


async def test_a_pause_without_an_end_is_resumed_at_the_end_of_the_scenario() -> None:
    stage = _Stage(Step(Act("gw", "pause"), at_s=1.0))

    assert await stage.play() == [(1.0, "pause gw"), (1.0, "resume gw")]


async def test_a_new_network_without_an_end_stays() -> None:
    stage = _Stage(Step(SetLink("cars", WIFI), at_s=1.0))

    assert await stage.play() == [(1.0, "cars WIFI 1")]
    assert stage.ribbon.spans == [["link", 1.0, None, "link"]]


async def test_everything_is_given_back_when_the_run_is_cancelled() -> None:
    stage = _Stage(
        Step(Act("gw", "pause"), at_s=1.0, for_s=99.0),
        Step(Act("broker", "stop"), at_s=2.0, for_s=99.0),
        Step(SetLink("cars", OFFLINE), at_s=3.0, for_s=99.0),
        Step(Scale("cars", 1), at_s=50.0),
    )
    stage.clock.stop_at_s = START + 4.0
    playing = asyncio.create_task(stage.play())
    while len(stage.world.done) < 3:
        await asyncio.sleep(0)
    playing.cancel()
    await asyncio.gather(playing, return_exceptions=True)

    assert [what for _, what in stage.world.done[3:]] == [
        "resume gw", "start broker", "cars LTE 1"
    ]  # fmt: skip
    assert all(end_s is not None for _, _, end_s, _ in stage.ribbon.spans)


async def test_a_step_that_cannot_be_done_ends_the_run_and_undoes_the_rest() -> None:
    stage = _Stage(Step(Act("gw", "pause"), at_s=1.0, for_s=99.0), Step(Scale("cars", 9), at_s=2.0))
    stage.world.broken = "cars has 9"

    with pytest.raises(LabError, match=r"^step 2 \(scale\): it is broken$"):
        await stage.play()
    assert stage.world.done[-1] == (2.0, "resume gw")


async def test_one_undo_that_fails_does_not_stop_the_others() -> None:
    stage = _Stage(
        Step(Act("gw", "pause"), at_s=1.0, for_s=99.0),
        Step(Act("broker", "pause"), at_s=2.0, for_s=99.0),
        Step(Scale("cars", 9), at_s=3.0),
    )
    stage.clock.stop_at_s = START + 4.0
    playing = asyncio.create_task(stage.play())
    while len(stage.world.done) < 3:
        await asyncio.sleep(0)
    stage.world.broken = "resume gw"
    playing.cancel()
    await asyncio.gather(playing, return_exceptions=True)

    assert stage.world.done[-1][1] == "resume broker"


async def test_the_loop_clock_waits_for_a_moment() -> None:
    clock = LoopClock()
    before_s = clock.now()
    await clock.until(before_s + 0.02)
    await clock.until(before_s - 5.0)

    assert clock.now() >= before_s + 0.02 - 0.001
