"""Everything on one machine: `run_all.py` and `module-gateway run`."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from module_gateway.protocol.errors import ConfigError, GatewayError
from module_gateway.runtime.composition import DEMO_DEVICES, Composition
from module_gateway.runtime.log import configure, get_logger
from module_gateway.runtime.options import Once, add_common_options, load_settings, port_number
from module_gateway.runtime.process import (
    EXIT_CONFIG,
    EXIT_FAILED,
    install_signals,
    log_configuration,
)
from module_gateway.runtime.settings import Settings
from module_gateway.runtime.state import ensure_state_dir, find_state_dir
from module_gateway.runtime.supervisor import Addresses, Supervisor
from module_gateway.runtime.terminal import Terminal, TerminalStream

NAME: Final = "gateway"
LOCK_NAME: Final = "run.lock"

_log = get_logger(__name__)


def build_parser(prog: str = "run_all.py") -> argparse.ArgumentParser:
    """The options of running everything."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Run broker, internal server, module handler and external client; "
        "Ctrl-C stops them.",
        allow_abbrev=False,
    )
    add_common_options(parser)
    parser.add_argument(
        "--port",
        type=port_number,
        action=Once,
        help="port for devices, over the one in the file; 0 chooses a free one",
    )
    parser.add_argument(
        "--demo",
        action="store_true",
        help="also run a control plane, its broker and three virtual devices",
    )
    return parser


def main(argv: Sequence[str] | None = None, prog: str = "run_all.py") -> int:
    """Run until Ctrl-C or SIGTERM; returns the exit code.

    Raises:
        SystemExit: 2 for wrong usage, 78 for a configuration that cannot be used.
    """
    args = build_parser(prog).parse_args(argv)
    settings = load_settings(args)
    try:
        state_dir = ensure_state_dir(find_state_dir(settings.state_dir, os.environ))
        with alone(state_dir):
            return asyncio.run(_run(args, settings, state_dir))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIG
    except AlreadyRunningError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_FAILED


class AlreadyRunningError(GatewayError):
    """Another supervisor has the state folder."""


@contextmanager
def alone(state_dir: Path) -> Iterator[None]:
    """One supervisor per state folder: bus socket and store belong to it.

    Raises:
        AlreadyRunningError: there is one.
    """
    with (state_dir / LOCK_NAME).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunningError(
                f"another gateway runs with the state folder {state_dir}; stop it or give this "
                "one another folder with --state-dir"
            ) from error
        yield


def options_of_components(args: argparse.Namespace, state_dir: Path) -> list[str]:
    """What each component must be told so that it reads the same settings."""
    options = ["--state-dir", str(state_dir), "--log-format", args.log_format or "text"]
    if args.config is not None:
        options += ["--config", str(args.config.absolute())]
    if args.log_level is not None:
        options += ["--log-level", args.log_level]
    return options


async def _run(args: argparse.Namespace, settings: Settings, state_dir: Path) -> int:
    composition = Composition(
        settings,
        state_dir,
        os.environ,
        options_of_components(args, state_dir),
        () if args.port is None else ("--port", str(args.port)),
        is_demo=args.demo,
    )
    supervisor: Supervisor

    def addresses(name: str) -> Addresses:
        return supervisor.addresses(name)

    components = composition.components(addresses)
    names = tuple(component.name for component in components)
    terminal = Terminal(sys.stdout, (*names, NAME), os.environ)
    try:
        logging = settings.logging
        if logging.format == "auto":
            logging = logging.model_copy(update={"format": "text"})
        configure(logging, NAME, TerminalStream(terminal, NAME))
        log_configuration(settings)
        stop = asyncio.Event()
        install_signals(NAME, stop)
        supervisor = Supervisor(components, terminal)

        def ready() -> None:
            found = {name: supervisor.addresses(name) for name in names}
            terminal.say(ready_line(found))
            if args.demo:
                terminal.say(look_around(settings, found))

        return await supervisor.run(stop, ready)
    finally:
        terminal.close()


def ready_line(found: dict[str, Addresses]) -> str:
    """The one line that says where everything is."""
    places = [
        f"{name}.{what}={where}"
        for name, addresses in found.items()
        for what, where in addresses.items()
    ]
    return "READY " + " ".join(places)


def look_around(settings: Settings, found: dict[str, Addresses]) -> str:
    """What to type next to see the demo work."""
    said = found.get("control_plane", {})
    own = settings.control_plane_settings
    base = f"http://{said.get('api', f'{own.http_host}:{own.http_port}')}"
    upstream = settings.external_connection
    vehicle = f"{base}/api/v1/vehicles/{upstream.company}/{upstream.vehicle_name}"
    car = next(device for device in DEMO_DEVICES if device.module == "mission")
    stop = {"name": "Gate", "position": {"latitude": 49.2, "longitude": 16.6, "altitude": 230}}
    command = json.dumps({"command": {"action": "START", "route": "north", "stops": [stop]}})
    return "\n".join(
        (
            "",
            f"  Look:     {base}/",
            f"            curl {base}/api/v1/vehicles",
            f"            curl {vehicle}",
            "  Command:  curl -X POST -H 'Content-Type: application/json' \\",
            f"              -d '{command}' \\",
            f"              {vehicle}/devices/1/{car.device_type}/{car.role}/commands",
            "  Stop:     Ctrl-C",
            "",
        )
    )
