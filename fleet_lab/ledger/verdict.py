"""The verdict: every word with its count, the offenders, the latencies, where it was lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from fleet_lab.ledger.attempts import LOST_UPSTREAM
from fleet_lab.ledger.histogram import Histogram
from fleet_lab.ledger.tally import Tally
from fleet_lab.report.model import FAULTS, WORDS, Bucket, Distribution, Hop, Offender

WITHOUT_TAP: Final = frozenset({"sent", "answered", "late", "in_doubt", "wrong_device"})
"""What the devices alone can say."""

ONLY_AT_THE_END: Final = frozenset(
    {"seen", "folded", "lost", "in_doubt", "superseded", "miscounted"}
)
"""What nobody can say, or what nobody has counted yet, while statuses are under way."""

MAX_BUCKETS: Final = 200


@dataclass(slots=True)
class Heard:
    """What the ledger was told, in plain numbers."""

    sent: int = 0
    answered: int = 0
    upstream: int = 0
    connected: int = 0
    connects: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    """By connect response (fleet-protocol 2.2)."""
    closed: Counter[str] = field(default_factory=Counter)
    """By reason."""
    unusable: int = 0
    """Answers to nothing, numbers used twice, devices that nobody enlisted."""
    forgotten: int = 0
    """Events that workers had to drop."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a run's statuses.

    Attributes:
        counts: by the words of decisions.md; a word that was not judged is absent.
        offenders: the first ten of each word, by name.
        latencies: "reply" (sent to answered), "lag" (scheduled to sent), with a tap also
            "upstream" (sent to seen there) and "acknowledgement" (seen to acknowledged).
        lost_upstream: those of the lost that the gateway did publish; None if not judged.
        extras: counts that are no verdict: connects, foreign statuses, redeliveries …
        notes: what limits the verdict, one sentence each.
    """

    counts: Mapping[str, int]
    offenders: tuple[Offender, ...] = ()
    latencies: Mapping[str, Histogram] = field(default_factory=dict)
    lost_upstream: int | None = None
    extras: Mapping[str, int] = field(default_factory=dict)
    closed: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[int, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    is_final: bool = True

    @property
    def is_clean(self) -> bool:
        """Nothing of what is always a fault was found, and all of it was looked for."""
        return all(self.counts.get(word) == 0 for word in FAULTS)

    @property
    def hops(self) -> tuple[Hop, ...]:
        """Where statuses were lost; empty when nobody looked."""
        if self.lost_upstream is None:
            return ()
        return tuple(_hops(self.counts, self.lost_upstream, self.latencies))

    def distributions(self) -> tuple[Distribution, ...]:
        """The latencies as the report has them."""
        return tuple(distribution(name, each) for name, each in self.latencies.items())


def make_verdict(
    tally: Tally,
    heard: Heard,
    latencies: Mapping[str, Histogram],
    *,
    is_tapped: bool,
    is_final: bool,
) -> Verdict:
    """Put together what was counted; words that could not be judged are left out."""
    found = tally.counts.copy()
    found.update(sent=heard.sent, answered=heard.answered)
    judged = [
        word for word in WORDS
        if (is_tapped or word in WITHOUT_TAP) and (is_final or word not in ONLY_AT_THE_END)
    ]  # fmt: skip
    counts = {word: found.get(word, 0) for word in judged}
    return Verdict(
        counts,
        tuple(each for word in judged for each in tally.offenders.get(word, ())),
        latencies,
        found[LOST_UPSTREAM] if is_tapped and is_final else None,
        {
            "connects": heard.connects,
            "connected": heard.connected,
            "upstream": heard.upstream,
            "unacknowledged": found["unacknowledged"],
            "redelivered": found["redelivered"],
            "foreign": found["foreign"],
            "stray": found["stray"],
            "unusable": heard.unusable,
            "forgotten": heard.forgotten,
        },
        dict(heard.closed),
        dict(heard.refused),
        tuple(_notes(heard, is_tapped=is_tapped)),
        is_final,
    )


def distribution(name: str, histogram: Histogram) -> Distribution:
    """A histogram as the report has it: percentiles and at most MAX_BUCKETS buckets."""
    buckets = tuple(Bucket(upper_s, count) for upper_s, count in histogram.buckets())
    while len(buckets) > MAX_BUCKETS:
        pairs = [buckets[at : at + 2] for at in range(0, len(buckets), 2)]
        buckets = tuple(Bucket(pair[-1].upper_s, sum(b.count for b in pair)) for pair in pairs)
    return Distribution(
        name,
        histogram.count,
        histogram.min_s,
        histogram.percentile_s(50),
        histogram.percentile_s(90),
        histogram.percentile_s(99),
        histogram.percentile_s(99.9),
        histogram.max_s,
        buckets,
    )


def _hops(
    counts: Mapping[str, int], lost_upstream: int, latencies: Mapping[str, Histogram]
) -> Iterator[Hop]:
    answered, lost = counts["answered"], counts["lost"]
    published = answered - (lost - lost_upstream)
    yield _hop("device to gateway and back", counts["sent"], answered, 0, latencies["reply"])
    yield _hop("device to upstream broker", answered, published, lost - lost_upstream,
               latencies["upstream"])  # fmt: skip
    yield _hop("upstream broker to control plane", published, published - lost_upstream,
               lost_upstream, latencies["acknowledgement"])  # fmt: skip


def _hop(name: str, entered: int, left: int, lost: int, histogram: Histogram) -> Hop:
    return Hop(name, entered, left, lost, histogram.percentile_s(50), histogram.percentile_s(99))


def _notes(heard: Heard, *, is_tapped: bool) -> Iterator[str]:
    if not is_tapped:
        yield "No tap upstream: losses, duplicates and order are not judged."
    elif not heard.upstream:
        yield "The tap upstream saw no status of these devices."
    if heard.forgotten:
        yield f"Workers dropped {heard.forgotten} events: the words are not reliable."
    if heard.unusable:
        yield f"{heard.unusable} events fit no attempt and were left out."
