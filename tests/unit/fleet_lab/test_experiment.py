from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from fleet_lab.errors import LabError
from fleet_lab.experiment import ExperimentRun
from fleet_lab.files import Experiment, Tap
from fleet_lab.fleets.spec import FleetSpec
from fleet_lab.ledger.checks import Check
from fleet_lab.load import Load
from fleet_lab.steps import Scale, Scenario, Step
from tests.unit.fleet_lab.gateways import gateway


def experiment(port: int = 1, **more: object) -> Experiment:
    fleet = FleetSpec(
        "cars", "car_accessory", 2, f"fleet-protocol://127.0.0.1:{port}",
        Load.constant("20/s each").plan, seed=3,
    )  # fmt: skip
    plan = {"duration_s": 1.0, "checks": (Check("wrong_device == 0"), Check("answered > 5"))}
    return Experiment(Path("x.toml"), "a try", 3, fleets=(fleet,), **{**plan, **more})


def run_of(plan: Experiment, folder: Path) -> ExperimentRun:
    return ExperimentRun(plan, ["fleet-lab"], folder, lambda _text: None)


async def test_it_runs_for_its_time_and_judges(tmp_path: Path) -> None:
    async with gateway() as at:
        run = run_of(experiment(at.port), tmp_path)
        found = await run.run()
    assert [True, True] == [check.is_passed for check in found.checks]
    assert found.duration_s >= 0.5
    assert [("cars", 2)] == [(row.name, row.devices) for row in found.fleets]
    assert not run.fleets["cars"].is_running
    assert [] == list((tmp_path / "runs").iterdir())


async def test_the_scenario_ends_a_run_without_duration_and_new_devices_are_known(
    tmp_path: Path,
) -> None:
    steps = (Step(at_s=0.2, action=Scale("cars", 4)),)
    async with gateway() as at:
        plan = experiment(at.port, duration_s=None, scenario=Scenario(steps))
        async with asyncio.timeout(30):
            found = await run_of(plan, tmp_path).run()
    assert [4] == [row.devices for row in found.fleets]
    assert ["scale"] == [span.name for span in found.ribbon]


async def test_stopped_it_still_gives_its_verdict(tmp_path: Path) -> None:
    async with gateway() as at:
        run = run_of(experiment(at.port, duration_s=None), tmp_path)
        working = asyncio.create_task(run.run())
        while not await run.look():
            await asyncio.sleep(0.01)
        run.stop()
        async with asyncio.timeout(30):
            found = await working
    assert "a try" == found.title


async def test_a_fleet_that_cannot_start_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    run = run_of(experiment(), tmp_path)
    with pytest.raises(LabError, match=r"cannot reach a gateway at 127\.0\.0\.1:1"):
        await run.run()
    assert {} == run.fleets


def test_two_taps_are_refused(tmp_path: Path) -> None:
    plan = replace(experiment(), taps=(Tap("a", 1), Tap("b", 1)))
    with pytest.raises(LabError, match=r"one \[\[tap\]\] at most"):
        run_of(plan, tmp_path)
