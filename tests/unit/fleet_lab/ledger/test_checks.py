"""What was measured decides; what was not measured never passes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet_lab.ledger.checks import Check, Facts, judge_all
from fleet_lab.ledger.histogram import Histogram
from fleet_lab.report.model import CheckResult, Offender, Series, Span


def histogram(*values_s: float) -> Histogram:
    made = Histogram()
    for value_s in values_s:
        made.record(value_s)
    return made


FACTS = Facts(
    counts={"sent": 1000, "answered": 990, "late": 2, "lost": 3, "connected": 20},
    latencies={"reply": histogram(0.010, 0.020, 0.030), "lag": Histogram()},
    series=Series(
        sent=(10,) * 30,
        answered=(10,) * 10 + (0,) * 5 + (4, 6) + (10,) * 13,
        upstream=(10,) * 10 + (0,) * 5 + (40, 3, 8) + (10,) * 12,
        connected=(20,) * 10 + (0,) * 5 + (20,) * 15,
        p50_s=(0.010,) * 10 + (None,) * 5 + (0.010,) * 15,
        p99_s=(0.020,) * 10 + (None,) * 5 + (0.300,) + (0.020,) * 14,
    ),
    ribbon=(Span("outage", 10.0, 15.2, "fault"),),
    duration_s=10.0,
    offenders=(Offender("lost", "cars/3", 17, "never seen"), Offender("late", "cars/4", 1, "slow")),
)


@pytest.mark.parametrize(
    ("text", "is_passed", "measured"),
    [
        ("sent == 1000", True, "sent = 1000"),
        ("lost == 0", False, "lost = 3"),
        ("late / sent < 0.1%", False, "late / sent = 0.2 %"),
        ("late / sent <= 0.2%", True, "late / sent = 0.2 %"),
        ("p50 < 25ms", True, "p50 = 20 ms"),
        ("max < 25ms", False, "max = 30 ms"),
        ("min >= 10ms", True, "min = 10 ms"),
        ("rate of sent == 100/s", True, "rate of sent = 100.0/s"),
        ("answered < sent", True, "answered = 990, sent = 1000"),
        ("sent > 0 and lost < 2", False, "sent = 1000, lost = 3"),
        ("always connected == 20", False, "connected = 0 in second 10"),
        ("always connected == 20 except during outage", True, "in none of 23 seconds"),
        ("always connected == 0 during outage", False, "connected = 20 in second 15"),
        ("never p99 > 200ms", False, "p99 = 300 ms in second 15"),
        ("eventually upstream >= 40", True, "upstream = 40 in second 15"),
        ("eventually upstream >= 41", False, "in none of 29 seconds"),
        ("within 2s after outage", False, "after 2.8 s"),
        ("within 3s after outage", True, "after 2.8 s"),
        ("within 1s after outage: upstream >= 40", True, "after 0.8 s"),
        ("within 9s after outage: upstream >= 41", False, "never until the end"),
    ],
)
def test_a_check_is_judged_and_names_what_was_measured(text, is_passed, measured):
    result = Check(text).judge(FACTS)
    assert (result.text, result.is_passed, result.measured) == (text, is_passed, measured)


@pytest.mark.parametrize(
    ("text", "explanation"),
    [
        ("duplicated == 0", "'duplicated' was not judged"),
        ("p99 of lag < 1ms", "no lag latency was recorded"),
        ("p99 of upstream < 1s", "no upstream latency was recorded"),
        ("late / connected < 1%", "connected is 0"),
        ("within 15s after restart", "no step named 'restart' happened (there were: 'outage')"),
        ("always p99 < 1s during restart", "no step named 'restart'"),
        ("rate of sent > 1/s", "the run had no duration"),
    ],
)
def test_what_was_not_measured_does_not_pass(text, explanation):
    facts = replace(FACTS, counts={**FACTS.counts, "connected": 0}, duration_s=0.0)
    result = Check(text).judge(facts)
    assert (result.is_passed, result.measured) == (False, "not measured")
    assert explanation in result.explanation


@pytest.mark.parametrize("end_s", [None, 31.0])
def test_a_step_that_outlasts_the_run_has_no_recovery(end_s):
    facts = replace(FACTS, ribbon=(Span("outage", 10.0, end_s),))
    result = Check("within 15s after outage").judge(facts)
    assert (result.is_passed, result.measured) == (False, "not measured")


def test_every_occurrence_of_a_step_must_recover():
    spans = (Span("cut", 5.0, 6.0), Span("cut", 10.0, 15.2))
    facts = replace(FACTS, ribbon=spans)
    assert Check("within 1s after cut").judge(facts).measured == "after 2.8 s"


def test_recovery_from_nothing_is_not_measured():
    facts = replace(FACTS, ribbon=(Span("early", 0.0, 1.0),))
    assert Check("within 9s after early").judge(facts).measured == "not measured"


def test_offenders_of_the_failed_words_are_named():
    assert Check("lost == 0").judge(FACTS).explanation == "cars/3 attempt 17: never seen"
    assert Check("lost == 3").judge(FACTS).explanation == ""


def test_many_offenders_are_cut_short():
    many = tuple(Offender("lost", f"cars/{n}", None, "gone") for n in range(5))
    explanation = Check("lost == 0").judge(replace(FACTS, offenders=many)).explanation
    assert explanation == "cars/0: gone; cars/1: gone; cars/2: gone; …"


def test_checks_are_judged_in_order():
    results = judge_all([Check("sent > 0"), Check("lost == 0")], FACTS)
    assert [type(result) for result in results] == [CheckResult, CheckResult]
    assert [result.is_passed for result in results] == [True, False]


def test_checks_are_equal_by_their_text():
    assert Check("lost == 0") == Check("lost == 0")
    assert len({Check("lost == 0"), Check("lost == 0"), Check("late == 0")}) == 2
    assert repr(Check("lost == 0")) == "Check('lost == 0')"
