"""Where numbers go on paper: scales, ticks and how numbers are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_TIME_STEPS_S: Final = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400,
)  # fmt: skip
_MINUTES_FROM_S: Final = 120
_TINY: Final = 1e-9
MIN_LATENCY_S: Final = 1e-6
"""Below what any clock of this lab can tell; keeps zero off the logarithm."""
NOT_MEASURED: Final = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Linear:
    """From [low, high] to [start, end] pixels."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The pixel of a value, kept inside."""
        span = max(self.high - self.low, _TINY)
        part = min(max((value - self.low) / span, 0.0), 1.0)
        return self.start + part * (self.end - self.start)


@dataclass(frozen=True, slots=True)
class Log:
    """Like Linear, by the logarithm; low and high are above zero."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The pixel of a value, kept inside."""
        lows = Linear(math.log(self.low), math.log(self.high), self.start, self.end)
        return lows.at(math.log(max(value, self.low)))


def count_ticks(highest: float, most: int = 5) -> list[float]:
    """From 0 upwards in steps of 1, 2 or 5 times a power of ten; the last is >= highest."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough - _TINY)
    return [step * i for i in range(math.ceil(highest / step - _TINY) + 1)]


def time_ticks(duration_s: float, most: int = 12) -> list[float]:
    """Round times from 0 to the end of the run."""
    step = next((s for s in _TIME_STEPS_S if duration_s / s <= most), _TIME_STEPS_S[-1])
    return [float(step * i) for i in range(int(duration_s / step + _TINY) + 1)]


def decades(values: Sequence[float]) -> list[float]:
    """Powers of ten around the values, at least two of them."""
    floor = [max(v, MIN_LATENCY_S) for v in values] or [0.001]
    low = math.floor(math.log10(min(floor)) + _TINY)
    high = max(math.ceil(math.log10(max(floor)) - _TINY), low + 1)
    return [10.0**power for power in range(low, high + 1)]


def show_time(at_s: float) -> str:
    """On a time axis: 45 s, 2:00, 1:15:00."""
    if at_s < _MINUTES_FROM_S:
        return f"{at_s:g} s"
    minutes, seconds = divmod(round(at_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def show_latency(seconds: float | None) -> str:
    """Three digits and a unit that fits; a dash when it was not measured."""
    if seconds is None:
        return NOT_MEASURED
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{_digits(seconds * factor)} {unit}"
    return f"{_digits(seconds * 1e6)} µs" if seconds > 0 else "0 ms"


def show_count(number: float | None) -> str:
    """With thin spaces between thousands."""
    if number is None:
        return NOT_MEASURED
    shown = f"{number:,.0f}" if number == int(number) else f"{number:,.1f}"
    return shown.replace(",", "\N{NARROW NO-BREAK SPACE}")


def show_rate(bps: float | None) -> str:
    """A link's rate in the unit of its data sheet."""
    if bps is None:
        return NOT_MEASURED
    for factor, unit in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")):
        if bps >= factor:
            return f"{_digits(bps / factor)} {unit}"
    return f"{_digits(bps)} bit/s"


def _digits(number: float) -> str:
    """Three digits, never an exponent."""
    decimals = 2 - min(max(math.floor(math.log10(number)), 0), 2) if number > 0 else 0
    shown = f"{number:.{decimals}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown
