"""Ten thousand connected devices: memory, latency at 2,000 statuses a second, a reconnect storm.

    .venv/bin/python -m benchmarks.crowd [--devices 10000] [--rounds 3] [--json]

The memory of an idle connection is what the internal server's resident memory grows by while they
connect, divided by their number. Then every device reports once in five seconds; a latency counts
from when the status was due.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.stage.gateways import REPOSITORY, Gateway
from benchmarks.stage.programs import Program, build
from benchmarks.stage.round_trips import cpu_us, median_of
from benchmarks.stage.scene import Scene, own_scene, run_words

RATE_HZ: Final = 2_000
STORM: Final = 2_000
WINDOW: Final = 256
SECONDS: Final = 6.0
MEMORY_GOAL_KIB: Final = 6.0
P99_GOAL_MS: Final = 25.0
STORM_GOAL_S: Final = 20.0


def server_kib(gateway: Gateway) -> int:
    """Resident memory of the internal server."""
    return gateway.memory_kib((gateway.pid_of("internal-server"),))["rss"]


def paced(load: Program, gateway: Gateway, *, is_different: bool) -> dict[str, float]:
    """One open loop over all devices."""
    run = load.ask(run_words(gateway, SECONDS, warm_s=5.5, rate=RATE_HZ, different=is_different))
    return {
        "p50_ms": run["round_trip_us"]["p50"] / 1e3,
        "p99_ms": run["round_trip_us"]["p99"] / 1e3,
        "max_ms": run["round_trip_us"]["max"] / 1e3,
        "per_s": run["per_s"],
        "cpu_us": cpu_us(run),
        "late_share": run["late_share"],
        "skipped": run["skipped"],
        "closed": run["closed"],
    }


def storm(load: Program) -> dict[str, float]:
    """A fifth of them falls off and comes back at once; over when each was answered a status."""
    answer = load.ask(f"storm devices={STORM} limit_s=60")
    return {
        "seconds": answer["seconds"],
        "served": answer["served"],
        "served_p50_s": answer["served_us"]["p50"] / 1e6,
        "refused": answer["refused"],
        "closed": answer["closed"],
    }


def measure(scene: Scene, devices: int, rounds: int) -> dict[str, Any]:
    """Everything; medians of the rounds."""
    gateway = scene.gateways["ours"]
    words = (gateway.host, gateway.port, devices, 0, scene.module)
    before = server_kib(gateway)
    with Program(scene.toolbox.command("load", *words)) as load:
        connected = load.ask(f"connect window={WINDOW} limit_s=110")
        idle_kib = (server_kib(gateway) - before) / devices
        runs: dict[str, list[dict[str, float]]] = {"same": [], "different": [], "storm": []}
        for _ in range(rounds):
            runs["same"].append(paced(load, gateway, is_different=False))
            runs["different"].append(paced(load, gateway, is_different=True))
            runs["storm"].append(storm(load))
        memory = gateway.memory_kib()
    return {
        "devices": devices,
        "connected": connected["connected"],
        "connecting_s": connected["seconds"],
        "idle_kib": idle_kib,
        "resident_mib": memory["rss"] / 1024,
        **{name: median_of(many) for name, many in runs.items()},
    }


def table(figures: dict[str, Any]) -> Iterator[str]:
    """Lines of Markdown."""
    same, different, storms = figures["same"], figures["different"], figures["storm"]
    yield f"| {figures['devices']:,} connected devices | to reach | measured |"
    yield "|---|---|---|"
    yield (
        f"| memory of an idle connection in the internal server | {MEMORY_GOAL_KIB:.0f} KiB "
        f"| **{figures['idle_kib']:.1f} KiB** |"
    )
    for name, run in (("unchanged", same), ("every one different, forwarded", different)):
        yield (
            f"| 2,000 statuses/s, {name}: p50 / p99 | p99 {P99_GOAL_MS:.0f} ms "
            f"| {run['p50_ms']:.1f} / **{run['p99_ms']:.1f} ms** ({run['per_s']:,.0f}/s, "
            f"{run['cpu_us']:.0f} us of CPU each, generator late {run['late_share']:.1%}) |"
        )
    yield (
        f"| storm: {STORM:,} fall off and come back at once, all answered again after "
        f"| {STORM_GOAL_S:.0f} s | **{storms['seconds']:.1f} s** (half after "
        f"{storms['served_p50_s']:.1f} s) |"
    )
    yield (
        f"| connecting all, {WINDOW} at a time | | {figures['connected']:,} in "
        f"{figures['connecting_s']:.1f} s |"
    )
    yield f"| memory of all processes | | {figures['resident_mib']:.0f} MiB |"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--durability", default="power")
    parser.add_argument("--checkout", type=Path, default=REPOSITORY)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mg-") as name:
        folder = Path(name)
        checkout = args.checkout.resolve()
        with own_scene(build(folder), folder, args.durability, checkout=checkout) as scene:
            figures = measure(scene, args.devices, args.rounds)
    print(json.dumps(figures) if args.json else "\n".join(table(figures)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
