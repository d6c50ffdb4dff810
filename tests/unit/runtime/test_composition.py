"""Which processes make up a gateway."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from module_gateway.runtime.composition import Composition, demo_devices, device_address
from module_gateway.runtime.config import default_settings
from module_gateway.runtime.settings import (
    Endpoint,
    ExternalConnection,
    InternalServerSettings,
    Settings,
)
from module_gateway.runtime.state import RunNote, ensure_state_dir, write_run_note
from module_gateway.runtime.supervisor import Component


def compose(
    state_dir: Path, environ: Mapping[str, str] | None = None, *, is_demo: bool = False
) -> list[Component]:
    composition = Composition(
        default_settings(),
        ensure_state_dir(state_dir),
        environ or {},
        ("--state-dir", str(state_dir)),
        ("--port", "0"),
        is_demo=is_demo,
    )
    return composition.components(lambda _: {"devices": "0.0.0.0:1234"})


def test_a_gateway_is_a_broker_and_three_processes(tmp_path: Path) -> None:
    assert [component.name for component in compose(tmp_path)] == [
        "bus_broker",
        "module_handler",
        "internal_server",
        "external_client",
    ]


def test_the_demo_adds_the_other_side_and_three_devices(tmp_path: Path) -> None:
    names = {component.name for component in compose(tmp_path, is_demo=True)}
    added = names - {component.name for component in compose(tmp_path)}

    assert sorted(added) == [
        "control_plane",
        "device_button",
        "device_car",
        "device_io",
        "upstream_broker",
    ]


def test_a_broker_that_was_not_started_by_us_is_used_only_when_named(tmp_path: Path) -> None:
    names = [part.name for part in compose(tmp_path, {"IPC_MQTT_HOST": "10.0.0.1"})]

    assert names == ["module_handler", "internal_server", "external_client"]


def test_components_are_our_own_commands_with_the_common_options(tmp_path: Path) -> None:
    commands = {part.name: part.command for part in compose(tmp_path)}
    common = ("--state-dir", str(tmp_path))
    start = (sys.executable, "-m", "module_gateway")

    assert commands["module_handler"]() == (*start, "module-handler", *common)
    assert commands["internal_server"]() == (*start, "internal-server", *common, "--port", "0")


async def test_a_component_is_ready_when_its_present_process_says_so(tmp_path: Path) -> None:
    [handler] = [part for part in compose(tmp_path) if part.name == "module_handler"]
    assert await handler.ready(7) is None

    write_run_note(tmp_path, RunNote("module_handler", 7, {"metrics": "127.0.0.1:1"}))
    assert await handler.ready(7) == {"metrics": "127.0.0.1:1"}
    assert await handler.ready(8) is None  # the note of the one that died


def test_devices_leave_first_and_brokers_last(tmp_path: Path) -> None:
    ranks = {part.name: part.stop_rank for part in compose(tmp_path, is_demo=True)}

    assert sorted(ranks, key=lambda name: (ranks[name], name)) == [
        "device_button",
        "device_car",
        "device_io",
        "internal_server",
        "external_client",
        "module_handler",
        "control_plane",
        "bus_broker",
        "upstream_broker",
    ]


def test_a_device_of_the_demo_goes_where_the_server_says_it_listens(tmp_path: Path) -> None:
    [car] = [part for part in compose(tmp_path, is_demo=True) if part.name == "device_car"]
    words = list(car.command())

    assert words[1:3] == ["-m", "fleet_lab"]
    assert words[words.index("--port") + 1] == "1234"
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert (car.is_essential, "internal_server" in car.after) == (False, True)


def test_the_demo_has_the_devices_that_the_configuration_has_a_module_for() -> None:
    endpoint = Endpoint(server_ip="a", port=1, modules=(2, 77))
    settings = Settings(
        module_paths={"1": "mission", "2": "car_accessory", "77": "libio-module.so"},
        external_connection=ExternalConnection(endpoints=(endpoint,)),
    )

    assert [(device.name, device.number) for device in demo_devices(settings)] == [
        ("device_button", 2),
        ("device_io", 77),
    ]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"devices": "127.0.0.1:5"}, ("127.0.0.1", 5)),
        ({"devices": "0.0.0.0:5"}, ("127.0.0.1", 5)),
        ({}, ("127.0.0.1", 1636)),
    ],
)
def test_where_a_local_device_connects(said: dict[str, str], expected: tuple[str, int]) -> None:
    settings = Settings(internal_server_settings=InternalServerSettings(port=1636))

    assert device_address(said, settings) == expected
