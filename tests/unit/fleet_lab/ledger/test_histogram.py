"""Latencies: exact enough, mergeable, and they travel."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_lab.ledger.histogram import BATCH, Histogram

durations_s = st.lists(st.floats(1e-6, 3000), min_size=1, max_size=200)


def filled(values_s: list[float]) -> Histogram:
    histogram = Histogram()
    for value_s in values_s:
        histogram.record(value_s)
    return histogram


def test_an_empty_one_knows_nothing():
    empty = Histogram()
    assert (empty.count, empty.min_s, empty.max_s, empty.percentile_s(50)) == (0, None, None, None)
    assert list(empty.buckets()) == []


@settings(max_examples=40, deadline=None)
@given(durations_s, st.sampled_from([50, 90, 99]))
def test_percentiles_are_within_a_thousandth(values_s, percent):
    ordered = sorted(values_s)
    exact = ordered[max(-(-len(ordered) * percent // 100) - 1, 0)]
    assert filled(values_s).percentile_s(percent) == pytest.approx(exact, rel=0.0011, abs=1.1e-6)


def test_one_slow_of_sixty_shows_in_the_99th_percentile():
    assert filled([0.001] * 59 + [1.0]).percentile_s(99) == pytest.approx(1.0, rel=0.001)
    assert filled([0.001] * 99 + [1.0]).percentile_s(99) == pytest.approx(0.001, rel=0.001)


@settings(max_examples=20, deadline=None)
@given(durations_s, durations_s)
def test_merging_is_recording_both(first_s, second_s):
    merged, other = filled(first_s), filled(second_s)
    merged.merge(other)
    assert list(merged.buckets()) == list(filled(first_s + second_s).buckets())
    assert other.count == len(second_s)


@settings(max_examples=20, deadline=None)
@given(durations_s)
def test_decode_gives_what_was_encoded(values_s):
    histogram = filled(values_s)
    decoded = Histogram.decode(histogram.encode())
    assert list(decoded.buckets()) == list(histogram.buckets())
    assert decoded.percentile_s(99) == histogram.percentile_s(99)


@pytest.mark.parametrize("text", ["", "x", "HISTFAAA", "!" * 40, "é"])
def test_what_is_no_histogram_is_refused(text):
    with pytest.raises(ValueError, match="not an encoded histogram"):
        Histogram.decode(text)


def test_what_is_outside_of_the_range_counts_at_its_edge():
    histogram = filled([-1.0, 0.0, 7200.0])
    assert histogram.count == 3
    assert histogram.min_s == pytest.approx(1e-6)
    assert histogram.max_s == pytest.approx(3600, rel=0.001)


def test_buckets_rise_and_add_up_beyond_one_batch():
    histogram = filled([0.001 * (1 + number % 7) for number in range(BATCH + 10)])
    buckets = list(histogram.buckets())
    assert sorted(buckets) == buckets
    assert sum(count for _, count in buckets) == histogram.count == BATCH + 10
