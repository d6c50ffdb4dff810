"""Row K5 through a whole gateway: nothing that a device was answered is lost with the power.

`test_power_loss.py` cuts the store alone, more often. `python -m tests.chaos --rows K5` cuts 50
times here, too.
"""

from __future__ import annotations

import os
from random import SystemRandom
from typing import Final

import pytest

from tests.chaos import power_cut, power_cycles

IS_FULL: Final = "MODULE_GATEWAY_CHAOS_FULL" in os.environ
CUTS: Final = 50 if IS_FULL else 10
LIMIT_S: Final = 300.0 + 20.0 * CUTS

pytestmark = [
    pytest.mark.skipif(power_cut.compiler() is None, reason="needs a C compiler"),
    pytest.mark.timeout(LIMIT_S),
]


def seed() -> int:
    given = os.environ.get("MODULE_GATEWAY_CHAOS_SEED")
    chosen = int(given) if given else SystemRandom().randrange(10**6)
    print(f"MODULE_GATEWAY_CHAOS_SEED={chosen}")  # noqa: T201  # pytest shows it when it fails
    return chosen


async def test_K5_R1_nothing_answered_is_lost_when_a_gateway_loses_its_power() -> None:
    cycles = await power_cycles.run(seed(), CUTS)
    print(cycles)  # noqa: T201  # likewise
    assert [] == cycles.verdict.failures(), cycles
    assert len(cycles.dropped_bytes) == CUTS, cycles
    assert cycles.verdict.answered > power_cycles.DEVICES * CUTS


async def test_K5_control_a_gateway_that_never_syncs_loses_answered_statuses() -> None:
    cycles = await power_cycles.run(seed(), 2, "process", away=1.0, drain_limit_s=5.0)
    print(cycles)  # noqa: T201  # likewise
    assert len(cycles.dropped_bytes) == 2
    assert cycles.verdict.lost, cycles
