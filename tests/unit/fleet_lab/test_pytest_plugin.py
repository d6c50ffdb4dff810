"""A scenario is a test: collected, run, judged, and its failing checks shown by name."""

from __future__ import annotations

import pytest

from fleet_lab.errors import LabError
from fleet_lab.pytest_plugin import scenario

pytest_plugins = ["pytester"]

SCENARIOS = """
import pytest
from fleet_lab.pytest_plugin import scenario
from tests.lab_gateways import Lie, LyingGateway


async def play(fleet_lab, answers, lie=Lie.NOTHING, size=2, within="30s"):
    gateway = LyingGateway(lie, lambda topic, payload: None)
    async with gateway.serve() as port:
        plan = {"size": size, "sink": f"fleet-protocol://127.0.0.1:{port}", "load": "50/s each"}
        async with fleet_lab.fleet("cars", "car_accessory", **plan):
            with fleet_lab.step("warm-up", "step"):
                await fleet_lab.until(f"answered >= {answers}", within)


@scenario("late / sent < 100%", "answered >= 3")
async def collected_whatever_its_name(fleet_lab):
    await play(fleet_lab, 3)


@scenario("late == 0", "answered > 1000000", "lost == 0", "sent > 0")
async def with_failing_checks(fleet_lab):
    await play(fleet_lab, 60, Lie.DELAY_REPLY)


@scenario("answered > 0")
async def impatient(fleet_lab):
    await play(fleet_lab, 1000000, within=0.1)


@pytest.fixture
def answers():
    return 1


@pytest.mark.parametrize("size", [1, 2])
@scenario("sent > 0")
async def test_with_parameters_and_fixtures(fleet_lab, size, answers):
    await play(fleet_lab, answers, size=size)


def test_plain():
    pass


def not_a_test():
    raise AssertionError
"""


def run(pytester: pytest.Pytester, *flags: str) -> pytest.RunResult:
    pytester.makepyfile(test_scenarios=SCENARIOS)
    return pytester.runpytest_inprocess(
        "-p", "fleet_lab.pytest_plugin", "-p", "no:randomly", "-p", "no:cacheprovider",
        "-W", "error", "-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning",
        "--fleet-lab-seed", "77", *flags,
    )  # fmt: skip


def test_scenarios_are_collected_run_and_judged_by_name(pytester):
    result = run(pytester, "-p", "no:asyncio")
    result.assert_outcomes(passed=4, failed=2)
    result.stdout.fnmatch_lines_random(
        [
            "3 of 4 checks failed (seed 77)",
            "  FAILED  late == 0: late = * attempt *: answered after * ms*",
            "  FAILED  answered > 1000000: answered = *",
            "  FAILED  lost == 0: not measured (*tap upstream*)",
            "  passed  sent > 0: sent = *",
            "  note: No tap upstream*",
            "*'answered >= 1000000' did not come true within 0.1 s",
        ]
    )
    result.stdout.no_fnmatch_line("*pytest_plugin.py*pytest.fail*")


def test_pytest_asyncio_leaves_scenarios_alone(pytester):
    modes = ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"]
    result = run(pytester, *modes, "-k", "collected_whatever_its_name or test_plain")
    result.assert_outcomes(passed=2, deselected=4)


async def with_fixture(fleet_lab: object) -> None:
    """A scenario as it should be."""


async def without_fixture() -> None:
    """A scenario that cannot do anything."""


def not_async(fleet_lab: object) -> None:
    """A plain function."""


def test_a_check_that_is_none_is_refused_before_anything_runs():
    with pytest.raises(LabError, match="did you mean 'lost'"):
        scenario("lots == 0")(with_fixture)


@pytest.mark.parametrize(
    ("function", "problem"),
    [(not_async, "must be an `async def`"), (without_fixture, "must take `fleet_lab`")],
    ids=["not-async", "no-fixture"],
)
def test_a_function_that_is_no_scenario_is_refused(function, problem):
    with pytest.raises(TypeError, match=problem):
        scenario("lost == 0")(function)
