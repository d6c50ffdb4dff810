"""Shares of a profile."""

from __future__ import annotations

from benchmarks.profile import shares

STACKS = """\
main (run.py:1);turn (core.py:10);decode (wire.py:5) 3
main (run.py:1);turn (core.py:12) 1
"""


def test_a_function_is_one_row_whatever_its_line() -> None:
    assert list(shares(STACKS)) == [
        ("decode (wire.py)", 0.75, 0.75),
        ("turn (core.py)", 0.25, 1.0),
    ]
