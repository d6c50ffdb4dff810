"""`fleet-lab report`: make the page of a run again from its numbers."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from fleet_lab.commands.flags import Commands
from fleet_lab.errors import EXIT_FAILED, EXIT_OK, LabError


def add(commands: Commands) -> None:
    """The command's flags."""
    report = commands.add_parser(
        "report",
        help="make the HTML page of a run again",
        description="Read run.json and write report.html beside it. "
        "The exit code is that of the run: 1 when a check failed.",
    )
    report.set_defaults(run=run)
    report.add_argument("folder", type=Path, help="folder of a run, or its run.json")
    report.add_argument("--out", type=Path, metavar="FILE", help="write the page there instead")
    report.add_argument("--json", action="store_true", help="print the verdict as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Exit code: 0 every check held, 1 one failed.

    Raises:
        LabError: there is no run, it cannot be read, or the page cannot be written.
    """
    from fleet_lab.report.run_folder import PAGE_FILE, read_run, render_page  # noqa: PLC0415  # pydantic takes 0.2 s
    from fleet_lab.report.table import verdict_json, verdict_text  # noqa: PLC0415  # as above

    given: Path = arguments.folder
    found = read_run(given)
    beside = given if given.is_dir() else given.parent
    page: Path = arguments.out or beside / PAGE_FILE
    try:
        page.write_text(render_page(found), encoding="utf-8")
    except OSError as error:
        raise LabError(f"{page}: {error.strerror}") from error
    if arguments.json:
        sys.stdout.write(json.dumps({**verdict_json(found), "report": str(page)}) + "\n")
    else:
        sys.stdout.write(f"{verdict_text(found)}\nreport: {page}\n")
    return EXIT_OK if found.is_passed else EXIT_FAILED
