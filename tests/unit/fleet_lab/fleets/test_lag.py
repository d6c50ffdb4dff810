from __future__ import annotations

import pytest

from fleet_lab.fleets.lag import Lag


def lag_of(*lags_s: float) -> Lag:
    lag = Lag()
    for lag_s in lags_s:
        lag.add(lag_s)
    return lag


def test_quantiles_are_right_within_a_bucket() -> None:
    lag = lag_of(*(n / 1000 for n in range(1, 101)))
    assert 0.050 == pytest.approx(lag.quantile(0.5), rel=0.2)
    assert 0.099 == pytest.approx(lag.quantile(0.99), rel=0.2)
    assert 0.100 == lag.quantile(1.0)


def test_no_lag_is_zero() -> None:
    assert 0.0 == Lag().quantile(0.99)
    assert 0.0 == lag_of(0.0, -0.001, 5e-6).quantile(0.99)


def test_an_hour_still_counts() -> None:
    assert 3600.0 == lag_of(3600.0).longest_s
    assert 1 == sum(lag_of(3600.0).counts)


def test_merged_it_is_as_if_one_had_heard_all() -> None:
    merged = lag_of(0.001, 0.2)
    merged.merge(lag_of(0.05, 0.0))
    all_in_one = lag_of(0.001, 0.2, 0.05, 0.0)
    assert (all_in_one.counts, all_in_one.longest_s) == (merged.counts, merged.longest_s)


def test_it_survives_json() -> None:
    lag = lag_of(0.001, 0.2)
    assert lag.quantile(0.99) == Lag(list(lag.counts), lag.longest_s).quantile(0.99)
