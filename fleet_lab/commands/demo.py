"""`fleet-lab demo`: see what an outage does, with nothing but this package."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Final

from fleet_lab.commands.flags import Commands, duration_s, ranged
from fleet_lab.errors import EXIT_FAILED, EXIT_OK, LabError

if TYPE_CHECKING:
    from fleet_lab.demo import Plan
    from fleet_lab.report.model import Run

PROGRESS_EVERY_S: Final = 5.0
INTERRUPTED: Final = "stopped before it was over: there is no verdict"


def add(commands: Commands) -> None:
    """The command's flags."""
    demo = commands.add_parser(
        "demo",
        help="a gateway, a control plane, devices, an outage and the verdict",
        description="Start a gateway and a control plane, run devices, take the control plane away "
        "in the middle, and say what was lost. Exit code 0 when every check holds.",
    )
    demo.set_defaults(run=run)
    flag = demo.add_argument
    flag("--devices", type=ranged(1, 5000), default=20, help="how many (default: 20)")
    flag("--duration", type=duration_s, default=60.0, metavar="DURATION", help="default: 60s")
    flag("--outage", type=duration_s, default=20.0, metavar="DURATION", help="default: 20s")
    flag("--seed", type=ranged(0, 2**32 - 1), help="same seed, same statuses (default: a new one)")
    flag(
        "--out", type=Path, default=Path("fleet-lab-demo"), metavar="FOLDER",
        help="where run.json, junit.xml, report.html and logs go (default: fleet-lab-demo)",
    )  # fmt: skip
    flag("--json", action="store_true", help="print the verdict as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Exit code: 0 every check held, 1 one failed or it could not be run.

    Raises:
        LabError: something did not start, or it was stopped before it was over.
    """
    from fleet_lab.demo import Plan  # noqa: PLC0415  # the ledger's libraries are an extra

    seed = SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed
    plan = Plan(arguments.devices, arguments.duration, arguments.outage, seed)
    found = asyncio.run(_run(plan, arguments.out))
    return _show(found, arguments.out, is_json=arguments.json)


async def _run(plan: Plan, out: Path) -> Run:
    from fleet_lab.demo import Demo, logs_folder, say_to_stderr  # noqa: PLC0415  # as above
    from fleet_lab.watch import watch  # noqa: PLC0415  # as above

    loop = asyncio.get_running_loop()
    with logs_folder(out) as folder:
        demo = Demo(plan, say_to_stderr)
        working = loop.create_task(demo.run(folder), name="demo")
        progress = loop.create_task(
            watch(demo.look, sys.stderr, period_s=PROGRESS_EVERY_S, is_live=False), name="progress"
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, working.cancel)
        try:
            return await working
        except asyncio.CancelledError:
            raise LabError(INTERRUPTED) from None
        finally:
            progress.cancel()
            await asyncio.gather(progress, return_exceptions=True)


def _show(found: Run, out: Path, *, is_json: bool) -> int:
    from fleet_lab.ledger.junit import junit_xml  # noqa: PLC0415  # as above
    from fleet_lab.report.run_folder import write_run  # noqa: PLC0415  # as above
    from fleet_lab.report.table import verdict_json, verdict_text  # noqa: PLC0415  # as above

    report, problem = "", None
    junit = junit_xml(found.title, found.checks, found.duration_s)
    try:
        report = str(write_run(found, out, junit)[-1])
    except LabError as error:  # the verdict is said in any case
        problem = error
    if is_json:
        sys.stdout.write(json.dumps({**verdict_json(found), "report": report}) + "\n")
    else:
        sys.stdout.write(verdict_text(found) + "\n" + (f"report: {report}\n" if report else ""))
    if problem is not None:
        raise problem
    return EXIT_OK if found.is_passed else EXIT_FAILED
