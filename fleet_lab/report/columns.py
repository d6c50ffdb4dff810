"""A long run has more seconds than a page has pixels: neighbours are put together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fleet_lab.report.model import Distribution, Series

MOST_COLUMNS: Final = 300
BINS_PER_DECADE: Final = 12


@dataclass(frozen=True, slots=True)
class Column:
    """Some neighbouring periods. Rates are per second; latencies those of the worst period.

    Percentiles cannot be averaged, so the worst one is shown.
    """

    start_s: float
    end_s: float
    sent: float
    answered: float
    upstream: float
    connected: int
    p50_s: float | None
    p99_s: float | None


def columns(series: Series, most: int = MOST_COLUMNS) -> list[Column]:
    """At most `most` columns. Columns of the series that are shorter count as zero there."""
    length = max(len(series.sent), len(series.answered), len(series.upstream),
                 len(series.connected), len(series.p50_s), len(series.p99_s))  # fmt: skip
    together = max(1, math.ceil(length / most))
    found = []
    for first in range(0, length, together):
        last = min(first + together, length)
        part, seconds = slice(first, last), (last - first) * series.period_s
        connected = series.connected[part]
        found.append(
            Column(
                first * series.period_s,
                last * series.period_s,
                sum(series.sent[part]) / seconds,
                sum(series.answered[part]) / seconds,
                sum(series.upstream[part]) / seconds,
                connected[-1] if connected else 0,
                _worst(series.p50_s[part]),
                _worst(series.p99_s[part]),
            )
        )
    return found


def log_bins(distribution: Distribution) -> list[tuple[float, float, float]]:
    """(lower, upper, share of all) in equal steps of the logarithm; empty ones included."""
    counts: dict[int, int] = {}
    for bucket in distribution.buckets:
        place = math.ceil(math.log10(max(bucket.upper_s, 1e-6)) * BINS_PER_DECADE - 1e-6)
        counts[place] = counts.get(place, 0) + bucket.count
    total = sum(counts.values())
    if not total:
        return []
    return [
        (10 ** ((place - 1) / BINS_PER_DECADE), 10 ** (place / BINS_PER_DECADE),
         counts.get(place, 0) / total)
        for place in range(min(counts), max(counts) + 1)
    ]  # fmt: skip


def _worst(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
