"""Entry point of the external client process."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Final

from module_gateway.bus.location import find_bus
from module_gateway.bus.mqtt import MqttBus
from module_gateway.external_client.client import ExternalClient
from module_gateway.modules.catalog import load_modules
from module_gateway.runtime.options import add_common_options, load_settings
from module_gateway.runtime.process import Runtime, run_process
from module_gateway.runtime.tasks import start_task, stop_tasks
from module_gateway.runtime.watchdog import TimeLimit

COMPONENT: Final = "external_client"


def build_parser() -> argparse.ArgumentParser:
    """The options of this process: only the common ones."""
    parser = argparse.ArgumentParser(
        prog="run_external_client.py",
        description="Carries statuses to the control planes and commands back.",
    )
    add_common_options(parser)
    return parser


async def serve(runtime: Runtime) -> None:
    """Run until `runtime.stop`.

    Raises:
        ConfigError: a module cannot be loaded, TLS is incomplete or the bus' address is wrong.
        GatewayError: another external client has taken over.
    """
    settings = runtime.settings
    limit = TimeLimit(settings.module_handler_settings.module_time_limit_ms / 1000)
    modules = load_modules(settings.module_paths, settings.module_settings, limit)
    location = find_bus(settings.bus, runtime.state_dir, os.environ)
    bus = MqttBus(location, f"{COMPONENT}-{os.getpid()}", adapter=settings.bus.adapter)
    runtime.health.set("bus", is_ok=False, detail="not connected yet")
    runtime.health.set("handler", is_ok=False, detail="none was heard yet")
    client = ExternalClient(
        settings, modules, bus, health_changed=runtime.health.set, progress=runtime.progress
    )

    async def announce() -> None:
        await client.ready()
        runtime.announce_ready()

    announcing = start_task(announce(), "external-client-announce")
    try:
        await client.run(runtime.stop)
    finally:
        await stop_tasks([announcing])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the process; returns its exit code (0 ok, 1 failed, 78 configuration).

    Raises:
        SystemExit: wrong usage (2), or `--help`.
    """
    return run_process(COMPONENT, load_settings(build_parser().parse_args(argv)), serve)
