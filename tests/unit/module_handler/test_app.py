"""The command line of the module handler."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal

import pytest

from module_gateway.module_handler import app
from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.settings import ModuleHandlerSettings, Settings


def parse(*argv: str) -> argparse.Namespace:
    return app.build_parser().parse_args(argv)


def test_without_options_the_configuration_decides() -> None:
    own = ModuleHandlerSettings(modules=(1,), partitions="0-3")
    settings = Settings(module_handler_settings=own)
    assert own == app.with_options(settings, parse()).module_handler_settings


def test_the_command_line_wins_over_the_configuration() -> None:
    settings = Settings(module_handler_settings=ModuleHandlerSettings(modules=(1,)))
    chosen = app.with_options(settings, parse("--modules", "2,1001", "--partitions", "0-31"))
    assert ((2, 1001), "0-31") == (
        chosen.module_handler_settings.modules,
        chosen.module_handler_settings.partitions,
    )


@pytest.mark.parametrize(
    "argv",
    [
        ("--modules", "one"),
        ("--modules", ""),
        ("--partitions", "64"),
        ("--partitions", "0", "--partitions", "1"),
        ("--unknown",),
    ],
)
def test_wrong_usage_ends_with_2(argv: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        app.main(argv)
    assert 2 == caught.value.code


@pytest.mark.parametrize("durability", ["power", "process", "memory"])
async def test_only_memory_keeps_nothing_in_the_state_folder(
    tmp_path: Path, durability: Literal["power", "process", "memory"]
) -> None:
    own = ModuleHandlerSettings(durability=durability)
    store = app.open_store(Settings(module_handler_settings=own), tmp_path)
    await store.load()
    assert (durability != "memory") == (tmp_path / "store" / "handler.db").is_file()
    await store.close()


def test_a_module_that_the_configuration_does_not_have_is_refused() -> None:
    settings = Settings(module_handler_settings=ModuleHandlerSettings(modules=(1, 77)))
    with pytest.raises(ConfigError, match="77"):
        app.check_modules(settings)
    app.check_modules(Settings(module_handler_settings=ModuleHandlerSettings(modules=(1,))))
