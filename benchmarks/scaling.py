"""What one status costs when there are more devices, more modules, a longer backlog; and its plot.

    .venv/bin/python -m benchmarks.scaling                    # measure and print
    .venv/bin/python -m benchmarks.scaling --plot             # and make docs/scaling.svg again
    .venv/bin/python -m benchmarks.scaling --only backlog

CPU time of all gateway processes with the bus broker per status, at 1,000 statuses a second of all
devices together (so that batches do not grow with the number of devices) and in a closed loop where
every device sends as fast as it is answered. During the backlog's points the control plane is away.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.stage.backlog import fill
from benchmarks.stage.gateways import MODULE, REPOSITORY, Gateway, configuration, our_gateway
from benchmarks.stage.programs import Program, Toolbox, build
from benchmarks.stage.results import markdown
from benchmarks.stage.round_trips import cpu_us
from benchmarks.stage.scene import own_scene, run_words

DEVICES: Final = (1, 10, 100, 1_000, 5_000)
MODULES: Final = (1, 5, 10, 20)
BACKLOG: Final = (0, 10_000, 100_000, 1_000_000)
DEVICES_OF_MODULES: Final = 200
DEVICES_OF_BACKLOG: Final = 100
RATE_HZ: Final = 1_000
NOWHERE: Final = 1
"""A port on which nobody listens: the control plane is away."""
QUIET_SHARE: Final = 0.1
QUIET_LIMIT_S: Final = 180.0
PLOT: Final = REPOSITORY / "docs" / "scaling.svg"
SWEEPS: Final = ("devices", "modules", "backlog")
Point = dict[str, float]


def costs(
    toolbox: Toolbox, gateway: Gateway, devices: int, args: argparse.Namespace, modules: int = 1
) -> Point:
    """Microseconds of CPU per status, paced and closed: medians of the rounds."""
    words = (gateway.host, gateway.port, devices, 0, MODULE, modules)
    paced, closed = [], []
    with Program(toolbox.command("load", *words)) as load:
        answer = load.ask("connect window=128")
        if answer["connected"] != devices:
            raise RuntimeError(f"{devices} devices wanted: {answer}")
        load.ask(f"run seconds=0.1 rate={max(RATE_HZ, devices)} warm_s=1.1")  # all are registered
        for _ in range(args.rounds):
            is_different = args.different
            run = run_words(gateway, args.seconds, rate=RATE_HZ, different=is_different)
            paced.append(cpu_us(load.ask(run)))
            closed.append(cpu_us(load.ask(run_words(gateway, args.seconds))))
    return {"paced_us": statistics.median(paced), "closed_us": statistics.median(closed)}


def sweep_devices(toolbox: Toolbox, folder: Path, args: argparse.Namespace) -> Iterator[Point]:
    """1 to 5,000 devices, one module."""
    with own_scene(toolbox, folder, checkout=args.checkout) as scene:
        for devices in DEVICES:
            yield {"x": devices, **costs(toolbox, scene.gateways["ours"], devices, args)}


def sweep_modules(toolbox: Toolbox, folder: Path, args: argparse.Namespace) -> Iterator[Point]:
    """200 devices spread over 1 to 20 modules."""
    for modules in MODULES:
        place = folder / f"m{modules}"
        place.mkdir()
        with own_scene(toolbox, place, modules=modules, checkout=args.checkout) as scene:
            gateway = scene.gateways["ours"]
            yield {"x": modules, **costs(toolbox, gateway, DEVICES_OF_MODULES, args, modules)}


def sweep_backlog(toolbox: Toolbox, folder: Path, args: argparse.Namespace) -> Iterator[Point]:
    """100 devices while 0 to 1,000,000 statuses wait for a control plane that is away."""
    for entries in BACKLOG:
        place = folder / f"b{entries}"
        place.mkdir()
        fill(place / "s", DEVICES_OF_BACKLOG, entries)
        with our_gateway(place, configuration(NOWHERE, "power"), args.checkout) as gateway:
            _wait_until_quiet(toolbox, gateway)
            yield {"x": entries, **costs(toolbox, gateway, DEVICES_OF_BACKLOG, args)}


def _wait_until_quiet(toolbox: Toolbox, gateway: Gateway) -> None:
    """The client reads the backlog once after its start; that is not the cost of a status."""
    deadline = time.monotonic() + QUIET_LIMIT_S
    words = (gateway.host, gateway.port, 1, 900_000)
    with Program(toolbox.command("load", *words)) as load:
        load.ask("connect")
        while time.monotonic() < deadline:
            run = load.ask(run_words(gateway, 1, warm_s=0, rate=1))
            if sum(run["watched_cpu_s"].values()) < QUIET_SHARE:
                return
    raise TimeoutError("the gateway never comes to rest")


def plot(points: dict[str, list[Point]], file: Path) -> None:
    """Three panels side by side, the same scale of cost."""
    import matplotlib as mpl  # noqa: PLC0415 - only who wants the plot needs it

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "module-gateway"
    import matplotlib.pyplot as plt  # noqa: PLC0415

    titles = {"devices": "devices", "modules": "modules", "backlog": "statuses that wait"}
    figure, axes = plt.subplots(1, len(points), figsize=(10, 3.4), sharey=True, squeeze=False)
    for axis, (name, series) in zip(axes[0], points.items(), strict=True):
        places = range(len(series))
        axis.plot(places, [each["paced_us"] for each in series], "o-", label="1,000 statuses/s")
        axis.plot(places, [each["closed_us"] for each in series], "s--", label="closed loop")
        axis.set_xticks(list(places), [f"{each['x']:,.0f}" for each in series])
        axis.set_xlabel(titles[name])
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("us of CPU per status")
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


def table(points: dict[str, list[Point]]) -> Iterator[str]:
    """Lines of Markdown."""
    rows = [
        (name, f"{each['x']:,.0f}", f"{each['paced_us']:.0f}", f"{each['closed_us']:.0f}")
        for name, series in points.items()
        for each in series
    ]
    header = ("what grows", "to", "us of CPU per status at 1,000/s", "in a closed loop")
    yield from markdown(header, rows)


def measure(args: argparse.Namespace) -> dict[str, list[Point]]:
    """All wanted sweeps."""
    sweeps = {"devices": sweep_devices, "modules": sweep_modules, "backlog": sweep_backlog}
    points: dict[str, list[Point]] = {}
    with tempfile.TemporaryDirectory(prefix="mg-") as name:
        folder = Path(name)
        toolbox = build(folder)
        for sweep in args.only:
            place = folder / sweep[:1]
            place.mkdir()
            points[sweep] = []
            for point in sweeps[sweep](toolbox, place, args):
                points[sweep].append(point)
                print(sweep, json.dumps(point), file=sys.stderr, flush=True)
    return points


def main() -> int:
    """Measure, print, plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SWEEPS, default=list(SWEEPS))
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--different", action="store_true", help="paced statuses differ")
    parser.add_argument("--checkout", type=Path, default=REPOSITORY)
    parser.add_argument("--plot", action="store_true", help=f"write {PLOT.name} into docs/")
    parser.add_argument("--points", type=Path, help="JSON file of the points, kept and added to")
    args = parser.parse_args()
    args.checkout = args.checkout.resolve()
    kept: dict[str, Any] = {}
    if args.points is not None and args.points.exists():
        kept = json.loads(args.points.read_text(encoding="utf-8"))
    points = kept | measure(args)
    ordered = {name: points[name] for name in SWEEPS if name in points}
    if args.points is not None:
        args.points.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    if args.plot:
        plot(ordered, PLOT)
    print("\n".join(table(ordered)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
