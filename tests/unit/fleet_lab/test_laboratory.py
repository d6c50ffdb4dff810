"""A scenario written in Python, without pytest's plugin."""

from __future__ import annotations

import pytest

from fleet_lab.devices.builtin import CarAccessory
from fleet_lab.errors import LabError
from fleet_lab.laboratory import Laboratory, describe
from fleet_lab.report.model import CheckResult, Run
from tests.lab_gateways import Lie, LyingGateway


async def test_a_class_may_be_given_and_steps_are_in_the_ribbon():
    gateway = LyingGateway(Lie.NOTHING, lambda topic, payload: None)
    async with Laboratory("a title", seed=5) as lab, gateway.serve() as port:
        sink = f"fleet-protocol://127.0.0.1:{port}"
        async with lab.fleet("cars", CarAccessory, sink=sink, load="50/s each"):
            with lab.step("pause"):
                await lab.until("answered >= 2")
        run = await lab.judge(["late / sent < 100%", "sent >= 2"])
    assert run.is_passed
    assert (run.title, run.seed) == ("a title", 5)
    assert [span.name for span in run.ribbon] == ["pause"]
    assert run.ribbon[0].end_s is not None
    assert [fleet.name for fleet in run.fleets] == ["cars"]


async def test_a_tap_after_the_first_fleet_is_refused():
    gateway = LyingGateway(Lie.NOTHING, lambda topic, payload: None)
    async with (
        Laboratory("x") as lab,
        gateway.serve() as port,
        lab.fleet("cars", "car_accessory", sink=f"fleet-protocol://127.0.0.1:{port}"),
    ):
        with pytest.raises(LabError, match="before the first fleet"):
            lab.tap("127.0.0.1", 1)


async def test_judging_without_a_fleet_is_refused():
    async with Laboratory("x") as lab:
        with pytest.raises(LabError, match="no fleet has run"):
            await lab.judge(["lost == 0"])


async def test_a_tap_without_a_broker_is_one_clear_line(unused_tcp_port):
    async with Laboratory("x") as lab:
        lab.tap("127.0.0.1", unused_tcp_port)
        with pytest.raises(LabError, match=f"no MQTT broker to tap at 127.0.0.1:{unused_tcp_port}"):
            async with lab.fleet("cars", "car_accessory"):
                pass


def test_failed_checks_come_first_in_the_description():
    checks = (
        CheckResult("p99 < 20ms", is_passed=True, measured="p99 = 1 ms"),
        CheckResult("lost == 0", is_passed=False, measured="lost = 2", explanation="car/1"),
    )
    run = Run("t", (), 3, 0.0, 1.0, checks, notes=("a note",))
    assert describe(run).splitlines() == [
        "1 of 2 checks failed (seed 3)",
        "  FAILED  lost == 0: lost = 2 (car/1)",
        "  passed  p99 < 20ms: p99 = 1 ms",
        "  note: a note",
    ]
