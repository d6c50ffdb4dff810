from __future__ import annotations

from random import Random

import pytest

from fleet_lab.fleets.restart import BACKOFF_MAX_S, RestartBudget, backoff_s


def test_backoff_doubles_up_to_its_limit_with_jitter_of_a_half() -> None:
    for failures, longest_s in ((1, 0.1), (2, 0.2), (4, 0.8), (7, 5.0), (1000, BACKOFF_MAX_S)):
        waits = [backoff_s(failures, Random(seed)) for seed in range(50)]
        assert longest_s / 2 <= min(waits) < max(waits) <= longest_s


def test_a_fleet_restarts_as_many_as_it_has_at_once() -> None:
    budget = RestartBudget(200, now=0.0)
    assert [0.0] * 200 == [budget.reserve(0.0) for _ in range(200)]
    assert 0.3 == pytest.approx(budget.reserve(0.0))
    assert 0.6 == pytest.approx(budget.reserve(0.0))
    assert 2 == budget.delayed


def test_a_small_fleet_has_one_per_second() -> None:
    budget = RestartBudget(1, now=0.0)
    for _ in range(60):
        budget.reserve(0.0)
    assert 1.0 == pytest.approx(budget.reserve(0.0))


def test_the_budget_fills_with_time_but_never_over() -> None:
    budget = RestartBudget(60, now=0.0)
    assert [0.0] * 60 == [budget.reserve(1000.0) for _ in range(60)]
    assert budget.reserve(1000.0) > 0
    assert 0.0 == budget.reserve(1010.0)
