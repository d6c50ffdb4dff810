"""A scenario written in Python: fleets, steps and waiting, judged at its end.

`fleet_lab.pytest_plugin` makes a test of it; this file knows nothing of pytest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Final, Self

from fleet_lab.devices.api import Device
from fleet_lab.devices.generators import Stream
from fleet_lab.durations import parse_duration_s
from fleet_lab.errors import EXIT_USAGE, LabError
from fleet_lab.fleets.running import RunningFleet
from fleet_lab.fleets.spec import FleetSpec
from fleet_lab.ledger.checks import Check
from fleet_lab.ledger.ledger import Enlisted
from fleet_lab.observation import About, Broker, Observation, fleet_result
from fleet_lab.report.model import CheckResult, FleetResult, Run
from module_gateway.protocol.identity import Identity

SETTLE_S: Final = 15.0
"""After the devices stopped, the last statuses may need this long (a session's renewal)."""
LOOK_EVERY_S: Final = 0.05
DEFAULT_SEED: Final = 1


class Laboratory:
    """One scenario. Enter it, run fleets in it, leave it; `judge` comes last.

    Args:
        seed: of every fleet that names none.
    """

    def __init__(self, title: str, seed: int = DEFAULT_SEED) -> None:
        self.title = title
        self.seed = seed
        self._stack = AsyncExitStack()
        self._broker: Broker | None = None
        self._seen: Observation | None = None
        self._results: list[FleetResult] = []
        self._ended_s: float | None = None
        self._began_unix_s = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    def tap(self, host: str, port: int, company: str = "+", vehicle: str = "+") -> None:
        """Listen at the upstream broker; without it, losses are not judged.

        Raises:
            LabError: a fleet runs already, so the tap would have missed something.
        """
        if self._seen is not None:
            raise LabError("tap before the first fleet starts", EXIT_USAGE)
        self._broker = Broker(host, port, company, vehicle)

    @asynccontextmanager
    async def fleet(
        self,
        name: str,
        device: type[Device] | str | Mapping[str, Any],
        **plan: Any,  # noqa: ANN401  # RunningFleet's
    ) -> AsyncIterator[RunningFleet]:
        """A fleet that runs inside of the block; the arguments are those of `Fleet`.

        Raises:
            LabError: it cannot start.
        """
        seen = await self._observe()
        recorder = seen.ledger.enlist(name, [])
        running = RunningFleet(name, device, recorder=recorder, **{"seed": self.seed, **plan})
        if isinstance(device, type):
            seen.ledger.enlist(name, _enlisted(device, running.spec))
        else:
            seen.enlist(running.spec)
        await running.start()
        try:
            yield running
        finally:
            counts = running.counts()
            await running.stop()
            self._ended_s = time.monotonic()
            self._results.append(fleet_result(running.spec, counts))

    @contextmanager
    def step(self, name: str, kind: str = "fault") -> Iterator[None]:
        """Name what happens inside of the block, for checks such as `within 15s after outage`."""
        seen = self._observed()
        span = seen.ribbon.begin(name, time.monotonic(), kind)
        try:
            yield
        finally:
            seen.ribbon.end(span, time.monotonic())

    async def run_for(self, duration: str | float) -> None:
        """Let the fleets run."""
        await asyncio.sleep(parse_duration_s(duration) if isinstance(duration, str) else duration)

    async def until(self, text: str, within: str | float = "30s") -> None:
        """Wait until a check would hold if the run were over now.

        Raises:
            LabError: it did not in time; says what was measured last.
        """
        seen, check = self._observed(), Check(text)
        limit_s = parse_duration_s(within) if isinstance(within, str) else within
        by_s = time.monotonic() + limit_s
        # The numbers change with every status; looking now and then is cheaper than each time.
        while not seen.holds(check):
            if time.monotonic() > by_s:
                raise LabError(f"{text!r} did not come true within {limit_s:g} s")
            await asyncio.sleep(LOOK_EVERY_S)

    async def judge(self, checks: Iterable[str | Check]) -> Run:
        """Wait for what is under way, then judge everything.

        Raises:
            LabError: no fleet ran, or a text is no check.
        """
        read = [Check(each) if isinstance(each, str) else each for each in checks]
        seen = self._observed()
        ended_s = self._ended_s if self._ended_s is not None else time.monotonic()
        await seen.settle(SETTLE_S)
        about = About(self.title, (), self.seed, self._began_unix_s, {})
        return seen.result(about, ended_s, read, self._results)

    async def _observe(self) -> Observation:
        if self._seen is None:
            self._began_unix_s = time.time()
            self._seen = Observation(time.monotonic(), self._broker)
            await self._stack.enter_async_context(self._seen.tapping())
        return self._seen

    def _observed(self) -> Observation:
        if self._seen is None:
            raise LabError("no fleet has run in this scenario", EXIT_USAGE)
        return self._seen


def _enlisted(device: type[Device], fleet: FleetSpec) -> Iterator[Enlisted]:
    for index in range(fleet.size):
        spec = fleet.device_spec(index)
        made = device(spec.id, Stream(spec.seed, spec.id), spec.options)
        identity = Identity(made.module, made.device_type, made.role)
        yield Enlisted(spec.id, identity, None, made.numbered)


def describe(run: Run) -> str:
    """One line per check, failed ones first, and what repeats the run."""
    failed = [check for check in run.checks if not check.is_passed]
    passed = [check for check in run.checks if check.is_passed]
    lines = [f"{len(failed)} of {len(run.checks)} checks failed (seed {run.seed})"]
    lines += [f"  FAILED  {_line(check)}" for check in failed]
    lines += [f"  passed  {_line(check)}" for check in passed]
    lines += [f"  note: {note}" for note in run.notes]
    return "\n".join(lines)


def _line(check: CheckResult) -> str:
    more = f" ({check.explanation})" if check.explanation else ""
    return f"{check.text}: {check.measured}{more}"
