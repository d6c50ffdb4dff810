from __future__ import annotations

import math

import pytest

from fleet_lab.curve import (
    Piece,
    added,
    amount_until,
    cut,
    delayed,
    level,
    moments,
    of_pieces,
    rate_at,
    repeating,
    scaled,
)

RAMP = of_pieces((Piece(0.0, 10.0, 0.0, 4.0),))


def test_a_sloping_piece_is_reached_where_its_integral_says() -> None:
    piece = Piece(0.0, 10.0, 0.0, 4.0)
    assert (20.0, 10.0) == (piece.amount(), piece.reach(20.0))
    assert math.sqrt(50.0) == pytest.approx(piece.reach(10.0))


def test_a_falling_piece_is_reached_where_its_integral_says() -> None:
    piece = Piece(0.0, 10.0, 4.0, 0.0)
    assert 10.0 == pytest.approx(piece.reach(20.0))
    assert 10.0 - math.sqrt(50.0) == pytest.approx(piece.reach(10.0))


def test_a_level_rate_gives_even_moments() -> None:
    assert [0.5, 1.0, 1.5, 2.0] == list(moments(level(2.0), 0.0, 2.0))


def test_moments_begin_where_they_are_asked_to() -> None:
    assert [3.5, 4.0] == list(moments(level(2.0), 3.0, 4.0))


def test_silence_has_no_moments_and_ends() -> None:
    assert [] == list(moments(level(0.0), 0.0, math.inf))


def test_given_gaps_are_kept_in_the_integral() -> None:
    assert [0.5, 2.0] == list(moments(level(2.0), 0.0, 10.0, iter([1.0, 3.0, 1000.0])))


def test_rate_at_a_jump_is_the_one_behind_it() -> None:
    jump = of_pieces((Piece(0, 1, 2, 2), Piece(1, 2, 5, 5)))
    assert [2, 5, 0.0] == [rate_at(jump, t) for t in (0.5, 1.0, 2.0)]


def test_a_curve_begins_in_the_middle_of_a_piece() -> None:
    assert [Piece(5.0, 10.0, 2.0, 4.0)] == list(RAMP(5.0))


def test_repeating_asks_only_for_the_periods_from_there_on() -> None:
    asked: list[int] = []

    def make(number: int) -> tuple[Piece, ...]:
        asked.append(number)
        return (Piece(number * 2.0, number * 2.0 + 2.0, number, number),)

    pieces = repeating(make, 2.0)(2000.5)
    assert Piece(2000.5, 2002.0, 1000, 1000) == next(pieces)
    assert [1000] == asked


def test_cut_and_delay_join_without_gap_or_overlap() -> None:
    both = added((cut(RAMP, 5.0), delayed(level(3.0), 5.0)))
    assert (5.0 + 15.0) == amount_until(both, 10.0)
    assert [2.0 * 4.9 / 4.9 * 0.98, 3.0] == pytest.approx([rate_at(both, t) for t in (4.9, 5.0)])


def test_the_sum_goes_on_when_one_of_its_curves_ended() -> None:
    both = added((RAMP, level(1.0)))
    assert 20.0 + 30.0 == amount_until(both, 30.0)
    assert Piece(0.0, 10.0, 1.0, 5.0) == next(both(0.0))


def test_scaled_rates_scale_the_integral() -> None:
    assert 60.0 == amount_until(scaled(RAMP, 3.0), 10.0)
