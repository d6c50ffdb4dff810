"""Whatever the shape: as many due times as the integral of the rate, in order, chained, added."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_lab.load import Load

RATES = st.floats(0, 40).map(lambda rate: round(rate, 2))
SECONDS = st.floats(0.5, 20).map(lambda seconds: round(seconds, 2))
EACH = st.sampled_from(("", " each"))


@st.composite
def simple_loads(draw: st.DrawFn) -> Load:  # noqa: PLR0911  # one per shape
    low, high, long_s = draw(RATES), draw(RATES), draw(SECONDS)
    match draw(st.integers(0, 6)):
        case 0:
            return Load.constant(f"{low}/s{draw(EACH)}", lasting=long_s)
        case 1:
            return Load.ramp(f"{low}/s -> {high}/s", over=long_s)
        case 2:
            return Load.steps([low, high, draw(RATES)], every=long_s)
        case 3:
            return Load.wave(long_s, low, high, lasting=draw(SECONDS))
        case 4:
            jitter = draw(st.floats(0, 0.5))
            seed = draw(st.integers(0, 99))
            burst = long_s / 2
            return Load.bursts(
                high, long_s, burst=burst, jitter=jitter, seed=seed, lasting=draw(SECONDS)
            )
        case 5:
            return Load.spike(high, at=long_s, burst=draw(SECONDS), base=low)
        case _:
            return Load.trace([(0.5, low), (long_s + 0.5, high), (long_s + 9, low)])


LOADS = st.recursive(
    simple_loads(),
    lambda inner: (
        st.tuples(inner, inner).map(lambda pair: pair[0].then(pair[1]))
        | st.tuples(inner, inner).map(lambda pair: pair[0] + pair[1])
    ),
    max_leaves=5,
)
WITHIN = 1e-6
"""Of one status: what is due exactly at the end may fall to either side of it."""


def integral(load: Load, until_s: float, size: int) -> float:
    """By the trapezoid rule on the public rate, independent of the curve's own closed form."""
    steps = 2000
    width = until_s / steps
    rates = [load.rate_at(n * width + width / 2, size) for n in range(steps)]
    return sum(rates) * width


@settings(max_examples=60, deadline=None)
@given(LOADS, SECONDS, st.integers(1, 5))
def test_as_many_times_as_the_integral_of_the_rate(load: Load, until_s: float, size: int) -> None:
    times = list(load.times(Random(1), until_s, size=size))
    expected = load.expected(until_s, size)
    assert -WITHIN <= expected - len(times) < 1 + WITHIN
    assert all(0 <= a <= b <= until_s for a, b in pairwise([0.0, *times]))


@settings(max_examples=25, deadline=None)
@given(simple_loads(), SECONDS)
def test_the_integral_is_that_of_the_rate(load: Load, until_s: float) -> None:
    expected = load.expected(until_s)
    # A jump inside one of 2000 strips puts at most half a strip of 80 per second to the wrong side.
    assert abs(expected - integral(load, until_s, 1)) < 0.01 * expected + until_s / 2000 * 80 * 4


@settings(max_examples=40, deadline=None)
@given(simple_loads(), simple_loads(), SECONDS)
def test_a_chain_is_the_first_and_then_the_second(a: Load, b: Load, t_s: float) -> None:
    chain = a.then(b)
    assert abs(chain.expected(a.duration_s) - a.expected(a.duration_s)) < WITHIN
    after = chain.expected(a.duration_s + t_s) - chain.expected(a.duration_s)
    assert abs(after - b.expected(t_s)) < WITHIN * (1 + after)


@settings(max_examples=40, deadline=None)
@given(LOADS, LOADS, SECONDS, st.integers(1, 3))
def test_a_sum_has_the_sum_of_the_rates(a: Load, b: Load, t_s: float, size: int) -> None:
    both, alone = (a + b).rate_at(t_s, size), a.rate_at(t_s, size) + b.rate_at(t_s, size)
    assert abs(both - alone) < 1e-9 * (1 + alone)


@settings(max_examples=30, deadline=None)
@given(LOADS, st.integers(0, 1000))
def test_the_same_seed_gives_the_same_times(load: Load, seed: int) -> None:
    random = Load.poisson(load)
    first, again = (list(random.times(Random(seed), 10.0)) for _ in range(2))
    assert first == again
    assert all(a <= b for a, b in pairwise(first))
