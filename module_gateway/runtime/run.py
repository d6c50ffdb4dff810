"""Everything on one machine: `run_all.py` and `module-gateway run`."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from module_gateway.bus.location import HOST_VARIABLE, PORT_VARIABLE
from module_gateway.protocol.errors import ConfigError, GatewayError
from module_gateway.runtime.broker import answers
from module_gateway.runtime.composition import (
    DEMO_DEVICES,
    Composition,
    demo_devices,
    device_address,
    refuse_leftovers,
)
from module_gateway.runtime.health import Health, Progress
from module_gateway.runtime.log import configure, get_logger
from module_gateway.runtime.notify import Notifier
from module_gateway.runtime.options import Once, add_common_options, load_settings, port_number
from module_gateway.runtime.preflight import Obstacle, obstacles
from module_gateway.runtime.process import (
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_OK,
    install_signals,
    log_configuration,
)
from module_gateway.runtime.pulse import keep_pulse
from module_gateway.runtime.restarts import GATEWAY, write_gateway_note
from module_gateway.runtime.settings import Settings
from module_gateway.runtime.state import ensure_state_dir, find_state_dir, remove_run_note
from module_gateway.runtime.supervisor import Addresses, Policy, Supervisor
from module_gateway.runtime.tasks import start_task, stop_tasks
from module_gateway.runtime.terminal import Terminal, TerminalStream

NAME: Final = GATEWAY
LOCK_NAME: Final = "run.lock"
PORTS_LIMIT_S: Final = 5.0
"""A killed gateway's processes need about so long until their ports are free again."""
ANOTHER_GATEWAY: Final = 3
"""So many of our addresses in use are no coincidence."""
PORTS_POLL_S: Final = 0.2

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
    settings = with_port(load_settings(args), args.port)
    try:
        state_dir = ensure_state_dir(find_state_dir(settings.state_dir, os.environ))
        refuse_leftovers(settings, state_dir)
        with alone(state_dir):
            found = wait_for_way(settings, state_dir, is_demo=args.demo)
            if found:
                sys.stderr.write("".join(f"cannot start: {item}\n" for item in found))
                if sum(item.is_passing for item in found) >= ANOTHER_GATEWAY:
                    sys.stderr.write("probably another gateway runs on this machine: stop it\n")
                return EXIT_FAILED if all(item.is_passing for item in found) else EXIT_CONFIG
            return asyncio.run(_run(args, settings, state_dir))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_CONFIG
    except AlreadyRunningError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_FAILED
    except KeyboardInterrupt:  # before anything was started
        return EXIT_OK


def with_port(settings: Settings, port: int | None) -> Settings:
    """The settings with the port of the command line, None for none (case 17)."""
    if port is None:
        return settings
    own = settings.internal_server_settings.model_copy(update={"port": port})
    return settings.model_copy(update={"internal_server_settings": own})


def wait_for_way(
    settings: Settings, state_dir: Path, *, is_demo: bool, limit_s: float = PORTS_LIMIT_S
) -> list[Obstacle]:
    """What is in the way for good; a port that was just given up is waited for."""
    until = time.monotonic() + limit_s
    is_said = False
    while True:
        found = obstacles(settings, state_dir, os.environ, is_demo=is_demo)
        if not any(item.is_passing for item in found) or time.monotonic() >= until:
            return found
        if not all(item.is_passing for item in found):
            return found
        if not is_said:
            places = ", ".join(item.text.split(" ")[0] for item in found)
            sys.stderr.write(f"in use: {places}; waiting up to {limit_s:g} s\n")
            is_said = True
        time.sleep(PORTS_POLL_S)


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


def _say_left_out(settings: Settings) -> None:
    """Name the devices that the demo goes without."""
    names = {device.name for device in demo_devices(settings)}
    for device in DEMO_DEVICES:
        if device.name not in names:
            why = f"no endpoint has a module {device.module}"
            _log.warning("demo_device_left_out", name=device.name, reason=why)


