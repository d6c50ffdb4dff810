"""Which processes make up a gateway."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.composition import (
    Composition,
    Part,
    demo_devices,
    device_address,
    refuse_leftovers,
)
from module_gateway.runtime.config import default_settings
from module_gateway.runtime.process import METRICS_PORT
from module_gateway.runtime.settings import (
    Endpoint,
    ExternalConnection,
    InternalServerSettings,
    ModuleHandlerSettings,
    Settings,
)
from module_gateway.runtime.state import RunNote, ensure_state_dir, write_run_note
from module_gateway.runtime.supervisor import Component


def compose(
    state_dir: Path,
    environ: Mapping[str, str] | None = None,
    *,
    is_demo: bool = False,
    settings: Settings | None = None,
) -> list[Component]:
    composition = Composition(
        settings or default_settings(),
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


def several() -> Settings:
    return default_settings().model_copy(
        update={
            "internal_server_settings": InternalServerSettings(processes=2, metrics_port=9101),
            "module_handler_settings": ModuleHandlerSettings(processes=3, metrics_port=0),
        }
    )


def test_several_servers_and_handlers_have_names_folders_and_shares_of_their_own(
    tmp_path: Path,
) -> None:
    components = {one.name: one for one in compose(tmp_path, settings=several())}
    assert list(components) == [
        *("bus_broker", "module_handler", "module_handler.2", "module_handler.3"),
        *("internal_server", "internal_server.2", "external_client"),
    ]
    third = list(components["module_handler.3"].command())
    assert third[third.index("--state-dir") + 1] == str(tmp_path / "module_handler.3")
    assert third[third.index("--partitions") + 1] == "42-63"
    first = list(components["module_handler"].command())
    assert first[first.index("--state-dir") + 1] == str(tmp_path)
    assert first[first.index("--partitions") + 1] == "0-20"
    second = components["internal_server.2"]
    assert list(second.command())[-2:] == ["--port", "1234"]
    assert "internal_server" in second.after
    assert second.environment()[METRICS_PORT] == "9111"
    assert METRICS_PORT not in components["module_handler.2"].environment()


async def test_the_second_of_a_kind_is_ready_when_its_own_note_says_so(tmp_path: Path) -> None:
    components = {one.name: one for one in compose(tmp_path, settings=several())}
    write_run_note(tmp_path, RunNote("module_handler", 7, {}))
    folder = ensure_state_dir(tmp_path / "module_handler.2")
    write_run_note(folder, RunNote("module_handler", 8, {"metrics": "x"}))
    assert await components["module_handler.2"].ready(7) is None
    assert await components["module_handler.2"].ready(8) == {"metrics": "x"}


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16])
def test_every_partition_belongs_to_exactly_one_handler(count: int) -> None:
    shares = [Part("module_handler", number, count).partitions for number in range(1, count + 1)]
    spans = [tuple(map(int, share.split("-"))) for share in shares]
    assert [n for first, last in spans for n in range(first, last + 1)] == list(range(64))


def test_a_store_of_a_handler_that_is_configured_no_longer_stops_the_start(tmp_path: Path) -> None:
    refuse_leftovers(default_settings(), tmp_path)
    store = tmp_path / "module_handler.3" / "store"
    store.mkdir(parents=True)
    refuse_leftovers(default_settings(), tmp_path)
    (store / "handler.db").touch()
    refuse_leftovers(several(), tmp_path)
    with pytest.raises(ConfigError, match="holds the store of handler 3"):
        refuse_leftovers(default_settings(), tmp_path)
