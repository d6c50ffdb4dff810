"""What makes the build fail about speed."""

from __future__ import annotations

import json

from benchmarks.smoke import BASELINE, efficiencies, judge

COST = {"loop": 10.0, "empty": 5.0, "same": 30.0, "different": 100.0}


def test_efficiency_is_the_yardsticks_by_our_cost() -> None:
    assert efficiencies(COST) == {"same": 0.5, "different": 0.15}


def test_a_drop_of_a_quarter_passes_and_more_does_not() -> None:
    baseline = {"same": 0.5, "different": 0.15}

    assert judge({"same": 0.375, "different": 0.15}, baseline) == []
    (complaint,) = judge({"same": 0.374, "different": 0.3}, baseline)
    assert complaint.startswith("same")


def test_a_slower_machine_is_no_complaint() -> None:
    slower = {name: 3 * cost for name, cost in COST.items()}

    assert judge(efficiencies(slower), efficiencies(COST)) == []


def test_the_committed_baseline_names_what_is_measured() -> None:
    assert set(json.loads(BASELINE.read_text())) == set(efficiencies(COST))
