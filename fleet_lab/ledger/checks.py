"""Checks: a line of `expressions.py` judged on what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fleet_lab.ledger.expressions import (
    OPERATORS,
    Comparison,
    Count,
    Number,
    Operand,
    Overall,
    Percentile,
    PerSecond,
    Rate,
    Term,
    Unit,
    Within,
    parse,
)
from fleet_lab.ledger.histogram import Histogram
from fleet_lab.ledger.verdict import Verdict
from fleet_lab.report.model import CheckResult, Offender, Series, Span

RECOVERED: Final = 0.5
"""Running again: at least half of what it was on average before, answered and upstream alike."""
BEFORE_S: Final = 10
"""So many seconds before a step are what "before" means."""
SHOWN_OFFENDERS: Final = 3


@dataclass(frozen=True, slots=True)
class Facts:
    """What checks are judged on. A count that is absent was not measured."""

    counts: Mapping[str, int]
    latencies: Mapping[str, Histogram] = field(default_factory=dict)
    series: Series = field(default_factory=Series)
    ribbon: Sequence[Span] = ()
    duration_s: float = 0.0
    offenders: Sequence[Offender] = ()


def facts_of(verdict: Verdict, series: Series, ribbon: Sequence[Span], duration_s: float) -> Facts:
    """The facts of a run, or of a run so far."""
    counts = {**verdict.extras, **verdict.counts}
    counts["refused"] = sum(verdict.refused.values())
    counts["closed"] = sum(verdict.closed.values())
    if "duplicated" not in verdict.counts:
        del counts["upstream"]  # nobody looked there
    return Facts(counts, verdict.latencies, series, ribbon, duration_s, verdict.offenders)


class _NotMeasuredError(Exception):
    """The text says what is missing."""


class Check:
    """One check, read when it is made.

    Raises:
        LabError: the text is no check; one line, exit code 2.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.expression = parse(text)

    def __repr__(self) -> str:
        return f"Check({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Check) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def judge(self, facts: Facts) -> CheckResult:
        """Whether it holds, with what was measured. What was not measured does not hold."""
        try:
            match self.expression:
                case Overall(comparisons=comparisons):
                    return self._judge_overall(comparisons, facts)
                case PerSecond() as per_second:
                    return self._judge_seconds(per_second, facts)
                case Within() as within:
                    return self._judge_within(within, facts)
        except _NotMeasuredError as error:
            return CheckResult(self.text, is_passed=False, measured="not measured",
                               explanation=str(error))  # fmt: skip

    def _judge_overall(self, comparisons: tuple[Comparison, ...], facts: Facts) -> CheckResult:
        values = [_overall(each, facts) for each in comparisons]
        is_passed = all(is_true for is_true, _ in values)
        measured = ", ".join(text for _, text in values)
        names = {name for each in comparisons for name in _count_names(each)}
        explanation = "" if is_passed else _named(facts.offenders, names)
        return CheckResult(self.text, is_passed, measured, explanation)

    def _judge_seconds(self, check: PerSecond, facts: Facts) -> CheckResult:
        judged = 0
        holding: list[tuple[int, str]] = []
        failing: list[tuple[int, str]] = []
        for second in _seconds(check, facts):
            found = _in_second(check.comparison, facts.series, second)
            if found is not None:
                judged += 1
                (holding if found[0] else failing).append((second, found[1]))
        if not judged:
            raise _NotMeasuredError("no second of the run has this measure")
        witnesses = {"always": failing, "never": holding, "eventually": holding}[check.quantifier]
        is_passed = bool(witnesses) == (check.quantifier == "eventually")
        if not witnesses:
            return CheckResult(self.text, is_passed, f"in none of {judged} seconds")
        second, text = witnesses[0]
        measured = f"{text} in second {second}"
        more = f"{len(witnesses)} of {judged} seconds" if not is_passed else ""
        return CheckResult(self.text, is_passed, measured, more)

    def _judge_within(self, check: Within, facts: Facts) -> CheckResult:
        after_s: list[float] = []
        for span in _spans(facts.ribbon, check.step):
            if span.end_s is None or span.end_s >= len(facts.series.sent):
                raise _NotMeasuredError(f"the run was over before {check.step!r} was")
            found = _first_second(check, facts.series, span, span.end_s)
            if found is None:
                return CheckResult(self.text, is_passed=False, measured="never until the end")
            after_s.append(found)
        slowest_s = max(after_s)
        return CheckResult(self.text, slowest_s <= check.limit_s, f"after {slowest_s:.1f} s")


def judge_all(checks: Iterable[Check], facts: Facts) -> tuple[CheckResult, ...]:
    """Every check, in order."""
    return tuple(check.judge(facts) for check in checks)


# Over the whole run


def _overall(comparison: Comparison, facts: Facts) -> tuple[bool, str]:
    left, right = _value(comparison.left, facts), _value(comparison.right, facts)
    return OPERATORS[comparison.sign](left, right), _shown(comparison, left, right)


def _value(operand: Operand, facts: Facts) -> float:
    value = _term_value(operand.term, facts)
    if operand.divisor is None:
        return value
    divisor = _term_value(operand.divisor, facts)
    if not divisor:
        raise _NotMeasuredError(f"{operand.divisor.name} is 0")
    return value / divisor


