"""The runner itself: what kills, what survives, and what is no mutant at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mutants.runner import (
    Applied,
    Mutant,
    MutantError,
    Nursery,
    copy_tree,
    failing_when_whole,
    load,
    survivors,
)

PRODUCT = "def double(n: int) -> int:\n    return n * 2\n"
TESTS = """
import pytest
from module_gateway.product import double

@pytest.mark.parametrize("n", [0, 3])
def test_doubles(n):
    assert double(n) == n + n

def test_zero():
    assert double(0) == 0
"""
DOUBLES = "tests/test_product.py::test_doubles"
ZERO = "tests/test_product.py::test_zero"


def mutant(replace: str, *kills: str, find: str = "n * 2") -> Mutant:
    return Mutant("m", "module_gateway/product.py", find, replace, kills)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    for folder, name, text in (
        ("module_gateway", "product.py", PRODUCT),
        ("tests", "test_product.py", TESTS),
        (".hidden", "secret", ""),
    ):
        (source / folder).mkdir(parents=True)
        (source / folder / name).write_text(text)
    return copy_tree(source, tmp_path / "copy")


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


def test_copy_leaves_hidden_folders_behind(tree: Path) -> None:
    assert sorted(path.name for path in tree.iterdir()) == ["module_gateway", "tests"]


def test_a_noticed_breakage_leaves_no_survivor_and_a_whole_tree(
    tree: Path, nursery: Nursery
) -> None:
    assert survivors(mutant("n * 3", DOUBLES), tree, nursery) == ""
    assert (tree / "module_gateway/product.py").read_text() == PRODUCT


def test_a_test_that_does_not_notice_is_named_as_survivor(tree: Path, nursery: Nursery) -> None:
    report = survivors(mutant("n * 3", DOUBLES, ZERO), tree, nursery)
    assert report == f"m (module_gateway/product.py) survives {ZERO}: PASSED"


def test_a_breakage_of_the_import_is_no_mutant(tree: Path, nursery: Nursery) -> None:
    with pytest.raises(MutantError, match="did not run"):
        survivors(mutant("n *", DOUBLES), tree, nursery)


@pytest.mark.parametrize(("find", "times"), [("n / 2", 0), ("n", 5)])
def test_find_must_stand_exactly_once(tree: Path, find: str, times: int) -> None:
    with (
        pytest.raises(MutantError, match=f"stands {times} times"),
        Applied(mutant("x", ZERO, find=find), tree),
    ):
        pass


def test_named_tests_that_fail_or_do_not_exist_are_reported(tree: Path, nursery: Nursery) -> None:
    assert failing_when_whole([mutant("x", DOUBLES, ZERO)], tree, nursery) == ""
    gone = "tests/test_product.py::test_gone"
    assert f"{gone}: did not run" in failing_when_whole([mutant("x", gone)], tree, nursery)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[[mutant]]\nname = "a"\n', "needs exactly"),
        ('[[mutant]]\nname="a"\nfile="f"\nfind="x"\nreplace="x"\nkills=["t.py::t"]', "another"),
        ('[[mutant]]\nname="a"\nfile="f"\nfind="x"\nreplace="y"\nkills=[]', "at least one"),
        ('[[mutant]]\nname="a"\nfile="f"\nfind="x"\nreplace="y"\nkills=["t.py"]', "not path"),
        (
            '[[mutant]]\nname="a"\nfile="f"\nfind="x"\nreplace="y"\nkills=["t.py::t"]\n' * 2,
            "and in",
        ),
    ],
)
def test_a_malformed_list_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(MutantError, match=problem):
        load(tmp_path)


def test_lists_are_read_in_order(tmp_path: Path) -> None:
    entry = '[[mutant]]\nname="{}"\nfile="f"\nfind="x"\nreplace=""\nkills=["t.py::t"]\n'
    (tmp_path / "b.toml").write_text(entry.format("three"))
    (tmp_path / "a.toml").write_text(entry.format("one") + entry.format("two"))
    assert [m.name for m in load(tmp_path)] == ["one", "two", "three"]
