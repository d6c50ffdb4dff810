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
