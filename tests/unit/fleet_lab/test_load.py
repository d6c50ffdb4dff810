from __future__ import annotations

import math
from itertools import islice, pairwise
from pathlib import Path
from random import Random

import pytest

from fleet_lab.errors import LabError
from fleet_lab.load import Load, Rate, parse_rate


def due(load: Load, until_s: float, **plan: float) -> list[float]:
    return [round(t, 6) for t in load.times(Random(1), until_s, **plan)]


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("500/s", Rate(500.0)),
        ("90/m", Rate(1.5)),
        ("7200 / h", Rate(2.0)),
        ("1/s each", Rate(1.0, is_each=True)),
        ("2.5", Rate(2.5)),
        (20, Rate(20.0)),
    ],
)
def test_rates_as_people_write_them(text: str | float, rate: Rate) -> None:
    assert rate == parse_rate(text)


@pytest.mark.parametrize("text", ["fast", "-1/s", "1/d", True, math.inf, "1 / s every"])
def test_anything_else_is_no_rate(text: str | float) -> None:
    with pytest.raises(LabError, match="is no rate; write for example"):
        parse_rate(text)


def test_constant_is_even() -> None:
    assert [0.5, 1.0, 1.5, 2.0] == due(Load.constant("2/s"), 2.0)


def test_constant_each_grows_with_the_fleet() -> None:
    assert [0.25, 0.5, 0.75, 1.0] == due(Load.constant("1/s each"), 1.0, size=4)


def test_constant_for_a_time_is_silent_after_it() -> None:
    assert [0.5, 1.0] == due(Load.constant("2/s", lasting="1s"), 60.0)


def test_a_ramp_holds_its_last_rate() -> None:
    load = Load.ramp("0 -> 10/s", over="10s")
    assert [0.0, 5.0, 10.0, 10.0] == [load.rate_at(t) for t in (0, 5, 10, 1000)]
    assert 50 + 100 == len(due(load, 20.0))


def test_the_bare_number_of_a_ramp_has_the_unit_behind_the_arrow() -> None:
    load = Load.ramp("60 -> 120/m each", over="10s")
    assert [3.0, 6.0] == [load.rate_at(t, size=3) for t in (0, 10)]


def test_steps_go_up_and_the_last_stays() -> None:
    load = Load.steps(["1/s", "5/s", 2], every="10s")
    assert [1.0, 5.0, 2.0, 2.0] == [load.rate_at(t) for t in (9.9, 10, 20, 99)]


def test_a_wave_swings_between_its_rates() -> None:
    load = Load.wave(period="2m", low="100/s", high="800/s")
    rates = [load.rate_at(t) for t in (0, 60, 120, 30)]
    assert pytest.approx([100.0, 800.0, 100.0, 450.0], rel=1e-3) == rates


def test_bursts_come_once_per_period_and_jitter_moves_them() -> None:
    fixed = Load.bursts("10/s", every="10s", burst="1s")
    assert [10.0, 0.0, 10.0] == [fixed.rate_at(t) for t in (0.5, 1.5, 10.5)]
    moved = Load.bursts("10/s", every="10s", burst="1s", jitter=0.5, seed=3)
    times = due(moved, 100.0)
    starts = [next(t for t in times if 10 * n < t <= 10 * n + 10) % 10 for n in range(10)]
    assert 100 == len(times)
    assert max(starts) - min(starts) > 1.0
    assert times == due(Load.bursts("10/s", every="10s", burst="1s", jitter=0.5, seed=3), 100.0)


def test_a_spike_comes_once_and_goes() -> None:
    load = Load.spike("100/s", at="10s", burst="2s", base="1/s")
    assert [1.0, 100.0, 1.0] == [load.rate_at(t) for t in (9, 11, 12)]
    assert 10 + 200 + 8 == len(due(load, 20.0))


def test_a_trace_goes_straight_between_its_points(tmp_path: Path) -> None:
    file = tmp_path / "rates.csv"
    file.write_text("second,rate\n# a comment\n0,0\n10,10\n20,0\n")
    for load in (Load.trace([(0, 0), (10, 10), (20, 0)]), Load.trace(file)):
        assert [0.0, 5.0, 10.0, 5.0, 0.0] == [load.rate_at(t) for t in (0, 5, 10, 15, 20)]
        assert 100 == len(due(load, 1000.0))


def test_a_bad_line_of_a_trace_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rates.csv"
    file.write_text("0,0\n10\n")
    with pytest.raises(LabError, match=r"rates.csv:2: '10' is no 'second,rate'"):
        Load.trace(file)


def quadratic(t_s: float) -> float:
    return t_s * t_s - 1.0


def test_custom_follows_a_function_and_takes_below_zero_as_silence() -> None:
    load = Load.custom(quadratic)
    assert [0.0, 3.0, 8.0] == pytest.approx([load.rate_at(t) for t in (0.5, 2, 3)])


def test_then_begins_the_second_at_the_end_of_the_first() -> None:
    load = Load.constant("1/s", lasting="3s").then(Load.constant("2/s"))
    assert [1.0, 2.0, 3.0, 3.5, 4.0] == due(load, 4.0)


def test_nothing_can_follow_a_load_without_end() -> None:
    with pytest.raises(LabError, match="nothing can follow 'constant'"):
        Load.constant("1/s").then(Load.constant("2/s"))


def test_a_sum_sends_as_much_as_both() -> None:
    load = Load.constant("1/s") + Load.constant("1/s each")
    assert 4.0 == load.rate_at(0.0, size=3)
    assert [0.25, 0.5, 0.75, 1.0] == due(load, 1.0, size=3)


def test_poisson_is_random_and_seeded() -> None:
    load = Load.poisson("100/s")
    times = due(load, 100.0)
    gaps = [b - a for a, b in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    spread = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert abs(len(times) - 10_000) < 400
    assert 0.9 < spread / mean < 1.1
    assert times == due(load, 100.0)
    assert times != list(load.times(Random(2), 100.0))


def test_poisson_follows_another_load() -> None:
    load = Load.poisson(Load.ramp("0 -> 200/s", over="10s"))
    times = due(load, 10.0)
    assert len([t for t in times if t < 5]) < len(times) / 3


def test_times_go_on_from_a_moment_with_another_size() -> None:
    load = Load.constant("1/s each")
    assert [10.2, 10.4, 10.6, 10.8, 11.0] == due(load, 11.0, size=5, from_s=10.0)


def test_endless_times_are_made_one_by_one() -> None:
    assert [1.0, 2.0, 3.0] == list(islice(Load.constant(1).times(Random(1)), 3))


def test_each_and_fleet_rates_do_not_mix_in_one_shape() -> None:
    with pytest.raises(LabError, match="either all rates"):
        Load.steps(["1/s", "1/s each"], every="1s")


def test_closed_is_alone() -> None:
    assert Load.closed().is_closed
    assert [] == due(Load.closed(), 10.0)
    with pytest.raises(LabError, match="cannot be part of another load"):
        Load.closed() + Load.constant(1)


def test_a_burst_that_does_not_fit_is_refused() -> None:
    with pytest.raises(LabError, match=r"a burst of 9 s with jitter 0\.5 leaves 10 s"):
        Load.bursts("1/s", every="10s", burst="9s", jitter=0.5)
