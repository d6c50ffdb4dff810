"""`python -m tests.chaos --minutes 20` kills processes at random; `--rows K2,K4` chooses rows.

Prints the seed first, then a report in words and one line of JSON; ends with 1 when a promise was
broken. `--list` tells every row of the matrix with its tests. Rows N1 and D5 are large: `--scale
0.02` gives them a fiftieth of their statuses, `--mode replay` one of their two modes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from random import SystemRandom
from typing import Any

from tests.chaos import deep_backlog, kills, outage
from tests.chaos.faults import BROKER, HANDLER, PARTS
from tests.chaos.late_control_plane import MODES

ROWS = Path(__file__).with_name("rows.toml")
KILL_ROWS = {
    "K1": ("internal_server",),
    "K2": (HANDLER,),
    "K3": ("external_client",),
    "K4": (BROKER,),
    "K6": PARTS,
    "KC": ("control_plane",),
}

BACKLOG_ROWS = {"N1": outage.run, "D5": deep_backlog.run}


def rows() -> dict[str, dict[str, Any]]:
    """Every row of the matrix that is covered: what is shown, and by which tests."""
    return tomllib.loads(ROWS.read_text(encoding="utf-8"))


def tell(row: str, verdict: kills.Verdict) -> bool:
    """Say what a run found; whether it kept every promise."""
    found = verdict.as_json()
    again = found["again_s"]
    print(
        f"{row}: {len(verdict.kills)} kills in {verdict.seconds:.0f} s, {verdict.devices} devices"
    )
    print(
        f"  answered {verdict.answered}, upstream {verdict.upstream}, in doubt {verdict.in_doubt}"
    )
    print(
        f"  lost {verdict.lost}, duplicated {verdict.duplicated}, reordered {verdict.reordered}, "
        f"phantom {verdict.phantom}, wrong device {verdict.wrong_device}"
    )
    print(f"  answered again: p50 {again['p50']} s, p99 {again['p99']} s, longest {again['max']} s")
    print(f"  longest by part {found['longest_again_s_by_part']}, RSS {verdict.rss_mib} MiB")
    for failure in verdict.failures():
        print(f"  FAILED {failure}")
    print(json.dumps({"row": row, **found}))
    return not verdict.failures()


def run_kills(row: str, options: argparse.Namespace) -> bool:
    """One of the rows with kills."""
    verdict = asyncio.run(
        kills.run(
            options.seed,
            devices=options.devices,
            parts=KILL_ROWS[row],
            kills=None if row == "K6" else options.kills,
            minutes=options.minutes,
            drain_limit_s=options.drain,
            held="external_client" if row == "K2" else None,
            pause_s=(0.0, 0.5) if row == "K2" else (1.0, 10.0),
        )
    )
    return tell(row, verdict)


def run_backlog(row: str, options: argparse.Namespace) -> bool:
    """One of the rows with a large backlog, in each mode that is asked for."""
    is_kept = True
    for mode in MODES if options.mode == "both" else (options.mode,):
        found = asyncio.run(BACKLOG_ROWS[row](mode, options.scale))
        if not options.json:
            print("\n".join(found.lines()))
        print(json.dumps(found.as_json()), flush=True)
        is_kept &= not found.failures
    return is_kept


def run_row(row: str, options: argparse.Namespace) -> bool:
    """Any row; whether it kept every promise."""
    if row in KILL_ROWS:
        return run_kills(row, options)
    return run_backlog(row, options) if row in BACKLOG_ROWS else run_tests(row)


def run_tests(row: str) -> bool:
    """A row that tests show, at full size."""
    tests = rows()[row]["tests"]
    print(f"{row}: {rows()[row]['shows']}")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    environ = {**os.environ, "MODULE_GATEWAY_CHAOS_FULL": "1"}
    return subprocess.run(command, env=environ, check=False).returncode == 0


def main() -> int:
    """Run the chosen rows."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--rows", default="K6", help="such as K2,D3 or all")
    parser.add_argument("--minutes", type=float, default=20.0, help="of row K6")
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20, help="of rows K1 to K4")
    parser.add_argument("--drain", type=float, default=90.0, help="seconds to wait at the end")
    parser.add_argument("--scale", type=float, default=1.0, help="of rows N1 and D5")
    parser.add_argument("--json", action="store_true", help="no words, of rows N1 and D5")
    parser.add_argument("--mode", choices=(*MODES, "both"), default="both", help="likewise")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    parser.add_argument("--list", action="store_true", help="tell the rows, run nothing")
    options = parser.parse_args()
    known = rows()
    if options.list:
        for row, each in known.items():
            print(f"{row:4} {each['size']:28} {each['shows']}")
        return 0
    chosen = list(known) if options.rows == "all" else options.rows.split(",")
    unknown = [row for row in chosen if row not in known]
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}; --list tells them")
    print(f"seed {options.seed}", flush=True)
    results = {row: run_row(row, options) for row in chosen}
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
