from __future__ import annotations

import json
from pathlib import Path

import pytest

from module_gateway.observe.bundle.log_tail import MAX_BYTES, MAX_LINES, log_tail, without_payloads
from module_gateway.observe.secrets import HIDDEN


def test_payloads_in_lines_are_hidden_in_both_forms() -> None:
    text = "t warn  handler status_invalid device=3/0/a status='{\"n\": \\'1\\'}' reason=x"
    assert without_payloads(text) == (
        f"t warn  handler status_invalid device=3/0/a status={HIDDEN} reason=x"
    )
    line = json.dumps({"event": "status_invalid", "status": "abc", "device": "3/0/a"})
    assert json.loads(without_payloads(line)) == {
        "event": "status_invalid", "status": HIDDEN, "device": "3/0/a",
    }  # fmt: skip
    assert without_payloads("{ status=abc") == f"{{ status={HIDDEN}"
    assert without_payloads("[1] a status_is=b") == "[1] a status_is=b"


@pytest.mark.parametrize("has_payloads", [True, False])
def test_payloads_stay_only_when_asked_for(tmp_path: Path, has_payloads: bool) -> None:
    (tmp_path / "log").write_text("a status=abc\n")
    assert ("abc" in log_tail(tmp_path / "log", has_payloads=has_payloads)) == has_payloads


def test_only_the_newest_lines_are_taken_and_only_whole_ones(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"{number} x\n" for number in range(MAX_LINES + 10)))
    found = log_tail(path, has_payloads=True).splitlines()
    assert (found[0], len(found)) == ("10 x", MAX_LINES)
    path.write_text("first " + "y" * MAX_BYTES + "\nlast\n")
    assert log_tail(path, has_payloads=True) == "last\n"


def test_a_log_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        log_tail(tmp_path / "log", has_payloads=False)
