"""Has the hot path become slower? Seconds, ratios only, for a build machine that does other things.

    .venv/bin/python -m benchmarks.smoke                # exit code 1: slower than the baseline
    .venv/bin/python -m benchmarks.smoke --write        # make baseline.json anew
    .venv/bin/python -m benchmarks.smoke --repeat 10    # how far the figure swings here

CPU time per round trip of all gateway processes with 100 devices, for unchanged statuses and for
ones that all differ and are forwarded, each set against two things that are measured in the same
seconds: an empty gateway (what the kernel takes) and a loop in pure Python (what the interpreter
takes). Of each the best round counts, since others only ever take time away. Efficiency is the sum
of the two yardsticks by our cost. One more than 25 % below the committed `baseline.json` is
measured again, twice at most, and fails when it stays there. `--write` is for a change that was
meant to cost something, or that made it faster.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.stage.programs import build
from benchmarks.stage.round_trips import cpu_us
from benchmarks.stage.scene import Scene, own_scene, run_words

BASELINE: Final = Path(__file__).with_name("baseline.json")
LARGEST_DROP: Final = 0.25
TRIES: Final = 3
"""Only a machine that was busy in a new way, or a slower gateway, needs more than one."""
DEVICES: Final = 100
SECONDS: Final = 0.8
WARM_S: Final = 0.3
STEPS: Final = 200_000
LOOP_WEIGHT: Final = 100
"""So many steps of the Python loop cost about as much as two round trips of the empty gateway."""


def loop_us() -> float:
    """CPU time of LOOP_WEIGHT steps of a loop that does what Python code does: calls, dicts."""
    table: dict[int, bytes] = {}
    begin = time.process_time()
    for step in range(STEPS):
        table[step % DEVICES] = step.to_bytes(4, "little") + b"status"
    return (time.process_time() - begin) / STEPS * LOOP_WEIGHT * 1e6


def costs(scene: Scene, rounds: int) -> dict[str, float]:
    """Microseconds of CPU per round trip, the best of the rounds each."""
    best: dict[str, float] = {}

    def note(name: str, cost_us: float) -> None:
        best[name] = min(cost_us, best.get(name, cost_us))

    ours, empty = scene.gateways["ours"], scene.gateways["empty"]
    with scene.devices(ours, DEVICES) as load, scene.devices(empty, DEVICES) as idle:
        for _ in range(rounds):
            note("loop", loop_us())
            note("empty", cpu_us(idle.ask(run_words(empty, SECONDS / 2, warm_s=0.1))))
            for name, is_different in (("same", False), ("different", True)):
                words = run_words(ours, SECONDS, warm_s=WARM_S, different=is_different)
                note(name, cpu_us(load.ask(words)))
    return best


def efficiencies(cost: dict[str, float]) -> dict[str, float]:
    """Yardsticks by our cost; more is better."""
    yardstick = cost["empty"] + cost["loop"]
    return {name: round(yardstick / cost[name], 4) for name in ("same", "different")}


def judge(measured: dict[str, float], baseline: dict[str, float]) -> list[str]:
    """One sentence for each ratio that dropped too far."""
    return [
        f"{name}: efficiency {measured[name]:.3f}, the baseline is {expected:.3f}"
        for name, expected in baseline.items()
        if measured[name] < expected * (1 - LARGEST_DROP)
    ]


def measure(rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """(costs, efficiencies) of one run with a gateway of its own."""
    with tempfile.TemporaryDirectory(prefix="mg-") as name:
        folder = Path(name)
        # "memory": the time of an fsync is the disk's, and another disk's on every build machine.
        with own_scene(build(folder), folder, "memory") as scene:
            cost = costs(scene, rounds)
    return cost, efficiencies(cost)


def tell(cost: dict[str, float], measured: dict[str, float]) -> None:
    """One line."""
    words = ", ".join(f"{name} {value:.1f} us" for name, value in cost.items())
    print(f"CPU per round trip: {words}; efficiency {measured}", flush=True)


def repeat(rounds: int, times: int) -> dict[str, float]:
    """The medians of several runs; prints each."""
    runs = []
    for _ in range(times):
        cost, measured = measure(rounds)
        tell(cost, measured)
        runs.append(measured)
    return {name: statistics.median(each[name] for each in runs) for name in runs[0]}


def main() -> int:
    """Measure, compare, tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--repeat", type=int, metavar="TIMES", help="only show the spread")
    parser.add_argument("--write", action="store_true", help=f"make {BASELINE.name} anew")
    args = parser.parse_args()
    if args.repeat or args.write:
        medians = repeat(args.rounds, args.repeat or 3)
        if args.write:
            BASELINE.write_text(json.dumps(medians, indent=1) + "\n", encoding="utf-8")
        return 0
    baseline: dict[str, float] = json.loads(BASELINE.read_text(encoding="utf-8"))
    best: dict[str, float] = dict.fromkeys(baseline, 0.0)
    for _ in range(TRIES):
        cost, measured = measure(args.rounds)
        tell(cost, measured)
        best = {name: max(value, best[name]) for name, value in measured.items()}
        if not (complaints := judge(best, baseline)):
            print("no slower than the baseline")
            return 0
    print("\n".join(complaints))
    return 1


if __name__ == "__main__":
    sys.exit(main())
