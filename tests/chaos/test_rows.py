"""The table of rows names tests that exist, and every row with kills can be run by name."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.chaos.__main__ import BACKLOG_ROWS, KILL_ROWS, rows

ROOT = Path(__file__).resolve().parents[2]


def names_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def test_every_test_of_the_table_exists() -> None:
    tests = [test.split("::") for row in rows().values() for test in row["tests"]]
    assert [] == [f"{file}::{name}" for file, name in tests if name not in names_in(file)]


def test_every_row_says_what_it_shows_and_how_often() -> None:
    table = rows()
    assert KILL_ROWS.keys() | BACKLOG_ROWS.keys() <= table.keys()
    assert [] == [name for name, row in table.items() if {"shows", "size", "tests"} != row.keys()]
