"""The command `module-gateway`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from module_gateway import cli
from module_gateway.cli import COMMANDS, Command, main, usage
from module_gateway.protocol.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """What would have been run."""
    found: list[tuple[str, list[str]]] = []

    def recorder(name: str) -> Command:
        def record(rest: Sequence[str]) -> int:
            found.append((name, list(rest)))
            return 0

        return Command("", record)

    monkeypatch.setattr(cli, "COMMANDS", {name: recorder(name) for name in COMMANDS})
    return found


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_F3_no_arguments_and_help_print_the_usage_and_are_no_error(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    assert capsys.readouterr() == (usage(), "")


@pytest.mark.parametrize(
    "words",
    [["-c", "a.json"], ["--config-path=a.json", "--port=2000"], ["--demo"]],
)
def test_F3_options_without_a_command_are_those_of_run(
    words: list[str], calls: list[tuple[str, list[str]]]
) -> None:
    main(words)

    assert calls == [("run", words)]


@pytest.mark.parametrize(
    "words",
    [
        ["--verbose"],
        ["-c", "a", "--config-path=b"],
        ["--port=1", "--port=2"],
        ["--por=2000"],
        ["run", "extra"],
    ],
)
def test_F3_unknown_and_repeated_options_are_wrong_usage_with_a_message(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)

    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_case18_a_port_of_70000_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--port=70000"])

    assert ended.value.code == 2
    assert "'70000' is not a port; expected 0 to 65535" in capsys.readouterr().err


def test_an_unknown_command_offers_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["internal_server"]) == 2
    assert "did you mean 'internal-server'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["internal-server", "module-handler", "external-client", "control-plane"]
)
def test_each_component_is_a_command_with_its_own_help(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])

    assert ended.value.code == 0
    assert "--state-dir" in capsys.readouterr().out


def test_the_buffer_has_commands_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["buffer", "purge", "--help"])

    assert ended.value.code == 0
    assert "--older-than" in capsys.readouterr().out


def test_a_new_module_is_written_where_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["module", "new", "door_sensor", "--folder", str(tmp_path)]) == 0
    said = capsys.readouterr()
    written = [Path(text) for text in said.out.splitlines()]

    assert written
    assert '"2000": "door_sensor_module:DoorSensorModule"' in said.err
    assert f"PYTHONPATH={tmp_path}" in said.err
    assert all(path.is_file() and path.is_relative_to(tmp_path) for path in written)


def test_a_module_that_cannot_be_written_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(name: str, _folder: Path) -> list[Path]:
        raise ConfigError("NAME", got=name, expected="a lower-case word")

    scaffold = ModuleType("module_gateway.modules.scaffold")
    monkeypatch.setattr(scaffold, "create", refuse, raising=False)
    monkeypatch.setitem(sys.modules, scaffold.__name__, scaffold)

    assert main(["module", "new", "Nö"]) == 2
    assert "NAME is 'Nö'; expected a lower-case word" in capsys.readouterr().err
