from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fleet_lab import demo
from fleet_lab.cli import main
from fleet_lab.errors import LabError
from fleet_lab.report import run_folder
from fleet_lab.report.model import Run
from tests.unit.fleet_lab.report.example_run import example_run


@pytest.fixture
def outcome(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Put the run that the demo shall give in here."""
    runs: list[Run] = []

    async def run(self: demo.Demo, logs: Path) -> Run:
        (logs / "gateway.log").write_text("it ran")
        return runs[0]

    monkeypatch.setattr(demo.Demo, "run", run)
    return runs


def test_the_verdict_is_printed_and_the_folder_is_filled(
    outcome: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome.append(example_run())
    assert main(["demo", "--out", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        "FAILED: 1 of 2 checks did not hold.", f"report: {tmp_path / 'report.html'}",
    ]  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {
        "run.json", "junit.xml", "report.html", "logs",
    }  # fmt: skip
    assert '<failure message="p99 = 3.2 ms"' in (tmp_path / "junit.xml").read_text()
    assert (tmp_path / "logs/gateway.log").read_text() == "it ran"


def test_checks_that_held_are_exit_code_0_and_json_is_one_object(
    outcome: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = example_run()
    outcome.append(replace(run, checks=run.checks[:1]))
    assert main(["demo", "--out", str(tmp_path), "--json", "--seed", "3"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True


def test_the_verdict_is_said_even_when_the_page_cannot_be_made(
    outcome: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def no_page(run: Run) -> str:
        raise LabError("the HTML report needs jinja2")

    monkeypatch.setattr(run_folder, "render_page", no_page)
    outcome.append(example_run())
    assert main(["demo", "--out", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "FAILED: 1 of 2 checks did not hold."
    assert err.splitlines()[-1] == "fleet-lab: the HTML report needs jinja2"


def test_a_plan_that_makes_no_sense_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--duration", "10s", "--out", str(tmp_path)]) == 2
    assert "needs a demo of at least 28 s" in capsys.readouterr().err
