"""A whole gateway from outside: rates, latencies, CPU time, recovery, neighbours, memory.

    .venv/bin/python -m benchmarks.black_box                  # the whole table, about ten minutes
    .venv/bin/python -m benchmarks.black_box --quick          # a look at it, under two minutes
    .venv/bin/python -m benchmarks.black_box --lines same different --devices 100
    .venv/bin/python -m benchmarks.black_box --against 127.0.0.1:8888 --pids 4711,4712

Ours and an empty gateway (one process in C that answers and does nothing else) are up at the same
time and loaded in turns, so that a busy machine is unfair to both alike; every figure is the median
of the rounds. `--against` measures any other Fleet Protocol gateway that runs already, from the
devices' side; `--pids` names its processes, if their CPU time and memory are wanted. A control
plane's stand-in is on a real Mosquitto of its own; order and completeness are checked there.

`--out FOLDER` writes black_box.json and black_box.md there; with `--more` the rounds are added to
those that are in the file already.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from benchmarks.stage import lines
from benchmarks.stage.gateways import REPOSITORY, Gateway, empty_gateway
from benchmarks.stage.programs import build
from benchmarks.stage.results import Results, describe_machine
from benchmarks.stage.returning import own_stage
from benchmarks.stage.round_trips import closed_loop
from benchmarks.stage.scene import Scene, own_scene
from benchmarks.stage.table import table

DEVICES: Final = (1, 10, 100, 500)
RUBBISH_DEVICES: Final = (10, 100)
LINES: Final = ("same", "different", "recovery", "leaving", "rubbish", "memory")
DEVICE_SIDE: Final = ("same", "different", "rubbish")
"""What can be measured of a gateway whose upstream is not ours."""


class Suite:
    """All lines that were asked for, round by round."""

    def __init__(self, scene: Scene, results: Results, args: argparse.Namespace) -> None:
        self._scene, self._results, self._args = scene, results, args
        self._tested = next(name for name in scene.gateways if name != "empty")

    def run(self) -> None:
        """Measure; what fails is told and left out."""
        steps: dict[str, Callable[[int], None]] = {
            "same": self._same,
            "different": self._different,
            "recovery": self._recovery,
            "leaving": self._leaving,
            "rubbish": self._rubbish,
        }
        for number in range(self._args.rounds):
            for line in self._args.lines:
                if line in steps:
                    begin = time.monotonic()
                    steps[line](number)
                    took_s = time.monotonic() - begin
                    print(f"round {number + 1}: {line}, {took_s:.0f} s", file=sys.stderr)
        if "recovery" in self._args.lines:
            self._own_recovery()
        if "memory" in self._args.lines:
            sample = lines.memory(self._scene, self._args.outage)
            self._results.add("memory/500", "ours", sample)

    def _closed(self, line: str, name: str, devices: int, *, is_different: bool) -> None:
        gateway, seconds = self._scene.gateways[name], self._args.seconds
        sample = closed_loop(self._scene, gateway, devices, seconds, is_different=is_different)
        self._results.add(f"{line}/{devices}", name, sample)

    def _same(self, _: int) -> None:
        for devices in self._args.devices:
            self._closed("same", self._tested, devices, is_different=False)
            self._closed("same", "empty", devices, is_different=False)

    def _different(self, _: int) -> None:
        for devices in self._args.devices:
            self._closed("different", self._tested, devices, is_different=True)
            self._closed("different", "empty", devices, is_different=True)

    def _recovery(self, number: int) -> None:
        self._results.add("recovery", self._tested, lines.recovery(self._scene, number))

    def _own_recovery(self) -> None:
        """The same with our own control plane, killed alone and with its broker."""
        with tempfile.TemporaryDirectory(prefix="mg-") as name:
            folder, durability = Path(name) / "own", self._args.durability
            with own_stage(self._scene.toolbox, folder, durability) as stage:
                for number in range(self._args.rounds):
                    outage_s = lines.OUTAGES_S[number % len(lines.OUTAGES_S)]
                    for kind in ("control plane", "broker"):
                        sample = stage.lose(outage_s, with_broker=kind == "broker")
                        self._results.add(f"returning/{kind}", self._tested, sample)

    def _leaving(self, _: int) -> None:
        self._results.add("leaving", self._tested, lines.leaving(self._scene))

    def _rubbish(self, _: int) -> None:
        for devices in RUBBISH_DEVICES:
            for name in (self._tested, "empty"):
                sample = lines.rubbish(self._scene, name, devices, self._args.seconds)
                self._results.add(f"rubbish/{devices}", name, sample)


@contextmanager
def scene_for(args: argparse.Namespace, folder: Path) -> Iterator[Scene]:
    """Ours, or the foreign gateway; the empty one beside it."""
    toolbox = build(folder, has_compiler=not args.python)
    if args.against is None:
        with own_scene(toolbox, folder, args.durability, checkout=args.checkout.resolve()) as scene:
            yield scene
        return
    host, _, port = args.against.rpartition(":")
    pids = tuple(map(int, args.pids.split(","))) if args.pids else ()
    with ExitStack() as stack:
        empty = stack.enter_context(empty_gateway(toolbox))
        foreign = Gateway(host, int(port), pids)
        yield Scene(toolbox, {"other": foreign, "empty": empty}, module=args.module)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="medians of so many (5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of one closed loop (2)")
    parser.add_argument("--devices", type=int, nargs="+", default=list(DEVICES))
    parser.add_argument("--lines", nargs="+", choices=LINES, default=list(LINES))
    parser.add_argument("--outage", type=float, default=30.0, help="seconds, for the memory (30)")
    parser.add_argument("--durability", default="power", choices=("power", "process", "memory"))
    parser.add_argument("--quick", action="store_true", help="one short round of each line")
    parser.add_argument("--against", metavar="HOST:PORT", help="another gateway, by its address")
    parser.add_argument("--pids", default="", help="of the other gateway's processes, by commas")
    parser.add_argument("--module", type=int, default=1001, help="of the other: a button module")
    parser.add_argument("--checkout", type=Path, default=REPOSITORY, help="another source of ours")
    parser.add_argument("--python", action="store_true", help="do as if there were no compiler")
    parser.add_argument("--out", type=Path, help="folder for black_box.json and black_box.md")
    parser.add_argument("--more", action="store_true", help="add rounds to those in --out")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds, args.outage = 1, 1.0, 5.0
    if args.against is not None:
        args.lines = [line for line in args.lines if line in DEVICE_SIDE]
    return args


def main() -> int:
    """Measure and print."""
    args = arguments()
    file = args.out / "black_box.json" if args.out else None
    with tempfile.TemporaryDirectory(prefix="mg-") as name, scene_for(args, Path(name)) as scene:
        results = Results(scene.toolbox.kind, describe_machine(Path(name)))
        if file is not None and args.more and file.exists():
            results.lines = Results.load(file).lines
        try:
            Suite(scene, results, args).run()
        finally:
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                results.save(file)
                file.with_suffix(".md").write_text("\n".join(table(results)) + "\n")
    print("\n".join(table(results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
