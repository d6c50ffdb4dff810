"""The demo: a gateway and a control plane of its own, twenty devices, an outage, a verdict."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fleet_lab.errors import EXIT_USAGE, LabError
from fleet_lab.fleets.engine import Engine
from fleet_lab.fleets.lag import Lag
from fleet_lab.fleets.spec import FleetSpec
from fleet_lab.ledger.checks import Check
from fleet_lab.observation import About, Broker, Observation, fleet_result, link_results
from fleet_lab.report.model import Run, Series
from fleet_lab.stack import COMPANY, LOOPBACK, VEHICLE, Places, Stack
from fleet_lab.watch import FleetView

OUTAGE: Final = "outage"
"""Name of the step in the ribbon and in the checks."""
SHORTEST_TAIL_S: Final = 4.0
RECOVERY_LIMIT_S: Final = 15.0
"""Telemetry is back within 15 s of an outage's end; so long the last statuses may need, too."""
LOOK_EVERY_S: Final = 0.5
LINK: Final = "LTE"
CHECKS: Final = (
    "lost == 0",
    "duplicated == 0",
    "reordered == 0",
    "phantom == 0",
    "wrong_device == 0",
    "miscounted == 0",
    "upstream_repeat == 0",
    f"within {RECOVERY_LIMIT_S:g}s after {OUTAGE}",
)
KINDS: Final = ("car_accessory", "mission", "transparent", "io")
"""The demo's devices in equal parts, mission behind a mobile network."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. Times in seconds."""

    devices: int = 20
    duration_s: float = 60.0
    outage_s: float = 20.0
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse an outage that does not fit.

        Raises:
            LabError: exit code 2.
        """
        if self.duration_s - self.outage_s < 2 * SHORTEST_TAIL_S:
            shortest_s = self.outage_s + 2 * SHORTEST_TAIL_S
            raise LabError(
                f"an outage of {self.outage_s:g} s needs a demo of at least {shortest_s:g} s",
                EXIT_USAGE,
            )

    @property
    def before_s(self) -> float:
        """From the start to the outage, which is in the middle."""
        return (self.duration_s - self.outage_s) / 2

    @property
    def command(self) -> tuple[str, ...]:
        """What repeats it."""
        return (
            "fleet-lab", "demo", "--devices", str(self.devices),
            "--duration", f"{self.duration_s:g}s", "--outage", f"{self.outage_s:g}s",
            "--seed", str(self.seed),
        )  # fmt: skip

    def fleets(self, gateway: str) -> list[FleetSpec]:
        """One fleet per kind of device, as equal as can be."""
        sizes = [len(range(place, self.devices, len(KINDS))) for place in range(len(KINDS))]
        return [
            FleetSpec(
                kind, kind, size, f"fleet-protocol://{gateway}",
                {"shape": "constant", "rate": "1/s each"},
                LINK if kind == "mission" else None, self.seed,
            )
            for kind, size in zip(KINDS, sizes, strict=True) if size
        ]  # fmt: skip


@dataclass(slots=True)
class Demo:
    """A demo that runs: what the live view looks at."""

    plan: Plan
    say: Say
    engines: list[Engine] = field(default_factory=list)
    observation: Observation | None = None
    is_running: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the devices were started."""

    async def run(self, logs: Path) -> Run:
        """Start everything, let it run, stop everything, judge.

        The processes' logs and state go into the folder `logs`, whose path must be short.

        Raises:
            LabError: a process or the devices do not start.
        """
        self.say("starting a gateway and a control plane …")
        async with Stack(logs) as (stack, places):
            self.say(
                f"devices connect to {places.devices}, "
                f"the control plane's page is http://{places.control_plane}/"
            )
            return await self._run_devices(stack, places)

    async def look(self) -> Sequence[FleetView]:
        """For `fleet_lab.watch`: all devices in one row, once they run."""
        await self.is_running.wait()
        if self.observation is None:
            return []
        series = self.observation.ledger.collector.series()
        counts = [engine.counts() for engine in self.engines]
        return [view_of(counts, series)]

    async def _run_devices(self, stack: Stack, places: Places) -> Run:
        began_unix_s = time.time()
        broker = Broker(LOOPBACK, places.broker_port, COMPANY, VEHICLE)
        seen = self.observation = Observation(time.monotonic(), broker)
        fleets = self.plan.fleets(places.devices)
        about = About(
            f"fleet-lab demo: control plane away for {self.plan.outage_s:g} s",
            self.plan.command,
            self.plan.seed,
            began_unix_s,
            {"fleets": [fleet.to_json() for fleet in fleets], "checks": list(CHECKS)},
        )
        async with seen.tapping():
            async with self._running(fleets, seen):
                await self._outage(stack, seen)
                end_s = time.monotonic()
                counts = [engine.counts() for engine in self.engines]
            self.say("devices stopped; waiting for what is still under way …")
            await seen.settle(RECOVERY_LIMIT_S)
        results = [fleet_result(fleet, each) for fleet, each in zip(fleets, counts, strict=True)]
        links = [
            row for engine in self.engines for row in link_results(engine.fleet, engine.meters)
        ]
        checks = [Check(text) for text in CHECKS]
        return seen.result(about, end_s, checks, results, links)

    @asynccontextmanager
    async def _running(self, fleets: Sequence[FleetSpec], seen: Observation) -> AsyncIterator[None]:
        self.say(f"starting {self.plan.devices} devices")
        async with AsyncExitStack() as started:
            for fleet in fleets:
                engine = Engine(fleet, seen.enlist(fleet), on_problem=self._problem)
                await engine.start()
                started.push_async_callback(engine.stop)
                self.engines.append(engine)
            self.is_running.set()
            yield

    async def _outage(self, stack: Stack, seen: Observation) -> None:
        """The whole scenario: wait, kill, wait, start again, wait."""
        await _until(seen.start_s + self.plan.before_s)
        self.say("killing the control plane")
        span = seen.ribbon.begin(OUTAGE, time.monotonic(), "fault")
        await stack.control_plane.kill()
        await _until(seen.start_s + self.plan.before_s + self.plan.outage_s)
        self.say("starting the control plane again")
        await stack.control_plane.start()
        seen.ribbon.end(span, time.monotonic())
        self.say("the control plane is back")
        await _until(seen.start_s + self.plan.duration_s)
        back_by_s = time.monotonic() + RECOVERY_LIMIT_S
        # There is no event for "as before": it is judged by what the seconds so far look like.
        while time.monotonic() < back_by_s and not seen.holds(Check(CHECKS[-1])):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_EVERY_S)

    def _problem(self, device_id: str, text: str) -> None:
        self.say(f"{device_id}: {text}")


