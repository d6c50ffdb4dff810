from __future__ import annotations

import argparse

import pytest

from module_gateway.observe.durations import duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10.0), ("500ms", 0.5), ("5min", 300.0), ("5m", 300.0), ("2h", 7200.0), ("1.5", 1.5)],
)
def test_a_time_is_read_in_its_unit(text: str, seconds: float) -> None:
    assert seconds == duration(text)


@pytest.mark.parametrize("text", ["", "0s", "-1s", "s", "10 s", "1d", "1e3s", "٣s"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="such as 10s"):
        duration(text)
