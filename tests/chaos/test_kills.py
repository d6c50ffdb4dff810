"""Rows K1 to K4 at P size: kill -9 of each part under load, five times by the seed.

30 devices send 5 statuses a second each, as two cores that do other things besides allow; the full
size is `python -m tests.chaos --rows K1,K2,K3,K4`.
"""

from __future__ import annotations

import os
from random import SystemRandom

import pytest

from tests.chaos import kills
from tests.chaos.faults import BROKER, HANDLER
from tests.integration.stack import RECOVERY_LIMIT_S

DEVICES = 30
KILLS = 5
LIMIT_S = 300.0


async def endure(part: str, held: str | None = None) -> kills.Verdict:
    given = os.environ.get("MODULE_GATEWAY_CHAOS_SEED")
    seed = int(given) if given else SystemRandom().randrange(10**6)
    print(f"MODULE_GATEWAY_CHAOS_SEED={seed}")  # noqa: T201  # pytest shows it when the test fails
    verdict = await kills.run(
        seed,
        devices=DEVICES,
        parts=(part,),
        kills=KILLS,
        pause_s=(0.0, 0.5) if held else (0.5, 2.0),
        calm_s=2.0,
        held=held,
    )
    assert [] == verdict.failures(RECOVERY_LIMIT_S), verdict.as_json()
    assert verdict.answered > DEVICES * KILLS
    return verdict


@pytest.mark.timeout(LIMIT_S)
async def test_K1_killed_internal_server() -> None:
    await endure("internal_server")


@pytest.mark.timeout(LIMIT_S)
async def test_K2_killed_module_handler() -> None:
    """With an external client that stands still: what was answered is in the handler alone."""
    await endure(HANDLER, held="external_client")


@pytest.mark.timeout(LIMIT_S)
async def test_K3_killed_external_client() -> None:
    await endure("external_client")


@pytest.mark.timeout(LIMIT_S)
async def test_K4_killed_broker() -> None:
    await endure(BROKER)
