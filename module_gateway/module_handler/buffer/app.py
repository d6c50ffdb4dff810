"""`module-gateway buffer`: look at what waits for a control plane, and change it."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from module_gateway.module_handler.buffer import export, purge, replay, stat_report
from module_gateway.module_handler.buffer.inspection import check_text, inspect
from module_gateway.module_handler.buffer.lines import iso_time
from module_gateway.module_handler.buffer.mending import mend
from module_gateway.module_handler.buffer.place import Place, owner_of, place_of
from module_gateway.module_handler.buffer.salvaged import open_salvaged
from module_gateway.module_handler.buffer.selection import (
    Selection,
    identity,
    instant,
    module_number,
)
from module_gateway.module_handler.buffer.view import open_view
from module_gateway.protocol.errors import ConfigError, GatewayError
from module_gateway.runtime.log import configure
from module_gateway.runtime.options import Once, add_common_options, load_settings
from module_gateway.runtime.process import EXIT_CONFIG, EXIT_FAILED, EXIT_OK, EXIT_USAGE
from module_gateway.runtime.settings import Settings

PROGRAM: Final = "module-gateway buffer"
COMPONENT: Final = "buffer"


def build_parser(now_unix_ms: int) -> argparse.ArgumentParser:
    """Every subcommand with its options; `now_unix_ms` is what times are relative to."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="What waits for a control plane: look at it, take it out, put it back. "
        "Works while the gateway runs and while it does not.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, purpose: str, run: Callable[..., int]) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, help=purpose, description=purpose[0].upper() + purpose[1:], allow_abbrev=False
        )
        add_common_options(added)
        added.set_defaults(run=run)
        return added

    stat = command("stat", "how much waits, since when, and for how long there is room", _stat)
    stat.add_argument("--devices", action="store_true", help="a line for each device")
    _add_json(stat)

    looked = command("check", "look at every record; exit code 1 when one is damaged", _check)
    _add_json(looked)

    mended = command("repair", "go on with what is intact, set aside what is damaged", _repair)
    _add_json(mended)

    out = command("export", "write what waits as lines of JSON, oldest first", _export)
    out.add_argument("--output", metavar="FILE", type=Path, action=Once, help="default: stdout")
    source = "a folder that a repair has set aside, instead of the store"
    out.add_argument("--from", dest="source", metavar="PATH", type=Path, action=Once, help=source)
    _add_choice(out)
    since = "entries from then on: 2h, 3d, or YYYY-MM-DDTHH:MM:SSZ"
    out.add_argument("--since", metavar="TIME", type=instant(now_unix_ms), action=Once, help=since)

    back = command("replay", "put the entries of an export back, to be delivered", _replay)
    source = "what export has written, or a folder that a repair has set aside"
    back.add_argument("file", metavar="FILE", type=Path, help=source)
    _add_choice(back)
    _add_json(back)

    gone = command("purge", "take entries out that nobody is to get any more; asks", _purge)
    _add_choice(gone)
    gone.add_argument("--all", action="store_true", help="everything that waits")
    gone.add_argument(
        "--older-than",
        metavar="TIME",
        type=instant(now_unix_ms),
        action=Once,
        help="entries of before: 2h, 3d, or YYYY-MM-DDTHH:MM:SSZ",
    )
    gone.add_argument("--yes", action="store_true", help="do not ask")
    _add_json(gone)
    return parser


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="the result as one JSON object")


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--module",
        metavar="NUMBER",
        type=module_number,
        action="append",
        default=[],
        help="only this module; may be given more than once",
    )
    parser.add_argument(
        "--device",
        metavar="MODULE/TYPE/ROLE",
        type=identity,
        action="append",
        default=[],
        help="only this device; may be given more than once",
    )


def _selection(args: argparse.Namespace) -> Selection:
    return Selection(
        frozenset(args.module),
        frozenset(args.device),
        getattr(args, "since", None),
        getattr(args, "older_than", None),
    )


def _stat(args: argparse.Namespace, place: Place, now_unix_ms: int) -> int:
    found = stat_report.report(place, now_unix_ms, has_devices=args.devices)
    sys.stdout.write(_json(found) if args.json else stat_report.text(found))
    return EXIT_OK


def _check(args: argparse.Namespace, place: Place, _now_unix_ms: int) -> int:
    found = inspect(place.store, is_running=place.handler_pid() is not None).report()
    sys.stdout.write(_json(found) if args.json else check_text(found))
    return EXIT_OK if found["ok"] else EXIT_FAILED


