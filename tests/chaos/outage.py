"""Row N1: an hour without a control plane, sixty times faster, and everything after it.

100 devices get 360,000 statuses answered while nobody listens upstream. Then the control plane
comes, and either hears one fold per device whose counts are right, or every status in order.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from module_gateway.protocol.identity import Identity
from tests.chaos.flood import Reporter, reporters
from tests.chaos.footprint import load_average, milliseconds, size_mib
from tests.chaos.late_control_plane import AGGREGATE, MODULE, Scene, scene
from tests.chaos.witness import CONNECTING, DISCONNECT, Heard

DEVICES: Final = 100
EACH: Final = 3_600
LIVE_LIMIT_S: Final = 1.0
RATE_LIMIT: Final = 1_000.0
RSS_LIMIT_MIB: Final = 200.0
LEFT_LIMIT_MIB: Final = 12.0
"""Of the store's folder when everything is acknowledged: it keeps up to 4 MiB of free pages and
4 MiB of write-ahead log for what comes next."""
CALM_S: Final = 5.0
"""Of live statuses after the drain."""
TAIL_LIMIT_S: Final = 30.0
SHRINK_LIMIT_S: Final = 60.0
POLL_S: Final = 0.1


@dataclass(slots=True)
class Finding:
    """Figures of a run in words, and the limits that were missed."""

    row: str
    mode: str
    figures: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def require(self, is_kept: bool, failure: str) -> None:
        """Note the failure unless the limit is kept."""
        if not is_kept:
            self.failures.append(failure)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "row": self.row, "mode": self.mode, **self.figures, "failures": self.failures,
        }  # fmt: skip

    def lines(self) -> list[str]:
        """For people."""
        told = [f"{self.row} {self.mode}"]
        told += [f"  {name.replace('_', ' ')}: {value}" for name, value in self.figures.items()]
        return told + [f"  FAILED {failure}" for failure in self.failures]


async def until(is_so: Callable[[], bool], limit_s: float, what: str) -> None:
    """Wait for what other processes do; there is no event to wait for."""
    try:
        async with asyncio.timeout(limit_s):
            while not is_so():
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"within {limit_s:g} s not so: {what}") from None


@asynccontextmanager
async def reporting(fleet: Sequence[Reporter]) -> AsyncIterator[None]:
    """All of them run as long as the context lasts."""
    running = [asyncio.create_task(each.run(), name=str(each.identity)) for each in fleet]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def shrunk(here: Scene, limit_s: float) -> float:
    """Seconds until the store's folder has become small, at most `limit_s`."""
    started = time.monotonic()
    while time.monotonic() - started < limit_s:
        if size_mib(here.stack.state_dir / "store") <= LEFT_LIMIT_MIB:
            break
        await asyncio.sleep(POLL_S)
    return round(time.monotonic() - started, 1)


async def run(mode: str, scale: float = 1.0, drain_limit_s: float = 1_200.0) -> Finding:
    """One outage and its end."""
    each = max(2, int(EACH * scale))
    found = Finding("N1", mode)
    figures = found.figures
    identities = [Identity(MODULE, 0, f"device_{number}") for number in range(DEVICES)]
    async with scene(mode) as here:
        store = here.stack.state_dir / "store"
        figures["store_mib"] = {"before": size_mib(store)}
        fleet = reporters(identities, here.stack.gateway)
        for device in fleet:
            device.flood(each)
        started = time.monotonic()
        async with reporting(fleet):
            async with asyncio.timeout(drain_limit_s):
                for device in fleet:
                    await device.reached.wait()
            outage_s = time.monotonic() - started
            answered = sum(len(device.answered) for device in fleet)
            figures["answered_in_the_outage"] = answered
            figures["outage_s"] = round(outage_s, 1)
            figures["answered_per_s"] = round(answered / outage_s)
            figures["store_mib"]["at_the_end_of_the_outage"] = size_mib(store)
            await here.control_plane.start()
            came, used_s = time.monotonic(), here.memory.cpu_s()
            await until(lambda: is_drained(mode, here, fleet, each), drain_limit_s, "drained")
            figures["drained_after_s"] = round(time.monotonic() - came, 1)
            figures["cores_while_draining"] = here.memory.cores_since(used_s, came)
            figures["closed_devices"] = await here.closures()
            await asyncio.sleep(CALM_S)
        await until(
            lambda: all(here.witness.newest[d.identity.role] >= max(d.answered) for d in fleet),
            TAIL_LIMIT_S, "the last statuses are upstream",
        )  # fmt: skip
        figures["store_small_again_after_s"] = await shrunk(here, SHRINK_LIMIT_S)
        figures["store_mib"]["afterwards"] = size_mib(store)
        figures["rss_most_mib"] = dict(here.memory.look())
        figures["load_average"] = load_average()
        await judge_control_plane(found, here, fleet)
    if mode == AGGREGATE:
        judge_folds(found, fleet, here.witness.heard, each)
    else:
        judge_replay(found, fleet, here.witness.heard)
    judge_footprint(found)
    found.failures += here.witness.faults
    return found


def is_drained(mode: str, here: Scene, fleet: Sequence[Reporter], each: int) -> bool:
    """Whether whatever was answered in the outage has been told upstream."""
    if mode == AGGREGATE:
        return all(here.witness.newest[device.identity.role] >= each for device in fleet)
    return here.witness.statuses >= each * len(fleet) and all(
        len({heard.number for heard in here.witness.heard[d.identity.role]} & d.answered)
        >= len(d.answered) - 2
        for d in fleet
    )


