from __future__ import annotations

from pathlib import Path

import pytest

from module_gateway.observe.tap.app import build_parser, main, places
from module_gateway.observe.tap.seen import KINDS, Filter
from module_gateway.protocol.errors import ConfigError
from module_gateway.runtime.config import default_settings
from module_gateway.runtime.settings import Endpoint, ExternalConnection, MqttSettings


@pytest.fixture(autouse=True)
def no_bus_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("IPC_MQTT_HOST", "IPC_MQTT_PORT", "IPC_MQTT_SOCKET"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("os.nice", lambda _by: 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--hop", "device"], "the bus carries the same statuses and replies"),
        (["--hop", "cloud"], "'cloud' is no hop; expected bus or upstream"),
        (["--kind", "stauts"], "'stauts' is no kind; expected connect, status"),
        (["--count", "0"], "is no number of messages"),
        (["--for", "soon"], "is no time"),
        (["--device", "3"], "expected MODULE/TYPE/ROLE"),
    ],
)
def test_wrong_usage_says_what_is_right(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.replace("\n", " ")


def test_the_help_names_every_kind() -> None:
    assert all(f"  {kind} " in build_parser().format_help() for kind in KINDS)


def test_without_a_bus_it_says_where_it_looked_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IPC_MQTT_SOCKET", str(tmp_path / "bus.sock"))
    assert main(["--state-dir", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert f"the bus at {tmp_path}/bus.sock cannot be watched" in said
    assert "module-gateway status" in said


def test_without_an_endpoint_there_is_nothing_upstream(tmp_path: Path) -> None:
    settings = default_settings().model_copy(
        update={"external_connection": ExternalConnection(), "state_dir": tmp_path}
    )
    with pytest.raises(ConfigError, match="name the gateway's configuration with --config"):
        places(settings, ("upstream",), Filter())


def test_tls_files_that_are_of_no_use_stop_it(tmp_path: Path) -> None:
    file = tmp_path / "no.pem"
    file.write_text("nothing")
    mqtt = MqttSettings(ssl=True, ca_file=str(file), client_cert=str(file), client_key=str(file))
    end = Endpoint(server_ip="127.0.0.1", port=1, modules=(1,), mqtt_settings=mqtt)
    settings = default_settings().model_copy(
        update={"external_connection": ExternalConnection(endpoints=(end,))}
    )
    (found,) = places(settings, ("upstream",), Filter())
    with pytest.raises(ConfigError, match="PEM"):
        found.place.tls()


def test_endpoints_at_one_broker_are_watched_once(tmp_path: Path) -> None:
    ends = tuple(
        Endpoint(server_ip="127.0.0.1", port=port, modules=(number,))
        for number, port in enumerate((18883, 18883, 18884), start=1)
    )
    settings = default_settings().model_copy(
        update={"external_connection": ExternalConnection(endpoints=ends), "state_dir": tmp_path}
    )
    found = places(settings, ("bus", "upstream"), Filter())
    assert [each.place.location.port for each in found if each.topics] == [18883, 18884]
    assert found[0].place.name == "the bus"
