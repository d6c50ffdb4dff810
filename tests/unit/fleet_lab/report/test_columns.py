from __future__ import annotations

import pytest

from fleet_lab.report.columns import columns, log_bins
from fleet_lab.report.model import Bucket, Distribution, Series


def test_a_short_run_has_one_column_per_period() -> None:
    series = Series(1.0, (1, 2), (1, 1), (0, 1), (5, 6), (None, 0.1), (None, 0.2))
    first, second = columns(series)
    assert (first.start_s, first.end_s, first.sent, first.p50_s) == (0.0, 1.0, 1.0, None)
    assert (second.answered, second.upstream, second.connected, second.p99_s) == (1.0, 1.0, 6, 0.2)


def test_neighbours_of_a_long_run_are_averaged_and_the_worst_latency_is_kept() -> None:
    series = Series(
        0.5, (1, 2, 3), (0, 0, 0), (4, 4, 4), (1, 2, 3), (0.1, None, None), (0.1, 0.3, 0.2)
    )
    first, second = columns(series, most=2)
    assert (first.sent, first.upstream, first.connected) == (3.0, 8.0, 2)
    assert (first.p50_s, first.p99_s, first.end_s) == (0.1, 0.3, 1.0)
    assert (second.sent, second.connected, second.p50_s, second.end_s) == (6.0, 3, None, 1.5)


def test_a_column_that_ends_early_counts_as_zero() -> None:
    second = columns(Series(1.0, (1, 1), (1,), (), (), (), ()))[1]
    assert (second.sent, second.answered, second.upstream, second.connected) == (1, 0, 0, 0)


def test_no_series_has_no_columns() -> None:
    assert columns(Series()) == []


def test_latencies_fall_into_equal_steps_of_the_logarithm() -> None:
    bins = log_bins(Distribution("reply", 4, buckets=(Bucket(0.001, 3), Bucket(0.01, 1))))
    assert len(bins) == 13
    assert bins[0] == pytest.approx((10 ** (-3 - 1 / 12), 0.001, 0.75))
    assert bins[-1] == pytest.approx((10 ** (-2 - 1 / 12), 0.01, 0.25))
    assert sum(share for *_, share in bins) == pytest.approx(1.0)


def test_an_empty_distribution_has_no_steps() -> None:
    assert log_bins(Distribution("reply", 0)) == []
    assert log_bins(Distribution("reply", 0, buckets=(Bucket(1.0, 0),))) == []
