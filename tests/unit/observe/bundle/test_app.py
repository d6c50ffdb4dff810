"""The command, and the proof that no secret that was configured leaves with a bundle."""

from __future__ import annotations

import gzip
import json
import stat
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import ConfigDict

from module_gateway.module_handler.buffer.view import store_path
from module_gateway.modules.api import ModuleSettings
from module_gateway.modules.transparent import TransparentModule
from module_gateway.observe.bundle import app
from module_gateway.observe.bundle.app import main
from tests.unit.observe.bundle.test_collect import ALWAYS

CANARIES = {
    "password": "canary-Password-1",
    "token": "canary/Tøken&2",
    "broker": "canary-broker-3",
    "environ": "canary-environ-4",
    "web": "canary-web-5",
    "file": "canary-file-6",
}
KEY_LINES = ("MIIEvCanaryKeyLineOne0000000000", "MIIEvCanaryKeyLineTwo1111111111")


class CanarySettings(ModuleSettings):
    """Of a module whose settings have secrets; any name may stand there."""

    model_config = ConfigDict(extra="allow")


class CanaryModule(TransparentModule):
    name = "canary"
    Settings = CanarySettings


@pytest.fixture(autouse=True)
def canary_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("canary_module")
    module.CanaryModule = CanaryModule  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "canary_module", module)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.time, "sleep", lambda _seconds: None)


def planted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gateway's files with a canary wherever a secret may stand; gives its configuration."""
    state = folder / "state"
    (state / "secrets").mkdir(parents=True)
    (state / "run").mkdir()
    (state / "secrets/web").write_text(f"{CANARIES['web']}\n")
    (folder / "mounted").write_text(CANARIES["file"])
    key = "-----BEGIN PRIVATE KEY-----\n" + "\n".join(KEY_LINES) + "\n-----END PRIVATE KEY-----\n"
    for name in ("ca.pem", "client.pem"):
        (folder / name).write_text("certificate\n")
    (folder / "key.pem").write_text(key)
    (folder / "key.pem").chmod(0o600)
    everything = " ".join([*CANARIES.values(), *KEY_LINES])
    (state / "run/gateway.json").write_text(json.dumps({"pid": 4194305, "said": everything}))
    lines = [f"t error x said={everything}", json.dumps({"event": everything}), key]
    (folder / "ModuleGateway.log").write_text("\n".join(lines))
    mqtt = {"ssl": True, "ca-file": "ca.pem", "client-cert": "client.pem", "client-key": "key.pem"}
    endpoint = {
        "protocol-type": "mqtt", "server-ip": "127.0.0.1", "port": 1, "modules": [3],
        "mqtt-settings": mqtt,
    }  # fmt: skip
    configuration = {
        "config-version": 1,
        "state-dir": str(state),
        "logging": {"file": {"use": True, "level": "INFO", "path": str(folder)}},
        "module-paths": {"3": "canary_module:CanaryModule"},
        "module-settings": {
            "3": {
                "password": CANARIES["password"], "deep": [{"api-token": CANARIES["token"]}],
                "source": f"mqtt://user:{CANARIES['broker']}@host:1883",
            }
        },
        "external-connection": {"company": "acme", "vehicle-name": "van", "endpoints": [endpoint]},
    }  # fmt: skip
    (folder / "my.json").write_text(json.dumps(configuration))
    monkeypatch.setenv("MODULE_GATEWAY_API_TOKEN", CANARIES["environ"])
    monkeypatch.setenv("MODULE_GATEWAY_WEB_PASSWORD_FILE", str(folder / "mounted"))
    monkeypatch.setenv("IPC_MQTT_SOCKET", str(folder / "bus.sock"))
    return folder / "my.json"


@pytest.mark.parametrize("more", [[], ["--with-payloads"]])
def test_no_configured_secret_is_anywhere_in_a_bundle(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
) -> None:
    config, path = planted(tmp_path, monkeypatch), tmp_path / "bundle.tar.gz"
    assert main(["--config", str(config), "--output", str(path), *more]) == 0
    said = capsys.readouterr()
    whole = gzip.decompress(path.read_bytes()).decode() + said.out + said.err
    assert "run/gateway.json" in whole
    assert "log/ModuleGateway.log" in whole
    for canary in (*CANARIES.values(), *KEY_LINES):
        assert canary not in whole
        assert json.dumps(canary)[1:-1] not in whole
    assert "canary-" not in whole.lower()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_says_what_is_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, path = planted(tmp_path, monkeypatch), tmp_path / "bundle.tar.gz"
    assert main(["--config", str(config), "--output", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    with tarfile.open(path) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {*found["contents"], "manifest.json"} == names
    assert ALWAYS <= names
    assert found["file"] == str(path)
    assert not store_path(tmp_path / "state").exists()


def test_a_file_that_is_there_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, path = planted(tmp_path, monkeypatch), tmp_path / "bundle.tar.gz"
    path.write_text("mine")
    assert main(["--config", str(config), "--output", str(path)]) == 1
    assert "File exists" in capsys.readouterr().err
    assert path.read_text() == "mine"
