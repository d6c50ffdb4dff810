"""Every item of the specification has a test or a reason, and the page says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import conformance
from tests.conformance import MUTATED_GROUPS, NamedTest, all_items, find_tests, problems, render
from tests.mutants import runner


def test_there_are_100_items_60_cases_and_23_rules() -> None:
    assert len(all_items()) == len(set(all_items())) == 100 + 60 + 23


def test_every_item_has_a_test_or_a_reason_and_the_page_is_current(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (conformance.main(["--check"]), capsys.readouterr().err) == (0, "")


def test_every_test_of_the_mutated_groups_is_killed_by_some_mutant() -> None:
    mutants = runner.load(Path(runner.__file__).parent)
    killed = {test for mutant in mutants for test in mutant.kills}
    named = [test.node for test in find_tests() if test.item[0] in MUTATED_GROUPS]
    assert [node for node in named if node not in killed] == []


def test_names_are_read_from_functions_and_classes(tmp_path: Path) -> None:
    (tmp_path / "tests/unit").mkdir(parents=True)
    (tmp_path / "tests/unit/test_x.py").write_text(
        "async def test_I6_a(): ...\nclass TestB:\n def test_case02_b(self): ...\n"
        "def test_other(): ...\ndef test_R5_c(): ...\ndef helper_I7_(): ...\n"
    )
    (tmp_path / "tests/unit/x.py").write_text("def test_I7_not_collected(): ...\n")
    path = "tests/unit/test_x.py"
    assert find_tests(tmp_path) == [
        NamedTest("case2", path, "TestB::test_case02_b"),
        NamedTest("I6", path, "test_I6_a"),
        NamedTest("R5", path, "test_R5_c"),
    ]


def test_missing_unknown_and_untitled_items_are_named() -> None:
    titles = {item: "x" for item in all_items() if item != "B2"}
    reasons = dict.fromkeys((item for item in all_items() if item not in ("I6", "R1")), "why")
    tests = [NamedTest("R1", "t.py", "test_R1_x"), NamedTest("I22", "t.py", "test_I22_x")]
    assert problems(tests, titles, {**reasons, "Z1": "why"}) == [
        "B2 has no title",
        "I6 has neither a test nor a reason",
        "t.py::test_I22_x is named after an unknown item",
        "a title or reason is given for Z1, which does not exist",
    ]


def test_the_page_shows_tests_reasons_and_limits() -> None:
    tests = [
        NamedTest("I6", "tests/t.py", "test_I6_x"),
        NamedTest("case3", "tests/t.py", "test_case3_x"),
    ]
    page = render(tests, {"I6": "takeover", "I7": "nine"}, {"I7": "no time", "case3": "one only"})
    assert "| I6 | takeover | [test_I6_x](../tests/t.py) |" in page
    assert "| I7 | nine | **Not met:** no time |" in page
    assert "| 3 |  | [test_case3_x](../tests/t.py)<br>*Limits:* one only |" in page
    assert "## I: Internal server (1 of 21 tested)" in page
