"""What the time limit of a module call costs, against the same call without one.

.venv/bin/python -m benchmarks.module_time_limit
"""

from __future__ import annotations

import timeit
from contextlib import nullcontext

from module_gateway.modules.car_accessory import CarAccessoryModule
from module_gateway.modules.containment import ContainedModule
from module_gateway.runtime.watchdog import TimeLimit

CALLS = 5_000
ROUNDS = 10


def best_us(module: ContainedModule) -> float:
    """Microseconds of one aggregate_status, in the best of the rounds."""

    def call() -> None:
        module.aggregate_status(b"", b'{"pressed": true}', 0)

    return min(timeit.repeat(call, number=CALLS, repeat=ROUNDS)) / CALLS * 1e6


def main() -> None:
    """Print both and their ratio."""
    free_us = best_us(ContainedModule(CarAccessoryModule(), limit=nullcontext))
    limited_us = best_us(ContainedModule(CarAccessoryModule(), limit=TimeLimit(0.05)))
    print(
        f"module call: {free_us:.2f} us free, {limited_us:.2f} us with a time limit, "
        f"ratio {limited_us / free_us:.1f}"
    )


if __name__ == "__main__":
    main()