@contextmanager
def logs_folder(out: Path) -> Iterator[Path]:
    """A folder with a short path (a Unix socket lies in it); its logs end in `out`/logs."""
    folder = Path(tempfile.mkdtemp(prefix="fleet-lab-"))
    try:
        yield folder
    finally:
        kept = out / "logs"
        kept.mkdir(parents=True, exist_ok=True)
        for log in folder.glob("*.log"):
            shutil.copy(log, kept / log.name)
        shutil.rmtree(folder, ignore_errors=True)


def view_of(counts: Sequence[Mapping[str, Any]], series: Series) -> FleetView:
    """Sums over fleets as the live view shows them, with the latencies of the last full second."""

    def total(name: str) -> int:
        return sum(each[name] for each in counts)

    lag = Lag()
    for each in counts:
        lag.merge(Lag(each["lag_counts"], each["lag_max_s"]))
    devices, connected = total("devices"), total("connected")
    return FleetView(
        "devices",
        devices,
        {"connected": connected, "not connected": max(devices - connected, 0)},
        total("sent"),
        total("answered"),
        total("disconnects"),
        total("refused"),
        total("errors"),
        total("restarts"),
        p50_s=series.p50_s[-2] if len(series.p50_s) > 1 else None,
        p99_s=series.p99_s[-2] if len(series.p99_s) > 1 else None,
        lag_p99_s=lag.quantile(0.99),
    )


async def _until(at_s: float) -> None:
    """Wait for a moment of the scenario (monotonic seconds)."""
    await asyncio.sleep(max(at_s - time.monotonic(), 0.0))


def say_to_stderr(text: str) -> None:
    """Progress does not mix with the result."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()
