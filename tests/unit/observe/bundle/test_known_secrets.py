from __future__ import annotations

from pathlib import Path

from module_gateway.observe.bundle.known_secrets import (
    current_environment,
    named_environment,
    scrubber_of,
)
from module_gateway.observe.secrets import HIDDEN
from module_gateway.runtime.config import default_settings
from module_gateway.runtime.settings import Endpoint, ExternalConnection, MqttSettings, Settings


def settings(folder: Path) -> Settings:
    key = folder / "own.pem"
    lines = (
        "-----BEGIN PRIVATE KEY-----",
        "MIIkeyline1",
        "MIIkeyline2",
        "-----END PRIVATE KEY-----",
    )
    key.write_text("\n".join(lines))
    mqtt = MqttSettings(ssl=True, ca_file="ca.pem", client_cert="c.pem", client_key=str(key))
    end = Endpoint(server_ip="b", port=1, modules=(3,), mqtt_settings=mqtt)
    return default_settings().model_copy(
        update={
            "external_connection": ExternalConnection(endpoints=(end,)),
            "module_settings": {"3": {"wifi-password": "from-settings"}},
        }
    )


def test_every_place_where_a_secret_may_stand_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/web").write_text("from-folder\n")
    (tmp_path / "api-token").write_text("from-state\n")
    (tmp_path / "mounted").write_text("from-mounted\n")
    mounted = str(tmp_path / "mounted")
    environ = {"BROKER_PASSWORD": "from-environ", "API_TOKEN_FILE": mounted, "HOME": "/home/me"}
    source = tmp_path / "c.json"
    source.write_text('{"later": {"token": "from-source"}}')
    scrubber = scrubber_of(settings(tmp_path).from_file(str(source)), tmp_path, environ)
    words = (
        "from-settings", "from-folder", "from-state", "from-mounted", "from-environ",
        "from-source", "MIIkeyline1", "MIIkeyline2",
    )  # fmt: skip
    assert scrubber.scrub(" ".join(words)) == " ".join([HIDDEN] * len(words))
    assert scrubber.scrub("/home/me b 3") == "/home/me b 3"


def test_files_that_are_not_there_or_too_large_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "big-token").write_text("x" * 100_000)
    missing = {"A_TOKEN_FILE": str(tmp_path / "nothing"), "B_SECRET_FILE": "\0"}
    source = default_settings().from_file(str(tmp_path / "gone.json"))
    assert scrubber_of(source, tmp_path, missing).scrub("text") == "text"
    assert scrubber_of(source, tmp_path / "no", {}).scrub("text") == "text"


def test_only_variables_that_the_gateway_reads_are_named() -> None:
    environ = {"IPC_MQTT_HOST": "a", "MODULE_GATEWAY_X": "b", "AWS_KEY": "c", "TZ": "UTC"}
    assert set(named_environment(environ)) == {"IPC_MQTT_HOST", "MODULE_GATEWAY_X", "TZ"}
    assert "PATH" in current_environment()
