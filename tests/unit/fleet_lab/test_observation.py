from __future__ import annotations

import asyncio
import time

import pytest

from fleet_lab.errors import LabError
from fleet_lab.fleets.lag import Lag
from fleet_lab.fleets.spec import FleetSpec
from fleet_lab.ledger.checks import Check
from fleet_lab.ledger.events import Accepted, Acknowledged, Opened, Upstream
from fleet_lab.links.meter import Meter
from fleet_lab.observation import (
    About,
    Broker,
    Observation,
    Ribbon,
    enlisted,
    fleet_result,
    link_results,
)
from module_gateway.protocol.external import DeviceState
from module_gateway.protocol.identity import Identity

CARS = FleetSpec("cars", "transparent", 2)
VEHICLE = "company/car"
NOWHERE = Broker("127.0.0.1", 9)
ABOUT = About("a title", ("fleet-lab", "x"), 7, 100.0, {"fleets": []})


def seen_upstream(number: int, at_s: float) -> Upstream:
    return Upstream(
        VEHICLE, "session", 1, Identity(3, 0, "cars_1"), number, DeviceState.RUNNING, at_s,
        b"", None, "cars/1", False,
    )  # fmt: skip


def counts(**more: int) -> dict[str, object]:
    lag = Lag()
    for _ in range(100):
        lag.add(0.01)
    names = ("sent", "answered", "refused", "disconnects", "errors", "restarts")
    return {
        **dict.fromkeys(names, 0), "lag_counts": lag.counts, "lag_max_s": lag.longest_s, **more
    }  # fmt: skip


def test_a_ribbon_keeps_what_goes_on_open() -> None:
    ribbon = Ribbon(100.0)
    first = ribbon.begin("outage", 110.0, "fault")
    ribbon.begin("scale", 112.0)
    ribbon.end(first, 130.0)
    assert [(s.name, s.start_s, s.end_s, s.kind) for s in ribbon.spans()] == [
        ("outage", 10.0, 30.0, "fault"), ("scale", 12.0, None, "step"),
    ]  # fmt: skip


def test_devices_are_enlisted_as_they_introduce_themselves() -> None:
    first, second = enlisted(CARS)
    assert (first.id, first.identity) == ("cars/1", Identity(3, 0, "cars_1"))
    assert [device.id for device in enlisted(CARS, 1)] == [second.id]
    assert not enlisted(FleetSpec("io", "io", 1))[0].is_numbered


def test_a_run_without_a_tap_says_nothing_about_losses() -> None:
    seen = Observation(0.0, None)
    recorder = seen.enlist(CARS)
    recorder.connected(0, 0.5)
    recorder.sent(0, 1, 1.0, 1.0)
    recorder.answered(0, 1, 1.01, True)
    run = seen.result(ABOUT, 10.0, [Check("answered == 1"), Check("lost == 0")], [])
    assert (run.title, run.seed, run.duration_s) == ("a title", 7, 10.0)
    assert "lost" not in run.counts
    assert [check.is_passed for check in run.checks] == [True, False]
    assert run.notes
    assert run.series.answered == (0, 1)


async def test_nobody_waits_for_news_that_cannot_come() -> None:
    async with asyncio.timeout(30), Observation(0.0, None).tapping():
        await Observation(0.0, None).settle(60.0)


async def test_settling_ends_when_nothing_is_lost_any_more() -> None:
    now = time.monotonic()
    seen = Observation(now, NOWHERE)
    recorder = seen.enlist(CARS)
    recorder.sent(0, 1, now, now)
    recorder.answered(0, 1, now, True)
    assert not seen.holds(Check("lost == 0"))
    waiting = asyncio.create_task(seen.settle(600.0))
    await asyncio.sleep(0)
    assert not waiting.done()
    for event in (
        Opened(VEHICLE, "session", now),
        Accepted(VEHICLE, "session", now, {}),
        seen_upstream(1, now + 0.1),
        Acknowledged(VEHICLE, "session", 1, now + 0.2),
    ):
        seen.ledger.upstream(event)
    seen.ledger.flush()
    async with asyncio.timeout(30):
        await waiting
    assert seen.holds(Check("lost == 0"))


async def test_settling_gives_up_after_its_limit() -> None:
    now = time.monotonic()
    seen = Observation(now, NOWHERE)
    recorder = seen.enlist(CARS)
    recorder.sent(0, 1, now, now)
    recorder.answered(0, 1, now, True)
    async with asyncio.timeout(30):
        await seen.settle(0.05)
    run = seen.result(ABOUT, now + 1, [Check("lost == 0")], [])
    assert [check.is_passed for check in run.checks] == [False]


async def test_a_broker_that_is_not_there_is_one_line() -> None:
    with pytest.raises(LabError, match=r"127\.0\.0\.1:9"):
        async with Observation(0.0, NOWHERE).tapping():
            pytest.fail("there is no broker")


def test_counts_become_a_row_of_the_report() -> None:
    row = fleet_result(CARS, counts(sent=5, answered=4, disconnects=3))
    assert (row.name, row.devices, row.sent, row.answered, row.closes) == ("cars", 2, 5, 4, 3)
    assert row.lag_p99_s == pytest.approx(0.01, rel=0.2)


def test_a_link_is_reported_in_both_directions_against_what_was_declared() -> None:
    up, down = Meter(), Meter()
    for _ in range(100):
        up.delayed(0.04)
        down.delayed(0.4)
    first, second = link_results(FleetSpec("cars", "transparent", 2, link="LTE"), (up, down))
    assert (first.name, first.fleet, first.devices) == ("LTE up", "cars", 2)
    assert (first.declared_delay_s, first.is_within) == (0.04, True)
    assert (second.name, second.is_within) == ("LTE down", False)


@pytest.mark.parametrize("link", [None, "CLEAR"])
def test_no_link_has_no_row(link: str | None) -> None:
    assert link_results(FleetSpec("cars", "transparent", 2, link=link), (Meter(), Meter())) == []
