from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from module_gateway.observe.status import app
from module_gateway.observe.status.app import main
from tests.unit.observe.status.test_judgement import WELL


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is found, look by look."""
    found: list[dict[str, Any]] = []

    class Scripted:
        def __init__(self, _settings: object) -> None: ...

        def report(self) -> dict[str, Any]:
            if not found:
                raise KeyboardInterrupt
            return found.pop(0)

    monkeypatch.setattr(app, "Reporter", Scripted)
    monkeypatch.setattr(app.time, "sleep", lambda _seconds: None)
    return found


ILL = {**WELL, "ok": False, "problems": [{"subject": "bus", "text": "gone", "remedy": "mend it"}]}


@pytest.mark.parametrize(("second", "code"), [(WELL, 0), (ILL, 1)])
def test_the_exit_code_says_whether_all_is_well(
    reports: list[dict[str, Any]],
    second: dict[str, Any],
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    reports += [ILL, second]
    assert main([]) == code
    assert ("all is well" in capsys.readouterr().out) == (code == 0)


def test_json_is_one_object(
    reports: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    reports += [ILL, WELL]
    assert main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out) == WELL


def test_it_watches_until_ctrl_c_and_ends_as_it_was_last(
    reports: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    reports += [WELL, ILL]
    assert main(["--watch", "--json", "--period", "10ms"]) == 1
    assert [json.loads(line)["ok"] for line in capsys.readouterr().out.splitlines()] == [
        True,
        False,
    ]


def test_a_configuration_that_cannot_be_used_ends_it(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(tmp_path / "c.json")])
    assert ended.value.code == 78
