"""The verdict put together."""

from __future__ import annotations

import pytest

from fleet_lab.ledger.histogram import Histogram
from fleet_lab.ledger.tally import Tally
from fleet_lab.ledger.verdict import MAX_BUCKETS, Heard, Verdict, distribution, make_verdict
from fleet_lab.report.model import FAULTS, WORDS


def made(tally: Tally, *, is_tapped: bool = True, is_final: bool = True) -> Verdict:
    names = ("reply", "lag", "upstream", "acknowledgement")
    heard = Heard(sent=10, answered=9, upstream=5)
    latencies = {name: Histogram() for name in names}
    return make_verdict(tally, heard, latencies, is_tapped=is_tapped, is_final=is_final)


def test_every_word_is_judged_at_the_end_of_a_tapped_run():
    verdict = made(Tally())
    assert list(verdict.counts) == list(WORDS)
    assert (verdict.counts["sent"], verdict.counts["answered"]) == (10, 9)
    assert verdict.is_clean


@pytest.mark.parametrize("word", FAULTS)
def test_any_fault_makes_it_unclean(word):
    tally = Tally()
    tally.blame(word, "d", 1, "why")
    verdict = made(tally)
    assert not verdict.is_clean
    assert [each.word for each in verdict.offenders] == [word]


@pytest.mark.parametrize("word", [word for word in WORDS if word not in FAULTS])
def test_no_other_word_does(word):
    tally = Tally()
    tally.add(word)
    assert made(tally).is_clean


def test_hops_say_where_statuses_were_lost():
    tally = Tally()
    tally.add("lost", 3)
    tally.add("lost_upstream", 1)
    flows = [(hop.entered, hop.left, hop.lost) for hop in made(tally).hops]
    assert flows == [(10, 9, 0), (9, 7, 2), (7, 6, 1)]
    assert made(tally, is_final=False).hops == ()
    assert made(tally, is_tapped=False).hops == ()


def test_a_distribution_is_small_and_complete():
    histogram = Histogram()
    for step in range(5000):
        histogram.record(0.0001 * 1.003**step % 10)
    found = distribution("reply", histogram)
    assert len(found.buckets) <= MAX_BUCKETS
    assert sum(bucket.count for bucket in found.buckets) == found.count == 5000
    assert sorted(found.buckets, key=lambda bucket: bucket.upper_s) == list(found.buckets)
    assert found.min_s <= found.p50_s <= found.p90_s <= found.p99_s <= found.p999_s <= found.max_s
    assert [each.name for each in made(Tally()).distributions()] == [
        "reply", "lag", "upstream", "acknowledgement",
    ]  # fmt: skip


def test_what_was_not_recorded_is_none():
    assert distribution("lag", Histogram()).p99_s is None
