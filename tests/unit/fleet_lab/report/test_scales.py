from __future__ import annotations

import pytest

from fleet_lab.report.scales import (
    NOT_MEASURED,
    Linear,
    Log,
    count_ticks,
    decades,
    show_count,
    show_latency,
    show_rate,
    show_time,
    time_ticks,
)


def test_values_are_placed_and_kept_inside() -> None:
    scale = Linear(0, 10, 100, 200)
    assert [scale.at(v) for v in (-5, 0, 5, 10, 50)] == [100, 100, 150, 200, 200]
    log = Log(0.001, 1.0, 0, 300)
    assert [round(log.at(v)) for v in (0, 0.001, 0.01, 0.1, 1.0, 9)] == [0, 0, 100, 200, 300, 300]


def test_a_range_without_extent_is_no_error() -> None:
    assert Linear(0, 0, 5, 10).at(0) == 5


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [(0, [0, 1]), (20, [0, 5, 10, 15, 20]), (21, [0, 5, 10, 15, 20, 25]), (3, [0, 1, 2, 3])],
)
def test_counts_have_round_ticks_up_to_the_highest(highest: float, ticks: list[float]) -> None:
    assert count_ticks(highest) == ticks


@pytest.mark.parametrize(
    ("duration_s", "ticks"),
    [(0, [0]), (60, list(range(0, 61, 5))), (90, list(range(0, 91, 10)))],
)
def test_times_have_round_ticks(duration_s: float, ticks: list[float]) -> None:
    assert time_ticks(duration_s) == ticks


def test_a_week_still_has_ticks() -> None:
    assert len(time_ticks(7 * 86400)) == 8


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([], [0.001, 0.01]),
        ([0.0], [1e-6, 1e-5]),
        ([0.002, 0.3], [0.001, 0.01, 0.1, 1.0]),
        ([0.1], [0.1, 1.0]),
    ],
)
def test_latencies_lie_between_powers_of_ten(values: list[float], ticks: list[float]) -> None:
    assert decades(values) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, NOT_MEASURED), (0.0, "0 ms"), (0.0000123, "12.3 µs"), (0.001, "1 ms"),
        (0.0123, "12.3 ms"),
        (0.9996, "1000 ms"), (1.0, "1 s"), (19.94, "19.9 s"), (0.1, "100 ms"), (3600, "3600 s"),
    ],
)  # fmt: skip
def test_latencies_are_shown_in_a_unit_that_fits(seconds: float | None, shown: str) -> None:
    assert show_latency(seconds) == shown


@pytest.mark.parametrize(
    ("bps", "shown"),
    [
        (None, NOT_MEASURED),
        (50_000, "50 kbit/s"),
        (15e6, "15 Mbit/s"),
        (1e9, "1 Gbit/s"),
        (90, "90 bit/s"),
    ],
)
def test_rates_are_shown_in_their_unit(bps: float | None, shown: str) -> None:
    assert show_rate(bps) == shown


def test_counts_are_shown_in_thousands() -> None:
    assert [show_count(n) for n in (None, 0, 1234567, 0.25)] == [
        NOT_MEASURED, "0", "1\u202f234\u202f567", "0.2",
    ]  # fmt: skip


def test_times_are_shown_as_on_a_clock() -> None:
    assert [show_time(t) for t in (0, 45, 120, 3700)] == ["0 s", "45 s", "2:00", "1:01:40"]
