from __future__ import annotations

import json

import pytest

from fleet_lab.links.meter import Meter
from fleet_lab.links.presets import OneWay


def _meter(delays_s: list[float]) -> Meter:
    meter = Meter()
    for delay_s in delays_s:
        meter.delayed(delay_s)
    return meter


def test_percentiles_are_right_to_two_percent() -> None:
    achieved = _meter([index / 1000 for index in range(1, 1001)]).achieved()

    assert achieved.delay_p50_s == pytest.approx(0.5, rel=0.02)
    assert achieved.delay_p99_s == pytest.approx(0.99, rel=0.02)


def test_a_handful_of_samples_is_no_measurement() -> None:
    assert _meter([0.1] * 4).achieved().delay_p50_s is None
    assert Meter().achieved().rate_bps is None


def test_merged_meters_are_as_one() -> None:
    one, left, right = _meter([0.1, 0.2] * 10), _meter([0.1] * 10), _meter([0.2] * 10)
    for meter in (one, left, right):
        meter.saturated(8000, 1.0)
    one.saturated(8000, 1.0)
    left.merge(right)

    assert left == one


def test_a_meter_travels_as_json() -> None:
    meter = _meter([0.1, 0.2, 0.3])
    meter.stalls = 3
    meter.saturated(800, 0.1)

    assert Meter.of_json(json.loads(json.dumps(meter.as_json()))) == meter


@pytest.mark.parametrize(
    ("delay_s", "is_within"), [(0.100, True), (0.120, True), (0.180, False), (0.040, False)]
)
def test_the_median_decides_whether_the_delay_is_as_declared(
    delay_s: float, is_within: bool
) -> None:
    assert _meter([delay_s] * 9).achieved().is_within(OneWay(delay_s=0.1)) is is_within


@pytest.mark.parametrize(("bits", "is_within"), [(1000, True), (900, True), (800, False)])
def test_a_rate_may_differ_by_15_percent(bits: int, is_within: bool) -> None:
    meter = Meter()
    meter.saturated(bits, 1.0)

    assert meter.achieved().is_within(OneWay(rate_bps=1000.0)) is is_within


def test_nothing_measured_is_neither_right_nor_wrong() -> None:
    assert Meter().achieved().is_within(OneWay(delay_s=0.1, rate_bps=1e6)) is None
