"""What happens to fleets and processes while they run: steps at times or on conditions.

The order of things is pure (`steps.py`). `play` drives a small `World` with it, so a scenario runs
against a fake world and a fake clock as well. Whatever a step took away for a time is given back
on every way out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Protocol, assert_never

from fleet_lab.errors import LabError
from fleet_lab.links.conditions import Conditions
from fleet_lab.steps import (
    UNDO_VERBS,
    Act,
    Action,
    Begin,
    Cut,
    End,
    Heal,
    LinkBook,
    Scale,
    Scenario,
    Send,
    SetLink,
    Step,
    Timeline,
)

__all__ = ["Act", "Cut", "Heal", "Scale", "Scenario", "Send", "SetLink", "Step", "World", "play"]

UNDO_LIMIT_S: Final = 30.0
"""For one undo: a compose service may take its own 10 s to stop and as long to start."""


class World(Protocol):
    """What a scenario can do. Everything raises LabError when it cannot be done."""

    async def scale(self, fleet: str, size: int) -> None:
        """Another number of devices."""
        ...

    async def send(self, fleet: str, device: str | None, payload: bytes) -> None:
        """A command to one or all devices."""
        ...

    async def set_link(self, fleet: str, conditions: Conditions, share: float) -> None:
        """Another network."""
        ...

    async def act(self, process: str, verb: str) -> None:
        """One of VERBS."""
        ...

    def holds(self, expression: str) -> bool:
        """Whether a check holds on what was measured so far."""
        ...


class SpanKeeper(Protocol):
    """Where spans go (`observation.Ribbon`)."""

    def begin(self, name: str, now: float, kind: str = "step") -> int:
        """Something began at `now`, monotonic seconds."""
        ...

    def end(self, span: int, now: float) -> None:
        """It is over."""
        ...


class Clock(Protocol):
    """Monotonic seconds."""

    def now(self) -> float:
        """Now."""
        ...

    async def until(self, moment_s: float) -> None:
        """Wait for a moment."""
        ...


class LoopClock:
    """The event loop's."""

    def now(self) -> float:
        """Now."""
        return asyncio.get_running_loop().time()

    async def until(self, moment_s: float) -> None:
        """Wait for a moment."""
        await asyncio.sleep(max(0.0, moment_s - self.now()))


async def play(
    scenario: Scenario,
    world: World,
    ribbon: SpanKeeper,
    *,
    start_s: float,
    links: Mapping[str, Conditions],
    clock: Clock | None = None,
) -> None:
    """Do every step and return when all are over. Cancel it to end earlier.

    On every way out what a step took away for a time is given back.

    Args:
        scenario: what to do.
        world: what it is done to.
        ribbon: gets a span per step.
        start_s: when the run began, by `clock`.
        links: the declared network of each fleet.
        clock: None: the event loop's.

    Raises:
        LabError: a step cannot be done; the run says nothing then.
    """
    await _Player(scenario, world, ribbon, LinkBook(links)).play(clock or LoopClock(), start_s)


class _Player:
    def __init__(
        self, scenario: Scenario, world: World, ribbon: SpanKeeper, book: LinkBook
    ) -> None:
        self._steps = scenario.steps
        self._world = world
        self._ribbon = ribbon
        self._book = book
        self._open: dict[int, int] = {}
        """Span of each step that goes on."""

    async def play(self, clock: Clock, start_s: float) -> None:
        timeline = Timeline(self._steps)
        try:
            while not timeline.is_over:
                for event in timeline.due(clock.now() - start_s, self._world.holds):
                    await self._do(event, clock)
                next_s = timeline.next_s(clock.now() - start_s)
                if next_s is not None:
                    await clock.until(start_s + next_s)
        finally:
            await self._undo_rest(clock)

    async def _do(self, event: Begin | End, clock: Clock) -> None:
        step = self._steps[event.step]
        if isinstance(event, End):
            await self._undo(event.step)
            self._close(event.step, clock)
            return
        self._open[event.step] = self._ribbon.begin(step.title, clock.now(), step.kind)
        try:
            await self._begin(event.step, step.action, clock)
        except LabError as error:
            raise LabError(f"step {event.step + 1} ({step.verb}): {error}") from error
        if not step.is_lasting:
            self._close(event.step, clock)

    async def _begin(self, index: int, action: Action, clock: Clock) -> None:
        match action:
            case Scale(fleet, size):
                await self._world.scale(fleet, size)
            case Send(fleet, payload, device):
                await self._world.send(fleet, device, payload)
            case SetLink(fleet, conditions, share):
                self._book.put(index, fleet, conditions, share)
                await self._world.set_link(fleet, conditions, share)
            case Cut(fleet, share):
                conditions = self._book.now(fleet).cut()
                self._book.put(index, fleet, conditions, share)
                await self._world.set_link(fleet, conditions, share)
            case Heal(fleet):
                healed = self._book.remove_all(fleet)
                await self._set_links(fleet)
                for other in healed:
                    self._close(other, clock)
            case Act(process, verb):
                await self._world.act(process, verb)
                if verb in ("resume", "start", "restart"):
                    self._close_of_process(process, index, clock)
            case _:
                assert_never(action)

    async def _undo(self, index: int) -> None:
        if index not in self._open:
            return
        match self._steps[index].action:
            case (SetLink() | Cut()) as action:
                if self._book.remove(index, action.fleet):
                    await self._set_links(action.fleet)
            case Act(process, verb) if verb in UNDO_VERBS:
                await self._world.act(process, UNDO_VERBS[verb])
            case _:
                pass

    async def _set_links(self, fleet: str) -> None:
        for conditions, share in self._book.orders(fleet):
            await self._world.set_link(fleet, conditions, share)

    async def _undo_rest(self, clock: Clock) -> None:
        for index in tuple(self._open):
            step = self._steps[index]
            is_process = isinstance(step.action, Act)
            if is_process or step.for_s is not None:
                with suppress(LabError, TimeoutError):
                    async with asyncio.timeout(UNDO_LIMIT_S):
                        await self._undo(index)
            if step.for_s is not None or is_process:
                self._close(index, clock)

    def _close(self, index: int, clock: Clock) -> None:
        span = self._open.pop(index, None)
        if span is not None:
            self._ribbon.end(span, clock.now())

    def _close_of_process(self, process: str, but: int, clock: Clock) -> None:
        """What paused or stopped this process is over."""
        for index in tuple(self._open):
            action = self._steps[index].action
            if index != but and isinstance(action, Act) and action.process == process:
                self._close(index, clock)
