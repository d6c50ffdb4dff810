"""Devices and processes misbehave together, by chance: the promises hold all the same.

The seed is always the same, and chosen by chance under `MODULE_GATEWAY_TEST_EXPLORE`. It is
printed; `MODULE_GATEWAY_CHAOS_SEED` repeats it, as far as processes can repeat.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from random import Random, SystemRandom
from typing import Any, Final

import pytest

from module_gateway.protocol.identity import Identity
from module_gateway.runtime.broker import is_port_free
from module_gateway.runtime.settings import DEFAULT_MODULE_PATHS
from tests.chaos.faults import Fault, Vandal, plan
from tests.chaos.footprint import metrics_of
from tests.chaos.referee import Answered, Referee
from tests.chaos.wild_device import WildDevice
from tests.integration.stack import (
    DEMO_ROLES,
    RECOVERY_LIMIT_S,
    START_LIMIT_S,
    ControlPlaneApi,
    Stack,
    control_plane_api,
    demo_configuration,
    running_stack,
)

DEVICES: Final = 60
ROUNDS: Final = int(os.environ.get("MODULE_GATEWAY_CHAOS_ROUNDS", "2"))
MODULE: Final = 2000
DRAIN_LIMIT_S: Final = 2 * RECOVERY_LIMIT_S
CALM_S: Final = 2.0
LINES_TOLD: Final = 300
FREE_LIMIT_S: Final = RECOVERY_LIMIT_S
"""A dead server's devices are given up after 2T, 8 s (R6)."""
DEMO: Final = float(len(DEMO_ROLES))
COMPONENTS: Final = ("internal_server", "module_handler", "external_client", "control_plane")
LEFT_AT_THE_END: Final = {
    "internal_server": {
        "module_gateway_internal_server_connections": DEMO,
        "module_gateway_internal_server_unanswered": 0.0,
        "module_gateway_internal_server_buffered_bytes": 0.0,
    },
    "module_handler": {
        'module_gateway_module_handler_size{of="registered"}': DEMO,
        'module_gateway_module_handler_size{of="seats"}': DEMO,
        'module_gateway_module_handler_size{of="outbox_entries"}': 0.0,
        'module_gateway_module_handler_size{of="deliveries_untaken"}': 0.0,
        "module_gateway_module_handler_inbox_messages": 0.0,
    },
}
"""Whatever was held for devices is given back when all have left but those of the demo."""
NEVER: Final = ("_defects_total", "_listener_failures_total", "_unexpected_errors_total")


def say(*lines: object) -> None:
    print(*lines, sep="\n")  # noqa: T201  # pytest shows it when the test fails


def seed() -> int:
    explores = "MODULE_GATEWAY_TEST_EXPLORE" in os.environ
    usual = SystemRandom().randrange(10**6) if explores else 1
    chosen = int(os.environ.get("MODULE_GATEWAY_CHAOS_SEED", usual))
    say(f"MODULE_GATEWAY_CHAOS_SEED={chosen}")
    return chosen


def steady_port(rng: Random) -> int:
    """A free port below those that the system gives to clients: a device that tries one of those
    again and again while nobody listens is sooner or later connected to itself, and keeps it."""
    return next(
        port for port in iter(lambda: rng.randrange(20_000, 30_000), 0) if is_port_free(port)
    )


def fleet(stack: Stack, referee: Referee, rng: Random) -> list[WildDevice]:
    return [
        WildDevice(
            Identity(MODULE, number % 3, f"device_{number}"),
            stack.gateway,
            referee,
            Random(rng.random()),
        )
        for number in range(DEVICES)
    ]


async def everybody_is_answered(referee: Referee, since: float, until: float) -> None:
    """Fails unless every device gets an answer after `since` and before `until`."""
    while True:
        answers = referee.last_answers()
        late = DEVICES - sum(at > since for at in answers.values())
        if not late:
            return
        assert time.monotonic() < until, f"{late} of {DEVICES} devices are not answered"
        await asyncio.sleep(0.05)


def excused(referee: Referee, role: str, vandal: Vandal) -> list[Answered]:
    """What a handler may have had in its memory alone when it was killed.

    That is what it was sent within the time that telemetry may take to be back upstream after an
    earlier fault. The answer to some of it was still under way to the device.
    """
    return [
        answer
        for answer in referee.answered[role]
        if any(
            answer.at - answer.waited_s <= kill <= answer.at + RECOVERY_LIMIT_S
            for kill in vandal.handler_kills
        )
    ]


