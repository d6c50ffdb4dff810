"""Rows K1-K4 and K6: processes of a whole gateway are killed under load, and everything is judged.

Real processes, a real Mosquitto, honest devices that send as often as they may. Words of the
verdicts as in decisions.md: lost, duplicated, reordered, phantom, wrong device.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx

from module_gateway.protocol.identity import Identity
from module_gateway.runtime.broker import is_port_free
from module_gateway.runtime.settings import DEFAULT_MODULE_PATHS
from tests.chaos.faults import BROKER, PARTS, Fault, Vandal
from tests.chaos.referee import Referee
from tests.chaos.wild_device import WildDevice
from tests.integration.stack import (
    ControlPlaneApi,
    Stack,
    control_plane_api,
    demo_configuration,
    running_stack,
)

MODULE: Final = 2000
HOLD_S: Final = 1.5
"""Shorter than the silence after which a process is given up (R6), long enough for a backlog."""
AGAIN_LIMIT_S: Final = 5.0
"""Issue 4: every device has an answered status again so soon after each kill."""
PATIENCE: Final = float(os.environ.get("MODULE_GATEWAY_TEST_PATIENCE", "1"))
DRAIN_LIMIT_S: Final = 90.0
PAGE: Final = 1_000
POLL_S: Final = 20.0
"""Between two looks at everybody's history: less than a page of statuses."""


@dataclass(slots=True)
class Kill:
    """One kill, and how long each device then waited for its next answered status."""

    part: str
    at: float
    waits_s: dict[str, float] = field(default_factory=dict)
    never: tuple[str, ...] = ()

    @property
    def longest_s(self) -> float:
        return max(self.waits_s.values(), default=0.0)


