"""Every named breakage of the product is noticed by the tests that claim to notice it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mutants import runner

MUTANTS = runner.load(Path(__file__).parent)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private copy per test process."""
    return runner.copy_tree(runner.REPOSITORY, tmp_path_factory.mktemp("mutants") / "tree")


@pytest.fixture(scope="module")
def nursery() -> Iterator[runner.Nursery]:
    with runner.Nursery() as nursery:
        yield nursery


@pytest.mark.timeout(2 * runner.RUN_LIMIT_S)
def test_all_named_tests_pass_in_the_unbroken_tree(tree: Path, nursery: runner.Nursery) -> None:
    assert runner.failing_when_whole(MUTANTS, tree, nursery) == ""


@pytest.mark.timeout(2 * runner.RUN_LIMIT_S)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_is_killed(mutant: runner.Mutant, tree: Path, nursery: runner.Nursery) -> None:
    assert runner.survivors(mutant, tree, nursery) == ""
