"""Runs of seeds, and what a failed one says."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterable

from tests.simulation.world import World

SEEDS = 2_000
PER_TEST = 100


def run(seed: int, *, is_traced: bool = False) -> tuple[World, str]:
    """The world afterwards, and what went wrong in it ("" for nothing)."""
    world = World(seed, is_traced=is_traced)
    try:
        world.run()
    except Exception:  # noqa: BLE001  # whatever it is, it belongs to this seed
        return world, traceback.format_exc()
    return world, ""


def check(seeds: Iterable[int]) -> Counter[str]:
    """Run them all; the sum of what they counted. A failure names its seed and how to see it."""
    counts: Counter[str] = Counter()
    for seed in seeds:
        world, failure = run(seed)
        counts += world.ledger.counts
        how = f"python -m tests.simulation --seed {seed} --trace"
        assert failure == "", f"seed {seed} ({how}):\n{failure}"
    return counts
