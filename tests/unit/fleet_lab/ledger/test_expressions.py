"""The language of checks: what is read, and what is said about anything else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_lab.errors import EXIT_USAGE, LabError
from fleet_lab.ledger.expressions import (
    Comparison,
    Count,
    Number,
    Operand,
    Overall,
    Percentile,
    PerSecond,
    Rate,
    Unit,
    Within,
    parse,
)


def only(text: str) -> Comparison:
    expression = parse(text)
    assert isinstance(expression, Overall)
    (comparison,) = expression.comparisons
    return comparison


@pytest.mark.parametrize(
    ("text", "left", "sign", "right"),
    [
        ("lost == 0", Operand(Count("lost")), "==", Operand(Number(0, Unit.COUNT))),
        (
            "late / sent < 0.1%",
            Operand(Count("late"), Count("sent")),
            "<",
            Operand(Number(pytest.approx(0.001), Unit.RATIO)),
        ),
        (
            "late/sent<0.001",
            Operand(Count("late"), Count("sent")),
            "<",
            Operand(Number(0.001, Unit.RATIO)),
        ),
        (
            "p99 < 20ms",
            Operand(Percentile("p99", 99.0, "reply")),
            "<",
            Operand(Number(pytest.approx(0.02), Unit.TIME)),
        ),
        (
            "p999 of upstream <= 1.5s",
            Operand(Percentile("p999", 99.9, "upstream")),
            "<=",
            Operand(Number(1.5, Unit.TIME)),
        ),
        (
            "max lag > 250us",
            Operand(Percentile("max", 100.0, "lag")),
            ">",
            Operand(Number(pytest.approx(0.00025), Unit.TIME)),
        ),
        (
            "p50 of round_trip != 1m",
            Operand(Percentile("p50", 50.0, "reply")),
            "!=",
            Operand(Number(60.0, Unit.TIME)),
        ),
        (
            "rate of answered >= 1000/s",
            Operand(Rate("answered")),
            ">=",
            Operand(Number(1000.0, Unit.RATE)),
        ),
        ("answered == sent", Operand(Count("answered")), "==", Operand(Count("sent"))),
        ("1e3 < sent", Operand(Number(1000.0, Unit.COUNT)), "<", Operand(Count("sent"))),
    ],
)
def test_a_comparison_is_read(text, left, sign, right):
    comparison = only(text)
    assert (comparison.left, comparison.sign, comparison.right) == (left, sign, right)
    assert comparison.text == text


def test_comparisons_are_joined_by_and():
    expression = parse("lost == 0 and p99 < 20ms")
    assert isinstance(expression, Overall)
    assert [each.text for each in expression.comparisons] == ["lost == 0", "p99 < 20ms"]


def test_seconds_may_be_chosen_by_steps():
    expression = parse("always connected == 20 except during outage, 'second cut'")
    assert isinstance(expression, PerSecond)
    assert expression.quantifier == "always"
    assert (expression.during, expression.is_except) == (("outage", "second cut"), True)
    during = parse("never p99 > 50ms during outage")
    assert isinstance(during, PerSecond)
    assert (during.during, during.is_except) == (("outage",), False)


def test_recovery_is_within_a_time_after_a_step():
    assert parse("within 15s after outage") == Within(15.0, "outage")
    expression = parse('within 500ms after "kill gateway": rate of answered > 100/s')
    assert isinstance(expression, Within)
    assert (expression.limit_s, expression.step) == (0.5, "kill gateway")
    assert expression.comparison is not None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected a word or a number, found the end"),
        ("lots == 0", "did you mean 'lost'?"),
        ("lost", "expected one of == != < <= > >=, found the end"),
        ("lost == 0 0", "expected the end, found '0'"),
        ("lost == 20ms", "compares a count with something else; write a plain number"),
        ("p99 < 20", "write for example 20ms"),
        ("rate of sent > 5", "write for example 100/s"),
        ("late / sent < 5ms", "compares"),
        ("late / p99 < 1", "a count on both sides of /"),
        ("p99 of upstraem < 1s", "did you mean 'upstream'?"),
        ("within 15 after outage", "expected a duration such as 15s, found '15'"),
        ("within 15s outage", "expected 'after', found 'outage'"),
        ("within 15s after", "expected the name of a step, found the end"),
        ("always lost == 0", "'lost' is not known per second; sent, answered"),
        ("always p99 of lag < 1ms", "'p99 of lag' is not known per second"),
        ("lost == __import__('os')", "cannot read"),
        ("lost == exec", "expected a word of the verdict, found 'exec'"),
        ("lost == 0; drop", "cannot read ';'"),
        ("5parsecs > sent", "cannot read"),
        ("lost == " + "9" * 600, "longer than 500 characters"),
    ],
)
def test_anything_else_is_one_clear_line(text, problem):
    with pytest.raises(LabError) as caught:
        parse(text)
    assert problem in caught.value.text
    assert "\n" not in caught.value.text
    assert caught.value.exit_code == EXIT_USAGE


WORDS = [
    "lost", "sent", "p99", "of", "upstream", "rate", "always", "never", "within", "after",
    "during", "except", "and", "outage", "==", "<", ">", "/", ":", ",", "5", "5ms", "15s", "1%",
    "3/s", "'a b'",
]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join))
def test_any_text_is_read_or_refused(text):
    try:
        expression = parse(text)
    except LabError:
        return
    assert parse(f"  {text}  ") == expression
