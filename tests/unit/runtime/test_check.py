"""`module-gateway check`: each finding with its remedy."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from module_gateway.runtime import check
from module_gateway.runtime.check import Finding, check_surroundings, line, main
from module_gateway.runtime.config import default_settings
from module_gateway.runtime.restarts import Account, write_gateway_note
from module_gateway.runtime.settings import (
    BusSettings,
    Endpoint,
    ExternalConnection,
    MqttSettings,
    Settings,
)
from tests.unit.runtime.gateway_files import MINIMAL, changed, write


def in_folder(tmp_path: Path, **changes: object) -> Settings:
    return default_settings().model_copy(update={"state_dir": tmp_path / "s", **changes})


def failed(findings: list[Finding]) -> list[str]:
    return [line(item) for item in findings if not item.is_ok]


def test_all_well_is_exit_code_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["-c", str(write(tmp_path, MINIMAL)), "--state-dir", str(tmp_path / "s")])

    assert (code, "FAIL" in capsys.readouterr().out) == (0, False)


def test_a_wrong_configuration_is_78_with_one_line_per_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = changed(MINIMAL, "external-connection.company", "Company Name")
    fields = changed(fields, "internal-server-settings.port", 70000)

    assert main(["-c", str(write(tmp_path, fields))]) == 78
    assert [text.split(" is ")[0] for text in capsys.readouterr().out.splitlines()[:2]] == [
        "FAIL configuration: internal-server-settings.port",
        "FAIL configuration: external-connection.company",
    ]


def test_json_is_for_scripts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--json", "--state-dir", str(tmp_path / "s")])
    report = json.loads(capsys.readouterr().out)

    assert (code, report["ok"]) == (0, True)
    assert report["settings"]["internal-server-settings"]["port"] == 8888
    assert {finding["subject"] for finding in report["findings"]} == {
        "configuration",
        "state folder",
        "disk",
        "bus",
    }


def test_a_state_folder_that_others_can_enter_fails_with_the_command_to_type(
    tmp_path: Path,
) -> None:
    settings = in_folder(tmp_path)
    (tmp_path / "s").mkdir(mode=0o755)

    assert failed(check_surroundings(settings, {})) == [
        (
            f"FAIL state folder: {tmp_path / 's'} can be entered by other users "
            f"→ chmod 700 {tmp_path / 's'}"
        )
    ]


def test_a_full_disk_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "FREE_DISK_BYTES", 2**60)

    assert [text[:10] for text in failed(check_surroundings(in_folder(tmp_path), {}))] == [
        "FAIL disk:"
    ]


def test_a_named_bus_must_answer(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        settings = in_folder(tmp_path, bus=BusSettings(host="127.0.0.1", port=port))
        [silent] = failed(check_surroundings(settings, {}))
        listener.listen()
        answering = failed(check_surroundings(settings, {}))

    assert (silent.startswith(f"FAIL bus: 127.0.0.1:{port}: Connection refused →"), answering) == (
        True,
        [],
    )


def test_a_socket_path_that_is_too_long_fails(tmp_path: Path) -> None:
    settings = default_settings().model_copy(update={"state_dir": tmp_path / ("x" * 100)})

    assert "choose a shorter --state-dir" in failed(check_surroundings(settings, {}))[0]


def secured(tmp_path: Path, tls: MqttSettings) -> Settings:
    endpoint = Endpoint(server_ip="a", port=1, modules=(1,), mqtt_settings=tls)
    return in_folder(tmp_path, external_connection=ExternalConnection(endpoints=(endpoint,)))


def make_certificate(folder: Path, name: str) -> tuple[str, str]:
    key, certificate = folder / f"{name}-key.pem", folder / f"{name}.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", key),
            *("-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    return str(certificate), str(key)


def test_certificates_are_read_and_must_fit_their_keys(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "one")
    _, other_key = make_certificate(tmp_path, "two")
    good = MqttSettings(ssl=True, ca_file=certificate, client_cert=certificate, client_key=key)
    bad = MqttSettings(ssl=True, ca_file=key, client_cert=certificate, client_key=other_key)

    assert failed(check_surroundings(secured(tmp_path, good), {})) == []
    ca, pair = failed(check_surroundings(secured(tmp_path, bad), {}))
    assert (key in ca, "KEY_VALUES_MISMATCH" in pair.upper().replace(" ", "_")) == (True, True)


def test_restarts_of_the_running_gateway_are_told_but_fail_nothing(tmp_path: Path) -> None:
    settings = in_folder(tmp_path)
    check_surroundings(settings, {})
    account = Account()
    account.ended("hung", 0)
    write_gateway_note(tmp_path / "s", os.getpid(), {"module_handler": account})
    [told] = [item for item in check_surroundings(settings, {}) if item.subject == "restarts"]

    assert (told.is_ok, told.text) == (
        True,
        "module_handler had to be started again: hung (1 times), last at 1970-01-01 00:00:00 UTC",
    )
