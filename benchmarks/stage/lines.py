"""The lines of the table beside the closed loops: recovery, neighbours, memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from benchmarks.stage.round_trips import Sample
from benchmarks.stage.scene import SETTLE_S, Scene, Upstream, run_words

OUTAGES_S: Final = (2.0, 4.0, 3.0, 6.0, 5.0)
"""Of different lengths, so that no timer of the gateway happens to fit."""
RETURN_LIMIT_S: Final = 60.0
LEAVE_RATE_HZ: Final = 1000
LEAVE_DEVICES: Final = 10
MEMORY_DEVICES: Final = 500
OUTAGE_RATE_HZ: Final = 500
NS_PER_MS: Final = 1e6


def recovery(scene: Scene, number: int) -> Sample:
    """From when the control plane can be reached to its first status. Round `number`.

    Broker and control plane go without a word while statuses keep coming, and return.
    """
    upstream, gateway = _upstream_of(scene), scene.gateways["ours"]
    with scene.devices(gateway, LEAVE_DEVICES) as load:
        load.tell("run seconds=100000 rate=100 different=1")
        time.sleep(SETTLE_S)
        upstream.stop()
        time.sleep(OUTAGES_S[number % len(OUTAGES_S)])
        upstream.start()
        seen = _wait_for(upstream.report, "ready_ns")
        load.process.kill()
    since_ns = seen["subscribed_ns"]
    return {
        "connect_ms": (seen["connect_ns"] - since_ns) / NS_PER_MS,
        "first_status_ms": (seen["first_status_ns"] - since_ns) / NS_PER_MS,
        "running_ms": (seen["ready_ns"] - since_ns) / NS_PER_MS,
    }


def _wait_for(report: Callable[[], Sample], key: str) -> Sample:
    deadline = time.monotonic() + RETURN_LIMIT_S
    while not (seen := report())[key]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {key}: {seen}")
        time.sleep(0.02)
    return seen


def leaving(scene: Scene) -> Sample:
    """The longest pause at the control plane after one of ten devices left, and before."""
    upstream, gateway = _upstream_of(scene), scene.gateways["ours"]
    upstream.drain()
    words = f"run seconds=4 rate={LEAVE_RATE_HZ} different=1 leave_s=2"
    with scene.devices(gateway, LEAVE_DEVICES) as load:
        run = load.ask(words)
        spans = {
            "before_ms": (run["begin_ns"], run["left_ns"]),
            "after_ms": (run["left_ns"], run["end_ns"]),
        }
        windows = {name: upstream.program.ask(f"window {a} {b}") for name, (a, b) in spans.items()}
    if not all(window["statuses"] for window in windows.values()):
        raise RuntimeError(f"nothing was forwarded: {windows}")
    return {name: window["longest_pause_ms"] for name, window in windows.items()} | {
        "late_share": run["late_share"]
    }


def rubbish(scene: Scene, name: str, devices: int, seconds: float) -> Sample:
    """The p99 of healthy devices without and beside two that break the protocol all the time.

    Each of the two connects properly, sends a status that no module takes, or bytes that are no
    message, or the header of a frame of 4 GiB, is closed, and connects again at once.
    """
    gateway = scene.gateways[name]
    with scene.devices(gateway, devices) as load:
        calm = load.ask(run_words(gateway, seconds))
        beside = load.ask(run_words(gateway, seconds, rubbish=2))
    p99 = beside["round_trip_us"]["p99"]
    return {
        "calm_p99_us": calm["round_trip_us"]["p99"],
        "beside_p99_us": p99,
        "ratio": p99 / calm["round_trip_us"]["p99"],
        "calm_per_s": calm["per_s"],
        "beside_per_s": beside["per_s"],
        "rubbish_per_s": beside["rubbish"] / beside["seconds"],
        "closed": beside["closed"],
    }


def memory(scene: Scene, outage_s: float) -> Sample:
    """All processes with 500 devices at 500 statuses/s: in session, and through an outage."""
    upstream, gateway = _upstream_of(scene), scene.gateways["ours"]
    upstream.drain()
    with scene.devices(gateway, MEMORY_DEVICES) as load:
        load.tell(f"run seconds=100000 rate={OUTAGE_RATE_HZ} different=1")
        time.sleep(5)
        before = gateway.memory_kib()
        upstream.stop()
        time.sleep(outage_s)
        during = gateway.memory_kib()
        upstream.start()
        _wait_for(upstream.report, "ready_ns")
        time.sleep(SETTLE_S)
        after = gateway.memory_kib()
        load.process.kill()
    sizes = {"in_session": before, "in_outage": during, "after": after}
    return {
        f"{when}_{kind}_mib": size[kind] / 1024
        for when, size in sizes.items()
        for kind in ("rss", "pss")
    } | {"outage_s": outage_s}


def _upstream_of(scene: Scene) -> Upstream:
    assert scene.upstream is not None
    return scene.upstream
