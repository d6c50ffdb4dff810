"""What a run leaves behind, as numbers: the shape of `run.json`.

Everything is plain and frozen: filled by the ledger, the fleets and the scenario, written by
`run_folder`, read again by `fleet-lab report`. Times are seconds; `at_s` counts from the start
of the run, wall time is only ever `…_unix_s`. A number that was not measured is None, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

FORMAT: Final = 1
"""Of `run.json`; a reader refuses another one."""

WORDS: Final = {
    "sent": "attempts that left a device",
    "answered": "attempts that got their command",
    "seen": "attempts that the control plane received themselves",
    "lost": "answered, but neither seen upstream nor covered by a fold nor superseded",
    "duplicated": "applied more than once",
    "reordered": "seen upstream before an earlier one of the same device",
    "phantom": "seen upstream, but no device sent it",
    "wrong_device": "seen upstream under another device's identity",
    "miscounted": "a fold that accounts for another number of statuses than it covers",
    "late": "answered after more than 250 ms",
    "in_doubt": "sent and not answered: may or may not have been applied, never a failure",
    "superseded": "merged away by the module's own rules",
    "folded": "accounted for by an error aggregate",
    "upstream_repeat": "seen upstream again after an ambiguous break",
}
"""The words of the verdict with their meaning (decisions.md, "Words of the verdicts")."""
FAULTS: Final = ("lost", "duplicated", "reordered", "phantom", "wrong_device", "miscounted")
"""The words that are bad whatever the number; shown in red."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check: its text as written, whether it held, and what was measured.

    `measured` is for people ("p99 = 12.3 ms"); `explanation` says more when it failed.
    """

    text: str
    is_passed: bool
    measured: str
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class Offender:
    """One attempt that the verdict names."""

    word: str
    """A key of WORDS."""
    device: str
    number: int | None
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Latencies up to `upper_s` and above the bucket before."""

    upper_s: float
    count: int


@dataclass(frozen=True, slots=True)
class Distribution:
    """Latencies of one kind: "reply" (sent to answered), "upstream" (sent to seen) or "lag"."""

    name: str
    count: int
    min_s: float | None = None
    p50_s: float | None = None
    p90_s: float | None = None
    p99_s: float | None = None
    p999_s: float | None = None
    max_s: float | None = None
    buckets: tuple[Bucket, ...] = ()
    """In rising order, empty ones left out; at most a few hundred."""


@dataclass(frozen=True, slots=True)
class Series:
    """Columns, one entry per period from the start of the run.

    Rates are counts in that period; `connected` is the number at its end; latencies are of the
    replies in it, None when there was none.
    """

    period_s: float = 1.0
    sent: tuple[int, ...] = ()
    answered: tuple[int, ...] = ()
    upstream: tuple[int, ...] = ()
    connected: tuple[int, ...] = ()
    p50_s: tuple[float | None, ...] = ()
    p99_s: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Span:
    """One piece of the scenario's ribbon: what was done, from when to when.

    `end_s` equals `start_s` for what has no duration; None means until the end of the run.
    """

    name: str
    start_s: float
    end_s: float | None
    kind: str = "step"
    """"fault" (kill, pause, cut), "link", "load" or "step"."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One hop of the way from a device to the control plane."""

    name: str
    entered: int
    left: int
    lost: int
    p50_s: float | None = None
    p99_s: float | None = None


@dataclass(frozen=True, slots=True)
class LinkResult:
    """The network of some devices: what was asked for and what they got.

    Delays are one way. `is_within` is the lab's own judgement (tolerance in `links/`); None when
    nothing was measured.
    """

    name: str
    fleet: str
    devices: int
    declared_delay_s: float | None = None
    declared_jitter_s: float | None = None
    declared_rate_bps: float | None = None
    achieved_delay_p50_s: float | None = None
    achieved_delay_p99_s: float | None = None
    achieved_rate_bps: float | None = None
    stalls: int = 0
    cuts: int = 0
    is_within: bool | None = None


@dataclass(frozen=True, slots=True)
class FleetResult:
    """What one fleet did."""

    name: str
    devices: int
    sent: int = 0
    answered: int = 0
    connects: int = 0
    refusals: int = 0
    closes: int = 0
    errors: int = 0
    restarts: int = 0
    lag_p99_s: float | None = None
    """Scheduled against actual send time; above 20 ms the generator itself was too slow."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run. The exit code of the command follows from `is_passed`."""

    title: str
    command: tuple[str, ...]
    """The argument vector that repeats this run, the seed included."""
    seed: int
    started_unix_s: float
    duration_s: float
    checks: tuple[CheckResult, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    """By the keys of WORDS; a word that was not judged is absent."""
    offenders: tuple[Offender, ...] = ()
    """The first of each word."""
    latencies: tuple[Distribution, ...] = ()
    series: Series = field(default_factory=Series)
    ribbon: tuple[Span, ...] = ()
    hops: tuple[Hop, ...] = ()
    links: tuple[LinkResult, ...] = ()
    fleets: tuple[FleetResult, ...] = ()
    notes: tuple[str, ...] = ()
    """What limits the verdict, one sentence each ("no tap upstream: losses are not judged")."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """The fleet file as it was understood."""
    versions: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def is_passed(self) -> bool:
        """Whether every check held. A run without checks has nothing to fail."""
        return all(check.is_passed for check in self.checks)
