"""The language of checks: one line of words and numbers, read without evaluating anything.

    lost == 0                         a count
    late / sent < 0.1%                a ratio
    p99 < 20ms                        a percentile of the replies; also p50 p90 p999 min max
    p99 of upstream < 1s              of reply, upstream, acknowledgement or lag
    rate of answered > 1000/s         over the whole run
    always connected == 20            in every second; also never, eventually
    always p99 < 50ms except during outage
    within 15s after outage           running again as before (`checks.RECOVERED`)
    within 5s after restart: answered > 100/s

Comparisons may be joined by `and`. Names of steps that are no plain words stand in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from operator import eq, ge, gt, le, lt, ne
from typing import Final, TypeAlias

from fleet_lab.errors import EXIT_USAGE, LabError, nearest
from fleet_lab.report.model import WORDS

LATENCIES: Final = ("reply", "upstream", "acknowledgement", "lag")
ALIASES: Final = {"round_trip": "reply", "acks": "acknowledgement"}
PERCENTILES: Final = {
    "min": 0.0, "p50": 50.0, "median": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9,
    "max": 100.0,
}  # fmt: skip
EXTRAS: Final = (
    "connected", "connects", "upstream", "foreign", "unacknowledged", "redelivered", "stray",
    "unusable", "forgotten", "refused", "closed",
)  # fmt: skip
COUNTS: Final = (*WORDS, *EXTRAS)
COLUMNS: Final = ("sent", "answered", "upstream", "connected")
"""Counts that exist per second."""
SERIES_PERCENTILES: Final = ("p50", "median", "p99")

OPERATORS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "==": eq, "!=": ne, "<=": le, ">=": ge, "<": lt, ">": gt,
}  # fmt: skip
_UNITS: Final = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<number>\d+(?:\.\d+)?(?:e\d+)?)(?P<unit>us|µs|ms|s|m|h|%|/s)?(?![\w.])
      | (?P<word>[A-Za-z_][\w.-]*)
      | (?P<quoted>"[^"]*"|'[^']*')
      | (?P<sign>==|!=|<=|>=|<|>|/|:|,)
    )""",
    re.VERBOSE,
)
MAX_CHARS: Final = 500


class Unit(Enum):
    """What kind of number it is; only numbers of one kind can be compared."""

    COUNT = auto()
    TIME = auto()
    RATE = auto()
    RATIO = auto()


@dataclass(frozen=True, slots=True)
class Number:
    """A constant, in seconds, per second or as a fraction."""

    value: float
    unit: Unit


@dataclass(frozen=True, slots=True)
class Count:
    """How many."""

    name: str


@dataclass(frozen=True, slots=True)
class Rate:
    """How many per second."""

    name: str


@dataclass(frozen=True, slots=True)
class Percentile:
    """A duration that `percent` of all did not exceed."""

    name: str
    percent: float
    latency: str


Term: TypeAlias = Number | Count | Rate | Percentile


