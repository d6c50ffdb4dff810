"""What would stop a gateway, found before anything is started."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from module_gateway.runtime import preflight
from module_gateway.runtime.config import default_settings
from module_gateway.runtime.preflight import (
    Listener,
    address_obstacles,
    bus_obstacles,
    certificate_obstacles,
    listeners,
)
from module_gateway.runtime.settings import BusSettings, Endpoint, MqttSettings


def test_every_fixed_address_is_looked_at_and_a_free_choice_is_none() -> None:
    settings = default_settings()
    server = settings.internal_server_settings.model_copy(update={"port": 0})
    chosen = settings.model_copy(update={"internal_server_settings": server})

    assert [str(item) for item in listeners(chosen, is_demo=False)] == [
        "127.0.0.1:9101",
        "127.0.0.1:9102",
        "127.0.0.1:9103",
    ]
    assert [item.port for item in listeners(settings, is_demo=True)] == [
        *(8888, 8080, 18883),
        *(9101, 9102, 9103, 9104),
    ]


def test_a_port_in_use_is_named_with_its_setting_and_may_pass() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        [found] = address_obstacles([Listener("devices", "127.0.0.1", port, "--port")])

    assert found.text == f"127.0.0.1:{port} (devices) is in use"
    assert found.remedy == f"see by whom with `ss -ltnp sport = :{port}`, or change --port"
    assert found.is_passing
    assert list(address_obstacles([Listener("devices", "127.0.0.1", port, "--port")])) == []


def test_an_address_of_another_machine_does_not_pass() -> None:
    [found] = address_obstacles([Listener("devices", "192.0.2.1", 18888, "--port")])

    assert found.text.startswith("192.0.2.1:18888 (devices) cannot be used")
    assert (found.is_passing, "127.0.0.1" in found.remedy) == (False, True)


@pytest.mark.parametrize(
    ("one", "other", "is_twice"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.2", "127.0.0.1", False),
    ],
)
def test_one_address_for_two_is_said(one: str, other: str, is_twice: bool) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    wanted = [Listener("devices", one, port, "a"), Listener("page", other, port, "b.port")]

    assert [str(item) for item in address_obstacles(wanted)] == [
        f"{other}:{port} is wanted twice, for devices and for page; change b.port"
    ] * is_twice


def test_a_state_folder_too_deep_for_the_bus_socket_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, deep = default_settings(), tmp_path / ("x" * 100)
    named = settings.model_copy(update={"bus": BusSettings(host="10.0.0.1")})
    monkeypatch.setattr(preflight, "find_mosquitto", lambda _: "/usr/sbin/mosquitto")

    [found] = bus_obstacles(settings, deep, {})
    assert "at most 107 bytes" in found.text
    assert found.remedy == "choose a shorter --state-dir"
    assert list(bus_obstacles(named, deep, {})) == []

    monkeypatch.setattr(preflight, "find_mosquitto", lambda _: None)
    assert list(bus_obstacles(settings, deep, {})) == []  # the embedded broker needs no socket


def test_certificates_of_no_use_are_said_one_by_one(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / f"{name}.pem").write_text("no certificate")
    tls = MqttSettings(
        ssl=True,
        ca_file=str(tmp_path / "ca.pem"),
        client_cert=str(tmp_path / "cert.pem"),
        client_key=str(tmp_path / "key.pem"),
    )
    endpoint = Endpoint(server_ip="a", port=1, modules=(1,), mqtt_settings=tls)
    found = [str(item) for item in certificate_obstacles(endpoint, "endpoints[0]")]

    assert [text.split(" ")[0] for text in found] == [
        "endpoints[0].mqtt-settings.ca-file",
        "endpoints[0].mqtt-settings.client-cert",
    ]
    assert "no certificate or crl found" in found[0]
    assert list(certificate_obstacles(Endpoint(server_ip="a", port=1, modules=(1,)), "e")) == []
