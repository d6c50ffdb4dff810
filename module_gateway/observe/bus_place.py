"""Where the bus of a running gateway is: its processes may have been told something else than we.

A supervisor tells its processes by variables where its broker is, and an operator's terminal does
not have them. The system shows a process' variables to its own user, and to root.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from module_gateway.bus.location import (
    HOST_VARIABLE,
    PORT_VARIABLE,
    SOCKET_VARIABLE,
    BusLocation,
    find_bus,
)
from module_gateway.runtime.settings import BusSettings
from module_gateway.runtime.state import read_run_note

VARIABLES: Final = (HOST_VARIABLE, PORT_VARIABLE, SOCKET_VARIABLE)
_ON_THE_BUS: Final = ("module_handler", "internal_server", "external_client")


def running_bus(
    settings: BusSettings, state_dir: Path, environ: Mapping[str, str], proc: Path = Path("/proc")
) -> BusLocation:
    """As `find_bus` finds it for the processes that run there; without any, for this one.

    What this process' own variables say comes first.

    Raises:
        ConfigError: a variable or a path that cannot be right.
    """
    if not any(environ.get(name) for name in VARIABLES):
        environ = {**environ, **_told(state_dir, proc)}
    return find_bus(settings, state_dir, environ)


def _told(state_dir: Path, proc: Path) -> dict[str, str]:
    """Those of the variables that a running process of this state folder was started with."""
    for component in _ON_THE_BUS:
        note = read_run_note(state_dir, component)
        if note is None:
            continue
        try:
            block = (proc / str(note.pid) / "environ").read_bytes()
        except OSError:
            continue
        pairs = (each.decode(errors="replace").partition("=") for each in block.split(b"\0"))
        found = {name: value for name, _, value in pairs if name in VARIABLES and value}
        if found:
            return found
    return {}
