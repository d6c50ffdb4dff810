"""Which worker runs which devices. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Ranges = list[list[int]]
"""Indexes as `[first, end, step]`, `end` excluded: ten thousand devices in a short message."""


def deal(indexes: Iterable[int], workers: Sequence[str]) -> dict[str, list[int]]:
    """Device `index` goes to worker `index mod n`: neighbours, and with them the load, spread."""
    hands: dict[str, list[int]] = {worker: [] for worker in workers}
    for index in indexes:
        hands[workers[index % len(workers)]].append(index)
    return hands


def deal_to_least(
    indexes: Iterable[int], held: Mapping[str, Iterable[int]]
) -> dict[str, list[int]]:
    """Spread `indexes` so that all workers end up with about as many; what they hold stays."""
    sizes = {worker: sum(1 for _ in own) for worker, own in held.items()}
    hands: dict[str, list[int]] = {worker: [] for worker in held}
    for index in indexes:
        least = min(sizes, key=lambda worker: (sizes[worker], worker))
        hands[least].append(index)
        sizes[least] += 1
    return hands


def to_ranges(indexes: Iterable[int]) -> Ranges:
    """The indexes as runs of one step."""
    ordered = sorted(indexes)
    ranges: Ranges = []
    for index in ordered:
        last = ranges[-1] if ranges else None
        if last is not None and _fits(last, index):
            last[2] = index - (last[1] - 1) if last[1] - last[0] == 1 else last[2]
            last[1] = index + 1
        else:
            ranges.append([index, index + 1, 1])
    return ranges


def of_ranges(ranges: Iterable[Sequence[int]]) -> list[int]:
    """The indexes again, sorted."""
    return sorted(index for first, end, step in ranges for index in range(first, end, step))


def _fits(last: Sequence[int], index: int) -> bool:
    first, end, step = last
    return end - first == 1 or index - (end - 1) == step
