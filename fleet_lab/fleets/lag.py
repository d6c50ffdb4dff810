"""How late the generator itself was: due time against the moment the device was asked.

A run whose generator lags measures the generator. Counts per bucket of quarter octaves, so lags of
many processes add up exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

_LOWEST_S: Final = 1e-5
_PER_OCTAVE: Final = 4
_BUCKETS: Final = 100
"""From 10 µs in steps of 19 % to five minutes."""
_SCALE: Final = _PER_OCTAVE / math.log(2)


class Lag:
    """A histogram of seconds."""

    __slots__ = ("counts", "longest_s")

    def __init__(self, counts: Iterable[int] = (), longest_s: float = 0.0) -> None:
        self.counts = list(counts) or [0] * _BUCKETS
        self.longest_s = longest_s

    def add(self, lag_s: float) -> None:
        """One more; below 10 µs is no lag at all."""
        if lag_s <= _LOWEST_S:
            self.counts[0] += 1
            return
        self.counts[min(int(math.log(lag_s / _LOWEST_S) * _SCALE) + 1, _BUCKETS - 1)] += 1
        self.longest_s = max(self.longest_s, lag_s)

    def merge(self, other: Lag) -> None:
        """Add all of the other's."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.longest_s = max(self.longest_s, other.longest_s)

    def quantile(self, share: float) -> float:
        """Upper edge, in seconds, of the bucket below which that share of all lies; 0: no lag."""
        wanted = max(math.ceil(share * sum(self.counts)), 1)
        reached = 0
        for bucket, amount in enumerate(self.counts):
            reached += amount
            if reached >= wanted:
                edge_s = _LOWEST_S * math.exp(bucket / _SCALE)
                return float(min(edge_s, self.longest_s)) if bucket else 0.0
        return 0.0
