"""Entry point of the internal server process."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Final

from module_gateway.bus.location import find_bus
from module_gateway.bus.mqtt import MqttBus
from module_gateway.internal_server.rules import Fault
from module_gateway.internal_server.server import InternalServer
from module_gateway.modules.catalog import load_modules
from module_gateway.runtime.options import Once, add_common_options, load_settings, port_number
from module_gateway.runtime.process import Runtime, run_process
from module_gateway.runtime.settings import Settings
from module_gateway.runtime.tasks import start_task, stop_tasks
from module_gateway.runtime.watchdog import TimeLimit

COMPONENT: Final = "internal_server"


def build_parser() -> argparse.ArgumentParser:
    """The options of the seed's command line and the common ones (fleet-protocol 5.2)."""
    parser = argparse.ArgumentParser(
        prog="run_internal_server.py",
        allow_abbrev=False,
        description="Accepts devices over TCP and carries their statuses to the module handler.",
    )
    parser.add_argument(
        "-i",
        "--ip-address",
        metavar="ADDRESS",
        action=Once,
        help="address to listen on (default: the configuration's, else 127.0.0.1)",
    )
    parser.add_argument(
        "-p",
        "--port",
        metavar="PORT",
        type=port_number,
        action=Once,
        help="port to listen on; 0 chooses a free one (default: the configuration's, else 8888)",
    )
    faults = parser.add_mutually_exclusive_group()
    faults.add_argument(
        "--comm-error",
        dest="fault",
        action="store_const",
        const=Fault.COMMUNICATION_ERROR,
        help="for tests of clients: answer every connect with response type -1",
    )
    faults.add_argument(
        "--serv-too-long",
        dest="fault",
        action="store_const",
        const=Fault.SILENT_CONNECT,
        help="for tests of clients: send no connect response, but carry on as connected",
    )
    parser.set_defaults(fault=Fault.NONE)
    add_common_options(parser)
    return parser


def with_options(settings: Settings, args: argparse.Namespace) -> Settings:
    """The command line wins over the file (case 17)."""
    own = settings.internal_server_settings
    changes: dict[str, object] = {}
    if args.ip_address is not None:
        changes["ip_address"] = args.ip_address
    if args.port is not None:
        changes["port"] = args.port
    return settings.model_copy(
        update={"internal_server_settings": own.model_copy(update=changes)}
    ).with_notices(settings.notices)


async def serve(runtime: Runtime, fault: Fault) -> None:
    """Run until `runtime.stop`.

    Raises:
        ConfigError: a module cannot be loaded or the bus' address cannot be right.
        OSError: the listening address cannot be used.
    """
    settings = runtime.settings
    limit = TimeLimit(settings.module_handler_settings.module_time_limit_ms / 1000)
    modules = load_modules(settings.module_paths, settings.module_settings, limit)
    location = find_bus(settings.bus, runtime.state_dir, os.environ)
    bus = MqttBus(location, f"{COMPONENT}-{os.getpid()}", adapter=settings.bus.adapter)
    runtime.health.set("bus", is_ok=False, detail="not connected yet")
    runtime.health.set("handler", is_ok=False, detail="none was heard yet")

    def bus_changed(is_up: bool, reason: str) -> None:  # noqa: FBT001  # as `Health.set` has it
        runtime.health.set("bus", is_up, reason)

    def handler_changed(is_heard: bool, detail: str) -> None:  # noqa: FBT001  # likewise
        runtime.health.set("handler", is_heard, detail)

    server = InternalServer(
        settings, modules, bus, fault, bus_changed, handler_changed, runtime.progress
    )

    async def announce() -> None:
        await server.started.wait()
        runtime.announce_ready(devices=f"{server.ip_address}:{server.bound_port}")

    announcing = start_task(announce(), "internal-server-announce")
    try:
        await server.run(runtime.stop)
    finally:
        await stop_tasks([announcing])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the process; returns its exit code (0 ok, 1 failed, 78 configuration).

    Raises:
        SystemExit: wrong usage (2), or `--help`.
    """
    args = build_parser().parse_args(argv)
    settings = with_options(load_settings(args), args)
    return run_process(COMPONENT, settings, lambda runtime: serve(runtime, args.fault))