@dataclass(frozen=True, slots=True)
class Operand:
    """A term, or the ratio of two counts."""

    term: Term
    divisor: Count | None = None

    @property
    def unit(self) -> Unit:
        if self.divisor is not None:
            return Unit.RATIO
        match self.term:
            case Number(unit=unit):
                return unit
            case Count():
                return Unit.COUNT
            case Rate():
                return Unit.RATE
            case Percentile():
                return Unit.TIME


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two operands of one kind."""

    left: Operand
    sign: str
    right: Operand
    text: str


@dataclass(frozen=True, slots=True)
class Overall:
    """At the end, or now."""

    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True)
class PerSecond:
    """Second by second: `always`, `never` or `eventually`."""

    quantifier: str
    comparison: Comparison
    during: tuple[str, ...] = ()
    is_except: bool = False


@dataclass(frozen=True, slots=True)
class Within:
    """Soon after a step of the scenario ended; without a comparison: running again as before."""

    limit_s: float
    step: str
    comparison: Comparison | None = None


Expression: TypeAlias = Overall | PerSecond | Within


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int
    value: float = 0.0
    unit: str = ""


def parse(text: str) -> Expression:
    """Read one check.

    Raises:
        LabError: with exit code 2; one line that says what was expected, and the nearest word.
    """
    parser = _Parser(text)
    return parser.expression()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._at = 0

    def expression(self) -> Expression:
        match self._peek().text:
            case "within":
                found: Expression = self._within()
            case "always" | "never" | "eventually":
                found = self._per_second()
            case _:
                found = Overall(tuple(self._comparisons()))
        if self._peek().kind != "end":
            raise self._wrong("the end")
        return found

    def _within(self) -> Within:
        self._next()
        limit = self._next()
        if limit.kind != "number" or limit.unit not in _UNITS:
            raise self._wrong("a duration such as 15s", limit)
        self._keyword("after")
        step = self._name()
        if self._peek().text != ":":
            return Within(limit.value, step)
        self._next()
        return Within(limit.value, step, _known_per_second(self._comparison(), self._text))

    def _per_second(self) -> PerSecond:
        quantifier = self._next().text
        comparison = _known_per_second(self._comparison(), self._text)
        is_except = self._peek().text == "except"
        if is_except:
            self._next()
        if not is_except and self._peek().text != "during":
            return PerSecond(quantifier, comparison)
        self._keyword("during")
        steps = [self._name()]
        while self._peek().text == ",":
            self._next()
            steps.append(self._name())
        return PerSecond(quantifier, comparison, tuple(steps), is_except)

    def _comparisons(self) -> list[Comparison]:
        found = [self._comparison()]
        while self._peek().text == "and":
            self._next()
            found.append(self._comparison())
        return found

    def _comparison(self) -> Comparison:
        start = self._peek().start
        left = self._operand()
        sign = self._next()
        if sign.text not in OPERATORS:
            raise self._wrong("one of == != < <= > >=", sign)
        right = self._operand()
        text = self._text[start : self._tokens[self._at - 1].end].strip()
        left, right = _with_units(left, right), _with_units(right, left)
        if left.unit is not right.unit:
            raise _problem(self._text, f"{text!r} {_HINTS[_measured(left, right)]}")
        return Comparison(left, sign.text, right, text)

    def _operand(self) -> Operand:
        term = self._term()
        if self._peek().text != "/":
            return Operand(term)
        slash = self._next()
        divisor = self._term()
        if not isinstance(term, Count) or not isinstance(divisor, Count):
            raise self._wrong("a count on both sides of /", slash)
        return Operand(term, divisor)

    def _term(self) -> Term:
        token = self._next()
        if token.kind == "number":
            return _number(token)
        if token.kind != "word":
            raise self._wrong("a word or a number", token)
        if token.text in PERCENTILES:
            return Percentile(token.text, PERCENTILES[token.text], self._latency())
        if token.text == "rate":
            self._keyword("of")
            return Rate(self._count(self._next()))
        return Count(self._count(token))

    def _latency(self) -> str:
        is_told = self._peek().text == "of"
        if is_told:
            self._next()
        name = ALIASES.get(self._peek().text, self._peek().text)
        if name in LATENCIES:
            self._next()
            return name
        if is_told:
            raise self._wrong(f"one of {', '.join(LATENCIES)}{nearest(name, LATENCIES)}")
        return "reply"

    def _count(self, token: _Token) -> str:
        if token.text not in COUNTS:
            known = (*COUNTS, *PERCENTILES)
            raise self._wrong(f"a word of the verdict{nearest(token.text, known)}", token)
        return token.text

    def _name(self) -> str:
        token = self._next()
        if token.kind == "quoted":
            return token.text[1:-1]
        if token.kind != "word":
            raise self._wrong("the name of a step", token)
        return token.text

    def _keyword(self, word: str) -> None:
        token = self._next()
        if token.text != word:
            raise self._wrong(repr(word), token)

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _next(self) -> _Token:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _wrong(self, expected: str, token: _Token | None = None) -> LabError:
        found = token or self._peek()
        there = "the end" if found.kind == "end" else repr(found.text)
        return _problem(self._text, f"expected {expected}, found {there}")


_HINTS: Final = {
    Unit.TIME: "compares a duration with something else; write for example 20ms or 1.5s",
    Unit.RATE: "compares a rate with something else; write for example 100/s",
    Unit.RATIO: "compares a ratio with something else; write for example 0.1%",
    Unit.COUNT: "compares a count with something else; write a plain number",
}


def _measured(left: Operand, right: Operand) -> Unit:
    return right.unit if isinstance(left.term, Number) else left.unit


def _with_units(operand: Operand, other: Operand) -> Operand:
    """A plain number may stand for a ratio: `late / sent < 0.001`."""
    match operand.term:
        case Number(value=value, unit=Unit.COUNT) if other.unit is Unit.RATIO:
            return Operand(Number(value, Unit.RATIO))
    return operand


def _number(token: _Token) -> Number:
    if token.unit in _UNITS:
        return Number(token.value, Unit.TIME)
    return Number(token.value, {"/s": Unit.RATE, "%": Unit.RATIO}.get(token.unit, Unit.COUNT))


def _known_per_second(comparison: Comparison, text: str) -> Comparison:
    for operand in (comparison.left, comparison.right):
        for term in (operand.term, operand.divisor):
            match term:
                case Count(name=name) | Rate(name=name) if name not in COLUMNS:
                    raise _problem(text, f"{name!r} is not known per second{_columns()}")
                case Percentile(name=name, latency=latency) if (
                    latency != "reply" or name not in SERIES_PERCENTILES
                ):
                    raise _problem(
                        text, f"'{name} of {latency}' is not known per second{_columns()}"
                    )
    return comparison


def _columns() -> str:
    return f"; {', '.join((*COLUMNS, 'p50', 'p99'))} are"


def _tokens(text: str) -> list[_Token]:
    if len(text) > MAX_CHARS:
        raise _problem(text[:40] + "…", f"longer than {MAX_CHARS} characters")
    tokens, at = [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise _problem(text, f"cannot read {text[at:].strip().split()[0]!r}")
        tokens.append(_token(match))
        at = match.end()
    return [*tokens, _Token("end", "", len(text), len(text))]


def _token(match: re.Match[str]) -> _Token:
    kind = str(match.lastgroup if match.lastgroup != "unit" else "number")
    start = match.start(kind)
    if kind != "number":
        return _Token(kind, match[kind], start, match.end())
    unit = match["unit"] or ""
    scale = 0.01 if unit == "%" else _UNITS.get(unit, 1.0)
    return _Token(kind, match[0].strip(), start, match.end(), float(match["number"]) * scale, unit)


def _problem(text: str, what: str) -> LabError:
    return LabError(f"check {text!r}: {what}", EXIT_USAGE)