async def judge_control_plane(found: Finding, here: Scene, fleet: Sequence[Reporter]) -> None:
    """Our control plane must have counted each status that the witness heard, once."""
    counted = await here.counted([device.identity.role for device in fleet])
    heard = {role: len(here.witness.heard[role]) for role in counted}
    found.figures["counted_by_the_control_plane"] = sum(counted.values())
    found.figures["heard_upstream"] = sum(heard.values())
    missed = {role: (counted[role], heard[role]) for role in heard if counted[role] < heard[role]}
    found.require(not missed, f"the control plane counted less than was heard: {sample(missed)}")


def judge_order(
    found: Finding, fleet: Sequence[Reporter], heard_of: Mapping[str, list[Heard]]
) -> None:
    """Everything answered is there, once, and each lane in order."""
    lost = twice = reordered = phantom = 0
    for device in fleet:
        heard = [each for each in heard_of[device.identity.role] if each.state != DISCONNECT]
        numbers = Counter(each.number for each in heard)
        lost += len(device.answered - numbers.keys())
        twice += sum(times - 1 for times in numbers.values())
        phantom += sum(not device.first <= number <= device.sent for number in numbers)
        for lane in (True, False):
            line = [each.number for each in heard if each.is_live is lane]
            reordered += sum(one > other for one, other in pairwise(line))
    words = {"lost": lost, "duplicated": twice, "reordered": reordered, "phantom": phantom}
    found.figures |= words
    found.failures += [f"{word}: {number}" for word, number in words.items() if number]


def judge_replay(
    found: Finding, fleet: Sequence[Reporter], heard_of: Mapping[str, list[Heard]]
) -> None:
    """All statuses in order and fast enough, and live ones beside them at once."""
    judge_order(found, fleet, heard_of)
    replayed = sorted(one.at for heard in heard_of.values() for one in heard if one.is_replayed)
    took_s = replayed[-1] - replayed[0] if replayed else 0.0
    rate = len(replayed) / took_s if took_s else 0.0
    found.figures["replayed"] = len(replayed)
    found.figures["replayed_per_s"] = round(rate)
    found.require(rate >= RATE_LIMIT, f"replayed {rate:.0f}/s, not {RATE_LIMIT:.0f}/s")
    judge_live(found, fleet, heard_of, replayed[-1] if replayed else 0.0)


def judge_live(
    found: Finding, fleet: Sequence[Reporter], heard_of: Mapping[str, list[Heard]], until_s: float
) -> None:
    """From a device's first live status on, each one that it sends during the replay is quick."""
    lags, never = [], 0
    for device in fleet:
        heard = heard_of[device.identity.role]
        at = {one.number: one.at for one in heard}
        first = min((one.number for one in heard if one.is_live), default=device.sent + 1)
        for number in range(first, device.sent + 1):
            if number not in device.answered or device.time_of(number) > until_s:
                continue
            never += number not in at
            lags.append(at.get(number, until_s) - device.time_of(number))
    found.figures["live_during_the_replay"] = len(lags)
    found.figures["live_behind_ms"] = milliseconds(lags)
    found.require(bool(lags), "no live status was heard during the replay")
    longest = max(lags, default=0.0)
    found.require(longest <= LIVE_LIMIT_S, f"a live status was {longest:.2f} s behind")
    found.require(not never, f"{never} live statuses never came")


def judge_folds(
    found: Finding, fleet: Sequence[Reporter], heard_of: Mapping[str, list[Heard]], each: int
) -> None:
    """Per device one CONNECTING with an aggregate that counts everything up to its status."""
    wrong: dict[str, Any] = {}
    folded = 0
    for device in fleet:
        heard = heard_of[device.identity.role]
        folds = [one for one in heard if one.error is not None]
        if len(folds) != 1 or folds[0] is not heard[0] or folds[0].state != CONNECTING:
            wrong[device.identity.role] = f"{len(folds)} folds in {[e.state for e in heard[:5]]}"
            continue
        (fold,) = folds
        assert fold.error is not None
        counts = json.loads(fold.error)
        folded += counts["total_statuses"]
        expected = device.answered & set(range(1, fold.number + 1))
        pressed = sum(number % 2 for number in expected)
        right = {
            "pressed_count": pressed,
            "not_pressed_count": len(expected) - pressed,
            "total_statuses": len(expected),
        }
        after = [one.number for one in heard[1:] if one.state != DISCONNECT]
        rest = sorted(number for number in device.answered if number > fold.number)
        if counts != right or fold.number < each:
            wrong[device.identity.role] = f"{counts}, not {right}"
        elif after != rest:
            wrong[device.identity.role] = f"after the fold {after[:5]}, not {rest[:5]}"
    found.figures["folds"] = len(fleet) - len(wrong)
    found.figures["statuses_in_folds"] = folded
    found.require(not wrong, f"{len(wrong)} devices with a wrong fold: {sample(wrong)}")


def judge_footprint(found: Finding) -> None:
    """Memory of every process, and the disk afterwards."""
    for name, most in found.figures["rss_most_mib"].items():
        found.require(most <= RSS_LIMIT_MIB, f"{name} took {most} MiB")
    left = found.figures["store_mib"]["afterwards"]
    found.require(left <= LEFT_LIMIT_MIB, f"the store's folder still has {left} MiB")


def sample(entries: dict[str, Any]) -> dict[str, Any]:
    """The first three."""
    return dict(list(entries.items())[:3])
