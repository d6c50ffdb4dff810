"""One run as an observer sees it: devices, tap and scenario go in, a `Run` comes out."""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Final

from fleet_lab.devices.generators import Stream
from fleet_lab.fleets.classes import device_factory
from fleet_lab.fleets.lag import Lag
from fleet_lab.fleets.spec import FleetSpec
from fleet_lab.ledger.checks import Check, facts_of, judge_all
from fleet_lab.ledger.ledger import Enlisted, FleetLedger, Ledger
from fleet_lab.ledger.tap import MqttTap
from fleet_lab.links.conditions import CLEAR, Conditions, parse_conditions
from fleet_lab.links.meter import Achieved, Meter
from fleet_lab.report.model import FleetResult, LinkResult, Run, Span
from module_gateway.protocol.identity import Device as Introduction

LOOK_EVERY_S: Final = 0.2
"""A verdict costs a look at every open attempt."""


@dataclass(frozen=True, slots=True)
class Broker:
    """The upstream broker to listen at, and whose messages; "+" is everybody's."""

    host: str
    port: int
    company: str = "+"
    vehicle: str = "+"


@dataclass(frozen=True, slots=True)
class About:
    """What a report says about a run apart from its numbers."""

    title: str
    command: tuple[str, ...]
    seed: int
    started_unix_s: float
    spec: Mapping[str, Any]


class Ribbon:
    """What the scenario did, in the order in which it began."""

    def __init__(self, start_s: float) -> None:
        self._start_s = start_s
        self._spans: list[Span] = []

    def begin(self, name: str, now: float, kind: str = "step") -> int:
        """Something began that goes on; returns what `end` takes. `now` is monotonic."""
        self._spans.append(Span(name, now - self._start_s, None, kind))
        return len(self._spans) - 1

    def end(self, span: int, now: float) -> None:
        """It is over."""
        old = self._spans[span]
        self._spans[span] = Span(old.name, old.start_s, now - self._start_s, old.kind)

    def spans(self) -> tuple[Span, ...]:
        """All of them."""
        return tuple(self._spans)


class Observation:
    """Ledger, tap and ribbon of one run.

    Args:
        start_s: monotonic time from which the run counts its seconds.
        broker: where to tap; None: losses upstream are not judged.
    """

    def __init__(self, start_s: float, broker: Broker | None) -> None:
        self.start_s = start_s
        self.ledger = Ledger(start_s, is_tapped=broker is not None)
        self.ribbon = Ribbon(start_s)
        self._broker = broker

    @asynccontextmanager
    async def tapping(self) -> AsyncIterator[None]:
        """Listen upstream meanwhile; nothing happens without a broker.

        Raises:
            LabError: the broker is not there.
        """
        if self._broker is None:
            yield
            return
        at = self._broker
        tap = MqttTap(
            at.host, at.port, self.ledger.upstream, company=at.company, vehicle=at.vehicle
        )
        async with tap.running():
            yield

    def enlist(self, fleet: FleetSpec, first: int = 0) -> FleetLedger:
        """Devices from index `first` on; gives the fleet's recorder, always the same one."""
        return self.ledger.enlist(fleet.name, enlisted(fleet, first))

    async def settle(self, limit_s: float) -> None:
        """After the devices stopped: wait until nothing is lost any more, at most `limit_s`."""
        if self._broker is None:
            return
        try:
            async with asyncio.timeout(limit_s):
                # Asking after every event would cost more than the events.
                while self.ledger.verdict().counts["lost"]:  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            return

    def holds(self, check: Check) -> bool:
        """Whether a check would hold if the run were over now."""
        verdict, series = self.ledger.verdict(), self.ledger.collector.series()
        now_s = time.monotonic() - self.start_s
        return check.judge(facts_of(verdict, series, self.ribbon.spans(), now_s)).is_passed

    def result(
        self,
        about: About,
        end_s: float,
        checks: Sequence[Check],
        fleets: Sequence[FleetResult],
        links: Sequence[LinkResult] = (),
    ) -> Run:
        """Judge it. `end_s` (monotonic) is when the devices were stopped. Call it once, last."""
        self.ledger.flush()
        verdict = self.ledger.verdict()
        series, ribbon = self.ledger.collector.series(), self.ribbon.spans()
        duration_s = end_s - self.start_s
        facts = facts_of(verdict, series, ribbon, duration_s)
        return Run(
            about.title,
            about.command,
            about.seed,
            about.started_unix_s,
            duration_s,
            judge_all(checks, facts),
            verdict.counts,
            verdict.offenders,
            verdict.distributions(),
            series,
            ribbon,
            verdict.hops,
            tuple(links),
            tuple(fleets),
            verdict.notes,
            about.spec,
            versions(),
        )


def enlisted(fleet: FleetSpec, first: int = 0) -> list[Enlisted]:
    """What the ledger must know about a fleet's devices from index `first` on.

    Raises:
        LabError: there is no such device class.
    """
    found = []
    for index in range(first, fleet.size):
        spec = fleet.device_spec(index)
        device = device_factory(spec.device)(spec.id, Stream(spec.seed, spec.id), spec.options)
        introduced = Introduction.of(
            device.module, device.device_type, device.role, device.name, device.priority
        )
        found.append(Enlisted(spec.id, introduced.identity, None, device.numbered))
    return found


def fleet_result(fleet: FleetSpec, counts: Mapping[str, Any]) -> FleetResult:
    """A row of the report from what `Engine.counts` or `Fleet.counts` gives."""
    lag = Lag(counts["lag_counts"], counts["lag_max_s"])
    return FleetResult(
        fleet.name,
        fleet.size,
        counts["sent"],
        counts["answered"],
        counts.get("connects", fleet.size + counts["disconnects"]),
        counts["refused"],
        counts["disconnects"],
        counts["errors"],
        counts["restarts"],
        lag.quantile(0.99),
    )


def link_results(fleet: FleetSpec, meters: tuple[Meter, Meter]) -> list[LinkResult]:
    """One row per direction of a fleet's link as it was declared; none without a link."""
    if not fleet.link:
        return []
    conditions = parse_conditions(fleet.link)
    if conditions == CLEAR:
        return []
    names = (f"{fleet.link} up", f"{fleet.link} down")
    return [
        _link_result(name, fleet, conditions, side, meter.achieved())
        for name, side, meter in zip(names, ("up", "down"), meters, strict=True)
    ]


def versions() -> dict[str, str]:
    """What made the numbers."""
    try:
        ours = metadata.version("module-gateway")
    except metadata.PackageNotFoundError:
        ours = "from its source"
    return {"fleet_lab": ours, "python": platform.python_version(), "system": platform.system()}


def _link_result(
    name: str, fleet: FleetSpec, conditions: Conditions, side: str, achieved: Achieved
) -> LinkResult:
    declared = conditions.one_way(side)
    return LinkResult(
        name,
        fleet.name,
        fleet.size,
        declared.delay_s,
        declared.jitter_s,
        declared.rate_bps,
        achieved.delay_p50_s,
        achieved.delay_p99_s,
        achieved.rate_bps,
        achieved.stalls,
        achieved.cuts,
        achieved.is_within(declared),
    )