def tell(
    referee: Referee,
    identity: Identity,
    what: str,
    numbers: set[int],
    history: list[dict[str, Any]],
) -> str:
    """Everything that is known about the statuses of a device that went wrong upstream."""
    answered = [f"{a.number} at {a.at:.2f}" for a in referee.answered[identity.role]]
    upstream = [
        f"{entry['state']} {entry['status']['data']['n']} {entry['position']} {entry['error']}"
        for entry in history
    ]
    lines = [
        f"{identity}: {what} {sorted(numbers)}",
        "answered:",
        *answered,
        "upstream:",
        *upstream,
    ]
    return "\n".join(lines)


async def all_is_upstream(
    api: ControlPlaneApi, devices: list[WildDevice], referee: Referee, vandal: Vandal
) -> None:
    """Wait until the control plane has each answered status, or a fold that names it."""
    deadline = time.monotonic() + DRAIN_LIMIT_S
    for device in devices:
        identity = device.identity
        url = f"{api.device(MODULE, identity.device_type, identity.role)}/history"
        while True:
            history = await api.get(url, limit=1000)
            missing = referee.missing(
                identity.role, history, excused(referee, identity.role, vandal)
            )
            if not missing:
                break
            assert time.monotonic() < deadline, tell(referee, identity, "missing", missing, history)
            await asyncio.sleep(0.2)
        twice = referee.told_twice(history)
        assert not twice, tell(referee, identity, "twice", twice, history)


async def everything_is_given_back(stack: Stack) -> None:
    """Wait until nothing is held any more for devices that have left."""
    deadline = time.monotonic() + FREE_LIMIT_S
    for component in COMPONENTS:
        while True:
            metrics = await metrics_of(stack, component)
            wanted = LEFT_AT_THE_END.get(component, {})
            left = {
                name: metrics.get(name) for name, size in wanted.items() if metrics[name] != size
            }
            if not left:
                break
            assert time.monotonic() < deadline, left
            await asyncio.sleep(0.2)
        failures = {n: v for n, v in metrics.items() if n.split("{")[0].endswith(NEVER) and v}
        assert failures == {}


async def endure(
    devices: list[WildDevice], faults: list[Fault], vandal: Vandal, referee: Referee
) -> None:
    """Let the devices live while everything happens that is planned, and a little longer."""
    running = [asyncio.create_task(one.run(), name=str(one.identity)) for one in devices]
    try:
        for fault in faults:
            await vandal.commit(fault)
        until = vandal.last_fault + RECOVERY_LIMIT_S
        await everybody_is_answered(referee, vandal.last_fault, until)
        await vandal.all_back()
        referee.is_wild = False
        calm = time.monotonic() + CALM_S
        await everybody_is_answered(referee, calm, calm + RECOVERY_LIMIT_S)
    finally:
        for task in running:
            task.cancel()
        ended = await asyncio.gather(*running, return_exceptions=True)
    assert [repr(each) for each in ended if isinstance(each, Exception)] == []


def tracebacks(lines: list[str]) -> list[str]:
    return [line for line in lines if re.search(r"Traceback|\[(error|critical)", line)]


@pytest.mark.timeout(60 + 30 * ROUNDS + START_LIMIT_S + DRAIN_LIMIT_S + 2 * RECOVERY_LIMIT_S)
async def test_promises_hold_while_processes_die_and_devices_misbehave() -> None:
    rng = Random(seed())
    faults = plan(rng, ROUNDS)
    say(*faults)
    settings = demo_configuration(
        **{
            "module-paths": {**DEFAULT_MODULE_PATHS, str(MODULE): "tests.modules.roll:RollModule"},
            "internal-server-settings": {"port": steady_port(rng), "metrics-port": 0},
        }
    )
    referee = Referee()
    async with running_stack(settings, "--demo") as stack, control_plane_api(stack) as api:
        try:
            devices = fleet(stack, referee, rng)
            vandal = Vandal(stack)
            await endure(devices, faults, vandal, referee)
            assert referee.wrong == []
            await all_is_upstream(api, devices, referee, vandal)
            await everything_is_given_back(stack)
            assert await stack.stop() == 0
            assert tracebacks(stack.lines) == []
        except AssertionError as error:
            error.add_note("\n".join(stack.lines[-LINES_TOLD:]))
            raise
        finally:
            say(dict(referee.counts))