@dataclass(slots=True)
class Verdict:
    """What a run found. `failures` is empty when every promise was kept."""

    seed: int
    devices: int
    seconds: float
    answered: int = 0
    upstream: int = 0
    in_doubt: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    phantom: int = 0
    wrong_device: int = 0
    kills: list[Kill] = field(default_factory=list)
    rss_mib: dict[str, float] = field(default_factory=dict)
    details: list[str] = field(default_factory=list)

    def late_kills(self, limit_s: float) -> list[Kill]:
        """Kills after which somebody waited longer, whatever else was killed meanwhile."""
        return [kill for kill in self.kills if kill.longest_s > limit_s or kill.never]

    def failures(self, limit_s: float = AGAIN_LIMIT_S * PATIENCE) -> list[str]:
        """In words."""
        words = ("lost", "duplicated", "reordered", "phantom", "wrong_device")
        found = [f"{word}: {getattr(self, word)}" for word in words if getattr(self, word)]
        found += [
            f"after the kill of {kill.part} a device waited {kill.longest_s:.1f} s"
            for kill in self.late_kills(limit_s)
        ]
        return found + self.details[:20]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        waits = sorted(wait for kill in self.kills for wait in kill.waits_s.values())
        by_part: dict[str, list[float]] = defaultdict(list)
        for kill in self.kills:
            by_part[kill.part].append(round(kill.longest_s, 2))
        names = ("seed", "devices", "answered", "upstream", "in_doubt", "lost", "duplicated")
        return {
            **{name: getattr(self, name) for name in names},
            "reordered": self.reordered,
            "phantom": self.phantom,
            "wrong_device": self.wrong_device,
            "seconds": round(self.seconds, 1),
            "kills": len(self.kills),
            "again_s": {
                "p50": round(waits[len(waits) // 2], 2) if waits else None,
                "p99": round(waits[len(waits) * 99 // 100], 2) if waits else None,
                "max": round(waits[-1], 2) if waits else None,
            },
            "longest_again_s_by_part": {part: max(each) for part, each in by_part.items()},
            "late_kills": len(self.late_kills(AGAIN_LIMIT_S)),
            "rss_mib": self.rss_mib,
            "failures": self.failures(),
        }


def plan(
    rng: Random, parts: Sequence[str], kills: int, pause_s: tuple[float, float]
) -> list[Fault]:
    """Who is killed when."""
    return [Fault(rng.choice(parts), rng.uniform(*pause_s)) for _ in range(kills)]


class Histories:
    """What the control plane has of each device, gathered page by page while the run goes on."""

    def __init__(self, api: ControlPlaneApi, devices: Sequence[WildDevice]) -> None:
        self._api = api
        self._urls = {
            each.identity: api.device(MODULE, each.identity.device_type, each.identity.role)
            for each in devices
        }
        self.of: dict[Identity, dict[int, dict[str, Any]]] = defaultdict(dict)
        self.missed: list[str] = []

    async def poll_for_ever(self) -> None:
        """A look at everybody, again and again."""
        while True:
            await asyncio.sleep(POLL_S)
            await self.poll()

    async def poll(self) -> None:
        """Fetch what is new."""
        for identity, url in self._urls.items():
            try:
                entries = await self._api.get(f"{url}/history", limit=PAGE)
            except (AssertionError, httpx.HTTPError):
                continue  # not there yet
            known = self.of[identity]
            newest = max(known, default=0)
            if entries and entries[0]["number"] > newest + 1:
                self.missed.append(f"{identity}: {newest} … {entries[0]['number']}")
            for entry in entries:
                known.setdefault(entry["number"], entry)

    def history(self, identity: Identity) -> list[dict[str, Any]]:
        """In the order of arrival."""
        return [entry for _, entry in sorted(self.of[identity].items())]


def steady_port(rng: Random) -> int:
    """As in test_gateway_under_faults: never one that a retrying client could be given."""
    ports = iter(lambda: rng.randrange(20_000, 30_000), 0)
    return next(port for port in ports if is_port_free(port))


def told(history: list[dict[str, Any]]) -> list[int]:
    """The numbers in the order in which the control plane has counted them."""
    numbers: list[int] = []
    for entry in history:
        number = entry["status"]["data"]["n"]
        if entry["error"] is not None:
            numbers += entry["error"]["data"]
        elif entry["position"] is not None and (
            entry["state"] != "disconnect" or number not in numbers[-1:]
        ):
            numbers.append(number)
    return numbers


def judge(
    verdict: Verdict, devices: Sequence[WildDevice], referee: Referee, all_of: Histories
) -> None:
    """Compare what devices were answered with what the control plane has."""
    for device in devices:
        identity, role = device.identity, device.identity.role
        history = all_of.history(identity)
        numbers = told(history)
        answered = {each.number for each in referee.answered[role]}
        lost = answered - set(numbers)
        twice = [number for number, times in Counter(numbers).items() if times > 1]
        phantom = [number for number in numbers if not 0 < number <= device.sent]
        strange = [e for e in history if e["status"]["data"].get("of") != str(identity)]
        once = list(dict.fromkeys(numbers))
        reordered = sum(one > other for one, other in pairwise(once))
        verdict.answered += len(answered)
        verdict.upstream += len(numbers)
        verdict.in_doubt += device.sent - len(answered)
        verdict.lost += len(lost)
        verdict.duplicated += len(twice)
        verdict.phantom += len(phantom)
        verdict.reordered += reordered
        verdict.wrong_device += len(strange)
        if lost or twice or reordered:
            verdict.details.append(
                f"{identity}: lost {sorted(lost)[:10]} twice {twice[:10]} reordered {reordered}"
            )
    verdict.wrong_device += len(referee.wrong)
    verdict.details += referee.wrong[:5] + all_of.missed[:5]
    for kill in verdict.kills:
        measure(kill, devices, referee)


def measure(kill: Kill, devices: Sequence[WildDevice], referee: Referee) -> None:
    """How long each device waited for an answer to something that it sent after the kill."""
    never = []
    for device in devices:
        role = device.identity.role
        times = (e.at for e in referee.answered[role] if e.at - e.waited_s >= kill.at)
        first = next(times, None)
        if first is None:
            never.append(role)
        else:
            kill.waits_s[role] = first - kill.at
    kill.never = tuple(never)


def rss_mib(stack: Stack) -> dict[str, float]:
    """Resident memory of each process of the gateway."""
    sizes = {}
    for part in PARTS:
        try:
            is_broker = part == BROKER
            pid = stack.pid_of_broker("bus-broker.conf") if is_broker else stack.pid_of(part)
            text = Path(f"/proc/{pid}/status").read_text()
        except (OSError, AssertionError, ValueError):
            continue
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        sizes[part] = round(int(found[1]) / 1024, 1) if found else 0.0
    return sizes


async def run(
    seed: int,
    *,
    devices: int = 200,
    parts: Sequence[str] = PARTS,
    kills: int | None = None,
    minutes: float = 0.0,
    pause_s: tuple[float, float] = (1.0, 10.0),
    calm_s: float = 6.0,
    held: str | None = None,
    drain_limit_s: float = DRAIN_LIMIT_S,
    **sections: object,
) -> Verdict:
    """One gateway, its devices, kills by the seed; everything is drained and judged at the end.

    `held` stands still for HOLD_S around each kill: then much is under way to it or kept for it.
    """
    rng = Random(seed)
    settings = demo_configuration(
        **{
            "module-paths": {**DEFAULT_MODULE_PATHS, str(MODULE): "tests.modules.roll:RollModule"},
            "internal-server-settings": {"port": steady_port(rng), "metrics-port": 0},
            **sections,
        }
    )
    control_plane = settings["control-plane-settings"]
    assert isinstance(control_plane, dict)
    control_plane |= {"history-statuses": 2 * PAGE, "history-bytes": 8 * 1024 * 1024}
    referee = Referee()
    referee.is_wild = False
    verdict = Verdict(seed, devices, 0.0)
    started = time.monotonic()
    async with running_stack(settings, "--demo") as stack, control_plane_api(stack) as api:
        fleet = [
            WildDevice(
                Identity(MODULE, number % 3, f"device_{number}"),
                stack.gateway,
                referee,
                Random(rng.random()),
            )
            for number in range(devices)
        ]
        histories = Histories(api, fleet)
        polling = asyncio.create_task(histories.poll_for_ever(), name="histories")
        running = [asyncio.create_task(each.run(), name=str(each.identity)) for each in fleet]
        try:
            await all_answered(fleet, referee, time.monotonic())
            vandal = Vandal(stack)
            until = started + 60.0 * minutes
            while len(verdict.kills) < (kills if kills is not None else 10**6):
                if kills is None and time.monotonic() > until:
                    break
                (fault,) = plan(rng, parts, 1, pause_s)
                async with standing_still(vandal, held):
                    await vandal.commit(fault)
                verdict.kills.append(Kill(fault.part, vandal.last_fault))
            await vandal.all_back()
            await asyncio.sleep(calm_s)
            await all_answered(fleet, referee, time.monotonic())
        finally:
            for task in (*running, polling):
                task.cancel()
            ended = await asyncio.gather(*running, polling, return_exceptions=True)
        verdict.details += [repr(each) for each in ended if isinstance(each, Exception)]
        verdict.seconds = time.monotonic() - started
        verdict.rss_mib = rss_mib(stack)
        await drain(fleet, referee, histories, drain_limit_s)
        judge(verdict, fleet, referee, histories)
        code = await stack.stop()
        if code != 0:
            verdict.details.append(f"run_all.py ended with {code}")
        said = [line for line in stack.lines if re.search(r"Traceback|\[critical", line)]
        verdict.details += said[:5]
    return verdict


@asynccontextmanager
async def standing_still(vandal: Vandal, part: str | None) -> AsyncIterator[None]:
    """This process does nothing inside, and for HOLD_S before the end."""
    if part is None:
        yield
        return
    pid = await vandal.pid_of(part)
    try:
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(HOLD_S)
        yield
    finally:
        with suppress(ProcessLookupError):  # it may have been taken for hung
            os.kill(pid, signal.SIGCONT)


async def all_answered(fleet: Sequence[WildDevice], referee: Referee, since: float) -> None:
    """Wait until everybody was answered after `since`; whoever never is shows in the verdict."""
    until = time.monotonic() + 30.0 * PATIENCE
    while time.monotonic() < until:
        answers = referee.last_answers()
        if sum(at > since for at in answers.values()) == len(fleet):
            return
        await asyncio.sleep(0.05)


async def drain(
    fleet: Sequence[WildDevice], referee: Referee, histories: Histories, limit_s: float
) -> None:
    """Wait until everything that was answered is upstream, or for long enough."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        await histories.poll()
        is_left = any(
            {each.number for each in referee.answered[device.identity.role]}
            - set(told(histories.history(device.identity)))
            for device in fleet
        )
        if not is_left:
            return
        await asyncio.sleep(0.5)
