from __future__ import annotations

import gc

import pytest

from fleet_lab.errors import LabError
from fleet_lab.fleets import limits


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """A process that may open 256 files and raise that to 4096."""
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(limits.resource, "getrlimit", lambda _: (256, 4096))
    monkeypatch.setattr(limits.resource, "setrlimit", lambda _, limit: calls.append(limit))
    return calls


def test_enough_is_left_alone(raised: list[tuple[int, int]]) -> None:
    limits.require_files(100)
    assert [] == raised


def test_the_own_limit_is_raised_as_far_as_needed(raised: list[tuple[int, int]]) -> None:
    limits.require_files(1000)
    assert [(1064, 4096)] == raised


def test_too_many_is_one_line_that_says_what_to_do(raised: list[tuple[int, int]]) -> None:
    with pytest.raises(LabError) as error:
        limits.require_files(5000)
    assert error.value.text == (
        "5000 devices in one process need 5064 open files, the limit is 4096; "
        "raise it with `ulimit -n 5064` or use more workers"
    )
    assert [] == raised


def test_settled_memory_is_not_searched_again() -> None:
    gc.unfreeze()
    try:
        limits.settle_memory()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
