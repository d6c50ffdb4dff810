"""The devices of one process: opened a few at a time, driven by one heap of timers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from fleet_lab.devices.generators import Stream
from fleet_lab.errors import EXIT_USAGE, LabError
from fleet_lab.fleets.classes import MakeDevice, device_factory
from fleet_lab.fleets.limits import require_files
from fleet_lab.fleets.restart import RestartBudget, backoff_s
from fleet_lab.fleets.runner import Counts, Runner, Surroundings
from fleet_lab.fleets.spec import DeviceSpec, FleetSpec
from fleet_lab.fleets.timers import TimerHeap
from fleet_lab.links.conditions import CLEAR, Conditions, parse_conditions
from fleet_lab.links.meter import Meter
from fleet_lab.links.transport import Link
from fleet_lab.recorder import NullRecorder, Recorder
from fleet_lab.sinks.api import Sink
from fleet_lab.sinks.urls import sink_factory

OPENING_AT_ONCE: Final = 100
"""Connection attempts under way at the same time; a listener's backlog is not endless."""
HOPELESS_AFTER: Final = 100
"""So many first attempts that all failed mean that the fleet cannot work, whatever its size."""

MakeSink: TypeAlias = Callable[[], Sink]
OnProblem: TypeAlias = Callable[[str, str], None]
"""Called with a device's id and one line for a person."""


def ignore_problem(device_id: str, text: str) -> None:
    """Say nothing."""
    del device_id, text


