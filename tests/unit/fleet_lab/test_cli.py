from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fleet_lab import cli
from fleet_lab.commands import device
from fleet_lab.errors import LabError


def test_every_command_is_listed_with_what_it_does() -> None:
    text = cli.build_parser().format_help()
    for names in cli.GROUPS.values():
        for name in names:
            assert f"\n    {name} " in text


@pytest.mark.parametrize("exit_code", [1, 2, 78])
def test_an_error_is_one_line_with_its_exit_code(
    exit_code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: argparse.Namespace) -> int:
        raise LabError("fleet.toml: no fleets", exit_code)

    monkeypatch.setattr(device, "run", fail)
    assert cli.main(["device"]) == exit_code
    assert capsys.readouterr() == ("", "fleet-lab: fleet.toml: no fleets\n")


@pytest.mark.parametrize("stopped", [KeyboardInterrupt, BrokenPipeError])
def test_being_stopped_is_no_failure(
    stopped: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(arguments: argparse.Namespace) -> int:
        raise stopped

    monkeypatch.setattr(device, "run", stop)
    assert cli.main(["device"]) == 0


@pytest.mark.parametrize("argv", [[], ["fly"], ["--fast"]])
def test_wrong_usage_is_exit_code_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2
    assert "usage: fleet-lab" in capsys.readouterr().err


@pytest.mark.parametrize("verb", sorted(cli.OF_FLEETS))
def test_what_is_typed_often_is_short(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([verb, "--help"])
    assert caught.value.code == 0
    assert f"usage: fleet-lab fleet {verb} " in capsys.readouterr().out


def test_starting_devices_does_not_load_what_only_other_commands_need() -> None:
    script = (
        "import sys; from fleet_lab.cli import build_parser; build_parser('device');"
        "print([m for m in ('pydantic', 'jinja2', 'rich', 'hdrh', 'ray') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(("name", "extra"), [("hdrh.histogram", "lab"), ("ray", "ray")])
def test_a_missing_library_is_one_line_that_names_the_extra(
    name: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lack(arguments: argparse.Namespace) -> int:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(device, "run", lack)
    assert cli.main(["device"]) == 1
    assert capsys.readouterr().err == (
        f"fleet-lab: fleet-lab device needs {name.partition('.')[0]}, which is not installed; "
        f"type: pip install 'module-gateway[{extra}]'\n"
    )


def test_a_module_of_ours_that_is_missing_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    def lack(arguments: argparse.Namespace) -> int:
        raise ModuleNotFoundError(name="fleet_lab.nothing")

    monkeypatch.setattr(device, "run", lack)
    with pytest.raises(ModuleNotFoundError):
        cli.main(["device"])


def test_the_extras_are_those_of_the_project() -> None:
    text = (Path(cli.__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    names = {"hdrh": "hdrhistogram", "yaml": "pyyaml", "markupsafe": "jinja2"}
    for library, extra in cli.EXTRAS.items():
        wanted = names.get(library, library)
        assert any(line.startswith(wanted) for line in extras[extra]), library
