"""`fleet-lab fleet`: run the fleets of a file, and look after those that run."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fleet_lab.commands.flags import Commands, duration_s, ranged
from fleet_lab.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, LabError

if TYPE_CHECKING:
    from fleet_lab.files import Experiment
    from fleet_lab.report.model import Run

PROGRESS_EVERY_S: Final = 5.0
_SEED_MAX: Final = 2**63 - 1


def add(commands: Commands) -> None:
    """The commands' flags."""
    group = commands.add_parser(
        "fleet",
        help="run, watch over and command fleets of devices",
        description="Run the fleets of a file; the other commands reach them while they run.",
    )
    verbs = group.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    _add_run(verbs)
    ps = verbs.add_parser("ps", help="which fleets run")
    scale = verbs.add_parser("scale", help="another number of devices")
    scale.add_argument("name", help="of the fleet")
    scale.add_argument("size", type=ranged(0, 1_000_000))
    send = verbs.add_parser("send", help="give a device a command")
    send.add_argument("id", help="of the device, for example cars/3")
    send.add_argument("payload", help="text or JSON")
    telemetry = verbs.add_parser("telemetry", help="what a device is and did")
    telemetry.add_argument("id", help="of the device, for example cars/3")
    stop = verbs.add_parser("stop", help="end every run, with its verdict")
    for parser, run in (
        (ps, run_ps), (scale, run_scale), (send, run_send), (telemetry, run_telemetry),
        (stop, run_stop),
    ):  # fmt: skip
        _add_state_dir(parser)
        parser.set_defaults(run=run)
    ps.add_argument("--json", action="store_true", help="one JSON list")


def _add_run(verbs: Commands) -> None:
    run = verbs.add_parser(
        "run",
        help="run the fleets of a TOML or YAML file",
        description="Exit code 0 when every check of the file holds, 1 when one does not.",
    )
    run.set_defaults(run=run_file)
    flag = run.add_argument
    flag("file", type=Path)
    flag("--seed", type=ranged(0, _SEED_MAX), help="instead of the file's")
    flag("--duration", type=duration_s, metavar="DURATION", help="instead of the file's")
    flag("--workers", type=ranged(0, 1024), help="processes; 0: none but this one")
    flag("--on", metavar="local|ray|ray://…", help="where the devices run")
    flag("--out", type=Path, metavar="FOLDER", help="where run.json, junit.xml, report.html go")
    flag("--json", action="store_true", help="print the verdict as JSON")
    _add_state_dir(run)


def _add_state_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state-dir", type=Path, metavar="FOLDER",
        help="where the control socket is (default: $XDG_STATE_HOME/fleet-lab)",
    )  # fmt: skip


def run_file(arguments: argparse.Namespace) -> int:
    """Exit code: 0 every check held, 1 one failed.

    Raises:
        LabError: the file is wrong (78), or something did not start (1).
    """
    from dataclasses import replace  # noqa: PLC0415  # only here

    from fleet_lab.files import load_experiment  # noqa: PLC0415  # the lab's libraries are an extra

    experiment = load_experiment(arguments.file, seed=arguments.seed)
    changes = {
        "duration_s": arguments.duration, "workers": arguments.workers, "on": arguments.on,
    }  # fmt: skip
    given = {name: value for name, value in changes.items() if value is not None}
    experiment = replace(experiment, **given)
    found = asyncio.run(_run(experiment, _state_dir(arguments), _command(arguments, experiment)))
    return _show(found, arguments)


def _command(arguments: argparse.Namespace, experiment: Experiment) -> list[str]:
    """What repeats the run: with its seed, whoever chose it."""
    words = ["fleet-lab", "fleet", "run", str(arguments.file), "--seed", str(experiment.seed)]
    if arguments.duration is not None:
        words += ["--duration", f"{arguments.duration:g}s"]
    if arguments.workers is not None:
        words += ["--workers", str(arguments.workers)]
    return words + (["--on", arguments.on] if arguments.on else [])


