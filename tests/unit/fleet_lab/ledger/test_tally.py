"""Counts with names, as many as a person reads."""

from __future__ import annotations

from fleet_lab.ledger.tally import NAMED, Tally


def test_all_are_counted_and_the_first_are_named():
    tally = Tally()
    for number in range(NAMED + 5):
        tally.blame("lost", "d", number, "gone")
    tally.blame("duplicated", "e", None, "many", count=7)
    tally.add("seen", 3)
    assert tally.counts == {"lost": NAMED + 5, "duplicated": 7, "seen": 3}
    assert [each.number for each in tally.offenders["lost"]] == list(range(NAMED))
    assert tally.offenders["duplicated"][0].explanation == "many"


def test_a_copy_goes_its_own_way():
    tally = Tally()
    tally.blame("lost", "d", 1, "gone")
    other = tally.copy()
    other.blame("lost", "d", 2, "gone")
    assert (tally.counts["lost"], len(tally.offenders["lost"])) == (1, 1)
    assert (other.counts["lost"], len(other.offenders["lost"])) == (2, 2)
