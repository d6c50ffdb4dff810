"""Durations as people write them: 250ms, 1s, 1.5s, 2m, 1h."""

from __future__ import annotations

import re
from typing import Final

_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
MAX_S: Final = 24 * 3600.0
_FORM: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


def parse_duration_s(text: str) -> float:
    """Seconds of a positive duration with its unit.

    Raises:
        ValueError: with a sentence that shows what would be right.
    """
    match = _FORM.fullmatch(text.strip())
    seconds = float(match[1]) * _UNITS_S[match[2]] if match else 0.0
    if not 0 < seconds <= MAX_S:
        raise ValueError(
            f"{text!r} is no duration up to 24h; write for example 250ms, 1s, 1.5s, 2m or 1h"
        )
    return seconds
