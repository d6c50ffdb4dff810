"""The closed loop: rate, latency and CPU time of round trips, forwarded or not."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.stage.gateways import Gateway, command_line
from benchmarks.stage.scene import Scene, run_words

Sample = dict[str, float]


def median_of(samples: Sequence[Sample]) -> Sample:
    """The median of every figure."""
    return {key: statistics.median(each[key] for each in samples) for key in samples[0]}


def cpu_us(run: dict[str, Any]) -> float:
    """CPU time of all watched processes per round trip."""
    return float(sum(run["watched_cpu_s"].values()) / max(run["answered"], 1) * 1e6)


def closed_loop(
    scene: Scene, gateway: Gateway, devices: int, seconds: float, *, is_different: bool
) -> Sample:
    """One round with fresh connections.

    Raises:
        RuntimeError: a device was closed or answered wrongly, or statuses arrived upstream in
            another order than they were sent: such a rate means nothing.
    """
    upstream = scene.upstream if gateway is scene.gateways.get("ours") else None
    if upstream is not None:
        upstream.drain()
        upstream.program.ask("reset")
    with scene.devices(gateway, devices) as load:
        words = run_words(gateway, seconds, warm_s=0.7, different=is_different)
        run = load.ask(words)
        if run["wrong"]:
            raise RuntimeError(f"wrong answers: {run}")
        sample = {
            "per_s": run["per_s"],
            "p50_us": run["round_trip_us"]["p50"],
            "p99_us": run["round_trip_us"]["p99"],
            "cpu_us": cpu_us(run),
            "load_cpu_us": run["own_cpu_s"] / max(run["answered"], 1) * 1e6,
            "load_busy": run["busy_share"],
            "closed": run["closed"],
        }
        if upstream is not None and is_different:
            window = upstream.program.ask(f"window {run['begin_ns']} {run['end_ns']}")
            sample["forwarded_per_s"] = window["per_s"]
            sample |= _forwarding_faults(scene)
    return sample


def _forwarding_faults(scene: Scene) -> Sample:
    """After everything has arrived: statuses that never came, and those out of order."""
    assert scene.upstream is not None
    scene.upstream.drain()
    seen = scene.upstream.report()
    return {"missing": seen["missing"], "backwards": seen["backwards"]}


def cpu_by_process(run: dict[str, Any]) -> dict[str, float]:
    """Microseconds per round trip of each process, by a word of its command line."""
    shares: dict[str, float] = {}
    words = ("mosquitto", "internal-server", "module-handler", "external-client", "run")
    for pid, spent_s in run["watched_cpu_s"].items():
        line = command_line(int(pid))
        name = next((word for word in words if word in line), "gateway")
        shares[name] = shares.get(name, 0.0) + spent_s / max(run["answered"], 1) * 1e6
    return {name: round(share, 1) for name, share in shares.items()}
