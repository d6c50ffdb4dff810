"""`module-gateway status`: is it well, and if not, what is to be done."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from module_gateway.observe.durations import duration
from module_gateway.observe.status.report import SPAN_S, Reporter
from module_gateway.observe.status.screen import screen
from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.options import Once, add_common_options, load_settings
from module_gateway.runtime.process import EXIT_CONFIG, EXIT_FAILED, EXIT_OK
from module_gateway.runtime.settings import Settings

PROGRAM: Final = "module-gateway status"
PERIOD_S: Final = 2.0
CLEAR: Final = "\x1b[H\x1b[J"


def build_parser() -> argparse.ArgumentParser:
    """The options of this command."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Show a running gateway on one screen. Exit code 0: all is well, 1: something "
        "is wrong, and the last lines say what to do.",
        allow_abbrev=False,
    )
    add_common_options(parser)
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")
    parser.add_argument(
        "--watch", action="store_true", help="again and again, until Ctrl-C; with --json in lines"
    )
    parser.add_argument(
        "--period", metavar="TIME", type=duration, default=PERIOD_S, action=Once,
        help=f"of --watch (default: {PERIOD_S:g}s)",
    )  # fmt: skip
    return parser


def status_report(settings: Settings, wait: Callable[[float], None] = time.sleep) -> dict[str, Any]:
    """A report with rates: two looks, and the time between them."""
    reporter = Reporter(settings)
    reporter.report()
    wait(SPAN_S)
    return reporter.report()


def main(argv: Sequence[str] | None = None) -> int:
    """Print the report; 0 all is well, 1 something is wrong, 78 configuration.

    Raises:
        SystemExit: wrong usage (2), a configuration that cannot be used (78), or `--help`.
    """
    args = build_parser().parse_args(argv)
    settings = load_settings(args, needs_endpoints=False)
    try:
        if args.watch:
            return _watch(settings, args.period, is_json=args.json)
        report = status_report(settings)
    except ConfigError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return EXIT_CONFIG
    except KeyboardInterrupt:
        return EXIT_FAILED
    sys.stdout.write(json.dumps(report, indent=2) + "\n" if args.json else screen(report))
    return EXIT_OK if report["ok"] else EXIT_FAILED


def _watch(settings: Settings, period_s: float, *, is_json: bool) -> int:
    """Until Ctrl-C; the exit code is that of the last report."""
    reporter = Reporter(settings)
    report: dict[str, Any] = {"ok": False}
    is_terminal = sys.stdout.isatty()
    try:
        while True:
            report = reporter.report()
            text = json.dumps(report) + "\n" if is_json else screen(report)
            sys.stdout.write(f"{CLEAR}{text}" if is_terminal and not is_json else text)
            sys.stdout.flush()
            time.sleep(period_s)
    except KeyboardInterrupt:
        return EXIT_OK if report["ok"] else EXIT_FAILED
    except BrokenPipeError:
        sys.stderr.close()  # nor is there anybody to be told
        return EXIT_FAILED
