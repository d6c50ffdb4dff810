"""Devices whose module calls hang are left alone for a while."""

from __future__ import annotations

from module_gateway.module_handler.suspension import (
    BACKOFF_MAX_S,
    BACKOFF_MIN_S,
    HANGS_IN_A_ROW,
    MAX_SUSPECTS,
    Suspensions,
)
from module_gateway.protocol.identity import Identity

A = Identity(7, 0, "a")
B = Identity(7, 0, "b")


def suspended(now: float = 0.0) -> Suspensions:
    suspensions = Suspensions()
    for _ in range(HANGS_IN_A_ROW):
        suspensions.hung(A, now)
    return suspensions


def test_three_hangs_in_a_row_suspend_only_that_device() -> None:
    suspensions = Suspensions()
    for _ in range(HANGS_IN_A_ROW - 1):
        suspensions.hung(A, 0.0)
    assert not suspensions.is_suspended(A, 0.0)
    suspensions.hung(A, 0.0)
    assert suspensions.is_suspended(A, 0.0)
    assert not suspensions.is_suspended(B, 0.0)


def test_one_status_that_works_clears_the_record() -> None:
    suspensions = Suspensions()
    suspensions.hung(A, 0.0)
    suspensions.hung(A, 0.0)
    suspensions.worked(A)
    suspensions.hung(A, 0.0)
    assert not suspensions.is_suspended(A, 0.0)


def test_a_suspension_ends_after_its_back_off() -> None:
    suspensions = suspended()
    assert suspensions.is_suspended(A, BACKOFF_MIN_S - 0.01)
    assert not suspensions.is_suspended(A, BACKOFF_MIN_S)


def test_each_further_hang_doubles_the_back_off_up_to_its_limit() -> None:
    suspensions = suspended()
    suspensions.hung(A, 100.0)
    assert suspensions.is_suspended(A, 100.0 + 2 * BACKOFF_MIN_S - 0.01)
    for _ in range(20):
        suspensions.hung(A, 200.0)
    assert not suspensions.is_suspended(A, 200.0 + BACKOFF_MAX_S)


def test_the_memory_of_suspects_is_bounded() -> None:
    suspensions = suspended()
    for n in range(MAX_SUSPECTS):
        suspensions.hung(Identity(7, 0, str(n)), 0.0)
    assert not suspensions.is_suspended(A, 0.0)
