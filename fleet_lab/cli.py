"""`fleet-lab`: prove from outside that a gateway, a module or a control plane is ready."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from fleet_lab.errors import EXIT_OK, LabError, missing_extra

GROUPS: Final = {
    "device": ("device",),
    "fleet": ("fleet",),
    "watch": ("watch",),
    "demo": ("demo",),
    "check": ("check",),
    "report": ("report",),
}
"""File in `commands/` and the commands that it adds."""


OF_FLEETS: Final = frozenset({"ps", "scale", "send", "telemetry", "stop"})
"""`fleet-lab ps` is `fleet-lab fleet ps`, and so on: they are typed often."""
EXTRAS: Final = {
    "hdrh": "lab", "httpx": "lab", "jinja2": "lab", "markupsafe": "lab", "rich": "lab",
    "simplefix": "lab", "websockets": "lab", "yaml": "lab", "ray": "ray",
}  # fmt: skip
"""Libraries that a plain installation lacks, and the extra that brings each."""


def build_parser(command: str = "") -> argparse.ArgumentParser:
    """All flags of all commands; of one group only when its command is given.

    Starting one command does not pay for the imports of the others.
    """
    parser = argparse.ArgumentParser(prog="fleet-lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group, names in GROUPS.items():
        if command in names or not _is_known(command):
            import_module(f"fleet_lab.commands.{group}").add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 done or stopped by the user, 1 failed, 2 usage, 78 an unusable file."""
    given = sys.argv[1:] if argv is None else list(argv)
    if given and given[0] in OF_FLEETS:
        given.insert(0, "fleet")
    try:
        arguments = build_parser(given[0] if given else "").parse_args(given)
        return int(arguments.run(arguments))
    except LabError as error:
        sys.stderr.write(f"fleet-lab: {error.text}\n")
        return error.exit_code
    except ModuleNotFoundError as missing:
        library = (missing.name or "").partition(".")[0]
        if library not in EXTRAS:
            raise
        said = missing_extra(library, EXTRAS[library], f"fleet-lab {given[0]}")
        sys.stderr.write(f"fleet-lab: {said.text}\n")
        return said.exit_code
    except (KeyboardInterrupt, BrokenPipeError):
        return EXIT_OK


def _is_known(command: str) -> bool:
    return any(command in names for names in GROUPS.values())


if __name__ == "__main__":
    sys.exit(main())
