from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from fleet_lab.errors import LabError
from fleet_lab.tables import Table, shown


def _table(**values: Any) -> Table:
    return Table(values, "step[0]", [])


def test_good_values_are_read_without_a_word() -> None:
    table = _table(a="x", b=3, c="10s", d=0.5, e=True, f={"g": 1}, h=[{"i": 1}], j="0s")

    assert table.text("a") == "x"
    assert table.whole("b", 1, 3) == 3
    assert (table.duration_s("c"), table.duration_s("j")) == (10.0, 0.0)
    assert table.share("d") == 0.5
    assert table.flag("e")
    assert table.table("f") == {"g": 1}
    assert [row.any("i") for row in table.rows("h")] == [1]
    table.close()
    assert table.problems == []


def test_what_is_not_there_is_nothing() -> None:
    table = _table()

    assert (table.text("a"), table.whole("a", 0, 1), table.duration_s("a")) == (None, None, None)
    assert (table.share("a"), table.flag("a"), table.table("a")) == (None, False, {})
    assert (table.rows("a"), table.made("a", str), table.problems) == ([], None, [])


@pytest.mark.parametrize(
    ("values", "read", "problem"),
    [
        ({"a": 3}, "text", "step[0].a: expected a text, got 3"),
        ({"a": ""}, "text", "step[0].a: expected a text, got ''"),
        ({"a": 9}, "whole", "step[0].a: expected a whole number from 1 to 3, got 9"),
        ({"a": True}, "whole", "step[0].a: expected a whole number from 1 to 3, got True"),
        ({"a": 10}, "duration", 'step[0].a: expected a duration such as "10s", got 10'),
        (
            {"a": "10"},
            "duration",
            "step[0].a: '10' is no duration up to 24h; write for example 250ms",
        ),
        ({"a": 0}, "share", "step[0].a: expected a number above 0 and up to 1, got 0"),
        ({"a": "yes"}, "flag", "step[0].a: expected true or false, got 'yes'"),
        ({"a": 1}, "table", "step[0].a: expected a table, got 1"),
        ({"a": {}}, "rows", "step[0].a: expected a list of tables: write [[a]]"),
        ({"a": "kil"}, "word", "step[0].a: 'kil' is none of kill, pause; did you mean 'kill'?"),
        ({"b": "kill"}, "word", "step[0].a: is missing"),
        ({"aa": 1}, "required", "step[0].a: is missing (is it 'aa'?)"),
        ({"a": 1}, "made", "step[0].a: not this one"),
    ],
)
def test_what_is_wrong_names_place_value_and_what_was_expected(
    values: Mapping[str, Any], read: str, problem: str
) -> None:
    def refuse(_: object) -> None:
        raise LabError("not this one")

    table = _table(**values)
    {
        "text": lambda: table.text("a"),
        "whole": lambda: table.whole("a", 1, 3),
        "duration": lambda: table.duration_s("a"),
        "share": lambda: table.share("a"),
        "flag": lambda: table.flag("a"),
        "table": lambda: table.table("a"),
        "rows": lambda: table.rows("a"),
        "word": lambda: table.one_of("a", ("kill", "pause"), is_required=True),
        "required": lambda: table.whole("a", 1, 3, is_required=True),
        "made": lambda: table.made("a", refuse),
    }[read]()

    assert len(table.problems) == 1
    assert table.problems[0].startswith(problem)


def test_unknown_keys_get_the_nearest_known_one() -> None:
    table = _table(sice=3, qqqq=4)
    table.whole("size", 0, 9)
    table.close()

    assert table.problems == [
        "step[0].sice: unknown key; did you mean 'size'?",
        "step[0].qqqq: unknown key; there are size",
    ]


def test_a_row_that_is_no_table_is_a_problem() -> None:
    table = _table(h=[3])
    table.rows("h")

    assert table.problems == ["h[0]: 3 is no table; write keys and values"]


def test_long_values_are_shown_short() -> None:
    assert len(shown("x" * 1000)) < 70
