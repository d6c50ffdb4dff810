from __future__ import annotations

import statistics
import sys

import pytest

from fleet_lab.devices.generators import Stream


def test_a_path_at_once_and_step_by_step_are_the_same_stream() -> None:
    at_once, stepwise = Stream(7, "cars", "cars/3"), Stream(7).fork("cars").fork("cars/3")
    assert [at_once.word() for _ in range(5)] == [stepwise.word() for _ in range(5)]


def test_names_cannot_run_into_each_other() -> None:
    paths = [("a", "b"), ("ab",), ("a/b",), ("b", "a"), (1,), ("1",), ()]
    assert len({Stream(1, *path).word() for path in paths}) == len(paths)


def test_the_words_of_a_seed_stay_what_they_are() -> None:
    # Recorded runs are repeated by their seed: this list must never change.
    stream = Stream(7, "cars", "cars/3")
    assert [stream.word() for _ in range(3)] == [
        12503948466194951359,
        9437459735044237150,
        1411977365491962224,
    ]


def test_numbers_are_evenly_spread() -> None:
    stream = Stream(1)
    numbers = [stream.random() for _ in range(4000)]
    assert 0 <= min(numbers) < 0.01
    assert 0.99 < max(numbers) < 1
    assert statistics.fmean(numbers) == pytest.approx(0.5, abs=0.02)
    assert [sum(stream.below(4) == k for _ in range(4000)) for k in range(4)] == pytest.approx(
        [1000] * 4, abs=120
    )


def test_gauss_and_expovariate_have_their_mean_and_deviation() -> None:
    stream = Stream(2)
    normal = [stream.gauss(10, 2) for _ in range(4000)]
    assert statistics.fmean(normal) == pytest.approx(10, abs=0.15)
    assert statistics.stdev(normal) == pytest.approx(2, abs=0.15)
    assert statistics.fmean(stream.expovariate(4) for _ in range(4000)) == pytest.approx(
        0.25, abs=0.02
    )


def test_nothing_can_be_chosen_from_nothing() -> None:
    with pytest.raises(ValueError, match="no number below 0"):
        Stream(1).choice([])


def test_a_stream_is_small() -> None:
    stream = Stream(7, "cars")
    parts = (stream, stream._key, stream._counter)
    assert sum(sys.getsizeof(part) for part in parts) <= 128