def _term_value(term: Term, facts: Facts) -> float:
    match term:
        case Number(value=value):
            return value
        case Count(name=name):
            return _count(facts, name)
        case Rate(name=name):
            if facts.duration_s <= 0:
                raise _NotMeasuredError("the run had no duration")
            return _count(facts, name) / facts.duration_s
        case Percentile(percent=percent, latency=latency):
            histogram = facts.latencies.get(latency)
            value_s = histogram.min_s if histogram is not None and percent == 0 else None
            if histogram is not None and percent > 0:
                value_s = histogram.percentile_s(percent)
            if value_s is None:
                raise _NotMeasuredError(f"no {latency} latency was recorded")
            return value_s


def _count(facts: Facts, name: str) -> int:
    if name not in facts.counts:
        raise _NotMeasuredError(f"{name!r} was not judged; is there a tap upstream?")
    return facts.counts[name]


# Second by second


def _seconds(check: PerSecond, facts: Facts) -> Iterator[int]:
    """Whole seconds that the check speaks about; the last one of a run is never complete."""
    spans = [span for name in check.during for span in _spans(facts.ribbon, name)]
    for second in range(len(facts.series.sent) - 1):
        is_inside = any(
            span.start_s < second + 1 and (span.end_s is None or span.end_s >= second)
            for span in spans
        )
        if not check.during or is_inside != check.is_except:
            yield second


def _in_second(comparison: Comparison, series: Series, second: int) -> tuple[bool, str] | None:
    left = _second_value(comparison.left, series, second)
    right = _second_value(comparison.right, series, second)
    if left is None or right is None:
        return None
    return OPERATORS[comparison.sign](left, right), _shown(comparison, left, right)


def _second_value(operand: Operand, series: Series, second: int) -> float | None:
    value = _column_value(operand.term, series, second)
    if operand.divisor is None or value is None:
        return value
    divisor = _column_value(operand.divisor, series, second)
    return value / divisor if divisor else None


def _column_value(term: Term, series: Series, second: int) -> float | None:
    match term:
        case Number(value=value):
            return value
        case Percentile(percent=percent):
            return (series.p99_s if percent > 50 else series.p50_s)[second]  # noqa: PLR2004  # the two there are
        case Count(name=name) | Rate(name=name):
            columns: dict[str, tuple[int, ...]] = {
                "sent": series.sent, "answered": series.answered,
                "upstream": series.upstream, "connected": series.connected,
            }  # fmt: skip
            return columns[name][second]


def _spans(ribbon: Sequence[Span], name: str) -> list[Span]:
    found = [span for span in ribbon if span.name == name]
    if not found:
        known = ", ".join(sorted({repr(span.name) for span in ribbon})) or "none"
        raise _NotMeasuredError(f"no step named {name!r} happened (there were: {known})")
    return found


def _first_second(check: Within, series: Series, span: Span, end_s: float) -> float | None:
    """How long after `end_s` the first second ended in which it holds."""
    for second in range(int(end_s), len(series.sent)):
        if check.comparison is None:
            holds = _is_recovered(series, span, second)
        else:
            found = _in_second(check.comparison, series, second)
            holds = found is not None and found[0]
        if holds:
            return max(second + 1 - end_s, 0.0)
    return None


def _is_recovered(series: Series, span: Span, second: int) -> bool:
    start = int(span.start_s)
    before = slice(max(start - BEFORE_S, 0), start)
    wanted = []
    for column in (series.answered, series.upstream):
        usual = column[before]
        if any(usual):
            wanted.append(column[second] >= RECOVERED * sum(usual) / len(usual))
    if not wanted:
        raise _NotMeasuredError(f"nothing was running before {span.name!r}")
    return all(wanted)


# For people


def _shown(comparison: Comparison, left: float, right: float) -> str:
    shown = []
    for operand, value in ((comparison.left, left), (comparison.right, right)):
        if not isinstance(operand.term, Number):
            shown.append(f"{_operand_name(operand)} = {_in_unit(value, operand.unit)}")
    return ", ".join(shown) or "no measure in it"


def _operand_name(operand: Operand) -> str:
    divisor = f" / {operand.divisor.name}" if operand.divisor is not None else ""
    match operand.term:
        case Percentile(name=name, latency=latency):
            return name if latency == "reply" else f"{name} of {latency}"
        case Rate(name=name):
            return f"rate of {name}"
        case Count(name=name):
            return f"{name}{divisor}"
        case Number():
            return ""


def _in_unit(value: float, unit: Unit) -> str:
    match unit:
        case Unit.TIME:
            return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.3g} ms"
        case Unit.RATE:
            return f"{value:.1f}/s"
        case Unit.RATIO:
            return f"{value * 100:.4g} %"
        case Unit.COUNT:
            return f"{value:g}" if value < 1e6 else f"{value:.0f}"  # noqa: PLR2004  # from here g rounds


def _count_names(comparison: Comparison) -> Iterator[str]:
    for operand in (comparison.left, comparison.right):
        if isinstance(operand.term, Count):
            yield operand.term.name


def _named(offenders: Sequence[Offender], words: set[str]) -> str:
    guilty = [each for each in offenders if each.word in words]
    shown = [
        f"{each.device} attempt {each.number}: {each.explanation}" if each.number is not None
        else f"{each.device}: {each.explanation}"
        for each in guilty[:SHOWN_OFFENDERS]
    ]  # fmt: skip
    return "; ".join([*shown, "…"] if len(guilty) > SHOWN_OFFENDERS else shown)
