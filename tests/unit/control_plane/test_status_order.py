from __future__ import annotations

from module_gateway.control_plane.status_order import StatusOrder, Turn
from tests.control_plane_script import status


def order(statuses: int = 3, size_bytes: int = 100) -> StatusOrder:
    return StatusOrder(statuses, size_bytes, 5.0)


def test_counters_start_at_one():
    statuses = order()
    assert not statuses.is_begun
    assert statuses.receive(status(1), 10, 0.0) is Turn.NOW
    assert statuses.is_begun
    assert statuses.receive(status(2), 10, 0.0) is Turn.NOW


def test_a_zero_that_comes_first_is_understood():
    statuses = order()
    assert statuses.receive(status(0), 10, 0.0) is Turn.NOW
    assert statuses.receive(status(1), 10, 0.0) is Turn.NOW
    assert statuses.receive(status(0), 10, 0.0) is Turn.REPEATED


def test_a_zero_that_comes_later_is_before_the_first():
    statuses = order()
    statuses.receive(status(1), 10, 0.0)
    assert statuses.receive(status(0), 10, 0.0) is Turn.BEFORE_FIRST


def test_an_early_status_is_given_when_its_turn_comes():
    statuses = order()
    early = status(2)
    assert statuses.receive(early, 10, 0.0) is Turn.EARLY
    assert statuses.next_early(0.0) is None
    assert statuses.receive(status(1), 10, 0.0) is Turn.NOW
    assert statuses.next_early(0.0) is early
    assert statuses.next_early(0.0) is None


def test_a_repeated_early_status_is_kept_once():
    statuses = order(statuses=1)
    statuses.receive(status(2), 10, 0.0)
    assert statuses.receive(status(2), 10, 0.0) is Turn.REPEATED_EARLY


def test_the_bound_in_statuses_overflows():
    statuses = order(statuses=1)
    statuses.receive(status(2), 10, 0.0)
    assert statuses.receive(status(3), 10, 0.0) is Turn.OVERFLOW


def test_the_bound_in_bytes_overflows_and_is_given_back():
    statuses = order(size_bytes=100)
    assert statuses.receive(status(2), 60, 0.0) is Turn.EARLY
    assert statuses.receive(status(3), 41, 0.0) is Turn.OVERFLOW
    statuses.receive(status(1), 10, 0.0)
    statuses.next_early(0.0)
    assert statuses.receive(status(4), 100, 0.0) is Turn.EARLY


def test_the_gap_deadline_counts_from_the_last_progress():
    statuses = order()
    assert statuses.gap_by is None
    statuses.receive(status(3), 10, 1.0)
    statuses.receive(status(4), 10, 2.0)
    assert statuses.gap_by == 6.0
    statuses.receive(status(1), 10, 3.0)
    assert statuses.gap_by == 8.0
    statuses.receive(status(2), 10, 4.0)
    while statuses.next_early(4.0):
        pass
    assert statuses.gap_by is None
