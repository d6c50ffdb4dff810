from __future__ import annotations

from pathlib import Path

import pytest

from fleet_lab.errors import LabError
from fleet_lab.import_path import import_name, import_object


def test_a_class_is_found_again_by_its_name() -> None:
    assert "pathlib:Path" == import_name(Path)
    assert Path is import_object("pathlib:Path")
    assert Path is import_object("pathlib.Path")


def test_a_class_of_a_script_is_found_by_the_file(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text("class Mine: ...\nif __name__ == '__main__':\n    raise SystemExit(1)\n")
    mine = import_object(f"{script}:Mine")
    assert f"{script}:Mine" == import_name(mine)
    assert mine is import_object(f"{script}:Mine")


def test_a_lambda_has_no_name() -> None:
    with pytest.raises(LabError, match="define it at the top of a file"):
        import_name(lambda: None)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("no.such.module:Name", "cannot import 'no.such.module:Name': ModuleNotFoundError"),
        ("pathlib:Pfad", "there is no 'Pfad' in pathlib"),
        ("Name", "'Name' is no import path; write package.module:Name"),
        ("/nowhere/file.py:Name", "there is no file /nowhere/file.py"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(path: str, text: str) -> None:
    with pytest.raises(LabError) as raised:
        import_object(path)
    assert raised.value.text.startswith(text)
    assert 78 == raised.value.exit_code


def test_a_script_that_fails_is_one_line_and_can_be_mended(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text("1 / 0")
    with pytest.raises(LabError, match="ZeroDivisionError"):
        import_object(f"{script}:Name")
    script.write_text("Name = 7  # mended")
    assert 7 == import_object(f"{script}:Name")
