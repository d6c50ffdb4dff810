"""Counts of the verdict's words, and the first offenders by name."""

from __future__ import annotations

from collections import Counter
from typing import Final

from fleet_lab.report.model import Offender

NAMED: Final = 10
"""Offenders kept per word; more would not fit a screen and help nobody."""


class Tally:
    """Counts per word; bounded however much goes wrong."""

    __slots__ = ("counts", "offenders")

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.offenders: dict[str, list[Offender]] = {}

    def add(self, word: str, count: int = 1) -> None:
        """Count something that needs no name."""
        self.counts[word] += count

    def blame(
        self, word: str, device: str, number: int | None, explanation: str, count: int = 1
    ) -> None:
        """Count a fault and name it while there is room."""
        self.counts[word] += count
        named = self.offenders.setdefault(word, [])
        if len(named) < NAMED:
            named.append(Offender(word, device, number, explanation))

    def copy(self) -> Tally:
        """One that can go on without changing this one."""
        other = Tally()
        other.counts = Counter(self.counts)
        other.offenders = {word: list(named) for word, named in self.offenders.items()}
        return other
