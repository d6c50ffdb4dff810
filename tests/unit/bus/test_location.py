from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from module_gateway.bus.location import BusLocation, find_bus, socket_in
from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.settings import BusSettings

DEFAULT = BusLocation(None, "127.0.0.1", 1883)


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    """A state directory with a bus socket in it."""
    with socket.socket(socket.AF_UNIX) as broker:
        broker.bind(str(tmp_path / "bus.sock"))
        yield tmp_path


def test_the_variables_win_over_everything(state_dir: Path) -> None:
    environ = {"IPC_MQTT_HOST": "10.1.2.3", "IPC_MQTT_PORT": "1999"}
    settings = BusSettings(socket=Path("/run/other.sock"), host="elsewhere", port=1)
    assert BusLocation(None, "10.1.2.3", 1999) == find_bus(settings, state_dir, environ)


def test_one_variable_alone_takes_the_rest_from_the_configuration(state_dir: Path) -> None:
    settings = BusSettings(host="elsewhere", port=1884)
    assert BusLocation(None, "h", 1884) == find_bus(settings, state_dir, {"IPC_MQTT_HOST": "h"})
    assert BusLocation(None, "elsewhere", 5) == find_bus(
        settings, state_dir, {"IPC_MQTT_PORT": "5"}
    )
    assert BusLocation(None, "127.0.0.1", 5) == find_bus(
        BusSettings(), state_dir, {"IPC_MQTT_PORT": "5"}
    )


def test_a_socket_variable_wins_over_the_configuration_but_not_over_host_and_port(
    state_dir: Path,
) -> None:
    settings = BusSettings(socket=Path("/run/other.sock"))
    environ = {"IPC_MQTT_SOCKET": "/run/not-yet-there.sock"}
    assert BusLocation(Path("/run/not-yet-there.sock")) == find_bus(settings, state_dir, environ)
    assert BusLocation(None, "h", 1883) == find_bus(
        settings, state_dir, {**environ, "IPC_MQTT_HOST": "h"}
    )
    with pytest.raises(ConfigError) as refused:
        find_bus(settings, state_dir, {"IPC_MQTT_SOCKET": "/" + "a" * 107})
    assert refused.value.where == "IPC_MQTT_SOCKET"


def test_empty_variables_count_as_not_set(tmp_path: Path) -> None:
    environ = {"IPC_MQTT_HOST": "", "IPC_MQTT_PORT": "", "IPC_MQTT_SOCKET": ""}
    assert DEFAULT == find_bus(BusSettings(), tmp_path, environ)


def test_the_configuration_wins_over_the_state_directory(state_dir: Path) -> None:
    configured = Path("/run/other.sock")
    assert BusLocation(configured) == find_bus(BusSettings(socket=configured), state_dir, {})
    assert BusLocation(None, "elsewhere", 1883) == find_bus(
        BusSettings(host="elsewhere"), state_dir, {}
    )


def test_the_socket_of_the_state_directory_comes_next(state_dir: Path) -> None:
    assert BusLocation(state_dir / "bus.sock") == find_bus(BusSettings(), state_dir, {})


def test_without_anything_it_is_the_loopback_port(tmp_path: Path) -> None:
    assert DEFAULT == find_bus(BusSettings(), tmp_path, {})


def test_a_file_that_is_no_socket_is_no_bus(tmp_path: Path) -> None:
    (tmp_path / "bus.sock").touch()
    assert DEFAULT == find_bus(BusSettings(), tmp_path, {})


@pytest.mark.parametrize(
    "port", ["mqtt", "0", "65536", "-1", "1883.0", " 1883", "١٨٨٣", "9" * 5000]
)
def test_a_port_variable_that_is_no_port_is_named_in_the_error(tmp_path: Path, port: str) -> None:
    with pytest.raises(ConfigError) as refused:
        find_bus(BusSettings(), tmp_path, {"IPC_MQTT_PORT": port})
    assert refused.value.where == "IPC_MQTT_PORT"
    assert refused.value.got == port


def test_a_socket_path_of_108_bytes_is_refused_and_107_are_not() -> None:
    longest = Path("/" + "a" * 106)
    assert BusLocation(longest) == find_bus(BusSettings(socket=longest), Path(), {})
    with pytest.raises(ConfigError) as refused:
        find_bus(BusSettings(socket=Path("/" + "ä" * 53 + "b")), Path(), {})
    assert refused.value.where == "bus.socket"
    assert "107" in refused.value.expected


def test_a_state_directory_whose_socket_path_is_too_long_is_refused(tmp_path: Path) -> None:
    assert tmp_path / "bus.sock" == socket_in(tmp_path)
    with pytest.raises(ConfigError) as refused:
        socket_in(Path("/" + "a" * 100))
    assert refused.value.where == "state-dir"
    assert "--state-dir" in refused.value.hint


@pytest.mark.parametrize(
    ("location", "text"),
    [
        (BusLocation(Path("/run/bus.sock")), "/run/bus.sock"),
        (BusLocation(None, "broker", 1884), "broker:1884"),
        (BusLocation(None, "::1", 1884), "[::1]:1884"),
    ],
)
def test_a_location_reads_well(location: BusLocation, text: str) -> None:
    assert text == str(location)
