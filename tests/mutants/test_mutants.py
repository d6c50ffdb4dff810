"""Every named breakage of the product is noticed by the tests that claim to notice it.

A breakage often shows as a wait that never ends, so several are tried at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.mutants import runner

AT_ONCE = 4
LIMIT_S = 1800.0
"""Of a test: it may wait for all others."""
MUTANTS = runner.load(Path(__file__).parent)


class Workshop:
    """Tries mutants in threads, each with a copy of the tree and a nursery of its own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._lock = threading.Lock()
        self._own = threading.local()
        self._pool = stack.enter_context(ThreadPoolExecutor(AT_ONCE))
        stack.callback(self._pool.shutdown, wait=True, cancel_futures=True)
        self._benches = 0

    def _bench(self) -> tuple[Path, runner.Nursery]:
        if not hasattr(self._own, "bench"):
            with self._lock:
                self._benches += 1
                tree = runner.copy_tree(runner.REPOSITORY, self._folder / f"tree_{self._benches}")
                nursery = self._stack.enter_context(runner.Nursery())
            self._own.bench = tree, nursery
        bench: tuple[Path, runner.Nursery] = self._own.bench
        return bench

    def try_whole(self) -> Future[str]:
        """What fails in the unbroken tree."""
        return self._pool.submit(lambda: runner.failing_when_whole(MUTANTS, *self._bench()))

    def try_mutant(self, mutant: runner.Mutant) -> Future[str]:
        """Which tests survive this one."""
        return self._pool.submit(lambda: runner.survivors(mutant, *self._bench()))


@pytest.fixture(scope="module")
def reports(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[str]]]:
    """Everything that was selected is under way; the key is the mutant's name, "" for none."""
    with ExitStack() as stack:
        workshop = Workshop(tmp_path_factory.mktemp("mutants"), stack)
        under_way = {"": workshop.try_whole()}
        for item in request.session.items:
            if isinstance(item, pytest.Function) and item.path == Path(__file__):
                mutant = item.callspec.params["mutant"] if hasattr(item, "callspec") else None
                if mutant is not None:
                    under_way[mutant.name] = workshop.try_mutant(mutant)
        yield under_way


@pytest.mark.timeout(LIMIT_S)
def test_all_named_tests_pass_in_the_unbroken_tree(reports: dict[str, Future[str]]) -> None:
    assert reports[""].result() == ""


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_is_killed(mutant: runner.Mutant, reports: dict[str, Future[str]]) -> None:
    assert reports[mutant.name].result() == ""
