from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fleet_lab.cli import main
from fleet_lab.report.run_folder import write_run
from tests.unit.fleet_lab.report.example_run import example_run


def test_a_page_is_made_again_and_the_exit_code_is_that_of_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(example_run(), tmp_path)
    (tmp_path / "report.html").unlink()
    assert main(["report", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "FAILED: 1 of 2 checks did not hold." in out
    assert out.splitlines()[-1] == f"report: {tmp_path / 'report.html'}"
    assert "<h2>Repeat</h2>" in (tmp_path / "report.html").read_text()


def test_a_script_reads_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = example_run()
    write_run(replace(run, checks=run.checks[:1]), tmp_path)
    page = tmp_path / "elsewhere.html"
    assert main(["report", str(tmp_path / "run.json"), "--out", str(page), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["passed"], found["counts"]["lost"], found["report"]) == (True, 1, str(page))
    assert page.exists()


def test_no_run_is_one_line_and_exit_code_78(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path)]) == 78
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"fleet-lab: {tmp_path}/run.json: ")


def test_a_page_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(example_run(), tmp_path)
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "no" / "page.html")]) == 1
    assert "page.html: No such file" in capsys.readouterr().err
