"""A span of time as it is typed: `10s`, `500ms`, `5min`, `2h`. Pure."""

from __future__ import annotations

import argparse
import re
from typing import Final

_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "": 1.0}
_FORM: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|min|m|h|)", re.ASCII)


def duration(text: str) -> float:
    """Seconds; a number without a unit is meant so.

    Raises:
        argparse.ArgumentTypeError: it is none, or 0.
    """
    found = _FORM.fullmatch(text)
    seconds = float(found[1]) * _UNITS_S[found[2]] if found is not None else 0.0
    if seconds <= 0:
        expected = "expected a number above 0 with a unit (ms, s, min, h), such as 10s"
        raise argparse.ArgumentTypeError(f"{text!r} is no time; {expected}")
    return seconds