async def _run(experiment: Experiment, state_dir: Path, command: list[str]) -> Run:
    from fleet_lab.experiment import ExperimentRun  # noqa: PLC0415  # as above
    from fleet_lab.watch import watch  # noqa: PLC0415  # as above

    loop = asyncio.get_running_loop()
    run = ExperimentRun(experiment, command, state_dir, _say)
    _say(f"{experiment.title}: repeat it with {shlex.join(command)}")
    working = loop.create_task(run.run(), name="experiment")
    progress = loop.create_task(
        watch(run.look, sys.stderr, period_s=PROGRESS_EVERY_S, is_live=False), name="progress"
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, run.stop)
    try:
        return await working
    finally:
        progress.cancel()
        await asyncio.gather(progress, return_exceptions=True)


def _show(found: Run, arguments: argparse.Namespace) -> int:
    from fleet_lab.ledger.junit import junit_xml  # noqa: PLC0415  # as above
    from fleet_lab.report.run_folder import write_run  # noqa: PLC0415  # as above
    from fleet_lab.report.table import verdict_json, verdict_text  # noqa: PLC0415  # as above

    report = ""
    if arguments.out is not None:
        junit = junit_xml(found.title, found.checks, found.duration_s)
        report = str(write_run(found, arguments.out, junit)[-1])
    if arguments.json:
        sys.stdout.write(json.dumps({**verdict_json(found), "report": report}) + "\n")
    else:
        sys.stdout.write(verdict_text(found) + "\n" + (f"report: {report}\n" if report else ""))
    return EXIT_OK if found.is_passed else EXIT_FAILED


def run_ps(arguments: argparse.Namespace) -> int:
    """A row per fleet."""
    from fleet_lab.fleets.registry import ask_all  # noqa: PLC0415  # as above

    rows = [
        row
        for answer in ask_all(_state_dir(arguments), {"do": "ps"})
        for row in answer.get("answer", ())
    ]
    if arguments.json:
        sys.stdout.write(json.dumps(rows) + "\n")
        return EXIT_OK
    head = f"{'FLEET':16} {'SIZE':>7} {'CONNECTED':>9} {'SENT':>10} {'ANSWERED':>10}"
    sys.stdout.write(f"{head} {'LAG p99':>8}  WHERE\n")
    for row in rows:
        places = ", ".join(f"{place['place']}: {place['devices']}" for place in row["places"])
        sys.stdout.write(
            f"{row['name']:16} {row['size']:7} {row.get('connected', 0):9} "
            f"{row.get('sent', 0):10} {row.get('answered', 0):10} "
            f"{row['lag_p99_s'] * 1000:5.1f} ms  {places}\n"
        )
    return EXIT_OK


def run_scale(arguments: argparse.Namespace) -> int:
    """Returns when the new size is reached."""
    row = _ask(arguments, {"do": "scale", "fleet": arguments.name, "size": arguments.size})
    sys.stdout.write(f"{row['name']}: {row['size']} devices\n")
    return EXIT_OK


def run_send(arguments: argparse.Namespace) -> int:
    """Returns when the device has it."""
    _ask(arguments, {"do": "send", "device": arguments.id}, arguments.payload.encode())
    return EXIT_OK


def run_telemetry(arguments: argparse.Namespace) -> int:
    """As JSON."""
    found = _ask(arguments, {"do": "telemetry", "device": arguments.id})
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return EXIT_OK


def run_stop(arguments: argparse.Namespace) -> int:
    """Every run gets the request; each prints its own verdict where it was started."""
    from fleet_lab.fleets.registry import ask_all  # noqa: PLC0415  # as above

    stopped = sum("answer" in answer for answer in ask_all(_state_dir(arguments), {"do": "stop"}))
    if not stopped:
        raise LabError("no fleet runs", EXIT_USAGE)
    return EXIT_OK


def _ask(arguments: argparse.Namespace, fields: dict[str, Any], payload: bytes = b"") -> Any:  # noqa: ANN401  # JSON
    from fleet_lab.fleets.registry import ask_one  # noqa: PLC0415  # as above

    return ask_one(_state_dir(arguments), fields, payload)


def _state_dir(arguments: argparse.Namespace) -> Path:
    from fleet_lab.fleets.registry import state_folder  # noqa: PLC0415  # as above

    chosen: Path | None = arguments.state_dir
    return state_folder(os.environ) if chosen is None else chosen


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()