async def _look_for_bus(composition: Composition) -> None:
    """Say at once that a bus which somebody else runs is not there: everything waits for it."""
    if not composition.is_own_bus and not await answers(composition.bus):
        _log.warning(
            "bus_absent",
            location=str(composition.bus),
            hint=f"start that broker; it is named by {HOST_VARIABLE}, {PORT_VARIABLE} or `bus`",
        )


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
    notifier = Notifier.from_environment(os.environ, os.getpid())
    try:
        logging = settings.logging
        if logging.format == "auto":
            logging = logging.model_copy(update={"format": "text"})
        configure(logging, NAME, TerminalStream(terminal, NAME))
        stop = asyncio.Event()
        install_signals(NAME, stop)
        log_configuration(settings)
        if args.demo:
            _say_left_out(settings)
        await _look_for_bus(composition)

        def write_note() -> None:
            write_gateway_note(state_dir, os.getpid(), supervisor.accounts())

        limit_s = settings.supervisor_settings.hung_limit_ms / 1000
        supervisor = Supervisor(components, terminal, Policy(hung_limit_s=limit_s), write_note)

        def ready() -> None:
            found = {name: supervisor.addresses(name) for name in names}
            terminal.say(ready_line(found))
            terminal.say(next_steps(settings, found, is_demo=args.demo))
            notifier.ready(f"{len(names)} processes run")

        telling = [
            start_task(keep_pulse(Progress(), Health(), notifier), "pulse"),
            start_task(_say_stopping(stop, notifier), "say-stopping"),
        ]
        code = await supervisor.run(stop, ready)
        await stop_tasks(telling)
        _log.info("stopped", exit_code=code)
        return code
    finally:
        notifier.close()
        remove_run_note(state_dir, GATEWAY, os.getpid())
        terminal.close()


async def _say_stopping(stop: asyncio.Event, notifier: Notifier) -> None:
    await stop.wait()
    notifier.stopping()


def ready_line(found: dict[str, Addresses]) -> str:
    """The one line that says where everything is."""
    places = [
        f"{name}.{what}={where}"
        for name, addresses in found.items()
        for what, where in addresses.items()
    ]
    return "READY " + " ".join(places)


def next_steps(settings: Settings, found: dict[str, Addresses], *, is_demo: bool) -> str:
    """What to type next, at most 120 columns wide."""
    host, port = device_address(found.get("internal_server", {}), settings)
    steps = [("Devices", f"connect to {host}:{port}")]
    steps += look_around(settings, found) if is_demo else upstreams(settings)
    steps.append(("Stop", "Ctrl-C"))
    return "\n".join(("", *(f"  {name:<9} {text}" for name, text in steps), ""))


def upstreams(settings: Settings) -> list[tuple[str, str]]:
    """Where statuses go."""
    return [
        (
            "Upstream",
            f"{endpoint.server_ip}:{endpoint.port} for modules "
            + ", ".join(map(str, endpoint.modules)),
        )
        for endpoint in settings.external_connection.endpoints
    ]


def look_around(settings: Settings, found: dict[str, Addresses]) -> list[tuple[str, str]]:
    """How to see the demo work, and how to send its vehicle somewhere."""
    said = found.get("control_plane", {})
    own = settings.control_plane_settings
    base = f"http://{said.get('api', f'{own.http_host}:{own.http_port}')}"
    upstream = settings.external_connection
    vehicle = f"{base}/api/v1/vehicles/{upstream.company}/{upstream.vehicle_name}"
    steps = [("Page", f"{base}/"), ("Look", f"curl {vehicle}")]
    for car in demo_devices(settings):
        if car.module == "mission":
            trip = {"action": "START", "route": "north", "stops": [{"name": "Gate"}]}
            steps += [
                ("Command", "curl -X POST -H 'Content-Type: application/json' \\"),
                ("", f"  -d '{json.dumps({'command': trip})}' \\"),
                ("", f"  {vehicle}/devices/{car.number}/{car.device_type}/{car.role}/commands"),
            ]
    return steps
