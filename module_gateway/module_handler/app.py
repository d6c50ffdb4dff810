"""Entry point of the module handler process."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from module_gateway.bus.location import find_bus
from module_gateway.bus.mqtt import MqttBus
from module_gateway.module_handler.handler import ModuleHandler
from module_gateway.module_handler.limits import parse_partitions
from module_gateway.module_handler.sqlite_store import SqliteStore
from module_gateway.module_handler.store import MemoryStore, Store
from module_gateway.modules.catalog import load_modules
from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.options import Once, add_common_options, load_settings
from module_gateway.runtime.process import Runtime, run_process
from module_gateway.runtime.settings import Settings
from module_gateway.runtime.tasks import start_task, stop_tasks
from module_gateway.runtime.watchdog import TimeLimit

COMPONENT: Final = "module_handler"

STORE_FILE: Final = Path("store", "handler.db")
"""Below the state folder."""


def module_numbers(text: str) -> tuple[int, ...]:
    """`1,1001` from the command line."""
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of module numbers such as '1,1001'")
    return tuple(int(part) for part in parts)


def partitions(text: str) -> str:
    """`0-31` from the command line, checked."""
    try:
        parse_partitions(text, "--partitions")
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def build_parser() -> argparse.ArgumentParser:
    """The options of this process and the common ones."""
    parser = argparse.ArgumentParser(
        prog="run_modules.py",
        description="Keeps the truth about devices: who holds an identity, what it said last, "
        "what must go upstream.",
    )
    parser.add_argument(
        "--modules",
        metavar="NUMBERS",
        type=module_numbers,
        action=Once,
        help="numbers of module-paths that this process serves, e.g. 1,1001 (default: all)",
    )
    parser.add_argument(
        "--partitions",
        metavar="RANGES",
        type=partitions,
        action=Once,
        help="partitions of these modules that this process owns, e.g. 0-31 (default: all)",
    )
    add_common_options(parser)
    return parser


def with_options(settings: Settings, args: argparse.Namespace) -> Settings:
    """The command line wins over the file."""
    changes: dict[str, object] = {}
    if args.modules is not None:
        changes["modules"] = args.modules
    if args.partitions is not None:
        changes["partitions"] = args.partitions
    own = settings.module_handler_settings.model_copy(update=changes)
    return settings.model_copy(update={"module_handler_settings": own}).with_notices(
        settings.notices
    )


def check_modules(settings: Settings) -> None:
    """Refuse a choice of modules that the configuration does not have.

    Raises:
        ConfigError: naming the first one.
    """
    for number in settings.module_handler_settings.modules or ():
        if str(number) not in settings.module_paths:
            raise ConfigError(
                "--modules or module-handler-settings.modules",
                got=number,
                expected=f"numbers of module-paths ({', '.join(settings.module_paths)})",
            )


def open_store(settings: Settings, state_dir: Path) -> Store:
    """Where this handler keeps what survives; nothing is opened before it is loaded."""
    durability = settings.module_handler_settings.durability
    if durability == "memory":
        return MemoryStore()
    return SqliteStore(state_dir / STORE_FILE, durability)


async def serve(runtime: Runtime) -> None:
    """Run until `runtime.stop`.

    Raises:
        ConfigError: a module cannot be loaded, or the bus' address cannot be right.
        StoreError: the state cannot be loaded.
    """
    settings = runtime.settings
    check_modules(settings)
    limit = TimeLimit(settings.module_handler_settings.module_time_limit_ms / 1000)
    modules = load_modules(settings.module_paths, settings.module_settings, limit)
    location = find_bus(settings.bus, runtime.state_dir, os.environ)
    bus = MqttBus(location, f"{COMPONENT}-{os.getpid()}", adapter=settings.bus.adapter)
    runtime.health.set("bus", is_ok=False, detail="not connected yet")
    runtime.health.set("store", is_ok=False, detail="not loaded yet")
    store = open_store(settings, runtime.state_dir)
    handler = ModuleHandler(
        settings, modules, bus, store, runtime.health.set, progress=runtime.progress
    )

    async def announce() -> None:
        await handler.ready()
        runtime.announce_ready()

    announcing = start_task(announce(), "module-handler-announce")
    try:
        await handler.run(runtime.stop)
    finally:
        await stop_tasks([announcing])
        await store.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the process; returns its exit code (0 ok, 1 failed, 78 configuration).

    Raises:
        SystemExit: wrong usage (2), or `--help`.
    """
    args = build_parser().parse_args(argv)
    settings = with_options(load_settings(args), args)
    return run_process(COMPONENT, settings, serve)