def _repair(args: argparse.Namespace, place: Place, _now_unix_ms: int) -> int:
    found = mend(place.store, place.handler_pid())
    if args.json:
        sys.stdout.write(_json(found))
    elif not found["repaired"]:
        sys.stdout.write("nothing is damaged\n")
    else:
        sys.stdout.write(f"{check_text(found)}what was damaged is in {found['set_aside']}\n")
    return EXIT_OK


def _export(args: argparse.Namespace, place: Place, _now_unix_ms: int) -> int:
    opened = open_view(place.store) if args.source is None else open_salvaged(args.source)
    with opened as view, export.target(args.output) as write:
        found = view.entries(_selection(args))
        exported = export.write_lines(found, write, sys.stderr.write)
    damaged = f", {exported.damaged:,} are damaged" if exported.damaged else ""
    _say(f"{exported.written:,} entries are written{damaged}")
    return EXIT_FAILED if exported.damaged else EXIT_OK


def _replay(args: argparse.Namespace, place: Place, _now_unix_ms: int) -> int:
    with replay.opened(args.file) as entries:
        done = _put_back(args, place, replay.selected(entries, _selection(args)))
    said = f"{done:,} entries are back in the buffer"
    sys.stdout.write(_json({"entries": done}) if args.json else f"{said}\n")
    return EXIT_OK


def _put_back(args: argparse.Namespace, place: Place, source: replay.Source) -> int:
    checked = replay.check(source, place.modules)
    with open_view(place.store) as view:
        store_id = view.store_id
    done = 0

    def advanced(entries: int) -> None:
        nonlocal done
        done = entries

    async def carry_out() -> None:
        async with owner_of(place, store_id) as owner:
            await replay.carry_out(owner, source, checked, str(args.file), advanced)

    try:
        asyncio.run(carry_out())
    except GatewayError as error:
        raise GatewayError(
            f"{error}; {done:,} of {checked.entries:,} entries are back in the buffer"
        ) from error
    return done


def _purge(args: argparse.Namespace, place: Place, _now_unix_ms: int) -> int:
    selection = _selection(args)
    is_choice = bool(selection.modules or selection.devices or selection.is_timed)
    if is_choice == args.all:
        _say("say what: --module, --device, --older-than, or --all alone")
        return EXIT_USAGE
    if not args.yes and not sys.stdin.isatty():
        _say("there is no terminal to ask: say --yes")
        return EXIT_USAGE
    agreed = purge.plan(place, selection)
    chosen = agreed.chosen
    if chosen.entries and not args.yes and not _is_agreed(agreed.words):
        _say("nothing is changed")
        return EXIT_FAILED
    if chosen.entries:
        asyncio.run(purge.carry_out(place, agreed, _what(args)))
    counts = {
        "entries": chosen.entries, "devices": chosen.devices, "bytes": chosen.size_bytes,
    }  # fmt: skip
    said = f"{agreed.words} are gone" if chosen.entries else "nothing of that waits"
    sys.stdout.write(_json(counts) if args.json else f"{said}\n")
    return EXIT_OK


def _is_agreed(words: str) -> bool:
    sys.stderr.write(f"{words} will be gone and never be delivered. Go on? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _what(args: argparse.Namespace) -> str:
    """The choice of a purge in the words of the command line, for the log."""
    words = ["--all"] if args.all else []
    words += [f"--module {each}" for each in args.module]
    words += [f"--device {each}" for each in args.device]
    if args.older_than is not None:
        words.append(f"--older-than {iso_time(args.older_than)}")
    return " ".join(words)


def _json(found: dict[str, Any]) -> str:
    return json.dumps(found, indent=2) + "\n"


def _say(text: str) -> None:
    sys.stderr.write(f"{PROGRAM}: {text}\n")


def _start_log(settings: Settings, args: argparse.Namespace) -> None:
    """Only what is worth a warning reaches the console, unless more is asked for."""
    logging = settings.logging
    if args.log_level is None:
        console = logging.console.model_copy(update={"level": "WARNING"})
        logging = logging.model_copy(update={"console": console})
    configure(logging, COMPONENT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns its exit code.

    0 done, 1 failed or damage found, 2 wrong usage, 78 configuration.

    Raises:
        SystemExit: wrong usage (2), a configuration that cannot be used (78), or `--help`.
    """
    now_unix_ms = int(time.time() * 1000)
    args = build_parser(now_unix_ms).parse_args(argv)
    settings = load_settings(args, needs_endpoints=False)
    try:
        _start_log(settings, args)
        code: int = args.run(args, place_of(settings), now_unix_ms)
    except ConfigError as error:
        _say(str(error))
        return EXIT_CONFIG
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # who read has had enough
        return EXIT_FAILED
    except (GatewayError, OSError) as error:
        _say(str(error))
        return EXIT_FAILED
    return code
