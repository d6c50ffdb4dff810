from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from fleet_lab.errors import LabError
from fleet_lab.report.run_folder import read_run, render_page, run_to_text, write_run
from tests.unit.fleet_lab.report.example_run import empty_run, example_run


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    for run in (example_run(), empty_run()):
        write_run(run, tmp_path / "deep" / "folder", "<testsuites/>")
        assert read_run(tmp_path / "deep" / "folder") == run
        assert read_run(tmp_path / "deep" / "folder" / "run.json") == run


def test_the_folder_holds_three_files(tmp_path: Path) -> None:
    written = write_run(example_run(), tmp_path, "<testsuites/>")
    assert [path.name for path in written] == ["run.json", "junit.xml", "report.html"]
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", "junit.xml", "report.html"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "this is not JSON"),
        ("[]", "not a run of format 1"),
        ('{"format": 2}', "not a run of format 1"),
        ('{"format": 1}', "title: Field required"),
    ],
)
def test_what_is_no_run_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(LabError, match=said) as caught:
        read_run(tmp_path)
    assert caught.value.exit_code == 78
    assert "\n" not in caught.value.text


def test_a_wrong_number_is_named_by_its_place(tmp_path: Path) -> None:
    found = json.loads(run_to_text(example_run()))
    found["checks"][1]["is_passed"] = "perhaps"
    (tmp_path / "run.json").write_text(json.dumps(found))
    with pytest.raises(LabError, match=r"checks\.1\.is_passed"):
        read_run(tmp_path)


def test_a_folder_without_a_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"run\.json: No such file"):
        read_run(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError, match=r"file"):
        write_run(example_run(), tmp_path / "file")


def test_without_jinja_the_numbers_are_kept_and_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, "fleet_lab.report.page", raising=False)
    with pytest.raises(LabError, match=r"module-gateway\[lab\]"):
        write_run(example_run(), tmp_path)
    assert (tmp_path / "run.json").exists()
    with pytest.raises(LabError, match="the HTML report needs jinja2"):
        render_page(example_run())
