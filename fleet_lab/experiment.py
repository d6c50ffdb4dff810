"""Runs what a fleet file says: fleets, scenario, taps, checks; reachable while it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from fleet_lab.demo import view_of
from fleet_lab.errors import EXIT_CONFIG, LabError
from fleet_lab.faults import Processes
from fleet_lab.files import Experiment
from fleet_lab.fleets.registry import ControlSocket
from fleet_lab.fleets.running import RunningFleet
from fleet_lab.ledger.checks import Facts, facts_of
from fleet_lab.observation import About, Broker, Observation, fleet_result, link_results
from fleet_lab.report.model import LinkResult, Run
from fleet_lab.scenario import play
from fleet_lab.watch import FleetView
from fleet_lab.world import LabWorld

SETTLE_S: Final = 15.0
"""After the devices stopped, the last statuses may need this long (a session's renewal)."""

Say = Callable[[str], None]


class ExperimentRun:
    """One run of an experiment.

    Args:
        command: what repeats it.
        state_dir: where the control socket is.
    """

    def __init__(
        self, experiment: Experiment, command: Sequence[str], state_dir: Path, say: Say
    ) -> None:
        if len(experiment.taps) > 1:
            raise LabError(f"{experiment.path}: one [[tap]] at most", EXIT_CONFIG)
        self._experiment = experiment
        self._command = tuple(command)
        self._state_dir = state_dir
        self._say = say
        self._stop = asyncio.Event()
        self._seen: Observation | None = None
        self._sizes = {spec.name: spec.size for spec in experiment.fleets}
        self.fleets: dict[str, RunningFleet] = {}

    def stop(self) -> None:
        """End it now; what was measured is judged."""
        self._stop.set()

    async def run(self) -> Run:
        """Start everything, play the scenario, stop everything, judge.

        Raises:
            LabError: a fleet cannot start, the tap has no broker, a step cannot be done.
        """
        experiment, began_unix_s = self._experiment, time.time()
        seen = self._seen = Observation(time.monotonic(), self._broker())
        about = About(
            experiment.title, self._command, experiment.seed, began_unix_s, experiment.declared
        )
        async with seen.tapping():
            async with AsyncExitStack() as running:
                await self._start(seen, running)
                await self._play(seen)
                end_s = time.monotonic()
                results = [
                    fleet_result(fleet.spec.resized(fleet.size), fleet.counts())
                    for fleet in self.fleets.values()
                ]
                links = self._links()
            self._say("devices stopped; waiting for what is still under way")
            await seen.settle(SETTLE_S)
        return seen.result(about, end_s, experiment.checks, results, links)

    async def look(self) -> Sequence[FleetView]:
        """For `fleet_lab.watch`: all devices in one row."""
        if self._seen is None or not all(fleet.is_running for fleet in self.fleets.values()):
            return []
        counts = [_with_all_names(fleet.counts()) for fleet in self.fleets.values()]
        return [view_of(counts, self._seen.ledger.collector.series())]

    async def _start(self, seen: Observation, running: AsyncExitStack) -> None:
        experiment = self._experiment
        for spec in experiment.fleets:
            fleet = RunningFleet.of(
                spec,
                workers=experiment.workers,
                on=experiment.on,
                recorder=seen.enlist(spec),
                on_problem=self._problem,
            )
            self._say(f"starting {spec.size} devices of {spec.name}, seed {spec.seed}")
            await fleet.start()
            running.push_async_callback(fleet.stop)
            self.fleets[spec.name] = fleet

    async def _play(self, seen: Observation) -> None:
        """Until the time is over, the scenario is, or somebody stops it."""
        experiment = self._experiment
        processes = Processes(experiment.processes)
        world = LabWorld(self.fleets, processes, self._facts, self._scaled)
        start_s = asyncio.get_running_loop().time()
        scenario = asyncio.create_task(
            play(experiment.scenario, world, seen.ribbon, start_s=start_s, links=experiment.links),
            name="scenario",
        )
        stopped = asyncio.create_task(self._stop.wait(), name="stop of the run")
        ends = {stopped}
        try:
            async with ControlSocket(self._state_dir, self.fleets, self.stop, self._scaled):
                if experiment.scenario.steps:
                    await asyncio.wait(
                        (scenario, stopped),
                        timeout=experiment.duration_s,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    if scenario.done():
                        await scenario
                left_s = self._left_s(start_s)
                if left_s is None or left_s > 0:
                    await asyncio.wait(ends, timeout=left_s)
        finally:
            for task in (scenario, stopped):
                task.cancel()
            await asyncio.gather(scenario, stopped, return_exceptions=True)
            await processes.close()

    def _left_s(self, start_s: float) -> float | None:
        """None: until somebody stops it."""
        if self._experiment.duration_s is None:
            return 0.0 if self._experiment.scenario.steps else None
        return start_s + self._experiment.duration_s - asyncio.get_running_loop().time()

    def _scaled(self, fleet: str, size: int) -> None:
        """The ledger knows every device before it sends."""
        known = self._sizes[fleet]
        if self._seen is not None and size > known:
            self._seen.enlist(self.fleets[fleet].spec.resized(size), known)
            self._sizes[fleet] = size

    def _facts(self) -> Facts:
        seen = self._seen
        if seen is None:
            raise LabError("nothing runs yet")
        verdict, series = seen.ledger.verdict(), seen.ledger.collector.series()
        return facts_of(verdict, series, seen.ribbon.spans(), time.monotonic() - seen.start_s)

    def _links(self) -> list[LinkResult]:
        return [
            row for fleet in self.fleets.values() for row in link_results(fleet.spec, fleet.meters)
        ]

    def _broker(self) -> Broker | None:
        for tap in self._experiment.taps:
            return Broker(tap.host, tap.port, tap.company, tap.vehicle)
        return None

    def _problem(self, device_id: str, text: str) -> None:
        self._say(f"{device_id}: {text}")


def _with_all_names(counts: Mapping[str, Any]) -> Mapping[str, Any]:
    """A worker that has told nothing yet counts as zero."""
    names = (
        "devices", "connected", "sent", "answered", "disconnects", "refused", "errors", "restarts",
    )  # fmt: skip
    return {**dict.fromkeys(names, 0), **counts}
