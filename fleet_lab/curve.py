"""Rates over time as straight pieces, so that their integral and its inverse have closed forms.

Pure. A curve is a function from a moment to the pieces from there on: contiguous, in order, the
first one begins at that moment. A curve that ends is silent afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import count, repeat
from typing import NamedTuple, TypeAlias


class Piece(NamedTuple):
    """The rate goes straight from one value to another. An endless piece is level."""

    start_s: float
    end_s: float
    start_rate: float
    end_rate: float

    def rate_at(self, t_s: float) -> float:
        """Per second, for a moment inside."""
        if self.start_rate == self.end_rate:
            return self.start_rate
        share = (t_s - self.start_s) / (self.end_s - self.start_s)
        return self.start_rate + (self.end_rate - self.start_rate) * share

    def amount(self) -> float:
        """The integral over the whole piece."""
        mean = (self.start_rate + self.end_rate) / 2
        return mean * (self.end_s - self.start_s) if mean else 0.0

    def reach(self, amount: float) -> float:
        """The moment at which the integral from the start has grown to `amount`, at most the end.

        `amount` is positive and not above `amount()`.
        """
        start, end, first, last = self
        if first == last:
            return min(start + amount / first, end)
        slope = (last - first) / (end - start)
        root = math.sqrt(max(first * first + 2 * slope * amount, 0.0))
        return min(start + 2 * amount / (first + root), end)


Curve: TypeAlias = Callable[[float], Iterator[Piece]]


def level(rate: float) -> Curve:
    """The same for ever."""
    return lambda from_s: iter((Piece(from_s, math.inf, rate, rate),))


def of_pieces(pieces: tuple[Piece, ...]) -> Curve:
    """What is listed, from second 0 on."""
    return lambda from_s: _from(iter(pieces), from_s)


def repeating(make: Callable[[int], tuple[Piece, ...]], period_s: float) -> Curve:
    """Period `n` consists of `make(n)`, whose pieces cover `n * period_s` to `(n+1) * period_s`."""

    def pieces(from_s: float) -> Iterator[Piece]:
        first = int(from_s // period_s)
        return _from((piece for n in count(first) for piece in make(n)), from_s)

    return pieces


def scaled(curve: Curve, factor: float) -> Curve:
    """Every rate times `factor`."""
    return lambda from_s: (
        Piece(start, end, first * factor, last * factor)
        for start, end, first, last in curve(from_s)
    )


def cut(curve: Curve, end_s: float) -> Curve:
    """Silent from `end_s` on."""

    def pieces(from_s: float) -> Iterator[Piece]:
        if from_s >= end_s:
            return
        for piece in curve(from_s):
            if piece.end_s >= end_s:
                yield piece._replace(end_s=end_s, end_rate=piece.rate_at(end_s))
                return
            yield piece

    return pieces


def delayed(curve: Curve, by_s: float) -> Curve:
    """Silent until `by_s`, then the curve from its own second 0 on."""

    def pieces(from_s: float) -> Iterator[Piece]:
        if from_s < by_s:
            yield Piece(from_s, by_s, 0.0, 0.0)
        for start, end, first, last in curve(max(from_s - by_s, 0.0)):
            yield Piece(start + by_s, end + by_s, first, last)

    return pieces


def added(curves: tuple[Curve, ...]) -> Curve:
    """The sum of all rates; without a curve silence."""
    if len(curves) == 1:
        return curves[0]
    return lambda from_s: _sum([_endless(curve, from_s) for curve in curves], from_s)


def rate_at(curve: Curve, t_s: float) -> float:
    """Per second at `t_s`; at a jump the value behind it."""
    return next((piece.rate_at(t_s) for piece in curve(t_s)), 0.0)


def amount_until(curve: Curve, until_s: float) -> float:
    """The integral from 0 to `until_s`."""
    return sum(piece.amount() for piece in cut(curve, until_s)(0.0))


def moments(
    curve: Curve, from_s: float, until_s: float, gaps: Iterator[float] | None = None
) -> Iterator[float]:
    """When the integral from `from_s` on has grown by each of `gaps` in turn; by 1 without them.

    In order, all before or at `until_s`. Equal gaps of 1 give an even load; exponential gaps of
    mean 1 give a Poisson process of that rate (time change of the unit process).
    """
    steps = gaps if gaps is not None else repeat(1.0)
    need = next(steps)
    for piece in cut(curve, until_s)(from_s):
        amount, reached = piece.amount(), 0.0
        while reached + need <= amount:
            reached += need
            yield piece.reach(reached)
            need = next(steps)
        need -= amount - reached


def _from(pieces: Iterator[Piece], from_s: float) -> Iterator[Piece]:
    for piece in pieces:
        if piece.end_s <= from_s:
            continue
        if piece.start_s < from_s:
            yield piece._replace(start_s=from_s, start_rate=piece.rate_at(from_s))
        else:
            yield piece


def _endless(curve: Curve, from_s: float) -> Iterator[Piece]:
    end_s = from_s
    for piece in curve(from_s):
        yield piece
        end_s = piece.end_s
    if end_s < math.inf:
        yield Piece(end_s, math.inf, 0.0, 0.0)


def _sum(tracks: list[Iterator[Piece]], from_s: float) -> Iterator[Piece]:
    current = [next(track) for track in tracks]
    start_s = from_s
    while current:
        end_s = min(piece.end_s for piece in current)
        first = sum(piece.rate_at(start_s) for piece in current)
        if end_s == math.inf:
            yield Piece(start_s, end_s, first, first)
            return
        yield Piece(start_s, end_s, first, sum(piece.rate_at(end_s) for piece in current))
        start_s = end_s
        for index, piece in enumerate(current):
            if piece.end_s <= end_s:
                current[index] = next(tracks[index])
