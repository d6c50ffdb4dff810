from __future__ import annotations

import pytest

from fleet_lab.links.presets import LINKS, LTE, SATELLITE, Conditions, OneWay, Side, flaky


@pytest.mark.parametrize(
    ("name", "delay_s", "jitter_s", "rate_bps"),
    [
        ("GPRS", 0.7, 0.1, 50e3),
        ("EDGE", 0.7, 0.1, 100e3),
        ("3G", 0.3, 0.15, 1.5e6),
        ("FAST_3G", 0.15, 0.05, 4e6),
        ("LTE", 0.04, 0.01, 15e6),
        ("WIFI", 0.025, 0.005, 50e6),
        ("CABLE", 0.005, 0.005, 100e6),
    ],
)
def test_presets_have_the_published_numbers(
    name: str, delay_s: float, jitter_s: float, rate_bps: float
) -> None:
    expected = OneWay(delay_s=delay_s, jitter_s=jitter_s, rate_bps=rate_bps)

    assert expected == LINKS[name].one_way("up")
    assert expected == LINKS[name].one_way("down")


def test_a_satellite_has_two_rates() -> None:
    assert SATELLITE.one_way("up") == OneWay(delay_s=0.3, jitter_s=0.02, rate_bps=3e6)
    assert SATELLITE.one_way("down") == OneWay(delay_s=0.3, jitter_s=0.02, rate_bps=10e6)


def test_flaky_is_up_for_20_s_and_down_for_5_s_over_lte() -> None:
    expected = OneWay(delay_s=0.04, jitter_s=0.01, rate_bps=15e6, stall_every_s=25.0, stall_s=5.0)

    assert expected == LINKS["FLAKY"].one_way("up")
    assert flaky(20, 5) == LINKS["FLAKY"]


def test_offline_is_not_passable_and_nothing_else_is_that() -> None:
    assert [name for name, link in LINKS.items() if not link.is_passable] == ["OFFLINE"]


def test_only_the_absence_of_all_trouble_is_clear() -> None:
    assert Conditions().is_clear
    assert Conditions(queue_s=3.0).is_clear
    assert not any(link.is_clear for link in LINKS.values())
    assert not Conditions(reset_every_s=1.0).is_clear
    assert not Conditions(down=Side(is_half_open=True)).is_clear


def test_cut_keeps_the_rest_and_beats_the_sides() -> None:
    conditions = Conditions(delay_s=0.1, up=Side(is_cut=False))

    assert conditions.cut().one_way("up") == OneWay(delay_s=0.1, is_cut=True)
    assert not conditions.cut().is_passable


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"delay_s": -1.0}, "delay"),
        ({"jitter_s": -1.0}, "jitter"),
        ({"rate_bps": 0.0}, "rate"),
        ({"queue_s": 0.0}, "queue"),
        ({"stall_s": 1.0}, "belong together"),
        ({"stall_every_s": 1.0}, "belong together"),
        ({"stall_every_s": 1.0, "stall_s": 1.0}, "longer than stall"),
        ({"reset_every_s": 0.0}, "reset-every"),
        ({"up": Side(rate_bps=-1.0)}, "rate"),
    ],
)
def test_impossible_values_are_refused(values: dict[str, float], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        Conditions(**values)  # type: ignore[arg-type]  # some of them are sides


def test_flaky_needs_two_times() -> None:
    with pytest.raises(ValueError, match="FLAKY"):
        flaky(0, 5, LTE)
