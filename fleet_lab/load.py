"""Load shapes: how many statuses per second a fleet sends, and when each of them is due.

Pure and seeded. A load says when statuses are due, whatever the gateway does (open model); only
`Load.closed()` waits for replies. Shapes chain with `.then()` and add with `+`:

    Load.ramp("0 -> 500/s", over="60s").then(Load.wave(period="2m", low="100/s", high="800/s"))

A rate is a number of statuses per second of the whole fleet or text: `500/s`, `90/m`,
`1/s each` (per device: it grows with the fleet).
"""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from fleet_lab.curve import (
    Curve,
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
from fleet_lab.durations import parse_duration_s
from fleet_lab.errors import EXIT_CONFIG, LabError
from fleet_lab.import_path import import_name, import_object

RateText: TypeAlias = str | float
DurationText: TypeAlias = str | float

_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)(?:\s*/\s*(s|m|h))?(\s+each)?")
_PER_S: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
_WAVE_PIECES: Final = 64
"""Straight pieces per period of a wave: off the true curve by less than 0.2 % of its height."""


class Uniform(Protocol):
    """A seeded generator, such as `random.Random` or the lab's `Stream`."""

    def random(self) -> float:
        """From 0 up to but not including 1."""
        ...


@dataclass(frozen=True, slots=True)
class Rate:
    """Statuses per second, of the fleet or of each device."""

    per_s: float
    is_each: bool = False


def parse_rate(rate: RateText) -> Rate:
    """Read `500/s`, `90/m`, `1/s each`, `20` (per second).

    Raises:
        LabError: anything else; it shows what would be right.
    """
    if isinstance(rate, int | float) and not isinstance(rate, bool):
        if 0 <= rate < math.inf:
            return Rate(float(rate))
    elif isinstance(rate, str) and (match := _RATE.fullmatch(rate.strip())):
        return Rate(float(match[1]) / _PER_S[match[2] or "s"], match[3] is not None)
    raise _bad(f"{rate!r} is no rate; write for example 500/s, 90/m or 1/s each")


