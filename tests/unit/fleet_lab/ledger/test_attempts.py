"""Attempts of one device: nine bytes each, judged and forgotten from the front."""

from __future__ import annotations

import sys
from math import isnan

import pytest

from fleet_lab.ledger.attempts import (
    ANSWERED,
    BYTES_PER_ATTEMPT,
    FOLDED,
    LOST_UPSTREAM,
    MAX_JUMP,
    PUBLISHED,
    SEEN,
    SENT,
    Attempts,
)
from fleet_lab.ledger.rules import MergeRule
from fleet_lab.ledger.tally import Tally


def attempts(
    *bits: int, rule: MergeRule = MergeRule.EACH, window: int = 100, is_tapped: bool = True
) -> Attempts:
    made = Attempts("d", rule, window, is_tapped=is_tapped)
    for number, state in enumerate(bits, 1):
        made.mark_sent(number, float(number))
        made.mark(number, state)
    return made


def words(made: Attempts, last_seen: int = 0, last_seen_s: float = 0.0) -> dict[str, int]:
    tally = Tally()
    made.tally(len(made), last_seen, last_seen_s, tally)
    return dict(tally.counts)


def test_numbers_rise_and_may_leave_gaps():
    made = Attempts("d", MergeRule.EACH, 10, is_tapped=True)
    assert made.mark_sent(2, 5.0)
    assert not made.mark_sent(2, 6.0)
    assert not made.mark_sent(1, 6.0)
    assert made.mark_sent(4, 7.0)
    assert not made.mark_sent(4 + MAX_JUMP + 1, 8.0)
    assert made.highest == 4
    assert list(made) == [(1, 0), (2, SENT), (3, 0), (4, SENT)]
    assert (made.sent_s(2), made.sent_s(4)) == (5.0, 7.0)
    assert all(isnan(made.sent_s(number)) for number in (0, 1, 3, 5))


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (0, {"in_doubt": 1}),
        (SEEN, {"in_doubt": 1, "seen": 1}),
        (ANSWERED, {"lost": 1}),
        (ANSWERED | PUBLISHED, {"lost": 1, LOST_UPSTREAM: 1}),
        (ANSWERED | SEEN, {"seen": 1}),
        (ANSWERED | FOLDED, {"folded": 1}),
        (ANSWERED | FOLDED | SEEN | PUBLISHED, {"seen": 1}),
    ],
)
def test_each_state_has_its_word(state, word):
    assert words(attempts(state)) == word


def test_the_latest_supersedes_what_is_before_it_only():
    made = attempts(ANSWERED, ANSWERED | SEEN, ANSWERED, rule=MergeRule.LATEST)
    assert words(made, last_seen=2) == {"superseded": 1, "seen": 1, "lost": 1}


def test_in_order_what_was_sent_before_the_last_sight_is_superseded():
    made = attempts(ANSWERED, ANSWERED, ANSWERED, rule=MergeRule.ORDERED)
    assert words(made, last_seen_s=2.0) == {"superseded": 2, "lost": 1}


def test_without_a_tap_only_doubt_is_judged():
    made = attempts(ANSWERED, 0, is_tapped=False)
    assert words(made) == {"in_doubt": 1}
    assert made.settled(0, 0.0) == 1


def test_the_front_is_settled_up_to_the_first_open_one():
    done = ANSWERED | SEEN
    assert attempts(done, done, ANSWERED, done).settled(4, 0.0) == 2
    assert attempts(done, done, 0, done).settled(4, 0.0) == 2
    assert attempts(done, done).settled(2, 0.0) == 1  # the newest stays


def test_beyond_the_window_the_oldest_are_settled_as_they_stand():
    assert attempts(*[0] * 10, window=4).settled(0, 0.0) == 6


def test_forgotten_ones_count_as_done():
    made = attempts(ANSWERED | SEEN, ANSWERED, ANSWERED)
    made.trim(2)
    assert (made.oldest, len(made), made.highest) == (3, 1, 3)
    assert made.state(1) == SENT | ANSWERED | SEEN
    assert isnan(made.sent_s(2))
    made.mark(1, FOLDED)
    made.unmark(2, SEEN)
    assert list(made) == [(3, SENT | ANSWERED)]


def test_answered_and_doubtful_are_counted_between_two_numbers():
    made = attempts(ANSWERED, 0, ANSWERED | SEEN, 0, 0)
    assert made.count_between(1, 5) == (2, 3)
    assert made.count_between(2, 3) == (1, 1)
    assert made.count_between(6, 9) == (0, 0)
    assert made.count_between(3, 2) == (0, 0)


def test_memory_per_attempt_is_as_stated():
    count = 100_000
    made = attempts(*[ANSWERED] * count, window=2 * count)
    size_bytes = sys.getsizeof(made._sent) + sys.getsizeof(made._state)
    assert count * BYTES_PER_ATTEMPT <= size_bytes < count * BYTES_PER_ATTEMPT * 1.15
