"""`fleet-lab check`: whether a fleet file can be run, without running it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from fleet_lab.commands.flags import Commands
from fleet_lab.errors import EXIT_OK


def add(commands: Commands) -> None:
    """The command's flags."""
    check = commands.add_parser(
        "check",
        help="say whether a fleet file can be run",
        description="Read a fleet file as a run would, say everything that is wrong with it. "
        "Exit code 78 when something is.",
    )
    check.set_defaults(run=run)
    check.add_argument("file", type=Path, help=".toml, .yaml or .yml")
    check.add_argument("--json", action="store_true", help="print what was understood as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Exit code: 0 it can be run.

    Raises:
        LabError: it cannot be read or holds errors; exit code 78.
    """
    from fleet_lab.files import load_experiment  # noqa: PLC0415  # PyYAML is an extra

    found = load_experiment(arguments.file)
    fleets = {fleet.name: fleet.size for fleet in found.fleets}
    steps, checks = len(found.scenario.steps), [check.text for check in found.checks]
    if arguments.json:
        entry = {
            "title": found.title,
            "seed": found.seed,
            "duration_s": found.duration_s,
            "fleets": fleets,
            "steps": steps,
            "checks": checks,
            "taps": len(found.taps),
        }
        sys.stdout.write(json.dumps(entry) + "\n")
        return EXIT_OK
    named = ", ".join(f"{name} ({size} devices)" for name, size in fleets.items())
    lasting = "" if found.duration_s is None else f", {found.duration_s:g} s"
    sys.stdout.write(
        f"{arguments.file}: {named}{lasting}; {steps} steps, {len(checks)} checks, "
        f"{len(found.taps)} taps\n"
    )
    return EXIT_OK