@dataclass(frozen=True, slots=True)
class Term:
    """One curve of a load, and what its rates mean."""

    curve: Curve
    is_each: bool = False
    is_random: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """A shape. Immutable; made by the class methods.

    Attributes:
        terms: the curves that add up to it.
        duration_s: where `.then()` goes on; infinite when nothing can follow.
        plan: the same load as JSON; `parse_load(load.plan)` makes it again.
        is_closed: the closed model: the next status as soon as the reply is there.
    """

    terms: tuple[Term, ...]
    duration_s: float
    plan: Mapping[str, Any]
    is_closed: bool = False

    @classmethod
    def constant(cls, rate: RateText, lasting: DurationText | None = None) -> Load:
        """Always the same; with `lasting` silent after that."""
        duration_s = math.inf if lasting is None else _seconds(lasting)
        plan = {"shape": "constant", "rate": rate}
        if lasting is not None:
            plan["lasting"] = lasting
        one = parse_rate(rate)
        return cls((Term(cut(level(one.per_s), duration_s), one.is_each),), duration_s, plan)

    @classmethod
    def ramp(cls, rates: str, over: DurationText) -> Load:
        """From one rate to another, then level: `ramp("0 -> 500/s", over="60s")`."""
        first, arrow, last = rates.partition("->")
        if not arrow:
            raise _bad(f"{rates!r} is no ramp; write for example 0 -> 500/s")
        over_s = _seconds(over)
        (start, end), is_each = _alike(_first_rate(first, last), parse_rate(last))
        pieces = (Piece(0.0, over_s, start, end), Piece(over_s, math.inf, end, end))
        plan = {"shape": "ramp", "rates": rates, "over": over}
        return cls((Term(of_pieces(pieces), is_each),), over_s, plan)

    @classmethod
    def steps(cls, rates: Sequence[RateText], every: DurationText) -> Load:
        """One rate after the other; the last one stays."""
        if not rates:
            raise _bad("steps need at least one rate")
        width_s = _seconds(every)
        levels, is_each = _alike(*map(parse_rate, rates))
        pieces = [Piece(n * width_s, (n + 1) * width_s, r, r) for n, r in enumerate(levels)]
        end_s = len(levels) * width_s
        pieces.append(Piece(end_s, math.inf, levels[-1], levels[-1]))
        plan = {"shape": "steps", "rates": list(rates), "every": every}
        return cls((Term(of_pieces(tuple(pieces)), is_each),), end_s, plan)

    @classmethod
    def wave(
        cls,
        period: DurationText,
        low: RateText,
        high: RateText,
        lasting: DurationText | None = None,
    ) -> Load:
        """A sine between two rates, beginning at the low one."""
        period_s = _seconds(period)
        (bottom, top), is_each = _alike(parse_rate(low), parse_rate(high))
        width_s = period_s / _WAVE_PIECES
        turn = 2 * math.pi / _WAVE_PIECES
        rates = [
            bottom + (top - bottom) * (1 - math.cos(n * turn)) / 2 for n in range(_WAVE_PIECES + 1)
        ]

        def make(period_number: int) -> tuple[Piece, ...]:
            start_s = period_number * period_s
            edges = [start_s + n * width_s for n in range(_WAVE_PIECES)] + [start_s + period_s]
            return tuple(
                Piece(*times, *values)
                for times, values in zip(pairwise(edges), pairwise(rates), strict=True)
            )

        plan = {"shape": "wave", "period": period, "low": low, "high": high}
        return cls._lasting(Term(repeating(make, period_s), is_each), lasting, plan)

    @classmethod
    def bursts(
        cls,
        rate: RateText,
        every: DurationText,
        *,
        burst: DurationText = 1.0,
        jitter: float = 0.0,
        seed: int = 0,
        lasting: DurationText | None = None,
    ) -> Load:
        """Silence with a burst in every period, at its begin or up to `jitter` (0-1) of it later.

        Raises:
            LabError: a burst with its jitter does not fit into the period.
        """
        one, period_s, burst_s = parse_rate(rate), _seconds(every), _seconds(burst)
        if not 0 <= jitter <= 1 or burst_s + jitter * period_s > period_s * (1 + 1e-9):
            raise _bad(f"a burst of {burst_s:g} s with jitter {jitter:g} leaves {period_s:g} s")

        def make(number: int) -> tuple[Piece, ...]:
            start_s, end_s = number * period_s, (number + 1) * period_s
            on_s = start_s + jitter * period_s * _fraction(seed, number)
            off_s = min(on_s + burst_s, end_s)
            pieces = (
                Piece(start_s, on_s, 0.0, 0.0),
                Piece(on_s, off_s, one.per_s, one.per_s),
                Piece(off_s, end_s, 0.0, 0.0),
            )
            return tuple(piece for piece in pieces if piece.end_s > piece.start_s)

        plan = {"shape": "bursts", "rate": rate, "every": every, "burst": burst}
        plan |= {"jitter": jitter, "seed": seed}
        return cls._lasting(Term(repeating(make, period_s), one.is_each), lasting, plan)

    @classmethod
    def poisson(cls, rate: RateText | Load, lasting: DurationText | None = None) -> Load:
        """Random moments of that rate, or of another load's rates; independent of each other."""
        inner = rate if isinstance(rate, Load) else cls.constant(rate, lasting)
        terms = tuple(Term(term.curve, term.is_each, is_random=True) for term in inner.terms)
        return cls(terms, inner.duration_s, {"shape": "poisson", "rate": inner.plan})

    @classmethod
    def spike(
        cls, peak: RateText, at: DurationText, burst: DurationText, base: RateText = 0.0
    ) -> Load:
        """A base rate that jumps once, at `at` for `burst`, and comes back."""
        at_s, burst_s = _seconds(at), _seconds(burst)
        (top, bottom), is_each = _alike(parse_rate(peak), parse_rate(base))
        end_s = at_s + burst_s
        pieces = (
            Piece(0.0, at_s, bottom, bottom),
            Piece(at_s, end_s, top, top),
            Piece(end_s, math.inf, bottom, bottom),
        )
        plan = {"shape": "spike", "peak": peak, "at": at, "burst": burst, "base": base}
        return cls((Term(of_pieces(pieces), is_each),), end_s, plan)

    @classmethod
    def trace(cls, points: Sequence[Sequence[float]] | str | Path) -> Load:
        """Straight between recorded points (second, rate per second), silent after the last.

        A path names a CSV file of two columns; lines that begin with # and a header are skipped.

        Raises:
            LabError: fewer than two points, a time that does not grow, a negative rate.
        """
        rows = _read_trace(Path(points)) if isinstance(points, str | Path) else points
        fixed = [(float(at_s), float(rate)) for at_s, rate in rows]
        is_growing = all(a[0] < b[0] for a, b in pairwise(fixed))
        if len(fixed) < 2 or not is_growing or fixed[0][0] < 0 or min(r for _, r in fixed) < 0:  # noqa: PLR2004  # a line has two ends
            raise _bad("a trace needs two or more points, times that grow and no negative rate")
        pieces = [Piece(0.0, fixed[0][0], 0.0, 0.0)] if fixed[0][0] else []
        pieces += [Piece(a[0], b[0], a[1], b[1]) for a, b in pairwise(fixed)]
        plan = {"shape": "trace", "points": [list(point) for point in fixed]}
        return cls((Term(of_pieces(tuple(pieces))),), fixed[-1][0], plan)

    @classmethod
    def custom(cls, function: Callable[[float], float] | str, step: DurationText = 0.1) -> Load:
        """A function from seconds to the fleet's rate, or its import path; straight over `step`."""
        step_s = _seconds(step)
        call: Callable[[float], float] = (
            import_object(function) if isinstance(function, str) else function
        )

        def make(number: int) -> tuple[Piece, ...]:
            start_s, end_s = number * step_s, (number + 1) * step_s
            return (Piece(start_s, end_s, max(call(start_s), 0.0), max(call(end_s), 0.0)),)

        name = function if isinstance(function, str) else import_name(function)
        plan = {"shape": "custom", "function": name, "step": step}
        return cls((Term(repeating(make, step_s)),), math.inf, plan)

    @classmethod
    def closed(cls) -> Load:
        """As fast as replies come: every device sends again as soon as it may."""
        return cls((), math.inf, {"shape": "closed"}, is_closed=True)

    @classmethod
    def _lasting(cls, term: Term, lasting: DurationText | None, plan: dict[str, Any]) -> Load:
        if lasting is None:
            return cls((term,), math.inf, plan)
        duration_s = _seconds(lasting)
        ended = Term(cut(term.curve, duration_s), term.is_each)
        return cls((ended,), duration_s, plan | {"lasting": lasting})

    def then(self, other: Load) -> Load:
        """This one until its end, `other` from there on.

        Raises:
            LabError: this one never ends, or one of them is the closed model.
        """
        if self.is_closed or other.is_closed or self.duration_s == math.inf:
            raise _bad(
                f"nothing can follow {self.plan['shape']!r}: it has no end; give it one (lasting=)"
                if not other.is_closed
                else "the closed model cannot be part of another load"
            )
        end_s = self.duration_s
        first = (Term(cut(t.curve, end_s), t.is_each, t.is_random) for t in self.terms)
        second = (Term(delayed(t.curve, end_s), t.is_each, t.is_random) for t in other.terms)
        plan = {"shape": "then", "loads": [self.plan, other.plan]}
        return Load((*first, *second), end_s + other.duration_s, plan)

    def __add__(self, other: Load) -> Load:
        """Both at the same time."""
        if self.is_closed or other.is_closed:
            raise _bad("the closed model cannot be part of another load")
        duration_s = max(self.duration_s, other.duration_s)
        plan = {"shape": "sum", "loads": [self.plan, other.plan]}
        return Load((*self.terms, *other.terms), duration_s, plan)

    def rate_at(self, t_s: float, size: int = 1) -> float:
        """Statuses per second of a fleet of `size` devices."""
        return rate_at(self._curve(self.terms, size), t_s) if self.terms else 0.0

    def expected(self, until_s: float, size: int = 1) -> float:
        """How many statuses a fleet of `size` devices sends until then: the rate's integral."""
        return amount_until(self._curve(self.terms, size), until_s) if self.terms else 0.0

    def times(
        self, rng: Uniform, until_s: float = math.inf, *, size: int = 1, from_s: float = 0.0
    ) -> Iterator[float]:
        """When the fleet's statuses are due, in order; the same for the same generator."""
        regular = tuple(term for term in self.terms if not term.is_random)
        random = tuple(term for term in self.terms if term.is_random)
        tracks = []
        if regular:
            tracks.append(moments(self._curve(regular, size), from_s, until_s))
        if random:
            tracks.append(moments(self._curve(random, size), from_s, until_s, _exponential(rng)))
        return tracks[0] if len(tracks) == 1 else heapq.merge(*tracks)

    @staticmethod
    def _curve(terms: Iterable[Term], size: int) -> Curve:
        return added(
            tuple(scaled(term.curve, size) if term.is_each else term.curve for term in terms)
        )


