"""Row X1, the odd half of the seeds: two files, so that two workers share them."""

from __future__ import annotations

import pytest

from tests.simulation.runs import PER_TEST, SEEDS, check


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(100, SEEDS, 2 * PER_TEST))
def test_X1_nothing_is_lost_doubled_or_mixed_up_whatever_dies(first: int) -> None:
    counts = check(range(first, first + PER_TEST))
    assert counts["answered"] > 10 * PER_TEST
    assert counts["sessions"] > PER_TEST
