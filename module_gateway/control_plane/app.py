"""The control plane as a process: options, broker, API, one ready line."""

from __future__ import annotations

import argparse
import ipaddress
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from module_gateway.control_plane.api import create_app
from module_gateway.control_plane.http_server import serve_http
from module_gateway.control_plane.memory_store import MemoryStore
from module_gateway.control_plane.server import ControlPlane, store_limits
from module_gateway.control_plane.sql_store import SqlStore
from module_gateway.control_plane.store import Store
from module_gateway.modules.catalog import load_modules
from module_gateway.runtime.options import Once, add_common_options, load_settings, port_number
from module_gateway.runtime.process import Runtime, run_process
from module_gateway.runtime.settings import ControlPlaneSettings, Settings
from module_gateway.runtime.tasks import start_task, stop_tasks
from module_gateway.runtime.watchdog import TimeLimit

COMPONENT: Final = "control_plane"
DATABASE_FILE: Final = "control_plane.db"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a control plane until a signal; returns the exit code (design 6)."""
    args = _parser().parse_args(argv)
    settings = with_options(load_settings(args, needs_endpoints=False), args)
    return run_process(COMPONENT, settings, serve)


def with_options(settings: Settings, args: argparse.Namespace) -> Settings:
    """The settings with what the command line says instead."""
    changes = {
        name: getattr(args, name)
        for name in ("http_host", "http_port", "broker_host", "broker_port")
        if getattr(args, name) is not None
    }
    section = settings.control_plane_settings.model_copy(update=changes)
    return settings.model_copy(update={"control_plane_settings": section})


async def serve(runtime: Runtime) -> None:
    """The work of the process: until `runtime.stop` is set.

    Raises:
        ConfigError: a module cannot be loaded, or the HTTP address cannot be bound.
    """
    settings = runtime.settings
    section = settings.control_plane_settings
    limit = TimeLimit(settings.module_handler_settings.module_time_limit_ms / 1000)
    modules = load_modules(settings.module_paths, settings.module_settings, limit)
    store = make_store(section, runtime.state_dir)
    control_plane = ControlPlane(settings, modules, store=store, on_link=_report_link(runtime))
    app = create_app(control_plane, bound_host=section.http_host)
    async with serve_http(app, section.http_host, section.http_port) as port:
        host = _written(section.http_host)
        announcing = start_task(
            _announce(runtime, control_plane, f"{host}:{port}"), "ready announcement"
        )
        try:
            await control_plane.run(runtime.stop)
        finally:
            await stop_tasks([announcing])


def make_store(section: ControlPlaneSettings, state_dir: Path) -> Store:
    """What the setting `database` asks for.

    Raises:
        ConfigError: it names no database that we know.
    """
    limits = store_limits(section)
    if section.database == "memory":
        return MemoryStore(limits)
    if section.database == "sqlite":
        return SqlStore(f"sqlite:///{state_dir / DATABASE_FILE}", limits)
    return SqlStore(section.database, limits)


async def _announce(runtime: Runtime, control_plane: ControlPlane, api: str) -> None:
    await control_plane.ready()
    section = control_plane.settings
    broker = f"{_written(section.broker_host)}:{section.broker_port}"
    runtime.announce_ready(api=api, broker=broker)


def _report_link(runtime: Runtime) -> Callable[[bool, str], None]:
    runtime.health.set("broker", is_ok=False, detail="not connected yet")

    def report(is_up: bool, reason: str) -> None:  # noqa: FBT001 - a listener's signature
        runtime.health.set("broker", is_up, reason)

    return report


def _written(host: str) -> str:
    """A host as it stands before a port."""
    try:
        is_v6 = ipaddress.ip_address(host).version == 6  # noqa: PLR2004
    except ValueError:
        return host
    return f"[{host}]" if is_v6 else host


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="module-gateway control-plane",
        description="An external server for any number of vehicles, with an HTTP API and a page.",
    )
    add_common_options(parser)
    parser.add_argument(
        "--http-host", metavar="HOST", action=Once, help="where the API listens (127.0.0.1)"
    )
    parser.add_argument(
        "--http-port", metavar="PORT", type=port_number, action=Once, help="0: any free port (8080)"
    )
    parser.add_argument(
        "--broker-host", metavar="HOST", action=Once, help="the upstream broker (127.0.0.1)"
    )
    parser.add_argument(
        "--broker-port", metavar="PORT", type=broker_port, action=Once, help="its port (18883)"
    )
    return parser


def broker_port(text: str) -> int:
    """A TCP port of somebody else."""
    port = port_number(text)
    if port == 0:
        raise argparse.ArgumentTypeError("a broker does not listen on port 0")
    return port