class Engine:
    """Runs some or all devices of one fleet in the running loop.

    The load is dealt by count: status k of the fleet is device `k mod size`'s, so processes that
    each run a part agree without talking, and a device's statuses do not depend on where it lives.

    Args:
        indexes: which devices are this process's; None: all.
        classes, sinks: take these for the names in the spec, instead of looking them up.
        on_problem: told why a device could not start or was refused.
    """

    def __init__(
        self,
        fleet: FleetSpec,
        recorder: Recorder | None = None,
        indexes: Iterable[int] | None = None,
        *,
        classes: Mapping[str, MakeDevice] | None = None,
        sinks: Mapping[str, MakeSink] | None = None,
        on_problem: OnProblem = ignore_problem,
    ) -> None:
        self.fleet = fleet
        self._owned = set(range(fleet.size) if indexes is None else indexes)
        self._owns_all = indexes is None
        self._classes = dict(classes or {})
        self._sinks = dict(sinks or {})
        self._recorder = recorder if recorder is not None else NullRecorder()
        self._on_problem = on_problem
        self._load = fleet.the_load()
        self._runners: dict[int, Runner] = {}
        self._attempts: dict[int, int] = {}
        """Of devices that ended: should they come back, they count on."""
        self._opening: dict[int, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(OPENING_AT_ONCE)
        self._meters = (Meter(), Meter())
        self._link = parse_conditions(fleet.link) if fleet.link else CLEAR
        self._links: dict[int, Conditions] = {}
        self._load_run = 0
        self._load_from_s = 0.0
        self._is_load_idle = True
        self._started_s = 0.0
        self._is_stopped = False
        self._first_failure: LabError | None = None
        self._hopeless: asyncio.Future[None] | None = None
        self._failed_first = 0
        self._is_hopeless = False
        self._has_connected = False

    async def start(
        self,
        elapsed_s: float = 0.0,
        load_from_s: float = 0.0,
        attempts: Mapping[int, int] | None = None,
    ) -> None:
        """Open every device; returns when each was opened or failed once.

        Args:
            elapsed_s: how long ago the fleet's load began, for a process that joins later.
            load_from_s: when after that begin its size changed last.
            attempts: how often devices have sent already, where they lived before.

        Raises:
            LabError: not enough open files, an unknown class or sink, or no device at all could
                be opened (unless the fleet is patient).
        """
        require_files(len(self._owned))
        loop = asyncio.get_running_loop()
        self._around = Surroundings(
            loop,
            TimerHeap(loop),
            self._recorder,
            Counts(),
            self._on_problem,
            is_closed_model=self._load is not None and self._load.is_closed,
        )
        self._budget = RestartBudget(self.fleet.size, self._around.clock())
        self._started_s = self._around.clock() - elapsed_s
        for index in sorted(self._owned)[:1]:
            self._factories(self.fleet.device_spec(index))
        self._restart_load(load_from_s, elapsed_s)
        self._hopeless = loop.create_future()
        await self._open_all(sorted(self._owned), attempts)
        is_useless = not self._has_connected and not self.fleet.is_patient
        if self._first_failure is not None and is_useless:
            await self.stop()
            raise self._first_failure

    async def stop(self) -> None:
        """End every device."""
        self._is_stopped = True
        self._load_run += 1
        await self._close(list({*self._runners, *self._opening}))
        self._around.timers.close()

    async def scale(self, size: int, elapsed_s: float | None = None) -> None:
        """Another size: devices beyond it end, missing ones are opened if this engine runs all.

        Raises:
            LabError: this process cannot open that many files, or the fleet cannot grow.
        """
        fleet = self.fleet.resized(size)
        added = range(self.fleet.size, size) if self._owns_all else range(0)
        require_files(len(self._owned) + len(added))
        self.fleet = fleet
        self._owned = {index for index in self._owned if index < size} | set(added)
        now_s = self._around.clock() - self._started_s
        self._restart_load(now_s if elapsed_s is None else elapsed_s)
        await self._close([index for index in {*self._runners, *self._opening} if index >= size])
        await self._open_all(added)

    async def adopt(self, indexes: Iterable[int], attempts: Mapping[int, int]) -> None:
        """Run these too, each counting its attempts on from the number given."""
        wanted = sorted(set(indexes) - self._owned)
        require_files(len(self._owned) + len(wanted))
        self._owned.update(wanted)
        if self._is_load_idle:
            self._restart_load(self._load_from_s, self._around.clock() - self._started_s)
        await self._open_all(wanted, attempts)

    def send(self, device_id: str, payload: bytes) -> None:
        """Give a device a command as if it came from its far side.

        Raises:
            LabError: there is no such device here.
        """
        self._runner(device_id).commanded(payload)

    def set_link(self, indexes: Iterable[int] | None, conditions: Conditions) -> None:
        """Other conditions for these devices, None: for all, also for those that come later."""
        if indexes is None:
            self._link = conditions
            self._links.clear()
            chosen: Iterable[int] = list(self._runners)
        else:
            chosen = list(indexes)
            self._links.update(dict.fromkeys(chosen, conditions))
        for index in chosen:
            runner = self._runners.get(index)
            if runner is not None and runner.link is not None:
                runner.link.set(conditions)

    def telemetry(self, device_id: str) -> dict[str, Any]:
        """State and counters of one device.

        Raises:
            LabError: there is no such device here.
        """
        return self._runner(device_id).telemetry()

    def counts(self) -> dict[str, Any]:
        """Sums over the devices of this process, for JSON."""
        counts = self._around.counts
        names = (
            "connected", "sent", "answered", "failed", "refused", "disconnects", "commands",
            "skipped", "restarts",
        )  # fmt: skip
        live = self._runners.values()
        return {name: getattr(counts, name) for name in names} | {
            "devices": len(self._runners),
            "errors": sum(runner.device.errors for runner in live),
            "restarts_delayed": self._budget.delayed,
            "lag_counts": list(counts.lag.counts),
            "lag_max_s": counts.lag.longest_s,
        }

    @property
    def is_started(self) -> bool:
        """Whether there is anything to count."""
        return self._started_s > 0

    @property
    def meters(self) -> tuple[Meter, Meter]:
        """What the links of this process achieved: up, down."""
        return self._meters

    def _runner(self, device_id: str) -> Runner:
        index = self.fleet.index_of(device_id)
        runner = None if index is None else self._runners.get(index)
        if runner is None:
            raise LabError(f"there is no device {device_id!r}", EXIT_USAGE)
        return runner

    # The load.

    def _restart_load(self, from_s: float, not_before_s: float = 0.0) -> None:
        """Deal from device 0 on, with the moments of the load from `from_s` on.

        Those before `not_before_s` were other processes' work.
        """
        self._load_run += 1
        self._load_from_s = from_s
        if self._load is None or self._load.is_closed:
            return
        rng = Stream(self.fleet.seed, self.fleet.name, "load", repr(from_s))
        times = self._load.times(rng, size=self.fleet.size, from_s=from_s)
        self._pull(times, 0, self._load_run, not_before_s)

    def _pull(
        self, times: Iterator[float], place: int, run: int, not_before_s: float = 0.0
    ) -> None:
        """Wait for the fleet's next due time that is one of ours."""
        size, owned, runners = self.fleet.size, self._owned, self._runners
        self._is_load_idle = not owned
        if not owned:
            return
        for due_s in times:
            index, place = place, (place + 1) % size
            if index not in owned or due_s < not_before_s:
                continue

            def fire(due_s: float, index: int = index, place: int = place) -> None:
                if run != self._load_run:
                    return
                runner = runners.get(index)
                if runner is not None:
                    runner.due(due_s)
                self._pull(times, place, run)

            self._around.timers.at(self._started_s + due_s, fire)
            return

    # Opening, restarting, closing.

    async def _open_all(
        self, indexes: Iterable[int], attempts: Mapping[int, int] | None = None
    ) -> None:
        first_tries = []
        loop = asyncio.get_running_loop()
        for index in indexes:
            tried: asyncio.Future[None] = loop.create_future()
            first_tries.append(tried)
            first = max((attempts or {}).get(index, 0), self._attempts.get(index, 0))
            self._opening[index] = loop.create_task(
                self._live(index, first, tried), name=f"open {self.fleet.name}/{index + 1}"
            )
        everyone = asyncio.gather(*first_tries)
        if self._hopeless is None:
            await everyone
            return
        await asyncio.wait((everyone, self._hopeless), return_when=asyncio.FIRST_COMPLETED)
        everyone.cancel()

    async def _live(self, index: int, attempts: int, tried: asyncio.Future[None]) -> None:
        """Open one device, again and again until it works; the task ends when it is open."""
        spec = self.fleet.device_spec(index)
        failures = 0
        try:
            while not self._is_hopeless:
                problem = await self._try(spec, attempts)
                if not tried.done():
                    self._tried_first(problem)
                    tried.set_result(None)
                if problem is None:
                    return
                failures += 1
                self._on_problem(spec.id, problem.text)
                jitter = Stream(spec.seed, spec.fleet, spec.id, "restart", failures)
                turn_s = self._budget.reserve(self._around.clock())
                await asyncio.sleep(max(backoff_s(failures, jitter), turn_s))
                self._around.counts.restarts += 1
        finally:
            self._opening.pop(index, None)
            tried.cancel()

    def _tried_first(self, problem: LabError | None) -> None:
        if problem is None:
            self._has_connected = True
            return
        self._failed_first += 1
        self._first_failure = self._first_failure or problem
        if self._failed_first >= HOPELESS_AFTER and not (
            self._has_connected or self.fleet.is_patient
        ):
            self._is_hopeless = True
            if self._hopeless is not None and not self._hopeless.done():
                self._hopeless.set_result(None)

    async def _try(self, spec: DeviceSpec, attempts: int) -> LabError | None:
        async with self._slots:
            runner: Runner | None = None
            try:
                runner = self._made(spec)
                runner.device.attempts = attempts
                self._runners[spec.index] = runner
                await runner.sink.open(runner)
            except LabError as error:
                problem = error
            except asyncio.CancelledError:
                await self._drop(spec.index)
                raise
            except Exception as error:  # noqa: BLE001  # supervisor of a person's own device and sink
                problem = LabError(f"{spec.id}: {type(error).__name__}: {error}")
            else:
                if not runner.is_live:
                    runner.begin()
                return None
            await self._drop(spec.index)
            return problem

    def _factories(self, spec: DeviceSpec) -> tuple[MakeDevice, MakeSink]:
        name = spec.device if isinstance(spec.device, str) else json.dumps(dict(spec.device))
        make = self._classes.get(name)
        if make is None:
            make = self._classes[name] = device_factory(spec.device)
        make_sink = self._sinks.get(spec.sink)
        if make_sink is None:
            make_sink = self._sinks[spec.sink] = sink_factory(spec.sink)
        return make, make_sink

    def _made(self, spec: DeviceSpec) -> Runner:
        make, make_sink = self._factories(spec)
        rng = Stream(spec.seed, spec.fleet, spec.id)
        sink = make_sink()
        link = None
        if sink.is_stream:
            conditions = self._links.get(spec.index, self._link)
            link = Link(conditions, rng.fork("link"), self._meters)
            sink.set_link(link.wrap)
        return Runner(spec, make(spec.id, rng, spec.options), sink, link, self._around)

    async def _drop(self, index: int) -> None:
        runner = self._runners.pop(index, None)
        if runner is not None:
            self._attempts[index] = runner.device.attempts
            await runner.end()

    async def _close(self, indexes: list[int]) -> None:
        opening = [self._opening[index] for index in indexes if index in self._opening]
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        await asyncio.gather(*(self._drop(index) for index in indexes))
