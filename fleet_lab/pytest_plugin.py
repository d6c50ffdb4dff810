"""pytest plugin: a scenario is a test.

    from fleet_lab.pytest_plugin import scenario

    @scenario("lost == 0", "p99 < 20ms", "within 15s after outage")
    async def tunnel(fleet_lab, gateway):
        fleet_lab.tap("127.0.0.1", 18883)
        async with fleet_lab.fleet("cars", "car_accessory", size=20, sink=gateway, load="1/s each"):
            await fleet_lab.until("answered > 100")
            with fleet_lab.step("outage"):
                ...

It is collected whatever its name, runs in an event loop of its own, and fails with the checks
that do not hold, by name. Other fixtures work as in any test. `--fleet-lab-seed` repeats a run.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:  # pytest loads this file in every session: nothing heavy at its start
    from fleet_lab.laboratory import Laboratory
    from fleet_lab.report.model import Run

_CHECKS: Final = "_fleet_lab_checks"
FIXTURE: Final = "fleet_lab"


def scenario(*checks: str) -> Callable[[Callable[..., Awaitable[object]]], Callable[..., None]]:
    """Make a test of a coroutine function that takes the fixture `fleet_lab`.

    Raises:
        LabError: a text is no check; at once, not when the scenario is over.
        TypeError: the function is no coroutine function, or does not take the fixture.
    """
    from fleet_lab.ledger.checks import Check  # noqa: PLC0415  # see above

    read = [Check(text) for text in checks]

    def decorate(function: Callable[..., Awaitable[object]]) -> Callable[..., None]:
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"the scenario {function.__name__} must be an `async def`")
        if FIXTURE not in inspect.signature(function).parameters:
            raise TypeError(f"the scenario {function.__name__} must take `{FIXTURE}`")

        @functools.wraps(function)
        def test(*args: object, **fixtures: Any) -> None:  # noqa: ANN401  # whatever it asks for
            __tracebackhide__ = True
            laboratory: Laboratory = fixtures[FIXTURE]

            async def play() -> Run:
                async with laboratory:
                    await function(*args, **fixtures)
                    return await laboratory.judge(read)

            _report(asyncio.run(play()))

        setattr(test, _CHECKS, checks)
        return test

    return decorate


def _report(run: Run) -> None:
    __tracebackhide__ = True
    from fleet_lab.laboratory import describe  # noqa: PLC0415  # see above

    if not run.is_passed:
        pytest.fail(describe(run), pytrace=False)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--fleet-lab-seed N`."""
    group = parser.getgroup("fleet_lab", "virtual devices and fleets")
    group.addoption(
        "--fleet-lab-seed", type=int, default=1, metavar="N",
        help="seed of every fleet in a scenario (default: 1)",
    )  # fmt: skip


def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> pytest.Item | None:
    """Collect a scenario that no name makes a test; the others are pytest's own."""
    if not hasattr(obj, _CHECKS) or collector.funcnamefilter(name):
        return None
    item: pytest.Item = pytest.Function.from_parent(collector, name=name)
    return item


@pytest.fixture(name=FIXTURE)
def fleet_lab_fixture(request: pytest.FixtureRequest) -> Laboratory:
    """A Laboratory for this test; a `@scenario` enters, leaves and judges it by itself."""
    from fleet_lab.laboratory import Laboratory  # noqa: PLC0415  # see above

    seed: int = request.config.getoption("--fleet-lab-seed")
    return Laboratory(request.node.name, seed)
