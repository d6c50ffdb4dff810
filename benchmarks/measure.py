"""One closed loop against our gateway, while you make it faster: the quick look.

    .venv/bin/python -m benchmarks.measure [DEVICES] [same|different] [--seconds 4] [--rounds 1]
        [--checkout FOLDER]     # the gateway of another checkout, to compare two states

Prints rate, latency, CPU time per round trip of each process, and what arrived upstream. The
generator and the control plane's stand-in are small programs in C (about 5 us of CPU per round
trip), so nearly all of both cores is the gateway's. Beside it: the same against an empty gateway.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.stage.gateways import REPOSITORY
from benchmarks.stage.programs import build
from benchmarks.stage.round_trips import cpu_by_process, cpu_us
from benchmarks.stage.scene import Scene, own_scene, run_words


def look(scene: Scene, name: str, devices: int, seconds: float, *, is_different: bool) -> None:
    """Measure one gateway and print a few lines."""
    gateway, upstream = scene.gateways[name], scene.upstream
    assert upstream is not None
    with scene.devices(gateway, devices) as load:
        run = load.ask(run_words(gateway, seconds, warm_s=1, different=is_different))
        times = run["round_trip_us"]
        print(
            f"{name}: {run['per_s']:,.0f}/s, "
            f"p50 {times['p50']:,.0f} us, p99 {times['p99']:,.0f} us; "
            f"{cpu_us(run):.1f} us CPU per round trip {cpu_by_process(run)}; "
            f"closed {run['closed']}, wrong {run['wrong']}, generator busy {run['busy_share']:.2f}"
        )
        if name == "ours" and is_different:
            window = upstream.program.ask(f"window {run['begin_ns']} {run['end_ns']}")
            upstream.drain()
            seen = upstream.report()
            print(
                f"      {window['per_s']:,.0f}/s at the control plane, "
                f"missing {seen['missing']}, out of order {seen['backwards']}"
            )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("devices", type=int, nargs="?", default=100)
    parser.add_argument("statuses", choices=("same", "different"), nargs="?", default="same")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--durability", default="power")
    parser.add_argument("--checkout", type=Path, default=REPOSITORY)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mg-") as name:
        folder = Path(name)
        toolbox = build(folder)
        checkout = args.checkout.resolve()
        with own_scene(toolbox, folder, args.durability, checkout=checkout) as scene:
            for _ in range(args.rounds):
                is_different = args.statuses == "different"
                look(scene, "ours", args.devices, args.seconds, is_different=is_different)
                seconds = min(args.seconds, 1)
                look(scene, "empty", args.devices, seconds, is_different=is_different)
    return 0


if __name__ == "__main__":
    sys.exit(main())
