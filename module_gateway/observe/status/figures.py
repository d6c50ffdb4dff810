"""What a process' /metrics page says, and what changed between two looks at it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]

_BUCKET: Final = "_bucket"


@dataclass(frozen=True, slots=True)
class Figures:
    """One look: sample name → labels → value."""

    samples: Mapping[str, Mapping[Labels, float]] = field(default_factory=dict)

    def sum(self, name: str, **labels: str) -> float | None:
        """All samples of this name with these labels together; None when there are none."""
        found = [value for each, value in self._of(name, labels)]
        return sum(found) if found else None

    def by(self, name: str, label: str) -> dict[str, float]:
        """The samples of this name, one sum for each value of `label`."""
        sums: dict[str, float] = {}
        for labels, value in self._of(name, {}):
            key = dict(labels).get(label, "")
            sums[key] = sums.get(key, 0.0) + value
        return sums

    def _of(self, name: str, labels: Mapping[str, str]) -> list[tuple[Labels, float]]:
        wanted = set(labels.items())
        return [
            (each, value)
            for each, value in self.samples.get(name, {}).items()
            if wanted <= set(each)
        ]


def read_figures(text: str) -> Figures:
    """Prometheus text as figures.

    Raises:
        ValueError: it is none.
    """
    samples: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            samples.setdefault(sample.name, {})[labels] = float(sample.value)
    return Figures(samples)


def rate(before: Figures, after: Figures, name: str, span_s: float) -> float | None:
    """Growth of a counter per second; None when it is not there. A restart counts from 0."""
    now = after.sum(name)
    if now is None or span_s <= 0:
        return None
    then = before.sum(name) or 0.0
    return (now - then if now >= then else now) / span_s


def quantile(before: Figures, after: Figures, name: str, part: float) -> float | None:
    """Upper bound of the bucket under which `part` of what came between the looks lies.

    Of everything so far when nothing came between; None when nothing ever came. Infinity: above
    the largest bucket.
    """
    now = {float(bound): value for bound, value in after.by(name + _BUCKET, "le").items()}
    then = {float(bound): value for bound, value in before.by(name + _BUCKET, "le").items()}
    came = {bound: value - then.get(bound, 0.0) for bound, value in now.items()}
    if came.get(math.inf, 0.0) <= 0:
        came = now
    total = came.get(math.inf, 0.0)
    if total <= 0:
        return None
    return next(bound for bound in sorted(came) if came[bound] >= part * total)
