from __future__ import annotations

import pytest

from fleet_lab.durations import parse_duration_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("1s", 1.0), ("1.5s", 1.5), ("2m", 120.0), ("1h", 3600.0), (" 3s ", 3.0)],
)
def test_durations_carry_their_unit(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-1s", "0s", "1d", "1 s", "1s2", "nan", "infs", "25h", "9" * 400 + "h"]
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write for example 250ms"):
        parse_duration_s(text)
