"""`fleet-lab watch`: what fleets that run somewhere on this machine do right now."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet_lab.commands.flags import Commands, duration_s
from fleet_lab.errors import EXIT_OK, EXIT_USAGE, LabError

if TYPE_CHECKING:
    from fleet_lab.watch import FleetView

NOTHING_RUNS = "no fleet runs; start one: fleet-lab fleet run FILE"


def add(commands: Commands) -> None:
    """The command's flags."""
    watch = commands.add_parser(
        "watch",
        help="watch running fleets: rates, latencies, states",
        description="A table that is drawn over and over in a terminal, lines elsewhere. "
        "Ends with the last fleet or with Ctrl-C, which ends the view only.",
    )
    watch.set_defaults(run=run)
    flag = watch.add_argument
    flag("name", nargs="?", help="of one fleet (default: all)")
    flag("--period", type=duration_s, default=1.0, metavar="DURATION", help="default: 1s")
    flag(
        "--state-dir", type=Path, metavar="FOLDER",
        help="where the control socket is (default: $XDG_STATE_HOME/fleet-lab)",
    )  # fmt: skip
    flag("--json", action="store_true", help="one JSON object per line")


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when the fleets ended, 2 when there was none from the start.

    Raises:
        LabError: no fleet runs, or none of that name.
    """
    from fleet_lab.fleets.registry import ask_all, state_folder  # noqa: PLC0415  # only here
    from fleet_lab.watch import watch  # noqa: PLC0415  # as above

    folder: Path = arguments.state_dir or state_folder(os.environ)
    stop = asyncio.Event()
    has_seen = False

    def ask() -> list[FleetView]:
        answers = ask_all(folder, {"do": "ps"})
        rows = [row for answer in answers for row in answer.get("answer", ())]
        return chosen(rows, arguments.name)

    async def look() -> Sequence[FleetView]:
        nonlocal has_seen
        found = await asyncio.to_thread(ask)
        if not found and not has_seen:
            named = arguments.name is not None
            raise LabError(f"no fleet {arguments.name!r} runs" if named else NOTHING_RUNS,
                           EXIT_USAGE)  # fmt: skip
        has_seen = True
        if not found:
            stop.set()
        return found

    asyncio.run(
        watch(look, sys.stdout, period_s=arguments.period, is_json=arguments.json, stop=stop)
    )
    return EXIT_OK


def chosen(rows: Sequence[Mapping[str, Any]], name: str | None) -> list[FleetView]:
    """The rows of `fleet ps` as views; of one fleet when a name is given."""
    return [view_of_row(row) for row in rows if name is None or row["name"] == name]


def view_of_row(row: Mapping[str, Any]) -> FleetView:
    """One row of `fleet ps` as a view. A fleet that is just starting has no counts yet."""
    from fleet_lab.watch import FleetView  # noqa: PLC0415  # only here

    size, connected = row["size"], row.get("connected", 0)
    return FleetView(
        row["name"],
        size,
        {"connected": connected, "not connected": max(size - connected, 0)},
        row.get("sent", 0),
        row.get("answered", 0),
        row.get("disconnects", 0),
        row.get("refused", 0),
        row.get("errors", 0),
        row.get("restarts", 0),
        row.get("workers", 0),
        lag_p99_s=row.get("lag_p99_s"),
    )
