"""Seconds of a run, from events that come late and out of order."""

from __future__ import annotations

import pytest

from fleet_lab.ledger.series import MAX_SECONDS, OPEN_SECONDS, SeriesCollector


def test_every_event_counts_in_its_second():
    collector = SeriesCollector(100.0)
    collector.connected(100.1, 1)
    collector.sent(100.2)
    collector.answered(101.9, 0.5)
    collector.upstream(102.0)
    collector.connected(102.5, -1)
    series = collector.series()
    assert series.sent == (1, 0, 0)
    assert series.answered == (0, 1, 0)
    assert series.upstream == (0, 0, 1)
    assert series.connected == (1, 1, 0)
    assert series.p50_s == (None, pytest.approx(0.5), None)


def test_percentiles_are_of_that_second_alone():
    collector = SeriesCollector(0.0)
    for hundredth in range(1, 101):
        collector.answered(0.5, hundredth / 100)
        collector.answered(1.5, 0.001)
    series = collector.series()
    assert series.p50_s == (pytest.approx(0.51), pytest.approx(0.001))
    assert series.p99_s == (pytest.approx(1.0), pytest.approx(0.001))


def test_a_late_answer_changes_its_second_for_a_while_and_then_only_the_count():
    collector = SeriesCollector(0.0)
    collector.answered(0.5, 0.1)
    collector.answered(3.5, 0.1)
    collector.answered(0.6, 0.3)
    assert collector.series().p99_s[0] == pytest.approx(0.3)
    collector.answered(OPEN_SECONDS + 2.0, 0.1)
    collector.answered(0.7, 9.0)
    series = collector.series()
    assert series.answered[0] == 3
    assert series.p99_s[0] == pytest.approx(0.3)


def test_times_outside_of_the_run_count_at_its_edges():
    collector = SeriesCollector(50.0)
    collector.sent(0.0)
    collector.sent(50.0 + 10 * MAX_SECONDS)
    sent = collector.series().sent
    assert (sent[0], sent[-1], len(sent)) == (1, 1, MAX_SECONDS + 1)
