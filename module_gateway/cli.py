"""`module-gateway`: the gateway and everything about it on the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.check import main as check
from module_gateway.runtime.config_errors import nearest
from module_gateway.runtime.process import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from module_gateway.runtime.run import main as run

PROGRAM: Final = "module-gateway"


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand: what it is for, and what runs it with the rest of the line."""

    purpose: str
    main: Callable[[Sequence[str]], int]


def _component(package: str) -> Callable[[Sequence[str]], int]:
    """The process of `package`; imported only when it is the one that runs."""

    def run_component(argv: Sequence[str]) -> int:
        code: int = import_module(f"module_gateway.{package}.app").main(argv)
        return code

    return run_component


def _module(argv: Sequence[str]) -> int:
    """`module new NAME`: write a module and its test, ready to be filled in."""
    parser = argparse.ArgumentParser(prog=f"{PROGRAM} module", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="new NAME")
    new = commands.add_parser("new", help="write a new module and its test", allow_abbrev=False)
    new.add_argument("name", help="lower-case name, such as door_sensor")
    new.add_argument("--folder", type=Path, default=Path(), help="where (default: here)")
    args = parser.parse_args(argv)
    scaffold = import_module("module_gateway.modules.scaffold")
    try:
        written = scaffold.create(args.name, args.folder)
    except ConfigError as error:
        sys.stderr.write(f"{PROGRAM} module new: {error}\n")
        return EXIT_USAGE
    except OSError as error:
        sys.stderr.write(f"{PROGRAM} module new: {args.folder}: {error.strerror or error}\n")
        return EXIT_FAILED
    for path in written:
        sys.stdout.write(f"{path}\n")
    sys.stderr.write(scaffold.next_steps(args.name, args.folder))
    return EXIT_OK


COMMANDS: Final[dict[str, Command]] = {
    "run": Command(
        "everything on this machine, like run_all.py", lambda rest: run(rest, f"{PROGRAM} run")
    ),
    "internal-server": Command("accept devices", _component("internal_server")),
    "module-handler": Command("aggregate, answer and remember", _component("module_handler")),
    "external-client": Command("talk to the control planes", _component("external_client")),
    "control-plane": Command("a control plane for local use", _component("control_plane")),
    "check": Command("say what is wrong with configuration, bus, certificates or disk", check),
    "buffer": Command(
        "look at what waits for a control plane, and change it",
        _component("module_handler.buffer"),
    ),
    "tap": Command("show live messages at the bus or upstream, decoded", _component("observe.tap")),
    "status": Command("is it well? the whole gateway on one screen", _component("observe.status")),
    "bundle": Command("what a bug report needs in one file", _component("observe.bundle")),
    "module": Command("new NAME: start a module of your own", _module),
}


def usage() -> str:
    """What `module-gateway` alone prints."""
    width = max(map(len, COMMANDS))
    lines = [
        f"usage: {PROGRAM} COMMAND [OPTIONS]",
        f"       {PROGRAM} -c FILE | --config-path=FILE [--port=PORT]   (short for: run)",
        "",
        "commands:",
        *(f"  {name:<{width}}  {command.purpose}" for name, command in COMMANDS.items()),
        "",
        f"{PROGRAM} COMMAND --help says more.",
    ]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code.

    No arguments or `-h` print the usage and are no error; options without a command are those of
    `run`, as with the existing gateway (fleet-protocol 5.1).

    Raises:
        SystemExit: 2 for wrong usage of a command, 78 for a configuration that cannot be used.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in {"-h", "--help"}:
        sys.stdout.write(usage())
        return EXIT_OK
    if words[0].startswith("-"):
        words.insert(0, "run")
    name, *rest = words
    if name not in COMMANDS:
        hint = nearest(name, COMMANDS)
        said = f"{name!r} is not a command" + (f"; {hint}" if hint else "")
        sys.stderr.write(f"{PROGRAM}: {said}\n\n{usage()}")
        return EXIT_USAGE
    return COMMANDS[name].main(rest)
