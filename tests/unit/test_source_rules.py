"""Rules about the source text of both packages, checked on the syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("module_gateway", "fleet_lab")

FORBIDDEN_MODULES = frozenset(
    {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "code"}
)
FORBIDDEN_CALLS = frozenset({"eval", "exec", "compile", "__import__"})
FORBIDDEN_METHODS = frozenset(
    {
        ("yaml", "load"),
        ("yaml", "load_all"),
        ("yaml", "unsafe_load"),
        ("yaml", "full_load"),
        ("numpy", "load"),
        ("np", "load"),
        ("torch", "load"),
        ("builtins", "eval"),
        ("builtins", "exec"),
    }
)


def executable_deserialisation(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of everything that can turn bytes or text into running code."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for name in names:
                    if name.name.split(".")[0] in FORBIDDEN_MODULES:
                        yield node.lineno, name.name
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in FORBIDDEN_MODULES:
                yield node.lineno, module
            case ast.Call(func=ast.Name(id=name)) if name in FORBIDDEN_CALLS:
                yield node.lineno, name
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=name)) if (
                owner,
                name,
            ) in FORBIDDEN_METHODS:
                yield node.lineno, f"{owner}.{name}"
            case ast.Call(func=ast.Name(id="import_module"), args=[ast.Constant(value=str(name))]):
                if name.split(".")[0] in FORBIDDEN_MODULES:
                    yield node.lineno, name
            case _:
                pass


def sources() -> list[Path]:
    found = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    found += sorted(ROOT.glob("run_*.py"))
    assert len(found) > 20, "the packages were not found"
    return found


def test_O1_no_executable_deserialisation() -> None:
    offences = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sources()
        for line, name in executable_deserialisation(ast.parse(path.read_bytes()))
    ]
    assert [] == offences


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, marshal as m",
        "from pickle import loads",
        "from shelve import open",
        "import yaml\nyaml.load(text)",
        "eval(text)",
        "def f():\n    exec(text)",
        "__import__(name)",
        "import_module('pickle')",
    ],
)
def test_the_search_for_executable_deserialisation_finds_it(source: str) -> None:
    assert [] != list(executable_deserialisation(ast.parse(source)))


def test_the_search_leaves_harmless_words_alone() -> None:
    source = "import re\nre.compile('eval')\nexecutor = evaluate(1)\nimport json\njson.loads('1')"
    assert [] == list(executable_deserialisation(ast.parse(source)))


FUNCTION_LINES = 60
FILE_LINES = 400
WITHOUT_TEST_FILE = frozenset({"__init__.py", "__main__.py"})
TESTED_ELSEWHERE = frozenset(
    {
        "module_gateway/bus/port.py",  # tests/contract/test_bus.py
        # tests/contract/test_control_plane_store.py and test_control_plane_database.py
        "module_gateway/control_plane/sql_rows.py",
        "module_gateway/control_plane/sql_schema.py",
        "module_gateway/control_plane/sql_store.py",
        "module_gateway/control_plane/sql_writer.py",
        "module_gateway/control_plane/store.py",
    }
)


def written_sources() -> list[Path]:
    return [path for path in sources() if not path.stem.endswith("_pb2")]


def test_no_function_is_too_long_to_be_read_at_a_glance() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in written_sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= FUNCTION_LINES
    ]

    assert long == []


def test_no_file_is_more_than_one_room() -> None:
    lengths = {path: path.read_text(encoding="utf-8").count("\n") for path in written_sources()}

    assert [str(path) for path, lines in lengths.items() if lines > FILE_LINES] == []


def test_every_file_of_the_packages_has_its_test_file() -> None:
    untested = []
    for path in written_sources():
        name = path.relative_to(ROOT)
        if name.parts[0] not in PACKAGES or name.name in WITHOUT_TEST_FILE:
            continue
        inside = Path(*name.parts[1:-1])
        places = (Path(inside), Path(name.parts[0], inside))
        if not any((ROOT / "tests/unit" / at / f"test_{name.name}").exists() for at in places):
            untested.append(name.as_posix())

    assert [name for name in untested if name not in TESTED_ELSEWHERE] == []
