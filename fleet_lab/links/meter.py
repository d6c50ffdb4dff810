"""What a link really did: counters and delays that merge across devices and processes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fleet_lab.links.presets import OneWay

_GROWTH: Final = 1.02
"""Width of a bucket: percentiles are right to one percent."""
_LOG_GROWTH: Final = math.log(_GROWTH)
_SMALLEST_S: Final = 1e-6
_MIN_SAMPLES: Final = 5
"""Fewer say nothing about a delay."""
DELAY_TOLERANCE: Final = 0.15
DELAY_SLACK_S: Final = 0.010
RATE_TOLERANCE: Final = 0.15
"""A link is as declared within 15 %; 10 ms more are forgiven, a loaded machine's timers need them.
Only the median is judged: order-keeping jitter lifts everything above it (emulation.md 4.5)."""


@dataclass(frozen=True, slots=True)
class Achieved:
    """One direction as it was. None: not measured, because nothing passed or nothing queued."""

    delay_p50_s: float | None
    delay_p99_s: float | None
    rate_bps: float | None
    """While something waited for the rate, else None."""
    size_bytes: int
    stalls: int
    cuts: int
    resets: int
    vanished_bytes: int

    def is_within(self, declared: OneWay) -> bool | None:
        """Whether it is what was declared; None when nothing was measured."""
        found: list[bool] = []
        if self.delay_p50_s is not None:
            off_s = abs(self.delay_p50_s - declared.delay_s)
            allowed_s = declared.delay_s * DELAY_TOLERANCE + DELAY_SLACK_S
            found.append(off_s <= allowed_s + declared.jitter_s)
        if self.rate_bps is not None and declared.rate_bps is not None:
            found.append(abs(self.rate_bps / declared.rate_bps - 1) <= RATE_TOLERANCE)
        return all(found) if found else None


@dataclass(slots=True)
class Meter:
    """Counts one direction of one or of many links; cheap enough to be shared by a fleet."""

    size_bytes: int = 0
    saturated_bits: int = 0
    """Bits that had to wait for the rate; with the next value they give the rate."""
    saturated_s: float = 0.0
    stalls: int = 0
    """Times that a stall held something back."""
    cuts: int = 0
    resets: int = 0
    vanished_bytes: int = 0
    delays: dict[int, int] = field(default_factory=dict)
    """Count per bucket; bucket b ends at 1.02**b µs."""

    def delivered(self, size_bytes: int) -> None:
        """Bytes left the link."""
        self.size_bytes += size_bytes

    def delayed(self, delay_s: float) -> None:
        """One piece took so long, from the rate's bucket to the far end."""
        steps = math.log(max(delay_s, _SMALLEST_S) / _SMALLEST_S) / _LOG_GROWTH
        bucket = math.ceil(steps)
        self.delays[bucket] = self.delays.get(bucket, 0) + 1

    def saturated(self, bits: int, seconds: float) -> None:
        """So many bits passed in so long a time while more waited."""
        self.saturated_bits += bits
        self.saturated_s += max(seconds, 0.0)

    def merge(self, other: Meter) -> None:
        """Add another one's counts."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for bucket, count in other.delays.items():
            self.delays[bucket] = self.delays.get(bucket, 0) + count

    def achieved(self) -> Achieved:
        """The numbers so far."""
        rate = self.saturated_bits / self.saturated_s if self.saturated_s > 0 else None
        return Achieved(
            delay_p50_s=self._percentile(0.50),
            delay_p99_s=self._percentile(0.99),
            rate_bps=rate,
            size_bytes=self.size_bytes,
            stalls=self.stalls,
            cuts=self.cuts,
            resets=self.resets,
            vanished_bytes=self.vanished_bytes,
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values, for a worker's way to its coordinator."""
        counts: dict[str, Any] = {name: getattr(self, name) for name in _SUMS}
        return {**counts, "delays": sorted(self.delays.items())}

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> Meter:
        """The meter that `as_json` described."""
        sums: dict[str, Any] = {name: values[name] for name in _SUMS}
        return cls(**sums, delays={int(bucket): int(count) for bucket, count in values["delays"]})

    def _percentile(self, share: float) -> float | None:
        total = sum(self.delays.values())
        if total < _MIN_SAMPLES:
            return None
        wanted, seen = share * total, 0
        for bucket in sorted(self.delays):
            seen += self.delays[bucket]
            if seen >= wanted:
                return _SMALLEST_S * math.exp((bucket - 0.5) * _LOG_GROWTH)
        return None


_SUMS: Final = (
    "size_bytes", "saturated_bits", "saturated_s", "stalls", "cuts", "resets", "vanished_bytes",
)  # fmt: skip
