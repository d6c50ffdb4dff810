from __future__ import annotations

import argparse

import pytest

from fleet_lab.commands.flags import duration_s, ranged


def test_numbers_have_their_range() -> None:
    assert [ranged(1, 3)(text) for text in ("1", " 3 ")] == [1, 3]
    for text in ("0", "4", "-1", "1.5", "x", "", "٣"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a number from 1 to 3"):
            ranged(1, 3)(text)


def test_durations_have_their_unit() -> None:
    assert duration_s("1.5s") == 1.5
    with pytest.raises(argparse.ArgumentTypeError, match="is no duration"):
        duration_s("5")