def _exponential(rng: Uniform) -> Iterator[float]:
    while True:
        yield -math.log(1.0 - rng.random())


def _fraction(seed: int, number: int) -> float:
    """0 … 1 by splitmix64's finaliser: the same in every process, for any period at once."""
    mask = 2**64 - 1
    x = (seed * 0x9E3779B97F4A7C15 + number + 1) * 0x9E3779B97F4A7C15 & mask
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & mask
    x = (x ^ x >> 27) * 0x94D049BB133111EB & mask
    return ((x ^ x >> 31) >> 11) / 2**53


def _first_rate(first: str, last: str) -> Rate:
    """A bare number has the unit of the rate behind the arrow."""
    return parse_rate(
        first.strip() + re.sub(r"^\s*[\d.]+", "", last) if "/" not in first else first
    )


def _alike(*rates: Rate) -> tuple[list[float], bool]:
    """All rates of one shape are of the fleet or all of each device; zero is both."""
    kinds = {rate.is_each for rate in rates if rate.per_s}
    if len(kinds) > 1:
        raise _bad("either all rates of a shape are 'each' or none is")
    return [rate.per_s for rate in rates], True in kinds


def _seconds(duration: DurationText) -> float:
    if isinstance(duration, int | float) and 0 < duration < math.inf:
        return float(duration)
    try:
        return parse_duration_s(str(duration))
    except ValueError as error:
        raise _bad(str(error)) from error


def _read_trace(path: Path) -> list[tuple[float, float]]:
    rows = []
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(f"cannot read the trace {path}: {error}") from error
    for number, line in enumerate(lines, 1):
        fields = line.split(",")
        if not line.strip() or line.startswith("#"):
            continue
        try:
            rows.append((float(fields[0]), float(fields[1])))
        except (ValueError, IndexError) as error:
            if number > 1:
                raise _bad(f"{path}:{number}: {line!r} is no 'second,rate'") from error
    return rows


def _bad(text: str) -> LabError:
    return LabError(text, EXIT_CONFIG)
